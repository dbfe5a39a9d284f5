"""The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules.callbacks.cycling_optimizer import follow, stop_following
from clr_schedules.callbacks.step_log import StepLog
from clr_schedules.optimizers.rates_taken import the_optimizer
from clr_schedules.schedules.compose import Shifted
from clr_schedules.schedules.cyclical import ExpRange, Triangular, Triangular2

if TYPE_CHECKING:
    from clr_schedules.schedules.base import Schedule

# While an optimizer follows a `CyclicalLR`, this attribute of the optimizer holds the callback.
# After an exception the attribute is still there.
_FOLLOWER = "_clr_schedules_cyclical_lr"


class CyclicalLR(StepLog):
    """The callback of the blog post "Recreating Cyclical Learning Rates", on a native schedule.

    This class serves code that uses the callback already. When a training starts, the callback puts
    a schedule of this package into the optimizer. When the training ends, the optimizer gets its
    former, constant rate back. During the training, the schedule computes the rate within the
    compiled step, for every value of ``steps_per_execution``. The next ``fit`` with the callback
    continues the cycle, also after trainings without the callback or after a new ``compile``.

    New code should use the schedule itself, ``Adam(learning_rate=clr.Triangular(...))``: a saved
    model then continues its cycle, whereas a new callback begins a new cycle.

    A training that was killed goes on with its cycle, if the same script runs again with Keras's
    ``BackupAndRestore`` (before or after this callback), or if a model that ``ModelCheckpoint`` has
    saved is loaded and trained with the same callback. Weights that were saved in mid-training can
    be loaded into a model with a constant rate; there, a new callback begins a new cycle.

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
            ``max_lr``. At the start of a training: if the optimizer follows another schedule
            already; if the model has several optimizers; or if another callback sets the rate
            (another `CyclicalLR`, ``ReduceLROnPlateau`` or ``LearningRateScheduler``).

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
        # The optimizer of the present training; its counter before the training, from when it was
        # handed over; and the count at which the cycle began.
        self._optimizer: Any = None
        self._counter_before: int | None = None
        self._start = 0
        # The number of steps of the cycle that were taken in a training that was killed, and that
        # this callback has not seen.
        self._steps_unseen = 0

    @property
    def history(self) -> dict[str, list[Any]]:
        """The iteration and the learning rate of every step."""
        self._catch_up()
        rates = self._rates()
        return {"lr": rates, "iter": list(range(len(rates)))}

    def set_model(self, model: Any) -> None:
        """Remembers the optimizer's counter, before another callback may restore a later one."""
        super().set_model(model)
        optimizer = backend.inner_optimizer(getattr(model, "optimizer", None))
        self._counter_before = None if optimizer is None else backend.iteration(optimizer)

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts the schedule into the optimizer."""
        super().on_train_begin(logs)
        model = self.model
        self._optimizer = optimizer = the_optimizer(model, "`CyclicalLR`")[-1]
        self._all_named = False
        self._refuse_other_callbacks()
        found = backend.rate_source(optimizer)
        follower = _release(optimizer, model)
        former = backend.rate_source(optimizer)
        own = self._start_of(found)
        if callable(former) and own is None:
            raise ValueError(
                "`CyclicalLR` must have an optimizer with a constant learning rate, but the "
                "optimizer of this model follows a schedule already. Train without the callback, "
                "or compile the model with a number as the learning rate. "
                f"Received: learning_rate={_arguments.shown(former)}"
            )
        if own is not None and follower in (None, self):
            # The schedule comes from the file of a model that was saved in mid-training, or from a
            # training of this callback that an exception has ended. The cycle goes on.
            self._start = own
        else:
            # The schedule must begin at the callback's first step. The optimizer also counts the
            # steps that it took without the callback. Steps that another callback has restored at
            # the beginning of the training belong to the cycle.
            counter = self._counter_before
            counter = backend.iteration(optimizer) if counter is None else counter
            self._start = counter - len(self._rates()) - self._steps_unseen
        schedule = Shifted(self.schedule, self._start) if self._start else self.schedule
        if not callable(former):
            follow(optimizer, schedule)
        # A compiled train function keeps the rate with which it was compiled, so the schedule needs
        # a train function of its own. It is kept for the next `fit`, which need not compile again.
        plain, cyclical, installed = self._train_functions
        if plain is not model.train_function or installed != schedule:
            plain = model.train_function
            backend.remake_train_function(model)
            cyclical = model.train_function
        model.train_function = cyclical
        self._train_functions = plain, cyclical, schedule
        # Written into the dictionary, since Keras's `__setattr__` would track the object.
        vars(optimizer)[_FOLLOWER] = self

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reads where the counter of the optimizer starts."""
        if self._counters is None:
            counter = backend.iteration(self._optimizer)
            self._steps_unseen = counter - self._start - len(self._rates())
        super().on_epoch_begin(epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Gives the optimizer its former rate back."""
        super().on_train_end(logs)
        if self._optimizer is not None and vars(self._optimizer).get(_FOLLOWER) is self:
            _release(self._optimizer, self.model)
        self._optimizer = self._counter_before = None

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: the log, without the compiled train functions."""
        without = {"_train_functions": (None, None, None), "_optimizer": None}
        return super().__getstate__() | without

    def _optimizers(self, model: Any) -> list[Any]:
        """The model's own optimizer, which is the only one."""
        return super()._optimizers(model) if self._optimizer is None else [self._optimizer]

    def _rates(self) -> list[float]:
        """The rates of the logged steps."""
        return self._columns[""].values["learning_rate"] if "" in self._columns else []

    def _start_of(self, schedule: Any) -> int | None:
        """The step at which a schedule begins this callback's cycle; None if it is another one."""
        if isinstance(schedule, Shifted) and schedule.schedule == self.schedule:
            return schedule.steps
        return 0 if schedule == self.schedule else None

    def _refuse_other_callbacks(self) -> None:
        """Raises if another callback of the training sets the learning rate, too."""
        kinds = keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler, CyclicalLR
        params = getattr(self, "params", None)
        # Keras hands a callback no list of the others, but the list holds the callback. Lists of
        # other trainings may hold it as well, so the parameters are compared: those of one training
        # are the same object.
        others = [
            each
            for holder in gc.get_referrers(self)
            if isinstance(holder, list)
            for each in holder
            if isinstance(each, kinds) and each is not self
            if getattr(each, "params", None) is params
        ]
        if not others:
            return
        if isinstance(others[0], CyclicalLR):
            raise ValueError(
                "Only one `CyclicalLR` can be among the callbacks. Remove the others. "
                f"Received: {_arguments.shown(self.schedule)} and "
                f"{_arguments.shown(others[0].schedule)}"
            )
        name = type(others[0]).__name__
        raise ValueError(
            f"`CyclicalLR` and `{name}` cannot be callbacks of one training, because both set the "
            "learning rate, and the schedule of `CyclicalLR` sets it in every step. Remove one of "
            f"them. Received: callbacks with a CyclicalLR and a {name}"
        )


def _release(optimizer: Any, model: Any) -> CyclicalLR | None:
    """Gives an optimizer its constant rate back, and the model its own train function.

    Returns the callback that the optimizer followed; None if it followed none, or that of a model
    that was saved in mid-training.
    """
    stop_following(optimizer)
    follower: CyclicalLR | None = vars(optimizer).pop(_FOLLOWER, None)
    if follower is not None:
        plain, cyclical, _ = follower._train_functions
        if model.train_function is cyclical:
            model.train_function = plain
    return follower
