"""What a framework must offer to this package."""

from __future__ import annotations

import abc
import contextlib
import math
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Backend(abc.ABC):
    """One framework, and the Keras that runs on it.

    The code here is for Keras 3; a framework overrides what it does differently.

    Attributes:
        keras: The module of the running Keras: ``keras`` or ``tf_keras``.
        xp: The namespace of array operations that the formulas of the schedules are written in,
            for tensors of this framework. NumPy is such a namespace too. The operations are
            elementwise, keep 64-bit types, and are called as NumPy's:

            - ``float64(x)``: the tensor in float64,
            - ``minimum(x, y)``, ``maximum(x, y)`` with a tensor and a tensor or a Python number,
            - ``where(condition, x, y)`` with two float64 tensors or Python numbers,
            - ``sin(x)``,
            - ``take(array, indices)``: the entries of a NumPy array at a tensor of indices,
            - ``searchsorted(array, x, side="right")``: how many entries of a sorted NumPy array of
              int64 are not above x.

            The operators ``+ - * / // % ** < <= > >=`` of tensors do the rest.
        optimizer_classes: The classes that optimizers may have.
        variable_class: The class of Keras's variables.
        settable_hyperparameters: Whether optimizers read their hyperparameters from attributes at
            every step.
        float_hyperparameters: Whether these attributes must be Python floats, not tensors.
        fixed_hyperparameters: The names of attributes that must be Python floats here.
        loads_optimizers_of_keras_2: Whether Keras finds the optimizers in files of Keras 2.
    """

    xp: Any
    settable_hyperparameters = True
    float_hyperparameters = False
    fixed_hyperparameters: frozenset[str] = frozenset()
    loads_optimizers_of_keras_2 = False
    # The type in which Keras counts steps.
    _counter = "int32"

    def __init__(self) -> None:
        import keras

        self.keras: Any = keras
        self.optimizer_classes: tuple[Any, ...] = (keras.optimizers.Optimizer,)
        # Not `keras.Variable`: in Keras 3.6 that is a subclass of what layers make.
        self.variable_class: Any = keras.src.backend.Variable

    # ---- Numbers and tensors

    def wide_types(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which int64 and float64 tensors can be made and used.

        A Python number beside such a tensor takes its type and loses no digits.
        """
        return contextlib.nullcontext()

    def floatx(self) -> str:
        """The type of the rates: Keras's ``floatx()``, where the framework has it."""
        return str(self.keras.config.floatx())

    def cast(self, x: Any, dtype: str) -> Any:
        """A number, an array, a tensor or a variable as a tensor of this type."""
        return self.keras.ops.cast(self.tensor(x), dtype)

    def tensor(self, x: Any) -> Any:
        """A number, an array, a tensor or a variable as a tensor."""
        return self.keras.ops.convert_to_tensor(x)

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """The value of a number, a tensor or a variable, on the host."""
        return np.asarray(self.keras.ops.convert_to_numpy(x))

    def name_scope(self, name: str) -> contextlib.AbstractContextManager[Any]:
        """A name for operations in graphs and profiles; unusual characters are replaced."""
        valid = re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_") or "schedule"
        return self._name_scope(valid)

    def _name_scope(self, name: str) -> contextlib.AbstractContextManager[Any]:
        return self.keras.name_scope(name)  # type: ignore[no-any-return]

    # ---- Schedules that are not of this package

    def call_schedule(self, schedule: Callable[[Any], Any], step: Any) -> Any:
        """The rate of any Keras schedule in float64, called with a step of Keras's own type."""
        return self.cast(schedule(self.cast(step, self._counter)), "float64")

    def vectorize(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Floats]:
        """Any Keras schedule, though it may take scalars only, as a function of NumPy arrays."""
        mapped = self._map(schedule)

        def function(steps: Integers) -> Floats:
            nonlocal mapped
            if mapped is not None:
                try:
                    return np.asarray(mapped(steps), np.float64)
                # A schedule that looks at its step in Python cannot be traced. What it raises then
                # differs between frameworks; called with one number at a time, it works.
                except Exception:
                    mapped = None
            rates = [self.to_numpy(schedule(self.cast(step, self._counter))) for step in steps]
            return np.array(rates, np.float64)

        return function

    def _map(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any] | None:
        """The vectorized schedule, traced once; None if the framework cannot trace."""
        return None

    # ---- Optimizers

    def inner_optimizer(self, optimizer: Any) -> Any:
        """The optimizer that takes the steps, inside of any `LossScaleOptimizer`."""
        while (inner := getattr(optimizer, "inner_optimizer", None)) is not None:
            optimizer = inner
        return optimizer

    def iteration(self, optimizer: Any) -> int:
        """The number of steps that an optimizer hands to its schedule."""
        # The public `iterations` is divided by the number of gradients that are accumulated.
        return int(self.to_numpy(optimizer._iterations))

    def rate_source(self, optimizer: Any) -> Any:
        """What gives the optimizer its rate: a function of the step, or the present rate."""
        source = optimizer._learning_rate
        if isinstance(source, self.keras.optimizers.schedules.LearningRateSchedule):
            return source
        return float(self.to_numpy(source() if callable(source) else source))

    def install_rate(self, optimizer: Any, schedule: Any) -> Callable[[], None]:
        """Has an optimizer follow a schedule; returns what restores its constant rate."""
        rate, variables = optimizer._learning_rate, optimizer._variables
        # Empty if the rate is a function, which is not one of the optimizer's variables.
        places = [place for place, variable in enumerate(variables) if variable is rate]
        optimizer.learning_rate = schedule

        def restore() -> None:
            tracker = optimizer._tracker
            locked, tracker.locked = tracker.locked, False
            optimizer._learning_rate = rate
            tracker.locked = locked
            for place in places:  # files of optimizers are read by the order of the variables
                variables.insert(place, variables.pop())

        return restore

    def remake_train_function(self, model: Any) -> None:
        """Has the model compile its train step again."""
        model.make_train_function(force=True)

    # ---- Files

    def register_short_name(self, name: str, thing: Any) -> None:  # noqa: B027 - for tf_keras alone
        """Lets Keras find a class by its name alone, where its files have no more than that."""

    # ---- What a training changes, for the range test to put back

    def is_built(self, thing: Any) -> bool:
        """Whether a model or an optimizer has made its variables."""
        return bool(thing.built)

    def is_variable(self, thing: Any) -> bool:
        """Whether this is a variable, Keras's or the framework's."""
        return isinstance(thing, self.variable_class)

    def unwrap(self, variable: Any) -> Any | None:
        """The framework's variable within one of Keras's; None if it has no value yet."""
        return getattr(variable, "_value", variable)

    @abc.abstractmethod
    def native_variables(self, model: Any) -> Iterable[Any]:
        """The framework's own variables that a model holds, whether or not Keras knows of them."""

    @abc.abstractmethod
    def read(self, variable: Any) -> Any:
        """A copy, on the host, of the value of what `unwrap` returned."""

    def write(self, variable: Any, value: Any) -> None:
        """Gives what `unwrap` returned the value that `read` returned."""
        variable.assign(value)

    def modules(self, model: Any) -> Iterable[Any]:
        """The parts of a model that have a training mode. Only PyTorch's modules have one."""
        return ()

    def resume_training(self, model: Any) -> None:  # noqa: B027 - for PyTorch alone
        """Brings the model back to training mode after an evaluation."""

    def remember_globals(self) -> Callable[[], None]:
        """Remembers Keras's counters of names and its global seed; returns what puts them back.

        The generator of the global seed stays the same object, since layers may hold it.
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
        """Whether this process is the one of them that writes files."""

    @abc.abstractmethod
    def train_loop(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> TrainLoop:
        """What stands in the place of ``model.train_function`` during a range test.

        Args:
            model: The model. The loop takes the steps of its own ``train_step``.
            sweep: Tells how many steps to take and at which rates, and is given their logs.
            set_rate: What `take_over_rate` returned.
            building: Makes a context, for the loop to build the model in if it does so itself.
        """

    def take_over_rate(self, optimizer: Any) -> Callable[[Any], Any]:
        """Returns a function which sets the optimizer's rate for the step that runs, or is traced.

        This method and `set_steps_per_call` write into the dictionary of the object, past Keras's
        own bookkeeping. The range test puts that dictionary back.
        """
        vars(optimizer)["_learning_rate"] = rate = SettableRate()
        return rate.set

    def set_steps_per_call(self, model: Any, steps: int, length: int | None) -> None:
        """Has `fit` count this many steps a call, in epochs of this length (None: unknown)."""
        vars(model)["steps_per_execution"] = steps

    def steps_per_execution(self, model: Any) -> int:
        """The number of steps in one call of the train function that the model was compiled for."""
        return int(model.steps_per_execution)

    # ---- Logs

    def scalar_writer(self, log_dir: str) -> ScalarWriter:
        """A writer for TensorBoard, to a new file in this folder."""
        return ScalarWriter(log_dir)


class Sweep(Protocol):
    """What the train loop sees of a range test.

    Attributes:
        table: The rate of each step, in the type in which the optimizer takes its rate.
        steps_per_call: The most steps in one call of the train loop.
        paced: Whether a call should be cut short where the steps are slow.
        taken: The number of steps that are recorded.
    """

    table: NDArray[Any]
    steps_per_call: int
    paced: bool
    taken: int

    @property
    def remaining(self) -> int:
        """The number of steps still to take; 0 once the test has ended."""

    @property
    def last(self) -> dict[str, float]:
        """The logs of the last step that is recorded."""

    def upcoming(self) -> Iterator[Any]:
        """The rates of the steps of one call of the train loop."""

    def add(self, logs: Any) -> None:
        """Records the logs of some steps: for each name, an array with an entry for each step."""


class TrainLoop(abc.ABC):
    """Trains some steps of a range test when `fit` calls it."""

    @abc.abstractmethod
    def __call__(self, *arguments: Any) -> Any:
        """Takes up to ``sweep.steps_per_call`` steps, each at its own rate and with fresh metrics.

        The arguments and the returned value are those of Keras's own ``train_function`` on this
        framework; the logs are those of the last step. Raises a ``StopIteration`` where there are
        no data any more.
        """

    def flush(self) -> None:  # noqa: B027 - for PyTorch alone
        """Hands the sweep the logs of steps that were taken and are not recorded yet."""


class SettableRate:
    """A rate that is set anew for each step; called with a step or without, it gives that rate."""

    def __init__(self) -> None:
        self._rate: Any = 0.0

    def set(self, rate: Any) -> None:
        """Sets the rate, a number or a tensor."""
        self._rate = rate

    def __call__(self, step: Any = None) -> Any:
        """The rate that was set last."""
        return self._rate


def as_cube(array: Integers) -> Integers:
    """A sorted array, filled up with numbers that no step reaches, with three axes.

    XLA sums an axis of more than 32 entries in several kernels, one after the other. Three axes of
    up to 32 entries are summed in the kernel that compares them with a step.
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
        """Writes one scalar for each step to the disk."""
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def scalars(logs: Any, owner: Any) -> dict[str, Any]:
    """The scalar logs of a train step, the loss among them."""
    found = {
        name: value
        for name, value in (logs.items() if isinstance(logs, dict) else ())
        if isinstance(value, (int, float)) or tuple(getattr(value, "shape", (0,))) == ()
    }
    if "loss" not in found:
        received = logs
        if isinstance(logs, dict):
            received = f"loss={logs['loss']}" if "loss" in logs else sorted(logs)
        raise ValueError(
            "The range test reads the loss from the logs of each train step, so `train_step` of "
            f"{type(owner).__name__} must return a dict with a scalar at the key 'loss'. "
            f"Received: {received}"
        )
    return found
