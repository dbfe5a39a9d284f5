"""The cyclical policies of Smith's paper, and the general cycle.

All compute ``base_lr + (max_lr - base_lr) * wave * scale``. The scale tells the policies apart, and
the general cycle, `Cyclical`, has an argument for each part.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from clr_schedules import _arguments
from clr_schedules._backend import backend
from clr_schedules._serialization import deserialize, is_registered, register, serialize_function
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Integers, Schedule, multiples
from clr_schedules.schedules.momentum import MirroredMomentum

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

_WAVES = ("linear", "cosine")
_SCALE_MODES = ("cycle", "iterations")


class _Cycle(Schedule):
    """The formula of all policies here. Its attributes are for policies without the argument."""

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None
    wave: str = "linear"
    peak_mult: float = 1.0
    gamma: float = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"

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

    def _rate(self, step: Any, xp: Any) -> Any:
        height = numerics.height(self.base_lr, self.max_lr)
        wave = self._wave(step, self.step_size, self._falling_steps, height, xp)
        rate = self.base_lr + self._scaled(wave, step, xp)
        # A line ends a hair above its top (see `numerics.TOPS`), and a scale function may return
        # more than 1. Both are cut off at `max_lr`.
        may_exceed = self.wave == "linear" or self.scale_fn is not None
        return xp.minimum(rate, self.max_lr) if may_exceed else rate

    def _mirrored(self, step: Any, xp: Any) -> Any:
        """``1 - wave * scale``, for the momentum that mirrors the rate.

        ``1 - wave`` is the same wave, begun at its top: a difference would lose digits near 0. So a
        policy with a wave that is another one upside down must override this method.
        """
        fall = self._wave(step + self._falling_steps, self._falling_steps, self.step_size, 1.0, xp)
        if not self._is_scaled:
            return fall
        share = self._scaled(1 - fall, step, xp)
        return 1 - (share if self.scale_fn is None else xp.minimum(share, 1.0))

    def _wave(self, step: Any, up: int, down: int, height: float, xp: Any) -> Any:
        """The wave times the height: 0 at the start of a cycle, the height at its top."""
        if self.wave == "linear":
            # The triangle is as high as the height, which saves one multiplication.
            return numerics.triangle(step, up, down, height * numerics.TOPS["linear"], xp)
        phase = numerics.triangle(step, up, down, numerics.TOPS["cosine"], xp)
        return height * numerics.wave(phase, "cosine", xp)

    @property
    def _falling_steps(self) -> int:
        return self.step_size if self.step_size_down is None else self.step_size_down

    @property
    def _cycle_length(self) -> int:
        return self.step_size + self._falling_steps

    @property
    def _is_scaled(self) -> bool:
        return self.peak_mult != 1 or self.gamma != 1 or self.scale_fn is not None

    def _scaled(self, wave: Any, step: Any, xp: Any) -> Any:
        """The wave times the scale, which is ``peak_mult``, ``gamma`` and ``scale_fn`` together."""
        if self.peak_mult != 1:
            wave = wave * numerics.power(self.peak_mult, step // self._cycle_length, xp)
        if self.gamma != 1:
            wave = wave * numerics.power(self.gamma, step, xp)
        if self.scale_fn is not None:
            x = step if self.scale_mode == "iterations" else step // self._cycle_length + 1
            wave = wave * scale_of(self.scale_fn, xp.float64(x), xp)
        return wave

    def _natural_length(self) -> int:
        return 3 * self._cycle_length

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        return multiples(self._cycle_length, start, stop)

    def momentum(self, max_momentum: float = 0.9, base_momentum: float = 0.8) -> MirroredMomentum:
        """The momentum that mirrors this rate: lowest where the rate is highest.

        It is for ``schedule_hyperparameters``, as ``momentum`` of SGD or ``beta_1`` of Adam. The
        values and the defaults are those of PyTorch's ``CyclicLR``, which cycles the momentum by
        default: ``max_momentum - (max_momentum - base_momentum) * wave * scale``.

        Args:
            max_momentum: The momentum where the rate is lowest. From ``base_momentum`` to below 1.
                Default: 0.9.
            base_momentum: The momentum where the rate is highest. At least 0. Default: 0.8.

        Raises:
            TypeError: If an argument is not a number.
            ValueError: If an argument is out of its range.

        Example:
            >>> import clr_schedules as clr
            >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> lr.momentum().values([0, 1000, 2000, 4000])
            array([0.9 , 0.85, 0.8 , 0.9 ])
        """
        return MirroredMomentum(self, max_momentum, base_momentum)


@register
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

    The iteration is what Keras hands to a schedule: the number of batches, counted from 0. (Under
    gradient accumulation, the public ``optimizer.iterations`` counts updates.)

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, at the middle of each cycle. Above 0.
        step_size: The number of iterations of the rising half-cycle. At least 1. The paper
            recommends 2 to 10 times the iterations of an epoch (see ``clr_schedules.step_size``).
        step_size_down: The number of iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
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

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None = None
    name: str | None = None


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Triangular2(_Cycle):
    r"""A triangle wave whose amplitude halves with every cycle.

    .. code-block:: none

        max_lr    /\
                 /  \      /\
        base_lr /    \    /  \    _/\_     one cycle = step_size + step_size_down iterations

        lr = base_lr + (max_lr - base_lr) * triangle(iteration) / 2 ** (cycle - 1)

    where ``cycle`` counts from 1, and the iteration and the triangle are those of ``Triangular``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, in the middle of the first cycle. Above 0.
        step_size: The number of iterations of the rising half-cycle. At least 1.
        step_size_down: The number of iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
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

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None = None
    name: str | None = None

    peak_mult = 0.5  # without a type, so that it is not a field, and not an argument


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ExpRange(_Cycle):
    r"""A triangle wave whose amplitude decays exponentially with every iteration.

    .. code-block:: none

        lr = base_lr + (max_lr - base_lr) * triangle(iteration) * gamma ** iteration

    where the iteration and the triangle are those of ``Triangular``. The bounds are those of the
    wave before the decay: ``max_lr`` itself is reached only with ``gamma=1``.

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, before the decay. Above 0.
        step_size: The number of iterations of the rising half-cycle. At least 1.
        step_size_down: The number of iterations of the falling half-cycle. Default: ``step_size``.
        name: The name in graphs, profiles and plots. Default: the name of the class.
        gamma: The decay per iteration, above 0 and at most 1; by keyword. The amplitude halves
            every ``log(2) / -log(gamma)`` iterations: 11,552 with the paper's 0.99994.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1, ``exp_range``. In the paper both bounds decline; here, as in the
        implementations that people use, the amplitude declines.

    Example:
        >>> import clr_schedules as clr
        >>> lr = clr.ExpRange(base_lr=1e-3, max_lr=6e-3, step_size=2000, gamma=0.99994)
        >>> lr.values([0, 2000, 4000, 6000, 8000]).round(6)
        array([0.001   , 0.005435, 0.001   , 0.004488, 0.001   ])
    """

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None = None
    name: str | None = None
    # By keyword, since a required argument cannot follow the others. Without `field`, the value in
    # `_Cycle` would be its default.
    gamma: float = dataclasses.field(kw_only=True)

    def _check(self) -> dict[str, Any]:
        return super()._check() | {"gamma": _arguments.factor("gamma", self.gamma)}


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Cyclical(_Cycle):
    r"""The general cycle: a wave of your choice, with a decay of your choice.

    .. code-block:: none

        lr    = base_lr + (max_lr - base_lr) * wave(triangle(iteration)) * scale
        scale = peak_mult ** (cycle - 1) * gamma ** iteration * scale_fn(cycle or iteration)

    where ``cycle`` counts from 1, and the iteration and the triangle are those of ``Triangular``;
    ``wave(t)`` is ``t`` or ``(1 - cos(pi * t)) / 2``. The rate is kept within
    ``[base_lr, max_lr]``, whatever the scale function returns, infinity included (but not NaN).

    Args:
        base_lr: The lowest rate, where each cycle starts and ends. From 0 to ``max_lr``.
        max_lr: The highest rate, before the scale. Above 0.
        step_size: The number of iterations of the rising half-cycle. At least 1.
        step_size_down: The number of iterations of the falling half-cycle. Default: ``step_size``.
        wave: ``"linear"`` (default) or ``"cosine"``, which turns smoothly at both bounds.
        peak_mult: The amplitude of a cycle over that of the cycle before. Above 0 and at most 1.
            Default: 1. It is what is often written as a scale function:
            ``lambda x: 1 / 2.0 ** (x - 1)`` is 0.5, ``lambda x: 1 / 1.2 ** (x - 1)`` is 1 / 1.2.
        gamma: The decay of the amplitude per iteration. Above 0 and at most 1. Default: 1.
        scale_fn: A function of one number that returns a factor of the amplitude, from 0 to 1.
            Default: no such factor. In training the function gets a float64 tensor, in ``values``
            a NumPy array: write it with operators (``1 / x``, ``0.9 ** x``), or with ``keras.ops``
            (in float32 on JAX and PyTorch). To be saved, it must be registered with
            ``keras.saving.register_keras_serializable``.
        scale_mode: What ``scale_fn`` gets: ``"cycle"`` (default), the number of the cycle, from 1;
            or ``"iterations"``, the iteration, from 0.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind, or ``scale_fn`` cannot be computed on a
            tensor.
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed;
            from ``get_config``, if the scale function is not registered.

    Warns:
        UserWarning: If ``scale_fn`` is not registered: it trains, but it cannot be saved.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.1.

    Example:
        >>> import clr_schedules as clr
        >>> lr = clr.Cyclical(0.0, 0.9, step_size=50, wave="cosine", peak_mult=1 / 3)
        >>> lr.values([0, 25, 50, 100, 125, 150]).round(3)
        array([0.  , 0.45, 0.9 , 0.  , 0.15, 0.3 ])

        With a function of your own:

        >>> import keras
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... def harmonic(cycle):
        ...     return 1 / cycle
        >>> lr = clr.Cyclical(0.0, 0.9, step_size=50, scale_fn=harmonic)
        >>> lr.values([50, 150, 250]).round(3)
        array([0.9 , 0.45, 0.3 ])
    """

    base_lr: float
    max_lr: float
    step_size: int
    step_size_down: int | None = None
    wave: str = "linear"
    peak_mult: float = 1.0
    gamma: float = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        check_scale_fn(self.scale_fn)
        return super()._check() | {
            "wave": _arguments.choice("wave", self.wave, _WAVES),
            "peak_mult": _arguments.factor("peak_mult", self.peak_mult),
            "gamma": _arguments.factor("gamma", self.gamma),
            "scale_mode": _arguments.choice("scale_mode", self.scale_mode, _SCALE_MODES),
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them.

        Raises:
            ValueError: If ``scale_fn`` is not registered with Keras: it could not be loaded.
        """
        return super().get_config() | {"scale_fn": serialize_scale_fn(self.scale_fn)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config; the scale function must be registered by then."""
        scale_fn = config.get("scale_fn")
        if scale_fn is not None and not callable(scale_fn):
            config = config | {"scale_fn": deserialize(scale_fn)}
        return super().from_config(config)


def check_scale_fn(scale_fn: Any) -> None:
    """Raises for what a train step cannot compute; warns of a function that cannot be saved."""
    if scale_fn is None:
        return
    if not callable(scale_fn):
        rule = "a function of one number, or None"
        raise TypeError(_arguments.received("scale_fn", rule, scale_fn))
    backend.call_without_value(lambda x: scale_of(scale_fn, x, backend.xp))
    if not is_registered(scale_fn):
        warnings.warn(
            "Argument `scale_fn` is not registered with Keras: a model can be trained with it, but "
            "not saved. Register the function with `@keras.saving.register_keras_serializable()`, "
            "or do without a function: `peak_mult=0.5` says the same as "
            "`scale_fn=lambda x: 1 / 2.0 ** (x - 1)`, and `gamma` is a decay per iteration. "
            f"Received: scale_fn={_arguments.shown(scale_fn)}",
            stacklevel=5,  # where the schedule is made
        )


def scale_of(scale_fn: Callable[[Any], Any], x: Any, xp: Any, least: float = 0.0) -> Any:
    """What the scale function returns, from ``least`` on; errors that tell what to change."""
    try:
        scale = scale_fn(x)
        if scale is not None:
            return numerics.clip_scale(scale, xp, least)
    except Exception as error:
        raise TypeError(
            "Argument `scale_fn` must be a function that can be computed on a tensor, and on a "
            "NumPy array: write it with operators (`1 / x`, `0.9 ** x`) or `keras.ops`, without "
            f"`if`, NumPy or `math`. Received: scale_fn={_arguments.shown(scale_fn)}, which raised "
            f"{type(error).__name__}: {_arguments.one_line(error)}"
        ) from error
    raise TypeError(
        "Argument `scale_fn` must return a number. "
        f"Received: scale_fn={_arguments.shown(scale_fn)}, which returned None"
    )


def serialize_scale_fn(scale_fn: Any) -> Any:
    """The scale function as Keras saves it; raises where it could not be loaded again."""
    if scale_fn is None:
        return None
    if not is_registered(scale_fn):
        raise ValueError(
            "Argument `scale_fn` must be a function registered with "
            "`@keras.saving.register_keras_serializable()` to be saved: another function, such as "
            "a lambda, would not be found on loading. For a decay per cycle use `peak_mult` "
            f"instead. Received: scale_fn={_arguments.shown(scale_fn)}"
        )
    return serialize_function(scale_fn)
