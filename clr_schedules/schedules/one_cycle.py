"""The one-cycle policy: a single cycle over the whole training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

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

    From each corner to the next, with ``t`` from 0 where the rate is low to 1 where it is high:

    .. code-block:: none

        lr = low + (high - low) * wave(t)

    where ``wave(t)`` is ``(1 - cos(pi * t)) / 2`` (``anneal="cosine"``) or ``t``. The corners need
    not be whole iterations. From ``end`` on, the rate is the final one.

    Arguments, defaults and rates are those of PyTorch's ``OneCycleLR``, whose strategy ``"cos"`` is
    called ``"cosine"`` here. Where that divides by zero, these rates go on: with ``peak`` at 0 no
    phase rises, with ``peak`` at ``end`` none falls.

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
        shared = _check_cycle(self)
        div_factor = self._factor("div_factor", "a finite number of at least 1", 1)
        final_div_factor = self._factor("final_div_factor", "a finite number above 0", _TINY)
        max_lr = _arguments.rate("max_lr", self.max_lr, zero=False)
        # The errors tell which rate is too small for float32.
        initial = _arguments.rate("max_lr / div_factor", max_lr / div_factor, zero=False)
        final = initial / final_div_factor
        if final > max_lr * (1 + 2.0**-24):
            rule = f"at least 1 / div_factor (here {1 / div_factor:g}): no rate is above `max_lr`"
            raise ValueError(_arguments.received("final_div_factor", rule, final_div_factor))
        final = min(final, max_lr)  # which a rounding may have put it above
        _arguments.rate("max_lr / div_factor / final_div_factor", final, zero=False)
        return shared | {
            "max_lr": max_lr,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
        }

    def _factor(self, name: str, rule: str, least: float) -> float:
        """The argument of this name as a float."""
        value = getattr(self, name)
        number = _arguments.real(name, value, rule)
        if number < least:
            raise ValueError(_arguments.received(name, rule, value))
        return number

    def momentum(self, max_momentum: float = 0.95, base_momentum: float = 0.85) -> OneCycleMomentum:
        """The momentum that mirrors this rate: lowest where the rate is highest.

        For ``schedule_hyperparameters``, as ``momentum`` of SGD or ``beta_1`` of Adam.

        Args:
            max_momentum: The momentum at the start and at the end. From ``base_momentum`` to below
                1. Default: 0.95.
            base_momentum: The momentum at the peak of the rate. At least 0. Default: 0.85.

        Raises:
            TypeError: If an argument is no number.
            ValueError: If an argument is out of its range.

        Example:
            >>> import clr_schedules as clr
            >>> lr = clr.OneCycle(max_lr=0.1, total_steps=4000)
            >>> lr.momentum().values([0, 1199, 3999])
            array([0.95, 0.85, 0.95])
        """
        return OneCycleMomentum(
            self.total_steps,
            max_momentum,
            base_momentum,
            self.pct_start,
            self.anneal,
            self.three_phase,
        )

    def _rate(self, step: Any) -> Any:
        phases = reference.one_cycle_phases(*self._corners(), self.three_phase)
        return _through(phases, step, self.anneal)

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


@_keras.register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class OneCycleMomentum(Schedule):
    r"""The momentum that mirrors `OneCycle`: down while the rate rises, and back up.

    .. code-block:: none

        max_momentum   -.           .-'----
                          \       /
        base_momentum      `-.__.'
                       0      peak     end

    with the corners of `OneCycle`; between them, half a cosine or a line. With three phases it is
    back at ``max_momentum`` at ``2 * peak``, and stays there. `OneCycle.momentum` makes it.

    Args:
        total_steps: The iterations of the whole training. At least 1.
        max_momentum: The momentum at the start and at the end. From ``base_momentum`` to below 1.
            Default: 0.95.
        base_momentum: The momentum at the peak of the rate. At least 0. Default: 0.85.
        pct_start: The fraction of the iterations in which the rate rises. From 0 to 1, with three
            phases to 0.5. Default: 0.3.
        anneal: ``"cosine"`` (default) or ``"linear"``.
        three_phase: Whether the rate has three phases. Default: False.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN.

    Reference:
        L. N. Smith, *A disciplined approach to neural network hyper-parameters: Part 1*,
        arXiv:1803.09820, section 4.3. The values are those of PyTorch's ``OneCycleLR``.

    Example:
        >>> from clr_schedules.schedules.one_cycle import OneCycleMomentum
        >>> OneCycleMomentum(total_steps=100, anneal="linear").values([0, 29, 99]).round(3)
        array([0.95, 0.85, 0.95])
    """

    total_steps: int
    max_momentum: float = 0.95
    base_momentum: float = 0.85
    pct_start: float = 0.3
    anneal: str = "cosine"
    three_phase: bool = False
    name: str | None = None

    _quantity: ClassVar[str] = "momentum"

    def _check(self) -> dict[str, Any]:
        rule = "a number of at least 0 and below 1"
        momenta = {}
        for name in ("max_momentum", "base_momentum"):
            momenta[name] = _arguments.real(name, getattr(self, name), rule) + 0.0
            if not 0 <= momenta[name] < 1:
                raise ValueError(_arguments.received(name, rule, getattr(self, name)))
        _arguments.in_order("base_momentum", self.base_momentum, "max_momentum", self.max_momentum)
        return momenta | _check_cycle(self)

    def _rate(self, step: Any) -> Any:
        phases = reference.one_cycle_momentum_phases(*self._corners(), self.three_phase)
        return _through(phases, step, self.anneal)

    def _reference(self, iteration: reference.Integers) -> reference.Floats:
        return reference.one_cycle_momentum(
            iteration, *self._corners(), self.anneal, self.three_phase
        )

    def _corners(self) -> tuple[int, float, float, float]:
        return self.total_steps, self.max_momentum, self.base_momentum, self.pct_start


def _check_cycle(schedule: OneCycle | OneCycleMomentum) -> dict[str, Any]:
    if not isinstance(schedule.three_phase, (bool, np.bool_)):
        raise TypeError(_arguments.received("three_phase", "True or False", schedule.three_phase))
    longest, phases = (0.5, " with three phases") if schedule.three_phase else (1, "")
    rule = f"from 0 to {longest}{phases}"
    pct_start = _arguments.real("pct_start", schedule.pct_start, rule)
    if not 0 <= pct_start <= longest:
        raise ValueError(_arguments.received("pct_start", rule, schedule.pct_start))
    return {
        "total_steps": _arguments.count("total_steps", schedule.total_steps),
        "pct_start": pct_start + 0.0,  # -0.0 is 0.0
        "anneal": _arguments.choice("anneal", schedule.anneal, _ANNEALS),
        "three_phase": bool(schedule.three_phase),
        "name": _arguments.label("name", schedule.name),
    }


def _through(phases: list[reference.Phase], step: Any, anneal: str) -> Any:
    """The values of phases, one after the other; behind the last, its end."""
    begins, bottoms, tops, lows, highs = zip(*phases, strict=True)
    behind = [step >= begin for begin in begins[1:]]

    def of_phase(numbers: Sequence[float]) -> Any:
        # There is a single wave, with the numbers chosen.
        return numerics.chosen(behind, numbers)

    whole = [round(bottom) for bottom in bottoms]  # so that the part is no more than a half
    part = [float(bottom - w) for bottom, w in zip(bottoms, whole, strict=True)]
    # In integers first: near the bottom of a long phase float64 would have no digits left.
    distance = step - of_phase(whole)
    lengths = [top - bottom for top, bottom in zip(tops, bottoms, strict=True)]
    if anneal == "cosine":
        slopes = [numerics.slope(length, numerics.is_precise()) for length in lengths]
        head, tail = map(of_phase, zip(*slopes, strict=True))
        angle = numerics.angle(distance, head, tail, of_phase(part))
        wave = numerics.half_cosine(angle.clipped())
    else:
        # A factor, since XLA does not like to repeat a division by what is not constant.
        growth = of_phase([float(1 / length) for length in lengths])
        ramp = (numerics.wide(distance) - of_phase(part)) * growth
        wave = numerics.Unrounded(_keras.clip(ramp, 0.0, 1.0))
    return numerics.between(of_phase(lows), of_phase(highs), wave)
