"""The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule."""

from __future__ import annotations

from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules.callbacks.step_log import StepLog
from clr_schedules.schedules.base import Schedule
from clr_schedules.schedules.compose import Shifted
from clr_schedules.schedules.cyclical import ExpRange, Triangular, Triangular2


class CyclicalLR(StepLog):
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
        former = backend.rate_source(optimizer)
        if callable(former):
            raise ValueError(
                "`CyclicalLR` must have an optimizer with a constant rate to cycle. This one "
                "follows a schedule, which needs no callback. "
                f"Received: learning_rate={former!r}"
            )
        lead = backend.iteration(optimizer) - len(self._rates)
        schedule = Shifted(self.schedule, lead) if lead else self.schedule
        restore = backend.install_rate(optimizer, schedule)
        # A compiled step has its rate built in. The one with the schedule is kept for the next
        # `fit`.
        plain, cyclical, installed = self._functions
        if plain is not model.train_function or installed != schedule:
            plain = model.train_function
            backend.remake_train_function(model)
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
