"""The one-cycle policy: a single cycle over the whole training, and an end far below its start."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from clr_schedules import _arguments, _keras, numerics, reference
from clr_schedules.schedules.base import Schedule

_ANNEALS = ("cosine", "linear")
_TINY = 5e-324  # the smallest number above 0


@_keras.register
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

    From each corner to the next, with ``t`` from 0 where the rate is low to 1 where it is high, it
    follows

    .. code-block:: none

        lr = low + (high - low) * wave(t)

    where ``wave(t)`` is ``(1 - cos(pi * t)) / 2`` (``anneal="cosine"``) or ``t``. The corners need
    not be whole iterations. From ``end`` on, the rate is the final one, however long the training
    goes on.

    The arguments and the rates are those of PyTorch's ``OneCycleLR``, whose strategy ``"cos"`` is
    called ``"cosine"`` here. Where that divides by zero, these rates go on: with ``peak`` at 0
    there is no rising phase, with ``peak`` at ``end`` no falling one.

    The iteration is what Keras hands to a schedule, ``optimizer.iterations``: batches, counted
    from 0, under gradient accumulation too.

    Args:
        max_lr: The highest rate, at the peak. Above 0.
        total_steps: The iterations of the whole training: epochs times steps per epoch (see
            ``clr_schedules.steps_per_epoch``). At least 1.
        pct_start: The fraction of the iterations in which the rate rises. From 0 to 1, with three
            phases to 0.5, since the second takes as long as the first. Default: 0.3.
        div_factor: ``max_lr`` over the initial rate. At least 1. Default: 25.
        final_div_factor: The initial rate over the final one, which must not be above ``max_lr``.
            Above 0. Default: 10,000.
        anneal: ``"cosine"`` (default), which turns smoothly at the corners, or ``"linear"``.
        three_phase: Whether the rate first falls back to the initial one, as steeply as it rose,
            and from there to the final one, as in the paper. Default: False.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN, or the initial or the final
            rate is out of the range of float32.

    Reference:
        L. N. Smith, N. Topin, *Super-Convergence: Very Fast Training of Neural Networks Using
        Large Learning Rates*, arXiv:1708.07120. The arguments and the default of two phases are
        those of ``torch.optim.lr_scheduler.OneCycleLR``.

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
        if not isinstance(self.three_phase, (bool, np.bool_)):
            raise TypeError(_arguments.received("three_phase", "True or False", self.three_phase))
        longest, phases = (0.5, " with three phases") if self.three_phase else (1, "")
        pct_start = self._number("pct_start", f"from 0 to {longest}{phases}", 0, longest)
        div_factor = self._number("div_factor", "a finite number of at least 1", 1)
        final_div_factor = self._number("final_div_factor", "a finite number above 0", _TINY)
        max_lr = _arguments.rate("max_lr", self.max_lr, zero=False)
        # The errors tell which rate is too small for float32.
        initial = _arguments.rate("max_lr / div_factor", max_lr / div_factor, zero=False)
        final = initial / final_div_factor
        if final > max_lr * (1 + 2.0**-24):
            rule = f"at least 1 / div_factor (here {1 / div_factor:g}): no rate is above `max_lr`"
            raise ValueError(_arguments.received("final_div_factor", rule, final_div_factor))
        _arguments.rate("max_lr / div_factor / final_div_factor", final, zero=False)
        return {
            "max_lr": max_lr,
            "total_steps": _arguments.count("total_steps", self.total_steps),
            "pct_start": pct_start,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
            "anneal": _arguments.choice("anneal", self.anneal, _ANNEALS),
            "three_phase": bool(self.three_phase),
            "name": _arguments.label("name", self.name),
        }

    def _number(self, name: str, rule: str, low: float, high: float = math.inf) -> float:
        """The argument of this name as a float, within these limits."""
        value = getattr(self, name)
        number = _arguments.real(name, value, rule)
        if not low <= number <= high:
            raise ValueError(_arguments.received(name, rule, value))
        return number + 0.0  # -0.0 is 0.0

    def _rate(self, step: Any) -> Any:
        first, *others = reference.one_cycle_phases(*self._corners(), self.three_phase)
        rate = self._curve(step, first)
        for phase in others:
            rate = _keras.where(step < phase.begin, rate, self._curve(step, phase))
        return rate

    def _curve(self, step: Any, phase: reference.Phase) -> Any:
        """The rates of a phase, which stay what they are at its ends beyond them."""
        ramp = numerics.ramp(step, phase.bottom, phase.top)
        wave = numerics.half_cosine(ramp) if self.anneal == "cosine" else ramp
        return numerics.between(phase.low, phase.high, wave)

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.one_cycle(iteration, *self._corners(), self.anneal, self.three_phase)

    def _corners(self) -> tuple[float, int, float, float, float]:
        return (
            self.max_lr,
            self.total_steps,
            self.pct_start,
            self.div_factor,
            self.final_div_factor,
        )
