"""What differs between the frameworks that Keras trains on, one module for each."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _keras

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep
    from clr_schedules.reference import Floats, Integers


def engine() -> Engine:
    """The one for the Keras that is running."""
    return importlib.import_module(f"{__name__}.{_keras.ENGINE}").Engine()  # type: ignore[no-any-return]


class Engine(abc.ABC):
    """How a sweep trains a model, and how variables and optimizers are read and written.

    The code here is for Keras 3.
    """

    # The type in which Keras counts steps.
    counter = "int32"

    @abc.abstractmethod
    def is_shared(self, model: Any) -> bool:
        """Whether other processes train the model together with this one."""

    @abc.abstractmethod
    def is_chief(self, model: Any) -> bool:
        """Whether this process is the one of them that writes files."""

    @abc.abstractmethod
    def train_function(self, model: Any, sweep: Sweep) -> Callable[..., Any]:
        """A function in the place of ``model.train_function``, called by `fit`.

        A call hands ``sweep.add`` the logs of up to ``sweep.chunk`` steps of the model's own
        ``train_step``, each with fresh metrics at the sweep's rate.
        """

    def lend_rate(self, optimizer: Any, sweep: Sweep) -> None:
        """Has the optimizer take its rate from the sweep.

        Like `lend_chunk`, it writes into the object's dictionary, for a `Snapshot` to undo.
        """
        vars(optimizer)["_learning_rate"] = lambda: sweep.rate

    def lend_chunk(self, model: Any, chunk: int, length: int | None) -> None:
        """Has `fit` count this many steps a call, in epochs of this length (None: unknown)."""
        vars(model)["steps_per_execution"] = chunk

    def steps_per_execution(self, model: Any) -> int:
        """The steps a call that the model was compiled with."""
        return int(model.steps_per_execution)

    def is_variable(self, thing: Any) -> bool:
        """Whether this is a variable, Keras's or the framework's."""
        return isinstance(thing, _keras.Variable)

    def unwrap(self, variable: Any) -> Any | None:
        """The framework's variable within one of Keras's; None if it has no value yet."""
        return getattr(variable, "_value", variable)

    @abc.abstractmethod
    def native_variables(self, model: Any) -> Iterable[Any]:
        """The framework's variables on a model that are not Keras's."""

    @abc.abstractmethod
    def read(self, variable: Any) -> Any:
        """A copy of an unwrapped variable's value, on the host."""

    def write(self, variable: Any, value: Any) -> None:
        variable.assign(value)

    def modules(self, model: Any) -> Iterable[Any]:
        """The parts of a model that have a training mode; only PyTorch's."""
        return ()

    def resume_training(self, model: Any) -> None:  # noqa: B027 - nothing to do, for most
        """Brings the model back to training mode."""

    def iteration(self, optimizer: Any) -> int:
        """The steps that an optimizer has taken: what it calls a schedule with."""
        # The public `iterations` is divided by the number of gradients that are accumulated.
        return int(_keras.to_numpy(optimizer._iterations))

    def rate_source(self, optimizer: Any) -> Any:
        """What gives the optimizer its rate: a function of the step, or the present rate."""
        source = optimizer._learning_rate
        if isinstance(source, _keras.LearningRateSchedule):
            return source
        return float(_keras.to_numpy(source() if callable(source) else source))

    def install_rate(self, optimizer: Any, schedule: Any) -> Callable[[], None]:
        """Has an optimizer with a constant rate follow a schedule; returns what undoes it."""
        rate, variables = optimizer._learning_rate, optimizer._variables
        # A variable, or a function, which is none of the optimizer's variables.
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
        model.make_train_function(force=True)

    def map_schedule(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Floats]:
        """Any schedule as a function of an array of steps, though it may know scalars only."""
        vectorized = self.vectorize(schedule)

        def function(steps: Integers) -> Floats:
            nonlocal vectorized
            if vectorized is not None:
                try:
                    return np.asarray(vectorized(steps), np.float64)
                except Exception:  # it looks at the step in Python, as a model run eagerly lets it
                    vectorized = None
            rates = [_keras.to_numpy(schedule(_keras.cast(step, self.counter))) for step in steps]
            return np.array(rates, np.float64)

        return function

    def vectorize(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any] | None:
        """The same, fast, for schedules that can be traced; None where there is no way."""
        return None

    def scalar_writer(self, log_dir: str) -> ScalarWriter:
        """A writer for TensorBoard, to a new file in this folder."""
        return ScalarWriter(log_dir)


class ScalarWriter:
    """Writes scalars by TensorBoard."""

    def __init__(self, log_dir: str) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise ImportError(
                "Where the backend is not TensorFlow, it takes TensorBoard to write for it. "
                'Install it with: pip install "clr-schedules[tensorboard]"'
            ) from error
        self._writer = Writer(log_dir)

    def write(self, name: str, steps: Integers, values: Floats) -> None:
        """Puts a scalar a step on the disk."""
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
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
