"""What stands beside `fit` in a range test: it shows the progress, validates, and ends it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _keras

if TYPE_CHECKING:
    from clr_schedules._engines import Engine
    from clr_schedules._interrupts import Interrupts
    from clr_schedules._sweep import Sweep

# The number of times that the validation data are evaluated on the way.
_VALIDATIONS = 30


class Watcher(_keras.Callback):  # type: ignore[misc]
    """A callback for the `fit` that drives a sweep.

    Its attribute ``validation`` has the logs of each validation, with the learning rate of the step
    before it.
    """

    def __init__(
        self,
        model: Any,
        sweep: Sweep,
        engine: Engine,
        interrupts: Interrupts,
        validation_data: Any,
        batch_size: int | None,
        verbose: int,
    ) -> None:
        super().__init__()
        # Not `self.model`: on JAX, to look at that costs a copy of all variables.
        self._swept = model
        self._sweep = sweep
        self._engine = engine
        self._interrupts = interrupts
        self._validation_data = validation_data
        self._batch_size = batch_size
        self._verbose = verbose
        self._due = np.linspace(0, len(sweep), _VALIDATIONS + 1)[1:].round()
        self._before = 0
        self._bar: Any = None
        self.validation: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = self._sweep.taken

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._interrupts.check()
        if self._validation_data is not None:
            self._sweep.flush()
            self._validate()
        self._show()
        if not self._sweep.remaining:
            self._swept.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._sweep.flush()
        # The second is where there are no data any more.
        if not self._sweep.remaining or self._sweep.taken == self._before:
            self._swept.stop_training = True

    def close(self) -> None:
        """Leaves the terminal as it should be: at the beginning of a line."""
        if self._bar is not None:
            self._show(finalize=True)

    def _show(self, finalize: bool = False) -> None:
        logs = self._sweep.last
        if not (self._verbose and logs):
            return
        if self._bar is None:
            self._bar = _keras.Progbar(
                len(self._sweep), verbose=self._verbose, stateful_metrics=list(logs)
            )
        if finalize and self._verbose == 2:  # the legacy Keras ends the line at the target only
            self._bar.target = self._sweep.taken
        self._bar.update(self._sweep.taken, list(logs.items()), finalize=finalize)

    def _validate(self) -> None:
        passed = int(np.searchsorted(self._due, self._sweep.taken, side="right"))
        self._due = self._due[passed:]
        if not (passed and math.isfinite(self._sweep.last["loss"])):
            return
        data = self._validation_data
        x, y, sample_weight = (
            (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        )
        logs = self.model.evaluate(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=self._batch_size,
            verbose=0,
            return_dict=True,
        )
        self._engine.resume_training(self._swept)
        logs = {name: float(log) for name, log in logs.items() if np.ndim(log) == 0}
        self.validation.append(logs | {"learning_rate": self._sweep.last["learning_rate"]})
