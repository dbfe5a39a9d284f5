r"""The schedules' formulas in NumPy: what every other implementation is held against.

Plain float64 and Python or int64 integers; no Keras, no tensors, nothing of the package. One
cycle has ``length = step_size + step_size_down`` iterations, and

.. code-block:: none

    cycle    = floor(iteration / length)                 finished cycles, from 0
    position = iteration - cycle * length                in [0, length)
    triangle = position / step_size                      rising half-cycle
               (length - position) / step_size_down      falling half-cycle
    lr       = base_lr + (max_lr - base_lr) * wave(triangle) * scale

which is, with equal half-cycles, the formula of L. N. Smith, *Cyclical Learning Rates for Training
Neural Networks* (arXiv:1506.01186), section 3.1: ``1 - x`` there is ``triangle`` here, and its
``cycle`` counts from 1.

Each function takes ``iteration``: an integer from 0 or an array of such, of any shape; floats are
taken as the integers that they are. It returns float64 of the same shape, right to a few units of
the last place: enough to judge float32 to eight digits more than it has.

>>> import clr_schedules.reference as reference
>>> reference.triangular([0, 1000, 2000, 3000, 4000], base_lr=0.001, max_lr=0.006, step_size=2000)
array([0.001 , 0.0035, 0.006 , 0.0035, 0.001 ])
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def as_iterations(iteration: npt.ArrayLike, name: str = "iteration") -> Integers:
    """The iterations as int64, which holds them exactly.

    Args:
        iteration: an integer or an array of integers (or of floats that are whole), each in
            [0, 2^62).
        name: what an error calls them.

    Returns:
        An int64 array of the same shape.

    Raises:
        TypeError: for what is no number.
        ValueError: for a negative, fractional, infinite or too large one.

    >>> as_iterations([0, 2.0, 2**53])
    array([               0,                2, 9007199254740992])
    """
    array = np.asarray(iteration)
    # Python's integers, kept as objects, among them those beyond 64 bits.
    integers = array.dtype.kind == "O" and all(type(x) is int for x in array.flat)
    if array.dtype.kind not in "iuf" and not integers:
        raise TypeError(_not_iterations(name, iteration))
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        in_range = (array >= 0) & (array < 2.0**62) & (array == np.floor(array))
    else:
        in_range = (array >= 0) & (array < 2**62)
    if not np.all(in_range):
        raise ValueError(_not_iterations(name, iteration))
    return array.astype(np.int64)


def _not_iterations(name: str, received: Any) -> str:
    return (
        f"Argument `{name}` must be an integer from 0 to 2**62 - 1, or an array of such. "
        f"Received: {name}={received!r}"
    )


def triangular(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
) -> Floats:
    """The paper's ``triangular``: every cycle climbs to ``max_lr``.

    >>> triangular([0, 1, 2, 3, 4, 5, 6], 0.0, 1.0, step_size=2, step_size_down=4)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    return cyclical(iteration, base_lr, max_lr, step_size, step_size_down)


def triangular2(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
) -> Floats:
    """The paper's ``triangular2``: the amplitude halves every cycle.

    >>> triangular2([2, 6, 10], 0.0, 1.0, step_size=2)
    array([1.  , 0.5 , 0.25])
    """
    return cyclical(
        iteration,
        base_lr,
        max_lr,
        step_size,
        step_size_down,
        scale_fn=lambda cycle: np.exp2(1.0 - cycle),
    )


def exp_range(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
    *,
    gamma: float,
) -> Floats:
    """``exp_range``: the amplitude is scaled by ``gamma ** iteration``.

    (In the paper both bounds decline so; in the implementations that people use, the amplitude.)

    >>> exp_range([0, 2, 6], 0.0, 1.0, step_size=2, gamma=0.5)
    array([0.      , 0.25    , 0.015625])
    """
    return cyclical(
        iteration,
        base_lr,
        max_lr,
        step_size,
        step_size_down,
        scale_fn=lambda iterations: np.power(gamma, iterations),
        scale_mode="iterations",
    )


