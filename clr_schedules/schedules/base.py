"""What every schedule of this package is: a frozen record of numbers that maps a step to a rate.

To add a schedule, write a ``@_keras.register``, ``@dataclass(frozen=True, repr=False, eq=False)``
with its arguments as fields, ``_check`` for what makes them valid, ``_rate`` with the formula on
tensors and ``_reference`` with the same in NumPy. Config, equality, repr, immutability, ``values``
and ``plot`` follow from the fields.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from clr_schedules import _keras, numerics, reference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class Schedule(_keras.LearningRateSchedule):
    """A learning rate as a pure function of the step."""

    name: str | None
    _quantity: ClassVar[str] = "learning rate"
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __post_init__(self) -> None:
        """Replaces every argument by its plain Python value."""
        for field, value in self._check().items():
            object.__setattr__(self, field, value)

    def _check(self) -> dict[str, Any]:
        """The fields as plain Python values; raises for what is not valid."""
        raise NotImplementedError

    def _rate(self, step: Any) -> Any:
        """The rates of an int64 tensor of steps, in float64."""
        raise NotImplementedError

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        """The rates of an int64 array of steps, in NumPy."""
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, inside or outside a compiled train step.

        Args:
            step: the number of steps taken so far, from 0, below 2^62: an integer or an array or
                tensor of such, of any shape; floats are taken as the integers that they are.

        Returns:
            A tensor of the shape of ``step`` and the dtype ``floatx()``.

        Example:
            >>> import keras
            >>> import clr_schedules as clr
            >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> keras.ops.convert_to_numpy(lr([0, 1000, 2000]))
            array([0.001 , 0.0035, 0.006 ], dtype=float32)
        """
        if isinstance(step, (np.ndarray, np.generic)) or not hasattr(step, "dtype"):
            # Not yet a tensor, and not to become a 32-bit one on the way.
            step = reference.as_iterations(step, "step")
        dtype = _keras.floatx()
        with _keras.name_scope(self.name or type(self).__name__), _keras.wide_types():
            return _keras.cast(self._rate(numerics.integer(step)), dtype)

    def values(self, steps: npt.ArrayLike) -> reference.Floats:
        """The learning rates of these steps, computed on the host in NumPy.

        Args:
            steps: an integer from 0, below 2^62, or an array of such, of any shape.

        Returns:
            A float64 array of the same shape, right to the last few units of float64. What a call
            returns in float32 is its rounding.

        Raises:
            TypeError: if a step is no number.
            ValueError: if a step is negative, not whole, or 2^62 or above.

        Example:
            >>> import clr_schedules as clr
            >>> clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000).values(2**62 - 2)
            array(0.001245)
        """
        iterations = reference.as_iterations(steps, "steps")
        # NumPy's powers of a single number and of an array differ in the last place.
        return self._reference(iterations.reshape(-1)).reshape(iterations.shape)

    def plot(self, num_steps: int, ax: Axes | None = None) -> Axes:
        """Draws the learning rate against the iteration, between its bounds.

        Args:
            num_steps: the number of iterations to draw, from 0.
            ax: the Matplotlib axes to draw on; default: those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: if Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
            TypeError, ValueError: if ``num_steps`` is not a whole number of at least 1.

        Example:
            >>> import clr_schedules as clr
            >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> lr.plot(num_steps=8000).get_xlabel()
            'iteration'
        """
        from clr_schedules import plotting

        return plotting.plot_schedule(self, num_steps, ax=ax)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them.

        Example:
            >>> import clr_schedules as clr
            >>> clr.OneCycle(max_lr=0.1, total_steps=4000).get_config()["div_factor"]
            25.0
        """
        return self._fields()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config.

        Args:
            config: what ``get_config`` returned.

        Raises:
            ValueError: if the config has a key that this schedule has no argument for.

        Example:
            >>> import clr_schedules as clr
            >>> clr.Triangular.from_config({"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000})
            Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
        """
        arguments = inspect.signature(cls).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
        if (unknown := sorted(set(config) - set(arguments), key=repr)) and not takes_any:
            raise ValueError(
                f"The config of `{cls.__name__}` must have no keys but its arguments "
                f"({', '.join(arguments)}). Received: {', '.join(map(repr, unknown))} in "
                f"config={config}"
            )
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        """Schedules of one class are equal when their configs are."""
        if self is other:  # as TensorFlow asks in every call of a function
            return True
        if not isinstance(other, Schedule) or type(self) is not type(other):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        # A function or a schedule of Keras may be equal to others in its config alone.
        values = self._fields().values()
        return hash((type(self), *(v for v in values if isinstance(v, (str, int, float)))))

    def __repr__(self) -> str:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = {
            name: value
            for name, value in self._fields().items()
            if callable(value) or value != defaults[name]
        }
        return _call(type(self).__name__, given)

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _comparable(self) -> dict[str, Any]:
        try:
            return self.get_config()
        # With a function or a schedule that cannot be saved; it is equal to itself.
        except (NotImplementedError, TypeError, ValueError):
            return self._fields()


def wide_rate(schedule: Any, step: Any) -> Any:
    """The rates of any schedule of Keras at an int64 tensor of steps, in float64."""
    if isinstance(schedule, Schedule):
        return schedule._rate(step)
    return _keras.call_schedule(schedule, step)


def _call(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_shown(value)}' for key, value in arguments.items())})"


def _shown(value: Any) -> str:
    """A value as in a call; other schedules of Keras print their address alone."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, _keras.LearningRateSchedule) and not isinstance(value, Schedule):
        try:
            return _call(type(value).__name__, value.get_config())
        except NotImplementedError:  # it can be trained with all the same
            return repr(value)
    return getattr(value, "__name__", None) or repr(value)
