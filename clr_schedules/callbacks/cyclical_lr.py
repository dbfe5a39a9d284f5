"""The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules.callbacks.step_log import StepLog
from clr_schedules.schedules.compose import Shifted
from clr_schedules.schedules.cyclical import ExpRange, Triangular, Triangular2

if TYPE_CHECKING:
    from clr_schedules.schedules.base import Schedule

# While an optimizer follows a `CyclicalLR`, this attribute of the optimizer holds a pair: the
# callback, and a function that gives the optimizer its former rate back. After an exception the
# attribute is still there, so that the next callback can call the function.
_FOLLOWED = "_clr_schedules_cyclical_lr"


class CyclicalLR(StepLog):
    """The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule.

    This class serves code that uses the callback already. When a training starts, the callback puts
    a schedule of this package into the optimizer. When the training ends, the optimizer gets its
    former, constant rate back. During the training, the schedule computes the rate within the
    compiled step, for every value of ``steps_per_execution``. The next ``fit`` with the callback
    continues the cycle, also after trainings without the callback or after a new ``compile``.

    New code should use the schedule itself, ``Adam(learning_rate=clr.Triangular(...))``: a saved
    model then continues its cycle, whereas a new callback begins a new cycle. To continue a
    training that was killed, put this callback before Keras's ``BackupAndRestore`` in the list of
    callbacks. ``BackupAndRestore`` then finds an optimizer with a schedule, as it has saved it.

    After an exception the schedule stays in the optimizer until the next training with a
    `CyclicalLR` or a call of ``on_train_end()``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, in the middle of a cycle. Above 0.
        stepsize: The number of iterations in a half-cycle. At least 1.
        mode: ``"triangular"`` (default), ``"triangular2"`` or ``"exp_range"``, for the schedules
            `Triangular`, `Triangular2` and `ExpRange`.
        gamma: The decay per iteration of ``"exp_range"``, above 0 and at most 1. Default: 1.

    Attributes:
        history: A dict of two lists with an entry for every step: ``"iter"`` is the number of steps
            that the callback has seen before, from 0, and ``"lr"`` is the rate of the step.
        epochs: The logs of every epoch, as in `LearningRateLogger`.
        schedule: The schedule. ``base_lr``, ``max_lr``, ``stepsize``, ``mode`` and ``gamma`` are
            attributes as well.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN, or if ``base_lr`` is above
            ``max_lr``. At the start of a training: if the optimizer follows a schedule already, or
            if another `CyclicalLR` is among the callbacks.

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
        # The model's own train function; the train function with a schedule; that schedule.
        self._train_functions: tuple[Any, Any, Any] = None, None, None

    @property
    def history(self) -> dict[str, list[Any]]:
        """The iteration and the learning rate of every step."""
        self._catch_up()
        return {"lr": self._rates, "iter": list(range(len(self._rates)))}

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts the schedule into the optimizer."""
        super().on_train_begin(logs)
        optimizer, model = self._optimizer, self.model
        other = _restore_rate(optimizer)
        # The callbacks of one training have the same parameters.
        if other not in (None, self) and other.params is self.params is not None:
            raise ValueError(
                "Only one `CyclicalLR` can be among the callbacks. Remove the others. "
                f"Received: {other.schedule!r} and {self.schedule!r}"
            )
        former = backend.rate_source(optimizer)
        if callable(former):
            raise ValueError(
                "`CyclicalLR` must have an optimizer with a constant learning rate, but the "
                "optimizer of this model follows a schedule already. Train without the callback, "
                "or compile the model with a number as the learning rate. "
                f"Received: learning_rate={former!r}"
            )
        # The schedule must begin at the callback's first step. The optimizer also counts the steps
        # that it took without the callback, so the schedule is shifted by their number.
        steps_without = backend.iteration(optimizer) - len(self._rates)
        schedule = Shifted(self.schedule, steps_without) if steps_without else self.schedule
        restore_optimizer = backend.install_rate(optimizer, schedule)
        # A compiled train function keeps the rate with which it was compiled, so the schedule needs
        # a train function of its own. It is kept for the next `fit`, which need not compile again.
        plain, cyclical, installed = self._train_functions
        if plain is not model.train_function or installed != schedule:
            plain = model.train_function
            backend.remake_train_function(model)
            cyclical = model.train_function
        model.train_function = cyclical
        self._train_functions = plain, cyclical, schedule

        def restore() -> None:
            restore_optimizer()
            if model.train_function is cyclical:
                model.train_function = plain

        # Written into the dictionary, since Keras's `__setattr__` would track the objects.
        vars(optimizer)[_FOLLOWED] = self, restore

    def on_train_end(self, logs: Any = None) -> None:
        """Gives the optimizer its former rate back."""
        self._catch_up()
        if self._optimizer is not None:
            _restore_rate(self._optimizer)
        super().on_train_end(logs)

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: the log, without the compiled train functions."""
        return super().__getstate__() | {"_train_functions": (None, None, None)}


def _restore_rate(optimizer: Any) -> CyclicalLR | None:
    """Gives an optimizer back the rate that a `CyclicalLR` replaced, and returns the callback.

    Returns None if the optimizer does not follow a `CyclicalLR`.
    """
    callback, restore = vars(optimizer).pop(_FOLLOWED, (None, None))
    if callback is not None:
        restore()
    return callback  # type: ignore[no-any-return]
