"""One cycle: its numbers, its corners, and PyTorch's schedule of that name."""

import itertools
import math
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest
from helpers import exact, strategies
from helpers.keras_under_test import ENGINES, MAX_STEP, compute, compute_all
from helpers.properties import ULPS, assert_promises
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import reference
from clr_schedules._backend import backend
from clr_schedules.schedules.momentum import MirroredMomentum

LAST = 2**53 - 1

engines = pytest.mark.parametrize("engine", ENGINES)
needs_pytorch = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
anneals = pytest.mark.parametrize("anneal", ["cosine", "linear"])


def initial_and_final(schedule):
    initial = schedule.max_lr / schedule.div_factor
    return initial, min(initial / schedule.final_div_factor, schedule.max_lr)


@given(st.data())
def test_rates_are_what_is_promised(data):
    assert_promises(data, strategies.of(clr.OneCycle))


@given(st.data())
def test_momenta_are_what_is_promised(data):
    assert_promises(data, strategies.of(MirroredMomentum))


@given(strategies.arguments_of(clr.OneCycle), st.data())
def test_rates_and_momenta_are_those_of_the_textbooks_formula(arguments, data):
    arguments["total_steps"] = data.draw(st.integers(1, 10**6))
    schedule = clr.OneCycle(**arguments)
    assume(exact.peak_of(*(arguments[k] for k in ("total_steps", "pct_start", "three_phase"))) != 0)
    steps = np.array(data.draw(st.lists(st.integers(0, 10**6), min_size=20, max_size=20)))
    expected = reference.one_cycle(steps, **arguments)
    scale = 1e-9 * schedule.max_lr
    np.testing.assert_allclose(schedule.values(steps), expected, rtol=1e-9, atol=scale)
    phases = {k: arguments[k] for k in ("total_steps", "pct_start", "anneal", "three_phase")}
    expected = reference.one_cycle_momentum(steps, **phases)
    np.testing.assert_allclose(schedule.momentum().values(steps), expected, rtol=1e-9)


@engines
@anneals
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("total_steps", [1000, 10**6 + 1, 2**40 + 1, LAST])
def test_digits_are_kept_where_the_rate_is_next_to_nothing(
    engine, anneal, three_phase, total_steps
):
    """The end of the cycle against mpmath: the last iterations, then ever fewer of them."""
    arguments = {
        "max_lr": 0.7,
        "total_steps": total_steps,
        "div_factor": 1e6,
        "final_div_factor": 1e7,
        "anneal": anneal,
        "three_phase": three_phase,
    }
    distances = {*range(10), *(int(1.3**k) for k in range(int(math.log(total_steps, 1.3))))}
    steps = [total_steps - 1 - distance for distance in sorted(distances)]
    steps = [step for step in steps if step < MAX_STEP] or [0]
    truth = [exact.one_cycle(step, **arguments) for step in steps]
    # The difference is taken in mpmath: the truth has more digits than float64.
    rates = compute(engine, clr.OneCycle(**arguments), steps)
    for rate, true in zip(rates.tolist(), truth, strict=True):
        unit = 2.0 ** (math.frexp(true)[1] - 24)
        assert abs(rate - true) / unit <= ULPS


@engines
def test_the_peak_is_max_lr_even_between_two_floats(engine):
    """One rounding less in float64, and this rate is rounded the other way in float32.

    `n * (1 / n)`, which compilers make of `n / n`, is not 1 for these n.
    """
    pairs = [
        (clr.OneCycle(1 + 3 * 2.0**-24, 2 * n + 2, 0.5, 1000.0, anneal=anneal), [n])
        for n in (49, 98, 103, 107, 161, 187)
        for anneal in ("cosine", "linear")
    ]
    assert np.all(np.array(compute_all(engine, pairs)) == np.float32(1 + 3 * 2.0**-24))


@settings(max_examples=10)
@given(strategies.of(clr.OneCycle), st.lists(st.integers(0, MAX_STEP - 1), min_size=4, max_size=4))
def test_holds_the_last_rate_for_ever(schedule, beyond):
    assume(schedule.total_steps < MAX_STEP)
    end = schedule.total_steps - 1
    steps = [end, end + 1, *(max(end, step) for step in beyond), MAX_STEP - 1]
    rates = compute(ENGINES[-1], schedule, steps)
    assert np.all(rates == rates[0])
    assert np.all(schedule.values(steps) == schedule.values(end))
    phases = schedule.total_steps, schedule.pct_start, schedule.three_phase
    if exact.peak_of(*phases) < end:
        assert rates[0] == np.float32(initial_and_final(schedule)[1])


