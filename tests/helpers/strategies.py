"""What a test may draw: the arguments of a schedule by their names, and steps near its corners."""

import inspect
import math

import numpy as np
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules.schedules.momentum import MirroredMomentum
from helpers import exact
from helpers.keras_under_test import MAX_STEP, keras


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


def _normal(x):
    """Float32 would flush it to zero."""
    return x if x >= 2.0**-126 else 0.0


# Usual learning rates, everything that float32 holds, and numbers half way between two of these.
_ties = st.builds(
    lambda n, e: (1 + (2 * n + 1) * 2.0**-24) * 2.0**e, st.integers(0, 5), st.integers(-9, 2)
)
rates = st.floats(1e-9, 10.0) | st.floats(2.0**-126, float(np.finfo(np.float32).max)) | _ties
step_sizes = (
    st.integers(1, 20) | st.integers(1, 10**5) | st.integers(1, 2**40) | st.integers(1, 2**53)
)
_boundaries = st.integers(0, 20) | st.integers(0, 10**5) | st.integers(0, 2**52)
_factors = st.just(1.0) | st.floats(0.9, 1.0) | st.floats(1e-300, 1.0) | st.just(1.0 - 2.0**-53)
_momenta = st.floats(0.0, 1.0 - 2.0**-24).map(_normal)

# What each argument may be. A new policy whose arguments have these names can be drawn at once.
ARGUMENTS = {
    "base_lr": st.just(0.0) | rates,
    "min_lr": st.just(0.0) | rates,
    "max_lr": rates,
    "step_size": step_sizes,
    "step_size_down": st.none() | step_sizes,
    "wave": st.sampled_from(["linear", "cosine"]),
    "peak_mult": st.sampled_from([1.0, 0.5]) | st.floats(0.01, 1.0),
    "gamma": _factors,
    "scale_fn": st.sampled_from([None, None, harmonic, slow_decay, wild]),
    "scale_mode": st.sampled_from(["cycle", "iterations"]),
    "total_steps": step_sizes,
    "pct_start": st.floats(0.0, 1.0) | st.sampled_from([0.0, 1e-300, 2.0**-53, 0.1, 0.3, 1.0]),
    "div_factor": st.just(25.0) | st.floats(1.0, 1e6),
    "final_div_factor": st.just(1e4) | st.floats(1e-6, 1e8),
    "anneal": st.sampled_from(["cosine", "linear"]),
    "three_phase": st.booleans(),
    "first_cycle_steps": step_sizes,
    "cycle_mult": (
        st.sampled_from([1.0, 2.0, 3.0, 1.5, 0.5, 0.9, 0.99, 1.01])
        | st.floats(1e-300, 0.99)
        | st.floats(1.01, 4.0)
        | st.floats(1.01, 1e300)
    ),
    "max_momentum": _momenta,
    "base_momentum": _momenta,
    "warmup_steps": _boundaries,
    "start_lr": st.sampled_from([0.0, 1e-6]) | st.floats(1e-9, 1.0),
    "steps": _boundaries | st.integers(-(MAX_STEP >> 6), 0),  # nested ones add up
}


@st.composite
def arguments_of(draw, policy):
    """Valid arguments of a policy, by name."""
    names = [name for name in inspect.signature(policy).parameters if name != "name"]
    drawn = {name: draw(ARGUMENTS[name]) for name in names if name in ARGUMENTS}
    for low, high in (
        ("base_lr", "max_lr"),
        ("min_lr", "max_lr"),
        ("base_momentum", "max_momentum"),
    ):
        if low in drawn:
            drawn[low], drawn[high] = sorted([drawn[low], drawn[high]])
    if drawn.get("scale_fn") is harmonic:
        drawn["scale_mode"] = "cycle"  # the oracle does not divide by iteration 0
    if drawn.get("three_phase"):
        drawn["pct_start"] /= 2
    if "final_div_factor" in drawn:  # the final rate is one that float32 holds, and not the highest
        drawn["max_lr"] = max(drawn["max_lr"], 1e-22)
        drawn["final_div_factor"] = max(drawn["final_div_factor"], 1 / drawn["div_factor"])
    if policy is MirroredMomentum:
        drawn["schedule"] = draw(of(clr.OneCycle, clr.Triangular, clr.Triangular2, clr.Cyclical))
    elif "schedule" in names:
        drawn["schedule"] = draw(parts)
    if "schedules" in names:
        drawn["boundaries"] = sorted(draw(st.sets(_boundaries, max_size=3)))
        drawn["schedules"] = [draw(parts) for _ in range(len(drawn["boundaries"]) + 1)]
    return drawn


