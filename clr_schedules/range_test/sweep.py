"""A range test under way: the rates to come, the losses so far, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules._backend import backend, keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clr_schedules._backend.base import TrainLoop
    from clr_schedules.range_test.interrupts import Interrupts

# How often the validation data are evaluated on the way.
_VALIDATIONS = 30


class Sweep:
    """Hands out the learning rates, takes the logs of the train steps, and says when to stop.

    Attributes:
        rates: The rate of each step, in float64.
        table: The same rates, in the type in which the optimizer takes its rate.
        steps_per_call: The most steps in one call of the train loop.
        paced: Whether the train loop should take fewer steps a call where they are slow.
        smoothing: The weight of the past in the smoothed loss.
        taken: The number of steps that are recorded.
        stop_reason: Why the sweep ended; None while it goes on.
    """

    def __init__(
        self,
        rates: NDArray[np.float64],
        dtype: str,
        *,
        stop_factor: float,
        smoothing: float,
        steps_per_call: int,
        paced: bool = True,
    ) -> None:
        self.rates = rates
        self.table = rates.astype(dtype)
        self.steps_per_call = steps_per_call
        self.paced = paced
        self.smoothing = smoothing
        self.taken = 0
        self.stop_reason: str | None = None
        self._stop_factor = stop_factor
        self._average = 0.0
        self._best = math.inf
        self._first: float | None = None
        self._lowest = math.inf
        self._logs: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def remaining(self) -> int:
        """The number of steps still to take."""
        return 0 if self.stop_reason else len(self) - self.taken

    def upcoming(self) -> Iterator[Any]:
        """The rates of the steps of one call of the train loop."""
        yield from self.table[self.taken : self.taken + min(self.steps_per_call, self.remaining)]

    def add(self, logs: Mapping[str, Any]) -> None:
        """Records the logs of some steps: for each name, an array with an entry for each step.

        Steps after the end of the sweep are dropped.
        """
        columns = {name: np.asarray(values, np.float64) for name, values in logs.items()}
        for row in range(len(columns["loss"])):
            if not self.remaining:
                break
            for name, values in columns.items():
                self._logs.setdefault(name, []).append(float(values[row]))
            self._judge(float(columns["loss"][row]))

    @property
    def last(self) -> dict[str, float]:
        """The logs of the last step that is recorded, and its learning rate."""
        if not self.taken:
            return {}
        return {
            "loss": self._logs["loss"][-1],
            **{name: values[-1] for name, values in self._logs.items()},
            "learning_rate": float(self.rates[self.taken - 1]),
        }

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """For each name in the logs, an array with the value of each step."""
        return {name: np.array(values, np.float64) for name, values in self._logs.items()}

    def end(self, reason: str) -> None:
        """Ends the sweep, unless it has ended already."""
        self.stop_reason = self.stop_reason or reason

    def _judge(self, loss: float) -> None:
        """Counts a step, and ends the sweep if this step's loss says so."""
        rate = self.rates[self.taken]
        self.taken += 1
        if not math.isfinite(loss):
            self.end(f"diverged: the loss was {loss:g} at a learning rate of {rate:.3g}")
            return
        # As in `suggestions.smooth`, one step at a time.
        beta = self.smoothing
        self._average = beta * self._average + (1 - beta) * loss
        smoothed = self._average / (1 - beta**self.taken)
        self._first = smoothed if self._first is None else self._first
        self._lowest = min(self._lowest, loss)
        self._best = min(self._best, smoothed)
        # A multiple of the best loss says nothing once a loss was below zero. The depth of the
        # descent so far is the measure then.
        scale = self._best
        if self._lowest < 0:
            scale = max(self._first - self._best, abs(self._best))
        if smoothed - self._best > (self._stop_factor - 1) * scale:
            self.end(
                f"diverged: the smoothed loss was {self._stop_factor:g} times its best "
                f"at a learning rate of {rate:.3g}"
            )
        elif self.taken == len(self):
            self.end(f"completed: reached the last learning rate, {rate:.3g}")


class Watcher(keras.callbacks.Callback):  # type: ignore[misc]
    """The callback of the range test's `fit`: shows the progress, validates, and ends the training.

    Attributes:
        validations: The logs of each validation, with the learning rate of the step before it.
    """

    def __init__(
        self,
        model: Any,
        sweep: Sweep,
        loop: TrainLoop,
        interrupts: Interrupts,
        *,
        validation_data: Any,
        batch_size: int | None,
        verbose: int,
    ) -> None:
        super().__init__()
        # Not `self.model`, which Keras sets: on JAX, each look at that copies all variables.
        self._swept = model
        self._sweep = sweep
        self._loop = loop
        self._interrupts = interrupts
        self._validation_data = validation_data
        self._batch_size = batch_size
        self._verbose = verbose
        # The numbers of steps after which a validation is due.
        self._due = np.linspace(0, len(sweep), _VALIDATIONS + 1)[1:].round()
        self._taken_before_epoch = 0
        self._bar: Any = None
        self.validations: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers where the epoch begins."""
        self._taken_before_epoch = self._sweep.taken

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Validates, shows the progress, and ends the training with the sweep."""
        self._interrupts.check()
        if self._validation_data is not None:
            self._loop.flush()
            self._validate()
        self._show()
        if not self._sweep.remaining:
            self._swept.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends the training with the sweep, or where an epoch had no data any more."""
        self._loop.flush()
        if not self._sweep.remaining or self._sweep.taken == self._taken_before_epoch:
            self._swept.stop_training = True

    def close(self) -> None:
        """Leaves the terminal at the beginning of a line."""
        if self._bar is not None:
            self._show(finalize=True)

    def _show(self, finalize: bool = False) -> None:
        """Draws the progress bar."""
        logs = self._sweep.last
        if not (self._verbose and logs):
            return
        if self._bar is None:
            self._bar = keras.utils.Progbar(
                len(self._sweep), verbose=self._verbose, stateful_metrics=list(logs)
            )
        if finalize and self._verbose == 2:  # tf_keras ends the line at the target only
            self._bar.target = self._sweep.taken
        self._bar.update(self._sweep.taken, list(logs.items()), finalize=finalize)

    def _validate(self) -> None:
        """Evaluates the validation data if that is due and the last loss was finite."""
        passed = int(np.searchsorted(self._due, self._sweep.taken, side="right"))
        self._due = self._due[passed:]
        if not (passed and math.isfinite(self._sweep.last["loss"])):
            return
        data = self._validation_data
        x, y, sample_weight = (
            (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        )
        # `self.model` here, and not `self._swept`: on JAX, this is the look that copies to it the
        # variables that the training has reached.
        logs = self.model.evaluate(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=self._batch_size,
            verbose=0,
            return_dict=True,
        )
        backend.resume_training(self._swept)
        logs = {name: float(log) for name, log in logs.items() if np.ndim(log) == 0}
        self.validations.append(logs | {"learning_rate": self._sweep.last["learning_rate"]})
