"""A learning rate for every layer, against separate optimizers for the layers."""

import copy
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
DAILY = EVERY[:5]


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
    return {
        v.path: np.array(keras.ops.convert_to_numpy(v))
        for v in variables
        if v.path.rpartition("/")[2] not in ("iteration", "learning_rate")
    }


def multipliers_for(name):
    return NUMBERS if name in NUMBERS_ONLY else MULTIPLIERS


# ---- Equal to separate optimizers


def case(name, arguments, jit_compile):
    daily = (name, arguments) in DAILY and jit_compile == (name == "AdamW" and BACKEND != "torch")
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
EACH_DAY = ("all", "global_clipnorm", "scaled within", "reads its rate")


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
    if clip_to:  # Keras divides by the norm in another order
        assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    else:
        assert np.array_equal(found, expected)
