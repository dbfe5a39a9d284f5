"""The learning rate of every step, for logs and pictures."""

from __future__ import annotations

import os
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules.callbacks.step_log import StepLog


class LearningRateLogger(StepLog):
    """Logs the learning rate that every step was taken with.

    The rate of every step is in ``history``, whatever ``steps_per_execution`` is. The rate of the
    last step of an epoch is in the epoch's logs as ``learning_rate``, where ``History``,
    ``CSVLogger``, ``TensorBoard`` and every tracker see it. With ``log_dir``, the rate of every
    step is also written for TensorBoard.

    The logger costs nothing between batches: it reads the optimizer's counter once an epoch and
    computes the rates on the host. The optimizer may follow a schedule of this package or any other
    Keras schedule, or have a constant rate. Rates that other callbacks set at the beginning or the
    end of an epoch are logged correctly. Rates that they set between batches are only seen at the
    next end of an epoch.

    Put the logger first among the callbacks, since the callbacks before it do not see what it adds
    to the logs. (Keras's ``TensorBoard`` callback replaces the rate in its own logs by the rate of
    the next step.)

    Args:
        log_dir: The folder in which the scalar ``learning_rate`` of every step is written. Default:
            None, nothing is written. TensorFlow writes it; on other backends, TensorBoard does. Of
            several workers, the chief writes.

    Attributes:
        history: A dict of lists with an entry for every step. ``"iteration"`` is the optimizer's
            count of the steps before, from 0 (of batches, also under gradient accumulation).
            ``"learning_rate"`` is the value that the optimizer took, in ``floatx()``. The
            hyperparameters of `schedule_hyperparameters` have a list each, and are in the logs and
            in ``log_dir`` too. The lists grow over several trainings, and have the steps before an
            exception. (After an exception, read them before the same optimizer is trained without
            the logger: the logger could not tell the steps apart.)
        epochs: A list with a dict for every epoch: ``"epoch"``, its number; ``"iteration"``, the
            steps that the optimizer had taken when it ended; ``"steps_logged"``, the entries in the
            lists of ``history`` at that time; and what Keras logged. (A metric of one of these
            names is kept in its place.)

    Raises:
        TypeError: If ``log_dir`` is not a path.
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
        >>> [epoch["steps_logged"] for epoch in logger.epochs]
        [4, 8]
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
        # A training that ended by an exception has left its file open.
        if self._log_dir is not None and self._writer is None and backend.is_chief(self.model):
            self._writer = backend.scalar_writer(self._log_dir)
