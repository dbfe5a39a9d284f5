"""Callbacks: the rate of every step for logs and pictures, and the blog post's ``CyclicalLR``.

Both look at the optimizer's counter once an epoch, since a rate is a function of the step.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _arguments, _keras, hyperparameters
from clr_schedules.schedules.base import Schedule
from clr_schedules.schedules.cyclical import ExpRange, Triangular, Triangular2

if TYPE_CHECKING:
    from typing_extensions import Self

    from clr_schedules._engines import Engine, ScalarWriter
    from clr_schedules.reference import Floats, Integers


class _StepLog(_keras.Callback):  # type: ignore[misc]
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
        from clr_schedules import _engines

        self._engine: Engine = _engines.engine()
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                f"`{type(self).__name__}` must have a model that was compiled with an optimizer. "
                f"Received: model={self.model!r}"
            )
        self._optimizer = _keras.inner_optimizer(optimizer)
        self._next = None
        self._params = self.params

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Finds where the counter starts; a callback may have loaded the optimizer until now."""
        if self._next is None:
            self._next = self._engine.iteration(self._optimizer)
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
        steps = np.arange(self._next, self._engine.iteration(self._optimizer), dtype=np.int64)
        if not len(steps):
            return
        sources = {
            "learning_rate": self._engine.rate_source(self._optimizer),
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
            return source.values(steps).astype(_keras.floatx()).astype(np.float64)
        if not callable(source):
            return np.full(len(steps), source)
        if self._mapped.get(name, (None, None))[0] is not source:
            self._mapped[name] = source, self._engine.map_schedule(source)
        return self._mapped[name][1](steps)  # type: ignore[no-any-return]


class LearningRateLogger(_StepLog):
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
        if self._engine.is_chief(self.model):
            self._writer = self._engine.scalar_writer(self._log_dir)


class CyclicalLR(_StepLog):
    """The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule.

    For code that has this callback already. It puts a schedule of this package into the optimizer
    when a training starts, and the former, constant rate back when it ends; in between, the
    schedule sets the rate within the compiled step, at any ``steps_per_execution``. The cycles go
    on over several ``fit`` calls, also after other trainings or a new ``compile``.

    New code is better off with the schedule itself, ``Adam(learning_rate=clr.Triangular(...))``,
    which also goes on where a saved model stopped: a new callback begins a new cycle. To go on with
    a training that was killed, put it before Keras's ``BackupAndRestore`` among the callbacks: the
    backup then finds the optimizer that it has saved.

    After an exception the schedule stays in the optimizer, until the next training with a
    `CyclicalLR` or a call of ``on_train_end()``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, at the middle of the cycle. Above 0.
        stepsize: The iterations of a half-cycle. At least 1.
        mode: ``"triangular"`` (default), ``"triangular2"`` or ``"exp_range"``: as the schedules
            `Triangular`, `Triangular2` and `ExpRange`.
        gamma: For ``"exp_range"``, the decay per iteration, above 0 and at most 1; default: 1.

    Attributes:
        history: A dict of two lists with an entry for every step: ``"iter"``, counted from 0 by the
            callback, and ``"lr"``, the rate that the step was taken with.
        epochs: As in `LearningRateLogger`.
        schedule: The schedule. ``base_lr``, ``max_lr``, ``stepsize``, ``mode`` and ``gamma`` are
            as given.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed;
            at the start of a training, if the optimizer follows a schedule already, or another
            ``CyclicalLR`` among the same callbacks.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(learning_rate=0.01), loss="mse")
        >>> cyclical = clr.CyclicalLR(base_lr=0.001, max_lr=0.003, stepsize=2, mode="triangular2")
        >>> x = np.ones((56, 4))
        >>> history = model.fit(x, x[:, 0], batch_size=8, verbose=0, callbacks=[cyclical])
        >>> cyclical.history["iter"]
        [0, 1, 2, 3, 4, 5, 6]
        >>> np.round(cyclical.history["lr"], 6)
        array([0.001 , 0.002 , 0.003 , 0.002 , 0.001 , 0.0015, 0.002 ])
    """

    def __init__(
        self,
        base_lr: float,
        max_lr: float,
        stepsize: int,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        stepsize = _arguments.count("stepsize", stepsize)
        policies: dict[str, Schedule] = {
            "triangular": Triangular(base_lr, max_lr, stepsize),
            "triangular2": Triangular2(base_lr, max_lr, stepsize),
            "exp_range": ExpRange(base_lr, max_lr, stepsize, gamma=gamma),
        }
        self.mode = _arguments.choice("mode", mode, list(policies))
        self.schedule = policies[self.mode]
        self.base_lr, self.max_lr = float(base_lr), float(max_lr)
        self.stepsize, self.gamma = stepsize, float(gamma)
        # The model's own train function, the one with the schedule in it, and that schedule.
        self._functions: tuple[Any, Any, Any] = None, None, None

    @property
    def history(self) -> dict[str, list[Any]]:
        """The iteration and the learning rate of every step."""
        self._catch_up()
        return {"lr": self._rates, "iter": list(range(len(self._rates)))}

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts the schedule into the optimizer."""
        super().on_train_begin(logs)
        optimizer, model = self._optimizer, self.model
        other = _put_back(optimizer)
        # The callbacks of one training share their parameters.
        if other not in (None, self) and other.params is self.params is not None:
            raise ValueError(
                "`CyclicalLR` must be the only one among the callbacks of a training. "
                f"Received: {other.schedule!r} and {self.schedule!r}"
            )
        former = self._engine.rate_source(optimizer)
        if callable(former):
            raise ValueError(
                "`CyclicalLR` must have an optimizer with a constant rate to cycle. This one "
                "follows a schedule, which needs no callback. "
                f"Received: learning_rate={former!r}"
            )
        lead = self._engine.iteration(optimizer) - len(self._rates)
        schedule = _Moved(self.schedule, lead) if lead else self.schedule
        restore = self._engine.install_rate(optimizer, schedule)
        # A compiled step has its rate built in. The one with the schedule is kept for the next
        # `fit`.
        plain, cyclical, installed = self._functions
        if plain is not model.train_function or installed != schedule:
            plain = model.train_function
            self._engine.remake_train_function(model)
            cyclical = model.train_function
        model.train_function = cyclical
        self._functions = plain, cyclical, schedule

        def put_back() -> None:
            restore()
            if model.train_function is cyclical:
                model.train_function = plain

        # For another callback to find after an exception; past Keras, which would look into it.
        vars(optimizer)[_PUT_BACK] = self, put_back

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_functions": (None, None, None)}

    def on_train_end(self, logs: Any = None) -> None:
        """Puts the former rate back."""
        self._catch_up()
        if self._optimizer is not None:
            _put_back(self._optimizer)
        super().on_train_end(logs)


_PUT_BACK = "_clr_schedules_put_back"


def _put_back(optimizer: Any) -> CyclicalLR | None:
    """Gives an optimizer back the rate that it had before a `CyclicalLR`, and tells which."""
    callback, put_back = vars(optimizer).pop(_PUT_BACK, (None, lambda: None))
    put_back()
    return callback  # type: ignore[no-any-return]


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class _Moved(Schedule):
    """A schedule that begins at the optimizer's step ``lead``, which may be below 0.

    Registered, so that a model that is saved while a `CyclicalLR` trains it can be loaded.
    """

    schedule: Schedule
    lead: int
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        return {}

    def _rate(self, step: Any) -> Any:
        return self.schedule._rate(_keras.at_least(step - self.lead, 0))

    def _reference(self, iteration: Integers) -> Floats:
        return self.schedule._reference(np.maximum(iteration - self.lead, 0))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        return super().get_config() | {"schedule": _keras.serialize(self.schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        return super().from_config(config | {"schedule": _keras.deserialize(config["schedule"])})
