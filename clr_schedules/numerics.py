"""The arithmetic of a schedule on tensors: an integer phase, then one wide float.

A rate in float32 is only as good as the step that it is computed from, and float32 counts no
further than 2^24. So the phase is taken first, in 64-bit integers, where it is exact; what follows
is a handful of operations on one float64 scalar, whose errors (some 2^-51) vanish when the result
is rounded, once, to float32.

Call these within ``_keras.wide_types()``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from clr_schedules import _keras

RIGHT_ANGLE = Fraction("1.57079632679489661923132169163975144")  # half of pi


class Unrounded(NamedTuple):
    """A float64 tensor ``near``, and in ``rest`` the part of the number that is too small for it.

    The rest is the Python number 0, which costs nothing, but for a cosine in float64.
    """

    near: Any
    rest: Any = 0.0

    def clipped(self) -> Unrounded:
        """As an angle, from 0 to a right one."""
        return Unrounded(_keras.clip(self.near, 0.0, float(RIGHT_ANGLE)), self.rest)

    def times(self, factor: Any) -> Unrounded:
        """The product with a float64 tensor or a Python number."""
        return Unrounded(self.near * factor, 0.0 if _is_zero(self.rest) else self.rest * factor)


def _is_zero(x: Any) -> bool:
    """Whether this is the Python number 0."""
    return isinstance(x, float) and x == 0


def is_precise() -> bool:
    """Whether rates are float64 (on JAX: where it has 64 bits)."""
    return _keras.floatx() == "float64"


def integer(step: Any) -> Any:
    """The step as an int64 tensor; a float stands for a whole number."""
    return _keras.cast(step, "int64")


def wide(x: Any) -> Any:
    """The tensor in float64."""
    return _keras.cast(x, "float64")


def triangle(step: Any, up: int, down: int) -> Any:
    """The triangle wave at an int64 tensor of steps, from 0; float64.

    With ``position`` the step within its cycle: ``position / up`` from 0 to 1, then
    ``(up + down - position) / down`` back to 0.
    """
    length = up + down
    position = step % length
    # Each line is above 1 on the other's half.
    if up == down:
        return wide(_keras.minimum(position, length - position)) / up
    return _keras.minimum(wide(position) / up, wide(length - position) / down)


def triangle_angle(step: Any, up: int, down: int) -> Unrounded:
    """The triangle wave of ``triangle``, as an angle: from 0 to a right one, and back."""
    length = up + down
    position = step % length
    if up == down:
        return angle(_keras.minimum(position, length - position), *slope(up, is_precise()))
    falling = position > up
    slopes = zip(*(slope(steps, is_precise()) for steps in (up, down)), strict=True)
    steps = _keras.where(falling, length - position, position)
    return angle(steps, *(chosen([falling], numbers) for numbers in slopes))


def slope(steps: int | Fraction, precise: bool) -> tuple[float, float]:
    """The angle of a step, with so many steps to a right angle; negative where a phase falls.

    Returns:
        Two floats that add up to it. If precise, the first has so few digits that its product with
        an integer up to ``steps`` (below 2^53) is exact; else, the second is 0.
    """
    exact = RIGHT_ANGLE / steps
    head = float(exact)
    if precise:
        mantissa, exponent = math.frexp(head)
        digits = max(min(53 - math.ceil(abs(Fraction(steps))).bit_length(), 26), 1)
        head = math.ldexp(round(math.ldexp(mantissa, digits)), exponent - digits)
        return head, float(exact - Fraction(head))
    return head, 0.0


def angle(steps: Any, head: Any, tail: Any, part: Any = 0.0) -> Unrounded:
    """``(steps - part) * (head + tail)``, of int64 steps and the two numbers of a ``slope``.

    These and the part (of a step) are floats or float64 tensors. Roundings count, since the square
    of a sine doubles what its angle is off by.
    """
    steps = wide(steps)
    left = steps if _is_zero(part) else steps - part
    if _is_zero(tail):
        return Unrounded(left * head)
    # Products and errors of sums are exact (Veltkamp's halves, Dekker's sums), since there are 0
    # steps, or more than the part.
    far = part * (2.0**27 + 1)
    high = far - (far - part)
    exact = steps * head
    rough = exact - high * head
    rest = (exact - rough) - high * head + (left * tail - (part - high) * head)
    near = rough + rest
    return Unrounded(near, (rough - near) + rest)


def chosen(behind: Sequence[Any], numbers: Sequence[float]) -> Any:
    """The number of the phase that a step is in; where all are the same, that one.

    Args:
        behind: whether the step is behind each phase but the last, as boolean tensors.
        numbers: those of all phases, floats or integers.
    """
    if len(set(numbers)) == 1:
        return numbers[0]
    as_tensor, kind = (integer, np.int64) if isinstance(numbers[0], int) else (wide, np.float64)
    # As arrays: a Python number, even a float64 of NumPy, would lose digits.
    value, *others = (as_tensor(np.array(number, kind)) for number in numbers)
    for is_behind, other in zip(behind, others, strict=True):
        value = _keras.where(is_behind, other, value)
    return value


def half_cosine(angle: Unrounded) -> Unrounded:
    """``(1 - cos(2 * angle)) / 2``, from 0 to 1 at a right angle.

    As the square of the sine, which keeps its digits near 0.
    """
    sine = _keras.sin(angle.near)
    if _is_zero(angle.rest):
        return Unrounded(sine * sine)
    cosine = _keras.sin(float(RIGHT_ANGLE) - angle.near)
    return Unrounded(sine * sine, 2 * sine * cosine * angle.rest)  # its derivative


def power(base: float, exponent: Any) -> Any:
    """``base ** exponent`` for a Python float in (0, 1] and an int64 tensor; underflows to 0.

    The framework's power of float64: a base in float32 is another one (0.99994 ** 1e5 would be off
    by 2e-3), and ``exp(exponent * log(base))`` loses the digits that the product has before its
    point. (So does Eigen's power of a vector of steps, in TensorFlow without XLA.)
    """
    return base ** wide(exponent)


def finite(scale: Any, least: float) -> Any:
    """A scale as a finite factor from ``least`` up: at an amplitude of 0, infinity gives 0."""
    if isinstance(scale, (int, float)):
        # A Python number stays one: a float32 tensor would lose digits.
        return scale if math.isnan(scale) else min(max(scale, least), 1e300)
    return _keras.clip(wide(scale), least, 1e300)


def between(base_lr: Any, max_lr: Any, amplitude: Unrounded) -> Any:
    """``base_lr + (max_lr - base_lr) * amplitude``, never outside the two and reaching both.

    The bounds are floats or float64 tensors; the amplitude is from 0, and above 1 taken as 1.
    """
    height = max_lr - base_lr
    part = height * amplitude.near
    if not _is_zero(amplitude.rest):
        lost = (max_lr - height) - base_lr  # by the rounding of the height
        part = part + (height * amplitude.rest + lost * amplitude.near)
    # An amplitude of 1 may arrive as 1 - 3 * 2^-53 (compilers turn `x / n` into `x * (1 / n)`), and
    # base_lr + (max_lr - base_lr) need not be max_lr. At the top, say so; from below, no rounding
    # goes above it.
    return _keras.where(amplitude.near > 1 - 2.0**-51, max_lr, base_lr + part)
