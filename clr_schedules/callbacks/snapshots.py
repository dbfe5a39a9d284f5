"""Keeps the weights at the ends of cycles, and makes ensembles and averages of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules.optimizers.extended import attributes_set_to
from clr_schedules.optimizers.rates_taken import the_optimizer
from clr_schedules.planning import (
    DEFAULT_BATCH_SIZE,
    cardinality,
    count_batches,
    count_samples,
)
from clr_schedules.schedules.base import Schedule, multiples

if TYPE_CHECKING:
    from clr_schedules.schedules.base import Integers

# The file in the directory that lists the snapshots.
_LIST = "snapshots.json"


@dataclasses.dataclass(eq=False)
class Snapshot:
    """The weights of a model at the end of a cycle.

    Attributes:
        iteration: The number of steps that the optimizer had taken.
        epoch: The number of the epoch in which the cycle ended, from 0.
        logs: The logs of this epoch, such as ``"val_loss"``; empty until the epoch has ended. (If
            the cycle ended within the epoch, the validation was some steps after the snapshot.)
        path: The file of the weights; None if they are in memory.
    """

    iteration: int
    epoch: int
    logs: dict[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None
    _arrays: list[np.ndarray[Any, Any]] | None = dataclasses.field(default=None, repr=False)

    def load_into(self, model: Any) -> None:
        """Gives a model the weights of the snapshot.

        Args:
            model: The model that was trained, or one with the same layers.

        Raises:
            ValueError: If the weights do not fit the model.

        Example:
            >>> import keras, numpy as np, clr_schedules as clr
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            >>> model.compile(keras.optimizers.SGD(clr.Triangular(0.001, 0.1, 2)), loss="mse")
            >>> snapshots, x = clr.CycleSnapshots(), np.ones((64, 4))
            >>> history = model.fit(x, x[:, 0], batch_size=8, verbose=0, callbacks=[snapshots])
            >>> snapshots.snapshots[0].load_into(model)
        """
        if self.path is not None:
            # The file has no state of an optimizer, and Keras would warn.
            with attributes_set_to(model, {"optimizer": None}):
                model.load_weights(str(self.path))
        else:
            model.set_weights(self._arrays)


class _CycleEnds(keras.callbacks.Callback):  # type: ignore[misc]
    """Knows the ends of the cycles of a training.

    Args:
        every: The number of iterations in a cycle; None for the cycles of the optimizer's schedule.
    """

    def __init__(self, every: int | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.every = None if every is None else _arguments.count("every", every)

    def _optimizer(self) -> Any:
        return the_optimizer(self.model, f"`{type(self).__name__}`")[-1]

    def _ends(self, start: int, stop: int) -> Integers:
        """The ends of cycles after the iteration ``start``, and up to the iteration ``stop``."""
        if self.every is not None:
            return multiples(self.every, start, stop)
        source = backend.rate_source(self._optimizer())
        # The natural length of a schedule with cycles has a whole cycle.
        if not isinstance(source, Schedule) or not len(source.cycle_ends(source._natural_length())):
            raise ValueError(
                f"`{type(self).__name__}` must have an optimizer that follows a schedule of "
                "`clr_schedules` with cycles. For any other learning rate, pass `every`, the "
                f"number of iterations in a cycle. Received: learning_rate="
                f"{_arguments.shown(source)}"
            )
        return source._cycle_ends(start, stop)


class CycleSnapshots(_CycleEnds):
    """Keeps the weights of a model at the end of each cycle, for ensembles and averages.

    At the end of a cycle the learning rate is low, and the model has settled: the moment to keep
    it. The schedule of the optimizer knows where its cycles end. The training is bit for bit the
    same as without the callback.

    Memory: a snapshot takes as much as the weights of the model, once, on the host; with a
    ``directory``, it takes no memory. The state of the optimizer is not kept.

    Args:
        directory: The folder for the snapshots, as Keras's ``.weights.h5`` files, with a list in
            ``snapshots.json``. A training that was killed and goes on keeps the snapshots that
            are there. A callback in another process finds them as well. If several workers train
            together, only the chief writes. Default: None; the snapshots are in memory.
        last: The number of snapshots to keep: the newest ones. At least 1. Default: None; all.
        every: The number of iterations in a cycle, at least 1, for an optimizer that does not
            follow a schedule of this package with cycles. Default: None; the schedule tells.

    Attributes:
        snapshots: A list of the snapshots that are kept, the oldest first. Each has its
            ``iteration``, its ``epoch``, the ``logs`` of the epoch, such as ``val_loss``, and a
            method ``load_into(model)``.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range. At the start of a training: if the schedule
            has no cycles; if the model has several optimizers; or if a cycle ends in the middle of
            an execution (``steps_per_execution``). The error says which number divides the cycles.

    Warns:
        UserWarning: If the callback or its directory holds snapshots of another training, which
            the callback drops; or if a cycle ended within an execution, and this could not be known
            before (the length of the data is unknown, or the optimizer skipped steps), so that
            there is no snapshot of it.

    Reference:
        G. Huang et al., *Snapshot Ensembles: Train 1, Get M for Free*, arXiv:1704.00109;
        P. Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*,
        arXiv:1803.05407.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> lr = clr.CosineRestarts(max_lr=0.1, first_cycle_steps=8)
        >>> model.compile(keras.optimizers.SGD(learning_rate=lr), loss="mse")
        >>> snapshots, x = clr.CycleSnapshots(last=2), np.ones((64, 4))
        >>> history = model.fit(
        ...     x, x[:, 0], batch_size=8, epochs=3, verbose=0, callbacks=[snapshots]
        ... )
        >>> [snapshot.iteration for snapshot in snapshots.snapshots]
        [16, 24]
        >>> ensemble = snapshots.ensemble(model)
        >>> averaged = snapshots.average(model)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        last: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(every)
        if directory is not None and not isinstance(directory, (str, os.PathLike)):
            raise TypeError(_arguments.received("directory", "a path, or None", directory))
        self.directory = None if directory is None else Path(directory)
        self.last = None if last is None else _arguments.count("last", last)
        self.snapshots: list[Snapshot] = [] if directory is None else _read_list(Path(directory))
        # The iteration at which the next cycle ends, from when the first epoch of a training
        # begins; the number of the present epoch; and the most by which the optimizer's counter is
        # above the number of a batch.
        self._next_end: int | None = None
        self._epoch = self._most_ahead = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Forgets where the cycles of an earlier training ended."""
        self._next_end = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reads the optimizer's counter; at the first epoch, checks where the cycles end."""
        # Not at the beginning of the training, when another callback may still load the state of
        # the optimizer, or set its schedule.
        start = backend.iteration(self._optimizer())
        # An optimizer takes at most one step a batch. Keras 3.6 numbers an execution by its first
        # batch, later versions by the last one.
        self._epoch, self._most_ahead = epoch, start + backend.steps_per_execution(self.model)
        if self._next_end is None:
            self._check_executions(start)
            # A training that was killed has taken snapshots after its last backup. The training
            # takes them again.
            kept = [each for each in self.snapshots if each.iteration <= start]
            if start == 0 and self.snapshots:
                warnings.warn(
                    "`CycleSnapshots` drops the snapshots of another training, because the "
                    "optimizer has taken no steps yet. Use a new callback for each training, and "
                    "a new directory. Dropped: the snapshots of the iterations "
                    f"{_arguments.one_line([each.iteration for each in self.snapshots])}",
                    stacklevel=2,
                )
            self.snapshots = kept
            self._next_end = self._end_after(start)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Takes a snapshot if a cycle has ended."""
        # The counter is read only near the end of a cycle, because to read it takes a moment.
        if self._next_end is None or batch + self._most_ahead < self._next_end:
            return
        count = backend.iteration(self._optimizer())
        self._most_ahead = count - batch
        if count < self._next_end:
            return
        if count == self._next_end:
            self._take(count)
        else:
            warnings.warn(
                f"`CycleSnapshots` took no snapshot of the cycle that ended at iteration "
                f"{self._next_end}, because it ended within an execution of several steps. Compile "
                "the model with `steps_per_execution=1`.",
                stacklevel=2,
            )
        self._next_end = self._end_after(count)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the logs of the epoch to the snapshots of the epoch."""
        of_epoch = [each for each in self.snapshots if each.epoch == epoch and not each.logs]
        for snapshot in of_epoch:
            snapshot.logs = {name: _json_value(value) for name, value in (logs or {}).items()}
        if of_epoch:
            self._write_list()

    def ensemble(self, model: Any, snapshots: Sequence[Snapshot] | None = None) -> Any:
        """Makes a model that predicts the mean of the predictions of the snapshots.

        .. code-block:: none

            ensemble(x) = (model_1(x) + ... + model_n(x)) / n

        The ensemble is a functional Keras model. It can be saved as a ``.keras`` file, exported and
        loaded without this package. It takes the memory and the time of ``n`` models. Compile it
        with a loss and metrics to evaluate it.

        Args:
            model: The model that was trained, functional, sequential or subclassed. A subclassed
                model must have a ``get_config`` and a ``from_config``. The model does not change.
            snapshots: The snapshots to take. Default: all that are kept.

        Returns:
            The ensemble, with the same inputs and outputs as the model.

        Raises:
            ValueError: If there are no snapshots, or the model is not built.

        Reference:
            G. Huang et al., *Snapshot Ensembles: Train 1, Get M for Free*, arXiv:1704.00109,
            section 3.

        Example:
            >>> import keras, numpy as np, clr_schedules as clr
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            >>> model.compile(keras.optimizers.SGD(clr.Triangular(0.001, 0.1, 2)), loss="mse")
            >>> snapshots, x = clr.CycleSnapshots(), np.ones((64, 4))
            >>> history = model.fit(x, x[:, 0], batch_size=8, verbose=0, callbacks=[snapshots])
            >>> ensemble = snapshots.ensemble(model)
            >>> ensemble.predict(x, verbose=0).shape
            (64, 1)
        """
        chosen = self._chosen(snapshots, model)
        inputs = _inputs_of(model)
        predictions = []
        for snapshot in chosen:
            member = _clone(model)
            snapshot.load_into(member)
            backend.rename(member, f"snapshot_{snapshot.iteration}")
            predictions.append(member(inputs))
        flat = zip(*map(backend.tree.flatten, predictions), strict=True)
        outputs = backend.tree.pack_sequence_as(predictions[0], [_mean(each) for each in flat])
        return keras.Model(inputs, outputs, name=f"ensemble_of_{model.name}")

    def average(
        self,
        model: Any,
        x: Any = None,
        batch_size: int | None = None,
        snapshots: Sequence[Snapshot] | None = None,
    ) -> Any:
        """Makes a model whose weights are the means of the weights of the snapshots.

        The means of the weights do not fit the moving statistics of batch normalization. So these
        are estimated anew in one pass over ``x``, as the means of the statistics of the batches,
        weighted by the sizes of the batches. The layers run as in training, dropout included.

        Args:
            model: The model that was trained. A subclassed model must have a ``get_config`` and a
                ``from_config``. The model does not change.
            x: The training data for batch normalization: arrays, or data that come in batches,
                as for `fit`. Needed only if the model has batch normalization. Default: None.
            batch_size: The size of the batches of arrays. Default: 32.
            snapshots: The snapshots to take. Default: all that are kept.

        Returns:
            A new model with the same layers, which is not compiled.

        Raises:
            ValueError: If there are no snapshots; if the model is not built; or if the model has
                batch normalization, and there is no ``x``.

        Reference:
            P. Izmailov et al., *Averaging Weights Leads to Wider Optima and Better
            Generalization*, arXiv:1803.05407, section 3.

        Example:
            >>> import keras, numpy as np, clr_schedules as clr
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            >>> model.compile(keras.optimizers.SGD(clr.Triangular(0.001, 0.1, 2)), loss="mse")
            >>> snapshots, x = clr.CycleSnapshots(), np.ones((64, 4))
            >>> history = model.fit(x, x[:, 0], batch_size=8, verbose=0, callbacks=[snapshots])
            >>> averaged = snapshots.average(model)
            >>> averaged.predict(x, verbose=0).shape
            (64, 1)
        """
        chosen = self._chosen(snapshots, model)
        averaged = _clone(model)
        normalizing = [each for each in averaged._flatten_layers() if _normalizes_batches(each)]
        if normalizing and x is None:
            raise ValueError(
                "Argument `x` must be given, since the model has batch normalization: the moving "
                "statistics of the snapshots do not fit the mean of their weights, so they are "
                "estimated anew. Pass the training data. Received: x=None, and the layer "
                f"{normalizing[0].name!r}"
            )
        for position, snapshot in enumerate(chosen):
            snapshot.load_into(averaged)
            weights = averaged.get_weights()
            if position == 0:
                sums = [np.zeros(weight.shape) for weight in weights]
            for total, weight in zip(sums, weights, strict=True):
                total += weight
        averaged.set_weights(
            [
                # A counter or a seed has no mean; that of the newest snapshot is taken.
                (total / len(chosen)).astype(weight.dtype) if weight.dtype.kind == "f" else weight
                for total, weight in zip(sums, weights, strict=True)
            ]
        )
        if normalizing:
            _estimate_statistics(averaged, normalizing, x, batch_size)
        return averaged

    # ---- The ends of cycles

    def _end_after(self, count: int) -> int:
        """The end of the first cycle that ends after this iteration; beyond all counts if none."""
        reach = 1024
        while count + reach < _arguments.MAX_STEPS:
            if len(ends := self._ends(count, count + reach)):
                return int(ends[0])
            reach *= 8
        return _arguments.MAX_STEPS

    def _check_executions(self, start: int) -> None:
        """Raises if a cycle ends in the middle of an execution of several steps."""
        steps = backend.steps_per_execution(self.model)
        # A callback in a training loop without parameters may lack the attribute.
        params = getattr(self, "params", None) or {}
        length = params.get("steps")
        epochs = max(params.get("epochs", 1) - self._epoch, 1)
        # If the length is unknown, it is as if all were one epoch.
        planned = epochs * length if length else 100 * steps
        ends = self._ends(start, start + planned) - start
        within_epoch = ends % length if length else ends
        if np.any(within_epoch % steps):
            divisor = math.gcd(*within_epoch.tolist())
            best = max(number for number in range(1, steps + 1) if divisor % number == 0)
            raise ValueError(
                "The model must be compiled with a `steps_per_execution` that divides the cycles, "
                "since the weights can be kept only between executions. Use a number that divides "
                f"{divisor}, such as steps_per_execution={best}. Received: steps_per_execution="
                f"{steps}, and a cycle that ends after {ends[within_epoch % steps != 0][0]} steps"
            )

    # ---- The snapshots

    def _take(self, iteration: int) -> None:
        """Takes a snapshot of the present weights."""
        snapshot = Snapshot(iteration, self._epoch)
        if self.directory is None:
            snapshot._arrays = [np.array(weight) for weight in self.model.get_weights()]
        else:
            snapshot.path = self.directory / f"snapshot_{iteration}.weights.h5"
            if backend.is_chief(self.model):
                self.directory.mkdir(parents=True, exist_ok=True)
                beside = self.directory / f"writing_{iteration}.weights.h5"
                # Keras writes the state of the optimizer too, unless there is none.
                with attributes_set_to(self.model, {"optimizer": None}):
                    self.model.save_weights(str(beside))
                beside.replace(snapshot.path)
        self.snapshots.append(snapshot)
        dropped = [] if self.last is None else self.snapshots[: -self.last]
        self.snapshots = self.snapshots[len(dropped) :]
        self._write_list()
        for each in dropped:
            if each.path is not None and backend.is_chief(self.model):
                each.path.unlink(missing_ok=True)

    def _write_list(self) -> None:
        """Writes the list of the snapshots into the directory."""
        if self.directory is None or not backend.is_chief(self.model):
            return
        entries = [
            {"iteration": s.iteration, "epoch": s.epoch, "logs": s.logs, "file": s.path.name}
            for s in self.snapshots
            if s.path is not None
        ]
        beside = self.directory / f"writing_{_LIST}"
        beside.write_text(json.dumps(entries, indent=1))
        beside.replace(self.directory / _LIST)

    def _chosen(self, snapshots: Sequence[Snapshot] | None, model: Any) -> list[Snapshot]:
        """The snapshots to take; checks that there are some, and that the model has weights."""
        if not backend.is_built(model):
            raise ValueError(
                "Argument `model` must be built, so that its weights are known. Train it, or call "
                f"it on some data. Received: the model {model.name!r}, which is not built"
            )
        chosen = self.snapshots if snapshots is None else list(snapshots)
        if not chosen:
            raise ValueError(
                "There must be at least one snapshot. A snapshot is taken at the end of each "
                "cycle: train for a whole cycle with this callback. Received: no snapshots"
            )
        return chosen


