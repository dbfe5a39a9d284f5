"""What the formulas share, where a rounding decides."""

import math

import pytest

from clr_schedules.schedules import numerics


@pytest.mark.parametrize(
    ("low", "high", "misses"),
    [
        (0.001, 0.006, False),
        (0.0, 0.1, False),
        (0.001, 0.009, True),  # the nearest height leads above
        (0.042269797195375186, 0.3282137890542833, True),  # and here below
        (0.17339946062697323, 0.459681535524106, True),
    ],
)
def test_a_height_is_the_largest_that_does_not_lead_above_the_highest_rate(low, high, misses):
    height = numerics.height(low, high)
    assert low + height == (math.nextafter(high, 0.0) if misses else high)
    if misses:
        assert low + math.nextafter(height, math.inf) > high
