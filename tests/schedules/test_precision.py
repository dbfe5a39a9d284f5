"""Every kind of arithmetic on the engine at hand, held against exact arithmetic, in each `floatx`.

The tests of the policies draw their arguments, and judge float32 by `values`. Here are few, at the
steps where arithmetic breaks first: next to the corners of cycles and to powers of two.
"""

import functools

import numpy as np
import pytest
from helpers import exact, strategies
from helpers.keras_under_test import BACKEND, ENGINES, LEGACY, MAX_STEP, as_tensor, compute
from helpers.properties import FLOAT64_ULPS, ULPS

import clr_schedules as clr
from clr_schedules._backend import backend

ONE_CYCLE = clr.OneCycle(6e-3, 10**6)
FAR = clr.OneCycle(6e-3, 2**31 - 5, 0.123)
SCHEDULES = {
    "Triangular": clr.Triangular(1e-3, 6e-3, 2000),
    "Triangular, from 0": clr.Triangular(0.0, 6e-3, 700, 333),
    "Triangular, long": clr.Triangular(1e-3, 1.999, 2**30 - 3, 2**29 + 1),
    "Triangular, endless": clr.Triangular(1e-3, 1.999, 2**53, 2**52 + 1),
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
    "CosineRestarts, growing by a hundredth": clr.CosineRestarts(6e-3, 1000, 1.01),
    "Shifted": clr.Shifted(clr.CosineRestarts(6e-3, 1000, 1.5, 0.9, 1e-3), -700),
    "Triangular's momentum": clr.Triangular(1e-3, 6e-3, 700, 333).momentum(),
    "Cyclical's momentum, decaying": clr.Cyclical(
        1e-3, 6e-3, 2000, wave="cosine", peak_mult=0.5
    ).momentum(),
    "Cyclical, decaying": clr.Cyclical(
        1e-3, 6e-3, 2000, 500, wave="cosine", peak_mult=0.7, gamma=0.99994
    ),
    "Warmup, Piecewise": clr.Warmup(clr.Piecewise([6e-3, ONE_CYCLE], [10**5]), 1000, 1e-6),
}
TURNS = (1, 333, 700, 999, 1000, 1033, 2000, 2333, 4000, 123_000, 246_000, 300_000, 600_000, 10**6)
COMPILED = ENGINES[-1]  # PyTorch has one engine
schedules = pytest.mark.parametrize("name", SCHEDULES)
# One of each kind of arithmetic, for what is only rounded once more.
some_schedules = pytest.mark.parametrize(
    "name",
    ["Triangular", "Triangular2, from 0", "ExpRange, from 0", "OneCycle", "CosineRestarts"],
)


# Next to these, a rate is taken for its peak.
PEAKS = (round(0.123 * (2**31 - 5)) - 1, 2**52 + 1)


@functools.cache
def steps_and_truth(name):
    """Steps next to corners and powers of two, and any others, with the exact rates."""
    limit = MAX_STEP - (700 if name == "Shifted" else 0)  # which is ahead of its step
    powers = [2**k for k in range(54) if k < 12 or k % 3 == 1 or 22 < k < 33]
    corners = [power // turn * turn for power in powers for turn in (4000, 1033, 1000)]
    corners += [*powers, *TURNS, *(3 * turn for turn in TURNS), limit - 1]
    steps = {corner + off for corner in corners for off in (-1, 0, 1)}
    steps |= {peak + off for peak in PEAKS for off in range(-100, 100, 7)}
    steps |= set(np.random.default_rng(0).integers(0, 2 * 10**6, 200).tolist())
    steps = np.array(sorted(step for step in steps if 0 <= step < limit), np.int64)
    truth = [exact.of(SCHEDULES[name], step) for step in steps.tolist()]
    return steps, exact.in_two_floats(truth)


@pytest.mark.parametrize("engine", ENGINES)
@schedules
def test_float32_is_rounded_correctly(name, engine):
    steps, truth = steps_and_truth(name)
    rates = compute(engine, SCHEDULES[name], steps)
    assert rates.dtype == np.float32
    assert exact.ulps(rates, *truth, "float32").max() <= ULPS


@schedules
def test_float64_is_right_to_a_few_units(name, set_floatx):
    set_floatx("float64")
    steps, truth = steps_and_truth(name)
    with backend.wide_types():  # what a user of JAX has to ask for
        computed = {
            "compiled": compute(COMPILED, SCHEDULES[name], steps),
            "eager": compute("eager", SCHEDULES[name], steps),
            "NumPy": SCHEDULES[name].values(steps),
        }
    for engine, rates in computed.items():
        assert rates.dtype == np.float64
        assert exact.ulps(rates, *truth, "float64").max() <= FLOAT64_ULPS, engine


@pytest.mark.skipif(BACKEND != "jax", reason="the others have float64 at all times")
@some_schedules
def test_float64_is_float32_where_jax_has_no_64_bits(name, set_floatx):
    set_floatx("float64")
    steps, truth = steps_and_truth(name)
    rates = compute(COMPILED, SCHEDULES[name], steps)
    assert rates.dtype == np.float32
    assert exact.ulps(rates, *truth, "float32").max() <= ULPS


@some_schedules
@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_short_floats_are_rounded_correctly(name, floatx, set_floatx):
    if LEGACY and floatx == "bfloat16":
        pytest.skip("the legacy Keras has no such floatx")
    set_floatx(floatx)
    steps, truth = steps_and_truth(name)
    if BACKEND == "torch":  # of which NumPy does not take a bfloat16
        tensor = SCHEDULES[name](as_tensor(steps))
        assert str(tensor.dtype) == f"torch.{floatx}"
        rates = backend.to_numpy(tensor)
    else:
        rates = compute(COMPILED, SCHEDULES[name], steps)
        assert rates.dtype.name == floatx
    assert exact.ulps(rates, *truth, floatx).max() <= ULPS


def test_what_float16_does_not_hold_is_rounded_to_what_it_does(set_floatx):
    """Where `floatx` itself is float16; in mixed precision it is float32."""
    set_floatx("float16")
    tiny, steps = clr.Triangular(1e-9, 8e-8, 1000), range(1001)
    smallest = 2.0**-24
    expected = np.where(tiny.values(steps) > smallest / 2, smallest, 0.0)
    assert np.array_equal(compute(COMPILED, tiny, steps), expected)
