"""The textbook's formulas, held against exact arithmetic as far as float64 goes at usual steps."""

import numpy as np
import pytest
from helpers import exact, strategies
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import reference

steps = st.lists(st.integers(0, 10**6), min_size=10, max_size=10)


def assert_close(got, truth, highest):
    np.testing.assert_allclose(got, [float(x) for x in truth], rtol=1e-9, atol=1e-9 * highest)


@given(strategies.arguments_of(clr.Triangular), steps)
def test_triangular_is_the_formula_of_the_paper(arguments, steps):
    del arguments["step_size_down"]
    truth = [exact.paper_triangular(step, **arguments) for step in steps]
    assert_close(reference.triangular(steps, **arguments), truth, arguments["max_lr"])


@given(strategies.of(clr.Cyclical), steps)
def test_cyclical(schedule, steps):
    arguments = {k: v for k, v in vars(schedule).items() if k != "name"}
    truth = [exact.of(schedule, step) for step in steps]
    with np.errstate(under="ignore"):
        assert_close(reference.cyclical(steps, **arguments), truth, schedule.max_lr)


@pytest.mark.parametrize(
    ("policy", "special", "general"),
    [
        ("triangular", {}, {}),
        ("triangular2", {}, {"peak_mult": 0.5}),
        ("exp_range", {"gamma": 0.999}, {"gamma": 0.999}),
    ],
)
def test_the_policies_of_the_paper_are_cases_of_the_general_cycle(policy, special, general):
    iterations = np.arange(5000).reshape(50, 100)
    got = getattr(reference, policy)(iterations, 1e-3, 6e-3, 70, **special)
    assert got.shape == (50, 100)
    np.testing.assert_allclose(
        got, reference.cyclical(iterations, 1e-3, 6e-3, 70, **general), rtol=1e-12
    )


@given(strategies.arguments_of(clr.OneCycle), steps, st.integers(1, 10**6))
def test_one_cycle(arguments, steps, total_steps):
    arguments["total_steps"] = total_steps
    schedule = clr.OneCycle(**arguments)
    if exact.peak_of(total_steps, schedule.pct_start, schedule.three_phase) == 0:
        return  # PyTorch, whose formula this is, divides by zero
    truth = [exact.of(schedule, step) for step in steps]
    assert_close(reference.one_cycle(steps, **arguments), truth, schedule.max_lr)
    phases = {k: arguments[k] for k in ("total_steps", "pct_start", "anneal", "three_phase")}
    truth = [exact.of(schedule.momentum(), step) for step in steps]
    assert_close(reference.one_cycle_momentum(steps, **phases), truth, 1.0)


@given(strategies.arguments_of(clr.CosineRestarts), steps, st.integers(100, 10**5))
def test_cosine_restarts_by_a_factor_that_float64_multiplies_exactly(arguments, steps, first):
    for cycle_mult in (1.0, 2.0, 1.5, 0.5):
        arguments |= {"first_cycle_steps": first, "cycle_mult": cycle_mult}
        truth = [exact.cosine_restarts(step, **arguments) for step in steps]
        assert_close(reference.cosine_restarts(steps, **arguments), truth, arguments["max_lr"])


def test_the_arguments_of_the_schedules_have_the_same_defaults():
    iterations = np.arange(120)
    for got, schedule in (
        (reference.one_cycle(iterations, 0.5, 100), clr.OneCycle(0.5, 100)),
        (reference.one_cycle_momentum(iterations, 100), clr.OneCycle(0.5, 100).momentum()),
        (reference.cosine_restarts(iterations, 0.5, 7), clr.CosineRestarts(0.5, 7)),
        (reference.cyclical(iterations, 0.1, 0.5, 7), clr.Cyclical(0.1, 0.5, 7)),
        (reference.warmup(iterations, lambda _: 0.5, 7), clr.Warmup(0.5, 7)),
    ):
        np.testing.assert_allclose(schedule.values(iterations), got, rtol=1e-9)
