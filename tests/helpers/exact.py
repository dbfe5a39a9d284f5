"""The formulas in exact arithmetic, and the distance of a float from them: the oracle of the tests.

`fractions` for everything rational, mpmath with 60 digits for powers and cosines. It shares no line
with the package and uses none of it: what it knows of a schedule is its attributes.
"""

import bisect
import functools
from fractions import Fraction

import mpmath
import numpy as np

mpmath.mp.dps = 60

END = 2**53  # of all steps
SMALLEST_NORMAL = 2.0**-126  # of float32


def of(schedule, step):
    """The rate of any schedule of the package, or a constant one, as an mpmath number."""
    if isinstance(schedule, float):
        return mpmath.mpf(schedule)
    kind = type(schedule).__name__
    if kind == "OneCycle":
        return one_cycle(step, **_arguments(schedule))
    if kind == "CosineRestarts":
        return cosine_restarts(step, **_arguments(schedule))
    if kind == "MirroredMomentum":
        high, low = mpmath.mpf(schedule.max_momentum), mpmath.mpf(schedule.base_momentum)
        rate = schedule.schedule
        # All of a cycle from 0 to 1, though the last phase of a one-cycle may go further down.
        one = one_cycle_share if type(rate).__name__ == "OneCycle" else share
        return high - (high - low) * one(rate, step)
    if kind == "Warmup":
        if step >= schedule.warmup_steps:
            return of(schedule.schedule, step - schedule.warmup_steps)
        t = mpmath.mpf(step) / schedule.warmup_steps
        return (1 - t) * mpmath.mpf(schedule.start_lr) + t * of(schedule.schedule, 0)
    if kind == "Piecewise":
        piece = sum(step >= boundary for boundary in schedule.boundaries)
        return of(schedule.schedules[piece], step - [0, *schedule.boundaries][piece])
    if kind == "Shifted":
        return of(schedule.schedule, max(0, step - schedule.steps))
    low, high = mpmath.mpf(schedule.base_lr), mpmath.mpf(schedule.max_lr)
    return low + (high - low) * share(schedule, step)


def triangle(step, up, down):
    """The triangle wave of a step, as a fraction from 0 to 1."""
    position = step % (up + down)
    return Fraction(position, up) if position <= up else Fraction(up + down - position, down)


def paper_triangular(step, base_lr, max_lr, step_size):
    """Section 3.1 of the paper, letter for letter, in fractions."""
    cycle = 1 + step // (2 * step_size)
    x = abs(Fraction(step, step_size) - 2 * cycle + 1)
    return Fraction(base_lr) + (Fraction(max_lr) - Fraction(base_lr)) * max(Fraction(0), 1 - x)


def share(schedule, step):
    """The wave times the scale of a cyclical schedule, from 0 to 1."""
    up, down = half_cycles(schedule)
    ended = step // (up + down)
    t = _wave(triangle(step, up, down), schedule.wave)
    t *= mpmath.mpf(schedule.peak_mult) ** ended * mpmath.mpf(schedule.gamma) ** step
    if schedule.scale_fn is not None:
        x = ended + 1 if schedule.scale_mode == "cycle" else step
        t *= max(schedule.scale_fn(mpmath.mpf(x)), 0)
    return min(t, mpmath.mpf(1))


def half_cycles(schedule):
    """The lengths of the two half-cycles of a cyclical schedule."""
    return schedule.step_size, schedule.step_size_down or schedule.step_size


def _wave(t, kind):
    t = mpmath.mpf(t.numerator) / t.denominator
    # The same as (1 - cos(pi * t)) / 2, with all its digits near 0.
    return mpmath.sin(mpmath.pi / 2 * t) ** 2 if kind == "cosine" else t


# ---- One cycle


def peak_of(total_steps, pct_start, three_phase):
    """Where one cycle has its highest rate, as a fraction of iterations.

    The product is taken in float64, as it is in PyTorch. It may round to more than the whole.
    """
    longest = Fraction(total_steps, 2 if three_phase else 1)
    return min(Fraction(pct_start * total_steps), longest) - 1


