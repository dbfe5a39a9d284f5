"""The interface of a framework: everything that this package needs from it."""

from __future__ import annotations

import abc
import contextlib
import math
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clr_schedules import _arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Function = TypeVar("_Function", bound="Callable[..., Any]")
# The name under which a train loop says, for each batch, whether all trainable weights are finite
# after it: 1 or 0.
FINITE_WEIGHTS = "(finite weights)"

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Backend(abc.ABC):
    """A framework, and the Keras that runs on it.

    The code in this class is for Keras 3. The subclass for a framework overrides the methods that
    need other code.

    Attributes:
        keras: The module of the running Keras: ``keras`` or ``tf_keras``.
        xp: The namespace of operations on tensors of this framework. The formulas of the schedules
            are written with these operations, and with NumPy as the namespace they serve arrays.
            The operations are elementwise, keep 64-bit types, and are called as in NumPy:

            - ``float64(x)``: the tensor in float64,
            - ``minimum(x, y)``, ``maximum(x, y)``: x is a tensor, y a tensor or a Python number,
            - ``where(condition, x, y)``: x and y are float64 tensors or Python numbers,
            - ``sin(x)``,
            - ``take(array, indices)``: the entries of a NumPy array at a tensor of indices,
            - ``searchsorted(array, x, side="right")``: the number of entries of a sorted NumPy
              array of int64 that are at most x.

            The formulas also use the operators ``+ - * / // % ** < <= > >=`` of tensors.
        optimizer_classes: The base classes of all optimizers.
        variable_class: The class of Keras's variables.
        part_classes: The base classes of the parts of a model, such as layers and metrics.
        settable_hyperparameters: True if optimizers read their hyperparameters from attributes at
            every step.
        float_hyperparameters: True if these attributes must be Python floats, not tensors.
        fixed_hyperparameters: The names of attributes that must be Python floats although other
            attributes may be tensors. They cannot follow a schedule.
        rate_is_in_files: True if files of an optimizer hold a constant rate among the variables.
        loads_optimizers_of_keras_2: True if Keras itself loads the optimizers in files of Keras 2.
    """

    xp: Any
    part_classes: tuple[Any, ...]
    settable_hyperparameters = True
    float_hyperparameters = False
    fixed_hyperparameters: frozenset[str] = frozenset()
    rate_is_in_files = True
    loads_optimizers_of_keras_2 = False
    # The type in which Keras counts steps.
    _counter = "int32"

    def __init__(self) -> None:
        import keras

        self.keras: Any = keras
        self.optimizer_classes: tuple[Any, ...] = (keras.optimizers.Optimizer,)
        # The class `keras.Variable` does not serve here: in Keras 3.6 it is a subclass of the class
        # that layers use.
        self.variable_class: Any = keras.src.backend.Variable
        self.part_classes = self._keras_parts()

    def _keras_parts(self) -> tuple[Any, ...]:
        """Keras's classes of the parts of a model."""
        keras = self.keras
        return (
            keras.layers.Layer,
            keras.losses.Loss,
            keras.metrics.Metric,
            *self.optimizer_classes,
        )

    # ---- Numbers and tensors

    def wide_types(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which int64 and float64 tensors can be made and used.

        In an operation with such a tensor, a Python number gets the type of the tensor, and loses
        no digits.
        """
        return contextlib.nullcontext()

    def floatx(self) -> str:
        """The type of the rates: Keras's ``floatx()``, or the nearest type that is available."""
        return str(self.keras.config.floatx())

    def cast(self, x: Any, dtype: str) -> Any:
        """Converts a number, an array, a tensor or a variable to a tensor of this type."""
        return self.keras.ops.cast(self.tensor(x), dtype)

    def tensor(self, x: Any) -> Any:
        """Converts a number, an array, a tensor or a variable to a tensor."""
        return self.keras.ops.convert_to_tensor(x)

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """Converts a number, a tensor or a variable to a NumPy array, on the host."""
        return np.asarray(self.keras.ops.convert_to_numpy(x))

    def name_scope(self, name: str) -> contextlib.AbstractContextManager[Any]:
        """A context that names the operations in graphs and profiles.

        Characters that a framework may refuse are replaced.
        """
        valid = re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_") or "schedule"
        return self._name_scope(valid)

    def _name_scope(self, name: str) -> contextlib.AbstractContextManager[Any]:
        return self.keras.name_scope(name)  # type: ignore[no-any-return]

    @abc.abstractmethod
    def call_without_value(self, function: Callable[[Any], Any]) -> None:
        """Calls a function with a float64 scalar whose value Python cannot read.

        So a compiled train step would call it. No device is initialized, unless the function does
        so itself: a program may configure its devices after it has made its schedules.
        """

    # ---- Schedules from other packages

    def call_schedule(self, schedule: Callable[[Any], Any], step: Any) -> Any:
        """Calls any Keras schedule with a step of Keras's own type; returns the rate in float64."""
        return self.cast(schedule(self.cast(step, self._counter)), "float64")

    def vectorize(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Floats]:
        """Makes a function of NumPy arrays from any Keras schedule, which may take only scalars."""
        mapped = self._map(schedule)

        def function(steps: Integers) -> Floats:
            nonlocal mapped
            if mapped is not None:
                try:
                    return np.asarray(mapped(steps), np.float64)
                # A schedule that uses the value of its step in Python cannot be traced. The type
                # of the error differs between frameworks. Such a schedule is called with one
                # number at a time instead.
                except Exception:
                    mapped = None
            rates = [self.to_numpy(schedule(self.cast(step, self._counter))) for step in steps]
            return np.array(rates, np.float64)

        return function

    def _map(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any] | None:
        """Makes such a function by tracing the schedule; None if the framework has no tracing."""
        return None

    # ---- Optimizers

    def inner_optimizer(self, optimizer: Any) -> Any:
        """The optimizer that takes the steps, without the ``LossScaleOptimizer`` around it."""
        while (inner := getattr(optimizer, "inner_optimizer", None)) is not None:
            optimizer = inner
        return optimizer

    def iteration(self, optimizer: Any) -> int:
        """The number of steps that the optimizer passes to its schedule."""
        # The public `iterations` is divided by the number of gradients that are accumulated, so the
        # private counter is needed.
        return int(self.to_numpy(optimizer._iterations))

    def rate_source(self, optimizer: Any) -> Any:
        """The source of the rate that the optimizer is given: a schedule, or the present rate."""
        source = optimizer._learning_rate
        if isinstance(source, self.keras.optimizers.schedules.LearningRateSchedule):
            return source
        # A variable of Keras on JAX may be callable itself (with `KERAS_NNX_ENABLED=1`).
        if callable(source) and not self.is_variable(source):
            source = source()
        return float(self.to_numpy(source))

    def rate_decay(self, optimizer: Any) -> float:
        """The ``decay`` by which an optimizer divides its rate: by 1 + decay * iteration."""
        return 0.0

    def install_rate(self, optimizer: Any, schedule: Any) -> Callable[[], None]:
        """Replaces the constant rate of an optimizer by a schedule.

        Returns:
            A function that puts the constant rate back.
        """
        # Written into the dictionary, because Keras's setter would take the variable of the rate
        # out of the list of variables. TensorFlow cannot save an object with a list that was
        # changed in this way.
        rate = vars(optimizer)["_learning_rate"]
        vars(optimizer)["_learning_rate"] = schedule
        return lambda: vars(optimizer).update(_learning_rate=rate)

    def not_compiled_with_numbers(self, function: _Function) -> _Function:
        """Keeps a function out of the compiled train step, if it takes Python numbers that change.

        Only if ``float_hyperparameters``, since elsewhere these are tensors.
        """
        return function

    def remake_train_function(self, model: Any) -> None:
        """Makes the model compile its train step again."""
        model.make_train_function(force=True)

    @abc.abstractmethod
    def step_keeps_rate(self, model: Any, former: Any) -> bool:
        """Whether the train step keeps this source of the rate if the optimizer gets another one.

        Args:
            model: A model that was trained.
            former: The source of the rate when the train step was compiled: a schedule, or a
                number that stands for a variable.
        """

    # ---- Models

    @property
    def tree(self) -> Any:
        """The module that maps and flattens nested lists and dictionaries."""
        return self.keras.tree

    def rename(self, layer: Any, name: str) -> None:
        """Gives a layer or a model another name."""
        layer.name = name

    # ---- Files

    def register_short_name(self, name: str, thing: Any) -> None:  # noqa: B027 - for tf_keras alone
        """Lets Keras find a class by its name alone, if files name classes without a package."""

    # ---- The state that a training changes and the range test puts back

    def is_built(self, thing: Any) -> bool:
        """Whether a model or an optimizer has made its variables."""
        return bool(thing.built)

    def is_part(self, thing: Any) -> bool:
        """Whether an object is a part of a model, or one of Keras's own objects within the parts.

        A training may change the attributes of such an object, and the range test puts them back.
        """
        if isinstance(thing, self.part_classes):
            return True
        # Keras's objects for the data are no parts: their state is the state of the user's data.
        module = type(thing).__module__
        is_data = re.search(r"\.(trainers|data_adapter)\b", module)
        return module.startswith(f"{self.keras.__name__}.") and not is_data

    def is_variable(self, thing: Any) -> bool:
        """Whether this is a variable of Keras or of the framework.

        Other objects of the framework that hold changeable values count as variables too.
        """
        return isinstance(thing, self.variable_class)

    def unwrap(self, variable: Any) -> Any | None:
        """The framework's variable within a Keras variable; None if there is no value yet."""
        return getattr(variable, "_value", variable)

    def frozen_weights(self, layer: Any) -> list[Any]:
        """A layer's own weights that could be trained, but are frozen now.

        An empty list if the range test cannot do without a copy of them.
        """
        return [each for each in layer._trainable_variables if not each.trainable]

    @abc.abstractmethod
    def read(self, variable: Any) -> Any:
        """A copy, on the host, of the value of a variable that `unwrap` returned."""

    def write(self, variable: Any, value: Any) -> None:
        """Gives a variable that `unwrap` returned a value that `read` returned."""
        variable.assign(value)

    def modules(self, model: Any) -> Iterable[Any]:
        """The parts of a model that have a training mode. Only PyTorch's modules have one."""
        return ()

    def resume_training(self, model: Any) -> None:  # noqa: B027 - for PyTorch alone
        """Brings the model back to training mode after an evaluation."""

    def remember_globals(self) -> Callable[[], None]:
        """Remembers Keras's counters of names and its global seed.

        The generator of the global seed stays the same object, since layers may hold it.

        Returns:
            A function that puts both back.
        """
        from keras.src.backend.common import global_state

        attributes = vars(global_state.GLOBAL_STATE_TRACKER)
        counters = attributes.get("object_name_uids")
        names = dict(counters or {})
        generator = attributes.get("global_seed_generator")
        seed = None if generator is None else self.to_numpy(generator.state).copy()

        def restore() -> None:
            attributes["global_seed_generator"] = generator
            if generator is not None:
                generator.state.assign(seed)
            if counters is None:
                attributes.pop("object_name_uids", None)
            else:
                attributes["object_name_uids"] = counters
                counters.clear()
                counters.update(names)

        return restore

    # ---- The train loop of the range test

    @abc.abstractmethod
    def is_shared(self, model: Any) -> bool:
        """Whether other processes train the model together with this one."""

    @abc.abstractmethod
    def is_chief(self, model: Any) -> bool:
        """Whether this process writes the files, if several processes train the model."""

    @abc.abstractmethod
    def train_loop(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> TrainLoop:
        """Makes the loop that replaces ``model.train_function`` during a range test.

        Args:
            model: The model. The loop calls the model's own ``train_step``.
            sweep: Tells the loop how many steps to take and at which rates, and gets their logs.
            set_rate: The function that `take_over_rate` returned.
            building: Makes the context in which the loop must build the model, if the loop itself
                builds it.
        """

    def take_over_rate(self, optimizer: Any) -> Callable[[Any], Any]:
        """Returns a function that sets the optimizer's rate for the present step, or its trace.

        This method and `set_steps_per_call` write directly into the dictionary of the object,
        without Keras's own bookkeeping. The range test puts the old entries back.
        """
        vars(optimizer)["_learning_rate"] = rate = SettableRate()
        return rate.set

    def batches_per_step(self, optimizer: Any) -> int:
        """The number of batches whose gradients the optimizer accumulates for an update."""
        return getattr(optimizer, "gradient_accumulation_steps", None) or 1

    def begin_accumulation(self, optimizer: Any) -> None:
        """Makes the next batch the first of an update, if the optimizer accumulates gradients.

        The gradients that were accumulated so far are dropped.
        """
        batches = self.batches_per_step(optimizer)
        if batches > 1 and self.is_built(optimizer):
            counter = optimizer._iterations
            counter.assign(counter - counter % batches)
            for gradient in optimizer._accumulated_gradients:
                gradient.assign(np.zeros(gradient.shape))

    def endless(self, model: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Repeats the data without end, if the running Keras can go through them so.

        Args:
            model: The model.
            data: The arguments of `fit` that hold the data, and ``shuffle``.

        Returns:
            The arguments. ``x`` is a `tf.data.Dataset` if the data are repeated.
        """
        x = data["x"]
        if hasattr(x, "cardinality") and hasattr(x, "repeat"):  # a `tf.data.Dataset`
            return data | {"x": x.repeat()}
        return data

    @contextlib.contextmanager
    def without_limits(self) -> Iterator[None]:
        """A context without the limits of `keras.config.set_max_epochs` and its like."""
        config = getattr(self.keras, "config", None)  # tf_keras has none
        names = ("max_epochs", "max_steps_per_epoch")  # newer than Keras 3.6
        limits = {n: getattr(config, n)() for n in names if hasattr(config, n)}
        try:
            for name in limits:
                getattr(config, f"set_{name}")(None)
            yield
        finally:
            for name, limit in limits.items():
                getattr(config, f"set_{name}")(limit)

    def set_steps_per_call(self, model: Any, steps: int, length: int | None) -> None:
        """Tells `fit` how many steps a call of the train function takes.

        Args:
            model: The model.
            steps: The number of steps in a call.
            length: The number of steps in an epoch; None if it is unknown.
        """
        vars(model)["steps_per_execution"] = steps

    def steps_per_execution(self, model: Any) -> int:
        """The number of steps in a call of the train function, as the model was compiled."""
        return int(model.steps_per_execution)

    # ---- Logs

    def scalar_writer(self, log_dir: str) -> ScalarWriter:
        """Makes a writer of TensorBoard's scalars, to a new file in this folder."""
        return ScalarWriter(log_dir)


class Sweep(Protocol):
    """The part of a range test that the train loop uses.

    Attributes:
        table: The rate of each batch, in the type in which the optimizer takes its rate.
        steps_per_call: The largest number of batches in one call of the train loop.
        paced: Whether a call should take fewer batches if they are slow.
        taken: The number of batches that are recorded.
    """

    table: NDArray[Any]
    steps_per_call: int
    paced: bool
    taken: int

    @property
    def remaining(self) -> int:
        """The number of batches that are still to be taken; 0 after the end of the test."""

    @property
    def last(self) -> dict[str, float]:
        """The logs of the last recorded step."""

    def upcoming(self) -> Iterator[Any]:
        """Yields the rates of the batches that the next call of the train loop takes."""

    def add(self, logs: Any) -> None:
        """Records the logs of some batches: for each name, an array with an entry for each.

        The logs have an entry `FINITE_WEIGHTS`.
        """


class TrainLoop(abc.ABC):
    """Trains on some batches of a range test when `fit` calls it."""

    @abc.abstractmethod
    def __call__(self, *arguments: Any) -> Any:
        """Takes up to ``sweep.steps_per_call`` batches, each at its rate and with fresh metrics.

        The arguments and the returned value are the same as for Keras's own ``train_function`` on
        this framework. The returned logs are those of the last step. If the data have ended, a
        ``StopIteration`` may be raised, as by Keras's own function.
        """

    def flush(self) -> None:  # noqa: B027 - for PyTorch alone
        """Gives the sweep the logs of the batches that were taken but are not recorded yet."""


class SettableRate:
    """A rate that is set anew for each step. Calling the object, with any step, gives the rate."""

    def __init__(self) -> None:
        self._rate: Any = 0.0

    def set(self, rate: Any) -> None:
        """Sets the rate, a number or a tensor."""
        self._rate = rate

    def __call__(self, step: Any = None) -> Any:
        """The rate that was set last."""
        return self._rate


def as_cube(array: Integers) -> Integers:
    """Reshapes a sorted array to three axes, and fills it up with numbers that no step reaches.

    XLA sums an axis of more than 32 entries in several kernels, one after another. If there are
    three axes of up to 32 entries, a single kernel compares the entries with a step and sums the
    results.
    """
    side = math.ceil(len(array) ** (1 / 3))
    filled = np.full(side**3, np.iinfo(np.int64).max)
    filled[: len(array)] = array
    return filled.reshape(side, side, side)


class ScalarWriter:
    """Writes scalars with TensorBoard."""

    def __init__(self, log_dir: str) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise ImportError(
                "`log_dir` needs TensorBoard when Keras does not run on TensorFlow. "
                'Install it with: pip install "clr-schedules[tensorboard]"'
            ) from error
        self._writer = Writer(log_dir)

    def write(self, name: str, steps: Integers, values: Floats) -> None:
        """Writes the values of the scalar ``name`` at these steps to the disk."""
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def scalars(logs: Any, owner: Any) -> dict[str, Any]:
    """Picks the scalar logs of a train step. Raises a ``ValueError`` if they lack the loss."""
    found = {
        name: value
        for name, value in (logs.items() if isinstance(logs, dict) else ())
        if isinstance(value, (int, float)) or tuple(getattr(value, "shape", (0,))) == ()
    }
    if "loss" not in found:
        if isinstance(logs, dict) and "loss" in logs:
            received = f"loss={_arguments.shown(logs['loss'])}"
        else:
            received = _arguments.shown(list(logs) if isinstance(logs, dict) else logs)
        raise ValueError(
            "The range test reads the loss from the logs of each train step, so `train_step` of "
            f"{type(owner).__name__} must return a dict with a scalar at the key 'loss'. "
            f"Received: {received}"
        )
    return found
