"""The arithmetic that the formulas of the schedules share, over a namespace ``xp`` of arrays.

A rate in float32 is only as good as the step that it is computed from, and float32 holds whole
numbers up to 2^24 alone. So a formula takes its phase first, in integers, where the phase is exact.
What follows is a handful of operations on one float64, whose errors (a few units of 2^-53) are far
below what float32 can show. The result is rounded to float32 once, at the end.

``xp`` is NumPy, or has the operations of the running framework: see `_backend.base.Backend.xp`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clr_schedules._backend import backend

# The largest scale: 0 times infinity would not be a number.
_HUGE = 1e300


# The phase at which a wave has its top: a quarter of a turn for a squared sine. The top of a line
# is a hair above 1, and the line is cut off at 1: XLA turns a division by a constant into a
# multiplication, and joins that with other constants, so that a line to 1 itself could end below 1
# by two roundings. (A sine that misses its top by two roundings is 1.)
TOPS = {"linear": 1 + 2.0**-51, "cosine": math.pi / 2}


def triangle(step: Any, up: int, down: int, top: float, xp: Any) -> Any:
    """The triangle wave: from 0 to ``top`` in ``up`` iterations, back to 0 in ``down``."""
    length = up + down
    whole = step % length
    position = xp.float64(whole)
    # A float64 holds whole numbers up to 2^53. In a longer cycle, integers are subtracted.
    left = length - position if length <= 2**53 else xp.float64(length - whole)
    if up == down:  # one multiplication fewer than below
        return xp.minimum(position, left) * (top / up)
    # On each half of the cycle, the line of the other half is higher.
    return xp.minimum(position * (top / up), left * (top / down))


def wave(phase: Any, kind: str, xp: Any) -> Any:
    """``t`` (linear) or ``(1 - cos(pi * t)) / 2`` (cosine), for a phase of ``t * TOPS[kind]``."""
    if kind == "linear":
        return xp.minimum(phase, 1.0)
    # A squared sine keeps its digits where it is near 0. (TensorFlow makes one quick operation of
    # the power.)
    return xp.sin(phase) ** 2


def power(base: float, exponent: Any, xp: Any) -> Any:
    """``base ** exponent`` for a Python float in (0, 1] and integers; it underflows to 0.

    The base stays a float64: rounded to float32, 0.99994 ** 1e5 would be off by 2e-3.
    """
    return base ** xp.float64(exponent)


def clip_scale(scale: Any, xp: Any, least: float = 0.0) -> Any:
    """What a scale function returned, as a finite float64 of at least ``least``."""
    least = max(least, -_HUGE)
    if isinstance(scale, (int, float)):
        return scale if math.isnan(scale) else min(max(scale, least), _HUGE)
    # A scale function may be written with `keras.ops`, and returns a tensor then on the host too.
    scale = xp.float64(backend.to_numpy(scale) if xp is np else backend.tensor(scale))
    return xp.minimum(xp.maximum(scale, least), _HUGE)


def height(low: float, high: float) -> float:
    """``high - low``, rounded so that ``low + height`` is ``high``, or else just below ``high``."""
    nearest = high - low
    for number in (nearest, math.nextafter(nearest, math.inf), math.nextafter(nearest, 0.0)):
        if low + number == high:
            return number
    # The sum of `low` and any height is rounded to a neighbor of `high`: the lower neighbor.
    return nearest if low + nearest < high else math.nextafter(nearest, 0.0)
