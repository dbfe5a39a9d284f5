"""What is trained: arms, at a scale, with seeds; each run has a name of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import clr_schedules as clr

BATCH_SIZE = 100
# The post's, from its range test.
BASE_LR, MAX_LR, STEP_SIZE = 0.001, 0.005, 2500
# The post trains 25,000 steps, so that there are five cycles.
CYCLES = 5
# The paper's for this data set; its amplitude falls to a fifth in the post's 25,000 steps.
GAMMA = 0.99994
RANGE_TEST = (0.001, 0.02)

CONSTANT, CONSTANT_BEST = "constant", "constant_best"
CONSTANTS = (CONSTANT, CONSTANT_BEST)
CYCLICAL = ("triangular", "triangular2", "exp_range", "one_cycle")
ARMS = (*CONSTANTS, *CYCLICAL)
RANGE_TEST_SEED = 0


@dataclasses.dataclass(frozen=True, order=True)
class Scale:
    """How much is trained, of what.

    Attributes:
        data: What the data set is called.
        epochs: The epochs of the constant rates.
        budget: The part of them that the other arms get.
        steps_per_epoch: The batches of an epoch.
        batch_size: The images of a batch; the post's, unless something is tried out.
    """

    data: str
    epochs: int
    budget: Fraction
    steps_per_epoch: int
    batch_size: int = BATCH_SIZE

    @property
    def cyclical_epochs(self) -> int:
        """The epochs of the arms that are not constant: at least one."""
        return max(1, round(self.epochs * self.budget))

    def epochs_of(self, arm: str) -> int:
        """The epochs of an arm."""
        return self.epochs if arm in CONSTANTS else self.cyclical_epochs

    @property
    def step_size(self) -> int:
        """The half-cycle with which there are as many cycles as in the post."""
        return max(1, round(self.cyclical_epochs * self.steps_per_epoch / (2 * CYCLES)))

    @property
    def gamma(self) -> float:
        """The factor a step with which the amplitude falls as far as at the post's scale."""
        return float(GAMMA ** (STEP_SIZE / self.step_size))

    @property
    def range_test_steps(self) -> int:
        """The steps of the range test: as many as the constant rates have, like in the post."""
        return max(2, self.epochs * self.steps_per_epoch)

    @property
    def slug(self) -> str:
        """The scale in a file's name."""
        data = re.sub(r"[^a-z0-9]+", "-", self.data.lower()).strip("-")
        budget = f"{self.budget.numerator}-{self.budget.denominator}"
        batch = "" if self.batch_size == BATCH_SIZE else f"_batch-{self.batch_size}"
        return f"{data}_{self.epochs}-epochs_budget-{budget}{batch}"

    def __str__(self) -> str:
        batch = "" if self.batch_size == BATCH_SIZE else f", batches of {self.batch_size}"
        return f"{self.data}, {self.epochs} epochs, budget {self.budget}{batch}"


@dataclasses.dataclass(frozen=True, order=True)
class Run:
    """A training, or the range test (with the arm ``range_test``)."""

    scale: Scale
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        if self.is_range_test:
            return f"{self.scale.slug}_range-test"
        return f"{self.scale.slug}_{self.arm}_seed-{self.seed}"

    @property
    def is_range_test(self) -> bool:
        """Whether it is the range test."""
        return self.arm == "range_test"

    @property
    def epochs(self) -> int:
        """The epochs that it takes."""
        return self.scale.epochs if self.is_range_test else self.scale.epochs_of(self.arm)

    def path(self, results: Path) -> Path:
        """Where its result is."""
        return results / f"{self.name}.json"

    def learning_rate(self, best: float | None = None) -> Any:
        """The rate or the schedule to train with.

        Args:
            best: The constant rate that the range test says, for the arm that has it.
        """
        scale = self.scale
        steps = self.epochs * scale.steps_per_epoch
        bounds: dict[str, Any] = {
            "base_lr": BASE_LR,
            "max_lr": MAX_LR,
            "step_size": scale.step_size,
        }
        if self.arm == "triangular":
            return clr.Triangular(**bounds)
        if self.arm == "triangular2":
            return clr.Triangular2(**bounds)
        if self.arm == "exp_range":
            return clr.ExpRange(**bounds, gamma=scale.gamma)
        if self.arm == "one_cycle":
            return clr.OneCycle(max_lr=MAX_LR, total_steps=steps)
        if self.arm == CONSTANT_BEST:
            if best is None:
                raise ValueError(f"No range test tells the rate of {self.name}")
            return best
        return BASE_LR


def runs(scale: Scale, arms: Iterable[str], seeds: Iterable[int], *, range_test: bool) -> list[Run]:
    """The runs of a plan, in the order in which they are begun.

    The range test is first, since an arm waits for it; then seed by seed, so that a plan that is
    stopped leaves whole seeds, which can be compared. In a seed the longest come first.
    """
    ordered = sorted(set(arms), key=lambda arm: (-scale.epochs_of(arm), ARMS.index(arm)))
    first = [Run(scale, "range_test", RANGE_TEST_SEED)] if range_test else []
    return first + [Run(scale, arm, seed) for seed in dict.fromkeys(seeds) for arm in ordered]
