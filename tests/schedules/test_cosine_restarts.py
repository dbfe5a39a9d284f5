"""Cosine restarts: their numbers, their boundaries, and the schedules of that name elsewhere."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
from helpers import exact, strategies
from helpers.keras_under_test import ENGINES, MAX_STEP, compute, compute_all, keras
from helpers.properties import ULPS, assert_promises, assert_right
from hypothesis import assume, given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import reference

LAST = 2**53 - 1

engines = pytest.mark.parametrize("engine", ENGINES)


@given(st.data())
def test_rates_are_what_is_promised(data):
    assert_promises(data, strategies.of(clr.CosineRestarts))


@given(strategies.arguments_of(clr.CosineRestarts), st.data())
def test_rates_are_those_of_the_textbooks_formula(arguments, data):
    """Away from the restarts, which float64 may put an iteration off."""
    arguments["cycle_mult"] = data.draw(st.sampled_from([1.0, 2.0, 3.0, 1.5, 1.25, 0.5, 0.75]))
    first = arguments["first_cycle_steps"] = data.draw(st.integers(100, 10**5))
    steps = data.draw(st.lists(st.integers(0, 10**6), min_size=20, max_size=20))
    cycles = [exact.restart_cycle(step, first, arguments["cycle_mult"]) for step in steps]
    steps = np.array([step for step, cycle in zip(steps, cycles, strict=True) if cycle < 30], int)
    expected = reference.cosine_restarts(steps, **arguments)
    scale = 1e-9 * arguments["max_lr"]
    schedule = clr.CosineRestarts(**arguments)
    np.testing.assert_allclose(schedule.values(steps), expected, rtol=1e-9, atol=scale)


@engines
@pytest.mark.parametrize("first_cycle_steps", [1, 7, 1000])
def test_cycles_begin_where_they_should(engine, first_cycle_steps):
    """Every boundary of the first cycles: the peak at it or after it, the lowest rate before."""
    pairs = []
    for cycle_mult in (1.0, 2.0, 3.0, 1.5, 1.1, 1.01, 0.99, 0.9, 0.5):
        count = min(exact.restart_count(first_cycle_steps, cycle_mult), 30)
        starts = [exact.restart(n, first_cycle_steps, cycle_mult) for n in range(1, count)]
        steps = {0, *(math.ceil(start) + off for start in starts for off in (-1, 0))}
        steps = np.array(sorted(step for step in steps if 0 <= step < MAX_STEP))
        schedule = clr.CosineRestarts(1.0, first_cycle_steps, cycle_mult, peak_mult=0.9)
        pairs.append((schedule, steps))
    for (schedule, steps), rates in zip(pairs, compute_all(engine, pairs), strict=True):
        truth = [exact.of(schedule, step) for step in steps.tolist()]
        assert_right(schedule, steps, rates, truth)


@given(st.sampled_from([1.0, 2.0, 3.0, 5.0]), strategies.step_sizes, st.integers(0, 60))
def test_a_whole_factor_restarts_at_max_lr(cycle_mult, first_cycle_steps, cycle):
    assume(cycle < exact.restart_count(first_cycle_steps, cycle_mult))
    start = exact.restart(cycle, first_cycle_steps, cycle_mult)
    assume(start < MAX_STEP)
    schedule = clr.CosineRestarts(0.1, first_cycle_steps, cycle_mult)
    assert compute("eager", schedule, [int(start)])[0] == np.float32(0.1)
    assert schedule.values(int(start)) == 0.1


@pytest.mark.parametrize("cycle_mult", [1e-300, 0.5, 0.99, 1.0, 1.01, 2.0, 1e300])
def test_no_step_is_too_many(cycle_mult):
    schedule = clr.CosineRestarts(0.1, 1000, cycle_mult, 0.9, 1e-3)
    rates = compute("eager", schedule, [MAX_STEP - 1])
    assert np.float32(1e-3) <= rates[0] <= np.float32(0.1)
    assert 1e-3 <= schedule.values(LAST) <= 0.1


@engines
@pytest.mark.parametrize(
    ("first", "cycle_mult", "end"),
    [(8, 0.5, 15), (1000, 1e-320, 1000), (1000, 1e-40, 1000), (1, 0.99, 1), (100, 0.9, 991)],
)
def test_where_a_cycle_would_be_shorter_than_an_iteration_the_rate_stays_low(
    engine, first, cycle_mult, end
):
    schedule = clr.CosineRestarts(1.0, first, cycle_mult, min_lr=0.25)
    steps = np.array([0, end - 1, end, end + 1, end + 1000, MAX_STEP - 1])
    rates = compute(engine, schedule, steps)
    truth = [exact.of(schedule, step) for step in steps.tolist()]
    assert_right(schedule, steps, rates, truth)
    assert rates[1] > 0.25
    assert rates[2:].tolist() == schedule.values(steps[2:]).tolist() == [0.25] * 4


def test_cycles_of_one_iteration_are_cycles():
    """8, 4, 2, and 1; and the next would take half an iteration."""
    schedule = clr.CosineRestarts(1.0, 8, cycle_mult=0.5, peak_mult=0.5)
    assert schedule.values([0, 8, 12, 14, 15, 16]).tolist() == [1.0, 0.5, 0.25, 0.125, 0.0, 0.0]


@pytest.mark.parametrize("cycle_mult", [1.0099, 0.9901, 1 + 2.0**-52, 0.0, -2.0])
def test_cycles_do_not_grow_or_shrink_by_less_than_a_percent(cycle_mult):
    rule = r"`cycle_mult` must be 1, at least 1.01 \(growing.*at most 0.99 \(shrinking.*Received: "
    with pytest.raises(ValueError, match=rule):
        clr.CosineRestarts(0.1, 100, cycle_mult)


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
