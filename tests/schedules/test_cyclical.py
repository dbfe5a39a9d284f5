"""The numbers: what a compiled step computes, held against the reference."""

import exact
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_under_test import BACKEND, ENGINES, MAX_STEP, as_tensor, compute, keras

import clr_schedules as clr
from clr_schedules import _keras

# "Correctly rounded" is 0.5; what float64 adds to it before the rounding is far below the rest.
ULPS = 0.502

engines = pytest.mark.parametrize("engine", ENGINES)


def float32(*rates):
    return np.array(rates, np.float32)


@engines
@given(st.data())
def test_correctly_rounded(engine, data):
    schedule = data.draw(strategies.schedules)
    steps = data.draw(strategies.steps_of(schedule))
    rates = compute(engine, schedule, steps)
    assert rates.dtype == np.float32
    assert exact.ulps(rates, schedule.values(steps)).max() <= ULPS


@pytest.mark.slow
@engines
@settings(max_examples=1500)
@given(st.data())
def test_correctly_rounded_thoroughly(engine, data):
    schedule = data.draw(strategies.schedules)
    steps = data.draw(strategies.steps_of(schedule, n=200))
    assert exact.ulps(compute(engine, schedule, steps), schedule.values(steps)).max() <= ULPS


@pytest.mark.slow
@engines
@pytest.mark.parametrize(
    "schedule",
    [
        clr.Triangular(1e-3, 6e-3, 2000),
        clr.Triangular(1e-3, 6e-3, 700, 2**33 + 1),
        clr.Triangular2(1e-3, 6e-3, 2000),
        clr.Triangular2(0.0, 6e-3, 20_000, 333),
        clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994),
        clr.ExpRange(0.0, 6e-3, 2000, gamma=0.9999),
        clr.Cyclical(1e-3, 6e-3, 2000, wave="cosine"),
        clr.Cyclical(0.0, 6e-3, 2**20, 3, wave="cosine"),
    ],
    ids=repr,
)
def test_correctly_rounded_over_a_million_steps(engine, schedule):
    rng = np.random.default_rng(0)
    exponents = range(8, MAX_STEP.bit_length())
    steps = np.concatenate([rng.integers(0, 2**k, 20_000) for k in exponents])
    assert exact.ulps(compute(engine, schedule, steps), schedule.values(steps)).max() <= ULPS


@engines
@given(strategies.periodic, st.data())
def test_ends_are_the_bounds_rounded(engine, schedule, data):
    up, down = strategies.up_and_down(schedule)
    cycles = data.draw(
        st.lists(st.integers(0, (MAX_STEP - 1) // (up + down)), min_size=8, max_size=8)
    )
    starts = np.array([cycle * (up + down) for cycle in cycles], np.int64)
    starts = starts[starts < MAX_STEP - up]
    low, high = float32(schedule.base_lr, schedule.max_lr)
    assert np.all(compute(engine, schedule, starts) == low)
    assert np.all(compute(engine, schedule, starts + up) == high)


@engines
@pytest.mark.parametrize("n", [49, 98, 103, 107, 161, 187])
@pytest.mark.parametrize("wave", ["linear", "cosine"])
def test_the_top_is_max_lr_even_between_two_floats(engine, n, wave):
    """One rounding less in float64, and this rate is rounded the other way in float32.

    `n * (1 / n)`, which compilers make of `n / n`, is not 1 for these n.
    """
    schedule = clr.Cyclical(0.001, 1 + 3 * 2.0**-24, n, wave=wave)
    assert np.all(compute(engine, schedule, [n, 3 * n]) == np.float32(schedule.max_lr))


@engines
def test_the_top_is_max_lr_even_where_the_sum_is_not(engine):
    """`base_lr + (max_lr - base_lr)` is the float64 below, half way to the float32 below."""
    schedule = clr.Triangular(2.0**-53, 1 + 2.0**-24 + 2.0**-52, 4)
    assert schedule.base_lr + (schedule.max_lr - schedule.base_lr) < schedule.max_lr
    assert np.array_equal(compute(engine, schedule, [4, 12]), float32(*[schedule.max_lr] * 2))
    assert schedule.values([4, 12]).tolist() == [schedule.max_lr] * 2


@engines
@pytest.mark.parametrize("wave", ["linear", "cosine"])
def test_an_infinite_scale_stays_within_the_bounds_too(engine, wave):
    bounds = {"base_lr": 0.1, "max_lr": 0.9, "step_size": 10, "wave": wave}
    for scale_fn in (lambda x: 1 / x, lambda x: -1 / x):
        pole = clr.Cyclical(**bounds, scale_fn=scale_fn, scale_mode="iterations")
        assert compute(engine, pole, [0])[0] == np.float32(0.1)
        assert pole.values(0) == 0.1
    for infinity, bound in ((float("inf"), 0.9), (-float("inf"), 0.1)):
        schedule = clr.Cyclical(**bounds, scale_fn=lambda x, infinity=infinity: infinity)
        assert np.array_equal(compute(engine, schedule, [0, 5, 10]), float32(0.1, bound, bound))
        assert schedule.values([0, 5, 10]).tolist() == [0.1, bound, bound]


@engines
def test_a_nan_is_no_rate_outside_the_bounds(engine):
    """It shows in NumPy; compilers differ in what a minimum with it is."""
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda x: x * float("nan"))
    assert np.all(np.isnan(schedule.values([0, 5, 10])))
    rates = compute(engine, schedule, [0, 5, 10])
    assert np.all(np.isnan(rates) | ((rates >= np.float32(0.1)) & (rates <= np.float32(0.9))))


def test_a_scale_function_without_a_return_is_named():
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda x: None)
    for compute_it in (schedule, schedule.values):
        with pytest.raises(TypeError, match="`scale_fn` must return a number"):
            compute_it(3)


