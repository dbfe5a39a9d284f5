"""The formulas of the papers in plain NumPy float64, for readers and for the tests.

The schedules of this package do not use these functions. The tests compare the schedules with them,
and also with an oracle in exact arithmetic. The functions follow the notation of the papers as
closely as possible, and do not try to keep the last digits.

The argument ``iteration`` is the number of steps that have been taken before, or an array of such
numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def triangular(iteration: npt.ArrayLike, base_lr: float, max_lr: float, step_size: int) -> Floats:
    """The ``triangular`` policy of section 3.1 of Smith's paper (arXiv:1506.01186).

    >>> triangular([0, 1, 2, 3, 4], base_lr=0.0, max_lr=1.0, step_size=2)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    _, x = _cycle_and_x(iteration, step_size)
    return base_lr + (max_lr - base_lr) * np.maximum(0.0, 1 - x)


def triangular2(iteration: npt.ArrayLike, base_lr: float, max_lr: float, step_size: int) -> Floats:
    """The ``triangular2`` policy of section 3.1: the amplitude halves after every cycle.

    >>> triangular2([2, 6, 10], base_lr=0.0, max_lr=1.0, step_size=2)
    array([1.  , 0.5 , 0.25])
    """
    cycle, x = _cycle_and_x(iteration, step_size)
    return base_lr + (max_lr - base_lr) * np.maximum(0.0, 1 - x) / 2 ** (cycle - 1)


def exp_range(
    iteration: npt.ArrayLike, base_lr: float, max_lr: float, step_size: int, gamma: float
) -> Floats:
    """The ``exp_range`` policy: the amplitude shrinks by ``gamma`` with every iteration.

    (In the paper, both bounds decline. In the common implementations, as here, the amplitude
    declines and the lower bound stays.)

    >>> exp_range([0, 2, 6], base_lr=0.0, max_lr=1.0, step_size=2, gamma=0.5)
    array([0.      , 0.25    , 0.015625])
    """
    _, x = _cycle_and_x(iteration, step_size)
    return base_lr + (max_lr - base_lr) * np.maximum(0.0, 1 - x) * gamma ** _floats(iteration)


def cyclical(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
    wave: str = "linear",
    peak_mult: float = 1.0,
    gamma: float = 1.0,
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: str = "cycle",
) -> Floats:
    """The general cycle, with rising and falling half-cycles of any lengths, and any scale.

    >>> cyclical([0, 1, 2, 3, 4, 5, 6], 0.0, 1.0, step_size=2, step_size_down=4)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    >>> cyclical([0, 1, 2], 0.0, 1.0, step_size=4, wave="cosine").round(4)
    array([0.    , 0.1464, 0.5   ])
    """
    share = _share(
        iteration, step_size, step_size_down, wave, peak_mult, gamma, scale_fn, scale_mode
    )
    return base_lr + (max_lr - base_lr) * share


def cyclical_momentum(
    iteration: npt.ArrayLike, max_momentum: float, base_momentum: float, **cycle: Any
) -> Floats:
    """The momentum that mirrors the rate of ``cyclical``, with the same arguments for the cycle.

    >>> cyclical_momentum([0, 1, 2, 3, 4], 0.9, 0.8, step_size=2)
    array([0.9 , 0.85, 0.8 , 0.85, 0.9 ])
    """
    return max_momentum - (max_momentum - base_momentum) * _share(iteration, **cycle)


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
    """One cycle, as in PyTorch: the rate rises to ``max_lr``, falls almost to 0, and stays there.

    >>> one_cycle([0, 24, 99, 100], 1.0, 100, pct_start=0.25, div_factor=4.0, final_div_factor=10.0)
    array([0.25 , 1.   , 0.025, 0.025])
    """
    initial = max_lr / div_factor
    final = initial / final_div_factor
    rates = [initial, max_lr, initial, final] if three_phase else [initial, max_lr, final]
    return _through(iteration, rates, total_steps, pct_start, anneal)


