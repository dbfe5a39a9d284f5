"""The state of a running range test: its rates, the losses so far, and the rule when to stop."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules._backend import FINITE_WEIGHTS, backend, keras
from clr_schedules.range_test.suggestions import WEIGHTS_NOT_FINITE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clr_schedules._backend.base import TrainLoop
    from clr_schedules.range_test.interrupts import Interrupts

# The number of evaluations on the validation data during a range test.
_VALIDATIONS = 30
# The fewest steps whose losses tell how large the noise of a single loss is.
_ENOUGH = 10
# The number of the newest losses that must all be too high before a test ends.
_IN_A_ROW = 5
# The number of standard errors by which the smoothed loss must exceed its best.
_SIGNIFICANT = 5.0


class Sweep:
    """Hands out the learning rates, takes the logs of the batches, and says when to stop.

    A step of the sweep is an update of the weights. If the optimizer accumulates the gradients of
    several batches, all batches of a step have the same rate, and the logs of the step are the
    means of the logs of its batches.

    Attributes:
        rates: The rate of each step, in float64.
        table: The rate of each batch, in the type in which the optimizer takes its rate.
        steps_per_call: The largest number of batches in one call of the train loop.
        paced: Whether the train loop should take fewer batches per call if they are slow.
        smoothing: The weight of the past in the smoothed loss.
        taken: The number of batches that are recorded.
        steps: The number of steps that are recorded.
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
        batches_per_step: int = 1,
    ) -> None:
        self.rates = rates
        self.table = np.repeat(rates, batches_per_step).astype(dtype)
        self.steps_per_call = steps_per_call
        self.paced = paced
        self.smoothing = smoothing
        self.taken = 0
        self.steps = 0
        self.stop_reason: str | None = None
        self._batches_per_step = batches_per_step
        # The logs of the batches of the present step.
        self._group: list[dict[str, float]] = []
        self._logs: dict[str, list[float]] = {}
        self._rise = _Rise(stop_factor, smoothing)

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def remaining(self) -> int:
        """The number of batches that are still to be taken; 0 after the end of the sweep."""
        return 0 if self.stop_reason else len(self.table) - self.taken

    def upcoming(self) -> Iterator[Any]:
        """Yields the rates of the batches that the next call of the train loop takes."""
        yield from self.table[self.taken : self.taken + min(self.steps_per_call, self.remaining)]

    def add(self, logs: Mapping[str, Any]) -> None:
        """Records the logs of some batches: for each name, an array with an entry for each batch.

        Batches after the end of the sweep are dropped.
        """
        columns = {name: np.asarray(values, np.float64).tolist() for name, values in logs.items()}
        for row in zip(*columns.values(), strict=True):
            if not self.remaining:
                break
            self.taken += 1
            self._group.append(dict(zip(columns, row, strict=True)))
            if len(self._group) == self._batches_per_step:
                self._end_step()

    @property
    def last(self) -> dict[str, float]:
        """The logs and the learning rate of the last recorded step; empty before the first."""
        if not self.steps:
            return {}
        return {
            "loss": self._logs["loss"][-1],
            **{name: values[-1] for name, values in self._logs.items()},
            "learning_rate": float(self.rates[self.steps - 1]),
        }

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """For each name in the logs, an array with the values of all recorded steps."""
        return {name: np.array(values, np.float64) for name, values in self._logs.items()}

    def end(self, reason: str) -> None:
        """Ends the sweep for this reason, unless the sweep has ended already."""
        self.stop_reason = self.stop_reason or reason

    def _end_step(self) -> None:
        """Records the step whose last batch was taken, and ends the sweep if there is a reason."""
        group, self._group = self._group, []
        logs = {name: sum(batch[name] for batch in group) / len(group) for name in group[0]}
        finite_weights = logs.pop(FINITE_WEIGHTS, 1.0) == 1.0
        for name, value in logs.items():
            self._logs.setdefault(name, []).append(value)
        rate, loss = self.rates[self.steps], logs["loss"]
        self.steps += 1
        at = f"step {self.steps}, at a learning rate of {rate:.3g}"
        if not math.isfinite(loss):
            self.end(f"diverged: the loss was {loss:g} at {at}")
        elif not finite_weights:
            self.end(f"{WEIGHTS_NOT_FINITE} after {at}")
        elif self._rise.is_too_high(loss):
            self.end(
                f"diverged: the smoothed loss was {self._rise.factor:g} times its best "
                f"at a learning rate of {rate:.3g}"
            )
        elif self.steps == len(self):
            self.end(f"completed: reached the last learning rate, {rate:.3g}")


class _Rise:
    """Tells at each step whether the loss has risen too far, by a rule that noise does not meet.

    The smoothed loss must exceed its best by a factor. Three conditions keep noise from ending a
    test, since the losses of a trained model may differ by a factor of 100 between batches:

    - The best counts from the tenth step on, since before that the average is of few batches.
    - Each of the last five losses must be too high, not only a few that raise the average.
    - The rise must exceed five standard errors of the averages. The noise of a single loss is
      measured by the differences between neighbours, which a slow rise or fall does not affect.
      The last five losses do not count, since a divergence makes them differ.

    Args:
        factor: The factor between the smoothed loss and its best, above 1.
        smoothing: The weight of the past in the smoothed loss.
    """

    def __init__(self, factor: float, smoothing: float) -> None:
        self.factor = factor
        self._smoothing = smoothing
        self._steps = 0
        self._average = 0.0
        self._first: float | None = None
        self._lowest = math.inf
        # The best smoothed loss, and the variance of its average if a single loss has variance 1.
        self._best, self._best_variance = math.inf, 1.0
        self._newest: collections.deque[float] = collections.deque(maxlen=_IN_A_ROW + 2)
        # The sum of the squared differences between neighbours that count, and their number.
        self._squares, self._differences = 0.0, 0

    def is_too_high(self, loss: float) -> bool:
        """Takes the loss of a step, and tells whether it has risen too far."""
        # The smoothed loss, by the formula of `suggestions.smooth`, one step at a time.
        beta = self._smoothing
        self._steps += 1
        power = beta**self._steps
        self._average = beta * self._average + (1 - beta) * loss
        smoothed = self._average / (1 - power)
        variance = (1 - beta) * (1 + power) / ((1 + beta) * (1 - power))
        self._lowest = min(self._lowest, loss)
        newest = self._newest
        newest.append(loss)
        if len(newest) == newest.maxlen:
            difference = newest[1] - newest[0]
            self._squares += difference * difference  # `**` raises an error if it overflows
            self._differences += 1
        if self._steps < _ENOUGH:
            return False
        self._first = smoothed if self._first is None else self._first
        if smoothed < self._best:
            self._best, self._best_variance = smoothed, variance
        # A multiple of the best loss is meaningless after a loss below 0. From then on, the rise
        # is compared with the depth of the descent so far.
        scale = self._best
        if self._lowest < 0:
            scale = max(self._first - self._best, abs(self._best))
        limit = (self.factor - 1) * scale
        error = math.sqrt(self._squares / self._differences / 2 * (variance + self._best_variance))
        return smoothed - self._best > max(limit, _SIGNIFICANT * error) and all(
            loss > self._best + limit for loss in list(newest)[-_IN_A_ROW:]
        )


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
            self._bar.target = self._sweep.steps
        self._bar.update(self._sweep.steps, list(logs.items()), finalize=finalize)

    def _validate(self) -> None:
        """Evaluates the model on the validation data, if it is due and the last loss was finite."""
        passed = int(np.searchsorted(self._due, self._sweep.steps, side="right"))
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
