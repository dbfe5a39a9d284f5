"""Every policy on the engine at hand, held against exact arithmetic, in each `floatx`.

The tests of the policies draw their arguments, and judge float32 by `values`. Here are few, at the
steps where arithmetic breaks first: next to the corners of cycles and to powers of two.
"""

import functools

import exact
import numpy as np
import pytest
import strategies
from keras_under_test import BACKEND, ENGINES, LEGACY, MAX_STEP, as_tensor, compute

import clr_schedules as clr
from clr_schedules import _keras, numerics

ONE_CYCLE = clr.OneCycle(6e-3, 10**6)
FAR = clr.OneCycle(6e-3, 2**31 - 5, 0.123)
POLICIES = {
    "Triangular": clr.Triangular(1e-3, 6e-3, 2000),
    "Triangular, from 0": clr.Triangular(0.0, 6e-3, 700, 333),
    "Triangular, long": clr.Triangular(1e-3, 1.999, 2**30 - 3, 2**29 + 1),
    "Triangular, endless": clr.Triangular(1e-3, 1.999, 2**53 + 1, 2**60),
    "Triangular2": clr.Triangular2(1e-3, 6e-3, 2000),
    "Triangular2, from 0": clr.Triangular2(0.0, 6e-3, 2000),
    "ExpRange": clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994),
    "ExpRange, from 0": clr.ExpRange(0.0, 6e-3, 2000, gamma=0.99994),
    "ExpRange, slow": clr.ExpRange(0.0, 6e-3, 2000, gamma=1 - 2.0**-26),
    "Cyclical, of the cycle": clr.Cyclical(0.0, 6e-3, 2000, scale_fn=strategies.harmonic),
    "OneCycle, linear": clr.OneCycle(6e-3, 10**6, anneal="linear"),
    "OneCycle, linear, three phases": clr.OneCycle(
        6e-3, 10**6, 0.123, anneal="linear", three_phase=True
    ),
    "its momentum, linear, three phases": clr.OneCycle(
        6e-3, 10**6, anneal="linear", three_phase=True
    ).momentum(),
    "Warmup": clr.Warmup(clr.Triangular(1e-3, 6e-3, 2000), 1000),
    "Cyclical": clr.Cyclical(1e-3, 6e-3, 2000, wave="cosine"),
    "Cyclical, from 0": clr.Cyclical(0.0, 6e-3, 2000, 333, wave="cosine"),
    "Cyclical, of the iteration": clr.Cyclical(
        1e-4, 6e-3, 300, wave="cosine", scale_fn=strategies.slow_decay, scale_mode="iterations"
    ),
    "OneCycle": ONE_CYCLE,
    "OneCycle, three phases": clr.OneCycle(6e-3, 10**6, three_phase=True),
    "OneCycle, far": FAR,
    "its momentum": ONE_CYCLE.momentum(),
    "its momentum, far": FAR.momentum(),
    "CosineRestarts": clr.CosineRestarts(6e-3, 1000),
    "CosineRestarts, growing by 2": clr.CosineRestarts(6e-3, 1000, 2.0, 0.5),
    "CosineRestarts, growing by 1.5": clr.CosineRestarts(6e-3, 1000, 1.5, 0.9, 1e-3),
    "CosineRestarts, shrinking": clr.CosineRestarts(6e-3, 10**5, 0.99, 0.9),
    "Warmup, Sequence": clr.Warmup(clr.Sequence([6e-3, ONE_CYCLE], [10**5]), 1000, 1e-6),
}
# Where cycles are walked through, one by one, to have the truth.
LIMITS = {"CosineRestarts, shrinking": 10**6}
TURNS = (1, 333, 700, 999, 1000, 1033, 2000, 2333, 4000, 123_000, 246_000, 300_000, 600_000, 10**6)
COMPILED = ENGINES[-1]  # PyTorch has one engine
policies = pytest.mark.parametrize("policy", POLICIES)
# One of each kind of arithmetic, for what is only rounded once more.
some_policies = pytest.mark.parametrize(
    "policy",
    ["Triangular", "Triangular2, from 0", "ExpRange, from 0", "OneCycle", "CosineRestarts"],
)


# Next to these, a rate is taken for its peak.
PEAKS = (round(0.123 * (2**31 - 5)) - 1, 2**53 + 1)


