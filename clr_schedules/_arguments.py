"""Checks of arguments, and their errors in Keras's words.

Imports nothing of the package. Each check returns the argument as the plain Python value that goes
into a config, or raises a ``TypeError`` (a wrong kind) or a ``ValueError`` (out of range) that
names the argument, the rule and what was received.
"""

from __future__ import annotations

import math
import numbers
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Float64 holds every whole number up to here. At a million steps a second, that is 285 years.
MAX_STEPS = 2**53
# The smallest and the largest rate that float32 holds with all its digits.
_MIN_RATE, _MAX_RATE = 2.0**-126, (2 - 2.0**-23) * 2.0**127


def received(name: str, rule: str, value: Any) -> str:
    """The sentence of every error here."""
    return f"Argument `{name}` must be {rule}. Received: {name}={value!r}"


def real(name: str, value: Any, rule: str) -> float:
    """A finite number, as a float."""
    _check_kind(name, value, rule)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(received(name, rule, value))
    return number + 0.0  # turns -0.0 into 0.0


def number_in(
    name: str, value: Any, rule: str, low: float, high: float, *, open_low: bool = False
) -> float:
    """A number from ``low`` (or above it, if ``open_low``) to ``high``; the rule says the same."""
    number = real(name, value, rule)
    if not low <= number <= high or (open_low and number == low):
        raise ValueError(received(name, rule, value))
    return number


def rate(name: str, value: Any, *, positive: bool = False) -> float:
    """A learning rate: a finite number from 0 (or above it), within the range of float32."""
    rule = f"a finite number {'above' if positive else 'of at least'} 0"
    number = number_in(name, value, rule, 0.0, math.inf, open_low=positive)
    if number and not _MIN_RATE <= number <= _MAX_RATE:
        zero = "" if positive else "0, or "
        rule = f"{zero}a finite number from 1.2e-38 to 3.4e+38, the range of float32"
        raise ValueError(received(name, rule, value))
    return number


def bounds(low_name: str, low: Any, high_name: str, high: Any) -> tuple[float, float]:
    """Two learning rates in order; the higher one is above 0."""
    rates = rate(low_name, low), rate(high_name, high, positive=True)
    in_order(low_name, rates[0], high_name, rates[1])
    return rates


def in_order(low_name: str, low: float, high_name: str, high: float) -> None:
    """Raises unless the first number is not above the second."""
    if low > high:
        raise ValueError(
            f"Argument `{low_name}` must not be above `{high_name}`. "
            f"Received: {low_name}={low!r}, {high_name}={high!r}"
        )


def factor(name: str, value: Any) -> float:
    """A factor of decay: above 0 and at most 1."""
    return number_in(name, value, "above 0 and at most 1", 0.0, 1.0, open_low=True)


def count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least ``least``; ``2000.0`` and integer tensors count as such."""
    rule = f"a whole number of at least {least}"
    number = whole_number(name, value, rule, least)
    if number < 0:
        raise ValueError(
            f"{received(name, rule, value)}. A negative number may be the `cardinality()` of a "
            "dataset of unknown or infinite length: pass the number of its batches"
        )
    if number < least:
        raise ValueError(received(name, rule, value))
    return number


def whole_number(
    name: str, value: Any, rule: str = "a whole number", least: int = -MAX_STEPS
) -> int:
    """A whole number of any sign, up to 2^53; a fraction is an error that offers the nearest."""
    number = _scalar(value)
    _check_kind(name, number, rule, value)
    # An integer or a fraction is exact; everything else is as good as its double.
    exact = Fraction(number if isinstance(number, numbers.Rational) else real(name, number, rule))
    if exact.denominator != 1:
        nearest = max(round(exact), least)
        raise ValueError(f"{received(name, rule, value)}. The nearest is {nearest}")
    if abs(exact) > MAX_STEPS:
        raise ValueError(received(name, f"{rule} and at most 2**53", value))
    return int(exact)


def iterations(name: str, value: Any) -> NDArray[np.int64]:
    """Iterations, as an int64 array of the same shape: whole numbers from 0 to below 2^53."""
    rule = "an integer from 0 to 2**53 - 1, or an array of such integers"
    array = np.asarray(value)
    # Python's integers beyond 64 bits are kept as objects.
    integers = array.dtype.kind == "O" and all(type(x) is int for x in array.flat)
    if array.dtype.kind not in "iuf" and not integers:
        raise TypeError(received(name, rule, value))
    if array.dtype.kind == "f":
        array = array.astype(np.float64)  # float16 cannot hold 2^53, for the comparison below
        whole = np.all(array == np.floor(array))
    else:
        whole = np.True_
    if not (whole and np.all((array >= 0) & (array < MAX_STEPS))):
        raise ValueError(received(name, rule, value))
    return array.astype(np.int64)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some strings."""
    rule = f"one of {', '.join(map(repr, choices))}"
    if not isinstance(value, str):
        raise TypeError(received(name, rule, value))
    if value not in choices:
        raise ValueError(received(name, rule, value))
    return str(value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(received(name, "True or False", value))
    return bool(value)


def label(name: str, value: Any) -> str | None:
    """A non-empty string, or None."""
    rule = "a non-empty string or None"
    if value is not None and not isinstance(value, str):
        raise TypeError(received(name, rule, value))
    if value == "":
        raise ValueError(received(name, rule, value))
    return None if value is None else str(value)


def _scalar(value: Any) -> Any:
    """The number in an integer array or tensor of no dimension; anything else as it is."""
    if isinstance(value, numbers.Number) or getattr(value, "shape", None) is None:
        return value
    try:
        array = np.asarray(value)
    except (NotImplementedError, RuntimeError, TypeError):  # a tensor of a graph has no value yet
        return value
    return array[()] if array.shape == () and array.dtype.kind in "iu" else value


def _check_kind(name: str, value: Any, rule: str, received_value: Any = None) -> None:
    """Raises unless the value is a real number; a boolean and a time span are not."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, numbers.Real):
        raise TypeError(received(name, rule, value if received_value is None else received_value))
