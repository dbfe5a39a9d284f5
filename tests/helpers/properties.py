"""What the package promises of the rates of any schedule at any steps, asserted on one array."""

import numpy as np
from hypothesis import strategies as st

from helpers import exact
from helpers.keras_under_test import DIFFERENT_ENGINES, compute_all
from helpers.strategies import steps_of

# "Correctly rounded" is 0.5; what float64 adds to it before the rounding is far below the rest.
ULPS = 0.502
FLOAT64_ULPS = 16


def assert_promises(data, schedules, most=3):
    """Draws schedules and steps; what every engine and NumPy compute must be the truth."""
    drawn = data.draw(st.lists(schedules, min_size=1, max_size=most))
    pairs = [(schedule, data.draw(steps_of(schedule))) for schedule in drawn]
    truths = [[exact.of(schedule, step) for step in steps.tolist()] for schedule, steps in pairs]
    # Several schedules are one program, since most of a compilation is a fixed cost.
    computed = [compute_all(engine, pairs) for engine in DIFFERENT_ENGINES]
    for (schedule, steps), truth, *rates in zip(pairs, truths, *computed, strict=True):
        for each in rates:
            assert each.dtype == np.float32
            assert_right(schedule, steps, each, truth)
        values = schedule.values(steps)
        assert values.dtype == np.float64
        assert_right(schedule, steps, values, truth)


def assert_right(schedule, steps, rates, truth):
    """Rounded well, within the bounds and exact there, and monotone on every half-cycle."""
    off = exact.ulps(rates, *exact.in_two_floats(truth), rates.dtype.name)
    if rates.dtype == np.float64:
        # A scale that is a subnormal number has few digits, far below what float32 can show.
        off[np.abs(rates - np.array(truth, float)) < 2.0**-900] = 0
    if loses_digits(schedule):
        off[np.abs(rates - np.array(truth, float)) < 2.0**-50] = 0
    worst = int(np.argmax(off))
    limit = ULPS if rates.dtype == np.float32 else FLOAT64_ULPS
    assert off[worst] <= limit, (schedule, int(steps[worst]), rates[worst], truth[worst])

    low, high = exact.bounds(schedule)
    assert np.all((rates.dtype.type(low) <= rates) & (rates <= rates.dtype.type(high))), schedule
    if getattr(schedule, "scale_fn", None) is None:
        for bound in (low, high):
            at_bound = np.array([x == bound for x in truth])
            off = np.abs(rates[at_bound] - rates.dtype.type(bound))
            # In float64 no sum of `low` and another number may be `high`: then it is a neighbor.
            most = np.spacing(bound) if rates.dtype == np.float64 else 0.0
            assert np.all(off <= most), (schedule, steps[at_bound])

    for step, following in zip(range(len(steps)), range(1, len(steps)), strict=False):
        half = exact.half_cycle(schedule, int(steps[step]))
        if half is not None and half == exact.half_cycle(schedule, int(steps[following])):
            change, true = rates[following] - rates[step], truth[following] - truth[step]
            assert change * np.sign(float(true)) >= 0, (schedule, steps[step : following + 1])


def loses_digits(schedule):
    """Whether this is 1 less a decaying wave, which near 0 has the errors of numbers near 1."""
    rate = getattr(schedule, "schedule", None)
    scaled = getattr(rate, "peak_mult", 1) != 1 or getattr(rate, "gamma", 1) != 1
    scaled = scaled or getattr(rate, "scale_fn", None) is not None
    return hasattr(schedule, "max_momentum") and scaled
