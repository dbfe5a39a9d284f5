"""Cosine restarts: their numbers, their boundaries, and the schedules of that name elsewhere."""

import math
from fractions import Fraction
from importlib.util import find_spec

import exact
import numpy as np
import pytest
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras_under_test import ENGINES, MAX_STEP, as_tensor, compute, keras

import clr_schedules as clr
from clr_schedules import _keras, _restarts, reference

ULPS = 0.502
LAST = 2**62 - 1

engines = pytest.mark.parametrize("engine", ENGINES)
few = settings(max_examples=25)  # each is compiled anew


def groups(schedule):
    """Whether there are too many cycles for one table: they grow by less than a percent."""
    if schedule.cycle_mult == 1:
        return False
    plan = _restarts._plan_restarts(schedule.first_cycle_steps, schedule.cycle_mult, precise=False)
    return len(plan.levels) > 1


def assert_rounded(engine, schedule, steps):
    """Correctly rounded.

    Where cycles are looked up in groups, what is left of a cycle is right to 2^-49 of the first
    one's step: that shows in rates that are next to nothing, less than 2^-62 of the peak.
    """
    rates, values = compute(engine, schedule, steps), schedule.values(steps)
    off = exact.ulps(rates, values)
    if groups(schedule):
        off[np.abs(rates - values) <= schedule.max_lr * 2.0**-62] = 0
    assert off.max() <= ULPS


def steps_below(schedule):
    """Boundaries are exact up to 2^53 where there are groups, and everywhere else."""
    return min(MAX_STEP, 2**53) if groups(schedule) else MAX_STEP


@engines
@few
@given(st.data())
def test_correctly_rounded(engine, data):
    schedule = data.draw(strategies.cosine_restarts)
    steps = data.draw(strategies.steps_of_restarts(schedule, below=steps_below(schedule)))
    assert_rounded(engine, schedule, steps)


@pytest.mark.slow
@engines
@settings(max_examples=300)
@given(st.data())
def test_correctly_rounded_thoroughly(engine, data):
    schedule = data.draw(strategies.cosine_restarts)
    steps = data.draw(strategies.steps_of_restarts(schedule, n=200, below=steps_below(schedule)))
    assert_rounded(engine, schedule, steps)


@engines
@pytest.mark.parametrize("cycle_mult", [1.0, 2.0, 3.0, 1.5, 1.1, 0.9, 0.5, 1.0001, 0.9999])
@pytest.mark.parametrize("first_cycle_steps", [1, 7, 1000])
def test_cycles_begin_where_they_should(engine, cycle_mult, first_cycle_steps):
    """Every boundary of the first cycles: the peak at it or after it, the lowest rate before."""
    starts = [exact.restart(n, first_cycle_steps, cycle_mult) for n in range(1, 30)]
    schedule = clr.CosineRestarts(1.0, first_cycle_steps, cycle_mult, peak_mult=0.9)
    steps = sorted({math.ceil(start) + off for start in starts for off in (-1, 0)})
    steps = [step for step in steps if 0 <= step < min(MAX_STEP, 2**53)]
    truth = [exact.cosine_restarts(s, 1.0, first_cycle_steps, cycle_mult, 0.9) for s in steps]
    rates = compute(engine, schedule, steps)
    assert_rounded(engine, schedule, np.array(steps))
    for step, rate, true in zip(steps, rates.tolist(), truth, strict=True):
        assert rate == pytest.approx(float(true), rel=1e-6, abs=1e-15), step


@engines
@few
@given(st.sampled_from([1.0, 2.0, 3.0, 5.0]), strategies.step_sizes, st.integers(0, 60))
def test_a_whole_factor_restarts_at_max_lr(engine, cycle_mult, first_cycle_steps, cycle):
    start = exact.restart(cycle, first_cycle_steps, cycle_mult)
    assume(start < MAX_STEP)
    schedule = clr.CosineRestarts(0.1, first_cycle_steps, cycle_mult)
    assert compute(engine, schedule, [int(start)])[0] == np.float32(0.1)
    assert schedule.values(int(start)) == 0.1


@engines
@few
@given(st.data())
def test_stays_within_the_bounds(engine, data):
    schedule = data.draw(strategies.cosine_restarts)
    rates = compute(engine, schedule, data.draw(strategies.steps_of_restarts(schedule)))
    low, high = np.array([schedule.min_lr, schedule.max_lr], np.float32)
    assert np.all((low <= rates) & (rates <= high))


