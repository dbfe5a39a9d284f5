"""Schedules of schedules: of this package, of others of Keras, and of rates."""

import copy
import json
import pickle
import re

import numpy as np
import pytest
from helpers import strategies
from helpers.keras_under_test import (
    ENGINES,
    LEGACY,
    compute,
    keras,
    needs_tensorflow,
)
from helpers.properties import assert_promises
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import reference
from clr_schedules._backend import backend

engines = pytest.mark.parametrize("engine", ENGINES)
others = keras.optimizers.schedules


@keras.saving.register_keras_serializable(package="tests")
class NaNLater(others.LearningRateSchedule):
    """A schedule that is a number at its first iterations only."""

    def __init__(self, last):
        self.last = last

    def __call__(self, step):
        if LEGACY:
            import tensorflow as tf

            return tf.where(step <= self.last, 0.5, np.nan)
        return keras.ops.where(step <= self.last, 0.5, np.nan)

    def get_config(self):
        return {"last": self.last}


@given(st.data())
def test_rates_are_what_is_promised(data):
    assert_promises(data, strategies.composed, most=1)  # each is large


@given(
    strategies.of(clr.Triangular),
    strategies.of(clr.CosineRestarts),
    st.integers(0, 1000),
    strategies.ARGUMENTS["start_lr"],
    st.lists(st.integers(0, 10**6), min_size=20, max_size=20),
)
def test_rates_are_those_of_the_textbooks_formulas(first, second, begin, start_lr, steps):
    """The rates of the parts are the schedules' own: what is tested is when they are asked for."""
    warm = clr.Warmup(first, begin, start_lr)
    expected = reference.warmup(steps, lambda i: first.values(i), begin, start_lr)
    np.testing.assert_allclose(warm.values(steps), expected, rtol=1e-12)
    pieces = clr.Piecewise([first, second], [begin])
    expected = reference.piecewise(
        steps, [lambda i: first.values(i), lambda i: second.values(i)], [begin]
    )
    np.testing.assert_array_equal(pieces.values(steps), expected)


@given(strategies.parts, st.lists(st.integers(0, 10**6), min_size=20, max_size=20))
def test_a_warm_up_of_no_steps_is_the_schedule_itself(schedule, steps):
    warm = clr.Warmup(schedule, 0, start_lr=0.5)
    alone = clr.Shifted(schedule, 0)
    np.testing.assert_array_equal(warm.values(steps), alone.values(steps))
    later = clr.Piecewise([0.25, schedule], [0])
    np.testing.assert_array_equal(later.values(steps), alone.values(steps))


def test_a_shifted_schedule_waits_or_is_under_way():
    schedule = clr.Triangular(0.0, 1.0, 4)
    assert clr.Shifted(schedule, 3).values([0, 3, 5, 7]).round(15).tolist() == [0, 0, 0.5, 1]
    assert clr.Shifted(schedule, -3).values([0, 1, 5]).round(15).tolist() == [0.75, 1, 0]
    assert clr.Shifted(others.PolynomialDecay(0.5, 8, 0.0), 2).values([0, 2, 6]).tolist() == [
        0.5,
        0.5,
        0.25,
    ]


@engines
def test_warm_up_stable_decay(engine):
    """WSD, by its formula."""
    decay = clr.OneCycle(0.1, 500, pct_start=0.0, div_factor=1.0, anneal="linear")
    schedule = clr.Warmup(clr.Piecewise([0.1, decay], [2000]), 100)
    steps = np.arange(3000)
    final = 0.1 / 1e4
    # The decay of `OneCycle` starts at its peak, which is an iteration before its first.
    left = np.clip((499 - (steps - 2100)) / 500, 0, 1)
    formula = np.select(
        [steps < 100, steps < 2100], [0.1 * steps / 100, 0.1], final + (0.1 - final) * left
    )
    np.testing.assert_allclose(schedule.values(steps), formula, rtol=1e-12)
    np.testing.assert_allclose(compute(engine, schedule, steps), formula, rtol=1e-6)


PARTS = [
    0.25,
    clr.Triangular2(1e-3, 6e-3, 5),
    clr.Piecewise([0.1, clr.ExpRange(1e-3, 6e-3, 5, gamma=0.99)], [7]),
    others.CosineDecay(0.1, 20),
    others.ExponentialDecay(0.1, 7, 0.5, staircase=True),
    others.PiecewiseConstantDecay([5, 20], [1.0, 0.5, 0.25]),
    others.PolynomialDecay(0.1, 30),
    clr.CosineRestarts(0.1, 5, 1.5, 0.9, 1e-3),
]
parts = pytest.mark.parametrize("part", PARTS, ids=lambda p: type(p).__name__)


def rates(schedule, num_steps):
    """The rates of any schedule, or a constant one, as Keras would have them: step by step."""
    if isinstance(schedule, float):
        return [schedule] * num_steps
    counter = keras.optimizers.SGD(0.1).iterations
    found = []
    for step in range(num_steps):
        counter.assign(step)
        found.append(float(np.asarray(schedule(counter))))
    return found


