"""What both callbacks share: the rate of every step, written down an epoch at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clr_schedules._backend import ScalarWriter, backend, keras
from clr_schedules.optimizers import hyperparameters
from clr_schedules.schedules.base import Floats, Integers, Schedule


class StepLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes down the rate of every step, an epoch at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []
        self._iterations: list[int] = []
        # The rates, and the hyperparameters that follow schedules: NaN where they did not.
        self._logged: dict[str, list[float]] = {"learning_rate": []}
        self._ends: list[int] = []  # how many steps were written down at the end of each epoch
        self._writer: ScalarWriter | None = None
        # While a training runs: its optimizer, and the first step that is not written down yet.
        self._optimizer: Any = None
        self._next: int | None = None
        self._params: Any = None  # the training's, by which another test is told from its own
        # Whether steps may have been taken since the last look at the counter.
        self._stepping = False
        # By the names of rate and hyperparameters: a schedule of others, and it for many steps.
        self._mapped: dict[str, tuple[Any, Any]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self._catch_up()  # with a training that an exception ended
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                f"`{type(self).__name__}` must have a model that was compiled with an optimizer. "
                f"Received: model={self.model!r}"
            )
        self._optimizer = backend.inner_optimizer(optimizer)
        self._next = None
        self._params = self.params

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Finds where the counter starts; a callback may have loaded the optimizer until now."""
        if self._next is None:
            self._next = backend.iteration(self._optimizer)
        self._stepping = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Writes down the epoch's steps, before a callback changes the rate at the epoch's end."""
        self._catch_up()
        if self.params is self._params:  # it is the training's own test, behind the last batch
            self._stepping = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes down the epoch's steps, and the rate of its last step in the logs."""
        self._catch_up()
        self._stepping = False
        logs = {} if logs is None else logs
        if self._rates:
            logs["learning_rate"] = self._rates[-1]
        for name in hyperparameters.scheduled(self._optimizer):
            if self._logged.get(name):
                logs.setdefault(name, self._logged[name][-1])  # unless a metric has it
        self.epochs.append({"epoch": epoch, "iteration": self._next, **logs})
        self._ends.append(len(self._rates))

    def on_train_end(self, logs: Any = None) -> None:
        self._catch_up()
        self._optimizer = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves files and functions of Keras out."""
        self._catch_up()
        return vars(self) | {"_writer": None, "_optimizer": None, "_mapped": {}}

    def _catch_up(self) -> None:
        """Writes down the steps since the last time."""
        if not self._stepping or self._optimizer is None or self._next is None:
            return
        # On JAX, `model` brings the variables up to date; at the end of an epoch, they are.
        _ = self.model
        steps = np.arange(self._next, backend.iteration(self._optimizer), dtype=np.int64)
        if not len(steps):
            return
        sources = {
            "learning_rate": backend.rate_source(self._optimizer),
            **hyperparameters.scheduled(self._optimizer),
        }
        found = {name: self._values_of(name, source, steps) for name, source in sources.items()}
        for name in found:
            self._logged.setdefault(name, [math.nan] * len(self._iterations))
        self._next = int(steps[-1]) + 1
        self._iterations += steps.tolist()
        for name, values in self._logged.items():
            values += found[name].tolist() if name in found else [math.nan] * len(steps)
        if self._writer is not None:
            for name, new in found.items():
                self._writer.write(name, steps, new)

    @property
    def _rates(self) -> list[float]:
        return self._logged["learning_rate"]

    def _values_of(self, name: str, source: Any, steps: Integers) -> Floats:
        """What these steps were taken with, as precise as it was."""
        if isinstance(source, Schedule):
            return source.values(steps).astype(backend.floatx()).astype(np.float64)
        if not callable(source):
            return np.full(len(steps), source)
        if self._mapped.get(name, (None, None))[0] is not source:
            self._mapped[name] = source, backend.vectorize(source)
        return self._mapped[name][1](steps)  # type: ignore[no-any-return]
