"""The models that TensorFlow Addons saved, and the functions that their schedules scale by.

Never registers what loads them: another process goes on with the models without it.
"""

import numpy as np

import clr_schedules as clr  # noqa: F401  # registers the schedules
from helpers.keras_under_test import LEGACY, keras
from helpers.strategies import harmonic  # noqa: F401  # registers it


@keras.saving.register_keras_serializable(package="tests")
def doubling(x):
    return 0.5 + x


@keras.saving.register_keras_serializable(package="tests")
class Root:
    def __call__(self, x):
        return x**-0.5

    def __repr__(self):
        return "Root()"

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def schedule_of(model):
    if hasattr(model.optimizer, "_learning_rate"):
        return model.optimizer._learning_rate
    return model.optimizer._get_hyper("learning_rate")


def state(model):
    """What the tests compare, as JSON."""
    variables = model.optimizer.variables
    variables = variables() if callable(variables) else variables
    return {
        "schedule": repr(schedule_of(model)),
        "iterations": int(np.asarray(model.optimizer.iterations)),
        "weights": [weight.tolist() for weight in model.get_weights()],
        "variables": [np.asarray(variable).tolist() for variable in variables],
    }


def step(model):
    """The state after the sixth step, which Addons took too."""
    last = (np.arange(36, dtype="float32").reshape(6, 3, 2) % 7 / 7)[-1]
    model.train_on_batch(last, last[:, :1])
    return state(model)


def convert(model, paths):
    """Saves a model of Addons as one of this package; what it was when it was loaded."""
    loaded = state(model)
    if not LEGACY:  # as the docstring of `register_addons` says
        optimizer = model.optimizer.from_config(model.optimizer.get_config())
        optimizer.build(model.trainable_variables)
        optimizer.iterations.assign(int(model.optimizer.iterations))
        model.compile(optimizer, model.loss)
    for path in paths:
        model.save(path)
    return loaded


def go_on(path):
    """Loads a model and takes a step: with its schedule, and with the rate of this step alone."""
    model = keras.models.load_model(path)
    before = state(model)
    optimizer = model.optimizer
    rate = float(schedule_of(model).values(before["iterations"]))
    constant = type(optimizer).from_config(optimizer.get_config() | {"learning_rate": rate})
    if not LEGACY:
        constant.build(model.trainable_variables)
        constant.iterations.assign(int(optimizer.iterations))
    after = step(model)
    for variable, weight in zip(model.weights, before["weights"], strict=True):
        variable.assign(weight)
    model.compile(constant, "mean_squared_error")
    return {"before": before, "after": after, "constant": step(model)}
