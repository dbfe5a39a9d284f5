"""Checks of arguments, and their errors in Keras's words.

Imports nothing of the package. Each check returns the argument as the plain Python value that goes
into a config, or raises a ``TypeError`` (a wrong kind) or a ``ValueError`` (out of range) that
names the argument, the rule and what was received.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from decimal import Decimal
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


# What an error shows of a value, in characters: with the rule, that is two or three lines of a
# terminal.
_MOST_SHOWN = 90


def received(name: str, rule: str, value: Any) -> str:
    """The sentence of every error here."""
    return f"Argument `{name}` must be {rule}. Received: {name}={shown(value)}"


def shown(value: Any) -> str:
    """What an error shows of a value: one line, cut where it is long; of an array, its shape."""
    try:
        return one_line(_shortener.repr(value))
    except Exception:  # whatever a `__repr__` raises must not hide the error itself
        return f"<{type(value).__name__}>"


def one_line(text: Any) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 3]}..."


class _Shortener(reprlib.Repr):
    """Python's short ``repr``, which never reads all of a long list, with arrays by their shape."""

    def __init__(self) -> None:
        super().__init__()
        # `one_line` cuts at the end, where the least is lost. These limits only spare the work.
        self.maxstring = self.maxother = 4 * _MOST_SHOWN

    def repr_instance(self, x: Any, level: int) -> str:
        """What is not one of Python's own containers, strings and integers."""
        if getattr(x, "shape", None) is not None and (shape := tuple(x.shape)):
            dtype = getattr(x, "dtype", None)
            kind = "" if dtype is None else f" and dtype {getattr(dtype, 'name', dtype)}"
            return f"<{type(x).__name__} of shape {shape}{kind}>"
        return super().repr_instance(x, level)


_shortener = _Shortener()


def real(name: str, value: Any, rule: str) -> float:
    """A finite number, as a float; also one in an array, a tensor or a variable of no dimension."""
    scalar = _scalar(value)
    _check_kind(name, scalar, rule, value)
    try:
        number = float(scalar)
    except (OverflowError, ValueError):  # a fraction that is too large, a signaling NaN
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
    if value is None:
        raise TypeError(
            f"{received(name, rule, value)}. A range test that does not show a rate suggests None: "
            "`suggestion.reasons` says why, and what to do"
        )
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
    scalar = _scalar(value)
    _check_kind(name, scalar, rule, value)
    # An integer or a fraction is exact; everything else is as good as its double.
    exact = Fraction(scalar if isinstance(scalar, numbers.Rational) else real(name, value, rule))
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
    """The number in an array, a tensor or a variable of no dimension; anything else as it is."""
    if isinstance(value, np.generic) or getattr(value, "shape", None) is None:
        return value
    try:
        if len(value.shape) == 0:
            dtype = str(value.dtype)  # such as "float32", "torch.bfloat16", "<dtype: 'int64'>"
            return float(value) if "float" in dtype else int(value) if "int" in dtype else value
    except Exception:  # a tensor of a graph has no value yet; each framework has its own error
        pass
    return value


def _check_kind(name: str, scalar: Any, rule: str, value: Any) -> None:
    """Raises unless the scalar of a value is a real number; a boolean and a time span are not."""
    is_number = isinstance(scalar, (numbers.Real, Decimal))
    if not is_number or isinstance(scalar, (bool, np.timedelta64)):
        raise TypeError(received(name, rule, value))
