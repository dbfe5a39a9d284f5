"""The cyclical policies: their numbers, scale functions, momentum, and the steps that they take."""

import itertools
import math

import numpy as np
import pytest
from helpers import exact, strategies
from helpers.keras_under_test import (
    BACKEND,
    ENGINES,
    MAX_STEP,
    as_tensor,
    compute,
    compute_all,
    keras,
)
from helpers.properties import assert_promises, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import reference
from clr_schedules._backend import backend

engines = pytest.mark.parametrize("engine", ENGINES)
# Scale functions of this module are its own: they cannot be saved, and need not be.
unsaved = pytest.mark.filterwarnings("ignore:Argument `scale_fn` is not registered:UserWarning")


def float32(*rates):
    return np.array(rates, np.float32)


@given(st.data())
def test_rates_are_what_is_promised(data):
    assert_promises(data, strategies.schedules)


@pytest.mark.slow
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
def test_engines_and_numpy_agree_over_a_million_steps(schedule):
    rng = np.random.default_rng(0)
    exponents = range(8, MAX_STEP.bit_length())
    steps = np.concatenate([rng.integers(0, 2**k, 20_000) for k in exponents])
    for engine in ENGINES:
        assert exact.ulps(compute(engine, schedule, steps), schedule.values(steps)).max() <= 0.502


@engines
def test_the_top_is_max_lr_even_between_two_floats(engine):
    """One rounding less in float64, and this rate is rounded the other way in float32.

    `n * (1 / n)`, which compilers make of `n / n`, is not 1 for these n.
    """
    pairs = [
        (clr.Cyclical(0.001, 1 + 3 * 2.0**-24, n, wave=wave), [n, 3 * n])
        for n in (49, 98, 103, 107, 161, 187)
        for wave in ("linear", "cosine")
    ]
    assert np.all(np.array(compute_all(engine, pairs)) == np.float32(1 + 3 * 2.0**-24))


@engines
def test_the_top_is_max_lr_even_where_the_sum_is_not(engine):
    """`base_lr + (max_lr - base_lr)` is the float64 below, half way to the float32 below."""
    schedule = clr.Triangular(2.0**-53, 1 + 2.0**-24 + 2.0**-52, 4)
    assert schedule.base_lr + (schedule.max_lr - schedule.base_lr) < schedule.max_lr
    assert np.array_equal(compute(engine, schedule, [4, 12]), float32(*[schedule.max_lr] * 2))
    assert schedule.values([4, 12]).tolist() == [schedule.max_lr] * 2


@unsaved
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


@unsaved
@engines
def test_a_nan_is_no_rate_outside_the_bounds(engine):
    """It shows in NumPy; compilers differ in what a minimum with it is."""
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda x: x * float("nan"))
    assert np.all(np.isnan(schedule.values([0, 5, 10])))
    rates = compute(engine, schedule, [0, 5, 10])
    assert np.all(np.isnan(rates) | ((rates >= np.float32(0.1)) & (rates <= np.float32(0.9))))


@unsaved
def test_a_scale_function_without_a_return_is_named():
    with pytest.raises(TypeError, match=r"`scale_fn` must return a number.*which returned None"):
        clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda x: None)


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
    expected = backend.to_numpy(schedule(step))
    assert expected.shape == ()
    for value in typed:
        assert np.array_equal(backend.to_numpy(schedule(value)), expected), repr(value)
    assert backend.to_numpy(schedule([step, step])).shape == (2,)


@pytest.mark.parametrize("step", [-1, 2.5, float("nan"), True, "3", None, 1j, [0, -1], 2**53])
def test_a_bad_step_outside_of_a_tensor_is_refused(step):
    schedule = clr.Triangular(1e-3, 6e-3, 2000)
    with pytest.raises((TypeError, ValueError), match=r"`step` must be .*Received: step="):
        schedule(step)
    with pytest.raises((TypeError, ValueError), match=r"`steps` must be .*Received: steps="):
        schedule.values(step)


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


@engines
@pytest.mark.parametrize(("up", "down"), [(1, 2**53), (2**53 - 2, 3), (2**53, 2**53)])
@pytest.mark.parametrize("wave", ["linear", "cosine"])
def test_a_cycle_that_is_too_long_for_a_float64(engine, wave, up, down):
    rate = clr.Cyclical(0.0, 1e-9, up, down, wave=wave)
    steps = np.array([0, 1, 2, MAX_STEP // 2 + 1, MAX_STEP - 2, MAX_STEP - 1])
    for schedule in (rate, rate.momentum(0.97, 0.0)):
        truth = [exact.of(schedule, step) for step in steps.tolist()]
        assert_right(schedule, steps, compute(engine, schedule, steps), truth)
        assert_right(schedule, steps, schedule.values(steps), truth)


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


@unsaved
@engines
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1, 0])
def test_a_scale_function_may_return_a_python_number(engine, scale):
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda cycle: scale)
    assert np.array_equal(compute(engine, schedule, [10, 30]), float32(*[0.1 + 0.8 * scale] * 2))


