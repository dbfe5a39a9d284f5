"""The formulas in exact rational arithmetic, and the distance of a float from them.

What the reference is judged by: `fractions` for everything rational, mpmath with 60 digits for
powers and cosines. It shares no line with the package and uses none of it.
"""

from fractions import Fraction

import mpmath
import numpy as np

mpmath.mp.dps = 60

SMALLEST_NORMAL = 2.0**-126  # of float32


def triangle(step, up, down):
    """The triangle wave of a step, as a fraction from 0 to 1."""
    position = step % (up + down)
    return Fraction(position, up) if position <= up else Fraction(up + down - position, down)


def paper_triangular(step, base_lr, max_lr, step_size):
    """Section 3.1 of the paper, letter for letter, in fractions."""
    cycle = 1 + step // (2 * step_size)
    x = abs(Fraction(step, step_size) - 2 * cycle + 1)
    return Fraction(base_lr) + (Fraction(max_lr) - Fraction(base_lr)) * max(Fraction(0), 1 - x)


def rate(step, base_lr, max_lr, up, down, *, wave="linear", scale=1):
    """Any cycle, as an mpmath number; ``scale`` is a Fraction or an mpmath number."""
    t = triangle(step, up, down)
    t = mpmath.mpf(t.numerator) / t.denominator
    if wave == "cosine":
        t = (1 - mpmath.cos(mpmath.pi * t)) / 2
    if isinstance(scale, Fraction):
        scale = mpmath.mpf(scale.numerator) / scale.denominator
    low, high = mpmath.mpf(base_lr), mpmath.mpf(max_lr)
    return low + (high - low) * t * scale


def one_cycle(
    step,
    max_lr,
    total_steps,
    pct_start=0.3,
    div_factor=25.0,
    final_div_factor=1e4,
    anneal="cosine",
    three_phase=False,
):
    """The one-cycle policy, as an mpmath number: the phase that ends at or after the step.

    The factors are divided by, and the fraction is multiplied by, in float64, as the arguments are.
    """
    initial = max_lr / div_factor
    final = min(initial / final_div_factor, max_lr)
    last = Fraction(total_steps - 1)
    # The product may round to more than the whole beyond 2^53.
    peak = min(Fraction(pct_start * total_steps), Fraction(total_steps, 1 + three_phase)) - 1
    phases = [(Fraction(0), peak, initial, max_lr)]
    if three_phase:
        phases += [(peak, 2 * peak, max_lr, initial), (2 * peak, last, initial, final)]
    else:
        phases += [(peak, last, max_lr, final)]
    step = min(step, last)
    start, end, first_rate, last_rate = next(phase for phase in phases if step <= phase[1])
    # With the peak at 0, where PyTorch divides by zero: the peak; or, where the fall from it takes
    # no time either, what it falls to.
    t = (step - start) / (end - start) if start < end else Fraction(0 if three_phase else 1)
    t = mpmath.mpf(t.numerator) / t.denominator
    if anneal == "cosine":
        t = mpmath.sin(mpmath.pi / 2 * t) ** 2
    first_rate, last_rate = mpmath.mpf(first_rate), mpmath.mpf(last_rate)
    return first_rate + (last_rate - first_rate) * t


def restart(cycle, first_cycle_steps, cycle_mult):
    """Where a cycle with cosine restarts begins, cycle by cycle, as an exact fraction."""
    start, length = Fraction(0), Fraction(first_cycle_steps)
    for _ in range(cycle):
        start += length
        length = max(length * Fraction(cycle_mult), Fraction(1))
    return start


def far_restart(cycle, first_cycle_steps, cycle_mult):
    """The same by the closed formula, with 1,000 digits, for cycles too many to walk through."""
    if cycle_mult == 1:
        return mpmath.mpf(first_cycle_steps * cycle)
    with mpmath.workdps(1000):
        mult, shrinking = mpmath.mpf(cycle_mult), cycle
        if mult < 1:  # to one step
            shrinking = int(mpmath.ceil(-mpmath.log(first_cycle_steps) / mpmath.log(mult)))
            shrinking = min(cycle, shrinking)
        return first_cycle_steps * (mult**shrinking - 1) / (mult - 1) + (cycle - shrinking)


def cosine_restarts(step, max_lr, first_cycle_steps, cycle_mult=1.0, peak_mult=1.0, min_lr=0.0):
    """SGDR, equation (5), as an mpmath number: cycle by cycle, in exact fractions."""
    cycle, start, length = 0, Fraction(0), Fraction(first_cycle_steps)
    while step >= start + length:
        start += length
        length = max(length * Fraction(cycle_mult), Fraction(1))
        cycle += 1
    t = (step - start) / length
    t = mpmath.mpf(t.numerator) / t.denominator
    low, high = mpmath.mpf(min_lr), mpmath.mpf(max_lr)
    # The same as (1 + cos) / 2, with all its digits near the end.
    return low + (high - low) * mpmath.mpf(peak_mult) ** cycle * mpmath.cos(mpmath.pi / 2 * t) ** 2


