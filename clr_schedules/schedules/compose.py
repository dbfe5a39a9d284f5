"""Schedules made of schedules: a warm-up before one, one after the other, one begun later."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clr_schedules import _arguments
from clr_schedules._backend import LearningRateSchedule
from clr_schedules._serialization import deserialize, register, serialize
from clr_schedules.schedules.base import Integers, Schedule, rate_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

# What can be composed: any Keras schedule, or a constant rate as a float.
ScheduleOrRate: TypeAlias = Any


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Warmup(Schedule):
    r"""A linear rise to the first rate of another schedule, and then that schedule.

    .. code-block:: none

        schedule(0)       .-._
                        /     `-._
                      /           `-
        start_lr    /
                   0     warmup_steps

        t  = iteration / warmup_steps
        lr = (1 - t) * start_lr + t * schedule(0)       iteration < warmup_steps
             schedule(iteration - warmup_steps)         from there on

    The schedule starts to count when the warm-up has ended. A schedule of T steps then takes
    ``T + warmup_steps`` steps.

    Args:
        schedule: Any Keras schedule, or a constant rate. A schedule of this package is computed in
            float64 within the formula, any other one is called as Keras does.
        warmup_steps: The number of iterations of the warm-up. At least 0; with 0, this is the
            schedule itself.
        start_lr: The rate of the first iteration. At least 0. Default: 0.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN.

    Reference:
        P. Goyal et al., *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*,
        arXiv:1706.02677, section 2.2, gradual warm-up.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.Warmup(clr.CosineRestarts(0.1, first_cycle_steps=1000), warmup_steps=100)
        >>> optimizer = keras.optimizers.AdamW(learning_rate=lr)
        >>> lr.values([0, 50, 100, 600, 1100]).round(6)
        array([0.  , 0.05, 0.1 , 0.05, 0.1 ])
    """

    schedule: ScheduleOrRate
    warmup_steps: int
    start_lr: float = 0.0
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        return {
            "schedule": _schedule_or_rate("schedule", self.schedule),
            "warmup_steps": _arguments.count("warmup_steps", self.warmup_steps, least=0),
            "start_lr": _arguments.rate("start_lr", self.start_lr),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any, xp: Any) -> Any:
        rate = _part_rate(self.schedule, _steps_since(step, self.warmup_steps, xp), xp)
        if self.warmup_steps == 0:
            return rate
        rising = rate * (xp.float64(step) / self.warmup_steps)
        if self.start_lr:
            # A sum of two numbers that are not negative loses no digits, where a difference would.
            # The sum may round to beyond its ends.
            left = xp.float64(self.warmup_steps - step) / self.warmup_steps
            rising = self.start_lr * left + rising
            rising = xp.maximum(rising, xp.minimum(rate, self.start_lr))
            rising = xp.minimum(rising, xp.maximum(rate, self.start_lr))
        return xp.where(step < self.warmup_steps, rising, rate)

    def _natural_length(self) -> int:
        return self.warmup_steps + _natural_length(self.schedule)

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        # The end of the warm-up is not the end of a cycle.
        return _shifted_ends(self.schedule, self.warmup_steps, start, stop)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        return super().get_config() | {"schedule": _serialize_part(self.schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        return super().from_config(_with_schedule(config))


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Piecewise(Schedule):
    r"""One schedule after the other, each from its own boundary on.

    .. code-block:: none

        lr = schedules[0](iteration)                      iteration < boundaries[0]
             schedules[1](iteration - boundaries[0])      boundaries[0] <= iteration < boundaries[1]
             schedules[2](iteration - boundaries[1])      boundaries[1] <= iteration
             ...

    All schedules are computed at every step, without a branch, and one result is taken. A NaN among
    the others has no effect. A schedule that has not begun is computed at its iteration 0.

    Args:
        schedules: Any Keras schedules, or constant rates. At least 1. Schedules of this package are
            computed in float64, others are called as Keras does.
        boundaries: The iterations at which the second and the following schedules begin: one fewer
            than schedules, at least 0, each above the one before.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN, or the boundaries are too
            few, too many or not in order.

    Reference:
        S. Hu et al., *MiniCPM: Unveiling the Potential of Small Language Models with Scalable
        Training Strategies*, arXiv:2404.06395, section 4.2: warm-up, stable, decay (WSD), as in
        the example.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> decay = keras.optimizers.schedules.PolynomialDecay(0.1, 1000, end_learning_rate=0.0)
        >>> stable_then_decay = clr.Piecewise([0.1, decay], boundaries=[8000])
        >>> lr = clr.Warmup(stable_then_decay, warmup_steps=1000)
        >>> optimizer = keras.optimizers.AdamW(learning_rate=lr)
        >>> lr.values([0, 500, 1000, 9000, 9500, 10_000]).round(6)
        array([0.  , 0.05, 0.1 , 0.1 , 0.05, 0.  ])
    """

    schedules: Sequence[ScheduleOrRate]
    boundaries: Sequence[int]
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        schedules = _list("schedules", "a list of Keras schedules and rates", self.schedules)
        rule = "a list of whole numbers of at least 0, each above the one before"
        boundaries = _list("boundaries", rule, self.boundaries)
        if not schedules:
            rule = "a list of at least one schedule"
            raise ValueError(_arguments.received("schedules", rule, self.schedules))
        if len(boundaries) != len(schedules) - 1:
            raise ValueError(
                "Argument `boundaries` must have one entry fewer than `schedules`. Received: "
                f"{len(schedules)} schedules and boundaries={_arguments.shown(self.boundaries)}"
            )
        boundaries = [
            _arguments.count(f"boundaries[{i}]", b, least=0) for i, b in enumerate(boundaries)
        ]
        if any(later <= earlier for earlier, later in itertools.pairwise(boundaries)):
            raise ValueError(_arguments.received("boundaries", rule, self.boundaries))
        return {
            "schedules": tuple(
                _schedule_or_rate(f"schedules[{i}]", s) for i, s in enumerate(schedules)
            ),
            "boundaries": tuple(boundaries),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any, xp: Any) -> Any:
        first, *others = self.schedules
        rate = _part_rate(first, step, xp)
        for boundary, schedule in zip(self.boundaries, others, strict=True):
            piece = _part_rate(schedule, _steps_since(step, boundary, xp), xp)
            rate = xp.where(step >= boundary, piece, rate)
        return rate

    def _natural_length(self) -> int:
        before = self.boundaries[-1] if self.boundaries else 0
        return before + _natural_length(self.schedules[-1])

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        # A cycle that the next schedule interrupts has no end.
        begins, limits = [0, *self.boundaries], [*self.boundaries, stop]
        pieces = zip(self.schedules, begins, limits, strict=True)
        return np.concatenate(
            [_shifted_ends(piece, begin, start, min(end, stop)) for piece, begin, end in pieces]
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        schedules = [_serialize_part(schedule) for schedule in self.schedules]
        return super().get_config() | {"schedules": schedules, "boundaries": [*self.boundaries]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        if isinstance(config.get("schedules"), (list, tuple)):
            schedules = [_deserialize_part(part) for part in config["schedules"]]
            config = config | {"schedules": schedules}
        return super().from_config(config)


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Shifted(Schedule):
    r"""A schedule that begins some iterations later, or is already under way.

    .. code-block:: none

        lr = schedule(max(0, iteration - steps))

    With positive ``steps``, the schedule waits at its first rate for so many iterations. With
    negative ``steps``, it begins as if so many iterations had been taken before.

    Args:
        schedule: Any Keras schedule, or a constant rate.
        steps: The number of iterations by which the schedule begins later; negative: earlier.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN.

    Example:
        An optimizer has taken 3,000 steps, and a new cycle is to begin now:

        >>> import clr_schedules as clr
        >>> lr = clr.Shifted(clr.Triangular(0.001, 0.006, step_size=2000), steps=3000)
        >>> lr.values([0, 3000, 5000, 7000])
        array([0.001, 0.001, 0.006, 0.001])
    """

    schedule: ScheduleOrRate
    steps: int
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        return {
            "schedule": _schedule_or_rate("schedule", self.schedule),
            "steps": _arguments.whole_number("steps", self.steps),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any, xp: Any) -> Any:
        return _part_rate(self.schedule, _steps_since(step, self.steps, xp), xp)

    def _natural_length(self) -> int:
        return max(self.steps, 0) + _natural_length(self.schedule)

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        return _shifted_ends(self.schedule, self.steps, start, stop)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        return super().get_config() | {"schedule": _serialize_part(self.schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        return super().from_config(_with_schedule(config))


def _schedule_or_rate(name: str, part: Any) -> ScheduleOrRate:
    if isinstance(part, LearningRateSchedule):
        return part
    try:
        return _arguments.rate(name, part)
    except (TypeError, ValueError) as error:
        rule = "a Keras schedule, or a rate of at least 0 in the range of float32"
        raise type(error)(_arguments.received(name, rule, part)) from None


def _list(name: str, rule: str, value: Any) -> list[Any]:
    error = TypeError(_arguments.received(name, rule, value))
    if isinstance(value, (str, bytes, dict, set, frozenset)):
        raise error
    try:
        return list(value)
    except TypeError:  # also for an array of no dimension, whose class can be iterated
        raise error from None


def _steps_since(step: Any, begin: int, xp: Any) -> Any:
    """The steps since the schedule began; 0 before."""
    return step if begin == 0 else xp.maximum(step - begin, 0)


def _part_rate(part: ScheduleOrRate, step: Any, xp: Any) -> Any:
    """The rates in float64 of an int64 tensor of steps."""
    if isinstance(part, float):
        return xp.float64(step) * 0.0 + part  # of the shape of the steps
    return rate_of(part, step, xp)


def _natural_length(part: ScheduleOrRate) -> int:
    """The natural length; of a schedule of another package, its `decay_steps`, or else 1000."""
    if isinstance(part, Schedule):
        return part._natural_length()
    return max(1, int(getattr(part, "decay_steps", 1000)))


def _shifted_ends(part: ScheduleOrRate, begin: int, start: int, stop: int) -> Integers:
    """The ends of cycles in a part that begins at ``begin``, after ``start`` and up to ``stop``."""
    if not isinstance(part, Schedule) or stop <= begin:
        return np.array([], np.int64)
    return begin + part._cycle_ends(max(start - begin, 0), stop - begin)


def _serialize_part(part: ScheduleOrRate) -> Any:
    return part if isinstance(part, float) else serialize(part)


def _deserialize_part(saved: Any) -> ScheduleOrRate:
    return deserialize(saved) if isinstance(saved, dict) else saved


def _with_schedule(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its schedule deserialized."""
    if "schedule" not in config:
        return config
    return config | {"schedule": _deserialize_part(config["schedule"])}
