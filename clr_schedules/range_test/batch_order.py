"""Tells from a curve whether the batches of a test come in an order, by class for example."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.float64]

# Neighbours are alike if they are so by this many standard deviations of a random order.
# `benchmarks/range_test_reasons.py` counts the false alarms: about one in 1,000 curves.
_ALIKE = 2.75
# An order is worth the name if what remains is at least this part of the range of the values. The
# wandering of a training on noisy gradients is at most 0.01 of it on the quadratics of the tests.
_RAGGED = 0.03
# A jump is one between two levels of this many steps.
_LEVEL = 5
# With fewer values, their likeness says nothing.
_FEWEST_VALUES = 12
# The longest pass over the data, in steps, that is looked for.
_LONGEST_PASS = 1000


def neighbours_are_alike(values: _Array) -> bool:
    """Whether neighbours are more alike than in a random order.

    What remains of the values after the best falling curve is subtracted shows no likeness of
    neighbours if the batches are shuffled, wherever and however the values fall.

    Args:
        values: The losses of the batches, in the order of the steps, up to where they no longer
            fall.

    Returns:
        Whether they are, so that the batches come in an order.
    """
    ragged = values - _falling(values)
    if np.std(ragged) < _RAGGED * np.ptp(values):
        return False
    steps = _steps_of_a_pass(ragged)
    # Passes over data in one order repeat themselves, and tell no more than a single one.
    passes = len(ragged) / max(steps, 1)
    return bool(max(_likeness(ragged[:steps]), _likeness(ragged) / passes**0.5) > _ALIKE)


def jumps(values: _Array) -> bool:
    """Whether the losses change by half of their range between two steps, and stay there.

    A training changes the loss little by little: during a fall, the loss changes within the five
    steps before and after a step as well.

    Args:
        values: The losses of the batches, in the order of the steps, up to where they no longer
            fall.

    Returns:
        Whether they do, so that the batches come in an order.
    """
    if len(values) < 2 * _LEVEL:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(values, _LEVEL)
    means, errors = np.mean(windows, axis=1), np.std(windows, axis=1)
    jumps = np.abs(means[_LEVEL:] - means[:-_LEVEL])
    noise = np.maximum(errors[_LEVEL:], errors[:-_LEVEL])
    return bool(np.any((jumps > 10 * noise) & (jumps > np.ptp(values) / 2)))


def _likeness(values: _Array) -> float:
    """How much more alike neighbours are than in a random order, in standard deviations.

    The products of each value with the sum of the one, four or eight values before have a mean of
    zero if the order is random, also if the size of the values changes slowly.
    """
    if len(values) < _FEWEST_VALUES:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(values)])
    steps = np.arange(len(values))
    found = 0.0
    for reach in (1, 4, 8):
        products = values * (sums[steps] - sums[np.maximum(steps - reach, 0)])
        size = float(np.sqrt(np.sum(products**2)))
        found = max(found, float(np.sum(products)) / size if size > 0 else 0.0)
    return found


def _steps_of_a_pass(values: _Array) -> int:
    """After how many steps the values repeat themselves; all steps if they do not."""
    steps = len(values)
    lags = np.arange(min(max(steps - 15, 1), _LONGEST_PASS))
    likeness = np.array([1.0, *(_correlation(values[:-lag], values[lag:]) for lag in lags[1:])])
    # Neighbours that are alike repeat nothing: the likeness must be larger than half-way.
    repeats = (likeness * np.sqrt(steps - lags) > 4) & (likeness > 2 * likeness[lags // 2])
    repeats[:2] = False
    if not np.any(repeats):
        return steps
    return int(np.argmax(repeats & (likeness >= 0.9 * np.max(likeness[repeats]))))


def _correlation(a: _Array, b: _Array) -> float:
    """The correlation of two arrays; 0 if one of them is constant."""
    a, b = a - np.mean(a), b - np.mean(b)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _falling(values: _Array) -> _Array:
    """The falling curve with the least squared differences to the values (isotonic regression)."""
    # Neighbours that rise are pooled into one level, until all levels fall.
    levels: list[tuple[float, int]] = []
    for value in values.tolist():
        level = (value, 1)
        while levels and level[0] >= levels[-1][0]:
            mean, count = levels.pop()
            both = count + level[1]
            level = ((mean * count + level[0] * level[1]) / both, both)
        levels.append(level)
    means, counts = zip(*levels, strict=True)
    return np.repeat(means, counts)
