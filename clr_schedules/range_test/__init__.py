"""The learning-rate range test: it reads the bounds of the rate off a curve of losses."""

from __future__ import annotations

import contextlib
import math
import numbers
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_schedules import _arguments, planning
from clr_schedules._backend import backend, keras
from clr_schedules.optimizers.rates_taken import check_sweep, the_optimizer
from clr_schedules.range_test import suggestions
from clr_schedules.range_test.interrupts import Interrupts
from clr_schedules.range_test.result import RangeTestResult as RangeTestResult
from clr_schedules.range_test.result import Suggestion as Suggestion
from clr_schedules.range_test.result import is_name_of_accuracy
from clr_schedules.range_test.rewind import Snapshot
from clr_schedules.range_test.sweep import Sweep, Watcher

_Array = NDArray[np.float64]

# Without `num_steps` and `epochs`, the test takes one epoch, within these limits. If the length of
# an epoch is unknown, it takes the fewest steps.
_FEWEST_STEPS, _MOST_STEPS = 200, 1000
# The default smoothing of a test of `n` steps is 1 minus this number divided by `n`.
_STEPS_OF_SMOOTHING = 20
# The number of batches in one call of the train loop, if the user gives no `steps_per_execution`.
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
    class_weight: Mapping[int, float] | None = None,
    validation_data: Any = None,
    stop_factor: float | None = 4.0,
    smoothing: float | None = None,
    steps_per_execution: int | None = None,
    verbose: Any = "auto",
) -> RangeTestResult:
    """Trains the model at a rising learning rate, records the losses, and restores the model.

    The rate of step ``i`` of ``n`` (from 0) is ::

        min_lr * (max_lr / min_lr) ** (i / (n - 1))       growth="exponential"
        min_lr + (max_lr - min_lr) * (i / (n - 1))        growth="linear", as in the paper

    The test takes the same steps as `fit`: it runs the model's own `train_step`, compiled in the
    way in which the model was compiled. The loss and the metrics of a step are those of its batch
    alone, without those of the batches before. Arrays are shuffled anew for each pass through them.

    A step is one update of the weights. If the optimizer accumulates the gradients of ``k`` batches
    (``gradient_accumulation_steps=k``), then a step takes ``k`` batches at one rate, and its loss
    and metrics are the means of theirs. An epoch of ``n`` batches has ``n // k`` steps.

    The test ends early if the loss or a trainable weight is not finite after a step, or if the
    smoothed loss exceeds its best by the factor ``stop_factor``. Noise does not end the test: the
    first nine steps do not, nor does a rise of less than five standard errors of the smoothed
    loss, nor a rise that is not seen in each of the last five losses.

    With `scale_learning_rates`, each layer takes its multiple of the rate. A multiplier that
    follows a schedule goes on from the present step, so a layer that is frozen now stays frozen.

    **Afterwards the model is bit for bit what it was**: weights, optimizer, metrics, seed
    generators, the random state of Python, NumPy, Keras and the framework, Keras's counters of
    names, the compiled functions and the history. The attributes of layers, metrics, losses and
    optimizers are restored too, with the lists, dictionaries, sets, NumPy arrays and random
    generators in them. The same holds after an error, after a loss that is not finite, and after
    Ctrl-C. If the model was not built before the test, it is built afterwards, and has its initial
    weights. If the optimizer was not built before the test, it is not built afterwards either.

    The test cannot restore the position of a generator or an iterator, the state with which a
    `tf.data.Dataset` or a `PyDataset` shuffles, or files. Nor does it restore the changes that
    your own code makes to global variables of Python, or to the attributes of objects that are not
    parts of the model.

    During the test, the main memory holds a copy of all variables that a training can change,
    those of the optimizer included. Frozen weights, such as those under LoRA, are copied only if
    the model has classes or functions that are neither Keras's nor KerasHub's own, since such code
    can change them.

    Args:
        model: A compiled Keras model.
        x: The training data, as for `fit`: an array, a dictionary or a list of arrays, a
            `tf.data.Dataset`, a `PyDataset`, a `DataLoader` or a generator.
        y: The targets, if ``x`` does not contain them.
        min_lr: The rate of the first step. Above 0. Default: 1e-7.
        max_lr: The rate of the last step. Above ``min_lr``. Default: 10.
        num_steps: The number of train steps, at least 2. Data with fewer batches are repeated; a
            generator cannot be repeated, and the test ends with it. Default: one epoch, but at
            least 200 and at most 1,000 steps; 200 steps for data of unknown length.
        epochs: The length of the test in epochs, for data of known length. It can be given instead
            of ``num_steps``.
        growth: ``"exponential"`` (default) or ``"linear"``.
        batch_size: The number of samples in one batch, if the data are arrays. Other data come in
            batches already. Default: 32.
        sample_weight: The weights of the samples, as for `fit`.
        class_weight: A dictionary with the weights of the classes, as for `fit`: from the number of
            the class to its weight in the loss. Classes that are left out have weight 1 in Keras 3.
        validation_data: The validation data, as for `fit`. The test evaluates the model on them at
            30 rates. The data must have an end, and must be readable more than once.
        stop_factor: The test ends when the smoothed loss exceeds the best smoothed loss by this
            factor. Above 1. With None or infinity, only a loss or weights that are not finite end
            the test early. Default: 4.
        smoothing: The weight of the past losses in the smoothed loss, which is an exponential
            moving average with a corrected start. From 0 (no smoothing) to below 1. Default:
            ``1 - 20 / n`` for a test of ``n`` steps (0.9 for 200 steps, 0.98 for 1,000), so that
            the average is over a tenth of the rates; 0 for fewer than 20 steps.
        steps_per_execution: The number of batches in one call of the compiled graph. Default: 20,
            or the number that the model was compiled with if that is larger; on TensorFlow, fewer
            if the batches are slow; with validation data, 1.
        verbose: 0 shows nothing, 1 (or ``"auto"``) a progress bar, 2 one line at the end.

    Returns:
        The curve. ``suggest()`` reads the bounds off it, and ``plot()`` draws it.

    Raises:
        TypeError, ValueError: If an argument is of a wrong kind or out of range; if the model is
            not compiled, or has no optimizer or several optimizers; if the optimizer has no
            learning rate that can be set, or would not take the rates of the test (Keras's
            ``Adafactor`` above its cap, a warm-up, a ``decay``), or rescales the weights with the
            rate (``Ftrl``); if the model's `train_step` returns no loss, or uses another optimizer;
            if the data are empty; if ``epochs`` is given and the length of the data is unknown; if
            several processes train the model together (then all of them raise the error). Errors
            that the model or the data raise are not caught.

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
    _check_data(model, x, y)
    batch_size = None if batch_size is None else _arguments.count("batch_size", batch_size)
    batches_per_step = backend.batches_per_step(optimizers[-1])
    num_steps = _num_steps(x, batch_size, batches_per_step, num_steps, epochs)
    rates = _rates(min_lr, max_lr, num_steps, growth)
    check_sweep(optimizers[-1], rates)
    if steps_per_execution is not None:
        steps_per_execution = _arguments.count("steps_per_execution", steps_per_execution)
    if backend.is_shared(model):
        raise ValueError(
            "The range test cannot run on a model that several processes train together. Run the "
            "test in a single process, with batches as large as those of all processes together, "
            f"and use its bounds in all processes. Received: model={_arguments.shown(model.name)}"
        )
    compiled = backend.steps_per_execution(model)
    sweep = Sweep(
        rates,
        backend.floatx(),
        stop_factor=_stop_factor(stop_factor),
        smoothing=_smoothing(smoothing, num_steps),
        # A call with many batches saves time. With validation data, a call takes one batch, so that
        # a validation can follow any step.
        steps_per_call=steps_per_execution
        or (max(_STEPS_PER_CALL, compiled) if validation_data is None else 1),
        paced=steps_per_execution is None,
        batches_per_step=batches_per_step,
    )
    verbosity = _verbosity(verbose)
    _check_validation_data(validation_data)
    _check_class_weight(class_weight)
    data = {
        "x": x,
        "y": y,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
        "batch_size": batch_size,
    }
    with _ONE_AT_A_TIME, Interrupts() as interrupts:
        snapshot = Snapshot(model, optimizers)
        try:
            snapshot.prepare()
            backend.begin_accumulation(optimizers[-1])
            set_rate = backend.take_over_rate(optimizers[-1])
            arguments = _passes(model, data, sweep.remaining)
            backend.set_steps_per_call(
                model,
                sweep.steps_per_call,
                arguments.get("steps_per_epoch") or planning.count_batches(x, batch_size),
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
            count = backend.iteration(optimizers[-1])
            with (
                interrupts.let_through(),
                contextlib.closing(watcher),
                backend.without_limits(),
                _silent_about_the_end_of_data(),
            ):
                model.fit(**arguments, verbose=0, callbacks=[watcher])
                loop.flush()
            _check_that_it_stepped(model, optimizers[-1], count, sweep)
            metrics = _metrics(model)
        finally:
            snapshot.restore()
    if not sweep.steps:
        raise ValueError(
            "No train step was taken. Either the data are empty, or the model overrides `fit` or "
            "`make_train_function` with a method that does not call `model.train_function`. "
            f"Received: model={_arguments.shown(model)}, x={type(x).__name__}"
        )
    sweep.end(f"stopped: the data ended after {sweep.steps} of {num_steps} steps")
    return _result(sweep, watcher, growth, metrics)


def _optimizers(model: Any) -> list[Any]:
    """The model's optimizer and the optimizers that it wraps. The last of them has the rate."""
    if not isinstance(model, keras.Model):
        raise TypeError(_arguments.received("model", "a Keras model", model))
    found = the_optimizer(model, "The range test")
    if not {"_learning_rate", "_hyper"} & vars(found[-1]).keys():
        raise ValueError(
            _arguments.received(
                "model", "a model whose optimizer has a learning rate", type(found[-1]).__name__
            )
        )
    return found