def cyclical(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
    wave: str = "linear",
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: str = "cycle",
) -> Floats:
    """The general cycle: any wave, any scale; never outside ``[base_lr, max_lr]``.

    >>> cyclical([0, 1, 2], 0.0, 1.0, step_size=4, wave="cosine").round(4)
    array([0.    , 0.1464, 0.5   ])
    """
    iterations = as_iterations(iteration)
    up = step_size
    down = step_size if step_size_down is None else step_size_down
    length = up + down
    cycle = iterations // length
    position = iterations - cycle * length
    triangle = np.where(position <= up, position / up, (length - position) / down)
    amplitude = np.square(np.sin(np.pi / 2 * triangle)) if wave == "cosine" else triangle
    if scale_fn is not None:
        x = iterations if scale_mode == "iterations" else cycle + 1
        # A scale may underflow to 0, or be infinite at a pole of its formula (1 / iteration).
        with np.errstate(all="ignore"):
            scale = np.asarray(scale_fn(x.astype(np.float64)), np.float64)
            amplitude = amplitude * np.clip(scale, -1e300, 1e300)
    # base_lr + (max_lr - base_lr) need not be max_lr in float64; at the top, say so.
    rate = np.where(amplitude == 1.0, max_lr, base_lr + (max_lr - base_lr) * amplitude)
    return np.asarray(np.clip(rate, base_lr, max_lr), np.float64)


class Phase(NamedTuple):
    """One phase of a one-cycle schedule, rising or falling.

    >>> phase = Phase(begin=0, bottom=Fraction(0), top=Fraction(24), low=0.04, high=1.0)
    >>> float(phase.top - phase.bottom)
    24.0
    """

    begin: int
    """The first iteration in it."""
    bottom: Fraction
    """Where it has its lowest rate, its start or its end, in iterations; maybe a fraction."""
    top: Fraction
    """Where it has its highest rate: the other end."""
    low: float
    """The lowest rate."""
    high: float
    """The highest rate."""


def one_cycle_phases(
    max_lr: float,
    total_steps: int,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
    three_phase: bool,
) -> list[Phase]:
    """The phases of ``one_cycle``, in order; those that take no time are left out.

    >>> [phase.begin for phase in one_cycle_phases(1.0, 100, 0.25, 25.0, 1e4, three_phase=True)]
    [0, 24, 48]
    """
    initial = max_lr / div_factor
    # No further above `max_lr` than by a rounding.
    final = min(initial / final_div_factor, max_lr)
    rates = [initial, max_lr, *([initial] if three_phase else []), final]
    return _phases(rates, total_steps, pct_start)


def one_cycle_momentum_phases(
    total_steps: int,
    max_momentum: float,
    base_momentum: float,
    pct_start: float,
    three_phase: bool,
) -> list[Phase]:
    """The phases of ``one_cycle_momentum``: low where the rate of ``one_cycle`` is high.

    >>> [phase.low for phase in one_cycle_momentum_phases(100, 0.95, 0.85, 0.25, three_phase=True)]
    [0.85, 0.85, 0.95]
    """
    momenta = [max_momentum, base_momentum, *([max_momentum] if three_phase else []), max_momentum]
    return _phases(momenta, total_steps, pct_start)


def _phases(values: list[float], total_steps: int, pct_start: float) -> list[Phase]:
    """Phases between values at the start, the peak, twice that if they are four, and the end."""
    # The product is rounded, as in PyTorch; beyond 2^53 it must not become too long.
    rising = min(Fraction(pct_start * total_steps), Fraction(total_steps, len(values) - 2))
    peak, end = rising - 1, Fraction(total_steps - 1)
    corners = [Fraction(0), peak, *([2 * peak] if len(values) == 4 else []), end]
    phases = []
    for (start, first), (stop, last) in itertools.pairwise(zip(corners, values, strict=True)):
        if start < stop:
            # By the value, then by the iteration.
            (low, bottom), (high, top) = sorted([(first, start), (last, stop)])
            phases.append(Phase(math.ceil(start), bottom, top, low, high))
    # A single iteration, all of it rising: the peak.
    return phases or [Phase(0, end - 1, end, values[1], values[1])]


