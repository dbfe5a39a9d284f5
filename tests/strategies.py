"""What a test may draw: any valid schedule, and any step, with a liking for the corners."""

import math

import numpy as np
from hypothesis import strategies as st
from keras_under_test import MAX_STEP, keras

import clr_schedules as clr
from clr_schedules import reference

# Usual learning rates, and everything that float32 holds.
_rates = st.floats(1e-9, 10.0) | st.floats(2.0**-126, float(np.finfo(np.float32).max))


def _normal(x):
    """What float32 would flush to zero is zero."""
    return x if x >= 2.0**-126 else 0.0


step_sizes = (
    st.integers(1, 20) | st.integers(1, 10**5) | st.integers(1, 2**40) | st.integers(1, 2**62 - 1)
)
gammas = st.floats(0.9, 1.0) | st.floats(1e-300, 1.0, exclude_min=True) | st.just(1.0 - 2.0**-53)


@st.composite
def bounds(draw):
    """base_lr and max_lr, in order; base_lr is often 0."""
    low, high = sorted([draw(_rates), draw(_rates)])
    return {"base_lr": draw(st.sampled_from([low, 0.0])), "max_lr": high}


@st.composite
def cycles(draw):
    """The arguments that all policies share."""
    return draw(bounds()) | {
        "step_size": draw(step_sizes),
        "step_size_down": draw(st.none() | step_sizes),
    }


@keras.saving.register_keras_serializable(package="tests")
def harmonic(cycle):
    return 1 / cycle


@keras.saving.register_keras_serializable(package="tests")
def slow_decay(iteration):
    return 1 / (1 + 1e-4 * iteration)


@keras.saving.register_keras_serializable(package="tests")
def wild(cycle):
    """Leaves [0, 1] on both sides."""
    return 3 - cycle


scale_functions = st.sampled_from(
    [(None, "cycle"), (harmonic, "cycle"), (slow_decay, "iterations"), (wild, "cycle")]
)

triangulars = cycles().map(lambda arguments: clr.Triangular(**arguments))
triangular2s = cycles().map(lambda arguments: clr.Triangular2(**arguments))
exp_ranges = st.builds(
    lambda arguments, gamma: clr.ExpRange(**arguments, gamma=gamma), cycles(), gammas
)
cosines = cycles().map(lambda arguments: clr.Cyclical(**arguments, wave="cosine"))
cyclicals = st.builds(
    lambda arguments, wave, scale: clr.Cyclical(
        **arguments, wave=wave, scale_fn=scale[0], scale_mode=scale[1]
    ),
    cycles(),
    st.sampled_from(["linear", "cosine"]),
    scale_functions,
)
schedules = triangulars | triangular2s | exp_ranges | cyclicals
# Those whose cycles are all alike.
periodic = triangulars | cosines


@st.composite
def one_cycle_arguments(draw):
    """Any valid arguments of `OneCycle`, by name."""
    three_phase = draw(st.booleans())
    total_steps = draw(step_sizes)
    longest = 0.5 if three_phase else 1.0
    div_factor = draw(st.just(25.0) | st.floats(1.0, 1e6))
    return {
        # The final rate, too, is one that float32 holds.
        "max_lr": draw(st.floats(1e-9, 10.0) | st.floats(1e-22, float(np.finfo(np.float32).max))),
        "total_steps": total_steps,
        "pct_start": draw(
            st.floats(0.0, longest)
            | st.sampled_from([0.0, 0.1, 0.3, longest])
            | st.just(min(longest, 1 / total_steps))
        ),
        "div_factor": div_factor,
        "final_div_factor": draw(
            st.just(1e4) | st.floats(1.0, 1e8) | st.floats(1 / div_factor, 1.0)
        ),
        "anneal": draw(st.sampled_from(["cosine", "linear"])),
        "three_phase": three_phase,
    }


one_cycles = one_cycle_arguments().map(lambda arguments: clr.OneCycle(**arguments))


@st.composite
def momenta(draw):
    """The momentum of a one-cycle schedule."""
    number = st.floats(0.0, 1.0 - 2.0**-24).map(_normal)
    low, high = sorted(draw(st.tuples(number, number)))
    return draw(one_cycles).momentum(high, low)