def _check_that_it_stepped(model: Any, optimizer: Any, count: int, sweep: Sweep) -> None:
    """Raises if the optimizer has taken no step, although there were losses."""
    diverged = str(sweep.stop_reason).startswith("diverged")
    if sweep.taken and not diverged and backend.iteration(optimizer) == count:
        raise ValueError(
            "The optimizer of the model has taken no step in the range test, so the rates were "
            "never used. If `train_step` uses another optimizer, compile the model with that one, "
            "and use `self.optimizer` in `train_step`. A `LossScaleOptimizer` skips the steps at "
            "which a gradient is not finite; give it a lower `initial_scale`. "
            f"Received: model={_arguments.shown(model.name)}, whose optimizer is "
            f"{type(optimizer).__name__}"
        )


def _check_data(model: Any, x: Any, y: Any) -> None:
    """Raises if there are no data, or no targets for a loss that needs them."""
    if x is None:
        raise ValueError(_arguments.received("x", "the training data, as for `fit`", x))
    own = any(
        getattr(type(model), name, None) is not getattr(keras.Model, name, None)
        for name in ("fit", "train_step", "compute_loss")
    )
    if (
        y is None
        and planning.count_samples(x) is not None
        and not own
        and getattr(model, "loss", None)
    ):
        raise ValueError(
            "Argument `y` must be the targets, since `x` is arrays and the model is compiled with "
            "a loss. Received: y=None"
        )


