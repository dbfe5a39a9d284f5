"""What every schedule of this package is: a frozen record of numbers that maps a step to a rate.

To add a schedule, write a ``@register``ed ``@dataclass(frozen=True, repr=False, eq=False)`` with

- its arguments as fields, the last of them ``name: str | None = None``,
- ``_check``, which returns the checked arguments, and raises an error for a bad one,
- ``_rate``: the formula, over a namespace ``xp`` of array operations,
- ``_natural_length``: how many iterations a picture of it should show,
- ``_cycle_ends``, if it has cycles.

Config, equality, repr, immutability, the call in the compiled step, ``values`` and pictures follow
from these. The page "Contributing" of the documentation has a complete example.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from clr_schedules import _arguments
from clr_schedules._backend import LearningRateSchedule, backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from typing_extensions import Self

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Schedule(LearningRateSchedule):
    """A learning rate as a pure function of the step."""

    name: str | None
    _quantity: ClassVar[str] = "learning rate"
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __post_init__(self) -> None:
        """Replaces every argument by its plain Python value."""
        for field, value in self._check().items():
            object.__setattr__(self, field, value)

    def _check(self) -> dict[str, Any]:
        """Returns the fields as plain Python values; raises where one is not valid."""
        raise NotImplementedError

    def _rate(self, step: Any, xp: Any) -> Any:
        """The formula: the rates in float64 of an int64 tensor of steps.

        ``xp`` is the namespace of the operations: NumPy for an array, the framework's for a tensor.
        """
        raise NotImplementedError

    def _natural_length(self) -> int:
        """The number of iterations that a picture shows by default."""
        raise NotImplementedError

    def cycle_ends(self, num_steps: int) -> Integers:
        """The iterations, up to ``num_steps``, at which a cycle has just ended.

        Args:
            num_steps: The number of iterations of the training. At least 0.

        Returns:
            An increasing int64 array. Each entry is the number of steps that the optimizer has
            taken when a cycle ends. The array is empty for a schedule without cycles.

        Raises:
            TypeError, ValueError: If ``num_steps`` is not a whole number of at least 0.

        Example:
            >>> import clr_schedules as clr
            >>> clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000).cycle_ends(10_000)
            array([4000, 8000])
        """
        return self._cycle_ends(0, _arguments.count("num_steps", num_steps, least=0))

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        """The ends of cycles after the iteration ``start``, and up to the iteration ``stop``."""
        return np.array([], np.int64)

    def __call__(self, step: Any, *others: Any) -> Any:
        """The learning rate of a step, inside or outside a compiled train step.

        Args:
            step: The number of steps taken so far, from 0, below 2^53: an integer, or an array or
                a tensor of integers, of any shape. Floats must be whole numbers.
            others: None. Keras's ``LearningRateScheduler``, which calls a function of the epoch and
                the present rate, gets an error: a schedule goes into the optimizer.

        Returns:
            A tensor of the shape of ``step``, in ``floatx()``: the formula, correctly rounded.

        Example:
            >>> import keras
            >>> import clr_schedules as clr
            >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> keras.ops.convert_to_numpy(lr([0, 1000, 2000]))
            array([0.001 , 0.0035, 0.006 ], dtype=float32)
        """
        if others:
            raise ValueError(self._goes_into_the_optimizer())
        if isinstance(step, (np.ndarray, np.generic)) or not hasattr(step, "dtype"):
            # A number of Python or NumPy must not become a 32-bit tensor on the way.
            step = _arguments.iterations("step", step)
        dtype = backend.floatx()
        with backend.name_scope(self.name or type(self).__name__), backend.wide_types():
            return backend.cast(self._rate(backend.cast(step, "int64"), backend.xp), dtype)

    if not TYPE_CHECKING:  # for a type checker, a schedule would then have all attributes

        def __getattr__(self, name: str) -> Any:
            """Called for what a schedule does not have: the methods of a callback, say."""
            if name in ("set_model", "set_params") or name.startswith("on_"):
                raise TypeError(self._goes_into_the_optimizer())
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __float__(self) -> float:
        """Raises. Optimizers call it where they want a number, such as a constant decay."""
        raise TypeError(
            "A schedule is not a number. Of an optimizer's arguments, only `learning_rate` takes a "
            "schedule; `clr_schedules.schedule_hyperparameters(optimizer, weight_decay=...)` lets "
            f"other hyperparameters follow one. Received: {_arguments.shown(self)}"
        )

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        """Raises as ``float`` does, where TensorFlow wants a number."""
        return float(self)

    def _goes_into_the_optimizer(self) -> str:
        return (
            "A schedule is not a callback: a schedule goes into the optimizer, as in "
            f"`Adam(learning_rate=...)`. Received: {_arguments.shown(self)}"
        )

    def values(self, steps: npt.ArrayLike) -> Floats:
        """The learning rates of these steps, computed on the host in NumPy by the same formula.

        Args:
            steps: An integer from 0, below 2^53, or an array of such integers, of any shape.

        Returns:
            A float64 array of the same shape. A call returns its values rounded to ``floatx()``.

        Raises:
            TypeError: If a step is not a number.
            ValueError: If a step is negative, not whole, or 2^53 or above.

        Example:
            >>> import clr_schedules as clr
            >>> clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000).values([0, 500, 5000])
            array([0.001  , 0.00225, 0.0035 ])
        """
        iterations = _arguments.iterations("steps", steps)
        # A decay may underflow to 0, and a scale function may divide by 0.
        with np.errstate(all="ignore"):
            # Flat: NumPy's powers of a single number and of an array differ in the last place.
            rates = self._rate(iterations.reshape(-1), np)
        return np.asarray(rates, np.float64).reshape(iterations.shape)

    def plot(self, num_steps: int | None = None, ax: Axes | None = None) -> Axes:
        """Draws the learning rate against the iteration, between its bounds.

        Args:
            num_steps: The number of iterations to draw, from 0. Default: the natural length of the
                schedule, such as three cycles, or the whole of a one-cycle.
            ax: The Matplotlib axes to draw on. Default: those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
            TypeError, ValueError: If ``num_steps`` is not a whole number of at least 1.

        Example:
            >>> import clr_schedules as clr
            >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> lr.plot().get_xlabel()
            'iteration'
        """
        from clr_schedules import plotting

        return plotting.plot_schedules(self, num_steps, ax)

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
            config: What ``get_config`` returned.

        Raises:
            ValueError: If the config has a key that this schedule has no argument for.

        Example:
            >>> import clr_schedules as clr
            >>> clr.Triangular.from_config({"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000})
            Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
        """
        arguments = inspect.signature(cls).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
        if (unknown := sorted(set(config) - set(arguments), key=repr)) and not takes_any:
            raise ValueError(
                f"The config of `{cls.__name__}` must have no other keys than its arguments "
                f"({', '.join(arguments)}). Received: {', '.join(map(_arguments.shown, unknown))} "
                f"in config={_arguments.shown(config)}"
            )
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        """Schedules of one class are equal when their configs are."""
        if self is other:  # TensorFlow compares at every call of a function
            return True
        if not isinstance(other, Schedule) or type(self) is not type(other):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        # Equal schedules may hold functions with different hashes: plain values are hashed alone.
        values = self._fields().values()
        return hash((type(self), *(v for v in values if isinstance(v, (str, int, float)))))

    def __repr__(self) -> str:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = {
            name: value
            for name, value in self._fields().items()
            if callable(value) or value != defaults[name]
        }
        return _format_call(type(self).__name__, given)

    def _repr_html_(self) -> str:
        """What a notebook shows: the call that makes the schedule, and a small curve."""
        length = min(self._natural_length(), _arguments.MAX_STEPS)
        # 600 points meet the peaks of three cycles. The last step ends the last one.
        steps = np.linspace(0, length, min(length, 600), endpoint=False)
        steps = np.unique([*steps, length - 1]).astype(np.int64)
        rates = self.values(steps)
        low, high = float(rates.min()), float(rates.max())
        # The picture is 300 by 60 pixels, with 2 at each edge, so that the line is not cut.
        x = 2 + 296 * steps / max(length - 1, 1)
        y = 58 - 56 * (rates - low) / ((high - low) or 1.0)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        caption = f"{self._quantity} from {low:.3g} to {high:.3g} in {length:,} iterations"
        # The line has the colour of the text, which is seen in light and in dark notebooks.
        return (
            f'<div><code>{html.escape(repr(self))}</code><br><svg width="300" height="60" '
            f'role="img" aria-label="{caption}"><polyline points="{points}" fill="none" '
            f'stroke="currentColor" stroke-width="1.5"/></svg><br><small>{caption}</small></div>'
        )

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _comparable(self) -> dict[str, Any]:
        fields = self._fields()
        try:
            config = self.get_config()
        # A function or an inner schedule that cannot be saved: the fields are compared instead.
        except (NotImplementedError, TypeError, ValueError):
            return fields
        # A config holds the name of a function, which may be that of another function by now.
        return config | {name: value for name, value in fields.items() if inspect.isroutine(value)}


