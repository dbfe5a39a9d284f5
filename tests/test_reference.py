"""The reference, held against exact rational arithmetic."""

import math
import re
from fractions import Fraction

import exact
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import (
    bounds,
    cosine_restart_arguments,
    cycle_mults,
    gammas,
    one_cycle_arguments,
    step_sizes,
)

from clr_schedules import reference

EPS = np.finfo(np.float64).eps
steps = st.integers(0, 10**5) | st.integers(0, 2**62 - 1)
downs = st.none() | step_sizes


def assert_close(got, truth, units):
    """Within so many units of the last place of float64.

    Or within 2^-900: the scale may be a subnormal, 2^-1074 apart from the next, times a rate of up
    to 2^128. The smallest float32 is 2^-149.
    """
    error = abs(mpmath.mpf(float(got)) - truth)
    assert error <= units * EPS * abs(truth) + mpmath.mpf(2) ** -900, (got, truth)


@given(bounds(), step_sizes, steps)
def test_triangular_is_the_formula_of_the_paper(bounds, step_size, step):
    truth = exact.paper_triangular(step, **bounds, step_size=step_size)
    truth = mpmath.mpf(truth.numerator) / truth.denominator
    assert_close(reference.triangular(step, **bounds, step_size=step_size), truth, 4)


@given(bounds(), step_sizes, downs, steps)
def test_triangular_with_two_half_cycles(bounds, up, down, step):
    truth = exact.rate(step, *bounds.values(), up, down or up)
    assert_close(reference.triangular(step, **bounds, step_size=up, step_size_down=down), truth, 4)


@given(bounds(), step_sizes, downs, steps)
def test_triangular2_halves_every_cycle(bounds, up, down, step):
    finished = step // (up + (down or up))
    scale = Fraction(1, 2**finished) if finished < 5000 else Fraction(0)
    truth = exact.rate(step, *bounds.values(), up, down or up, scale=scale)
    got = reference.triangular2(step, **bounds, step_size=up, step_size_down=down)
    assert_close(got, truth, 4)


@given(bounds(), step_sizes, downs, gammas, steps)
def test_exp_range_decays_every_iteration(bounds, up, down, gamma, step):
    exponent = step * mpmath.log(gamma)
    scale = mpmath.exp(exponent) if exponent > -5000 else mpmath.mpf(0)
    truth = exact.rate(step, *bounds.values(), up, down or up, scale=scale)
    got = reference.exp_range(step, **bounds, step_size=up, step_size_down=down, gamma=gamma)
    # An iteration beyond 2^53 is rounded before the power is taken.
    assert_close(got, truth, 4 + min(5000, abs(float(exponent))))


@given(bounds(), step_sizes, downs, steps)
def test_cosine_wave(bounds, up, down, step):
    truth = exact.rate(step, *bounds.values(), up, down or up, wave="cosine")
    got = reference.cyclical(step, **bounds, step_size=up, step_size_down=down, wave="cosine")
    assert_close(got, truth, 8)


@given(bounds(), step_sizes, downs, st.sampled_from(["linear", "cosine"]), st.integers(0, 9))
def test_ends_are_the_bounds_themselves(bounds, up, down, wave, cycle):
    start = cycle * (up + (down or up))
    if start + up < 2**62:
        rates = reference.cyclical(
            [start, start + up], **bounds, step_size=up, step_size_down=down, wave=wave
        )
        assert rates.tolist() == list(bounds.values())


@given(one_cycle_arguments(), st.data())
def test_one_cycle(arguments, data):
    total_steps = arguments["total_steps"]
    peak = int(arguments["pct_start"] * total_steps)
    corners = st.builds(
        lambda corner, off: min(max(0, corner + off), 2**62 - 1),
        st.sampled_from([0, peak, 2 * peak, total_steps]),
        st.integers(-3, 3) | st.integers(-total_steps, total_steps),
    )
    step = data.draw(steps | corners)
    assert_close(
        reference.one_cycle(step, **arguments), exact.one_cycle(step, **arguments), units=8
    )


@given(bounds(), step_sizes, st.lists(steps, min_size=4, max_size=4))
def test_stays_within_the_bounds_whatever_the_scale(bounds, up, many):
    def wild(cycle):
        return 1e6 - cycle

    rates = reference.cyclical(many, **bounds, step_size=up, scale_fn=wild)
    assert np.all((rates >= bounds["base_lr"]) & (rates <= bounds["max_lr"]))