def pytorch(total_steps, anneal="cosine", **arguments):
    """The rates of PyTorch's schedule in a training of so many steps."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        total_steps=total_steps,
        anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
        cycle_momentum=False,
        **arguments,
    )
    rates = []
    for step in range(total_steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if step < total_steps - 1:
            scheduler.step()
    return np.array(rates)


def assert_pytorch_has_the_same_rates(**arguments):
    rates = pytorch(**arguments)
    values = clr.OneCycle(**arguments).values(range(len(rates)))
    # PyTorch takes the lowest rates from the difference of two high ones.
    np.testing.assert_allclose(values, rates, rtol=1e-12, atol=1e-15 * arguments["max_lr"])


@needs_pytorch
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pct_start": 0.0},
        {"pct_start": 1.0},
        {"pct_start": 0.25, "div_factor": 10.0, "final_div_factor": 1e6},
        {"div_factor": 1.0, "final_div_factor": 1.0},
        {"final_div_factor": 0.1},
        {"three_phase": True},
        {"three_phase": True, "pct_start": 0.5},
        {"three_phase": True, "pct_start": 0.0},
        {"three_phase": True, "pct_start": 0.4321, "final_div_factor": 0.1},
    ],
    ids=repr,
)
@pytest.mark.parametrize("total_steps", [2, 3, 10, 1001, 3000])
@anneals
def test_pytorch_has_the_same_rates(changes, total_steps, anneal):
    changes = {"pct_start": 0.3} | changes
    if changes["pct_start"] * total_steps == 1:
        pytest.skip("PyTorch divides by zero")
    assert_pytorch_has_the_same_rates(max_lr=0.1, total_steps=total_steps, anneal=anneal, **changes)


@needs_pytorch
@given(strategies.arguments_of(clr.OneCycle), st.integers(1, 200), st.floats(1e-9, 10.0))
@example(
    {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "anneal": "cosine"}, 1, 0.1
)
def test_pytorch_has_the_same_rates_in_any_short_training(arguments, total_steps, max_lr):
    pct_start = arguments["pct_start"]
    assume(pct_start * total_steps != 1)
    assert_pytorch_has_the_same_rates(**arguments | {"total_steps": total_steps, "max_lr": max_lr})


PYTORCH_DIVIDES_BY_ZERO = [
    # The peak is at iteration 0: there is no rising phase.
    {"total_steps": 11, "pct_start": 1 / 11},
    {"total_steps": 10, "pct_start": 0.1},
    # Nor one that falls from it as fast as it rises to it.
    {"total_steps": 10, "pct_start": 0.1, "three_phase": True},
    # All of the one iteration is rising.
    {"total_steps": 1, "pct_start": 1.0},
]


@engines
@anneals
@pytest.mark.parametrize(
    ("arguments", "first", "last"),
    [*zip(PYTORCH_DIVIDES_BY_ZERO, [1.0, 1.0, 0.25, 1.0], [0.25e-4] * 3 + [1.0], strict=True)],
)
def test_where_pytorch_divides_by_zero_the_rates_go_on(engine, anneal, arguments, first, last):
    schedule = clr.OneCycle(1.0, **arguments, div_factor=4.0, anneal=anneal)
    end = schedule.total_steps - 1
    steps = [0, end, end + 1, 2 * end + 7]
    assert schedule.values(steps).tolist() == [first, last, last, last]
    rates = compute(engine, schedule, steps)
    assert np.array_equal(rates, np.array([first, last, last, last], np.float32))
    assert np.all(np.diff(schedule.values(range(end + 1))) < 0)


@needs_pytorch
@pytest.mark.parametrize("arguments", PYTORCH_DIVIDES_BY_ZERO)
def test_there_pytorch_divides_by_zero(arguments):
    with pytest.raises(ZeroDivisionError):
        pytorch(max_lr=1.0, **arguments)


def test_a_training_of_one_step_takes_the_final_rate():
    assert clr.OneCycle(1.0, 1).values([0, 1]).tolist() == [4e-6, 4e-6]
    assert clr.OneCycle(1.0, 1, three_phase=True).values(0) == 4e-6


def test_all_rising_ends_at_the_peak():
    schedule = clr.OneCycle(1.0, 5, 1.0, 4.0, anneal="linear")
    assert schedule.values(range(7)).round(15).tolist() == [0.25, 0.4375, 0.625, 0.8125, 1, 1, 1]


def test_equal_rates_are_a_constant_rate():
    for three_phase in (False, True):
        schedule = clr.OneCycle(0.3, 100, 0.4, 1, 1, three_phase=three_phase)
        assert np.all(backend.to_numpy(schedule(list(range(200)))) == np.float32(0.3))
        assert np.all(schedule.values(range(200)) == 0.3)


def test_arguments_become_plain_python_values():
    schedule = clr.OneCycle(
        np.float32(0.5),
        np.int64(100),
        np.float64(0.25),
        10,
        Fraction(1, 4),
        anneal=np.str_("linear"),
        three_phase=np.bool_(True),
        name=np.str_("mine"),
    )
    types = [type(value) for value in schedule.get_config().values()]
    assert types == [float, int, float, float, float, str, bool, str]
    assert repr(schedule) == (
        "OneCycle(max_lr=0.5, total_steps=100, pct_start=0.25, div_factor=10.0, "
        "final_div_factor=0.25, anneal='linear', three_phase=True, name='mine')"
    )
    assert repr(clr.OneCycle(0.1, 2000.0)) == "OneCycle(max_lr=0.1, total_steps=2000)"
    assert math.copysign(1, clr.OneCycle(0.1, 10, -0.0).pct_start) == 1
    assert clr.OneCycle(0.1, Fraction(LAST)).total_steps == LAST


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_lr": 0.0}, "`max_lr` must be a finite number above 0"),
        ({"total_steps": 2**53 + 1}, r"`total_steps` must be .* at most 2\*\*53"),
        ({"pct_start": 30}, "`pct_start` must be from 0 to 1. Received: pct_start=30"),
        ({"pct_start": -1e-9}, "`pct_start` must be from 0 to 1. Received: pct_start=-1e-09"),
        (
            {"pct_start": 0.6, "three_phase": True},
            "`pct_start` must be from 0 to 0.5 with three phases. Received: pct_start=0.6",
        ),
        ({"div_factor": 0.5}, "`div_factor` must be a finite number of at least 1. Received"),
        ({"final_div_factor": 0}, "`final_div_factor` must be a finite number above 0. Received"),
        (
            {"final_div_factor": 0.01},
            r"`final_div_factor` must be at least 1 / div_factor \(here 0.04\).*=0.01",
        ),
        ({"final_div_factor": 1e-320}, "`final_div_factor` must be at least 1 / div_factor"),
        (
            {"div_factor": 1e40},
            "The initial rate, `max_lr / div_factor`, must be from 1.2e-38 .* = 1e-41",
        ),
        ({"div_factor": 1e300, "max_lr": 1e-30}, "`max_lr / div_factor`, must be from 1.2e-38"),
        (
            {"final_div_factor": 1e40},
            "The final rate, `max_lr / div_factor / final_div_factor`, must .* = 4e-43",
        ),
        ({"anneal": "cos"}, "`anneal` must be one of 'cosine', 'linear'. Received: anneal='cos'"),
        ({"three_phase": 1}, "`three_phase` must be True or False. Received: three_phase=1"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        clr.OneCycle(**{"max_lr": 0.1, "total_steps": 100} | changes)


def test_required_arguments():
    with pytest.raises(TypeError, match="total_steps"):
        clr.OneCycle(0.1)


def test_the_limits_of_the_factors_are_valid():
    """The final rate may be `max_lr`, but for a rounding, and the smallest that float32 holds."""
    for factor in (3.0, 49.0, 1e5):
        schedule = clr.OneCycle(0.1, 10, 0.3, factor, 1 / factor)
        assert schedule.values(9) == pytest.approx(0.1, rel=1e-15)
        assert schedule.values(range(20)).max() <= 0.1
    assert clr.OneCycle(2.0**-126 * 25e4, 10).values(9) == 2.0**-126


def test_a_final_rate_that_a_rounding_puts_above_float32_is_the_largest():
    largest = float(np.finfo(np.float32).max)
    assert largest / 376.0 / (1 / 376.0) > largest
    schedule = clr.OneCycle(largest, 10, div_factor=376.0, final_div_factor=1 / 376.0)
    assert schedule.values(9) == largest


# --- The momentum that mirrors it ---


@anneals
@pytest.mark.parametrize(("total_steps", "momenta"), [(4, [0.9] * 4), (8, [0.9, 0.8] + [0.9] * 6)])
def test_momentum_of_three_phases_whose_first_is_of_one_step_or_none(anneal, total_steps, momenta):
    schedule = clr.OneCycle(0.1, total_steps, 0.25, anneal=anneal, three_phase=True)
    found = schedule.momentum(0.9, 0.8).values(range(total_steps))
    np.testing.assert_allclose(found, momenta, rtol=1e-15)


def test_momentum_has_the_corners_of_the_rate():
    schedule = clr.OneCycle(0.1, 100, 0.25, anneal="linear", three_phase=True)
    momentum = schedule.momentum(0.9, 0.5)
    assert momentum.values([0, 12, 24, 36, 48, 70, 99, 10**6]).round(6).tolist() == (
        [0.9, 0.7, 0.5, 0.7, 0.9, 0.9, 0.9, 0.9]
    )
    assert momentum == type(momentum).from_config(momentum.get_config())


@needs_pytorch
@anneals
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("total_steps", [10, 97, 1000])
def test_momentum_of_pytorch(total_steps, anneal, three_phase):
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.1,
        total_steps=total_steps,
        anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
        three_phase=three_phase,
    )
    theirs = []
    for step in range(total_steps):
        theirs.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if step + 1 < total_steps:
            scheduler.step()
    ours = clr.OneCycle(0.1, total_steps, anneal=anneal, three_phase=three_phase).momentum()
    np.testing.assert_allclose(ours.values(range(total_steps)), theirs, rtol=1e-12)


def test_a_final_rate_above_max_lr_by_a_rounding_of_float32_is_max_lr():
    for above in (0.0, 2.0**-52, 4.5e-8):
        schedule = clr.OneCycle(0.1, 100, final_div_factor=(1 - above) / 25)
        assert schedule.values(99) == 0.1
    for above in (1e-7, 0.3, 3.0):
        with pytest.raises(ValueError, match="`final_div_factor` must be at least 1 / div_factor"):
            clr.OneCycle(0.1, 100, final_div_factor=1 / (1 + above) / 25)


def test_a_final_rate_that_is_0_in_float64_is_refused():
    with pytest.raises(
        ValueError, match=r"`max_lr / div_factor / final_div_factor`, must .* = 0\.0"
    ):
        clr.OneCycle(1e-30, 100, final_div_factor=1e300)


def pytorchs_one_cycle(step, corners, values, annealed):
    """`OneCycleLR`, as its source has it: from the value at a corner to that at the next."""
    start = 0.0
    for end, (first, last) in zip(corners, itertools.pairwise(values), strict=True):
        if step <= end or end == corners[-1]:
            return annealed(first, last, (step - start) / (end - start))
        start = end
    raise AssertionError


@anneals
@pytest.mark.parametrize("pct_start", [0.0, 1e-300, 0.3 / 7, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("total_steps", [1, 2, 7, 100])
@pytest.mark.parametrize("three_phase", [False, True])
def test_rates_and_momenta_of_pytorchs_formula(anneal, pct_start, total_steps, three_phase):
    peak, last = pct_start * total_steps - 1, total_steps - 1
    if peak == 0:
        pytest.skip("PyTorch divides by zero")
    corners = [peak, 2 * peak, last] if three_phase else [peak, last]
    initial, final = 0.1 / 25, 0.1 / 25 / 1e4
    rates = [initial, 0.1, initial, final] if three_phase else [initial, 0.1, final]
    momenta = [0.95, 0.85, 0.95, 0.95] if three_phase else [0.95, 0.85, 0.95]

    def annealed(first, last, part):
        if anneal == "cosine":
            return last + (first - last) / 2.0 * (1 + math.cos(math.pi * part))
        return (last - first) * part + first

    schedule = clr.OneCycle(
        0.1, total_steps, pct_start=pct_start, anneal=anneal, three_phase=three_phase
    )
    for ours, values in ((schedule, rates), (schedule.momentum(), momenta)):
        expected = [
            pytorchs_one_cycle(step, corners, values, annealed) for step in range(total_steps)
        ]
        np.testing.assert_allclose(ours.values(range(total_steps)), expected, rtol=1e-9)


@engines
@anneals
def test_the_ends_are_the_rates_rounded_wherever_a_rounding_may_tip(engine, anneal):
    pairs, expected = [], []
    for changes, max_lr, div_factor in itertools.product(
        [{}, {"three_phase": True}, {"final_div_factor": 1 / 3.0}],
        [1 + 2.0**-24, 1 + 3 * 2.0**-24],
        [3.0, 25.0, 1e3],
    ):
        schedule = clr.OneCycle(max_lr, 100, 0.25, div_factor, anneal=anneal, **changes)
        initial, final = initial_and_final(schedule)
        after = initial if schedule.three_phase else final
        pairs.append((schedule, [0, 24, 48 if schedule.three_phase else 99, 99]))
        expected.append([initial, max_lr, after, final])
    if engine == "xla":  # every other one, as each takes long to compile
        pairs, expected = pairs[::2], expected[::2]
    assert np.array_equal(compute_all(engine, pairs), np.array(expected, np.float32))
