"""What both callbacks share: a log of the learning rate of every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules._backend import ScalarWriter, backend, keras
from clr_schedules.optimizers import hyperparameters
from clr_schedules.schedules.base import Floats, Integers, Schedule, rate_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class StepLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs the learning rate of every step, at the end of each epoch.

    Nothing happens between batches. The optimizer's counter tells which steps have been taken, and
    their rates are computed on the host.

    Attributes:
        epochs: The logs of every epoch, as `LearningRateLogger` documents them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []
        # The logged steps, and what each was taken with. A hyperparameter is NaN at the steps where
        # it did not follow a schedule.
        self._iterations: list[int] = []
        self._logged: dict[str, list[float]] = {"learning_rate": []}
        self._writer: ScalarWriter | None = None
        # The state of a training: its optimizer, the first step that is not logged yet, the
        # parameters that Keras handed to all its callbacks, and whether steps may be taken now.
        self._optimizer: Any = None
        self._next_iteration: int | None = None
        self._training_params: Any = None
        self._batches_running = False

    @property
    def history(self) -> dict[str, list[Any]]:
        """Lists with an entry for every step."""
        raise NotImplementedError

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the learning rate of every step and the losses of the epochs.

        Args:
            ax: The Matplotlib axes to draw on. Default: those of a new figure.

        Returns:
            The axes of the losses. See `clr_schedules.plotting.plot_history`.

        Raises:
            ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
            TypeError: If ``ax`` is not Matplotlib axes.
            ValueError: If no step was logged.

        Example:
            >>> import keras, numpy as np, clr_schedules as clr
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            >>> model.compile(keras.optimizers.SGD(clr.Triangular(1e-3, 6e-3, 5)), loss="mse")
            >>> logger = clr.LearningRateLogger()
            >>> x = np.ones((32, 4))
            >>> history = model.fit(x, x[:, 0], batch_size=8, verbose=0, callbacks=[logger])
            >>> logger.plot().get_ylabel()
            'loss'
        """
        from clr_schedules import plotting

        return plotting.plot_history(self.history, self.epochs, ax)

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the optimizer."""
        self._catch_up()  # with the steps of a training that ended by an exception
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                f"`{type(self).__name__}` must have a model that was compiled with an optimizer. "
                f"Received: model={self.model!r}"
            )
        self._optimizer = backend.inner_optimizer(optimizer)
        self._next_iteration = None
        self._training_params = self.params

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reads where the optimizer's counter starts."""
        # Not at the beginning of the training, where another callback may still load the optimizer.
        if self._next_iteration is None:
            self._next_iteration = backend.iteration(self._optimizer)
        self._batches_running = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Logs the epoch's steps, before a callback changes the rate at the end of the epoch."""
        self._catch_up()
        # The validation of the training comes after the last batch of the epoch. Another test,
        # which a callback may begin between two batches, has parameters of its own.
        if self.params is self._training_params:
            self._batches_running = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Logs the epoch's steps, and adds the rate of the last one to the epoch's logs."""
        self._catch_up()
        self._batches_running = False
        logs = {} if logs is None else logs
        if self._rates:
            logs["learning_rate"] = self._rates[-1]
        for name in hyperparameters.scheduled(self._optimizer):
            if self._logged.get(name):
                logs.setdefault(name, self._logged[name][-1])  # a metric of this name comes first
        counts = {"iteration": self._next_iteration, "steps_logged": len(self._iterations)}
        self.epochs.append({"epoch": epoch, **counts, **logs})

    def on_train_end(self, logs: Any = None) -> None:
        """Lets go of the optimizer."""
        self._catch_up()
        self._optimizer = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the log, without the open file and the optimizer of the training."""
        self._catch_up()
        return vars(self) | {"_writer": None, "_optimizer": None}

    @property
    def _rates(self) -> list[float]:
        return self._logged["learning_rate"]

    def _catch_up(self) -> None:
        """Logs the steps that were taken since the last call."""
        if not self._batches_running or self._optimizer is None or self._next_iteration is None:
            return
        self._bring_variables_up_to_date()
        steps = np.arange(self._next_iteration, backend.iteration(self._optimizer), dtype=np.int64)
        if not len(steps):
            return
        sources = {
            "learning_rate": backend.rate_source(self._optimizer),
            **hyperparameters.scheduled(self._optimizer),
        }
        values = {name: _values_taken(source, steps) for name, source in sources.items()}
        for name in values:
            self._logged.setdefault(name, [math.nan] * len(self._iterations))
        for name, column in self._logged.items():
            column += values[name].tolist() if name in values else [math.nan] * len(steps)
        self._iterations += steps.tolist()
        self._next_iteration = int(steps[-1]) + 1
        if self._writer is not None:
            for name, new in values.items():
                self._writer.write(name, steps, new)

    def _bring_variables_up_to_date(self) -> None:
        """Has Keras write the counter into its variable.

        Keras on JAX keeps the variables apart from the model while batches run. The property
        `Callback.model` writes them back, so it is read here; its value is not needed.
        """
        _ = self.model


def _values_taken(source: Any, steps: Integers) -> Floats:
    """The values that the optimizer took at these steps, rounded as they were for it."""
    if isinstance(source, Schedule):
        return source.values(steps).astype(backend.floatx()).astype(np.float64)
    if callable(source):
        return np.asarray(rate_of(source, steps, np))
    return np.full(len(steps), source)