def test_scale_function_gets_the_cycle_from_1_or_the_iteration_from_0():
    got = {}
    for mode in ("cycle", "iterations"):

        def spy(x, mode=mode):
            got[mode] = x
            return 1.0

        reference.cyclical([0, 3, 4, 9], 0.0, 1.0, 2, scale_fn=spy, scale_mode=mode)
    assert got["cycle"].tolist() == [1, 1, 2, 3]
    assert got["iterations"].tolist() == [0, 3, 4, 9]


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_keeps_the_shape(shape):
    got = reference.triangular(np.zeros(shape, np.int32), 0.1, 0.2, 3)
    assert got.shape == shape
    assert got.dtype == np.float64


@pytest.mark.parametrize(
    "iteration",
    [7, 7.0, np.int8(7), np.uint64(7), np.float32(7), [7], (7.0,), np.array(7, np.float16)],
)
def test_an_iteration_is_a_number_however_it_is_typed(iteration):
    assert reference.as_iterations(iteration).item() == 7
    assert reference.as_iterations(iteration).dtype == np.int64


def test_integers_kept_as_objects():
    got = reference.as_iterations(np.array([0, 2**61 + 1], object))
    assert got.tolist() == [0, 2**61 + 1]


def test_largest_iteration():
    assert reference.as_iterations(2**62 - 1) == 2**62 - 1


