"""A callback that logs the learning rate of every step, for records and pictures."""

from __future__ import annotations

import os
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules.callbacks.step_log import StepLog


class LearningRateLogger(StepLog):
    """Logs the learning rate of every train step.

    The rate of every step is in ``history``, for every value of ``steps_per_execution``. The rate
    of the last step of an epoch is added to the epoch's logs as ``learning_rate``, so that
    ``History``, ``CSVLogger``, ``TensorBoard`` and every tracker see it. With ``log_dir``, the rate
    of every step is also written for TensorBoard.

    The logger does nothing between batches: once an epoch, it reads the optimizer's counter and
    computes the rates on the host. The optimizer may follow a schedule of this package or any other
    Keras schedule, or have a constant rate. If another callback sets the rate at the beginning or
    the end of an epoch, the log is correct. If a callback sets the rate between batches, the logger
    notices the change only at the end of the epoch.

    If several optimizers train the model (Keras's ``MultiOptimizer``, or a GAN whose optimizers are
    attributes of the model), each optimizer that takes steps has its own rate,
    ``learning_rate_<name of the optimizer>``, as in Keras's own callbacks, and there is no
    ``learning_rate``. Give the optimizers names that tell them apart. Some optimizers change the
    rate that they are given: Keras's ``Adafactor`` caps it, ``ScheduleFreeAdamW`` warms it up, and
    the ``decay`` of `tf_keras.optimizers.legacy` divides it. The logger logs the rate that they
    take. For an unknown optimizer it logs the rate that is given.

    If a schedule is put into the optimizer after a training, compile the model again. Otherwise the
    compiled step keeps the former rate, and the log shows the new one, with a warning if the former
    training was logged too.

    Put the logger first in the list of callbacks, because callbacks before the logger do not see
    the values that it adds to the logs. (Keras's ``TensorBoard`` callback replaces the rate in its
    own logs by the rate of the next step.)

    Args:
        log_dir: The folder in which the scalar ``learning_rate`` of every step is written. On
            TensorFlow, no other package is needed; on the other backends, TensorBoard must be
            installed. If several workers train together, only the chief writes. Default: None;
            nothing is written.

    Attributes:
        history: A dict of lists with an entry for every step. ``"iteration"`` is the number of
            steps that the optimizer had taken before, from 0 (with gradient accumulation, the
            number of batches). ``"learning_rate"`` is the rate that the optimizer used, rounded to
            ``floatx()``. (The multipliers of `scale_learning_rates` come after it: it is the rate
            of the layers with the multiplier 1.) Each hyperparameter of `schedule_hyperparameters`
            has a list of its own, and is added to the logs and to ``log_dir`` too. So has each
            multiplier that follows a schedule: ``"multiplier_<pattern>"``; if several patterns have
            the same schedule, this is the first one. With several optimizers, the names of these
            lists end with ``_<name of the optimizer>``. The optimizers share the list
            ``"iteration"`` as long as they have taken the same steps; otherwise each has a list
            ``"iteration_<name of the optimizer>"``, as long as its other lists. The lists grow over
            several trainings. They also contain the steps before an exception. (After an exception,
            read ``history`` before the same optimizer is trained without the logger. Otherwise the
            logger takes those steps for its own.)
        epochs: A list with a dict for every epoch. ``"epoch"`` is the number of the epoch;
            ``"iteration"``, the number of steps that the optimizer had taken at the end of the
            epoch; ``"steps_logged"``, the length of the lists in ``history`` at that time (of
            several optimizers, both numbers are those of the one with the longest lists). The
            other entries are Keras's logs. (A metric with one of these three names replaces the
            entry.)

    Raises:
        TypeError: If ``log_dir`` is not a path.
        ImportError: At the start of a training, if ``log_dir`` needs TensorBoard and TensorBoard
            is not installed: ``pip install "clr-schedules[tensorboard]"``.
        ValueError: At the start of a training, if the model was compiled without an optimizer.

    Warns:
        UserWarning: At the end of an epoch, if the compiled step probably keeps another rate than
            the one that is logged. At the end of a training, if none of the optimizers that the
            logger found has taken a step. It finds the optimizers that are attributes of the model
            or of its layers and inner models, also in lists and dictionaries.

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
        """The iteration, the learning rate and what else follows a schedule, for every step."""
        self._catch_up()
        columns = {key: each for key, each in self._columns.items() if each.iterations}
        if not columns:
            return {"iteration": [], "learning_rate": []}
        first, *others = (each.iterations for each in columns.values())
        shared = all(each == first for each in others)
        history: dict[str, list[Any]] = {"iteration": first} if shared else {}
        for key, each in columns.items():
            if not shared:
                history[f"iteration{key}"] = each.iterations
            history |= {name + key: values for name, values in each.values.items()}
        return history

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks the optimizers and opens a file in ``log_dir``."""
        super().on_train_begin(logs)
        # If the last training ended by an exception, its file is still open and is used again.
        if self._log_dir is not None and self._writer is None and backend.is_chief(self.model):
            self._writer = backend.scalar_writer(self._log_dir)