def one_cycle_phases(max_lr, total_steps, pct_start, div_factor, final_div_factor, three_phase):
    """Start, end, first and last rate of each phase. A phase that takes no time is among them.

    The factors are divided by in float64, as the arguments are.
    """
    initial = max_lr / div_factor
    final = min(initial / final_div_factor, max_lr)
    peak, last = peak_of(total_steps, pct_start, three_phase), Fraction(total_steps - 1)
    phases = [(Fraction(0), peak, initial, max_lr)]
    if three_phase:
        return [*phases, (peak, 2 * peak, max_lr, initial), (2 * peak, last, initial, final)]
    return [*phases, (peak, last, max_lr, final)]


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
    """The one-cycle policy, as an mpmath number: the phase that ends at or after the step."""
    phases = one_cycle_phases(
        max_lr, total_steps, pct_start, div_factor, final_div_factor, three_phase
    )
    step = min(Fraction(step), Fraction(total_steps - 1))
    start, end, first, last = next(phase for phase in phases if step <= phase[1])
    # With the peak at 0, where PyTorch divides by zero: the peak; or, where the fall from the peak
    # takes no time either, what it falls to.
    t = (step - start) / (end - start) if start < end else Fraction(0 if three_phase else 1)
    first, last = mpmath.mpf(first), mpmath.mpf(last)
    return first + (last - first) * _wave(t, anneal)


def one_cycle_share(schedule, step):
    """The share of its range that the rate has, from 0 at the start to 1 at the peak and back."""
    total_steps, three_phase = schedule.total_steps, schedule.three_phase
    peak = peak_of(total_steps, schedule.pct_start, three_phase)
    end = 2 * peak if three_phase else Fraction(total_steps - 1)
    step = min(Fraction(step), Fraction(total_steps - 1))
    if step <= peak:
        t = step / peak if peak > 0 else Fraction(0 if three_phase else 1)
    else:
        t = (end - step) / (end - peak) if step < end else Fraction(0)
    return _wave(t, schedule.anneal)


# ---- Restarts


_BITS = 400  # after the point, of fractions of iterations


@functools.lru_cache(maxsize=256)
def restarts(first_cycle_steps, cycle_mult):
    """Start and length of every cycle that begins before the end of all steps, as fractions.

    The lengths are cut to 400 bits after the point; a whole factor, or one with few bits such as
    1.5, needs fewer. The cycles end where they would take less than one iteration: the last start
    is where the rate begins to stay, with a length of None.
    """
    one = 1 << _BITS
    numerator, denominator = float(cycle_mult).as_integer_ratio()
    start, length, starts, lengths = 0, first_cycle_steps * one, [], []
    while start < END * one and length >= one:
        starts.append(start)
        lengths.append(length)
        start, length = start + length, length * numerator // denominator
    if length < one:
        starts.append(start)
        lengths.append(None)
    return starts, lengths


def restart(cycle, first_cycle_steps, cycle_mult):
    """Where a cycle with cosine restarts begins, in iterations, as a fraction."""
    if cycle_mult == 1:
        return Fraction(first_cycle_steps * cycle)
    return Fraction(restarts(first_cycle_steps, cycle_mult)[0][cycle], 1 << _BITS)


