"""The learning-rate range test: bounds that are read off a curve, not guessed."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules.range_test import suggestions
from clr_schedules.range_test.interrupts import Interrupts
from clr_schedules.range_test.rewind import Snapshot, leaves
from clr_schedules.range_test.sweep import Sweep, Watcher

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clr_schedules.schedules.base import Schedule

_S = TypeVar("_S", bound="Schedule")
_Array = NDArray[np.float64]

# Where neither `num_steps` nor `epochs` is given: an epoch, but within these.
_FEWEST_STEPS, _MOST_STEPS = 200, 1000
# Steps a call of the train function, where the user names no number.
_CHUNK = 20
_ONE_AT_A_TIME = threading.RLock()


def lr_range_test(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    num_steps: int | None = None,
    epochs: int | None = None,
    growth: str = "exponential",
    batch_size: int | None = None,
    sample_weight: Any = None,
    validation_data: Any = None,
    stop_factor: float = 4.0,
    smoothing: float = 0.98,
    steps_per_execution: int | None = None,
    verbose: Any = "auto",
) -> RangeTestResult:
    """Trains the model at a rate that rises from step to step, records the losses, and rewinds it.

    The rate of step ``i`` of ``n`` (from 0) is ::

        min_lr * (max_lr / min_lr) ** (i / (n - 1))       growth="exponential"
        min_lr + (max_lr - min_lr) * (i / (n - 1))        growth="linear", as in the paper

    The steps are those of `fit`, compiled as the model was compiled, with its own `train_step`. The
    loss and the metrics are those of each batch alone.

    **Afterwards the model is as it was**, bit for bit: weights, optimizer, metrics, seed
    generators, the random state of Python, NumPy, Keras and the framework, Keras's counters of
    names, the compiled functions and the history; so too after an error, a loss that is not finite,
    and Ctrl-C. A model that was not built is built with its first weights; an optimizer is not.

    Not rewound are the position of a generator or an iterator; the state by which a
    `tf.data.Dataset` or `PyDataset` shuffles; what a custom `train_step` does to Python objects of
    its own, or to files.

    Args:
        model: A compiled Keras model.
        x: The training data, as `fit` takes them: arrays, a dictionary or a list of arrays, a
            `tf.data.Dataset`, a `PyDataset`, a `DataLoader`, a generator.
        y: The targets, where they are not part of ``x``.
        min_lr: The rate of the first step. Above 0.
        max_lr: The rate of the last step. Above ``min_lr``.
        num_steps: The number of train steps, at least 2. Shorter data are repeated. Default: one
            epoch, but at least 200 and at most 1,000 steps.
        epochs: Instead of ``num_steps``: as many steps as this many epochs have.
        growth: ``"exponential"`` or ``"linear"``.
        batch_size: Samples a batch, for arrays; other data have their own. Default: 32.
        sample_weight: Weights of the samples, as for `fit`.
        validation_data: Data on which the model is evaluated at 30 rates on the way, as for `fit`;
            they must end, and be repeatable.
        stop_factor: The test ends when the smoothed loss is this many times its best. Above 1;
            infinity lets only a loss that is not finite end it.
        smoothing: The weight of the past in the smoothed loss, an exponential moving average
            without the bias of its start. From 0 (none) to below 1.
        steps_per_execution: The steps in one call into the compiled graph. Default: what the model
            was compiled with, or a number that suits its speed.
        verbose: 0 shows nothing, 1 (or ``"auto"``) a progress bar, 2 one line at the end.

    Returns:
        The curve. ``suggest()`` reads the bounds off it, ``plot()`` draws it.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range; if the model is
            not compiled, has no optimizer, several, or one whose rate cannot be set; if its
            `train_step` returns no loss; if there are no data, or of unknown length without
            ``num_steps``; if several workers train the model (all of them raise, none waits).
            What the model or the data raise passes through.

    Source:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.3. The exponential growth, the smoothing and the end at four times the best loss:
        fastai's ``lr_find``.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(), loss="mse")
        >>> x = np.random.default_rng(0).normal(size=(640, 2))
        >>> result = clr.lr_range_test(model, x, x @ [[1.0], [-2.0]], verbose=0)
        >>> suggestion = result.suggest()
        >>> 0.05 < suggestion.max_lr < 1
        True
        >>> lr = suggestion.schedule(clr.Triangular2, step_size=80)
        >>> model.compile(keras.optimizers.SGD(lr), loss="mse")
    """
    optimizers = _optimizers(model)
    batch_size = None if batch_size is None else _arguments.count("batch_size", batch_size)
    num_steps = _num_steps(x, batch_size, num_steps, epochs)
    rates = _rates(min_lr, max_lr, num_steps, growth)
    if steps_per_execution is not None:
        steps_per_execution = _arguments.count("steps_per_execution", steps_per_execution)
    if backend.is_shared(model):
        raise ValueError(
            "A range test needs the model to itself: run it in a process that trains alone, with "
            "batches as large as those of all workers together, and give all of them the bounds "
            f"that it finds. Received: model={model.name!r}, which several processes train"
        )
    compiled = backend.steps_per_execution(model)
    sweep = Sweep(
        rates,
        backend.floatx(),
        stop_factor=_stop_factor(stop_factor),
        smoothing=_smoothing(smoothing),
        # Enough steps a call to save time; one, to validate between any two.
        steps_per_call=steps_per_execution or (max(_CHUNK, compiled) if validation_data is None else 1),
        paced=steps_per_execution is None,
    )
    verbosity = _verbosity(verbose)
    _check_validation_data(validation_data)
    # TensorFlow's seeds and the handling of interrupts belong to the process: one test at a time.
    with _ONE_AT_A_TIME, Interrupts() as interrupts:
        watcher = Watcher(model, sweep, interrupts, validation_data, batch_size, verbosity)
        snapshot = Snapshot(model, optimizers)
        try:
            try:
                snapshot.open()
                backend.use_rate_of(optimizers[-1], sweep)
                backend.set_steps_per_call(model, sweep.steps_per_call, _batches(x, batch_size))
                sweep.building = snapshot.building
                vars(model)["train_function"] = backend.train_function(model, sweep)
                model.fit(
                    x,
                    y,
                    batch_size=batch_size,
                    sample_weight=sample_weight,
                    **_passes(x, num_steps),
                    shuffle=_can_be_shuffled(x),
                    verbose=0,
                    callbacks=[watcher],
                )
                sweep.flush()
                if not sweep.taken:
                    raise ValueError(
                        "No train step was taken. Either there are no data, or the model has a "
                        "`fit` or a `make_train_function` of its own that does not call "
                        f"`model.train_function`. Received: model={model}, x={type(x).__name__}"
                    )
                sweep.end(f"stopped: the data ended after {sweep.taken} of {num_steps} steps")
            finally:
                interrupts.hold()
        finally:
            snapshot.restore()
            watcher.close()
    return _result(sweep, watcher, growth)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTestResult:
    """The curve of a range test: losses and metrics of single batches against the learning rate.

    Attributes:
        learning_rates: The rate of each step taken, float64, shape ``(steps,)``, rising. (The
            optimizer gets them rounded to Keras's ``floatx()``.)
        losses: The loss of each step's batch alone; the last may be infinite or NaN.
        smoothed_losses: Their exponential moving average, without the bias of its start.
        metrics: For the name of each metric, its values on each step's batch alone; scalars only.
        stop_reason: Why the test ended: ``"completed: …"``, ``"diverged: …"``, ``"stopped …"``.
        growth: ``"exponential"`` or ``"linear"``.
        validation_learning_rates: Where the validation data were evaluated; empty without them.
        validation_losses: The loss there.
        validation_metrics: The metrics there.

    Example:
        >>> import numpy as np
        >>> import clr_schedules as clr
        >>> rates = np.geomspace(1e-6, 1.0, 200)
        >>> losses = 2.3 / (1 + rates / 1e-3) + (rates / 0.1) ** 2  # it falls, then it blows up
        >>> result = clr.RangeTestResult(rates, losses, losses, {}, "completed")
        >>> result
        <RangeTestResult: 200 steps from 1e-06 to 1; completed>
        >>> result.suggest().schedule(clr.Triangular, step_size=500)
        Triangular(base_lr=9.771241535346502e-05, max_lr=0.053074283165183415, step_size=500)
    """

    learning_rates: _Array
    losses: _Array
    smoothed_losses: _Array
    metrics: Mapping[str, _Array]
    stop_reason: str
    growth: str = "exponential"
    validation_learning_rates: _Array = dataclasses.field(default_factory=lambda: np.empty(0))
    validation_losses: _Array = dataclasses.field(default_factory=lambda: np.empty(0))
    validation_metrics: Mapping[str, _Array] = dataclasses.field(default_factory=dict)

    @property
    def accuracies(self) -> _Array | None:
        """The mean of the metrics that are accuracies by name, per step; None without any."""
        found = [values for name, values in self.metrics.items() if "acc" in name.lower()]
        return np.mean(found, axis=0) if found else None

    def suggest(self) -> Suggestion:
        """Reads the bounds of a cycle, and three single rates, off the curve.

        ``base_lr`` and ``max_lr`` follow the paper's rule. On the accuracy, if the metrics have
        one: where it begins to rise, and where it slows, becomes ragged or falls. On the loss
        otherwise: where it begins to fall, and where it is about to blow up.

        Returns:
            The suggestion. What the curve does not show is None there, with a reason.
        """
        answers = suggestions.read(
            self.learning_rates, self.losses, self.smoothed_losses, self.accuracies
        )
        rates = {name: None if isinstance(a, str) else a for name, a in answers.items()}
        reasons = {name: a for name, a in answers.items() if isinstance(a, str)}
        return Suggestion(**rates, reasons=reasons)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the loss and the accuracy against the rate, the suggested bounds marked.

        See `clr_schedules.plotting.plot_range_test`.
        """
        from clr_schedules import plotting

        return plotting.plot_range_test(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result to a JSON file, which `load` reads.

        The file is never there in part.

        Args:
            path: Where to. A file that is there is replaced.
        """
        content = {"class": type(self).__name__, "version": _VERSION, **_to_json(vars(self))}
        content["sha256"] = _digest(content)
        _write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RangeTestResult:
        """Reads a file that `save` wrote.

        Args:
            path: The file.

        Returns:
            The result, equal to the saved one bit for bit.

        Raises:
            ValueError: If the file is something else, damaged, changed by hand, or of a version
                unknown here.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            digest = content.pop("sha256", None)
            if content.get("class") != cls.__name__:
                raise ValueError("it is of another class")
            if content.get("version") != _VERSION:
                raise ValueError(
                    f"it has version {content.get('version')!r}, and this package reads {_VERSION}"
                )
            if digest != _digest(content):
                raise ValueError("it has changed since it was written")
            del content["class"], content["version"]
            result = cls(**_from_json(content))
            result._check()
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"Argument `path` must be a file that `{cls.__name__}.save` wrote. "
                f"Received: path={str(path)!r}, which is not: {error}"
            ) from error
        return result

    def _columns(self) -> list[_Array]:
        return [self.learning_rates, self.losses, self.smoothed_losses, *self.metrics.values()]

    def _check(self) -> None:
        """Raises a ``ValueError`` unless columns that belong together are equally long."""
        validation = self.validation_learning_rates, self.validation_losses
        for columns in self._columns(), (*validation, *self.validation_metrics.values()):
            shapes = {np.shape(column) for column in columns}
            if len(shapes) != 1 or len(*shapes) != 1:
                raise ValueError(f"columns of the shapes {sorted(shapes)}")

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes a table with a line a step: learning rate, loss, smoothed loss, each metric.

        The file is never there in part.

        Args:
            path: Where to. A file that is there is replaced.
        """
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["step", "learning_rate", "loss", "smoothed_loss", *self.metrics])
        for step, row in enumerate(zip(*self._columns(), strict=True)):
            writer.writerow([step, *map(float, row)])
        _write(path, table.getvalue())

    def __repr__(self) -> str:
        text = f"{len(self.learning_rates)} steps"
        if len(self.learning_rates):
            text += " from {:.3g} to {:.3g}".format(*self.learning_rates[[0, -1]])
        if validated := len(self.validation_learning_rates):
            text += f", validated at {validated} rates"
        return f"<RangeTestResult: {text}; {self.stop_reason}>"


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What a range test suggests; None where its curve does not show it.

    Attributes:
        base_lr: The lower bound of a cycle, by the rule of the paper (section 3.3).
        max_lr: Its upper bound.
        steepest: The rate where the smoothed loss falls fastest (fastai's ``steep``).
        valley: The middle of the longest descent of the smoothed loss (fastai's ``valley``).
        minimum: A tenth of the rate where the smoothed loss is lowest (fastai's ``minimum``).
        reasons: Why each name that is None is None.

    Example:
        >>> import numpy as np
        >>> import clr_schedules as clr
        >>> rates = np.geomspace(1e-6, 1e-2, 200)
        >>> losses = 2.3 / (1 + rates / 1e-3)  # where the test ends, it still falls
        >>> suggestion = clr.RangeTestResult(rates, losses, losses, {}, "completed").suggest()
        >>> suggestion.max_lr is None
        True
        >>> print(suggestion.reasons["max_lr"])
        the loss was still falling at the highest rate, 0.01
    """

    base_lr: float | None
    max_lr: float | None
    steepest: float | None
    valley: float | None
    minimum: float | None
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def schedule(self, kind: Callable[..., _S], step_size: int, **kwargs: Any) -> _S:
        """A cyclical schedule between the suggested bounds.

        Args:
            kind: `Triangular`, `Triangular2`, `ExpRange`, `Cyclical`, or a function that takes
                ``base_lr``, ``max_lr`` and ``step_size`` by name.
            step_size: The length of a half-cycle in iterations.
            **kwargs: What else it takes, such as ``gamma`` for `ExpRange`.

        Returns:
            The schedule.

        Raises:
            ValueError: If the curve did not show a bound; the message says why.

        Example:
            >>> import clr_schedules as clr
            >>> suggestion = clr.Suggestion(1e-3, 6e-3, None, None, None)
            >>> suggestion.schedule(clr.Triangular2, step_size=2000)
            Triangular2(base_lr=0.001, max_lr=0.006, step_size=2000)
        """
        missing = [name for name in ("base_lr", "max_lr") if getattr(self, name) is None]
        if missing:
            why = "; ".join(f"{name} is None: {self.reasons.get(name, '')}" for name in missing)
            raise ValueError(f"The range test shows no bounds for a cycle. {why}")
        return kind(base_lr=self.base_lr, max_lr=self.max_lr, step_size=step_size, **kwargs)


def _optimizers(model: Any) -> list[Any]:
    """The model's optimizer, and within it the one that has the rate, if it is another."""
    if not isinstance(model, keras.Model):
        raise TypeError(_arguments.received("model", "a Keras model", model))
    rule = "a model that is compiled with one optimizer"
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(_arguments.received("model", rule, model))
    found = [optimizer]
    while (inner := getattr(found[-1], "inner_optimizer", None)) is not None:
        found.append(inner)
    known = set(map(id, found))
    others = {
        id(other): f"{type(other).__name__} ({getattr(other, 'name', 'unnamed')})"
        for thing in (model, *found)
        for name, value in vars(thing).items()
        if not name.startswith("_self_")  # TensorFlow's own books
        for other in leaves(value)
        if isinstance(other, backend.optimizer_classes) and id(other) not in known
    }
    if others:
        more = ", ".join(others.values())
        raise ValueError(f"{_arguments.received('model', rule, model)}, which also holds {more}")
    if not {"_learning_rate", "_hyper"} & vars(found[-1]).keys():
        raise ValueError(
            _arguments.received("model", "one whose optimizer has a learning rate", optimizer)
        )
    return found


def _num_steps(x: Any, batch_size: int | None, num_steps: Any, epochs: Any) -> int:
    epoch = _batches(x, batch_size)
    if epoch == 0:
        raise ValueError(f"Argument `x` must have at least one batch. Received: x={x!r}")
    if num_steps is not None:
        if epochs is not None:
            raise ValueError(
                "Only one of `num_steps` and `epochs` can be given. "
                f"Received: num_steps={num_steps!r}, epochs={epochs!r}"
            )
        steps = _arguments.count("num_steps", num_steps)
        if steps < 2:
            raise ValueError(_arguments.received("num_steps", "at least 2", num_steps))
        return steps
    given = None if epochs is None else _arguments.count("epochs", epochs)
    if epoch is None:
        raise ValueError(
            "Argument `num_steps` must be given for data of unknown length. "
            f"Received: x={type(x).__name__}, num_steps=None"
        )
    if given is None:
        return min(max(epoch, _FEWEST_STEPS), _MOST_STEPS)
    if given * epoch == 1:
        rule = "at least 2, since one has a single batch"
        raise ValueError(_arguments.received("epochs", rule, epochs))
    return given * epoch


def _batches(x: Any, batch_size: int | None) -> int | None:
    """The number of batches in an epoch; None where the data do not tell."""
    if (samples := _samples(x)) is not None:
        return -(-samples // (batch_size or 32))
    if (length := _cardinality(x)) is not None:
        return length if length >= 0 else None
    try:
        # A PyDataset; a DataLoader or a Sequence of the legacy Keras.
        length = x.num_batches if hasattr(x, "num_batches") else len(x)
    except TypeError:
        return None
    return None if length is None else int(length)


def _samples(x: Any) -> int | None:
    """The number of samples in arrays; None for other data."""
    while isinstance(x, (dict, list, tuple)) and len(x):
        first = next(iter(x.values() if isinstance(x, dict) else x))
        if isinstance(x, (list, tuple)) and isinstance(first, (int, float, list, tuple)):
            return len(x)  # numbers in lists, which the legacy Keras takes
        x = first
    shape = getattr(x, "shape", None)
    return int(shape[0]) if shape else None


def _cardinality(x: Any) -> int | None:
    """The number of elements of a `tf.data.Dataset`: -1 if endless, -2 if unknown."""
    if not hasattr(x, "cardinality"):
        return None
    # A property, where the dataset is distributed.
    return int(x.cardinality() if callable(x.cardinality) else x.cardinality)


def _check_validation_data(data: Any) -> None:
    """Refuses what cannot be repeated or has no end."""
    rule = "data that end and can be gone through again, or None"
    features = data[0] if isinstance(data, (tuple, list)) and data else data
    length = _cardinality(features)
    if (
        (isinstance(data, (tuple, list)) and not 1 <= len(data) <= 3)
        or hasattr(features, "__next__")
        or length == -1
        or (hasattr(features, "num_batches") and features.num_batches is None)
    ):
        raise ValueError(_arguments.received("validation_data", rule, data))


def _passes(x: Any, num_steps: int) -> dict[str, int]:
    """How often `fit` is to go through the data, at most."""
    if hasattr(x, "__next__"):
        return {"epochs": 1}
    if _cardinality(x) == -1:
        return {"epochs": 1, "steps_per_epoch": num_steps}
    return {"epochs": num_steps}


def _can_be_shuffled(x: Any) -> bool:
    """Whether `fit` can shuffle the data; where it cannot, asking makes it warn."""
    if _samples(x) is not None:
        return True
    indexed = hasattr(x, "__getitem__") and _batches(x, None) is not None
    return indexed and _cardinality(x) is None


def _rates(min_lr: Any, max_lr: Any, num_steps: int, growth: Any) -> _Array:
    min_lr = _arguments.rate("min_lr", min_lr, positive=True)
    max_lr = _arguments.rate("max_lr", max_lr, positive=True)
    if max_lr <= min_lr:
        raise ValueError(
            "Argument `max_lr` must be above `min_lr`. "
            f"Received: max_lr={max_lr!r}, min_lr={min_lr!r}"
        )
    exponential = _arguments.choice("growth", growth, ("exponential", "linear")) == "exponential"
    return (np.geomspace if exponential else np.linspace)(min_lr, max_lr, num_steps)


def _stop_factor(value: Any) -> float:
    rule = "a number above 1"
    if isinstance(value, float) and value == math.inf:
        return value
    number = _arguments.real("stop_factor", value, rule)
    if number <= 1:
        raise ValueError(_arguments.received("stop_factor", rule, value))
    return number


def _smoothing(value: Any) -> float:
    rule = "a number of at least 0 and below 1"
    number = _arguments.real("smoothing", value, rule)
    if not 0 <= number < 1:
        raise ValueError(_arguments.received("smoothing", rule, value))
    return number


def _verbosity(value: Any) -> int:
    if value not in ("auto", 0, 1, 2):
        raise ValueError(_arguments.received("verbose", "'auto', 0, 1 or 2", value))
    return 1 if value == "auto" else int(value)


def _result(sweep: Sweep, watcher: Watcher, growth: str) -> RangeTestResult:
    metrics = sweep.columns()
    losses = metrics.pop("loss", np.empty(0))
    validation = {
        name: np.array([logs[name] for logs in watcher.validation])
        for name in next(iter(watcher.validation), ())
    }
    return RangeTestResult(
        learning_rates=sweep.rates[: sweep.taken].copy(),
        losses=losses,
        smoothed_losses=suggestions.smooth(losses, sweep.smoothing),
        metrics=metrics,
        stop_reason=str(sweep.stop_reason),
        growth=growth,
        validation_learning_rates=validation.pop("learning_rate", np.empty(0)),
        validation_losses=validation.pop("loss", np.empty(0)),
        validation_metrics=validation,
    )


_VERSION = 1  # of the files


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _to_json(value: Any) -> Any:
    """Arrays as lists; numbers that JSON does not have as the strings that `float` reads."""
    if isinstance(value, Mapping):
        return {name: _to_json(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return [entry if math.isfinite(entry) else str(entry) for entry in value.tolist()]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _from_json(entry) for name, entry in value.items()}
    return np.array(value, np.float64) if isinstance(value, list) else value


def _write(path: str | os.PathLike[str], text: str) -> None:
    """Writes beside the path and renames."""
    path = Path(os.path.realpath(path))  # of a link, what it leads to
    half_done = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        half_done.write_text(text, encoding="utf-8", newline="")
        half_done.replace(path)
    finally:
        half_done.unlink(missing_ok=True)
