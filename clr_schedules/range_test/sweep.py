"""The state of a running range test: its rates, the losses so far, and the rule when to stop."""

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

# The number of evaluations on the validation data during a range test.
_VALIDATIONS = 30


class Sweep:
    """Hands out the learning rates, takes the logs of the train steps, and says when to stop.

    Attributes:
        rates: The rate of each step, in float64.
        table: The same rates, in the type in which the optimizer takes its rate.
        steps_per_call: The largest number of steps in one call of the train loop.
        paced: Whether the train loop should take fewer steps per call if the steps are slow.
        smoothing: The weight of the past in the smoothed loss.
        taken: The number of steps that are recorded.
        stop_reason: The reason for which the sweep ended; None until then.
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
        """The number of steps that are still to be taken; 0 after the end of the sweep."""
        return 0 if self.stop_reason else len(self) - self.taken

    def upcoming(self) -> Iterator[Any]:
        """Yields the rates of the steps that the next call of the train loop takes."""
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
        """The logs and the learning rate of the last recorded step; empty before the first."""
        if not self.taken:
            return {}
        return {
            "loss": self._logs["loss"][-1],
            **{name: values[-1] for name, values in self._logs.items()},
            "learning_rate": float(self.rates[self.taken - 1]),
        }

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """For each name in the logs, an array with the values of all recorded steps."""
        return {name: np.array(values, np.float64) for name, values in self._logs.items()}

    def end(self, reason: str) -> None:
        """Ends the sweep for this reason, unless the sweep has ended already."""
        self.stop_reason = self.stop_reason or reason

    def _judge(self, loss: float) -> None:
        """Counts a step, and ends the sweep if the loss is too high or the step is the last."""
        rate = self.rates[self.taken]
        self.taken += 1
        if not math.isfinite(loss):
            self.end(f"diverged: the loss was {loss:g} at a learning rate of {rate:.3g}")
            return
        # The smoothed loss, by the formula of `suggestions.smooth`, one step at a time.
        beta = self.smoothing
        self._average = beta * self._average + (1 - beta) * loss
        smoothed = self._average / (1 - beta**self.taken)
        self._first = smoothed if self._first is None else self._first
        self._lowest = min(self._lowest, loss)
        self._best = min(self._best, smoothed)
        # A multiple of the best loss is meaningless after a loss below 0. From then on, the rise
        # is compared with the depth of the descent so far.
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
    """The callback in the range test's `fit`: shows progress, validates, and ends the training.

    Attributes:
        validations: The logs of each validation, and the learning rate of the step before the
            validation.
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
        # The model under a name of its own, because on JAX each access to Keras's property
        # `self.model` copies all variables.
        self._swept = model
        self._sweep = sweep
        self._loop = loop
        self._interrupts = interrupts
        self._validation_data = validation_data
        self._batch_size = batch_size
        self._verbose = verbose
        # The numbers of steps after which a validation is still due.
        self._due = np.linspace(0, len(sweep), _VALIDATIONS + 1)[1:].round()
        self._taken_before_epoch = 0
        self._bar: Any = None
        self.validations: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers the number of steps that were taken before the epoch."""
        self._taken_before_epoch = self._sweep.taken

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Validates if due, shows progress, and ends the training if the sweep has ended."""
        self._interrupts.check()
        if self._validation_data is not None:
            self._loop.flush()
            self._validate()
        self._show()
        if not self._sweep.remaining:
            self._swept.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends the training if the sweep has ended, or if the epoch had no data."""
        self._loop.flush()
        if not self._sweep.remaining or self._sweep.taken == self._taken_before_epoch:
            self._swept.stop_training = True

    def close(self) -> None:
        """Draws the progress bar for the last time, which moves the cursor to a new line."""
        if self._bar is not None:
            self._show(finalize=True)

    def _show(self, finalize: bool = False) -> None:
        """Draws the progress bar, if the user wants it and a step was taken."""
        logs = self._sweep.last
        if not (self._verbose and logs):
            return
        if self._bar is None:
            self._bar = keras.utils.Progbar(
                len(self._sweep), verbose=self._verbose, stateful_metrics=list(logs)
            )
        if finalize and self._verbose == 2:  # tf_keras prints the line only at the target
            self._bar.target = self._sweep.taken
        self._bar.update(self._sweep.taken, list(logs.items()), finalize=finalize)

    def _validate(self) -> None:
        """Evaluates the model on the validation data, if it is due and the last loss was finite."""
        passed = int(np.searchsorted(self._due, self._sweep.taken, side="right"))
        self._due = self._due[passed:]
        if not (passed and math.isfinite(self._sweep.last["loss"])):
            return
        data = self._validation_data
        x, y, sample_weight = (
            (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        )
        # Here, `self.model` is needed instead of `self._swept`: on JAX, the access to this property
        # copies the present values of the training into the model's variables.
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