@engines
@given(st.data())
def test_stays_within_the_bounds(engine, data):
    schedule = data.draw(strategies.schedules)
    rates = compute(engine, schedule, data.draw(strategies.steps_of(schedule)))
    low, high = float32(schedule.base_lr, schedule.max_lr)
    assert np.all((low <= rates) & (rates <= high))


@engines
@given(st.data())
def test_half_cycles_are_monotone(engine, data):
    schedule = data.draw(strategies.periodic | strategies.triangular2s)
    up, down = strategies.up_and_down(schedule)
    # Anywhere on a half-cycle of the early cycles, sparse or consecutive.
    cycle = data.draw(st.integers(0, min(40, (MAX_STEP - 1) // (up + down))))
    rising = data.draw(st.booleans())
    length = up if rising else down
    first = data.draw(st.integers(0, length))
    stride = data.draw(st.integers(1, max(1, length // 64)) | st.just(1))
    positions = np.minimum(first + stride * np.arange(64, dtype=object), length)
    steps = (cycle * (up + down) + (0 if rising else up) + positions).astype(np.uint64)
    steps = steps[steps < MAX_STEP].astype(np.int64)
    changes = np.diff(compute(engine, schedule, steps))
    assert np.all(changes >= 0) if rising else np.all(changes <= 0)


@engines
@given(strategies.periodic, st.data())
def test_every_cycle_is_like_the_first(engine, schedule, data):
    length = sum(strategies.up_and_down(schedule))
    steps = data.draw(strategies.steps_of(schedule))
    assert np.array_equal(
        compute(engine, schedule, steps), compute(engine, schedule, steps % length)
    )


@pytest.mark.skipif(len(ENGINES) == 1, reason=f"{BACKEND} has one engine")
@given(st.data())
def test_engines_agree(data):
    schedule = data.draw(strategies.schedules)
    steps = data.draw(strategies.steps_of(schedule))
    first, *others = (compute(engine, schedule, steps) for engine in ENGINES)
    for other in others:
        assert exact.ulps(other, first).max() <= 1


@given(st.data())
@settings(max_examples=30)
def test_a_vector_is_its_scalars(data):
    schedule = data.draw(strategies.schedules)
    steps = data.draw(strategies.steps_of(schedule, n=8))
    scalars = [_keras.to_numpy(schedule(as_tensor(step))) for step in steps]
    assert all(rate.shape == () for rate in scalars)
    assert np.array_equal(compute("eager", schedule, steps), np.array(scalars))
    assert np.array_equal(
        compute("eager", schedule, steps.reshape(2, 4)), np.array(scalars).reshape(2, 4)
    )


@given(strategies.schedules, st.integers(0, 2**24))
@settings(max_examples=30)
def test_a_step_is_a_number_however_it_is_typed(schedule, step):
    typed = [
        float(step),
        np.int32(step),
        np.int64(step),
        np.float32(step),
        np.float64(step),
        np.array(step),
        as_tensor(np.array(step, np.int64)),
        keras.optimizers.SGD(0.1).iterations,
    ]
    typed[-1].assign(step)
    if BACKEND != "jax":
        typed += [as_tensor(np.array(step, np.int32)), as_tensor(np.array(step, np.float32))]
    expected = _keras.to_numpy(schedule(step))
    assert expected.shape == ()
    for value in typed:
        assert np.array_equal(_keras.to_numpy(schedule(value)), expected), repr(value)
    assert _keras.to_numpy(schedule([step, step])).shape == (2,)


@pytest.mark.parametrize("step", [-1, 2.5, float("nan"), True, "3", None, 1j, [0, -1], 2**62])
def test_a_bad_step_outside_of_a_tensor_is_refused(step):
    schedule = clr.Triangular(1e-3, 6e-3, 2000)
    with pytest.raises((TypeError, ValueError), match=r"`step` must be .*Received: step="):
        schedule(step)
    with pytest.raises((TypeError, ValueError), match=r"`steps` must be .*Received: steps="):
        schedule.values(step)


@given(st.data())
def test_values_are_float64_on_the_host(data):
    schedule = data.draw(strategies.schedules)
    steps = data.draw(strategies.steps_of(schedule))
    values = schedule.values(steps.reshape(4, 8))
    assert type(values) is np.ndarray
    assert (values.dtype, values.shape) == (np.float64, (4, 8))
    assert schedule.values(int(steps[0])).shape == ()
    assert schedule.values(int(steps[0])) == values[0, 0]


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (clr.Cyclical(0.5, 1.0, 523, wave="cosine"), 244),
        (clr.ExpRange(1e-3, 6e-3, 2, gamma=0.9999855840387281), 0),
        (clr.OneCycle(1.0, 1000), 300),
        (clr.CosineRestarts(1.0, 523), 244),
    ],
)
def test_the_value_of_a_step_is_that_of_the_step_in_an_array(schedule, step):
    for near in range(step, step + 100):
        assert schedule.values(near) == schedule.values([near, 0])[0]


def test_underflow_of_the_power_is_the_base_rate():
    for schedule in (clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.5), clr.Triangular2(1e-3, 6e-3, 1)):
        for engine in ENGINES:
            rates = compute(engine, schedule, [MAX_STEP - 1, MAX_STEP - 2, MAX_STEP // 2])
            assert np.array_equal(rates, float32(*[1e-3] * 3))


def test_below_the_smallest_float32_zero_is_reached_without_nan():
    schedule = clr.ExpRange(0.0, 6e-3, 2000, gamma=0.99)
    for engine in ENGINES:
        rates = compute(engine, schedule, np.arange(1, 40_001, 7))
        assert np.all(np.isfinite(rates))
        assert np.all(rates >= 0)
        assert rates[-1] == 0


@engines
@pytest.mark.parametrize("wave", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("scale_fn", "mode"), [(strategies.harmonic, "cycle"), (strategies.slow_decay, "iterations")]
)
def test_scale_function_is_the_formula(engine, wave, scale_fn, mode):
    schedule = clr.Cyclical(0.1, 0.9, 10, 30, wave=wave, scale_fn=scale_fn, scale_mode=mode)
    steps = np.arange(200)
    triangle = np.array([float(exact.triangle(step, 10, 30)) for step in steps.tolist()])
    shape = (1 - np.cos(np.pi * triangle)) / 2 if wave == "cosine" else triangle
    scale = 1 / (steps // 40 + 1) if mode == "cycle" else 1 / (1 + 1e-4 * steps)
    np.testing.assert_allclose(
        compute(engine, schedule, steps), 0.1 + 0.8 * shape * scale, rtol=1e-7
    )


@engines
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1, 0])
def test_a_scale_function_may_return_a_python_number(engine, scale):
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda cycle: scale)
    assert np.array_equal(compute(engine, schedule, [10, 30]), float32(*[0.1 + 0.8 * scale] * 2))


@engines
def test_a_scale_function_may_use_keras_ops(engine):
    if not hasattr(keras, "ops"):
        pytest.skip("the legacy Keras has no keras.ops")
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda cycle: keras.ops.exp(1 - cycle))
    expected = 0.1 + 0.8 * np.exp([0.0, -1.0])
    np.testing.assert_allclose(compute(engine, schedule, [10, 30]), expected, rtol=2e-7)
    np.testing.assert_allclose(schedule.values([10, 30]), expected, rtol=2e-7)


def test_special_cases_of_the_general_cycle():
    steps = np.arange(0, 3000, 7)
    bounds = {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 100, "step_size_down": 250}

    def halve(cycle):
        return 2.0 ** (1 - cycle)

    def decay(iteration):
        return 0.999**iteration

    for policy, general in [
        (clr.Triangular(**bounds), clr.Cyclical(**bounds)),
        (clr.Triangular2(**bounds), clr.Cyclical(**bounds, scale_fn=halve)),
        (
            clr.ExpRange(**bounds, gamma=0.999),
            clr.Cyclical(**bounds, scale_fn=decay, scale_mode="iterations"),
        ),
    ]:
        np.testing.assert_allclose(policy.values(steps), general.values(steps), rtol=1e-14)
        assert np.array_equal(compute("eager", policy, steps), compute("eager", general, steps))


def test_float64_and_float16_are_what_floatx_says(set_floatx):
    schedule = clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994)
    steps = np.arange(0, 10_000, 13)
    set_floatx("float16")
    assert _keras.to_numpy(schedule(as_tensor(steps))).dtype == np.float16
    set_floatx("float64")
    rates = _keras.to_numpy(schedule(as_tensor(steps)))
    if BACKEND == "jax":
        assert rates.dtype == np.float32  # as everywhere in JAX without its 64-bit types
    else:
        assert rates.dtype == np.float64
        assert exact.ulps(rates, schedule.values(steps), dtype="float64").max() <= 4