def of(*policies):
    """A schedule of one of these policies."""
    return st.one_of(
        [
            arguments_of(policy).map(lambda drawn, policy=policy: policy(**drawn))
            for policy in policies
        ]
    )


schedules = of(clr.Triangular, clr.Triangular2, clr.ExpRange, clr.Cyclical)
# The schedules of this package that are not made of others.
simple = schedules | of(clr.OneCycle, clr.CosineRestarts)
parts = simple | st.floats(0.0, 1.0).map(_normal)
composed = of(clr.Warmup, clr.Piecewise, clr.Shifted)
# Schedules of schedules of schedules.
parts = parts | st.deferred(lambda: composed)


def _corner(draw, schedule):
    """A step at which a schedule turns, or which is next to that."""
    if isinstance(schedule, float):
        return 0
    kind = type(schedule).__name__
    if kind == "OneCycle":
        peak = exact.peak_of(schedule.total_steps, schedule.pct_start, schedule.three_phase)
        last = schedule.total_steps - 1
        return draw(st.sampled_from([0, math.ceil(peak), math.ceil(2 * peak), last]))
    if kind == "CosineRestarts":
        arguments = schedule.first_cycle_steps, schedule.cycle_mult
        last = exact.restart_count(*arguments) - 1
        cycle = draw(st.integers(0, last) | st.integers(0, min(last, 5)))
        return math.ceil(exact.restart(cycle, *arguments))
    if kind == "MirroredMomentum":
        return _corner(draw, schedule.schedule)
    if kind in ("Warmup", "Shifted"):
        begin = schedule.warmup_steps if kind == "Warmup" else schedule.steps
        return begin + draw(st.sampled_from([0, 1])) * _corner(draw, schedule.schedule)
    if kind == "Piecewise":
        piece = draw(st.integers(0, len(schedule.boundaries)))
        return [0, *schedule.boundaries][piece] + _corner(draw, schedule.schedules[piece])
    up, down = exact.half_cycles(schedule)
    cycle = draw(st.integers(0, MAX_STEP // (up + down)) | st.integers(0, 3))
    return cycle * (up + down) + draw(st.sampled_from([0, up]))


@st.composite
def steps_of(draw, schedule, corners=3):
    """Some 30 steps below MAX_STEP, sorted: around corners, anywhere, and in a row on a slope."""
    anywhere = st.integers(0, MAX_STEP - 1) | st.integers(0, 10**5)
    steps = draw(st.lists(anywhere, min_size=6, max_size=6))
    for _ in range(corners):
        corner = _corner(draw, schedule)
        steps += range(corner - 2, corner + 3)
    start, stride = _corner(draw, schedule), 2 ** draw(st.integers(0, 45))
    steps += range(start, start + 12 * stride, stride)
    # A schedule that began earlier is not asked for what is beyond the end of all steps.
    most = MAX_STEP - 1 - _head_start(schedule)
    return np.unique(np.clip(np.array(steps, object), 0, most).astype(np.int64))


def _head_start(schedule):
    """By how many iterations more than the step the schedules within can be ahead."""
    within = [*getattr(schedule, "schedules", [getattr(schedule, "schedule", None)])]
    ahead = max(0, -schedule.steps) if isinstance(schedule, clr.Shifted) else 0
    return ahead + max(_head_start(part) if part is not None else 0 for part in within)
