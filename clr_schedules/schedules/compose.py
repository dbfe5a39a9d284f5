"""Schedules made of schedules: a warm-up before one, and one after the other."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence as List
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _arguments, _keras, numerics, reference
from clr_schedules.schedules.base import Schedule, wide_rate

if TYPE_CHECKING:
    from typing_extensions import Self

# What is composed: any schedule of Keras, or a constant rate.
_Part = Any


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Warmup(Schedule):
    r"""A linear rise to another schedule's first rate, and that schedule from there on.

    .. code-block:: none

        schedule(0)       .-._
                        /     `-._
                      /           `-
        start_lr    /
                   0     warmup_steps

        t  = iteration / warmup_steps
        lr = (1 - t) * start_lr + t * schedule(0)       iteration < warmup_steps
             schedule(iteration - warmup_steps)         from there on

    The schedule starts counting when the warm-up has ended.

    Args:
        schedule: Any schedule of Keras, or a constant rate. One of this package is computed in
            float64 within the sum, another one is called as Keras does.
        warmup_steps: The iterations of the warm-up. At least 1.
        start_lr: The rate of the first iteration. At least 0. Default: 0.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
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

    schedule: _Part
    warmup_steps: int
    start_lr: float = 0.0
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        return {
            "schedule": _part("schedule", self.schedule),
            "warmup_steps": _arguments.count("warmup_steps", self.warmup_steps),
            "start_lr": _arguments.rate("start_lr", self.start_lr),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any) -> Any:
        rate = _rate(self.schedule, _since(step, self.warmup_steps))
        rising = rate * (numerics.wide(step) / self.warmup_steps)
        if self.start_lr:
            # A sum of what is not negative loses no digits, but may round to beyond its ends.
            left = numerics.wide(self.warmup_steps - step) / self.warmup_steps
            low = _keras.where(rate > self.start_lr, self.start_lr, rate)
            high = _keras.at_least(rate, self.start_lr)
            rising = _keras.clip(self.start_lr * left + rising, low, high)
        return _keras.where(step < self.warmup_steps, rising, rate)

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        rate = _values(self.schedule, np.maximum(iteration - self.warmup_steps, 0))
        return reference.warmup(iteration, rate, self.warmup_steps, self.start_lr)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        return super().get_config() | {"schedule": _saved(self.schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        if "schedule" in config:
            config = config | {"schedule": _loaded(config["schedule"])}
        return super().from_config(config)


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Sequence(Schedule):
    r"""One schedule after the other, each from its own boundary on.

    .. code-block:: none

        lr = schedules[0](iteration)                      iteration < boundaries[0]
             schedules[1](iteration - boundaries[0])      boundaries[0] <= iteration < boundaries[1]
             schedules[2](iteration - boundaries[1])      boundaries[1] <= iteration
             ...

    All of them are computed in every step, without a branch, and one is taken: what the others
    are, NaN included, does not matter. One that has not begun is computed at its iteration 0.

    Args:
        schedules: Any schedules of Keras, or constant rates. At least 1. Those of this package are
            computed in float64, others are called as Keras does.
        boundaries: The iterations at which the second and the following begin: one fewer than
            schedules, at least 1, each above the one before.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
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
        >>> stable_then_decay = clr.Sequence([0.1, decay], boundaries=[8000])
        >>> lr = clr.Warmup(stable_then_decay, warmup_steps=1000)
        >>> optimizer = keras.optimizers.AdamW(learning_rate=lr)
        >>> lr.values([0, 500, 1000, 9000, 9500, 10_000]).round(6)
        array([0.  , 0.05, 0.1 , 0.1 , 0.05, 0.  ])
    """

    schedules: List[_Part]
    boundaries: List[int]
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        schedules = _list("schedules", "a list of schedules of Keras and rates", self.schedules)
        rule = "a list of whole numbers of at least 1, each above the one before"
        boundaries = _list("boundaries", rule, self.boundaries)
        if not schedules:
            raise ValueError(_arguments.received("schedules", "one or more", self.schedules))
        if len(boundaries) != len(schedules) - 1:
            raise ValueError(
                "Argument `boundaries` must have one entry fewer than `schedules`. Received: "
                f"{len(schedules)} schedules and boundaries={self.boundaries!r}"
            )
        boundaries = [_arguments.count(f"boundaries[{i}]", b) for i, b in enumerate(boundaries)]
        if any(later <= earlier for earlier, later in itertools.pairwise(boundaries)):
            raise ValueError(_arguments.received("boundaries", rule, self.boundaries))
        return {
            "schedules": tuple(_part(f"schedules[{i}]", s) for i, s in enumerate(schedules)),
            "boundaries": tuple(boundaries),
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any) -> Any:
        first, *others = self.schedules
        rate = _rate(first, step)
        for boundary, schedule in zip(self.boundaries, others, strict=True):
            rate = _keras.where(step >= boundary, _rate(schedule, _since(step, boundary)), rate)
        return rate

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        starts = [0, *self.boundaries]
        rates = [
            _values(schedule, np.maximum(iteration - start, 0))
            for schedule, start in zip(self.schedules, starts, strict=True)
        ]
        return reference.sequence(iteration, rates, self.boundaries)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        schedules = [_saved(schedule) for schedule in self.schedules]
        return super().get_config() | {"schedules": schedules, "boundaries": [*self.boundaries]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        if isinstance(config.get("schedules"), (list, tuple)):
            config = config | {"schedules": [_loaded(saved) for saved in config["schedules"]]}
        return super().from_config(config)


def _part(name: str, part: Any) -> _Part:
    """A schedule of Keras, or a rate as a float."""
    if isinstance(part, _keras.LearningRateSchedule):
        return part
    try:
        return _arguments.rate(name, part)
    except TypeError:
        rule = "a schedule of Keras, or a rate"
        raise TypeError(_arguments.received(name, rule, part)) from None


def _list(name: str, rule: str, value: Any) -> list[Any]:
    error = TypeError(_arguments.received(name, rule, value))
    if isinstance(value, (str, bytes, dict, set, frozenset)):
        raise error
    try:
        return list(value)
    except TypeError:  # an array of no dimension is iterable by its class alone
        raise error from None


def _since(step: Any, boundary: int) -> Any:
    """The steps since a boundary, from 0."""
    return _keras.at_least(step - boundary, 0)


def _rate(part: _Part, step: Any) -> Any:
    """The rates of an int64 tensor of steps, in float64."""
    if isinstance(part, float):
        return numerics.wide(step) * 0.0 + part
    return wide_rate(part, step)


def _values(part: _Part, iteration: reference.Integers) -> reference.Floats:
    """The same on the host."""
    if isinstance(part, Schedule):
        return part._reference(iteration)
    if isinstance(part, float):
        return np.full(iteration.shape, part)
    return np.reshape(_mapped(_This(part))(iteration.ravel()), iteration.shape)


class _This:
    """A part by its identity and attributes: it may equal others that differ, or have no hash."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.state = dict(vars(part))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _This)
            and self.part is other.part
            and self.state.keys() == other.state.keys()
            and all(value is other.state[name] for name, value in self.state.items())
        )

    def __hash__(self) -> int:
        return id(self.part)


@functools.lru_cache(maxsize=16)  # so that it is traced once
def _mapped(this: _This) -> Any:
    from clr_schedules import _engines

    return _engines.engine().map_schedule(this.part)


def _saved(part: _Part) -> Any:
    return part if isinstance(part, float) else _keras.serialize(part)


def _loaded(saved: Any) -> _Part:
    return _keras.deserialize(saved) if isinstance(saved, dict) else saved
