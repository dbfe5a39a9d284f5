"""What the accuracies of a few seeds say, and what they do not."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats  # type: ignore[import-untyped]

FEWEST = 3
_LEVEL = 0.95
_RESAMPLES = 100_000

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Difference:
    """How an arm differs from another, over the seeds that both have.

    Attributes:
        mean: The mean of the differences, in the unit of what is compared.
        seeds: How many there are.
        bootstrap: The 95 % interval of a bootstrap over the seeds; None for fewer than three.
        student: Student's, which also knows how little few seeds say of their own spread.
    """

    mean: float
    seeds: int
    bootstrap: Interval | None
    student: Interval | None

    @property
    def verdict(self) -> str:
        """``"better"`` or ``"worse"`` if both intervals say so, else ``"level"``.

        The bootstrap alone is too narrow: with three seeds it is the least and the largest.
        ``"open"`` without intervals.
        """
        if self.bootstrap is None or self.student is None:
            return "open"
        (low, high), (student_low, student_high) = self.bootstrap, self.student
        if min(low, student_low) > 0:
            return "better"
        return "worse" if max(high, student_high) < 0 else "level"


def paired(arm: Mapping[Any, float], other: Mapping[Any, float]) -> Difference | None:
    """The difference of two arms, seed by seed; None if no seed is in both.

    Args:
        arm: For each seed (or what else makes a pair), what was found.
        other: The same of what it is compared with.
    """
    seeds = sorted(arm.keys() & other.keys())
    if not seeds:
        return None
    differences = np.array([arm[seed] - other[seed] for seed in seeds])
    if len(seeds) < FEWEST:
        return Difference(float(differences.mean()), len(seeds), None, None)
    found = scipy.stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    reach = scipy.stats.t.ppf((1 + _LEVEL) / 2, len(seeds) - 1) * scipy.stats.sem(differences)
    mean = float(differences.mean())
    return Difference(
        mean,
        len(seeds),
        (float(found.low), float(found.high)),
        (mean - float(reach), mean + float(reach)),
    )


@dataclasses.dataclass(frozen=True)
class Reached:
    """After how many steps an arm was as good as the best that another ever was.

    Attributes:
        steps: For each seed, the steps; infinite where it never was.
    """

    steps: tuple[float, ...]

    @property
    def times(self) -> int:
        """In how many seeds it was."""
        return sum(map(math.isfinite, self.steps))

    @property
    def median(self) -> float:
        """The median, in which never is longer than any number of steps."""
        return statistics.median_low(self.steps)


def reached(
    arm: Mapping[Any, Sequence[float]], other: Mapping[Any, Sequence[float]], steps_per_epoch: int
) -> Reached | None:
    """When each seed first reached the best of the same seed of another arm.

    Args:
        arm: For each seed, the accuracy after each epoch.
        other: The same of the arm whose best is to be reached.
        steps_per_epoch: The steps from one accuracy to the next.

    Returns:
        The steps, or None if no seed is in both.
    """
    found = []
    for seed in sorted(arm.keys() & other.keys()):
        best = max(other[seed])
        after = (epoch for epoch, accuracy in enumerate(arm[seed], 1) if accuracy >= best)
        found.append(next((epoch * float(steps_per_epoch) for epoch in after), math.inf))
    return Reached(tuple(found)) if found else None
