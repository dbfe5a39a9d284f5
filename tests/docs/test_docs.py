"""What the pages of `docs/` say that Sphinx's doctest builder does not run.

The figures that they cite, and that each reason of a range test that they explain is one.
"""

import dataclasses
import re

import numpy as np
import pytest
from helpers import ROOT

import clr_schedules as clr

DOCS = ROOT / "docs"
RATES = np.geomspace(1e-6, 1, 200)
NOISE = 1e-3 * np.random.default_rng(0).normal(size=200)


def ramp(low, high):
    """From 0 to 1 while the rate goes from `low` to `high`."""
    return np.clip(np.log(RATES / low) / np.log(high / low), 0, 1)


def curve(losses, *, rates=RATES, smoothed=None, **metrics):
    losses = np.asarray(losses, np.float64)
    smoothed = losses if smoothed is None else smoothed
    return clr.RangeTestResult(rates[: len(losses)], losses, smoothed, metrics, "completed: …")


FALLING = 2 - ramp(1e-3, 1) + NOISE
BLOWN_UP = FALLING + 40 * ramp(0.8, 1) ** 2
RANDOM = np.random.default_rng(0)
GUESSES = RANDOM.binomial(64, 0.1, 200) / 64
CURVES = {
    "The loss was still falling at the highest rate, …": curve(FALLING),
    "The accuracy was still rising at the highest rate, …": curve(FALLING, acc=2 - FALLING),
    "The smoothed loss was still falling at the highest rate, …": curve(FALLING),
    "The loss did not rise again up to the highest rate, …": curve(
        2 - ramp(1e-3, 0.1) + 0.02 * ramp(0.1, 1) + NOISE
    ),
    "The loss was already falling at the lowest rate, …": curve(
        2 - ramp(1e-6, 1e-5) + NOISE, rates=np.linspace(0.01, 1, 200)
    ),
    "The loss was already falling at the lowest rate, …, so that …": curve(
        2 - ramp(1e-6, 1e-5) + NOISE
    ),
    "The accuracy was already rising at the lowest rate, …": curve(
        FALLING, accuracy=ramp(1e-6, 1e-5) + NOISE
    ),
    "The rate would be too close to the lowest rate, …, or below it": curve(
        BLOWN_UP, rates=np.geomspace(1, 1.2, 200), smoothed=FALLING
    ),
    "The loss did not fall by more than its noise: …": curve(2 + NOISE),
    "The loss rose without having fallen by more than its noise: …": curve(
        2 + ramp(0.1, 1) + NOISE
    ),
    "The loss did not fall by more than its noise, and the accuracy was …": curve(
        0.04 + NOISE / 10, accuracy=0.98 + NOISE
    ),
    "The batches come in an order …": curve(BLOWN_UP + 0.5 * (np.arange(200) // 5 % 3)),
    "The accuracy stayed at …": curve(np.log(10) * (1 + ramp(1, 1e-3)) + NOISE, accuracy=GUESSES),
    "The weights were not finite after step …": dataclasses.replace(
        curve(2 + NOISE),
        stop_reason="diverged: the weights were not finite after step 200, at a learning rate of 1",
    ),
    "The loss was … at step …, at a learning rate of …": curve([np.nan]),
    "Learning began only at …, which is not below max_lr=… by a factor of 3, …": curve(
        [*(2 - ramp(0.01, 0.011) + NOISE)[:160], 10, 1e3, 1e5, np.inf]
    ),
    "The smoothed loss does not fall where the loss falls. …": curve(FALLING, smoothed=1 + RATES),
    "The test took only … steps; at least 20 are needed.": curve(FALLING[:10]),
}


def reasons():
    """The first cells of the table of reasons."""
    page = (DOCS / "bounds.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^|]*)` \| [^|]* \| [^|]* \|$", page, re.MULTILINE)


def test_the_table_of_reasons_has_those_that_are_tested():
    assert reasons() == list(CURVES)


@pytest.mark.parametrize("reason", CURVES)
def test_a_range_test_gives_the_reason(reason):
    pattern = re.escape(reason).replace("…", r".+") + ".*"
    given = CURVES[reason].suggest().reasons.values()
    assert any(re.fullmatch(pattern, found) for found in given), given
