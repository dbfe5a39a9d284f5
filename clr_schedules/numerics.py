"""The arithmetic of a schedule on tensors: an integer phase, then one wide float.

A rate in float32 is only as good as the step that it is computed from, and float32 counts no
further than 2^24. So the phase is taken first, in 64-bit integers, where it is exact for every
step; what follows is a handful of operations on one float64 scalar, whose errors (some 2^-51)
vanish when the result is rounded, once, to float32.

Call these within ``_keras.wide_types()``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from clr_schedules import _keras

# Half of pi, to 36 digits. The angles of cosines are multiples of steps, and are taken as such: a
# rounding less counts, since the square of a sine doubles what its angle is off by.
RIGHT_ANGLE = Fraction("1.57079632679489661923132169163975144")


def integer(step: Any) -> Any:
    """The step as an int64 tensor; a float is taken as the integer that it is."""
    return _keras.cast(step, "int64")


def wide(x: Any) -> Any:
    """The tensor in float64."""
    return _keras.cast(x, "float64")


def triangle(step: Any, up: int, down: int, top: Fraction = Fraction(1)) -> Any:
    """The triangle wave at a step.

    Args:
        step: int64 tensor, from 0.
        up: steps of the rising half-cycle.
        down: steps of the falling half-cycle.
        top: its height.

    Returns:
        With ``position`` the step within its cycle: ``position / up`` from 0 to 1, then
        ``(up + down - position) / down`` back to 0, times ``top``; float64.
    """
    length = up + down
    position = step % length

    def line(steps: Any, of: int) -> Any:
        return wide(steps) / of if top == 1 else wide(steps) * float(top / of)

    # Each line is above its top on the other's half, so their minimum is the triangle.
    if up == down:
        return line(_keras.minimum(position, length - position), up)
    return _keras.minimum(line(position, up), line(length - position, down))


def chosen(behind: Sequence[Any], numbers: Sequence[float]) -> Any:
    """The number of the phase that a step is in.

    Args:
        behind: whether the step is behind each phase but the last, as boolean tensors.
        numbers: those of all phases, floats or integers.

    Returns:
        A tensor, float64 or int64; where all numbers are the same, that number.
    """
    if len(set(numbers)) == 1:
        return numbers[0]
    as_tensor, kind = (integer, np.int64) if isinstance(numbers[0], int) else (wide, np.float64)
    # As arrays, since even a float64 of NumPy would lose digits as a Python number does.
    value, *others = (as_tensor(np.array(number, kind)) for number in numbers)
    for is_behind, other in zip(behind, others, strict=True):
        value = _keras.where(is_behind, other, value)
    return value


def half_cosine(angle: Any) -> Any:
    """``(1 - cos(2 * angle)) / 2``, from 0 to 1 at a right angle.

    As the square of the sine, which keeps its digits near 0.
    """
    s = _keras.sin(angle)
    return s * s


def power(base: float, exponent: Any) -> Any:
    """``base ** exponent`` for a Python float in (0, 1] and an int64 tensor; underflows to 0.

    The framework's power of float64: a base rounded to float32 is another base (0.99994 ** 1e5
    would be off by 2e-3), and ``exp(exponent * log(base))`` loses the digits of float64 that the
    product has before its point. (So does Eigen's power of a vector of steps, in TensorFlow without
    XLA; that of a scalar, which a step takes, does not.)
    """
    return base ** wide(exponent)


def finite(scale: Any) -> Any:
    """A scale as a finite factor, so that at an amplitude of 0 even an infinite one gives 0."""
    if isinstance(scale, (int, float)):
        # A Python number stays one: it would lose digits on its way through a float32 tensor.
        return scale if math.isnan(scale) else min(max(scale, -1e300), 1e300)
    return _keras.clip(wide(scale), -1e300, 1e300)


def between(base_lr: Any, max_lr: Any, amplitude: Any) -> Any:
    """``base_lr + (max_lr - base_lr) * amplitude``, never outside the two and reaching both.

    Args:
        base_lr: the rate at an amplitude of 0; a float, or a float64 tensor.
        max_lr: the rate at 1, and at what is above; likewise.
        amplitude: float64 tensor, from 0.
    """
    rate = base_lr + (max_lr - base_lr) * amplitude
    # An amplitude of 1 may arrive as 1 - 3 * 2^-53 (compilers turn `x / n` into `x * (1 / n)`), and
    # base_lr + (max_lr - base_lr) need not be max_lr. At the top, say so; what is below is so far
    # below that no rounding puts it above.
    return _keras.where(amplitude > 1 - 2.0**-51, max_lr, rate)
