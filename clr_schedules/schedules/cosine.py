"""Cosine annealing with warm restarts (SGDR)."""

from __future__ import annotations

import dataclasses
from typing import Any

from clr_schedules import _arguments, _keras, _restarts, numerics, reference
from clr_schedules.schedules.base import Schedule


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CosineRestarts(Schedule):
    r"""Half a cosine from ``max_lr`` down to ``min_lr``, again and again: SGDR.

    .. code-block:: none

        max_lr   -.       -.               -.
                   \        `.               `-.
                    \         \                `.
        min_lr       `-        `._                `-._
                 0     first    (1 + cycle_mult) * first

        n      = the number of finished cycles
        start  = first_cycle_steps * (cycle_mult ** n - 1) / (cycle_mult - 1)
        length = first_cycle_steps * cycle_mult ** n
        t      = (iteration - start) / length
        lr     = min_lr + (max_lr - min_lr) * peak_mult ** n * (1 + cos(pi * t)) / 2

    With ``cycle_mult`` at 1, ``start`` is ``n * first_cycle_steps``. Below 1, the cycles shrink to
    one iteration each. The starts need not be whole iterations: an iteration belongs to the cycle
    that began at it or before it.

    The rates are those of PyTorch's ``CosineAnnealingWarmRestarts``, whose factor is a whole number
    of at least 1, and of Keras's ``CosineDecayRestarts`` while its float32 is good enough.

    The iteration is what Keras hands to a schedule, ``optimizer.iterations``: batches, counted
    from 0, under gradient accumulation too.

    Args:
        max_lr: The rate at the first start. Above 0.
        first_cycle_steps: The iterations of the first cycle. At least 1.
        cycle_mult: The length of a cycle over that of the one before. Above 0. Default: 1.
        peak_mult: The peak of a cycle, above ``min_lr``, over that of the one before. Above 0 and
            at most 1. Default: 1.
        min_lr: The rate at the end of each cycle. From 0 to ``max_lr``. Default: 0.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the bounds are reversed.

    Reference:
        I. Loshchilov, F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*,
        arXiv:1608.03983, equation (5).

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.CosineRestarts(max_lr=0.1, first_cycle_steps=1000, cycle_mult=2)
        >>> optimizer = keras.optimizers.SGD(learning_rate=lr)
        >>> lr.values([0, 500, 999, 1000, 2000, 3000]).round(6)
        array([0.1 , 0.05, 0.  , 0.1 , 0.05, 0.1 ])
    """

    max_lr: float
    first_cycle_steps: int
    cycle_mult: float = 1.0
    peak_mult: float = 1.0
    min_lr: float = 0.0
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        min_lr, max_lr = _arguments.bounds("min_lr", self.min_lr, "max_lr", self.max_lr)
        return {
            "max_lr": max_lr,
            "first_cycle_steps": _arguments.count("first_cycle_steps", self.first_cycle_steps),
            "cycle_mult": _arguments.factor("cycle_mult", self.cycle_mult),
            "peak_mult": _arguments.factor("peak_mult", self.peak_mult, most=1),
            "min_lr": min_lr,
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any) -> Any:
        angle, cycle = _restarts.restarts(step, self.first_cycle_steps, self.cycle_mult)
        amplitude = numerics.half_cosine(angle)
        if self.peak_mult != 1:
            amplitude = amplitude.times(numerics.power(self.peak_mult, cycle))
        return numerics.between(self.min_lr, self.max_lr, amplitude)

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.cosine_restarts(
            iteration,
            self.max_lr,
            self.first_cycle_steps,
            self.cycle_mult,
            self.peak_mult,
            self.min_lr,
        )
