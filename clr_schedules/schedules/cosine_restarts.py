"""Cosine annealing with warm restarts (SGDR)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from clr_schedules import _arguments
from clr_schedules._serialization import register
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Floats, Integers, Schedule, multiples


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CosineRestarts(Schedule):
    r"""Half a cosine from ``max_lr`` down to ``min_lr``, again and again: SGDR.

    .. code-block:: none

        max_lr   -.       -.               -.
                   \        `.               `-.
                    \         \                `.
        min_lr       `-        `._                `-._
                 0     first    (1 + cycle_mult) * first

        n      = the number of cycles that have ended
        start  = first_cycle_steps * (cycle_mult ** n - 1) / (cycle_mult - 1)
        length = first_cycle_steps * cycle_mult ** n
        t      = (iteration - start) / length
        lr     = min_lr + (max_lr - min_lr) * peak_mult ** n * (1 + cos(pi * t)) / 2

    With ``cycle_mult`` at 1, ``start`` is ``n * first_cycle_steps``. The starts need not be whole
    iterations: an iteration belongs to the cycle that began at it or before it. With ``cycle_mult``
    below 1 the cycles shrink; from where a cycle would be shorter than one iteration, the rate
    stays at ``min_lr``.

    The rates are those of PyTorch's ``CosineAnnealingWarmRestarts``, whose factor is a whole number
    of at least 1, and of Keras's ``CosineDecayRestarts`` as far as its float32 is exact.

    The iteration is what Keras hands to a schedule: the number of batches, counted from 0. (Under
    gradient accumulation, the public ``optimizer.iterations`` counts updates.)

    Args:
        max_lr: The rate at the first start. Above 0.
        first_cycle_steps: The number of iterations of the first cycle. At least 1.
        cycle_mult: The length of a cycle over that of the cycle before: 1, at least 1.01 (growing
            cycles) or at most 0.99 (shrinking cycles). Default: 1.
        peak_mult: The peak of a cycle, above ``min_lr``, over that of the cycle before. Above 0 and
            at most 1. Default: 1.
        min_lr: The rate at the end of each cycle. The last step of a cycle is a little above it:
            the end itself is the first iteration of the next cycle. From 0 to ``max_lr``.
            Default: 0.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
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
        rule = "1, at least 1.01 (growing cycles), or above 0 and at most 0.99 (shrinking cycles)"
        cycle_mult = _arguments.real("cycle_mult", self.cycle_mult, rule)
        if not (0 < cycle_mult <= 0.99 or cycle_mult == 1 or cycle_mult >= 1.01):
            raise ValueError(_arguments.received("cycle_mult", rule, self.cycle_mult))
        return {
            "max_lr": max_lr,
            "first_cycle_steps": _arguments.count("first_cycle_steps", self.first_cycle_steps),
            "cycle_mult": cycle_mult,
            "peak_mult": _arguments.factor("peak_mult", self.peak_mult),
            "min_lr": min_lr,
            "name": _arguments.label("name", self.name),
        }

    def _rate(self, step: Any, xp: Any) -> Any:
        phase, cycle = self._phase(step, xp)
        wave = numerics.height(self.min_lr, self.max_lr) * numerics.wave(phase, "cosine", xp)
        if self.peak_mult != 1:
            wave = wave * numerics.power(self.peak_mult, cycle, xp)
        return self.min_lr + wave

    def _phase(self, step: Any, xp: Any) -> tuple[Any, Any]:
        """The rest of the cycle as a phase that falls to 0, and the number of ended cycles."""
        first = self.first_cycle_steps
        if self.cycle_mult == 1:
            left = xp.float64(first - step % first)
            return left * (_TOP / first), step // first
        table = _restart_table(first, self.cycle_mult)
        cycle = xp.searchsorted(table.first_steps[1:], step, side="right")
        # Whole iterations first: the fraction may be smaller than what float64 holds beside them.
        left = xp.float64(xp.take(table.whole_ends, cycle) - step)
        if table.end_fractions.any():
            left = left + xp.take(table.end_fractions, cycle)
        return left * xp.take(table.slopes, cycle), cycle

    def _natural_length(self) -> int:
        if self.cycle_mult == 1:
            return 3 * self.first_cycle_steps
        ends = self._cycle_ends(0, _arguments.MAX_STEPS)[:3]
        return int(ends[-1]) if len(ends) else self.first_cycle_steps

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        if self.cycle_mult == 1:
            return multiples(self.first_cycle_steps, start, stop)
        ends = _restart_table(self.first_cycle_steps, self.cycle_mult).first_steps[1:]
        return ends[(ends > start) & (ends <= stop)]


class _RestartTable(NamedTuple):
    """One row for each cycle that begins below 2^53 iterations, and takes one iteration or more.

    If cycles shrink, a last row stands for all iterations after them, where nothing is left.
    """

    first_steps: Integers
    """The first iteration of the cycle: its start, rounded up."""
    whole_ends: Integers
    """The end of the cycle, rounded down."""
    end_fractions: Floats
    """The fraction of the end that `whole_ends` leaves out."""
    slopes: Floats
    """The decrease of the phase in one iteration."""


_BITS = 128  # after the point
_TOP = numerics.TOPS["cosine"]


@functools.lru_cache
def _restart_table(first_cycle_steps: int, cycle_mult: float) -> _RestartTable:
    """The table of the cycles, computed in integers: in units of 2^-128 iterations.

    In float64, a start would soon be off by iterations. Here only the lengths are rounded, by too
    little to move a start across a whole iteration.
    """
    numerator, denominator = cycle_mult.as_integer_ratio()
    one = 1 << _BITS
    longest = one << 150  # in a longer cycle, the rate stays at its peak for 2^53 iterations
    start, length, rows = 0, first_cycle_steps * one, []
    while start < _arguments.MAX_STEPS * one and length >= one:
        end = start + length
        whole = min(end // one, 2**62)
        slope = _TOP / (length / one)
        rows.append((-(-start // one), whole, (end - whole * one) / one, slope))
        start, length = end, min(length * numerator // denominator, longest)
    if length < one:
        rows.append((-(-start // one), 0, 0.0, 0.0))
    first_steps, whole_ends, fractions, slopes = zip(*rows, strict=True)
    return _RestartTable(
        np.array(first_steps, np.int64),
        np.array(whole_ends, np.int64),
        np.array(fractions),
        np.array(slopes),
    )
