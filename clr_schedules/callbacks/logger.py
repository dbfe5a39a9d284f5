"""The learning rate of every step, for logs and pictures."""

from __future__ import annotations

import os
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules.callbacks.step_log import StepLog


class LearningRateLogger(StepLog):
    """Logs the learning rate that every step was taken with.

    ``history`` has the rate of every step, at any ``steps_per_execution``; the epoch's logs get
    that of its last step as ``learning_rate``, so that ``History``, ``CSVLogger``, ``TensorBoard``
    and every tracker see it; ``log_dir`` gets every step's, for TensorBoard.

    It costs nothing between batches: the rates are computed on the host, from the optimizer's
    counter. Whatever gives the optimizer its rate is logged: a schedule of this package, any other
    Keras schedule, a constant. A rate that another callback sets at the beginning or the end of an
    epoch is logged right; one that it sets between batches is seen once an epoch.

    Put it first among the callbacks: those before it do not see what it adds to the logs. (Keras's
    ``TensorBoard`` callback replaces the rate in its own logs by that of the step to come.)

    Args:
        log_dir: The folder for the scalar ``learning_rate`` of every step. Default: none. Written
            by TensorFlow or, on other backends, by TensorBoard; of several workers, by the chief.

    Attributes:
        history: A dict of lists with an entry for every step: ``"iteration"``, counted from 0
            by the optimizer (batches, under gradient accumulation too), and ``"learning_rate"``,
            the value that the optimizer took, in ``floatx()``. It goes on over several trainings,
            and has the steps before an exception. (Read it before a training without the logger
            goes on with the same optimizer: its steps would be counted in.) Hyperparameters of
            `schedule_hyperparameters` have a list each, and are in the logs and ``log_dir`` too.
        epochs: A list of the logs of each epoch, each a dict with ``"epoch"``, ``"iteration"`` (the
            steps taken when it ended) and what Keras logged.

    Raises:
        TypeError: If ``log_dir`` is no path.
        ImportError: At the start of a training, if ``log_dir`` needs TensorBoard and it is
            missing: ``pip install "clr-schedules[tensorboard]"``.
        ValueError: At the start of a training, if the model was compiled without an optimizer.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=5)
        >>> model.compile(keras.optimizers.SGD(learning_rate=lr), loss="mse")
        >>> logger = clr.LearningRateLogger()
        >>> x = np.ones((32, 4))
        >>> history = model.fit(x, x[:, 0], batch_size=8, epochs=2, verbose=0, callbacks=[logger])
        >>> logger.history["iteration"]
        [0, 1, 2, 3, 4, 5, 6, 7]
        >>> np.round(logger.history["learning_rate"], 6)
        array([0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.005, 0.004])
        >>> np.round(history.history["learning_rate"], 6)
        array([0.004, 0.004])
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
            raise TypeError(_arguments.received("log_dir", "a path, or None", log_dir))
        self._log_dir = None if log_dir is None else os.fspath(log_dir)

    @property
    def history(self) -> dict[str, list[Any]]:
        """The iteration, the learning rate and the scheduled hyperparameters of every step."""
        self._catch_up()
        return {"iteration": self._iterations, **self._logged}

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the optimizer and opens a file in ``log_dir``."""
        super().on_train_begin(logs)
        if self._log_dir is None or self._writer is not None:
            return
        if backend.is_chief(self.model):
            self._writer = backend.scalar_writer(self._log_dir)