@functools.cache
def steps_and_truth(policy):
    """Steps next to corners and powers of two, and any others, with the exact rates."""
    limit = min(LIMITS.get(policy, MAX_STEP), MAX_STEP)
    powers = [2**k for k in range(63) if k < 12 or k % 3 == 1 or 22 < k < 33]
    corners = [power // turn * turn for power in powers for turn in (4000, 1033, 1000)]
    corners += [*powers, *TURNS, *(3 * turn for turn in TURNS), limit - 1]
    steps = {corner + off for corner in corners for off in (-1, 0, 1)}
    steps |= {peak + off for peak in PEAKS for off in range(-100, 100, 7)}
    steps |= set(np.random.default_rng(0).integers(0, 2 * 10**6, 200).tolist())
    steps = np.array(sorted(step for step in steps if 0 <= step < limit), np.int64)
    truth = [exact.of(POLICIES[policy], step) for step in steps.tolist()]
    return steps, exact.in_two_floats(truth)


@policies
def test_float32_is_rounded_correctly(policy):
    steps, truth = steps_and_truth(policy)
    rates = compute(COMPILED, POLICIES[policy], steps)
    assert rates.dtype == np.float32
    assert exact.ulps(rates, *truth, "float32").max() <= 0.502


@policies
def test_float64_is_right_to_a_few_units(policy, set_floatx):
    set_floatx("float64")
    steps, truth = steps_and_truth(policy)
    with _keras.wide_types():  # what a user of JAX has to ask for
        rates = compute(COMPILED, POLICIES[policy], steps)
    assert rates.dtype == np.float64
    assert exact.ulps(rates, *truth, "float64").max() <= 4


# Where the roundings of an angle, if they were not kept, would add up to 3.7 to 5.6 units.
ANGLES = {
    "Cyclical": clr.Cyclical(1e-9, 6e-3, 699_999, wave="cosine"),
    "Cyclical, asymmetric": clr.Cyclical(0.0, 6e-3, 699_999, 123_456_789, wave="cosine"),
    "OneCycle, three phases": clr.OneCycle(6e-3, 2_333_331, three_phase=True),
    "its momentum": clr.OneCycle(6e-3, 1_234_567, 0.123).momentum(0.95, 0.0),
    # With a step right behind a corner that is no whole one: 1 - 0.999...
    "its momentum, at a corner": clr.OneCycle(6e-3, 1000, 0.3009999).momentum(0.95, 0.0),
    "its momentum, next to one": clr.OneCycle(6e-3, 10, 0.29999999).momentum(0.95, 0.0),
    "CosineRestarts": clr.CosineRestarts(6e-3, 699_999, min_lr=1e-9),
    "CosineRestarts, lower and lower": clr.CosineRestarts(6e-3, 699_999, 1.0, 0.9),
    "CosineRestarts, growing by 2": clr.CosineRestarts(6e-3, 123_457, 2.0, min_lr=1e-9),
    "CosineRestarts, growing by 1.5": clr.CosineRestarts(6e-3, 123_457, 1.5, 0.9, 1e-9),
    "CosineRestarts, growing by a tenth": clr.CosineRestarts(6e-3, 3, 1.1),
    "CosineRestarts, growing by a fraction": clr.CosineRestarts(6e-3, 20, 2.1496073533591744),
}


@pytest.mark.parametrize("policy", ANGLES)
def test_float64_keeps_what_rounding_leaves_of_an_angle(policy, set_floatx):
    set_floatx("float64")
    steps = [*np.random.default_rng(0).integers(0, 2 * 10**6, 1500), *range(3000), 36_632]
    steps = np.unique(steps)
    truth = exact.in_two_floats([exact.of(ANGLES[policy], step) for step in steps.tolist()])
    with _keras.wide_types():
        rates = compute(COMPILED, ANGLES[policy], steps)
    assert exact.ulps(rates, *truth, "float64").max() <= 3.5


def test_float32_has_no_operation_for_what_rounding_leaves():
    with _keras.wide_types():
        step = numerics.integer(12_345)
        for up, down in ((700, 700), (700, 333)):
            angle = numerics.triangle_angle(step, up, down)
            wave = numerics.half_cosine(angle)
            scaled = wave.times(numerics.power(0.5, step))
            for each in (angle, angle.clipped(), wave, scaled):
                assert isinstance(each.rest, float)
                assert each.rest == 0


@pytest.mark.skipif(BACKEND != "jax", reason="the others have float64 at all times")
@some_policies
def test_float64_is_float32_where_jax_has_no_64_bits(policy, set_floatx):
    set_floatx("float64")
    steps, truth = steps_and_truth(policy)
    rates = compute(COMPILED, POLICIES[policy], steps)
    assert rates.dtype == np.float32
    assert exact.ulps(rates, *truth, "float32").max() <= 0.502


@some_policies
@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_short_floats_are_rounded_correctly(policy, floatx, set_floatx):
    if LEGACY and floatx == "bfloat16":
        pytest.skip("the legacy Keras has no such floatx")
    set_floatx(floatx)
    steps, truth = steps_and_truth(policy)
    if BACKEND == "torch":  # of which NumPy does not take a bfloat16
        tensor = POLICIES[policy](as_tensor(steps))
        assert str(tensor.dtype) == f"torch.{floatx}"
        rates = _keras.to_numpy(tensor)
    else:
        rates = compute(COMPILED, POLICIES[policy], steps)
        assert rates.dtype.name == floatx
    assert exact.ulps(rates, *truth, floatx).max() <= 0.502


def test_what_float16_does_not_hold_is_rounded_to_what_it_does(set_floatx):
    """Where `floatx` itself is float16; in mixed precision it is float32."""
    set_floatx("float16")
    tiny, steps = clr.Triangular(1e-9, 8e-8, 1000), range(1001)
    smallest = 2.0**-24
    expected = np.where(tiny.values(steps) > smallest / 2, smallest, 0.0)
    assert np.array_equal(compute(COMPILED, tiny, steps), expected)