def one_cycle(
    iteration: npt.ArrayLike,
    max_lr: float,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> Floats:
    """One cycle: up to ``max_lr``, down to next to nothing, and there it stays.

    >>> one_cycle([0, 24, 99, 100], 1.0, 100, pct_start=0.25, div_factor=4.0, final_div_factor=10.0)
    array([0.25 , 1.   , 0.025, 0.025])
    """
    phases = one_cycle_phases(
        max_lr, total_steps, pct_start, div_factor, final_div_factor, three_phase
    )
    return _through(phases, np.minimum(as_iterations(iteration), total_steps - 1), anneal)


def one_cycle_momentum(
    iteration: npt.ArrayLike,
    total_steps: int,
    max_momentum: float = 0.95,
    base_momentum: float = 0.85,
    pct_start: float = 0.3,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> Floats:
    """The momentum that mirrors one cycle: down to ``base_momentum``, back up, and there it stays.

    >>> one_cycle_momentum([0, 24, 99, 100], 100, pct_start=0.25)
    array([0.95, 0.85, 0.95, 0.95])
    """
    phases = one_cycle_momentum_phases(
        total_steps, max_momentum, base_momentum, pct_start, three_phase
    )
    return _through(phases, np.minimum(as_iterations(iteration), total_steps - 1), anneal)


def _through(phases: list[Phase], iterations: Integers, anneal: str) -> Floats:
    value = np.zeros(iterations.shape)
    for begin, bottom, top, low, high in phases:
        # In integers first: float64 does not count as far.
        whole = math.floor(bottom)
        distance = (iterations - whole).astype(np.float64) - float(bottom - whole)
        ramp = np.clip(distance / float(top - bottom), 0.0, 1.0)
        amplitude = np.square(np.sin(np.pi / 2 * ramp)) if anneal == "cosine" else ramp
        curve = np.where(amplitude == 1.0, high, low + (high - low) * amplitude)
        value = np.where(iterations >= begin, np.clip(curve, low, high), value)
    return np.asarray(value, np.float64)


_FAR = Fraction(2**150)  # more iterations than there are, by far
_FINE = 256  # bits behind the point


def restart(cycle: int, first_cycle_steps: int, cycle_mult: float) -> Fraction:
    """Where a cycle of ``cosine_restarts`` begins, in iterations; maybe a fraction.

    ``first_cycle_steps * (cycle_mult ** cycle - 1) / (cycle_mult - 1)``, right to 2^-180, or to as
    many of its digits; behind the last cycle of more than an iteration, each takes one.

    >>> [float(restart(cycle, 2, 1.5)) for cycle in range(4)]
    [0.0, 2.0, 5.0, 9.5]
    """
    if cycle_mult == 1:
        return Fraction(first_cycle_steps * cycle)
    shrinking = min(cycle, shrinking_cycles(first_cycle_steps, cycle_mult))
    mult = _cut(cycle_mult)
    grown = (_power(mult, shrinking) - 1) / (mult - 1)
    return first_cycle_steps * grown + (cycle - shrinking)


def restart_length(cycle: int, first_cycle_steps: int, cycle_mult: float) -> Fraction:
    """The iterations of a cycle of ``cosine_restarts``.

    >>> [float(restart_length(cycle, 2, 1.5)) for cycle in range(4)]
    [2.0, 3.0, 4.5, 6.75]
    """
    return max(first_cycle_steps * _power(_cut(cycle_mult), cycle), Fraction(1))


@functools.lru_cache
def shrinking_cycles(first_cycle_steps: int, cycle_mult: float) -> int:
    """The number of cycles that take more than one iteration, where they shrink; else, 2^62.

    >>> shrinking_cycles(8, 0.5)
    3
    """
    if cycle_mult >= 1:
        return 2**62
    return bisect.bisect_left(
        range(2**62), True, key=lambda n: first_cycle_steps * _power(_cut(cycle_mult), n) <= 1
    )


def restart_cycles(iterations: Integers, first_cycle_steps: int, cycle_mult: float) -> Integers:
    """The number of the cycle, from 0, in which each iteration is.

    >>> restart_cycles(np.arange(7), 2, 1.5)
    array([0, 0, 1, 1, 1, 2, 2])
    """
    if cycle_mult == 1:
        return iterations // first_cycle_steps
    start: Any = functools.partial(
        restart, first_cycle_steps=first_cycle_steps, cycle_mult=cycle_mult
    )
    count = shrinking_cycles(first_cycle_steps, cycle_mult)
    constant = min(math.ceil(start(count)), 2**62)
    distinct, place = np.unique(np.minimum(iterations, constant), return_inverse=True)
    if not len(distinct):
        return iterations

    def cycle_of(iteration: int) -> int:
        cycles = range(min(count, iteration) + 1)
        return bisect.bisect_right(cycles, iteration, key=start) - 1

    first, last = cycle_of(int(distinct[0])), cycle_of(int(distinct[-1]))
    if last - first <= len(distinct):
        starts = [math.ceil(start(n)) for n in range(first, last + 1)]
        cycles = np.searchsorted(np.array(starts, np.int64), distinct, side="right") - 1 + first
    else:
        cycles = np.array([cycle_of(iteration) for iteration in distinct.tolist()])
    cycles = cycles.astype(np.int64)[place].reshape(iterations.shape)
    return np.asarray(cycles + np.maximum(iterations - constant, 0), np.int64)


def _cut(cycle_mult: float) -> Fraction:
    """The factor, with the bits that its powers have, and no larger than makes a difference."""
    return Fraction(math.floor(min(Fraction(cycle_mult), _FAR) * 2**_FINE), 2**_FINE)


@functools.lru_cache
def _power(base: Fraction, exponent: int) -> Fraction:
    """``base ** exponent``, cut to some bits and a limit: the exact one could be endless."""
    most = int(_FAR**3) << _FINE
    power, square = 1 << _FINE, min(math.floor(base * 2**_FINE), most)
    while exponent:
        if exponent & 1:
            power = min(power * square >> _FINE, most)
        square = min(square * square >> _FINE, most)
        exponent >>= 1
    return Fraction(power, 1 << _FINE)


def cosine_restarts(
    iteration: npt.ArrayLike,
    max_lr: float,
    first_cycle_steps: int,
    cycle_mult: float = 1.0,
    peak_mult: float = 1.0,
    min_lr: float = 0.0,
) -> Floats:
    """Cosines from a peak down to ``min_lr``, one behind the other.

    >>> cosine_restarts([0, 1, 2, 4, 6], 1.0, 2, cycle_mult=2.0, peak_mult=0.5).round(4)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    iterations = as_iterations(iteration)
    cycle = restart_cycles(iterations, first_cycle_steps, cycle_mult)
    different = np.minimum(cycle, shrinking_cycles(first_cycle_steps, cycle_mult))
    cycles, place = np.unique(different, return_inverse=True)
    place = place.reshape(iterations.shape)
    ends = [restart(n + 1, first_cycle_steps, cycle_mult) for n in cycles.tolist()]
    lengths = [restart_length(n, first_cycle_steps, cycle_mult) for n in cycles.tolist()]
    # Whole iterations apart: float64 does not count as far.
    wholes = [min(math.floor(end), 2**62) for end in ends]
    fractions = [float(min(e - w, _FAR)) for e, w in zip(ends, wholes, strict=True)]
    left = np.array(wholes, np.int64)[place] - (iterations - (cycle - different))
    left = left + np.array(fractions)[place]
    left = left / np.array([float(min(length, _FAR)) for length in lengths])[place]
    amplitude = np.square(np.sin(np.pi / 2 * left)) * np.power(peak_mult, cycle.astype(np.float64))
    rate = np.where(amplitude == 1.0, max_lr, min_lr + (max_lr - min_lr) * amplitude)
    return np.asarray(np.clip(rate, min_lr, max_lr), np.float64)


def warmup(
    iteration: npt.ArrayLike, rate: npt.ArrayLike, warmup_steps: int, start_lr: float = 0.0
) -> Floats:
    """A linear rise from ``start_lr`` to what follows, whose rates are given.

    >>> warmup([0, 1, 2, 3], [0.5, 0.5, 0.5, 0.25], warmup_steps=2)
    array([0.  , 0.25, 0.5 , 0.25])
    """
    iterations = as_iterations(iteration)
    rates = np.asarray(rate, np.float64)
    done = np.minimum(iterations, warmup_steps)
    risen = start_lr * ((warmup_steps - done) / warmup_steps) + rates * (done / warmup_steps)
    risen = np.clip(risen, np.minimum(rates, start_lr), np.maximum(rates, start_lr))
    return np.asarray(np.where(iterations < warmup_steps, risen, rates), np.float64)


def sequence(
    iteration: npt.ArrayLike, rates: Sequence[npt.ArrayLike], boundaries: Sequence[int]
) -> Floats:
    """One after the other: each one's rates from its boundary on.

    >>> sequence([0, 1, 2], [[1.0, 1.0, 1.0], [0.5, 0.5, 0.25]], boundaries=[1])
    array([1.  , 0.5 , 0.25])
    """
    which = np.searchsorted(np.array(boundaries, np.int64), as_iterations(iteration), side="right")
    table = np.stack([np.asarray(rate, np.float64) for rate in rates])
    return np.asarray(np.take_along_axis(table, which[np.newaxis], axis=0)[0])