@pytest.mark.parametrize(
    ("iteration", "error"),
    [
        (-1, ValueError),
        ([0, -1], ValueError),
        (2.5, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (2**62, ValueError),
        ([2**62, -(2**70)], ValueError),
        (np.array([True, 3], object), TypeError),
        (2**70, ValueError),
        (2.0**62, ValueError),
        (True, TypeError),
        ("3", TypeError),
        (None, TypeError),
        (1j, TypeError),
        (object(), TypeError),
    ],
)
def test_bad_iterations_are_refused_by_name(iteration, error):
    received = re.escape(f"Received: iteration={iteration!r}")
    with pytest.raises(error, match=r"`iteration` must be an integer from 0.*" + received):
        reference.as_iterations(iteration)


def test_good_iterations_are_not_put_into_words():
    """It took ten times as long as the rates themselves."""

    class Unspeakable(np.ndarray):
        def __repr__(self):
            raise AssertionError("not for an error that is not raised")

    assert reference.as_iterations(np.arange(3).view(Unspeakable)).tolist() == [0, 1, 2]


@given(cosine_restart_arguments(), st.data())
def test_cosine_restarts(arguments, data):
    """Against a walk from cycle to cycle; so, not too far."""
    first, mult = arguments["first_cycle_steps"], arguments["cycle_mult"]
    far = int(exact.restart(40, first, max(mult, 1e-3) if mult < 1 else min(mult, 1e3)))
    step = data.draw(st.integers(0, min(far, 2**62 - 1)))
    assume(mult >= 1 or step < first + 1000)
    assert_close(
        reference.cosine_restarts(step, **arguments), exact.cosine_restarts(step, **arguments), 64
    )


@given(st.integers(1, 10**6), st.floats(0.3, 3.0), st.integers(0, 60))
def test_cycles_begin_at_the_first_iteration_that_is_not_before(first, mult, cycle):
    start = math.ceil(exact.restart(cycle, first, mult))
    assume(start < 2**62)
    found = (
        reference.restart_cycles(np.array([start - 1, start]), first, mult) if start else [-1, 0]
    )
    later = exact.restart(cycle + 1, first, mult)
    assert found[1] == (cycle if start < later else found[1])
    assert found[0] < cycle <= found[1]
    assert abs(reference.restart(cycle, first, mult) - exact.restart(cycle, first, mult)) < 2**-100


@given(step_sizes, cycle_mults, steps)
def test_an_iteration_is_between_the_starts_of_its_cycle_and_the_next(first, mult, step):
    """By the closed formula, however many the cycles are."""
    cycle = reference.restart_cycles(np.array([step]), first, mult).item()
    start = exact.far_restart(cycle, first, mult)
    assert start <= step < exact.far_restart(cycle + 1, first, mult)
    with mpmath.workdps(1000):
        got = reference.restart(cycle, first, mult)
        got = mpmath.mpf(got.numerator) / got.denominator
        assert abs(got - start) <= mpmath.mpf(2) ** -180 * max(1, start)


@given(one_cycle_arguments(), st.floats(0.0, 0.999), st.floats(0.0, 0.999), steps)
def test_one_cycle_momentum(arguments, one, other, step):
    names = ("total_steps", "pct_start", "anneal", "three_phase")
    arguments = {name: arguments[name] for name in names}
    low, high = sorted([one, other])
    got = reference.one_cycle_momentum(step, max_momentum=high, base_momentum=low, **arguments)
    truth = exact.one_cycle_momentum(step, max_momentum=high, base_momentum=low, **arguments)
    # A difference of two numbers up to 1, where the truth adds.
    assert abs(mpmath.mpf(float(got)) - truth) <= 4 * EPS


@given(st.integers(1, 2**40), st.floats(0.0, 1.0), st.floats(0.0, 1.0), steps)
def test_warmup(warmup_steps, start, rate, step):
    got = reference.warmup(step, rate, warmup_steps, start)
    part = min(Fraction(step, warmup_steps), Fraction(1))
    truth = Fraction(start) + (Fraction(rate) - Fraction(start)) * part
    assert abs(Fraction(float(got)) - truth) <= 4 * Fraction(EPS) * truth + Fraction(2) ** -1000


def test_sequence():
    steps = np.arange(6).reshape(2, 3)
    rates = [steps * 1.0, steps * 10.0, steps * 100.0]
    assert reference.sequence(steps, rates, [2, 5]).tolist() == [[0, 1, 20], [30, 40, 500]]


def test_rates_that_are_given_become_float64():
    for rates in ([1, 2], np.array([1, 2], np.float32)):
        for got in (reference.warmup([0, 1], rates, 1), reference.sequence([0, 1], [rates], [])):
            assert got.dtype == np.float64


def test_the_top_is_the_maximum_even_where_the_sum_is_not():
    low, high = 2.0**-53, 1 + 2.0**-24 + 2.0**-52
    assert low + (high - low) < high
    assert reference.triangular(4, low, high, 4) == high
    assert reference.cosine_restarts(0, high, 4, min_lr=low) == high
    low = 0.3 / 45.27833515223203
    assert low + (0.3 - low) < 0.3
    assert reference.one_cycle(24, 0.3, 25, 1.0, div_factor=45.27833515223203) == 0.3


@pytest.mark.parametrize(("three_phase", "pct_start"), [(False, 1.0), (True, 0.5)])
def test_phases_end_with_the_cycle_though_their_length_is_rounded_up(three_phase, pct_start):
    total_steps = 2**60 - 63
    assert Fraction(pct_start * total_steps) > Fraction(pct_start) * total_steps
    phases = reference.one_cycle_phases(1.0, total_steps, pct_start, 25.0, 1e4, three_phase)
    assert max(max(phase.bottom, phase.top) for phase in phases) == total_steps - 1


def test_defaults():
    steps = np.arange(120)
    arguments = (0.3, 25.0, 1e4, "cosine", False)
    expected = reference.one_cycle(steps, 0.5, 100, *arguments)
    np.testing.assert_array_equal(reference.one_cycle(steps, 0.5, 100), expected)
    expected = reference.one_cycle_momentum(steps, 100, 0.95, 0.85, 0.3, "cosine", False)
    np.testing.assert_array_equal(reference.one_cycle_momentum(steps, 100), expected)
    expected = reference.cosine_restarts(steps, 0.5, 7, 1.0, 1.0, 0.0)
    np.testing.assert_array_equal(reference.cosine_restarts(steps, 0.5, 7), expected)
    expected = reference.cyclical(steps, 0.1, 0.5, 7, 7, "linear", None, "cycle")
    np.testing.assert_array_equal(reference.cyclical(steps, 0.1, 0.5, 7), expected)
    ones = np.ones(120)
    expected = reference.warmup(steps, ones, 7, 0.0)
    np.testing.assert_array_equal(reference.warmup(steps, ones, 7), expected)
