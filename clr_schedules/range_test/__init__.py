"""The learning-rate range test: it reads the bounds of the rate off a curve of losses."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_schedules import _arguments, planning
from clr_schedules._backend import backend, keras
from clr_schedules.range_test import suggestions
from clr_schedules.range_test.interrupts import Interrupts
from clr_schedules.range_test.result import RangeTestResult as RangeTestResult
from clr_schedules.range_test.result import Suggestion as Suggestion
from clr_schedules.range_test.result import is_name_of_accuracy
from clr_schedules.range_test.rewind import Snapshot, flatten
from clr_schedules.range_test.sweep import Sweep, Watcher

_Array = NDArray[np.float64]

# Without `num_steps` and `epochs`, the test takes one epoch, within these limits.
_FEWEST_STEPS, _MOST_STEPS = 200, 1000
# The number of steps in one call of the train loop, if the user gives no `steps_per_execution`.
_STEPS_PER_CALL = 20
# The classes of Keras's accuracies.
_ACCURACIES = (
    keras.metrics.Accuracy,
    keras.metrics.BinaryAccuracy,
    keras.metrics.CategoricalAccuracy,
    keras.metrics.SparseCategoricalAccuracy,
    keras.metrics.TopKCategoricalAccuracy,
    keras.metrics.SparseTopKCategoricalAccuracy,
)
# Range tests in several threads run one after another, because TensorFlow's seeds and the handling
# of Ctrl-C belong to the whole process.
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
    """Trains the model at a rising learning rate, records the losses, and restores the model.

    The rate of step ``i`` of ``n`` (from 0) is ::

        min_lr * (max_lr / min_lr) ** (i / (n - 1))       growth="exponential"
        min_lr + (max_lr - min_lr) * (i / (n - 1))        growth="linear", as in the paper

    The test takes the same steps as `fit`: it runs the model's own `train_step`, compiled in the
    way in which the model was compiled. The loss and the metrics of a step are those of its batch
    alone, without those of the batches before.

    **Afterwards the model is bit for bit what it was**: weights, optimizer, metrics, seed
    generators, the random state of Python, NumPy, Keras and the framework, Keras's counters of
    names, the compiled functions and the history. The same holds after an error, after a loss that
    is not finite, and after Ctrl-C. If the model was not built before the test, it is built
    afterwards, and has its initial weights. If the optimizer was not built before the test, it is
    not built afterwards either.

    The test cannot restore the position of a generator or an iterator, the state with which a
    `tf.data.Dataset` or a `PyDataset` shuffles, or the changes that a custom `train_step` makes to
    its own Python objects or to files.

    Args:
        model: A compiled Keras model.
        x: The training data, as for `fit`: an array, a dictionary or a list of arrays, a
            `tf.data.Dataset`, a `PyDataset`, a `DataLoader` or a generator.
        y: The targets, if ``x`` does not contain them.
        min_lr: The rate of the first step. Above 0. Default: 1e-7.
        max_lr: The rate of the last step. Above ``min_lr``. Default: 10.
        num_steps: The number of train steps, at least 2. Data with fewer batches are repeated.
            Default: one epoch, but at least 200 and at most 1,000 steps.
        epochs: The length of the test in epochs. It can be given instead of ``num_steps``.
        growth: ``"exponential"`` (default) or ``"linear"``.
        batch_size: The number of samples in one batch, if the data are arrays. Other data come in
            batches already. Default: 32.
        sample_weight: The weights of the samples, as for `fit`.
        validation_data: The validation data, as for `fit`. The test evaluates the model on them at
            30 rates. The data must have an end, and must be readable more than once.
        stop_factor: The test ends when the smoothed loss exceeds the best smoothed loss by this
            factor. Above 1. With infinity, only a loss that is not finite ends the test early.
            Default: 4.
        smoothing: The weight of the past losses in the smoothed loss, which is an exponential
            moving average with a corrected start. From 0 (no smoothing) to below 1. Default: 0.98.
        steps_per_execution: The number of steps in one call of the compiled graph. Default: 20,
            or the number that the model was compiled with if that is larger; on TensorFlow, fewer
            if the steps are slow; with validation data, 1.
        verbose: 0 shows nothing, 1 (or ``"auto"``) a progress bar, 2 one line at the end.

    Returns:
        The curve. ``suggest()`` reads the bounds off it, and ``plot()`` draws it.

    Raises:
        TypeError, ValueError: If an argument is of a wrong kind or out of range; if the model is
            not compiled, or has no optimizer or several optimizers; if the optimizer has no
            learning rate that can be set; if the model's `train_step` returns no loss; if the data
            are empty; if ``num_steps`` is missing and the length of the data is unknown; if several
            processes train the model together (then all of them raise the error). Errors that the
            model or the data raise are not caught.

    Source:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.3. The exponential growth, the smoothing and the end at four times the best loss
        are those of fastai's ``lr_find``.

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
            "The range test cannot run on a model that several processes train together. Run the "
            "test in a single process, with batches as large as those of all processes together, "
            f"and use its bounds in all processes. Received: model={model.name!r}"
        )
    compiled = backend.steps_per_execution(model)
    sweep = Sweep(
        rates,
        backend.floatx(),
        stop_factor=_stop_factor(stop_factor),
        smoothing=_arguments.number_in(
            "smoothing", smoothing, "a number of at least 0 and below 1", 0.0, 1 - 2.0**-53
        ),
        # A call with many steps saves time. With validation data, a call takes one step, so that a
        # validation can follow any step.
        steps_per_call=steps_per_execution
        or (max(_STEPS_PER_CALL, compiled) if validation_data is None else 1),
        paced=steps_per_execution is None,
    )
    verbosity = _verbosity(verbose)
    _check_validation_data(validation_data)
    with _ONE_AT_A_TIME, Interrupts() as interrupts:
        snapshot = Snapshot(model, optimizers)
        try:
            snapshot.prepare()
            set_rate = backend.take_over_rate(optimizers[-1])
            backend.set_steps_per_call(
                model, sweep.steps_per_call, planning.count_batches(x, batch_size)
            )
            loop = backend.train_loop(model, sweep, set_rate, snapshot.building)
            vars(model)["train_function"] = loop
            watcher = Watcher(
                model,
                sweep,
                loop,
                interrupts,
                validation_data=validation_data,
                batch_size=batch_size,
                verbose=verbosity,
            )
            with interrupts.let_through(), contextlib.closing(watcher):
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
                loop.flush()
            metrics = _metrics(model)
        finally:
            snapshot.restore()
    if not sweep.taken:
        raise ValueError(
            "No train step was taken. Either the data are empty, or the model overrides `fit` or "
            "`make_train_function` with a method that does not call `model.train_function`. "
            f"Received: model={model}, x={type(x).__name__}"
        )
    sweep.end(f"stopped: the data ended after {sweep.taken} of {num_steps} steps")
    return _result(sweep, watcher, growth, metrics)