def assert_right(schedule, expected):
    """In NumPy, for steps of any shape, and as Keras has them."""
    values = schedule.values(np.arange(len(expected)).reshape(2, -1))
    assert values.shape == (2, len(expected) // 2)
    for got in (values.ravel(), rates(schedule, len(expected))):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


@parts
def test_a_warm_up_leads_to_any_schedule(part):
    expected = rates(part, 36)
    rising = [0.05 + (expected[0] - 0.05) * step / 4 for step in range(4)]
    assert_right(clr.Warmup(part, 4, start_lr=0.05), rising + expected)


@parts
def test_any_schedule_follows_any_other(part):
    first = rates(part, 10)
    for other in PARTS:
        schedule = clr.Piecewise([part, other, part], [6, 16])
        assert_right(schedule, first[:6] + rates(other, 10) + first)


@engines
def test_the_steps_at_the_boundaries_are_exact(engine):
    schedule = clr.Warmup(clr.Piecewise([0.1, 0.2, 0.3], [10, 2**30]), 5, 0.01)
    steps = [0, 5, 14, 15, 2**30 + 4, 2**30 + 5]
    expected = np.array([0.01, 0.1, 0.1, 0.2, 0.2, 0.3])
    assert np.array_equal(compute(engine, schedule, steps), expected.astype(np.float32))
    assert schedule.values(steps).tolist() == expected.tolist()


@engines
def test_nan_beyond_a_range_does_not_leak(engine):
    schedule = clr.Piecewise([NaNLater(9), NaNLater(4), 0.25], [10, 15])
    steps = [0, 9, 10, 14, 15, 1000]
    assert compute(engine, schedule, steps).tolist() == [0.5] * 4 + [0.25] * 2
    assert schedule.values(steps).tolist() == [0.5] * 4 + [0.25] * 2
    assert np.all(np.isfinite(compute(engine, clr.Warmup(schedule, 5), steps)))


@needs_tensorflow
def test_there_is_no_branch_in_the_graph():
    import tensorflow as tf

    schedule = clr.Warmup(
        clr.Piecewise([0.1, clr.OneCycle(0.1, 50), others.CosineDecay(0.1, 20)], [5, 9]), 3
    )
    traced = tf.function(schedule).get_concrete_function(tf.TensorSpec((), tf.int64))
    assert not {op.type for op in traced.graph.get_operations()} & {
        "If",
        "StatelessIf",
        "Case",
        "While",
    }


def test_schedules_that_are_equal_or_cannot_be_hashed_are_told_apart():
    class Constant(others.LearningRateSchedule):
        def __init__(self, rate):
            self.rate = rate

        def __eq__(self, other):
            return isinstance(other, Constant)

        def __call__(self, step):
            return self.rate

        def get_config(self):
            return {"rate": self.rate}

    for rate in (0.5, 0.25, 0.5):
        assert clr.Warmup(Constant(rate), 2).values([0, 1, 2]).tolist() == [0, rate / 2, rate]


@pytest.mark.skipif(LEGACY, reason="tf_keras demands that a schedule can be saved")
def test_a_schedule_that_cannot_be_saved_can_be_trained_with():
    class Noam(others.LearningRateSchedule):
        def __call__(self, step):
            return 0.5 * keras.ops.cast(step + 1, "float32") ** -0.5

    schedule = clr.Warmup(Noam(), 2)
    assert schedule.values([0, 1, 2, 5]).tolist() == [0, 0.25, 0.5, 0.25]
    assert schedule == schedule
    assert schedule != clr.Warmup(Noam(), 2)
    assert hash(schedule) == hash(schedule)
    assert "Noam" in repr(schedule)
    assert "Noam" in repr(clr.Piecewise([0.1, schedule], [3]))
    with pytest.raises(NotImplementedError, match="get_config"):
        schedule.get_config()


def test_values_follow_a_schedule_of_keras_that_is_changed():
    decay = others.PolynomialDecay(0.5, 8, end_learning_rate=0.0)
    schedule = clr.Warmup(decay, 2)
    assert schedule.values([2, 6]).tolist() == [0.5, 0.25]
    decay.decay_steps = 16
    assert schedule.values([2, 10]).tolist() == [0.5, 0.25]


@pytest.mark.skipif(len(ENGINES) == 1, reason="it is not traced there")
def test_values_trace_a_schedule_of_keras_once():
    calls = []

    class Traced(others.LearningRateSchedule):
        def __init__(self):
            self.rate = 0.5

        def __call__(self, step):
            calls.append(step)
            return self.rate

        def get_config(self):
            return {}

    schedule = clr.Warmup(Traced(), 2)
    schedule.values(range(8))
    assert len(calls) < 8
    before = len(calls)
    assert schedule.values(range(1, 9)).tolist() == [0.25] + [0.5] * 7
    assert len(calls) == before


def test_schedules_within_are_printed_as_calls():
    schedule = clr.Warmup(clr.Piecewise([0.5, others.ExponentialDecay(0.1, 7, 0.5)], [3]), 4)
    decay = "initial_learning_rate=0.1, decay_steps=7, decay_rate=0.5, staircase=False"
    assert re.sub(", name=[^)]*", "", repr(schedule)) == (
        f"Warmup(schedule=Piecewise(schedules=[0.5, ExponentialDecay({decay})], boundaries=[3]), "
        "warmup_steps=4)"
    )


@parts
def test_what_is_copied_or_saved_is_equal(part):
    schedule = clr.Warmup(clr.Piecewise([part, 0.5], [30]), 4)
    config = json.loads(json.dumps(schedule.get_config()))
    copies = copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))
    for again in (*copies, clr.Warmup.from_config(config)):
        assert again == schedule
        assert hash(again) == hash(schedule)
        np.testing.assert_array_equal(again.values(range(40)), schedule.values(range(40)))
    assert schedule != clr.Warmup(clr.Piecewise([part, 0.5], [31]), 4)
    assert schedule != clr.Warmup(clr.Piecewise([0.75, 0.5], [30]), 4)