@unsaved
@engines
def test_a_scale_function_may_use_keras_ops(engine):
    if not hasattr(keras, "ops"):
        pytest.skip("the legacy Keras has no keras.ops")
    schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=lambda cycle: keras.ops.exp(1 - cycle))
    expected = 0.1 + 0.8 * np.exp([0.0, -1.0])
    np.testing.assert_allclose(compute(engine, schedule, [10, 30]), expected, rtol=2e-7)
    np.testing.assert_allclose(schedule.values([10, 30]), expected, rtol=2e-7)


@unsaved
@pytest.mark.parametrize(
    "scale_fn",
    [
        lambda x: 0.5 * (1 + np.sin(x * np.pi / 2)),
        lambda x: math.exp(1 - x),
        lambda x: 1.0 if x < 3 else 0.5,
        lambda x: max(0.5, 1 / x),
        lambda x: [1, 1 / 2][int(x)],
        lambda: 1.0,
    ],
)
def test_a_scale_function_that_no_train_step_can_compute_is_named_when_the_schedule_is_made(
    scale_fn,
):
    message = r"`scale_fn` must be .*without `if`, NumPy or `math`. Received: scale_fn=.*raised"
    with pytest.raises(TypeError, match=message) as error:
        clr.Cyclical(0.1, 0.9, 10, scale_fn=scale_fn)
    assert "`keras.ops`" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@unsaved
def test_a_scale_function_that_a_train_step_can_compute_is_taken():
    memory = []

    def in_place(x):
        x -= 1
        return 0.5**x

    def from_a_table(x):
        return table[backend.cast(x, "int32") % 2]

    def of_a_variable(x):  # made on the first call, as layers do
        if not memory:
            memory.append(tf.Variable([1.0, 0.5], dtype="float64"))
        return memory[0][backend.cast(x, "int32") % 2]

    functions = [in_place, from_a_table, lambda x: 1.0]
    table = backend.cast([1.0, 0.5], "float64" if BACKEND != "jax" else "float32")
    if BACKEND == "tensorflow":
        import tensorflow as tf

        functions.append(of_a_variable)
    for scale_fn in functions:
        schedule = clr.Cyclical(0.1, 0.9, 10, scale_fn=scale_fn)
        assert not memory
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(schedule), loss="mse")
        x = np.ones((4, 1), np.float32)
        model.fit(x, x, verbose=0)


BOUNDS = {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 100, "step_size_down": 250}


@engines
@pytest.mark.parametrize(
    ("policy", "general"),
    [
        (clr.Triangular(**BOUNDS), clr.Cyclical(**BOUNDS)),
        (clr.Triangular2(**BOUNDS), clr.Cyclical(**BOUNDS, peak_mult=0.5)),
        (clr.ExpRange(**BOUNDS, gamma=0.999), clr.Cyclical(**BOUNDS, gamma=0.999)),
    ],
)
def test_the_policies_of_the_paper_are_cases_of_the_general_cycle(engine, policy, general):
    steps = np.arange(0, 3000, 7)
    assert np.array_equal(policy.values(steps), general.values(steps))
    assert np.array_equal(compute(engine, policy, steps), compute(engine, general, steps))


@unsaved
@pytest.mark.parametrize("wave", ["linear", "cosine"])
@pytest.mark.parametrize("factor", [2.0, 1.2])
def test_peak_mult_is_the_scale_function_that_people_write(wave, factor):
    written = clr.Cyclical(**BOUNDS, wave=wave, scale_fn=lambda x: 1 / factor ** (x - 1))
    given = clr.Cyclical(**BOUNDS, wave=wave, peak_mult=1 / factor)
    np.testing.assert_allclose(given.values(range(9000)), written.values(range(9000)), rtol=1e-13)


def test_the_scales_are_multiplied():
    arguments = {"peak_mult": 0.7, "gamma": 0.999, "scale_fn": strategies.harmonic}
    schedule = clr.Cyclical(0.0, 1.0, 10, **arguments)
    steps = np.array([10, 30, 50])
    expected = 0.7 ** np.arange(3) * 0.999**steps / np.array([1, 2, 3])
    np.testing.assert_allclose(schedule.values(steps), expected, rtol=1e-14)


