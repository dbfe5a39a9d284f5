"""The base class of both callbacks: a log of the learning rate of every step."""

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
    the rates of these steps are computed on the host.

    Attributes:
        epochs: The logs of every epoch, as `LearningRateLogger` documents them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []
        # The iterations of the logged steps, and for each name the values at these steps. A
        # hyperparameter is NaN at steps at which it did not follow a schedule.
        self._iterations: list[int] = []
        self._logged: dict[str, list[float]] = {"learning_rate": []}
        self._writer: ScalarWriter | None = None
        # The state of a training: its optimizer; the iteration of the first step that is not logged
        # yet; the parameters that Keras gave to all callbacks of the training; and whether batches
        # of the training may be running now.
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
        # The counter is read only here, because at the beginning of the training another callback
        # may still load the optimizer's state.
        if self._next_iteration is None:
            self._next_iteration = backend.iteration(self._optimizer)
        self._batches_running = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Logs the epoch's steps, before a callback changes the rate at the end of the epoch."""
        self._catch_up()
        # The training's own validation follows the last batch of the epoch. A callback may call
        # `evaluate` between two batches, but that evaluation has parameters of its own.
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
                # A metric with the same name takes precedence.
                logs.setdefault(name, self._logged[name][-1])
        counts = {"iteration": self._next_iteration, "steps_logged": len(self._iterations)}
        self.epochs.append({"epoch": epoch, **counts, **logs})

    def on_train_end(self, logs: Any = None) -> None:
        """Logs the last steps, closes the file and releases the optimizer."""
        self._catch_up()
        self._optimizer = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: the log, without the open file and the optimizer."""
        self._catch_up()
        return vars(self) | {"_writer": None, "_optimizer": None}

    @property
    def _rates(self) -> list[float]:
        """The learning rates of the logged steps."""
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
        """Makes Keras write the present value of the optimizer's counter into its variable.

        While batches run on JAX, Keras keeps the values of the variables outside of the model. The
        property `Callback.model` writes them back as a side effect, so it is read here.
        """
        _ = self.model


def _values_taken(source: Any, steps: Integers) -> Floats:
    """The values that the optimizer used at these steps, rounded in the same way.

    The source is a schedule, another function of the step, or a constant.
    """
    if isinstance(source, Schedule):
        return source.values(steps).astype(backend.floatx()).astype(np.float64)
    if callable(source):
        return np.asarray(rate_of(source, steps, np))
    return np.full(len(steps), source)