def rate_of(schedule: Any, step: Any, xp: Any) -> Any:
    """The rates of any Keras schedule at an int64 tensor of steps, in float64."""
    if isinstance(schedule, Schedule):
        return schedule._rate(step, xp)
    if xp is np:
        return _vectorized(_SameObject(schedule))(step)
    return backend.call_schedule(schedule, step)


def multiples(length: int, start: int, stop: int) -> Integers:
    """The multiples of a cycle's length after ``start``, and up to ``stop``."""
    return np.arange((start // length + 1) * length, stop + 1, length, dtype=np.int64)


class _SameObject:
    """The key of a cache: the same object, with the same objects as its attributes.

    A schedule of another package may have no hash, and its attributes may be set. (A change inside
    an attribute, such as in a list, is not seen.)
    """

    def __init__(self, thing: Any) -> None:
        self.thing = thing
        self.attributes = dict(getattr(thing, "__dict__", {}))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _SameObject)
            and self.thing is other.thing
            and self.attributes.keys() == other.attributes.keys()
            and all(value is other.attributes[name] for name, value in self.attributes.items())
        )

    def __hash__(self) -> int:
        return id(self.thing)


@functools.lru_cache(maxsize=16)  # tracing a schedule takes longer than computing its rates
def _vectorized(key: _SameObject) -> Callable[[Integers], Floats]:
    return backend.vectorize(key.thing)


def _format_call(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_format_value(v)}' for key, v in arguments.items())})"


def _format_value(value: Any) -> str:
    """A value as in a call. Keras's own schedules would print their address alone."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_format_value, value))}]"
    if isinstance(value, LearningRateSchedule) and not isinstance(value, Schedule):
        try:
            return _format_call(type(value).__name__, value.get_config())
        except NotImplementedError:  # a schedule without a config, which can train but not be saved
            return repr(value)
    return getattr(value, "__name__", None) or repr(value)
