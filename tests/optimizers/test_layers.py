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
from clr_schedules.optimizers.layers import _multiplier_of_each

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
# Those of every day, in loops of one's own; the others are alike to what is special about a rate.
DAILY = [
    *EVERY[:5],
    ("Nadam", {"weight_decay": 0.1}),
    ("Adafactor", {}),
    ("OwnSGD", {"momentum": 0.9}),
]
slow = pytest.mark.slow
LONG_ONLY = [slow, pytest.mark.long]


class ReadsItsRate(optimizers.Optimizer):
    """A user's optimizer that does not use the rate that its method gets."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, gradient * keras.ops.cast(self.learning_rate, variable.dtype))


def network(**arguments):
    """A network of four layers, built, with the same weights in each call."""
    keras.utils.set_random_seed(1)
    names = {"low": 8, "middle": 8, "frozen": 8, "head": 4}
    dense = [layers.Dense(width, "tanh", name=name, **arguments) for name, width in names.items()]
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
    first = (name, arguments) in EVERY[:5] and (name == "AdamW" or not jit_compile)
    daily = (name, arguments, jit_compile) == (*EVERY[0], False)
    return pytest.param(
        *(name, arguments, jit_compile),
        id="-".join([name, *arguments, "jit" if jit_compile else "no_jit"]),
        marks=[] if daily else [slow] if first else LONG_ONLY,
    )


@pytest.mark.parametrize(
    ("name", "arguments", "jit_compile"),
    [case(*each, jit_compile) for each in EVERY for jit_compile in (False, True)],
)
def test_the_weights_are_those_of_separate_optimizers(name, arguments, jit_compile):
    if BACKEND == "torch" and jit_compile:
        pytest.skip("torch.compile needs a C++ compiler")
    plain, multipliers = make(name, arguments, RATE), multipliers_for(name)
    scaled = clr.scale_learning_rates(plain, multipliers)
    assert isinstance(scaled, type(plain))
    separate = Separate(lambda factor, _: make(name, arguments, Times(RATE, factor)), multipliers)
    found, expected = (
        trained(network(), optimizer, jit_compile=jit_compile) for optimizer in (scaled, separate)
    )
    assert np.array_equal(found, expected)
    assert not plain.built
    assert int(scaled.iterations) == STEPS


# What else an optimizer can do. No multiplier is 0, since Keras itself moves some such variables.
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
# Keras clips to the global norm in another order than the separate optimizers. TensorFlow rewrites
# the other graphs: run eagerly, the weights are equal to the last bit.
ROUNDED = ("global_clipnorm", "all", "exclusion by names")


@pytest.mark.parametrize(
    "option", [pytest.param(o, marks=[slow] if o == "all" else LONG_ONLY) for o in OPTIONS]
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
        if others.get("weight_decay") == 0.0:
            return optimizer
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
    if option in ROUNDED:
        assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    else:
        assert np.array_equal(found, expected)


@slow
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


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param(
            *each, id="-".join([each[0], *each[1]]), marks=[] if each in DAILY else LONG_ONLY
        )
        for each in EVERY
    ],
)
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


def test_gradients_that_are_not_finite_do_not_reach_weights_with_a_multiplier_of_0():
    def with_nan(step):
        frozen, *others = gradients(step)
        return [frozen * np.nan, *others]

    scaled = clr.scale_learning_rates(make("Adam", {"weight_decay": 0.1}, 0.01), {"frozen": 0.0})
    history = stepped(scaled, 3, with_nan)
    assert np.array_equal(history[-1]["frozen"][0], history[0]["frozen"][0])
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
    optimizer = clr.scale_learning_rates(optimizers.Adam(0.5), {"frozen": 0.0, "thawing": THAWING})
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
        optimizers.SGD(0.5, weight_decay=0.5),
        {"other": 0.5, "thawing": FROZEN_LATER, "frozen": 0.0},
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


def test_the_callback_and_the_range_test_leave_the_optimizer_as_it_was():
    model = network()
    optimizer = clr.scale_learning_rates(optimizers.SGD(0.01), MULTIPLIERS)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    before, few = flat(model.weights), (X[: 8 * BATCH], Y[: 8 * BATCH])
    clr.lr_range_test(model, *few, batch_size=BATCH, num_steps=8, verbose=0)
    assert np.array_equal(flat(model.weights), before)
    callback = clr.CyclicalLR(0.01, 0.06, 2)
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(*few, callbacks=[callback], **arguments)
    assert float(optimizer.learning_rate) == np.float32(0.01)
    assert left_over(optimizer) == []
    other = network()
    rate = clr.Triangular(0.01, 0.06, 2)
    scaled = clr.scale_learning_rates(optimizers.SGD(rate), MULTIPLIERS)
    other.compile(scaled, "sparse_categorical_crossentropy")
    other.fit(*few, **arguments)
    assert np.array_equal(flat(model.weights), flat(other.weights))


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


# ---- Configs, copies, and the other extension

MOMENTUM = clr.Triangular(0.0, 0.9, 6)


def test_both_extensions_in_either_order():
    """The same weights as with the hyperparameter set by hand before each separate step."""
    follow, scale = clr.schedule_hyperparameters, clr.scale_learning_rates
    multipliers = {"frozen": 0.0, "thawing": FROZEN_LATER}

    def sgd(rate):
        return optimizers.SGD(rate, weight_decay=0.1)

    def separate_one(factor, _):
        return follow(sgd(Times(RATE, factor)), momentum=MOMENTUM)

    expected = stepped(Separate(separate_one, multipliers))
    ways = [
        scale(follow(sgd(RATE), momentum=MOMENTUM), multipliers),
        follow(scale(sgd(RATE), multipliers), momentum=MOMENTUM),
    ]
    for optimizer in ways:
        config = optimizer.get_config()
        assert config["hyperparameter_schedules"].keys() == {"momentum"}
        assert config["multipliers"].keys() == multipliers.keys()
        again = optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(optimizer))))
        assert type(again) is type(optimizer)
        assert again.get_config() == config
        for made in (optimizer, again):
            for found, wanted in zip(stepped(made), expected, strict=True):
                assert all_equal(found["thawing"], wanted["thawing"])
                assert all_equal(found["other"], wanted["other"])
                assert np.array_equal(found["frozen"][0], wanted["frozen"][0])


def test_more_patterns_are_added_and_exclusions_are_kept():
    plain = optimizers.AdamW(0.01, weight_decay=0.5)
    plain.exclude_from_weight_decay(var_names=["thawing"])
    once = clr.scale_learning_rates(plain, {"frozen": 0.0})
    twice = clr.scale_learning_rates(once, {"thawing": 0.5, "frozen": 2.0})
    assert once.get_config()["multipliers"] == {"frozen": 0.0}
    assert twice.get_config()["multipliers"] == {"frozen": 2.0, "thawing": 0.5}
    assert type(twice) is type(once)
    history = stepped(twice, 1, lambda step: [keras.ops.zeros((2, 3))] * 3)
    assert not any(moves(history, "thawing"))
    for path, factor in (("frozen", 2.0), ("other", 1.0)):
        decayed = history[0][path][0] * (1 - 0.5 * 0.01 * factor)
        np.testing.assert_allclose(history[1][path][0], decayed, rtol=1e-6)
    inner = optimizers.LossScaleOptimizer(plain)
    scaled = clr.scale_learning_rates(clr.scale_learning_rates(inner, {"a": 1}), {"b": 2})
    assert scaled.inner_optimizer.get_config()["multipliers"] == {"a": 1.0, "b": 2.0}
    assert inner.inner_optimizer is plain


@pytest.mark.parametrize("name", ["SGD", "AdamW", "OwnSGD"])
def test_a_dynamic_subclass_has_the_multipliers(name):
    multipliers = {"frozen": 0.0, "thawing": FROZEN_LATER}
    optimizer = clr.scale_learning_rates(make(name, {}, RATE), multipliers)

    def apply(self, grads, trainable_variables=None):
        vars(self)["applied"] = vars(self).get("applied", 0) + 1
        super(kind, self).apply(grads, trainable_variables)

    kind = type("Distributed", (type(optimizer),), {"apply": apply})
    wrapped = kind.from_config(optimizer.get_config())
    plain = type("Plain", (type(optimizer),), {}).from_config(optimizer.get_config())
    assert type(wrapped) is kind
    assert wrapped.get_config() == optimizer.get_config()
    expected = stepped(optimizer)[-1]
    for made in (wrapped, plain):
        found = stepped(made)[-1]
        assert all(np.array_equal(found[path][0], expected[path][0]) for path in expected)
    assert wrapped.applied == 6


@slow
@pytest.mark.long
def test_copies_of_a_model_train_on_alike():
    """A deep copy, a pickle, and a clone that gets the state."""
    model = network()
    optimizer = clr.scale_learning_rates(optimizers.AdamW(RATE), MULTIPLIERS)
    few = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(X[: 8 * BATCH], Y[: 8 * BATCH], **few)
    clone = keras.models.clone_model(model)
    again = type(optimizer).from_config(optimizer.get_config())
    clone.compile(again, "sparse_categorical_crossentropy")
    again.build(clone.trainable_variables)
    for variable, value in zip(
        [*clone.variables, *again.variables],
        [*model.variables, *optimizer.variables],
        strict=True,
    ):
        variable.assign(keras.ops.convert_to_numpy(value))
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), clone]
    for made in (model, *copies):
        made.fit(X[8 * BATCH : 14 * BATCH], Y[8 * BATCH : 14 * BATCH], **few)
    for made in copies:
        assert np.array_equal(flat(made.weights), flat(model.weights))
        assert np.array_equal(flat(made.optimizer.variables), flat(optimizer.variables))


def test_copies_of_an_optimizer_have_its_config():
    """Keras does not keep the state of an optimizer alone."""
    optimizer = clr.scale_learning_rates(optimizers.AdamW(RATE), MULTIPLIERS)
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert type(made) is type(optimizer)
        assert made.get_config() == optimizer.get_config()


def test_schedules_that_cannot_be_saved_can_be_trained_with():
    with pytest.warns(UserWarning, match="`scale_fn` is not registered"):
        unsaveable = clr.Cyclical(0.0, 1.0, 2, scale_fn=lambda cycle: 1.0)
    scaled_loss = optimizers.LossScaleOptimizer(optimizers.SGD(0.1))
    # On JAX, Keras's own LossScaleOptimizer cannot take a step eagerly.
    for plain in (optimizers.SGD(0.1), *[scaled_loss] * (BACKEND != "jax")):
        optimizer = clr.scale_learning_rates(plain, {"thawing": unsaveable})
        optimizer = clr.scale_learning_rates(optimizer, {"frozen": 0.0})
        for _ in range(2):
            owned = variables()
            before = numpy_of(owned)
            made = clr.scale_learning_rates(optimizer, {"other": 0.5})
            made.apply(gradients(0), owned)  # at a multiplier of 0
            made.apply(gradients(0), owned)
            moved = [
                path for path, value in numpy_of(owned).items() if (value != before[path]).any()
            ]
            assert moved == ["thawing", "other"]
            with pytest.raises(ValueError, match="`scale_fn` must be a function registered"):
                made.get_config()


class Unregistered(optimizers.schedules.LearningRateSchedule):
    """A schedule of a user, which returns a Python number."""

    def __call__(self, step):
        return 0.5

    def get_config(self):
        return {}


@slow
@pytest.mark.long
def test_schedules_that_are_told_of_when_a_model_is_loaded(tmp_path):
    model = network()
    optimizer = clr.scale_learning_rates(
        optimizers.SGD(Unregistered()), {".*low/.*": Unregistered(), ".*head/.*": THAWING}
    )
    trained(model, optimizer)
    model.save(tmp_path / "model.keras")
    custom = {"Unregistered": Unregistered}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=custom)
    assert loaded.optimizer.get_config() == optimizer.get_config()
    assert type(optimizer).from_config(optimizer.get_config(), custom_objects=custom)
    for made in (model, loaded):
        made.fit(X[: 4 * BATCH], Y[: 4 * BATCH], batch_size=BATCH, shuffle=False, verbose=0)
    assert np.array_equal(flat(loaded.weights), flat(model.weights))


# ---- Errors


def checked(error):
    """The text of an error, which is one line of at most 400 characters."""
    text = str(error.value)
    assert len(text) <= 400
    assert "\n" not in text
    assert "Received: " in text
    return text


LONG = "a" * 1000


@pytest.mark.parametrize(
    ("multipliers", "error", "said"),
    [
        (None, TypeError, "`multipliers` must be a dict from patterns.*=None"),
        ([("a", 0.1)], TypeError, "`multipliers` must be a dict"),
        (0.1, TypeError, "`multipliers` must be a dict"),
        ({}, ValueError, r"at least one pattern\. Received: multipliers=\{\}"),
        ({1: 0.1}, TypeError, r"keys are strings.*Received: multipliers=\{1: 0.1\}"),
        ({"a": -0.1}, ValueError, r"`multipliers\['a'\]` must be a finite number of at least 0"),
        ({"a": float("nan")}, ValueError, r"or a schedule of Keras\. .*\['a'\]=nan"),
        ({"a": float("inf")}, ValueError, r"a finite number.*=inf"),
        ({"a": True}, TypeError, r"a finite number.*=True"),
        ({"a": None}, TypeError, r"a finite number.*=None"),
        ({"a": "0.1"}, TypeError, r"a finite number.*='0\.1'"),
        ({"a": lambda step: 0.1}, TypeError, "or a schedule of Keras"),
        ({"a": np.ones(3)}, TypeError, r"<ndarray of shape \(3,\)"),
        ({"a": 0.1, LONG: LONG}, TypeError, "must be a finite number"),
        ({LONG: -1.0}, ValueError, "must be a finite number"),
        ({f"{LONG}\n": [LONG] * 9}, TypeError, "must be a finite number"),
    ],
)
def test_bad_multipliers_are_refused(multipliers, error, said):
    with pytest.raises(error, match=said) as caught:
        clr.scale_learning_rates(optimizers.SGD(0.1), multipliers)
    checked(caught)


def test_numbers_of_all_kinds_are_multipliers():
    numbers = {"a": 1, "b": np.float32(0.5), "c": np.array(2), "d": keras.ops.ones(())}
    made = clr.scale_learning_rates(optimizers.SGD(0.1), numbers)
    assert made.get_config()["multipliers"] == {"a": 1.0, "b": 0.5, "c": 2.0, "d": 1.0}


class WithAnother(optimizers.SGD):
    """An optimizer around another, which is no attribute that Keras knows."""

    def __init__(self, inner):
        super().__init__(0.1)
        self.slow = inner


class OfItsOwn(optimizers.Optimizer):
    """An optimizer that has no method for one variable."""

    def apply(self, grads, trainable_variables=None):
        """Takes no step."""


def test_optimizers_that_cannot_be_scaled_are_refused():
    built = optimizers.Adam(0.1)
    built.build(variables())
    cases = [
        ("adam", TypeError, "must be an optimizer of Keras. Received: optimizer='adam'"),
        (optimizers.Adam, TypeError, "must be an optimizer of Keras"),
        (built, ValueError, "must not be built yet"),
        (optimizers.LossScaleOptimizer(built), ValueError, "must not be built yet"),
        (OfItsOwn(0.1), TypeError, "an optimizer with an `update_step`"),
        (WithAnother(optimizers.SGD(0.1)), TypeError, "scale the optimizers in the WithAnother"),
    ]
    if hasattr(optimizers, "MultiOptimizer"):
        several = optimizers.MultiOptimizer({".*": optimizers.SGD(0.1)})
        said = "scale the optimizers in the MultiOptimizer"
        cases += [(several, TypeError, said)]
    for optimizer, error, said in cases:
        with pytest.raises(error, match=f"Argument `optimizer` .*{said}") as caught:
            clr.scale_learning_rates(optimizer, {".*": 0.1})
        checked(caught)


@pytest.mark.parametrize("name", NUMBERS_ONLY)
def test_schedules_are_refused_where_weights_move_at_a_rate_of_0(name):
    for kind in (type(make(name, {}, 0.1)), type("Mine", (type(make(name, {}, 0.1)),), {})):
        with pytest.raises(ValueError, match=f"numbers, not schedules, since .*{name}") as caught:
            clr.scale_learning_rates(kind(0.1), {"a": 0.5, LONG: THAWING})
        checked(caught)
        clr.scale_learning_rates(kind(0.1), {"a": 0.0})


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("net/middle/kernl", "Nearest paths: net/middle/kernel, .*the pattern 'net/middle/kernl'"),
        ("net/haed/.*", "Nearest paths: net/head/.*and [0-9] more"),
        ("middle/.*", r"Put '\.\*' before it\. Received: the pattern 'middle/\.\*'"),
        ("net/middle", r"Nearest paths: net/middle/.*Put '/\.\*' after it\."),
        ("middle", r"Put '\.\*' before it and '/\.\*' after it\."),
        ("*.kernel", "This is no regular expression"),
        ("(", "This is no regular expression. Received: the pattern '\\('"),
        (LONG, "must match a trainable variable"),
        ("", "must match a trainable variable"),
        (".*\nhead", "must match a trainable variable"),
    ],
)
def test_a_pattern_without_a_match_is_an_error_before_anything_changes(pattern, said):
    model = network()
    model.get_layer("frozen").trainable = False
    before = flat(model.weights)
    scaled = clr.scale_learning_rates(optimizers.SGD(0.1), {".*low/.*": 0.1, pattern: 0.2})
    model.compile(scaled, "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=said) as caught:
        scaled.build(model.trainable_variables)
    checked(caught)
    assert not scaled.built
    assert np.array_equal(flat(model.weights), before)


def test_after_an_error_the_model_is_compiled_anew_and_trained():
    """The variables of a layer that is not trained match no pattern."""
    model, other = network(), network()
    for each in (model, other):
        each.get_layer("frozen").trainable = False
    before = flat(model.weights)
    with pytest.raises(ValueError, match="must match a trainable variable") as caught:
        trained(model, clr.scale_learning_rates(optimizers.SGD(0.1), {".*frozen/.*": 0.2}))
    checked(caught)
    assert np.array_equal(flat(model.weights), before)
    found, expected = (
        trained(each, clr.scale_learning_rates(optimizers.SGD(0.1), {".*low/.*": 0.2}))
        for each in (model, other)
    )
    assert np.array_equal(found, expected)


def test_two_patterns_of_one_variable_are_an_error():
    for patterns in (["net/low/.*", ".*/kernel"], [f"net/({LONG})?low/.*", f".*/(kernel|{LONG})"]):
        scaled = clr.scale_learning_rates(optimizers.SGD(0.1), dict.fromkeys(patterns, 0.5))
        with pytest.raises(
            ValueError, match=r"one pattern for each variable.*low/kernel"
        ) as caught:
            scaled.build(network().trainable_variables)
        checked(caught)


# ---- Layer-wise decay


def dense(name):
    layer = layers.Dense(2, name=name)
    layer.build((None, 2))
    return layer


@pytest.mark.parametrize(
    ("decay", "error"),
    [
        *((value, ValueError) for value in (0, -0.5, 1.01, float("nan"), float("inf"))),
        *((value, TypeError) for value in (None, "0.5", True)),
    ],
)
def test_the_decay_is_above_0_and_at_most_1(decay, error):
    with pytest.raises(error, match="`decay` must be above 0 and at most 1") as caught:
        clr.layer_decay([dense("a")], decay)
    checked(caught)


def test_layers_that_are_none_or_cannot_be_told_apart_are_refused():
    shared, unbuilt = dense("shared"), layers.Dense(2, name=LONG)
    cases = [
        ("backbone", TypeError, "`layers` must be layers, or lists of layers"),
        ({"a": shared}, TypeError, "must be layers"),
        (shared, TypeError, "must be layers"),
        (None, TypeError, "must be layers.*=None"),
        ([shared, 3], TypeError, "must be layers.*=3"),
        ([shared, ["a"]], TypeError, "must be layers.*='a'"),
        ([[[shared]]], TypeError, "must be layers"),
        ([shared, *shared.variables], TypeError, "must be layers"),
        ([shared, unbuilt], ValueError, "Build the model first.*which is not built"),
        ([dense("low"), shared, [dense("top"), shared]], ValueError, "leave the layer out of one"),
        ([dense("same"), dense("same")], ValueError, "layers of different names.*'same/"),
        ([], ValueError, "must be layers with weights"),
        ([layers.Dropout(0.5)], ValueError, "must be layers with weights|Build the model first"),
        (network().layers[-1:], ValueError, "must be layers with weights"),
    ]
    for wrong, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            clr.layer_decay(wrong, 0.5)
        checked(caught)


def test_layers_without_trainable_weights_are_counted_and_have_no_multiplier():
    """A frozen layer keeps its place, so that unfreezing it does not change the others."""
    model = network()
    model.get_layer("middle").trainable = False
    found = clr.layer_decay(model.layers, 0.5)
    assert found == {
        f"net/{name}/{kind}": value
        for name, value in {"low": 0.125, "frozen": 0.5, "head": 1.0}.items()
        for kind in ("bias", "kernel")
    }
    scaled = clr.scale_learning_rates(optimizers.SGD(0.1), found)
    scaled.build(model.trainable_variables)


# ---- Properties

PARTS = ("a", "b", "ab", "kernel", "w.x", "w+x")
paths_of = st.lists(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join), min_size=1, max_size=6
)
patterns_of = st.dictionaries(
    st.lists(st.sampled_from([*PARTS, ".*", ".", "[ab]+", "(a|b)"]), min_size=1, max_size=3).map(
        "/".join
    ),
    st.floats(0.0, 4.0),
    min_size=1,
    max_size=4,
)


def matching(path, paths, multipliers):
    """The patterns of a path: itself alone if it is one, or else those that are no paths."""
    if path in multipliers:
        return [path]
    return [p for p in multipliers if p not in paths and re.fullmatch(p, path)]


@given(paths_of, patterns_of)
def test_multipliers_follow_the_rules_of_patterns(paths, multipliers):
    of_each = [matching(path, paths, multipliers) for path in paths]
    matched = {pattern for path in paths for pattern in multipliers if re.fullmatch(pattern, path)}
    unmatched = [p for p in multipliers if p not in matched and p not in paths]
    if unmatched:
        with pytest.raises(ValueError, match=r"must match a trainable variable") as error:
            _multiplier_of_each(paths, multipliers)
        assert repr(unmatched[0]) in checked(error)
    elif max(map(len, of_each)) > 1:
        with pytest.raises(ValueError, match="one pattern for each variable") as error:
            _multiplier_of_each(paths, multipliers)
        assert repr(next(p for p, found in zip(paths, of_each, strict=True) if found[1:])) in (
            checked(error)
        )
    else:
        expected = [multipliers[found[0]] if found else 1.0 for found in of_each]
        assert _multiplier_of_each(paths, multipliers) == expected


@given(
    st.lists(st.integers(0, 3) | st.just(-1), min_size=1, max_size=5),
    st.floats(1e-3, 1.0),
)
def test_layer_decay_is_a_power_for_each_level(widths, decay):
    """Levels of some layers each, or of a single one without a list, or without weights."""
    assume(any(widths))
    model_layers = iter(DENSE)
    levels = []
    for width in widths:
        found = [next(model_layers) for _ in range(abs(width))]
        levels.append(found[0] if width < 0 else found)
    weighted = [level for level in levels if level != []]
    found = clr.layer_decay(iter(levels), decay)
    expected = {
        variable.path: decay ** (len(weighted) - 1 - position)
        for position, level in enumerate(weighted)
        for layer in (level if isinstance(level, list) else [level])
        for variable in layer.trainable_variables
    }
    assert found == pytest.approx(expected, rel=1e-15)
    assert max(found.values()) == 1.0


DENSE = [dense(f"dense_{number}") for number in range(15)]
