"""A learning rate for every layer, against separate optimizers for the layers."""

import copy
import itertools
import json
import pickle
import re

import numpy as np
import pytest
from helpers.keras_optimizers import Separate, Times, make
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.small_training import BATCH
from helpers.trace_counter import trace_counter
from hypothesis import assume, given
from hypothesis import strategies as st

import clr_schedules as clr

optimizers, layers = keras.optimizers, keras.layers

if LEGACY:

    def test_the_legacy_keras_is_refused():
        with pytest.raises(ValueError, match=r"an optimizer of Keras 3.*Received: optimizer="):
            clr.scale_learning_rates(optimizers.SGD(0.1), {".*": 0.1})

    pytest.skip("an extension of the optimizers of Keras 3", allow_module_level=True)

STEPS = 40
RATE = clr.OneCycle(0.05, STEPS)
# It is 0 in some steps, begins there, and is above 1 at last.
THAWING = clr.Piecewise([0.0, 0.5, 0.0, 2.0], [10, 20, 30])
MULTIPLIERS = {".*low/.*": 0.1, ".*middle/.*": THAWING, ".*frozen/.*": 0.0, ".*head/bias": 2.0}
NUMBERS = MULTIPLIERS | {".*middle/.*": 0.5}
# The weights of these optimizers move at a rate of 0.
NUMBERS_ONLY = ("Ftrl", "ScheduleFreeAdamW")
EVERY = [
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("AdamW", {"weight_decay": 0.1}),
    ("RMSprop", {}),
    ("Lion", {}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Nadam", {"weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("Adafactor", {}),
    ("Lamb", {"weight_decay": 0.1}),
    ("Muon", {"weight_decay": 0.1, "adam_weight_decay": 0.01}),
    ("Ftrl", {}),
    ("ScheduleFreeAdamW", {}),
    ("OwnSGD", {"momentum": 0.9}),
]
# The compiled trainings of every day. `test_a_multiplier_of_0_freezes` has them all, step by step.
DAILY = [(*EVERY[0], False), (*EVERY[2], BACKEND != "torch")]


class ReadsItsRate(optimizers.Optimizer):
    """A user's optimizer that does not use the rate that its method gets."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, gradient * keras.ops.cast(self.learning_rate, variable.dtype))


def network(**arguments):
    """A network of four layers, built, with the same weights in each call."""
    keras.utils.set_random_seed(1)
    names = {"low": 8, "middle": 8, "frozen": 8, "head": 4}
    dense = [
        layers.Dense(width, "tanh", name=name, **arguments) for name, width in names.items()
    ]
    last = layers.Activation("softmax", dtype="float32")
    return keras.Sequential([layers.Input((4,)), *dense, last], name="net")


random = np.random.default_rng(0)
X = random.normal(size=(STEPS * BATCH, 4)).astype("float32")
Y = random.integers(0, 4, STEPS * BATCH)


def trained(model, optimizer, x=X, **arguments):
    """The weights of a model after a training of 40 steps."""
    model.compile(optimizer, "sparse_categorical_crossentropy", **arguments)
    model.fit(x, Y, batch_size=BATCH, shuffle=False, verbose=0)
    return flat(model.weights)


def flat(variables):
    return np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in variables])


def numpy_of(variables):
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in variables}


def multipliers_for(name):
    return NUMBERS if name in NUMBERS_ONLY else MULTIPLIERS


# ---- Equal to separate optimizers


def case(name, arguments, jit_compile):
    daily = (name, arguments, jit_compile) in DAILY
    return pytest.param(
        *(name, arguments, jit_compile),
        id="-".join([name, *arguments, "jit" if jit_compile else "no_jit"]),
        marks=[] if daily else [pytest.mark.slow],
    )


@pytest.mark.parametrize(
    ("name", "arguments", "jit_compile"),
    [case(*each, jit_compile) for each in EVERY for jit_compile in (False, True)],
)
def test_the_weights_are_those_of_separate_optimizers(name, arguments, jit_compile):
    if BACKEND == "torch" and jit_compile:
        pytest.skip("torch.compile needs a C++ compiler")
    given, multipliers = make(name, arguments, RATE), multipliers_for(name)
    scaled = clr.scale_learning_rates(given, multipliers)
    assert isinstance(scaled, type(given))
    separate = Separate(lambda factor, _: make(name, arguments, Times(RATE, factor)), multipliers)
    found, expected = (
        trained(network(), optimizer, jit_compile=jit_compile) for optimizer in (scaled, separate)
    )
    assert np.array_equal(found, expected)
    assert not given.built
    assert int(scaled.iterations) == STEPS


# What else an optimizer can do. The multipliers are never 0 where Keras itself moves such variables.
MOVING = {".*low/.*": 0.1, ".*middle/.*": clr.Triangular(0.1, 2.0, 5), ".*head/bias": 2.0}
OPTIONS = {
    "all": (
        "AdamW",
        {
            "clipvalue": 0.01,
            "use_ema": True,
            "ema_overwrite_frequency": 6,
            "gradient_accumulation_steps": 2,
            "loss_scale_factor": 4.0,
        },
        {"exclude": "bias"},
    ),
    "exclusion by variables": ("AdamW", {"weight_decay": 0.1}, {"exclude": "variables"}),
    "exclusion by names": ("SGD", {"weight_decay": 0.1}, {"exclude": "bias"}),
    "clipnorm": ("SGD", {"clipnorm": 0.01}, {}),
    "clipvalue": ("RMSprop", {"clipvalue": 0.01}, {}),
    "global_clipnorm": ("SGD", {"global_clipnorm": 0.1}, {}),
    "ema": ("Adam", {"use_ema": True}, {}),
    "ema_overwrite": ("SGD", {"use_ema": True, "ema_overwrite_frequency": 3}, {}),
    "accumulation": ("AdamW", {"gradient_accumulation_steps": 4}, {}),
    "loss_scale_factor": ("SGD", {"loss_scale_factor": 8.0}, {}),
    "scaled around": ("SGD", {"momentum": 0.9}, {"loss_scale": "around"}),
    "scaled within": ("Adam", {}, {"loss_scale": "within"}),
    "mixed precision": ("Adam", {}, {"loss_scale": "within", "dtype": "mixed_float16"}),
    "constraints": ("SGD", {}, {"kernel_constraint": keras.constraints.MaxNorm(0.5)}),
    "reads its rate": ("ReadsItsRate", {}, {}),
}
EACH_DAY = ("all",)


@pytest.mark.parametrize(
    "option",
    [pytest.param(o, marks=[] if o in EACH_DAY else [pytest.mark.slow]) for o in OPTIONS],
)
def test_with_what_else_an_optimizer_can_do(option):
    name, arguments, more = OPTIONS[option]
    exclude, loss_scale = more.pop("exclude", None), more.pop("loss_scale", None)
    clip_to = arguments.get("global_clipnorm")

    def excluded(variable):
        if exclude == "variables":  # all of one group, and one of others
            return "middle" in variable.path or variable.path.endswith("bias")
        return exclude is not None and exclude in variable.name

    def make_one(rate, variables, **others):
        if name == "ReadsItsRate":
            return ReadsItsRate(rate)
        optimizer = make(name, arguments | others, rate)
        if exclude == "variables":
            optimizer.exclude_from_weight_decay(var_list=[v for v in variables if excluded(v)])
        elif exclude:
            optimizer.exclude_from_weight_decay(var_names=[exclude])
        return optimizer

    def separate_one(factor, variables):
        # On PyTorch, Keras cannot decay a list of variables that are all excluded.
        none = {"weight_decay": 0.0} if all(map(excluded, variables)) else {}
        others = none | ({"global_clipnorm": None} if clip_to else {})
        return make_one(Times(RATE, factor), variables, **others)

    model, by_hand = network(**more), network(**more)
    scaled = make_one(RATE, model.trainable_variables)
    separate = Separate(separate_one, MOVING, clip_to, arguments.get("loss_scale_factor"))
    if loss_scale == "within":
        scaled = optimizers.LossScaleOptimizer(scaled)
    scaled = clr.scale_learning_rates(scaled, MOVING)
    if loss_scale == "around":
        scaled = optimizers.LossScaleOptimizer(scaled)
    if loss_scale:
        separate = optimizers.LossScaleOptimizer(separate)
    found, expected = trained(model, scaled), trained(by_hand, separate)
    if option in ("all", "global_clipnorm"):
        # TensorFlow calculates in another order in the graph of all options together, and Keras
        # clips to the global norm in another order than the separate optimizers.
        assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    else:
        assert np.array_equal(found, expected)


@needs_tensorflow
def test_sparse_gradients_of_an_embedding():
    words = random.integers(0, 20, (STEPS * BATCH, 3))

    def words_to_classes():
        keras.utils.set_random_seed(1)
        embedding = layers.Embedding(20, 4, name="low")
        middle, head = layers.Dense(8, name="middle"), layers.Dense(4, "softmax", name="head")
        flat = layers.Flatten()
        return keras.Sequential([layers.Input((3,)), embedding, flat, middle, head], name="net")

    multipliers = {".*low/.*": THAWING, ".*middle/.*": 0.5}
    found, expected = (
        trained(words_to_classes(), optimizer, words, jit_compile=False)
        for optimizer in (
            clr.scale_learning_rates(make("Adam", {}, RATE), multipliers),
            Separate(lambda factor, _: make("Adam", {}, Times(RATE, factor)), multipliers),
        )
    )
    assert np.array_equal(found, expected)


# ---- In loops of one's own


def variables():
    """Variables for a loop of one's own, with the same values in each call."""
    values = np.random.default_rng(3).normal(size=(3, 2, 3)).astype("float32")
    names = ("frozen", "thawing", "other")
    return [keras.Variable(value, name=name) for name, value in zip(names, values, strict=True)]


# Trained for 2 steps, frozen for 2, then trained again.
FROZEN_LATER = clr.Piecewise([1.0, 0.0, 0.5], [2, 4])


def gradients(step):
    values = np.random.default_rng(step).normal(size=(3, 2, 3)).astype("float32")
    return [keras.ops.convert_to_tensor(value) for value in values]


def state_of(owned, optimizer):
    """For each variable, its value and those of its moments."""
    return {
        v.path: [
            np.array(keras.ops.convert_to_numpy(each))
            for each in (v, *(moment for moment in optimizer.variables if v.path in moment.path))
        ]
        for v in owned
    }


def stepped(optimizer, steps=6, of=gradients):
    """The state of each variable, before each step and at the end."""
    owned = variables()
    optimizer.build(owned)
    history = [state_of(owned, optimizer)]
    for step in range(steps):
        optimizer.apply(of(step), owned)
        history.append(state_of(owned, optimizer))
    return history


def moves(history, path):
    """Whether the weights of a variable move in each step."""
    return [
        not np.array_equal(before[path][0], after[path][0])
        for before, after in itertools.pairwise(history)
    ]


def all_equal(some, others):
    return len(some) == len(others) and all(map(np.array_equal, some, others))


@pytest.mark.parametrize(("name", "arguments"), EVERY, ids=lambda each: str(each)[:40])
def test_a_multiplier_of_0_freezes(name, arguments):
    """Of a number, weights and moments; of a schedule, weights that were trained before."""
    arguments = {"weight_decay": 0.1} | arguments
    multipliers = {"frozen": 0.0, "thawing": 0.5 if name in NUMBERS_ONLY else FROZEN_LATER}
    history = stepped(clr.scale_learning_rates(make(name, arguments, 0.01), multipliers))
    for now in history:
        assert all_equal(now["frozen"], history[0]["frozen"])
    assert all(moves(history, "other"))
    if name not in NUMBERS_ONLY:
        moved = moves(history, "thawing")
        assert moved == [True, True, False, False, True, True]
    # All is as with separate optimizers: the moments too, also at a rate of 0.
    separate = stepped(
        Separate(lambda factor, _: make(name, arguments, Times(0.01, factor)), multipliers)
    )
    for found, expected in zip(history, separate, strict=True):
        for path in ("thawing", "other"):
            assert all_equal(found[path], expected[path]), path


def test_a_velocity_decays_while_its_weight_is_frozen():
    """As the docstring says; the weight does not move in the meantime."""
    optimizer = clr.scale_learning_rates(
        optimizers.SGD(0.01, momentum=0.5), {"thawing": FROZEN_LATER}
    )
    velocities = [state["thawing"][1] for state in stepped(optimizer)[2:5]]
    assert np.all(velocities[0] != 0)
    for before, after in itertools.pairwise(velocities):
        assert np.array_equal(after, before * np.float32(0.5))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_gradients_that_are_not_finite_do_not_reach_frozen_weights(name):
    def with_nan(step):
        frozen, thawing, free = gradients(step)
        return [frozen * np.nan, thawing * np.nan, free]

    arguments = {"weight_decay": 0.1}
    thawing = clr.Piecewise([0.0, 1.0], [3])
    scaled = clr.scale_learning_rates(
        make(name, arguments, 0.01), {"frozen": 0.0, "thawing": thawing}
    )
    history = stepped(scaled, 3, with_nan)
    for path in ("frozen", "thawing"):
        assert np.array_equal(history[-1][path][0], history[0][path][0])
    assert np.all(np.isfinite(history[-1]["other"][0]))


def test_the_first_step_builds_the_optimizer():
    optimizer = clr.scale_learning_rates(optimizers.SGD(0.5), {"other": 2.0})
    owned = variables()
    before = numpy_of(owned)
    optimizer.apply([keras.ops.ones((2, 3))] * 3, owned)
    for path, value in numpy_of(owned).items():
        assert np.array_equal(value, before[path] - (1.0 if path == "other" else 0.5)), path


@needs_tensorflow
def test_variables_of_tensorflow_are_found_by_their_names():
    import tensorflow as tf

    low, head = tf.Variable([1.0, 1.0], name="low"), tf.Variable([1.0, 1.0], name="head")
    optimizer = clr.scale_learning_rates(
        optimizers.SGD(0.5, momentum=0.9), {"low:0": THAWING, "head.*": 0.5}
    )

    @tf.function
    def step():
        optimizer.apply([tf.ones(2)] * 2, [low, head])

    step()
    assert low.numpy().tolist() == [1.0, 1.0]
    assert head.numpy().tolist() == [0.75, 0.75]


def test_some_of_the_variables_get_a_step():
    """As in a loop that trains the layers in turn."""
    optimizer = clr.scale_learning_rates(
        optimizers.Adam(0.5), {"frozen": 0.0, "thawing": THAWING}
    )
    owned = variables()
    optimizer.build(owned)
    before = numpy_of(owned)
    optimizer.apply(gradients(0)[2:], owned[2:])
    optimizer.apply(gradients(0)[:2], owned[:2])
    after = numpy_of(owned)
    moved = [path for path in before if not np.array_equal(after[path], before[path])]
    assert moved == ["other"]


def test_an_update_outside_of_a_step_has_the_rate_of_its_layer():
    optimizer = clr.scale_learning_rates(
        optimizers.SGD(0.5, weight_decay=0.5), {"other": 0.5, "thawing": FROZEN_LATER, "frozen": 0.0}
    )
    owned = variables()
    optimizer.build(owned)
    before = numpy_of(owned)
    rates = {"other": 0.25, "thawing": 0.5, "frozen": 0.0}
    optimizer._apply_weight_decay(owned)
    for path, value in numpy_of(owned).items():
        np.testing.assert_allclose(value, before[path] * (1 - 0.5 * rates[path]), rtol=1e-6)
    before = numpy_of(owned)
    for variable in owned:
        optimizer.update_step(keras.ops.ones((2, 3)), variable, 0.5)
    for path, value in numpy_of(owned).items():
        np.testing.assert_allclose(value, before[path] - rates[path], rtol=1e-6, atol=1e-7)
    assert left_over(optimizer) == []


# ---- Nothing is left, nothing is traced anew


def left_over(optimizer):
    """The entries of a step in an optimizer's dictionary."""
    return [name for name in vars(optimizer) if name.startswith("_clr_schedules")]


class Failing(optimizers.SGD):
    """An optimizer whose second update of a step fails."""

    def update_step(self, gradient, variable, learning_rate):
        if "thawing" in getattr(variable, "path", variable.name):
            raise RuntimeError("no memory")
        super().update_step(gradient, variable, learning_rate)


def test_no_entry_is_left_after_a_step_or_an_error():
    multipliers = {"frozen": 0.0, "thawing": FROZEN_LATER}
    optimizer = clr.scale_learning_rates(optimizers.AdamW(0.01), multipliers)
    stepped(optimizer)
    assert left_over(optimizer) == []
    if BACKEND != "torch":  # where SGD updates all variables at once
        optimizer = clr.scale_learning_rates(Failing(0.01), multipliers)
        with pytest.raises(RuntimeError, match="no memory"):
            stepped(optimizer)
        assert left_over(optimizer) == []
    owned = variables()
    optimizer = clr.scale_learning_rates(optimizers.AdamW(0.01), multipliers)
    optimizer.build(owned)
    with pytest.raises(ValueError, match="No gradients"):
        optimizer.apply([None] * 3, owned)
    assert left_over(optimizer) == []


def test_a_schedule_of_multipliers_traces_nothing_anew():
    counter, traces = trace_counter()
    model = keras.Sequential([network(), counter])
    optimizer = clr.scale_learning_rates(optimizers.AdamW(RATE), MULTIPLIERS)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(X[: 4 * BATCH], Y[: 4 * BATCH], batch_size=BATCH, verbose=0)
    after_4_steps = len(traces)
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    assert len(traces) == after_4_steps + (STEPS if BACKEND == "torch" else 0)
    assert left_over(optimizer) == []


@pytest.mark.skipif(BACKEND != "torch", reason="about torch.compile")
def test_on_pytorch_a_step_is_not_compiled_anew():
    import torch
    from torch._dynamo.testing import CompileCounter

    optimizer = clr.scale_learning_rates(optimizers.AdamW(0.01), {"thawing": FROZEN_LATER})
    owned = variables()
    optimizer.build(owned)
    counts = {}

    def step(x):
        with torch.no_grad():
            optimizer.apply([torch.ones(2, 3)] * 3, owned)
        return x + 1

    counter = CompileCounter()
    compiled = torch.compile(step, backend=counter)
    for number in range(12):
        compiled(torch.ones(3))
        counts[number] = counter.frame_count
    assert counts[11] == counts[2], counts
