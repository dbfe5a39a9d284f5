"""What the range test needs of each framework that Keras runs on, one module for each."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from clr_schedules import _keras

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep


def engine() -> Engine:
    """The one for the Keras that is running."""
    return importlib.import_module(f"{__name__}.{_keras.ENGINE}").Engine()  # type: ignore[no-any-return]


class Engine(abc.ABC):
    """How a sweep trains a model, and how its variables are read and written."""

    @abc.abstractmethod
    def train_function(self, model: Any, sweep: Sweep) -> Callable[..., Any]:
        """A function in the place of ``model.train_function``, called by `fit` in its way.

        Each call takes up to ``sweep.chunk`` steps, each of them the model's own ``train_step``
        with fresh metrics and with the sweep's learning rate, and hands their logs to
        ``sweep.add``.
        """

    def lend_rate(self, optimizer: Any, sweep: Sweep) -> None:
        """Has the optimizer take its learning rate from the sweep, as Keras 3 lets any callable.

        Like `lend_chunk`, it writes into the object's dictionary: to put the old values back
        undoes it.
        """
        vars(optimizer)["_learning_rate"] = lambda: sweep.rate

    def lend_chunk(self, model: Any, chunk: int, length: int | None) -> None:
        """Has `fit` count this many steps a call, in epochs of this length (None: unknown)."""
        vars(model)["steps_per_execution"] = chunk

    def steps_per_execution(self, model: Any) -> int:
        """The steps a call that the model was compiled with."""
        return int(model.steps_per_execution)

    def is_variable(self, thing: Any) -> bool:
        """Whether this is a variable, Keras's or the framework's."""
        return isinstance(thing, _keras.Variable)

    def unwrap(self, variable: Any) -> Any | None:
        """The framework's variable within one of Keras's; None if it has no value yet."""
        return getattr(variable, "_value", variable)

    @abc.abstractmethod
    def native_variables(self, model: Any) -> Iterable[Any]:
        """The framework's variables that hang on a model without being Keras's."""

    @abc.abstractmethod
    def read(self, variable: Any) -> Any:
        """A copy of the value of a variable that was unwrapped, on the host."""

    def write(self, variable: Any, value: Any) -> None:
        """Gives it back."""
        variable.assign(value)

    def modules(self, model: Any) -> Iterable[Any]:
        """The parts of a model that are in training mode or not; only PyTorch has such."""
        return ()

    def resume_training(self, model: Any) -> None:  # noqa: B027 - nothing to do, for most
        """Brings the model back to training mode after an evaluation."""


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