def one_cycle_momentum(
    iteration: npt.ArrayLike,
    total_steps: int,
    max_momentum: float = 0.95,
    base_momentum: float = 0.85,
    pct_start: float = 0.3,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> Floats:
    """The momentum that mirrors ``one_cycle``: it falls while the rate rises, and then rises.

    >>> one_cycle_momentum([0, 24, 99, 100], 100, pct_start=0.25)
    array([0.95, 0.85, 0.95, 0.95])
    """
    momenta = [max_momentum, base_momentum, *[max_momentum] * (2 if three_phase else 1)]
    return _through(iteration, momenta, total_steps, pct_start, anneal)


def cosine_restarts(
    iteration: npt.ArrayLike,
    max_lr: float,
    first_cycle_steps: int,
    cycle_mult: float = 1.0,
    peak_mult: float = 1.0,
    min_lr: float = 0.0,
) -> Floats:
    """SGDR, equation (5): in each cycle, half a cosine falls from the peak to ``min_lr``.

    >>> cosine_restarts([0, 1, 2, 4, 6], 1.0, 2, cycle_mult=2.0, peak_mult=0.5).round(4)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    iterations = _floats(iteration)
    # The rate stays at `min_lr` after the cycles have become shorter than one iteration.
    rate = np.full_like(iterations, min_lr)
    start, length, peak = 0.0, float(first_cycle_steps), max_lr - min_lr
    while length >= 1 and start <= iterations.max(initial=0.0):
        t = (iterations - start) / length
        rate = np.where((t >= 0) & (t < 1), min_lr + peak * (1 + np.cos(np.pi * t)) / 2, rate)
        start, length, peak = start + length, length * cycle_mult, peak * peak_mult
    return rate


def warmup(
    iteration: npt.ArrayLike,
    schedule: Callable[[Floats], Any],
    warmup_steps: int,
    start_lr: float = 0.0,
) -> Floats:
    """A linear rise to the first rate of a schedule, and then the schedule from its step 0 on.

    >>> warmup([0, 1, 2, 6], lambda i: 0.5 - i / 16, warmup_steps=2)
    array([0.  , 0.25, 0.5 , 0.25])
    """
    iterations = _floats(iteration)
    later = np.asarray(schedule(np.maximum(iterations - warmup_steps, 0.0)), np.float64)
    t = iterations / max(warmup_steps, 1)
    return np.where(iterations < warmup_steps, (1 - t) * start_lr + t * later, later)


def piecewise(
    iteration: npt.ArrayLike,
    schedules: Sequence[Callable[[Floats], Any]],
    boundaries: Sequence[int],
) -> Floats:
    """One schedule after another. Each schedule counts its steps from its own boundary.

    >>> piecewise([0, 1, 2], [lambda i: i + 0.5, lambda i: i * 10], boundaries=[1])
    array([ 0.5,  0. , 10. ])
    """
    iterations = _floats(iteration)
    rate = np.zeros_like(iterations)
    for begin, schedule in zip([0, *boundaries], schedules, strict=True):
        piece = schedule(np.maximum(iterations - begin, 0.0))
        rate = np.where(iterations >= begin, piece, rate)
    return rate


def _floats(iteration: npt.ArrayLike) -> Floats:
    """The iterations as a float64 array."""
    return np.asarray(iteration, np.float64)


def _cycle_and_x(iteration: npt.ArrayLike, step_size: int) -> tuple[Floats, Floats]:
    """The number of the cycle, from 1, and the distance from the peak, named as in the paper."""
    cycle = np.floor(1 + _floats(iteration) / (2 * step_size))
    x = np.abs(_floats(iteration) / step_size - 2 * cycle + 1)
    return cycle, x


def _share(
    iteration: npt.ArrayLike,
    step_size: int,
    step_size_down: int | None = None,
    wave: str = "linear",
    peak_mult: float = 1.0,
    gamma: float = 1.0,
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: str = "cycle",
) -> Floats:
    """The wave times the scale: 0 at the lower bound, 1 at the upper bound."""
    iterations = _floats(iteration)
    down = step_size_down or step_size
    cycle = np.floor(1 + iterations / (step_size + down))
    position = iterations - (cycle - 1) * (step_size + down)
    t = np.minimum(position / step_size, (step_size + down - position) / down)
    scale = peak_mult ** (cycle - 1) * gamma**iterations
    if scale_fn is not None:
        scale = scale * scale_fn(cycle if scale_mode == "cycle" else iterations)
    return np.clip(_anneal(t, wave) * scale, 0.0, 1.0)


def _through(
    iteration: npt.ArrayLike,
    values: Sequence[float],
    total_steps: int,
    pct_start: float,
    anneal: str,
) -> Floats:
    """Anneals from each value to the next.

    Three values are reached at the start, the peak and the end. Of four values, the third is
    reached at twice the step of the peak.
    """
    iterations = np.minimum(_floats(iteration), total_steps - 1)
    peak = pct_start * total_steps - 1
    corners = [0, peak, *([2 * peak] if len(values) == 4 else []), total_steps - 1]
    value = np.full_like(iterations, values[1])  # the result if all phases are empty
    for (start, first), (stop, last) in itertools.pairwise(zip(corners, values, strict=True)):
        if start < stop:
            t = np.clip((iterations - start) / (stop - start), 0.0, 1.0)
            value = np.where(
                iterations >= start, first + (last - first) * _anneal(t, anneal), value
            )
    return value


def _anneal(t: Floats, kind: str) -> Floats:
    """The way from 0 to 1, along half a cosine or a straight line, at the fraction `t`."""
    return (1 - np.cos(np.pi * t)) / 2 if kind == "cosine" else t