@engines
@few
@given(st.data())
def test_a_cycle_falls(engine, data):
    schedule = data.draw(strategies.cosine_restarts)
    arguments = schedule.first_cycle_steps, schedule.cycle_mult
    last = reference.restart_cycles(np.array([steps_below(schedule) - 1]), *arguments).item()
    cycle = data.draw(st.integers(0, last) | st.integers(0, min(last, 5)))
    start = math.ceil(reference.restart(cycle, *arguments))
    stop = min(math.ceil(reference.restart(cycle + 1, *arguments)), steps_below(schedule)) - 1
    assume(start < stop)
    first = data.draw(st.integers(start, stop))
    stride = data.draw(st.integers(1, max(1, (stop - start) // 64)) | st.just(1))
    steps = np.minimum(first + stride * np.arange(64, dtype=object), stop)
    assert np.all(np.diff(compute(engine, schedule, steps)) <= 0)


@given(st.data())
@settings(max_examples=30)
def test_a_vector_is_its_scalars(data):
    schedule = data.draw(strategies.cosine_restarts)
    steps = data.draw(strategies.steps_of_restarts(schedule, n=8))
    scalars = [_keras.to_numpy(schedule(as_tensor(step))) for step in steps]
    assert np.array_equal(compute("eager", schedule, steps), np.array(scalars))
    assert np.array_equal(
        compute("eager", schedule, steps.reshape(2, 4)), np.array(scalars).reshape(2, 4)
    )
    values = schedule.values(steps.reshape(4, 2))
    assert values.shape == (4, 2)
    # NumPy takes the power of a scalar and that of an array by different code.
    scalars = [schedule.values(int(step)).item() for step in steps]
    np.testing.assert_allclose(values.ravel(), scalars, rtol=4 * np.finfo(float).eps)


@pytest.mark.parametrize("cycle_mult", [1e-300, 0.5, 0.999, 1.0, 1.001, 2.0, 1e300])
def test_no_step_is_too_many(cycle_mult):
    schedule = clr.CosineRestarts(0.1, 1000, cycle_mult, 0.9, 1e-3)
    rates = compute("eager", schedule, [MAX_STEP - 1])
    assert np.float32(1e-3) <= rates[0] <= np.float32(0.1)
    assert 1e-3 <= schedule.values(LAST) <= 0.1


def test_no_cycle_takes_less_than_an_iteration():
    """8, 4, 2, and 1 from there on: the peak of the cycle, in every iteration."""
    schedule = clr.CosineRestarts(1.0, 8, cycle_mult=0.5, peak_mult=0.5)
    steps = [0, 8, 12, 14, 15, 16, 17]
    assert schedule.values(steps).tolist() == [0.5**n for n in range(7)]
    assert compute("eager", schedule, steps).tolist() == [0.5**n for n in range(7)]


@pytest.mark.parametrize("cycle_mult", [1e-320, 1.2345678e-63, 1e-40, 1e-9])
def test_cycles_that_shrink_at_once(cycle_mult):
    """The second cycle is the first of one iteration, and begins where the first one ends."""
    schedule = clr.CosineRestarts(1.0, 1000, cycle_mult)
    assert schedule.values([1000, 1001, 5000]).tolist() == [1.0, 1.0, 1.0]
    assert compute("eager", schedule, [1000, 1001, 5000]).tolist() == [1.0, 1.0, 1.0]


def test_restarts_of_keras_while_they_are_right():
    ours = clr.CosineRestarts(0.1, 100, 1.5, 0.8, min_lr=0.01)
    theirs = keras.optimizers.schedules.CosineDecayRestarts(0.1, 100, 1.5, 0.8, alpha=0.1)
    steps = [step for step in range(0, 2000, 7) if step % 250]
    np.testing.assert_allclose(
        [float(np.asarray(theirs(step))) for step in steps], ours.values(steps), rtol=1e-3
    )


def test_restarts_of_keras_where_they_are_not():
    steps = 10**7 + np.arange(0, 1000, 37)
    ours = clr.CosineRestarts(6e-3, 1000, min_lr=1e-3)
    theirs = keras.optimizers.schedules.CosineDecayRestarts(6e-3, 1000, t_mul=1.0, alpha=1 / 6)
    truth = [float(exact.cosine_restarts(int(s) % 1000, 6e-3, 1000, min_lr=1e-3)) for s in steps]
    assert exact.ulps(np.array([np.asarray(ours(int(s))) for s in steps]), truth).max() <= ULPS
    off = [
        abs(float(np.asarray(theirs(int(s)))) / t - 1) for s, t in zip(steps, truth, strict=True)
    ]
    assert max(off) > 1e-3


def pytorch_formula(step, max_lr, first, mult, min_lr):
    """`CosineAnnealingWarmRestarts`, as its documentation has it, with whole cycles."""
    length, start = first, 0
    while step >= start + length:
        start, length = start + length, length * mult
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * (step - start) / length)) / 2


@pytest.mark.parametrize("mult", [1, 2, 3])
def test_restarts_of_pytorchs_formula(mult):
    steps = range(0, 3000)
    np.testing.assert_allclose(
        clr.CosineRestarts(0.1, 50, mult, min_lr=1e-4).values(steps),
        [pytorch_formula(step, 0.1, 50, mult, 1e-4) for step in steps],
        rtol=1e-12,
    )


@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("mult", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 7, 50])
def test_restarts_of_pytorch(first, mult):
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, mult, 1e-4)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    ours = clr.CosineRestarts(0.1, first, mult, min_lr=1e-4).values(range(1000))
    np.testing.assert_allclose(ours, rates, rtol=1e-10)


@given(st.floats(1.0, 2.0**62))
def test_the_rough_logarithm_is_right_to_what_is_allowed_for(x):
    with _keras.wide_types():
        log = _keras.to_numpy(_restarts._log2(_keras.cast(np.array([x]), "float64"))).item()
    assert abs(log - math.log2(x)) < 3e-4


@given(st.fractions(Fraction(1, 2**40), 2**62))
def test_digits_add_up(x):
    parts = _restarts._digits(x)
    assert abs(sum(map(Fraction, parts)) - x) <= x * Fraction(1, 2**125)
    # So many bits that the product with 31 others is exact in float64.
    assert all((part * 2.0 ** -math.frexp(part)[1] * 2**22).is_integer() for part in parts)