def one_cycle_momentum(
    step,
    total_steps,
    max_momentum=0.95,
    base_momentum=0.85,
    pct_start=0.3,
    anneal="cosine",
    three_phase=False,
):
    """What is left of the range of the momentum when the rate of one cycle has its share of it."""
    # A cycle from 0 to 1 and back: with an initial rate of next to nothing.
    peak = min(Fraction(pct_start * total_steps), Fraction(total_steps, 1 + three_phase)) - 1
    end = 2 * peak if three_phase else Fraction(total_steps - 1)
    step = min(Fraction(step), Fraction(total_steps - 1))
    if step <= peak:
        t = step / peak if peak > 0 else Fraction(0 if three_phase else 1)
    elif step < end:
        t = (end - step) / (end - peak)
    else:
        t = Fraction(0)
    t = mpmath.mpf(t.numerator) / t.denominator
    if anneal == "cosine":
        t = mpmath.sin(mpmath.pi / 2 * t) ** 2
    high, low = mpmath.mpf(max_momentum), mpmath.mpf(base_momentum)
    return high - (high - low) * t


def of(schedule, step):
    """The rate of any schedule of the package, or a constant one, as an mpmath number."""
    if isinstance(schedule, float):
        return mpmath.mpf(schedule)
    kind = type(schedule).__name__
    arguments = {k: v for k, v in vars(schedule).items() if k != "name"}
    if kind == "OneCycle":
        return one_cycle(step, **arguments)
    if kind == "OneCycleMomentum":
        return one_cycle_momentum(step, **arguments)
    if kind == "CosineRestarts":
        if schedule.cycle_mult == schedule.peak_mult == 1:  # too many cycles to walk through
            step %= schedule.first_cycle_steps
        return cosine_restarts(step, **arguments)
    if kind == "Warmup":
        if step >= schedule.warmup_steps:
            return of(schedule.schedule, step - schedule.warmup_steps)
        t = mpmath.mpf(step) / schedule.warmup_steps
        return (1 - t) * mpmath.mpf(schedule.start_lr) + t * of(schedule.schedule, 0)
    if kind == "Piecewise":
        part = sum(step >= boundary for boundary in schedule.boundaries)
        return of(schedule.schedules[part], step - [0, *schedule.boundaries][part])
    up, down = schedule.step_size, schedule.step_size_down or schedule.step_size
    cycle = step // (up + down)
    scale = 1
    if kind == "Triangular2":
        scale = mpmath.mpf(0.5) ** cycle
    elif kind == "ExpRange":
        scale = mpmath.mpf(schedule.gamma) ** step
    elif kind == "Cyclical" and schedule.scale_fn is not None:
        x = cycle + 1 if schedule.scale_mode == "cycle" else step
        scale = schedule.scale_fn(mpmath.mpf(x))
    wave = getattr(schedule, "wave", "linear")
    return rate(step, schedule.base_lr, schedule.max_lr, up, down, wave=wave, scale=scale)


# Of each format, the bits of its digits and the exponent of its smallest normal number.
FORMATS = {
    "float64": (53, -1022),
    "float32": (24, -126),
    "bfloat16": (8, -126),
    "float16": (11, -14),
}


def in_two_floats(numbers):
    """The mpmath numbers as float64, and what these leave of them."""
    first = [float(x) for x in numbers]
    rest = [float(x - y) for x, y in zip(numbers, first, strict=True)]
    return np.array(first), np.array(rest)


def ulps(got, truth, rest=0.0, dtype="float32"):
    """How far an array is from the truth, in units of the last place of a format.

    The truth is an array of float64, and what that leaves of it another (`in_two_floats`). Below
    the smallest normal number TensorFlow and JAX flush to zero, as they do everywhere; there,
    anything from zero to that number counts as right, except in float16, whose range they leave.
    """
    digits, least = FORMATS[dtype]
    got, truth, rest = (np.asarray(each, np.float64) for each in (got, truth, rest))
    exponent = np.where(truth == 0, least, np.maximum(np.frexp(truth)[1] - 1, least))
    # Scaled first, since differences of float64's smallest numbers are none.
    off = np.ldexp(got - truth, digits - 1 - exponent) - np.ldexp(rest, digits - 1 - exponent)
    smallest = 2.0**least
    flushed = (least <= -126) & (truth < smallest) & (got >= 0) & (got <= smallest)
    return np.where(flushed, 0.0, np.abs(off))
