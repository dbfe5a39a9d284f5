"""The formulas as a textbook has them, in more digits than a rate has: what rates are held against.

It shares no line with the package. Phases are exact integers; all else is NumPy's ``longdouble``,
which on x86 processors has 11 bits more than float64: the errors here are hundredths of a unit in
the last place of float64. The starts of restarts are computed with 400 decimal digits.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Steps = npt.NDArray[np.int64]
Rates = npt.NDArray[Any]  # of longdouble

_WIDE = np.longdouble
_HALF_PI = 2 * np.arctan(_WIDE(1))
FAR = 2**53
# Of each format, the bits of its digits and the exponent of its smallest normal number.
_FORMATS = {
    "float64": (53, -1022),
    "float32": (24, -126),
    "bfloat16": (8, -126),
    "float16": (11, -14),
}


def rates(schedule: Any, steps: Steps) -> Rates:
    """The rates of a schedule of the package, or a constant one, at these steps.

    Raises:
        RuntimeError: If ``longdouble`` has no more digits than float64, as on ARM processors.
        KeyError: If the schedule is of a kind that has no formula here.
    """
    if np.finfo(_WIDE).nmant < 63:
        raise RuntimeError("Accuracy is measured where NumPy's `longdouble` has 64 bits: on x86.")
    if isinstance(schedule, float):
        return np.full(steps.shape, schedule, _WIDE)
    return _FORMULAS[type(schedule).__name__](schedule, steps)


def ulps(got: npt.ArrayLike, truth: Rates, dtype: str = "float32") -> Rates:
    """How far rates are from the truth, in units of the last place of a format.

    Below the smallest normal number frameworks flush to zero, as they do everywhere; there,
    anything from zero to that number counts as right, except in float16, whose range they leave.
    """
    digits, least = _FORMATS[dtype]
    rates = np.asarray(got, _WIDE)
    exponent = np.where(truth == 0, least, np.maximum(np.frexp(truth)[1] - 1, least))
    off = np.abs(np.ldexp(rates - truth, digits - 1 - exponent))
    smallest = np.ldexp(_WIDE(1), least)
    flushed = (least <= -126) & (truth < smallest) & (rates >= 0) & (rates <= smallest)
    return np.where(flushed, _WIDE(0), off)


def _ease(t: Rates, kind: str) -> Rates:
    """From 0 to 1, in a line or half a cosine."""
    t = np.clip(t, 0, 1)
    return t if kind == "linear" else np.sin(_HALF_PI * t) ** 2


def _cyclical(one: Any, steps: Steps) -> Rates:
    return one.base_lr + (_WIDE(one.max_lr) - one.base_lr) * _amplitude(one, steps)


def _amplitude(one: Any, steps: Steps) -> Rates:
    """The wave times the scale, from 0 to 1."""
    kind = type(one).__name__
    up, down = one.step_size, one.step_size_down or one.step_size
    cycle, position = np.divmod(steps, up + down)
    t = np.minimum(position / _WIDE(up), (up + down - position) / _WIDE(down))
    wave = _ease(t, one.wave if kind == "Cyclical" else "linear")
    peak_mult = {"Triangular2": 0.5, "Cyclical": getattr(one, "peak_mult", 1.0)}.get(kind, 1.0)
    gamma = one.gamma if kind in ("ExpRange", "Cyclical") else 1.0
    return wave * _WIDE(peak_mult) ** cycle * _WIDE(gamma) ** steps


def _one_cycle(one: Any, steps: Steps) -> Rates:
    initial = one.max_lr / one.div_factor
    final = min(initial / one.final_div_factor, one.max_lr)
    peak, bottom, last = _turns(one)
    after = initial if one.three_phase else final
    rising, falling = _shares(one, steps)
    # Each phase from its lower end, where differences would lose digits.
    rates = np.where(
        steps <= peak,
        initial + (_WIDE(one.max_lr) - initial) * rising,
        after + (_WIDE(one.max_lr) - after) * falling,
    )
    if one.three_phase:
        left = _ease((last - steps) / _WIDE(last - bottom), one.anneal)
        rates = np.where(steps >= bottom, final + (_WIDE(initial) - final) * left, rates)
    return rates


def _turns(one: Any) -> tuple[float, float, int]:
    """Where the rate is highest, where it is down again, and the last step."""
    peak, last = one.pct_start * one.total_steps - 1, one.total_steps - 1
    return peak, 2 * peak if one.three_phase else last, last


def _shares(one: Any, steps: Steps) -> tuple[Rates, Rates]:
    """What a one-cycle has of its range, up to the peak and from there."""
    peak, bottom, _ = _turns(one)
    rising = _ease(steps / _WIDE(peak), one.anneal)
    return rising, _ease((bottom - _WIDE(1) * steps) / _WIDE(bottom - peak), one.anneal)


def _momentum(one: Any, steps: Steps) -> Rates:
    if type(one.schedule).__name__ == "OneCycle":
        amplitude = np.minimum(*_shares(one.schedule, steps))
    else:
        amplitude = _amplitude(one.schedule, steps)
    return one.max_momentum - (_WIDE(one.max_momentum) - one.base_momentum) * amplitude


def _cosine_restarts(one: Any, steps: Steps) -> Rates:
    if one.cycle_mult == 1:
        cycle, position = np.divmod(steps, one.first_cycle_steps)
        left = (one.first_cycle_steps - position) / _WIDE(one.first_cycle_steps)
    else:
        whole, fraction, length = _restarts(one.first_cycle_steps, one.cycle_mult)
        # A step belongs to the cycle that began at it or before it.
        cycle = np.searchsorted(whole + (fraction > 0), steps, side="right") - 1
        left = 1 - ((steps - whole[cycle]) - fraction[cycle]) / length[cycle]
        # The end of a cycle is the start of the next: the digits of a small difference.
        after = np.minimum(cycle + 1, len(whole) - 1)
        to_next = ((whole[after] - steps) + fraction[after]) / length[cycle]
        left = np.where(after > cycle, to_next, left)
        left = np.where(length[cycle] < 1, 0, left)
    wave = _ease(left, "cosine") * _WIDE(one.peak_mult) ** cycle
    return one.min_lr + (_WIDE(one.max_lr) - one.min_lr) * wave


@functools.cache
def _restarts(first: int, mult: float) -> tuple[Steps, Rates, Rates]:
    """The starts of the cycles that begin below 2^53: whole steps, the rest of them; the lengths.

    If cycles shrink, the last is the first that would be shorter than a step.
    """
    whole, fraction, lengths = [], [], []
    with decimal.localcontext(prec=400):
        factor, start, length, n = (
            decimal.Decimal(mult),
            decimal.Decimal(0),
            decimal.Decimal(first),
            0,
        )
        while start < 2 * FAR:
            whole.append(min(int(start), 2**62))
            fraction.append(_WIDE(str(start % 1)))
            lengths.append(_WIDE(str(length)))
            if length < 1:
                break
            n += 1
            length = first * factor**n
            start = (length - first) / (factor - 1)
    return np.array(whole, np.int64), np.array(fraction, _WIDE), np.array(lengths, _WIDE)


def _warmup(one: Any, steps: Steps) -> Rates:
    n = one.warmup_steps
    t = np.minimum(steps, n) / _WIDE(n)
    after = rates(one.schedule, np.maximum(steps - n, 0))
    return one.start_lr * (np.maximum(n - steps, 0) / _WIDE(n)) + after * t


def _piecewise(one: Any, steps: Steps) -> Rates:
    found = rates(one.schedules[0], steps)
    for begin, schedule in zip(one.boundaries, one.schedules[1:], strict=True):
        piece = rates(schedule, np.maximum(steps - begin, 0))
        found = np.where(steps >= begin, piece, found)
    return found


def _shifted(one: Any, steps: Steps) -> Rates:
    return rates(one.schedule, np.maximum(steps - one.steps, 0))


_FORMULAS: dict[str, Callable[[Any, Steps], Rates]] = {
    "Triangular": _cyclical,
    "Triangular2": _cyclical,
    "ExpRange": _cyclical,
    "Cyclical": _cyclical,
    "OneCycle": _one_cycle,
    "MirroredMomentum": _momentum,
    "CosineRestarts": _cosine_restarts,
    "Warmup": _warmup,
    "Piecewise": _piecewise,
    "Shifted": _shifted,
}


def restarts(schedule: Any, limit: int) -> Steps:
    """The first steps of the cycles of a `CosineRestarts`, below the limit."""
    if schedule.cycle_mult == 1:
        count = min(math.ceil(limit / schedule.first_cycle_steps), 1000)
        return schedule.first_cycle_steps * np.arange(count, dtype=np.int64)
    whole, fraction, _ = _restarts(schedule.first_cycle_steps, schedule.cycle_mult)
    first = whole + (fraction > 0)
    return first[first < limit]