class CycleEarlyStopping(_CycleEnds, keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """Stops a training at the end of a cycle, when the ends of cycles do not improve any more.

    Within a cycle the loss rises and falls with the learning rate, so a comparison of epochs would
    stop a training where the rate is high. This callback is Keras's ``EarlyStopping``, which sees
    only the epochs in which a cycle ended. Let cycles end with epochs: the monitored value is that
    of the end of the epoch.

    Args:
        monitor: The monitored value. Default: ``"val_loss"``.
        patience: The number of cycles without improvement after which the training is stopped.
            From 0. Default: 1.
        every: The number of iterations in a cycle, at least 1, for an optimizer that does not
            follow a schedule of this package with cycles. Default: None; the schedule tells.
        arguments: The other arguments of ``EarlyStopping``: ``min_delta``, ``mode``, ``baseline``,
            ``verbose``, ``start_from_epoch``, and ``restore_best_weights``, which restores the best
            end of a cycle.

    Raises:
        TypeError, ValueError: As for `CycleSnapshots`.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(clr.Triangular(1e-7, 2e-7, 8)), loss="mse")
        >>> stopping = clr.CycleEarlyStopping(monitor="loss", patience=1, min_delta=0.1)
        >>> x = np.ones((64, 4))
        >>> history = model.fit(
        ...     x, x[:, 0], batch_size=8, epochs=20, verbose=0, callbacks=[stopping]
        ... )
        >>> len(history.epoch)
        4
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 1,
        every: int | None = None,
        **arguments: Any,
    ) -> None:
        patience = _arguments.count("patience", patience, least=0)
        super().__init__(every, monitor=monitor, patience=patience, **arguments)
        self._epoch_start = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reads the optimizer's counter."""
        self._epoch_start = backend.iteration(self._optimizer())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compares the epoch with the best one, if a cycle has ended in it."""
        if len(self._ends(self._epoch_start, backend.iteration(self._optimizer()))):
            super().on_epoch_end(epoch, logs)


def _read_list(directory: Path) -> list[Snapshot]:
    """The snapshots in a directory that have their files."""
    try:
        entries = json.loads((directory / _LIST).read_text())
    except FileNotFoundError:
        return []
    found = [
        Snapshot(entry["iteration"], entry["epoch"], entry["logs"], directory / entry["file"])
        for entry in entries
    ]
    return [snapshot for snapshot in found if snapshot.path is not None and snapshot.path.exists()]


def _json_value(value: Any) -> Any:
    """A number of the logs as a float, for JSON."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


# ---- Models


def _clone(model: Any) -> Any:
    """A model with the same layers and weights of its own, which are built."""
    # Keras would also clone the optimizer, whose schedule cannot be loaded without this package.
    with attributes_set_to(model, {"compiled": False}):
        clone = keras.models.clone_model(model)
    if not clone.built or len(clone.weights) != len(model.weights):
        clone(_inputs_of(model))
    return clone


def _inputs_of(model: Any) -> Any:
    """New inputs for a model, with the shapes and types of its own."""
    if getattr(model, "inputs", None):
        given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return backend.tree.map_structure(
            lambda x: keras.Input(x.shape[1:], x.shape[0], dtype=x.dtype, name=x.name), given
        )
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ValueError(
            "Argument `model` must have inputs of known shapes: a functional or sequential model, "
            "or a subclassed model with one argument in its `call`. "
            f"Received: the model {model.name!r}"
        )
    return _inputs_of_shapes(shapes)


def _inputs_of_shapes(shapes: Any) -> Any:
    """Inputs for a shape, or for a list or dictionary of shapes."""
    if isinstance(shapes, dict):
        return {name: _inputs_of_shapes(shape) for name, shape in shapes.items()}
    if shapes and isinstance(shapes[0], (list, tuple, dict)):
        return [_inputs_of_shapes(shape) for shape in shapes]
    return keras.Input(shapes[1:])


def _mean(outputs: Sequence[Any]) -> Any:
    """The mean of an output of the members of an ensemble."""
    if len(outputs) == 1:
        return outputs[0]
    low = str(outputs[0].dtype) in ("float16", "bfloat16")
    return keras.layers.Average(dtype="float32" if low else outputs[0].dtype)(list(outputs))


# ---- Batch normalization


def _normalizes_batches(layer: Any) -> bool:
    """Whether a layer has moving statistics of batches that a training changes."""
    names = "moving_mean", "moving_variance", "momentum"
    return bool(layer.trainable) and all(hasattr(layer, name) for name in names)


def _estimate_statistics(model: Any, normalizing: list[Any], x: Any, size: int | None) -> None:
    """Sets moving statistics to the means of those of the batches, weighted by their sizes."""
    statistics = {id(v) for each in normalizing for v in (each.moving_mean, each.moving_variance)}
    others = [
        (variable, backend.to_numpy(variable).copy())
        for variable in model.variables
        if id(variable) not in statistics
    ]
    momenta, seen = [layer.momentum for layer in normalizing], 0
    for batch in _batches(x, size):
        rows = len(backend.tree.flatten(batch)[0])
        for layer in normalizing:
            # moving = moving * momentum + statistic of the batch * (1 - momentum)
            layer.momentum = seen / (seen + rows)
        model(batch, training=True)
        seen += rows
    for layer, momentum in zip(normalizing, momenta, strict=True):
        layer.momentum = momentum
    for variable, value in others:
        variable.assign(value)


def _batches(x: Any, batch_size: int | None) -> Iterator[Any]:
    """Yields the inputs of each batch of an epoch."""
    samples = count_samples(x)
    if samples is not None:
        size = DEFAULT_BATCH_SIZE
        if batch_size is not None:
            size = _arguments.count("batch_size", batch_size)
        for start in range(0, samples, size):
            yield backend.tree.map_structure(
                lambda array: np.asarray(array[start : start + size]),  # noqa: B023
                x,
            )
        return
    if cardinality(x) == -1:
        rule = "data with an end. Call `take` on the dataset"
        raise ValueError(_arguments.received("x", rule, x))
    # A PyDataset has no iterator.
    count = count_batches(x, None)
    batches: Iterable[Any] = x
    if count is not None and hasattr(x, "__getitem__") and not hasattr(x, "__iter__"):
        batches = (x[index] for index in range(count))
    for batch in batches:
        yield keras.utils.unpack_x_y_sample_weight(batch)[0]
