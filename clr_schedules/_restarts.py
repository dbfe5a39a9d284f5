"""The phase of cycles that grow or shrink, on tensors: exact boundaries at every step.

A cycle begins at ``first_cycle_steps * (cycle_mult ** n - 1) / (cycle_mult - 1)``. Float64 would
soon be some iterations off. So the starts are computed on the host, as fractions, and looked up in
the step: the cycle is guessed from a rough logarithm, and the comparison with the start of the next
one is exact.

Cycles that grow by less than a percent are too many for a table. They are looked up in groups of
1,024, and those in groups of 1,024, since what follows a restart is the same again, scaled:
``start(i + j) = start(i) + cycle_mult ** i * start(j)``.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from clr_schedules import _keras, numerics, reference


def restarts(
    step: Any, first_cycle_steps: int, cycle_mult: float
) -> tuple[numerics.Unrounded, Any]:
    """Where a step is in a sequence of cycles, each ``cycle_mult`` times as long as the one before.

    Where they shrink, none takes less than a step.

    Returns:
        What is left of the cycle, as an angle: from a right one at its start down to 0; and the
        number of finished cycles, int64.
    """
    precise = numerics.is_precise()
    if cycle_mult == 1:
        steps = first_cycle_steps - step % first_cycle_steps
        left = numerics.angle(steps, *numerics.slope(first_cycle_steps, precise))
        return left, step // first_cycle_steps
    plan = _plan_restarts(first_cycle_steps, cycle_mult, precise)
    *coarse, fine = plan.levels
    cycle = _guess_cycle(step, plan)
    for last_pass in [True] if plan.cycles < 2**45 else [False, True]:
        whole, part = step, 0.0
        for level in coarse:
            group = cycle // level.cycles % _GROUPS
            whole = whole - _keras.entries(level.whole, group)
            part = part - _keras.entries(level.part, group)
            whole, part = _scale(whole, part, [_keras.entries(s, group) for s in level.scales])
        within = cycle % _GROUPS if coarse else cycle
        if not last_pass:  # the guess was no better than float64, and so some cycles too low
            passed = numerics.wide(whole - _keras.entries(fine.whole, within))
            passed = passed + (part - _keras.entries(fine.part, within))
            cycle = cycle + numerics.integer(passed / first_cycle_steps - 2.0**-10)
            cycle = _keras.clip(cycle, 0, plan.cycles - 1)
    # The guess is right or one too low. Both are taken and one is chosen: entries looked up by what
    # was looked up would cost XLA a kernel.
    lefts, angles = [], []
    for later in (within, within + 1):
        end, digits = _keras.entries(fine.whole, later + 1), _keras.entries(fine.part, later + 1)
        lefts.append(numerics.wide(end - whole) + (digits - part))
        head = _keras.entries(fine.scales[0], later)
        if precise:
            tail = _keras.entries(fine.scales[1], later)
            angles.append(numerics.angle(end - whole, head, tail, part - digits))
        else:
            angles.append(numerics.Unrounded(lefts[-1] * head))
    over = lefts[0] <= 0.0
    if coarse:  # what was scaled is right to 2^-49
        over = over | (cycle >= _GROUPS) & (lefts[0] <= 2.0**-47)
    left = _chosen(over, *reversed(angles))
    cycle = cycle + numerics.integer(over)
    if plan.constant < 2**62:
        beyond = step - plan.constant
        left = _chosen(beyond >= 0, plan.left, left)
        cycle = _keras.where(beyond >= 0, plan.cycles + beyond, cycle)
    return left.clipped(), cycle


def _chosen(condition: Any, x: numerics.Unrounded, y: numerics.Unrounded) -> numerics.Unrounded:
    return numerics.Unrounded(
        _keras.where(condition, x.near, y.near),
        _keras.where(condition, x.rest, y.rest) if numerics.is_precise() else 0.0,
    )


_GROUPS = 1024  # cycles, or groups of them, that are looked up at once
_MANY = 4096  # cycles that are still looked up without groups


class _Level(NamedTuple):
    """Groups of cycles: where they start and, in parts, by what their steps are scaled.

    In the finest, to angles.
    """

    cycles: int
    whole: Any
    part: Any
    scales: list[Any]


class _Plan(NamedTuple):
    """What is to be looked up, from the coarse to the fine."""

    levels: list[_Level]
    cycles: int
    """Cycles, those of one step aside."""
    anchor: tuple[int, float]
    """Where the guess starts from: a step, in two parts."""
    growth: float
    """The growth of a cycle's length in a step, by the length at the anchor."""
    per_octave: float
    """Cycles until they are twice as long, or half."""
    constant: int
    """The first step of those that are a cycle each."""
    left: numerics.Unrounded
    """What is left of these cycles, at each of their steps, as an angle."""


