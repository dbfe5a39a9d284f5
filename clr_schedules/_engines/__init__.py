"""The train loops of the range test, one module for each framework that Keras runs on.

Each module has

``train_function(model, sweep)``
    a function in the place of ``model.train_function``, called by ``fit`` in its way. Each call
    takes up to ``sweep.chunk`` steps, each of them the model's own ``train_step`` with fresh
    metrics and with the sweep's learning rate, and hands their logs to ``sweep.add``.
``lend_rate(optimizer, sweep)``, ``lend_chunk(model, chunk, length)``
    have the optimizer take its rate from the sweep, and ``fit`` count that many steps a call. Both
    write into the objects' dictionaries: to put the old values back undoes them.
``steps_per_execution(model)``
    the steps a call that the model was compiled with.
``modules(model)``, ``resume_training(model)``
    the parts of a model that are in training mode or not, and what brings them back to it after a
    validation; PyTorch's.
``native_variables(model)``
    the framework's variables that hang on a model without being Keras's.
``is_variable(thing)``, ``unwrap(variable)``
    whether a thing is a variable of Keras or the framework, and the framework's within it; None if
    it has no value yet.
``read(variable)``, ``write(variable, value)``
    a copy of a framework's variable, on the host, and what gives it back.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clr_schedules import _keras

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep


def engine() -> ModuleType:
    """The module for the Keras that is running."""
    return importlib.import_module(f"{__name__}.{_keras.ENGINE}")


def lend_rate(optimizer: Any, sweep: Sweep) -> None:
    """Has the optimizer take its learning rate from the sweep, as Keras 3 lets any callable."""
    vars(optimizer)["_learning_rate"] = lambda: sweep.rate


def steps_per_execution(model: Any) -> int:
    """The steps a call that a model of Keras 3 was compiled with."""
    return int(model.steps_per_execution)


def lend_chunk(model: Any, chunk: int, length: int | None) -> None:
    """Has `fit` of Keras 3 count this many steps a call, whatever the length of an epoch."""
    vars(model)["steps_per_execution"] = chunk


def modules(model: Any) -> Iterable[Any]:
    """No parts of a model are in a mode here."""
    return ()


def resume_training(model: Any) -> None:
    """Nothing: `evaluate` leaves nothing behind here."""


def scalars(logs: Any, owner: Any) -> dict[str, Any]:
    """The scalar logs of a train step; its loss is among them, or it is an error."""
    found = {
        name: value
        for name, value in (logs.items() if isinstance(logs, dict) else ())
        if isinstance(value, (int, float)) or tuple(getattr(value, "shape", (0,))) == ()
    }
    if "loss" not in found:
        received = logs
        if isinstance(logs, dict):
            received = f"loss={logs['loss']}" if "loss" in logs else sorted(logs)
        raise ValueError(
            "The range test reads the loss from the logs of each train step, so `train_step` of "
            f"{type(owner).__name__} must return a dict with a scalar at the key 'loss'. "
            f"Received: {received}"
        )
    return found