def _num_steps(
    x: Any, batch_size: int | None, batches_per_step: int, num_steps: Any, epochs: Any
) -> int:
    """The number of steps of the test."""
    batches = planning.count_batches(x, batch_size)
    if batches == 0:
        raise ValueError(_arguments.received("x", "data with at least one batch", x))
    if num_steps is not None:
        if epochs is not None:
            raise ValueError(
                "Only one of `num_steps` and `epochs` can be given. "
                f"Received: num_steps={_arguments.shown(num_steps)}, "
                f"epochs={_arguments.shown(epochs)}"
            )
        steps = _arguments.count("num_steps", num_steps)
        if steps < 2:
            raise ValueError(_arguments.received("num_steps", "at least 2", num_steps))
        return steps
    if epochs is None:
        return min(max((batches or 0) // batches_per_step, _FEWEST_STEPS), _MOST_STEPS)
    given = _arguments.count("epochs", epochs)
    if batches is None:
        raise ValueError(
            "Argument `epochs` cannot be given for data of unknown length. Give `num_steps` "
            f"instead. Received: epochs={given}, x={type(x).__name__}"
        )
    steps = given * batches // batches_per_step
    if steps < 2:
        fewest = -(-2 * batches_per_step // batches)
        rule = (
            f"at least {fewest}, since the test needs two steps, a step takes {batches_per_step} "
            f"of the batches, and an epoch has {batches}"
        )
        raise ValueError(_arguments.received("epochs", rule, epochs))
    return steps


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


def _check_class_weight(value: Any) -> None:
    """Checks the argument `class_weight`, since Keras ignores keys that are no class."""
    rule = "a dictionary from the number of a class, from 0, to a weight of at least 0, or None"
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise TypeError(_arguments.received("class_weight", rule, value))
    for key, weight in value.items():
        if isinstance(key, bool) or not isinstance(key, numbers.Integral) or key < 0:
            raise ValueError(_arguments.received("class_weight", rule, value))
        _arguments.number_in("class_weight", weight, rule, 0.0, math.inf)


def _passes(model: Any, data: dict[str, Any], batches: int) -> dict[str, Any]:
    """The arguments with which `fit` goes through the data often enough for all batches."""
    x = data["x"]
    if hasattr(x, "__next__"):
        return data | {"epochs": 1, "shuffle": False}
    data = backend.endless(model, data | {"shuffle": _can_be_shuffled(x)})
    # One pass through endless data needs no number of batches for each epoch. That number may be
    # unknown, and may differ from epoch to epoch.
    if planning.cardinality(data["x"]) == -1:
        return data | {"epochs": 1, "steps_per_epoch": batches}
    return data | {"epochs": batches}


def _can_be_shuffled(x: Any) -> bool:
    """Whether `fit` can shuffle the data. With ``shuffle=True`` and other data, `fit` warns."""
    if planning.count_samples(x) is not None:
        return True
    indexed = hasattr(x, "__getitem__") and planning.count_batches(x, None) is not None
    return indexed and planning.cardinality(x) is None


@contextlib.contextmanager
def _silent_about_the_end_of_data() -> Iterator[None]:
    """A context in which Keras does not warn at the end of data whose length it did not know.

    The test begins the next pass then, or says in its result that the data ended.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")
        yield


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
    """Checks the argument `stop_factor`. None and infinity mean that no rise ends the test."""
    if value is None or (isinstance(value, (float, np.floating)) and value == math.inf):
        return math.inf
    rule = "a number above 1, or None (or infinity) if no rise of the loss may end the test"
    return _arguments.number_in("stop_factor", value, rule, 1.0, math.inf, open_low=True)


def _smoothing(value: Any, num_steps: int) -> float:
    """Checks the argument `smoothing`, or computes its default for this number of steps."""
    if value is None:
        return max(0.0, 1 - _STEPS_OF_SMOOTHING / num_steps)
    rule = "a number of at least 0 and below 1, or None"
    return _arguments.number_in("smoothing", value, rule, 0.0, 1 - 2.0**-53)


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
        learning_rates=sweep.rates[: sweep.steps].copy(),
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