def cyclic_lr(iteration, low, high, step_size_up, step_size_down, scale_fn, scale_mode):
    """PyTorch's `CyclicLR`, as its source has it: the rate from `low`, the momentum from `high`."""
    total_size = float(step_size_up + step_size_down)
    step_ratio = step_size_up / total_size
    cycle = np.floor(1 + iteration / total_size)
    x = 1.0 + iteration / total_size - cycle
    scale_factor = np.where(x <= step_ratio, x / step_ratio, (x - 1) / (step_ratio - 1))
    height = (high - low) * scale_factor * scale_fn(cycle if scale_mode == "cycle" else iteration)
    return low + height, high - height


@pytest.mark.parametrize(
    ("schedule", "scale_fn", "scale_mode"),
    [
        (clr.Triangular(**BOUNDS), lambda x: 1.0, "cycle"),
        (clr.Triangular2(**BOUNDS), lambda x: 1 / (2.0 ** (x - 1)), "cycle"),
        (clr.ExpRange(**BOUNDS, gamma=0.999), lambda x: 0.999**x, "iterations"),
        (clr.Cyclical(**BOUNDS, scale_fn=strategies.harmonic), strategies.harmonic, "cycle"),
    ],
    ids=["Triangular", "Triangular2", "ExpRange", "Cyclical"],
)
def test_rates_and_momenta_of_pytorchs_formula(schedule, scale_fn, scale_mode):
    steps = np.arange(3000)
    rates, _ = cyclic_lr(steps, 1e-3, 6e-3, 100, 250, scale_fn, scale_mode)
    np.testing.assert_allclose(schedule.values(steps), rates, rtol=1e-12)
    # The defaults are PyTorch's too.
    for momentum, low, high in (
        (schedule.momentum(), 0.8, 0.9),
        (schedule.momentum(0.95, 0.5), 0.5, 0.95),
    ):
        _, momenta = cyclic_lr(steps, low, high, 100, 250, scale_fn, scale_mode)
        np.testing.assert_allclose(momentum.values(steps), momenta, rtol=1e-12)


@pytest.mark.parametrize("policy", ["triangular", "triangular2", "exp_range", "cyclical"])
@given(st.data())
def test_rates_are_those_of_the_papers_formula(policy, data):
    """In textbook float64, which loses some digits of a step of a million."""
    kind = {"exp_range": clr.ExpRange}.get(policy) or getattr(clr, policy.capitalize())
    schedule = data.draw(strategies.of(kind))
    steps = np.array(data.draw(st.lists(st.integers(0, 10**6), min_size=20, max_size=20)))
    names = [name for name in schedule.get_config() if name != "name"]
    arguments = {name: getattr(schedule, name) for name in names}
    if policy != "cyclical":
        del arguments["step_size_down"]
        schedule = kind(**arguments)
    with np.errstate(over="ignore", under="ignore"):  # of a textbook's powers
        expected = getattr(reference, policy)(steps, **arguments)
        if policy == "cyclical":
            cycle = {k: v for k, v in arguments.items() if k not in ("base_lr", "max_lr")}
            momenta = reference.cyclical_momentum(steps, 0.9, 0.8, **cycle)
            np.testing.assert_allclose(schedule.momentum().values(steps), momenta, rtol=1e-9)
    scale = 1e-9 * schedule.max_lr
    np.testing.assert_allclose(schedule.values(steps), expected, rtol=1e-9, atol=scale)


@engines
@pytest.mark.parametrize("wave", ["linear", "cosine"])
def test_the_ends_are_the_bounds_rounded_wherever_a_rounding_may_tip(engine, wave):
    bounds = itertools.product(
        [0.0, 1e-3, 1 / 3, 2.0**-53, 0.7000000000000001],
        [1 + 2.0**-24, 1 + 3 * 2.0**-24, 0.1 + 2.0**-28],
    )
    bounds = [(min(base_lr, max_lr), max_lr) for base_lr, max_lr in bounds]
    lengths = [(1, 1), (3, 7), (49, 49), (10**9 + 7, 1)]
    if engine == "xla":  # compiled with one of the lengths each
        cases = zip(bounds, itertools.cycle(lengths), strict=False)
    else:
        cases = itertools.product(bounds, lengths)
    pairs, expected = [], []
    for (base_lr, max_lr), (up, down) in cases:
        ends = [step for step in (0, up, up + down, 2 * up + down) if step < MAX_STEP]
        pairs.append((clr.Cyclical(base_lr, max_lr, up, down, wave=wave), ends))
        expected.append(float32(base_lr, max_lr, base_lr, max_lr)[: len(ends)])
    for rates, bounds, (schedule, _) in zip(
        compute_all(engine, pairs), expected, pairs, strict=True
    ):
        assert np.array_equal(rates, bounds), schedule
