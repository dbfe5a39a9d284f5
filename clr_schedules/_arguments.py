"""What makes an argument a good one, and the error for a bad one, in Keras's words.

Imports nothing of the package. Each function returns the argument as the plain Python value that
goes into a config, or raises a ``TypeError`` (of a wrong kind) or a ``ValueError`` (out of range)
that names the argument, the rule and what was received.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

# The largest count of which two still fit into a 64-bit integer.
MAX_COUNT = 2**62 - 1
# The smallest and largest rate that float32 holds with all its digits.
_MIN_RATE, _MAX_RATE = 2.0**-126, (2 - 2.0**-23) * 2.0**127


def received(name: str, rule: str, value: Any) -> str:
    """The sentence of every error here."""
    return f"Argument `{name}` must be {rule}. Received: {name}={value!r}"


def real(name: str, value: Any, rule: str) -> float:
    """A finite number."""
    _check_kind(name, value, rule)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(received(name, rule, value))
    return number


def rate(name: str, value: Any, *, zero: bool = True) -> float:
    """A learning rate: a finite number from 0 (or above it), within the range of float32."""
    rule = f"a finite number {'of at least' if zero else 'above'} 0"
    number = real(name, value, rule)
    if number < 0 or (number == 0 and not zero):
        raise ValueError(received(name, rule, value))
    if number and not _MIN_RATE <= number <= _MAX_RATE:
        raise ValueError(
            received(name, f"{rule}, and from 1.2e-38 to 3.4e+38 as float32 has it", value)
        )
    return number + 0.0  # -0.0 is 0.0


def bounds(low_name: str, low: Any, high_name: str, high: Any) -> tuple[float, float]:
    rates = rate(low_name, low), rate(high_name, high, zero=False)
    in_order(low_name, rates[0], high_name, rates[1])
    return rates


def in_order(low_name: str, low: float, high_name: str, high: float) -> None:
    if low > high:
        raise ValueError(
            f"Argument `{low_name}` must not be above `{high_name}`. "
            f"Received: {low_name}={low!r}, {high_name}={high!r}"
        )


def factor(name: str, value: Any, *, most: float | None = None) -> float:
    rule = "a finite number above 0" if most is None else f"above 0 and at most {most}"
    number = real(name, value, rule)
    if not 0 < number <= (math.inf if most is None else most):
        raise ValueError(received(name, rule, value))
    return number


def count(name: str, value: Any) -> int:
    """A whole number, at least 1 (``2000.0`` is one)."""
    rule = "a whole number of at least 1"
    _check_kind(name, value, rule)
    # An integer or a fraction is exact; everything else is as good as its double.
    number = Fraction(value if isinstance(value, numbers.Rational) else real(name, value, rule))
    if number.denominator != 1 or number < 1:
        raise ValueError(received(name, rule, value))
    if number > MAX_COUNT:
        raise ValueError(received(name, f"{rule} and below 2**62", value))
    return int(number)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    rule = f"one of {', '.join(map(repr, choices))}"
    if not isinstance(value, str):
        raise TypeError(received(name, rule, value))
    if value not in choices:
        raise ValueError(received(name, rule, value))
    return str(value)


def label(name: str, value: Any) -> str | None:
    rule = "a non-empty string or None"
    if value is not None and not isinstance(value, str):
        raise TypeError(received(name, rule, value))
    if value == "":
        raise ValueError(received(name, rule, value))
    return None if value is None else str(value)


def _check_kind(name: str, value: Any, rule: str) -> None:
    """Refuses what is no real number, and what is one by mere inheritance."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, numbers.Real):
        raise TypeError(received(name, rule, value))