# Factors of the length of cycles: usual ones, any, and next to 1.
cycle_mults = (
    st.sampled_from([1.0, 2.0, 3.0, 1.5, 0.5, 0.9])
    | st.floats(1e-300, 1e300)
    | st.floats(0.1, 4.0)
    | st.builds(
        lambda sign, bits: 1 + sign * 2.0**-bits, st.sampled_from([-1, 1]), st.floats(3, 52)
    )
)


@st.composite
def cosine_restart_arguments(draw):
    """Any valid arguments of `CosineRestarts`, by name."""
    rates = draw(bounds())
    return {
        "max_lr": rates["max_lr"],
        "first_cycle_steps": draw(step_sizes),
        "cycle_mult": draw(cycle_mults),
        "peak_mult": draw(st.sampled_from([1.0, 0.5]) | st.floats(0.01, 1.0)),
        "min_lr": rates["base_lr"],
    }


cosine_restarts = cosine_restart_arguments().map(lambda a: clr.CosineRestarts(**a))
# The schedules of this package that are not made of others.
simple = schedules | one_cycles | cosine_restarts


@st.composite
def sequences(draw, parts):
    """Some schedules, one after the other."""
    boundaries = sorted(draw(st.sets(step_sizes, min_size=0, max_size=3)))
    count = len(boundaries) + 1
    return clr.Piecewise(draw(st.lists(parts, min_size=count, max_size=count)), boundaries)


parts = simple | st.floats(0.0, 1.0).map(_normal)
warmups = st.builds(
    clr.Warmup,
    parts | sequences(parts),
    step_sizes,
    st.sampled_from([0.0, 1e-6]) | st.floats(1e-9, 1),
)
composed = warmups | sequences(parts | warmups)
all_schedules = simple | momenta() | composed


def up_and_down(schedule):
    """The two half-cycles of a schedule, in iterations."""
    return schedule.step_size, schedule.step_size_down or schedule.step_size


@st.composite
def steps_of(draw, schedule, n=32):
    """n steps below MAX_STEP: anywhere, early, and around the corners of the schedule's cycles."""
    up, down = up_and_down(schedule)
    anywhere = st.integers(0, MAX_STEP - 1) | st.integers(0, 10**5)
    corners = st.builds(
        lambda cycle, corner, off: cycle * (up + down) + corner + off,
        st.integers(0, MAX_STEP // (up + down)) | st.integers(0, 3),
        st.sampled_from([0, up]),
        st.integers(-2, 2),
    ).map(lambda step: min(max(step, 0), MAX_STEP - 1))
    return np.array(draw(st.lists(anywhere | corners, min_size=n, max_size=n)), np.int64)


@st.composite
def steps_of_one_cycle(draw, schedule, n=32):
    """n steps below MAX_STEP: of the cycle, after it, and at any distance from its corners."""
    peak, end = int(schedule.pct_start * schedule.total_steps), schedule.total_steps
    anywhere = st.integers(0, MAX_STEP - 1) | st.integers(0, schedule.total_steps)
    corners = st.builds(
        lambda corner, sign, bits, part: corner + sign * int(2**bits * part),
        st.sampled_from([0, peak, 2 * peak, end]),
        st.sampled_from([-1, 1]),
        st.integers(0, end.bit_length()),
        st.floats(0.0, 1.0),
    )
    steps = (anywhere | corners).map(lambda step: min(max(step, 0), MAX_STEP - 1))
    return np.array(draw(st.lists(steps, min_size=n, max_size=n)), np.int64)


@st.composite
def steps_of_restarts(draw, schedule, n=32, below=MAX_STEP):
    """n steps: anywhere, early, and around the starts of cycles."""
    arguments = schedule.first_cycle_steps, schedule.cycle_mult
    last = reference.restart_cycles(np.array([below - 1]), *arguments).item()
    anywhere = st.integers(0, below - 1) | st.integers(0, 10**5)
    starts = st.builds(
        lambda cycle, off: math.ceil(reference.restart(cycle, *arguments)) + off,
        st.integers(0, last) | st.integers(0, min(last, 5)),
        st.integers(-2, 2),
    )
    steps = (anywhere | starts).map(lambda step: min(max(step, 0), below - 1))
    return np.array(draw(st.lists(steps, min_size=n, max_size=n)), np.int64)