def restart_count(first_cycle_steps, cycle_mult):
    """The number of cycles that begin before the end of all steps."""
    if cycle_mult == 1:
        return -(-END // first_cycle_steps)
    return len(restarts(first_cycle_steps, cycle_mult)[0])


def restart_cycle(step, first_cycle_steps, cycle_mult):
    """The number of cycles that have ended by a step."""
    if cycle_mult == 1:
        return step // first_cycle_steps
    return bisect.bisect_right(restarts(first_cycle_steps, cycle_mult)[0], step << _BITS) - 1


def cosine_restarts(step, max_lr, first_cycle_steps, cycle_mult=1.0, peak_mult=1.0, min_lr=0.0):
    """SGDR, equation (5), as an mpmath number."""
    low, high = mpmath.mpf(min_lr), mpmath.mpf(max_lr)
    cycle = restart_cycle(step, first_cycle_steps, cycle_mult)
    if cycle_mult == 1:
        left = Fraction(first_cycle_steps - step % first_cycle_steps, first_cycle_steps)
    else:
        starts, lengths = restarts(first_cycle_steps, cycle_mult)
        if lengths[cycle] is None:
            return low
        left = 1 - Fraction((step << _BITS) - starts[cycle], lengths[cycle])
    return low + (high - low) * mpmath.mpf(peak_mult) ** cycle * _wave(left, "cosine")


# ---- What follows from the formulas


def half_cycle(schedule, step):
    """A name of the half-cycle, on which the rate moves one way; None where it need not."""
    kind = type(schedule).__name__
    if kind == "MirroredMomentum":
        schedule = schedule.schedule
        kind = type(schedule).__name__
    if kind == "OneCycle":
        last = schedule.total_steps - 1
        peak = peak_of(schedule.total_steps, schedule.pct_start, schedule.three_phase)
        corners = [peak, 2 * peak, last] if schedule.three_phase else [peak, last]
        return sum(step > corner for corner in corners)
    if kind == "CosineRestarts":
        return restart_cycle(step, schedule.first_cycle_steps, schedule.cycle_mult)
    if not hasattr(schedule, "gamma") or schedule.gamma != 1 or schedule.scale_mode != "cycle":
        return None
    up, down = half_cycles(schedule)
    cycle, position = divmod(step, up + down)
    return cycle, position > up


def bounds(schedule):
    """The lowest and the highest rate that there may be, as floats."""
    if isinstance(schedule, float):
        return schedule, schedule
    kind = type(schedule).__name__
    if kind == "Warmup":
        low, high = bounds(schedule.schedule)
        start = schedule.start_lr if schedule.warmup_steps else low
        return min(low, start), max(high, start)
    if kind == "Piecewise":
        lows, highs = zip(*map(bounds, schedule.schedules), strict=True)
        return min(lows), max(highs)
    if kind == "Shifted":
        return bounds(schedule.schedule)
    if kind == "OneCycle":
        initial = schedule.max_lr / schedule.div_factor
        final = min(initial / schedule.final_div_factor, schedule.max_lr)
        return min(initial, final), schedule.max_lr
    if kind == "CosineRestarts":
        return schedule.min_lr, schedule.max_lr
    if kind == "MirroredMomentum":
        return schedule.base_momentum, schedule.max_momentum
    return schedule.base_lr, schedule.max_lr


def cycle_ends(schedule, num_steps):
    """The iterations up to `num_steps` at which a cycle has just ended, counted one by one."""
    return [step for step in range(1, num_steps + 1) if _ends_at(schedule, step)]


def _ends_at(schedule, step):
    kind = type(schedule).__name__
    if kind in ("MirroredMomentum", "Warmup", "Shifted"):
        later = {"Warmup": "warmup_steps", "Shifted": "steps"}.get(kind)
        begin = getattr(schedule, later) if later else 0
        return step > begin and _ends_at(schedule.schedule, step - begin)
    if kind == "Piecewise":  # a piece that is cut off at its very end has ended
        piece = sum(step > boundary for boundary in schedule.boundaries)
        begin = [0, *schedule.boundaries][piece]
        return _ends_at(schedule.schedules[piece], step - begin)
    if kind == "OneCycle":
        return step == schedule.total_steps
    if kind == "CosineRestarts":
        arguments = schedule.first_cycle_steps, schedule.cycle_mult
        return restart_cycle(step, *arguments) > restart_cycle(step - 1, *arguments)
    return not isinstance(schedule, float) and step % sum(half_cycles(schedule)) == 0


def _arguments(schedule):
    return {name: value for name, value in vars(schedule).items() if name != "name"}


# ---- Distances

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
