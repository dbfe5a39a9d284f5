"""The cyclical policies of Smith's paper, and the general cycle that they are cases of.

All compute ``base_lr + (max_lr - base_lr) * wave * scale``; the scale tells the policies apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clr_schedules import _arguments, _keras, numerics, reference
from clr_schedules.numerics import Unrounded
from clr_schedules.schedules.base import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self

_WAVES = ("linear", "cosine")
_SCALE_MODES = ("cycle", "iterations")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class _Cycle(Schedule):
    """What all policies share."""

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None = None

    def _check(self) -> dict[str, Any]:
        base_lr, max_lr = _arguments.bounds("base_lr", self.base_lr, "max_lr", self.max_lr)
        down = self.step_size_down
        return {
            "base_lr": base_lr,
            "max_lr": max_lr,
            "step_size": _arguments.count("step_size", self.step_size),
            "step_size_down": None if down is None else _arguments.count("step_size_down", down),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any) -> Any:
        amplitude = self._scaled(self._wave(step), step)
        return numerics.between(self.base_lr, self.max_lr, amplitude)

    @property
    def _down(self) -> int:
        return self.step_size if self.step_size_down is None else self.step_size_down

    def _wave(self, step: Any) -> Unrounded:
        """In each cycle from 0 to 1 and back."""
        return Unrounded(numerics.triangle(step, self.step_size, self._down))

    def _scaled(self, wave: Unrounded, step: Any) -> Unrounded:
        """The wave times the policy's scale."""
        return wave

    def _cycle(self, step: Any) -> Any:
        """The number of finished cycles."""
        return step // (self.step_size + self._down)

    def _bounds_and_steps(self) -> tuple[float, float, int, int | None]:
        return self.base_lr, self.max_lr, self.step_size, self.step_size_down


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Triangular(_Cycle):
    r"""A triangle wave: linearly up to ``max_lr``, linearly back to ``base_lr``, for ever.

    .. code-block:: none

        max_lr    /\      /\      /\
                 /  \    /  \    /  \
        base_lr /    \  /    \  /    \     one cycle = step_size + step_size_down iterations

        lr = base_lr + (max_lr - base_lr) * triangle

        triangle = position / step_size                                          rising
                   (step_size + step_size_down - position) / step_size_down     falling

    where ``position`` is ``iteration mod (step_size + step_size_down)``. With equal half-cycles
    that is the paper's ``max(0, 1 - x)`` with ``x = |iteration / step_size - 2 * cycle + 1|``.

    The iteration is what Keras hands to a schedule, ``optimizer.iterations``: batches, counted
    from 0, under gradient accumulation too.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, at the middle of each cycle. Above 0.
        step_size: The iterations of the rising half-cycle. At least 1; the paper recommends 2 to 10
            epochs' worth (see ``clr_schedules.step_size``).
        step_size_down: The iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1, ``triangular``.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.Triangular(base_lr=1e-3, max_lr=6e-3, step_size=2000)
        >>> optimizer = keras.optimizers.Adam(learning_rate=lr)
        >>> lr.values([0, 1000, 2000, 3000, 4000])
        array([0.001 , 0.0035, 0.006 , 0.0035, 0.001 ])
    """

    name: str | None = None

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.triangular(iteration, *self._bounds_and_steps())


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Triangular2(_Cycle):
    r"""A triangle wave whose amplitude halves every cycle.

    .. code-block:: none

        max_lr    /\
                 /  \      /\
        base_lr /    \    /  \    _/\_     one cycle = step_size + step_size_down iterations

        lr = base_lr + (max_lr - base_lr) * triangle(iteration) / 2 ** (cycle - 1)

    with ``cycle`` counted from 1, and the iteration as in ``Triangular``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, in the middle of the first cycle. Above 0.
        step_size: The iterations of the rising half-cycle. At least 1.
        step_size_down: The iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1, ``triangular2``.

    Example:
        >>> import clr_schedules as clr
        >>> lr = clr.Triangular2(base_lr=1e-3, max_lr=5e-3, step_size=2000)
        >>> lr.values([0, 2000, 4000, 6000, 8000, 10_000])
        array([0.001, 0.005, 0.001, 0.003, 0.001, 0.002])
    """

    name: str | None = None

    def _scaled(self, wave: Unrounded, step: Any) -> Unrounded:
        return wave.times(numerics.power(0.5, self._cycle(step)))

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.triangular2(iteration, *self._bounds_and_steps())


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ExpRange(_Cycle):
    r"""A triangle wave whose amplitude decays exponentially with every iteration.

    .. code-block:: none

        lr = base_lr + (max_lr - base_lr) * triangle(iteration) * gamma ** iteration

    with the iteration and the triangle as in ``Triangular``. The bounds are those of the wave
    before the decay: ``max_lr`` itself is reached only with ``gamma=1``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, before the decay. Above 0.
        step_size: The iterations of the rising half-cycle. At least 1.
        step_size_down: The iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the class's.
        gamma: The decay per iteration, above 0 and at most 1; by keyword. The amplitude halves
            every ``log(2) / -log(gamma)`` iterations: 11,552 with the paper's 0.99994.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1, ``exp_range``. In the paper both bounds decline; here, as in the
        implementations that people use, it is the amplitude.

    Example:
        >>> import clr_schedules as clr
        >>> lr = clr.ExpRange(base_lr=1e-3, max_lr=6e-3, step_size=2000, gamma=0.99994)
        >>> lr.values([0, 2000, 4000, 6000, 8000]).round(6)
        array([0.001   , 0.005435, 0.001   , 0.004488, 0.001   ])
    """

    name: str | None = None
    gamma: float = dataclasses.field(kw_only=True)

    def _check(self) -> dict[str, Any]:
        return super()._check() | {"gamma": _arguments.factor("gamma", self.gamma, most=1)}

    def _scaled(self, wave: Unrounded, step: Any) -> Unrounded:
        return wave.times(numerics.power(self.gamma, step))

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.exp_range(iteration, *self._bounds_and_steps(), gamma=self.gamma)


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Cyclical(_Cycle):
    r"""The general cycle: a wave of your choice, scaled by a function of your own.

    .. code-block:: none

        lr = base_lr + (max_lr - base_lr) * wave(triangle(iteration)) * scale_fn(cycle)

    with the iteration and the triangle as in ``Triangular``; ``wave(t)`` is ``t`` or
    ``(1 - cos(pi * t)) / 2``. The result is kept within ``[base_lr, max_lr]``, whatever the scale
    function returns, infinities included (but not NaN).

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, before the scale. Above 0.
        step_size: The iterations of the rising half-cycle. At least 1.
        step_size_down: The iterations of the falling half-cycle. Default: ``step_size``.
        wave: ``"linear"`` (default) or ``"cosine"``, which turns smoothly at both bounds.
        scale_fn: A function of one number that returns the factor of the amplitude, from 0 to 1;
            default: no scaling. In training it gets a float64 tensor, in ``values`` a NumPy array:
            write it with operators (``1 / x``, ``0.9 ** x``), or with ``keras.ops`` (in float32
            on JAX and PyTorch). A model saved with it can be loaded if it is registered with
            ``keras.saving.register_keras_serializable``; a lambda trains but cannot be saved.
        scale_mode: What ``scale_fn`` gets: ``"cycle"`` (default), the number of the cycle, from 1;
            or ``"iterations"``, the iteration, from 0.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed;
            from ``get_config``, if the scale function is not registered.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... def a_third_each(cycle):
        ...     return 3.0 ** (1 - cycle)
        >>> lr = clr.Cyclical(0.0, 0.9, step_size=50, wave="cosine", scale_fn=a_third_each)
        >>> lr.values([0, 25, 50, 100, 125, 150]).round(3)
        array([0.  , 0.45, 0.9 , 0.  , 0.15, 0.3 ])
    """

    wave: str = "linear"
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        if self.scale_fn is not None and not callable(self.scale_fn):
            raise TypeError(
                _arguments.received("scale_fn", "a function of one number, or None", self.scale_fn)
            )
        return super()._check() | {
            "wave": _arguments.choice("wave", self.wave, _WAVES),
            "scale_mode": _arguments.choice("scale_mode", self.scale_mode, _SCALE_MODES),
        }

    def _wave(self, step: Any) -> Unrounded:
        if self.wave == "linear":
            return super()._wave(step)
        return numerics.half_cosine(numerics.triangle_angle(step, self.step_size, self._down))

    def _scaled(self, wave: Unrounded, step: Any) -> Unrounded:
        if self.scale_fn is None:
            return wave
        return wave.times(self._factor(step, self._cycle(step), least=0.0))

    def _factor(self, step: Any, cycle: Any, least: float) -> Any:
        """The scale as a finite factor, from ``least`` up; ``cycle`` counts from 0."""
        x = step if self.scale_mode == "iterations" else cycle + 1
        return numerics.finite(self._scale(numerics.wide(x)), least)

    def _scale(self, x: Any) -> Any:
        scale = self.scale_fn(x)  # type: ignore[misc]
        if scale is None:
            raise TypeError(
                "Argument `scale_fn` must return a number. "
                f"Received: scale_fn={self.scale_fn!r}, which returned None"
            )
        return scale

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        scale_fn = None if self.scale_fn is None else self._scale
        return reference.cyclical(
            iteration, *self._bounds_and_steps(), self.wave, scale_fn, self.scale_mode
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them.

        Raises:
            ValueError: If ``scale_fn`` is not registered with Keras: it could not be loaded.
        """
        config = super().get_config()
        if self.scale_fn is not None:
            if not _keras.is_registered(self.scale_fn):
                raise ValueError(
                    "Argument `scale_fn` must be a function registered with "
                    "`@keras.saving.register_keras_serializable()` to be saved; any other (a "
                    "lambda, or one whose name was registered anew) would not be found on loading. "
                    f"Received: scale_fn={self.scale_fn!r}"
                )
            config["scale_fn"] = _keras.serialize(self.scale_fn)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config; the scale function must be registered by then."""
        scale_fn = config.get("scale_fn")
        if scale_fn is not None and not callable(scale_fn):
            config = config | {"scale_fn": _keras.deserialize(scale_fn)}
        return super().from_config(config)
