"""The one-cycle policy: a single cycle over the whole training."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from clr_schedules import _arguments
from clr_schedules._serialization import register
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Integers, Schedule
from clr_schedules.schedules.momentum import MirroredMomentum

_ANNEALS = ("cosine", "linear")


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class OneCycle(Schedule):
    r"""One cycle over the whole training: up to ``max_lr``, then down to next to nothing.

    .. code-block:: none

        max_lr          .-.                          .-.
                      /     \                      /     \
                     /        \                   /       \
        initial   _.            \              _.           ._
        final                     `-.____                      `-.____
                  0    peak       end          0    peak  2*peak   end

                two phases (default)                three phases

        peak    = pct_start * total_steps - 1        end   = total_steps - 1
        initial = max_lr / div_factor                final = initial / final_div_factor

    From each corner to the next, with ``t`` from 0 where the rate is low to 1 where it is high:

    .. code-block:: none

        lr = low + (high - low) * wave(t)

    where ``wave(t)`` is ``(1 - cos(pi * t)) / 2`` (``anneal="cosine"``) or ``t``. The corners need
    not be whole iterations. From ``end`` on, the rate is the final one; with ``pct_start=1``, where
    no phase falls, it stays at ``max_lr``.

    Arguments, defaults and rates are those of PyTorch's ``OneCycleLR``, whose strategy ``"cos"`` is
    called ``"cosine"`` here. PyTorch raises a ZeroDivisionError where the peak is at step 0 or at
    the end; here the phase that takes no time is left out.

    The iteration is what Keras hands to a schedule: the number of batches, counted from 0. (Under
    gradient accumulation, the public ``optimizer.iterations`` counts updates.)

    Args:
        max_lr: The highest rate, at the peak. Above 0.
        total_steps: The number of iterations of the whole training: epochs times steps per epoch
            (see ``clr_schedules.steps_per_epoch``). At least 1. A second `fit` with the same
            optimizer stays at the last rate.
        pct_start: The fraction of the iterations in which the rate rises. From 0 to 1; with three
            phases to 0.5, since the second phase takes as long as the first. Default: 0.3.
        div_factor: ``max_lr`` over the initial rate. At least 1. Default: 25.
        final_div_factor: The initial rate over the final one, which must not be above ``max_lr``.
            Above 0. Default: 10,000.
        anneal: ``"cosine"`` (default), which turns smoothly at the corners, or ``"linear"``.
        three_phase: Whether the rate first falls back to the initial one, as steeply as it rose,
            and from there to the final one, as in the paper. Default: False.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN, or the initial or the final
            rate is out of the range of float32.

    Reference:
        L. N. Smith, N. Topin, *Super-Convergence: Very Fast Training of Neural Networks Using
        Large Learning Rates*, arXiv:1708.07120.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.OneCycle(max_lr=0.1, total_steps=10 * 400)
        >>> optimizer = keras.optimizers.SGD(learning_rate=lr, momentum=0.9)
        >>> lr.values([0, 1199, 2599, 3999, 5000])
        array([4.00000e-03, 1.00000e-01, 5.00002e-02, 4.00000e-07, 4.00000e-07])
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: str = "cosine"
    three_phase: bool = False
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        three_phase = _arguments.flag("three_phase", self.three_phase)
        longest, phases = (0.5, " with three phases") if three_phase else (1.0, "")
        rule = f"from 0 to {longest:g}{phases}"
        pct_start = _arguments.number_in("pct_start", self.pct_start, rule, 0.0, longest)
        checked = {
            "total_steps": _arguments.count("total_steps", self.total_steps),
            "pct_start": pct_start,
            "anneal": _arguments.choice("anneal", self.anneal, _ANNEALS),
            "three_phase": three_phase,
            "name": _arguments.label("name", self.name),
        }
        rule, most = "a finite number of at least 1", float(np.finfo(np.float64).max)
        div_factor = _arguments.number_in("div_factor", self.div_factor, rule, 1.0, most)
        rule = "a finite number above 0"
        final_div_factor = _arguments.number_in(
            "final_div_factor", self.final_div_factor, rule, 0.0, most, open_low=True
        )
        max_lr = _arguments.rate("max_lr", self.max_lr, positive=True)
        initial = max_lr / div_factor
        _check_rate_in_float32("initial", "max_lr / div_factor", initial)
        final = initial / final_div_factor
        if final > max_lr * (1 + 2.0**-24):
            rule = f"at least 1 / div_factor (here {1 / div_factor:g}): no rate is above `max_lr`"
            raise ValueError(_arguments.received("final_div_factor", rule, final_div_factor))
        final = min(final, max_lr)  # a rounding may have put it above
        _check_rate_in_float32("final", "max_lr / div_factor / final_div_factor", final)
        return checked | {
            "max_lr": max_lr,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
        }

    @property
    def _peak(self) -> float:
        """Where the rate is highest, in iterations; a fraction perhaps, and as low as -1."""
        # The product is rounded, as in PyTorch, but in very long cycles not to above the whole.
        longest = self.total_steps / 2 if self.three_phase else self.total_steps
        return min(self.pct_start * self.total_steps, longest) - 1

    @property
    def _top(self) -> float:
        return numerics.TOPS[self.anneal]

    @property
    def _bottom(self) -> float:
        """Where the fall from the peak ends."""
        return 2 * self._peak if self.three_phase else self.total_steps - 1

    def _rate(self, step: Any, xp: Any) -> Any:
        initial = self.max_lr / self.div_factor
        final = min(initial / self.final_div_factor, self.max_lr)
        step = xp.float64(step)
        phase = self._phase(step, xp)
        # One wave serves all phases: they differ in its floor and its height.
        low, height = initial, numerics.height(initial, self.max_lr)
        if self.three_phase:
            start, end = self._bottom, self.total_steps - 1
            last = step >= start
            if final <= initial:
                line, floor, ceiling = self._line(step, start, end), final, initial
            else:  # the last phase rises
                line = xp.minimum(self._line(step, end, start), self._top)
                floor, ceiling = initial, final
            phase = xp.where(last, line, phase)
            low = xp.where(last, floor, low)
            height = xp.where(last, numerics.height(floor, ceiling), height)
        else:
            falling = step >= self._peak
            low = xp.where(falling, final, low)
            height = xp.where(falling, numerics.height(final, self.max_lr), height)
        return low + height * numerics.wave(xp.maximum(phase, 0.0), self.anneal, xp)

    def _phase(self, step: Any, xp: Any) -> Any:
        """From 0 at the start to the top at the peak, down to 0 at `_bottom`, and negative then."""
        peak, bottom = self._peak, self._bottom
        lines = []
        if peak > 0:
            lines.append(step * (self._top / peak))
        if peak < bottom:
            lines.append(self._line(step, peak, bottom))
        if len(lines) < 2:  # without a rise or without a fall, the phase is at its top on that side
            lines.append(step * 0.0 + self._top)
        # On each side of the peak, the line of the other side is higher.
        return functools.reduce(xp.minimum, lines)

    def _mirrored(self, step: Any, xp: Any) -> Any:
        """1 less the wave: 0 at the peak, 1 where the rate is initial or lower."""
        peak, bottom = self._peak, self._bottom
        # Distances from the peak, not 1 less a phase, keep the digits of what is near 0.
        distance = xp.float64(step) - peak
        if self.three_phase and peak <= 0:  # the fall from the peak ends at or before iteration 0
            return distance * 0.0 + 1.0
        lines = [distance * 0.0]
        if peak > 0:
            lines.append(distance * (-self._top / peak))
        if peak < bottom:
            lines.append(distance * (self._top / (bottom - peak)))
        phase = functools.reduce(xp.maximum, lines)
        return numerics.wave(xp.minimum(phase, self._top), self.anneal, xp)

    def _line(self, step: Any, start: float, end: float) -> Any:
        """A phase that falls from its top at ``start`` to 0 at ``end``."""
        # Both ends are exact in float64 below 2^53, so that the difference is rounded once.
        return (end - step) * (self._top / (end - start))

    def _natural_length(self) -> int:
        return self.total_steps

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        return np.array([self.total_steps] if start < self.total_steps <= stop else [], np.int64)

    def momentum(self, max_momentum: float = 0.95, base_momentum: float = 0.85) -> MirroredMomentum:
        """The momentum that mirrors this rate: lowest where the rate is highest.

        It is for ``schedule_hyperparameters``, as ``momentum`` of SGD or ``beta_1`` of Adam. The
        values and the defaults are those of PyTorch's ``OneCycleLR``. With three phases the
        momentum is back at its highest at ``2 * peak``, and stays there.

        Args:
            max_momentum: The momentum at the start and at the end. From ``base_momentum`` to below
                1. Default: 0.95.
            base_momentum: The momentum at the peak of the rate. At least 0. Default: 0.85.

        Raises:
            TypeError: If an argument is not a number.
            ValueError: If an argument is out of its range.

        Example:
            >>> import clr_schedules as clr
            >>> lr = clr.OneCycle(max_lr=0.1, total_steps=4000)
            >>> lr.momentum().values([0, 1199, 3999])
            array([0.95, 0.85, 0.95])
        """
        return MirroredMomentum(self, max_momentum, base_momentum)


def _check_rate_in_float32(name: str, formula: str, rate: float) -> None:
    """Raises if a rate that follows from the arguments is out of the range of float32."""
    try:
        _arguments.rate(name, rate, positive=True)
    except ValueError:
        raise ValueError(
            f"The {name} rate, `{formula}`, must be from 1.2e-38 to 3.4e+38, the range of float32. "
            f"Received: {formula} = {_arguments.shown(rate)}"
        ) from None
