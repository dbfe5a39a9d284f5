"""What is trained: arms, at a scale, with seeds."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple

import clr_schedules as clr

BATCH_SIZE = 100
# The post's, from its range test.
BASE_LR, MAX_LR, STEP_SIZE = 0.001, 0.005, 2500
# The post trains 25,000 steps, so that there are five cycles.
CYCLES = 5
# The paper's for this data set; its amplitude falls to a fifth in the post's 25,000 steps.
GAMMA = 0.99994
RANGE_TEST_BOUNDS = (0.001, 0.02)

CONSTANT_BEST = "constant_best"
CONSTANTS = ("constant", CONSTANT_BEST)
CYCLICAL = ("triangular", "triangular2", "exp_range", "one_cycle")
ARMS = (*CONSTANTS, *CYCLICAL)
RANGE_TEST = "range-test"


class Scale(NamedTuple):
    """How much is trained, of what."""

    data: str  # what the data set is called
    train_images: int
    test_images: int
    epochs: int  # of the constant rates
    budget: Fraction  # the part of these epochs that the other arms get

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch."""
        return self.train_images // BATCH_SIZE

    def epochs_of(self, arm: str) -> int:
        """The epochs of an arm; the range test has those of the constant rates, as in the post."""
        return max(1, round(self.epochs * self.budget)) if arm in CYCLICAL else self.epochs

    def steps_of(self, arm: str) -> int:
        """The steps of an arm."""
        return self.epochs_of(arm) * self.steps_per_epoch

    def learning_rate(self, arm: str, best: float | None) -> Any:
        """The rate or the schedule of an arm, or the bounds of the range test.

        What `constant_best` says of the range test is given, for the arm that has it.
        """
        steps = self.steps_of(arm)
        # There are as many cycles as in the post, and their amplitude falls as far.
        step_size = max(1, round(steps / (2 * CYCLES)))
        bounds: dict[str, Any] = {"base_lr": BASE_LR, "max_lr": MAX_LR, "step_size": step_size}
        if arm == RANGE_TEST:
            return RANGE_TEST_BOUNDS
        if arm == "triangular":
            return clr.Triangular(**bounds)
        if arm == "triangular2":
            return clr.Triangular2(**bounds)
        if arm == "exp_range":
            return clr.ExpRange(**bounds, gamma=float(GAMMA ** (STEP_SIZE / step_size)))
        if arm == "one_cycle":
            return clr.OneCycle(max_lr=MAX_LR, total_steps=steps)
        return best if arm == CONSTANT_BEST else BASE_LR

    @property
    def slug(self) -> str:
        """The scale in a file's name."""
        parts = str(self).lower().split(", ")
        return "_".join("-".join(re.findall("[a-z0-9]+", part)) for part in parts)

    def __str__(self) -> str:
        is_whole = (self.train_images, self.test_images) == (50_000, 10_000)
        some = f", {self.train_images} and {self.test_images} images" * (not is_whole)
        return f"{self.data}, {self.epochs} epochs, budget {self.budget}{some}"


def constant_best(range_test: dict[str, Any]) -> float | None:
    """Half of the upper bound that a range test suggests: a choice, not the result of a search."""
    max_lr = range_test["suggestion"]["max_lr"]
    return None if max_lr is None else float(f"{max_lr / 2:.3g}")
