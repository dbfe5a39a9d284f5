"""The base class of both callbacks: a log of the learning rate of every step."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from clr_schedules import _arguments
from clr_schedules._backend import ScalarWriter, backend, keras
from clr_schedules.optimizers.hyperparameters import scheduled
from clr_schedules.optimizers.layers import scheduled_multipliers
from clr_schedules.optimizers.rates_taken import (
    NewSteps,
    StepCounters,
    names_its_rates,
    optimizers_of,
    rates_taken,
    values_at,
)
from clr_schedules.schedules.base import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from clr_schedules.schedules.base import Floats, Integers

# For each compiled train step that was logged: the source of the rate of each optimizer when the
# log first saw both, by the id of the optimizer.
_first_sources: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()


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
        # The logged steps. The key is empty where a single optimizer takes the steps of a training,
        # and "_" and the name of the optimizer where several do, or those of a `MultiOptimizer`.
        self._columns: dict[str, _Columns] = {}
        self._writer: ScalarWriter | None = None
        # The state of a training: its counters, from when its batches begin; the names of the
        # optimizers that have taken steps in it; whether all columns have the names of optimizers;
        # whether an earlier training had columns without names; the parameters that Keras gave to
        # all callbacks of the training; whether batches of the training may be running now; and
        # whether a warning has said that a compiled step may have another rate.
        self._counters: StepCounters | None = None
        self._names: dict[int, str] = {}
        self._all_named = self._continued = False
        self._training_params: Any = None
        self._batches_running = False
        self._warned = False

    @property
    def history(self) -> dict[str, list[Any]]:
        """Lists with an entry for every step."""
        raise NotImplementedError

    def plot(self, ax: Axes | None = None, snapshots: Sequence[Any] = ()) -> Axes:
        """Draws the learning rate of every step and the losses of the epochs.

        Args:
            ax: The Matplotlib axes to draw on. Default: those of a new figure.
            snapshots: The ``snapshots`` of a `CycleSnapshots` of the training, to mark. Default:
                none.

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

        return plotting.plot_history(self.history, self.epochs, ax, snapshots)

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks that there is an optimizer."""
        self._catch_up()  # with the steps of a training that ended by an exception
        optimizers = self._optimizers(self.model)
        if not optimizers:
            raise ValueError(
                f"`{type(self).__name__}` must have a model that was compiled with an optimizer. "
                f"Received: model={_arguments.shown(self.model)}"
            )
        self._counters, self._names, self._warned = None, {}, False
        self._all_named = any(map(names_its_rates, optimizers))
        self._continued = "" in self._columns
        # A callback in a training loop without parameters may lack the attribute.
        self._training_params = getattr(self, "params", None)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reads where the counters of the optimizers start."""
        # The counters are read only here, because at the beginning of the training another callback
        # may still load the state of an optimizer.
        if self._counters is None:
            self._bring_variables_up_to_date()
            self._counters = StepCounters(functools.partial(self._optimizers, self.model))
        self._batches_running = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Logs the epoch's steps, before a callback changes the rate at the end of the epoch."""
        self._catch_up()
        # The training's own validation follows the last batch of the epoch. A callback may call
        # `evaluate` between two batches, but that evaluation has parameters of its own. In a
        # training loop without parameters, every evaluation counts as the training's own.
        if getattr(self, "params", None) is self._training_params:
            self._batches_running = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Logs the epoch's steps, and adds the rates of the last step to the epoch's logs."""
        self._catch_up()
        self._batches_running = False
        logs = {} if logs is None else logs
        longest = _Columns()
        for key in map(self._key, self._names):
            columns = self._columns[key]
            if len(columns.iterations) > len(longest.iterations):
                longest = columns
            for name, values in columns.values.items():
                if name == "learning_rate":
                    logs[name + key] = values[-1]
                elif not math.isnan(values[-1]):
                    # A metric with the same name takes precedence.
                    logs.setdefault(name + key, values[-1])
        steps = {
            "iteration": longest.iterations[-1] + 1 if longest.iterations else 0,
            "steps_logged": len(longest.iterations),
        }
        self.epochs.append({"epoch": epoch, **steps, **logs})

    def on_train_end(self, logs: Any = None) -> None:
        """Logs the last steps, closes the file and releases the optimizers."""
        self._catch_up()
        if self._counters is not None and not self._names:
            names = ", ".join(type(each).__name__ for each in self._optimizers(self.model))
            warnings.warn(
                f"`{type(self).__name__}` has logged nothing, because none of the optimizers that "
                f"it found has taken a step: {names}. It finds the optimizers that are attributes "
                "of the model or of its layers, also in lists and dictionaries. If the model is "
                "trained by another optimizer, make that one an attribute of the model.",
                stacklevel=2,
            )
        self._counters = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: the log, without the open file and the optimizers."""
        self._catch_up()
        return vars(self) | {"_writer": None, "_counters": None, "_names": {}}

    def _optimizers(self, model: Any) -> list[Any]:
        """The optimizers whose steps are logged, if they take some."""
        return optimizers_of(model)

    def _key(self, optimizer: int) -> str:
        """The key of the columns of an optimizer that has taken steps in this training."""
        several = self._all_named or len(self._names) > 1
        return f"_{self._names[optimizer]}" if several else ""

    def _catch_up(self) -> None:
        """Logs the steps that were taken since the last call."""
        if not self._batches_running or self._counters is None:
            return
        self._bring_variables_up_to_date()
        new_steps = self._counters.new_steps()
        self._name_columns(new_steps)
        for optimizer, _, steps in new_steps:
            self._warn_if_the_step_keeps_a_rate(optimizer)
            key = self._key(id(optimizer))
            values = {"learning_rate": rates_taken(optimizer, steps)}
            for name, schedule in _followed(optimizer).items():
                values[name] = values_at(schedule, steps)
            self._columns[key].add(steps, values)
            if self._writer is not None:
                for name, new in values.items():
                    self._writer.write(name + key, steps, new)

    def _warn_if_the_step_keeps_a_rate(self, optimizer: Any) -> None:
        """Warns if the compiled step keeps a rate that the optimizer has no longer."""
        step = getattr(self.model, "train_function", None)
        if step is None or self._warned:
            return
        source = backend.rate_source(optimizer)
        former = _first_sources.setdefault(step, {}).setdefault(id(optimizer), source)
        if not (callable(source) or callable(former)) or source is former:
            return  # the step reads the variable of a constant rate
        if isinstance(source, Schedule) and source == former:
            return
        if backend.step_keeps_rate(self.model, former):
            self._warned = True
            compiled_with = _arguments.shown(former) if callable(former) else "a constant rate"
            warnings.warn(
                f"The learning rates that `{type(self).__name__}` logs may not be those that were "
                "taken: the optimizer has got another schedule since the train step was compiled, "
                "and the compiled step keeps the former one. Call `model.compile(...)` after the "
                f"schedule was put into the optimizer. Logged: {_arguments.shown(source)}. "
                f"Compiled with: {compiled_with}",
                stacklevel=2,
            )

    def _name_columns(self, new_steps: list[NewSteps]) -> None:
        """Remembers which optimizers have taken steps in this training."""
        alone = list(self._names)
        self._names |= {id(each.optimizer): each.name for each in new_steps}
        # If a second optimizer begins later than the first one, the columns of the first one get
        # its name, unless they hold steps of other trainings too.
        if len(alone) == 1 < len(self._names) and not (self._all_named or self._continued):
            self._columns.setdefault(self._key(*alone), self._columns.pop(""))
        for optimizer in self._names:
            self._columns.setdefault(self._key(optimizer), _Columns())

    def _bring_variables_up_to_date(self) -> None:
        """Makes Keras write the present values of the counters into their variables.

        While batches run on JAX, Keras keeps the values of the variables outside of the model. The
        property `Callback.model` writes them back as a side effect, so it is read here.
        """
        _ = self.model


def _followed(optimizer: Any) -> dict[str, Any]:
    """The schedules that an optimizer follows besides that of its rate, by the names of columns.

    If several patterns have the same multiplier, there is one column, named after the first one.
    """
    columns = dict(scheduled(optimizer))
    seen: list[Any] = []
    for pattern, multiplier in scheduled_multipliers(optimizer).items():
        if multiplier not in seen:
            seen.append(multiplier)
            columns[f"multiplier_{pattern}"] = multiplier
    return columns


@dataclasses.dataclass
class _Columns:
    """What was logged of an optimizer: the iterations, and for each name the values at these.

    A hyperparameter is NaN at steps at which it did not follow a schedule.
    """

    iterations: list[int] = dataclasses.field(default_factory=list)
    values: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: {"learning_rate": []}
    )

    def add(self, steps: Integers, values: dict[str, Floats]) -> None:
        """Adds the values at these steps."""
        for name in values:
            self.values.setdefault(name, [math.nan] * len(self.iterations))
        for name, column in self.values.items():
            column += values[name].tolist() if name in values else [math.nan] * len(steps)
        self.iterations += steps.tolist()
