"""All that a training can change in a process, to the last bit."""

import random
import sys

import numpy as np

from helpers.keras_under_test import BACKEND, LEGACY


def capture(model):
    """Names and values to compare with ``==``."""
    optimizer = model.optimizer
    state = {}
    for owner, variables in (
        ("model", model.variables if model.built else ()),
        ("optimizer", listed(optimizer)),
        *((f"metric {metric.name}", metric.variables) for metric in model.metrics),
    ):
        for variable in variables:
            state[f"{owner} {variable.name} {id(variable)}"] = bits(variable)
    # What is in no list of Keras's, found by hand.
    for layer in model.layers:
        for number, variable in enumerate(recurrent_states(layer) + own_variables(layer)):
            state[f"own {layer.name} {number}"] = bits(variable)
    for thing in (model, optimizer, getattr(optimizer, "inner_optimizer", None)):
        if thing is not None:
            state[f"attributes of {type(thing).__name__}"] = {
                name: id(value) for name, value in vars(thing).items()
            }
    state["python"] = random.getstate()
    state["numpy"] = repr(np.random.get_state(legacy=False))
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        state["tensorflow"] = context.global_seed(), getattr(context.context(), "_rng", None)
        if state["tensorflow"][1] is not None:
            state["tensorflow generator"] = state["tensorflow"][1].getstate()
    if BACKEND == "torch":
        import torch

        state["torch"] = bits(torch.get_rng_state())
        state["modes"] = [module.training for module in model.modules()]
    if not LEGACY:
        from keras.src.backend.common import global_state

        tracked = vars(global_state.GLOBAL_STATE_TRACKER)
        state["keras names"] = dict(tracked.get("object_name_uids", {}))
        if (generator := tracked.get("global_seed_generator")) is not None:
            state["keras seed"] = bits(generator.state)
    return state


def recurrent_states(layer):
    states = getattr(layer, "states", None)
    return [] if states is None else [state for state in states if state is not None]


def own_variables(layer):
    return [layer.calls, layer.generator.state] if hasattr(layer, "generator") else []


def variables(state):
    """The names of what is a variable of the model, its optimizer or its metrics."""
    return [name for name in state if name.startswith(("model ", "optimizer ", "metric ", "own "))]


def differences(before, after):
    """The names of what differs."""
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def listed(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def bits(variable):
    if BACKEND == "torch":
        return np.asarray(getattr(variable, "value", variable).detach().cpu()).tobytes()
    return np.asarray(variable).tobytes()