@functools.lru_cache
def _plan_restarts(first_cycle_steps: int, cycle_mult: float, precise: bool) -> _Plan:
    arguments = first_cycle_steps, cycle_mult
    shrinking = reference.shrinking_cycles(*arguments)
    last = reference.restart_cycles(np.array([2**62 - 1]), *arguments).item()
    count = min(shrinking, last + 1)
    per_octave = 1 / abs(math.log2(cycle_mult))

    def level(cycles: int, groups: int) -> _Level:
        starts = [reference.restart(n * cycles, *arguments) for n in range(groups + 2)]
        wholes = [min(math.floor(start), 2**62) for start in starts]
        parts = [float(start - whole) for start, whole in zip(starts, wholes, strict=True)]
        lengths = [reference.restart_length(n * cycles, *arguments) for n in range(groups + 1)]
        scales = (
            np.array([numerics.slope(length, precise) for length in lengths])
            if cycles == 1
            else np.array([_digits(first_cycle_steps / length) for length in lengths])
        )
        return _Level(cycles, np.array(wholes, np.int64), np.array(parts), list(scales.T))

    if count <= _MANY:
        levels = [level(1, max(count, 1))]
    else:
        levels = [level(1, _GROUPS)]
        while (cycles := levels[0].cycles * _GROUPS) <= count:
            levels.insert(0, level(cycles, min(_GROUPS, count // cycles + 1)))
    anchor, length = Fraction(0), Fraction(first_cycle_steps)
    if cycle_mult < 1 and count:
        anchor = reference.restart(count, *arguments)
        length = reference.restart_length(count - 1, *arguments) * Fraction(cycle_mult)
        length = max(length, Fraction(1, 2**200))  # of a single cycle, where nothing is guessed
    whole = min(math.floor(anchor), 2**62)
    end = reference.restart(shrinking, *arguments)
    left = (end - math.floor(end) or 1) * numerics.RIGHT_ANGLE
    return _Plan(
        levels,
        count,
        (whole, float(anchor - whole)),
        float((Fraction(cycle_mult) - 1) / length),
        per_octave,
        min(math.ceil(end), 2**62),
        numerics.Unrounded(float(left), float(left - Fraction(float(left)))),
    )


def _guess_cycle(step: Any, plan: _Plan) -> Any:
    """The cycle in which a step is, or the one before it."""
    whole, part = plan.anchor
    grown = _keras.at_least((numerics.wide(step - whole) - part) * plan.growth, 0.0)
    if plan.per_octave < 800:
        cycles, error = _log2(1 + grown) * plan.per_octave, 3e-4 * plan.per_octave + 1e-6
    else:
        cycles = _keras.log1p(grown) * (plan.per_octave / math.log(2))
        error = cycles * 2.0**-50 + 2.0**-20
    guess = cycles - error if plan.growth > 0 else float(plan.cycles) - cycles - error
    return numerics.integer(_keras.clip(guess, 0.0, max(plan.cycles - 1.0, 0.0)))


def _log2(x: Any) -> Any:
    """The logarithm of float64 numbers from 1 up, to 3e-4.

    From the bits, by additions and multiplications alone, which XLA may repeat in other kernels.
    """
    rough = numerics.wide(_keras.bits(x)) * 2.0**-52 - 1023.0
    m = rough - numerics.wide(numerics.integer(rough))
    return rough + m * (1 - m) * (0.44102163 + m * (-0.24437422 + m * 0.08325865))


def _scale(whole: Any, part: Any, scales: list[Any]) -> tuple[Any, Any]:
    """``(whole + part) * sum(scales)``, again in two parts.

    The halves of the whole have 31 bits, the scales 22 each: no product is rounded.
    """
    high, low = numerics.wide(whole // 2**31) * 2.0**31, numerics.wide(whole % 2**31)
    products = [half * scale for scale in scales for half in (high, low)]
    products.append(part * sum(scales))
    wholes = [numerics.integer(product) for product in products]
    return sum(wholes), sum(p - numerics.wide(w) for p, w in zip(products, wholes, strict=True))


def _digits(x: Fraction, count: int = 6, bits: int = 22) -> list[float]:
    """Numbers of so many bits that add up to x, the largest first."""
    found = []
    for _ in range(count):
        if x:
            unit = Fraction(2) ** (math.frexp(float(x))[1] - bits)
            found.append(float(x // unit * unit))
            x -= Fraction(found[-1])
        else:
            found.append(0.0)
    return found