def test_a_training_with_any_schedules_goes_on_from_its_file(tmp_path):
    """One training takes them all: four steps of each."""
    boundaries = list(range(4, 4 * len(PARTS), 4))
    schedule = clr.Warmup(clr.Piecewise(PARTS, boundaries), 4)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(schedule), loss="mse")
    x = np.ones((36, 2), np.float32)
    model.fit(x, x[:, :1], batch_size=2, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.optimizer._learning_rate == schedule
    for each in (model, loaded):
        each.fit(x, x[:, :1], batch_size=2, verbose=0)
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: clr.Warmup("0.1", 5), TypeError, "`schedule` must be a Keras schedule, or a r"),
        (lambda: clr.Warmup(lambda step: 0.1, 5), TypeError, "`schedule` must be a Keras schedu"),
        (lambda: clr.Warmup(True, 5), TypeError, "`schedule` must be a Keras schedule"),
        (lambda: clr.Warmup(-0.1, 5), ValueError, "`schedule` must be .*at least 0"),
        (lambda: clr.Warmup(0.1, -1), ValueError, "`warmup_steps` must be a whole number"),
        (lambda: clr.Warmup(0.1, 5, -1), ValueError, "`start_lr` must be"),
        (
            lambda: clr.Piecewise([], []),
            ValueError,
            r"`schedules` must be a list of .* one .*=\[\]",
        ),
        (lambda: clr.Piecewise([0.1], [3]), ValueError, "`boundaries` must have one entry fewer"),
        (
            lambda: clr.Piecewise([0.1, 0.2], []),
            ValueError,
            "`boundaries` must have one entry fewer",
        ),
        (lambda: clr.Piecewise(0.1, []), TypeError, "`schedules` must be a list.*schedules=0.1"),
        (lambda: clr.Piecewise([0.1], [], ""), ValueError, "`name` must be a non-empty.*name=''"),
        (lambda: clr.Piecewise([0.1, 0.2], 3), TypeError, "`boundaries` must be a list"),
        (lambda: clr.Piecewise(np.array(0.1), []), TypeError, "`schedules` must be a list"),
        (lambda: clr.Piecewise([0.1, 0.2], np.array(3)), TypeError, "`boundaries` must be a list"),
        (lambda: clr.Piecewise({0.1, 0.2}, [3]), TypeError, "`schedules` must be a list"),
        (
            lambda: clr.Piecewise([0.1, "a"], [3]),
            TypeError,
            r"`schedules\[1\]` must be a Keras sched",
        ),
        (lambda: clr.Piecewise([0.1, np.nan], [3]), ValueError, r"`schedules\[1\]` must be"),
        (
            lambda: clr.Piecewise([0.1, 0.2], [2.5]),
            ValueError,
            r"`boundaries\[0\]` must be a whole",
        ),
        (
            lambda: clr.Piecewise([0.1, 0.2, 0.3], [5, 5]),
            ValueError,
            r"`boundaries` must be .* each above the one before.*boundaries=\[5, 5\]",
        ),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@engines
def test_a_warmup_is_never_rounded_to_beyond_its_ends(engine, set_floatx):
    rate = 956974317425177.0  # between whose neighbours in float64 some sums of its parts are
    schedule = clr.Warmup(rate, 30, rate)
    assert np.all(schedule.values(range(40)) == rate)
    set_floatx("float64")
    with backend.wide_types():
        assert np.all(compute(engine, schedule, np.arange(40)) == rate)


def test_ends_of_cycles_long_before_the_training_cost_nothing():
    lr = clr.Shifted(clr.Triangular(0.1, 1.0, 1), steps=-(2**50))
    assert lr.cycle_ends(5).tolist() == [2, 4]