def _optimizers(model: Any) -> list[Any]:
    """The model's optimizer and the optimizers that it wraps. The last of them has the rate."""
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
        if not name.startswith("_self_")  # TensorFlow's own records on Keras's objects
        for other in flatten(value)
        if isinstance(other, backend.optimizer_classes) and id(other) not in known
    }
    if others:
        more = ", ".join(others.values())
        raise ValueError(
            f"{_arguments.received('model', rule, model)}, which has other optimizers too: {more}"
        )
    if not {"_learning_rate", "_hyper"} & vars(found[-1]).keys():
        raise ValueError(
            _arguments.received("model", "a model whose optimizer has a learning rate", optimizer)
        )
    return found


def _num_steps(x: Any, batch_size: int | None, num_steps: Any, epochs: Any) -> int:
    """The number of steps of the test."""
    epoch = planning.count_batches(x, batch_size)
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
        rule = "at least 2, since one epoch has a single batch and the test needs two steps"
        raise ValueError(_arguments.received("epochs", rule, epochs))
    return given * epoch


def _check_validation_data(data: Any) -> None:
    """Raises if the validation data can be read only once, or have no end."""
    rule = "data that have an end and can be read more than once, or None"
    features = data[0] if isinstance(data, (tuple, list)) and data else data
    length = planning.cardinality(features)
    if (
        (isinstance(data, (tuple, list)) and not 1 <= len(data) <= 3)
        or hasattr(features, "__next__")
        or length == -1
        or (hasattr(features, "num_batches") and features.num_batches is None)
    ):
        raise ValueError(_arguments.received("validation_data", rule, data))


def _passes(x: Any, num_steps: int) -> dict[str, int]:
    """The arguments with which `fit` goes through the data often enough for all steps."""
    if hasattr(x, "__next__"):
        return {"epochs": 1}
    if planning.cardinality(x) == -1:
        return {"epochs": 1, "steps_per_epoch": num_steps}
    return {"epochs": num_steps}


def _can_be_shuffled(x: Any) -> bool:
    """Whether `fit` can shuffle the data. With ``shuffle=True`` and other data, `fit` warns."""
    if planning.count_samples(x) is not None:
        return True
    indexed = hasattr(x, "__getitem__") and planning.count_batches(x, None) is not None
    return indexed and planning.cardinality(x) is None


def _rates(min_lr: Any, max_lr: Any, num_steps: int, growth: Any) -> _Array:
    """Checks the bounds and the growth, and returns the rate of each step."""
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
    """Checks the argument `stop_factor`, which may be infinite."""
    if isinstance(value, float) and value == math.inf:
        return value
    rule = "a number above 1"
    return _arguments.number_in("stop_factor", value, rule, 1.0, math.inf, open_low=True)


def _verbosity(value: Any) -> int:
    """Checks the argument `verbose`, and returns it as a number."""
    if value not in ("auto", 0, 1, 2):
        raise ValueError(_arguments.received("verbose", "'auto', 0, 1 or 2", value))
    return 1 if value == "auto" else int(value)


def _metrics(model: Any) -> list[Any]:
    """The model's metrics. In Keras 3, one of them holds those that the model is compiled with."""
    return [inner for outer in model.metrics for inner in getattr(outer, "metrics", [outer])]


def _result(sweep: Sweep, watcher: Watcher, growth: str, objects: list[Any]) -> RangeTestResult:
    """Collects the result of a test that has ended."""
    metrics = sweep.columns()
    losses = metrics.pop("loss", np.empty(0))
    validation = {
        name: np.array([logs[name] for logs in watcher.validations])
        for name in next(iter(watcher.validations), ())
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
        accuracy_names=tuple(name for name in metrics if _is_accuracy(name, objects)),
    )


def _is_accuracy(name: str, metrics: list[Any]) -> bool:
    """Whether the entry of this name in the logs is an accuracy: by its class, or by its name.

    The class decides if it is one of Keras's own, except for those that average any function. In
    tf_keras, whose models do not list their metrics during the test, the name decides.
    """
    # A log has the name of its metric, often after the name of an output and an underscore.
    own = [m for m in metrics if name == m.name or name.endswith(f"_{m.name}")]
    if any(isinstance(metric, _ACCURACIES) for metric in own):
        return True
    averages = keras.metrics.Mean, keras.metrics.Sum, keras.metrics.MeanMetricWrapper
    of_keras = [vars(keras.metrics).get(type(m).__name__) is type(m) for m in own]
    decided = [known and type(m) not in averages for m, known in zip(own, of_keras, strict=True)]
    return not any(decided) and is_name_of_accuracy(name)
