"""
The three policies of the paper
===============================

In all three policies, the learning rate rises from ``base_lr`` towards ``max_lr`` in ``step_size``
iterations and falls back in as many. They differ in their peaks, which stay the same, halve with
every cycle, or decay with every iteration.
"""

from pathlib import Path

import numpy as np

import clr_schedules as clr
from clr_schedules.plotting import plot_schedules

# %%
# The paper's ``gamma`` of 0.99994 halves the amplitude every 11,552 iterations, which could hardly
# be seen in three cycles. The ``gamma`` here halves it about every 3,500 iterations.

bounds = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
triangular = clr.Triangular(**bounds, name="triangular")
triangular2 = clr.Triangular2(**bounds, name="triangular2")
exp_range = clr.ExpRange(**bounds, gamma=0.9998, name="exp_range")

CYCLE = 2 * triangular.step_size
STEPS = 3 * CYCLE + 1


def draw(policy, title):
    """Draws the rate over three cycles, and the length of a cycle below the curve."""
    axes = policy.plot(STEPS)
    axes.set(title=title, ylim=(0, None), xticks=range(0, STEPS, CYCLE // 2))
    spans = {"step_size": (0, policy.step_size), "one cycle": (CYCLE, 2 * CYCLE)}
    for name, (start, end) in spans.items():
        y = policy.base_lr / 2
        axes.annotate(
            "", (start, y), (end, y), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0}
        )
        axes.text((start + end) / 2, y, name, ha="center", va="center", backgroundcolor="white")
    return axes.figure


# %%
# triangular
# ----------
# All cycles are the same. The rate is at ``max_lr`` in the middle of a cycle, and at ``base_lr``
# where one cycle ends and the next begins.

figures = {"triangular": draw(triangular, "triangular: the peaks stay")}
peaks = CYCLE // 2 + CYCLE * np.arange(3)
assert (triangular.values(peaks) == triangular.max_lr).all()

# %%
# triangular2
# -----------
# The second cycle is half as high as the first, and the third a quarter. A training that ends with
# a late cycle ends with small rates, as with a decaying rate.

figures["triangular2"] = draw(triangular2, "triangular2: the peaks halve with every cycle")
heights = triangular2.values(peaks) - triangular2.base_lr
assert np.allclose(heights, 0.005 * np.array([1, 1 / 2, 1 / 4]))

# %%
# exp_range
# ---------
# The amplitude is multiplied by ``gamma`` at every iteration, from the first one on. The sides are
# bent, and even the first peak stays below ``max_lr``.

figures["exp_range"] = draw(exp_range, "exp_range: the peaks decay with every iteration")
assert exp_range.values(np.arange(STEPS)).max() < exp_range.max_lr

# %%
# Side by side
# ------------
# ``plot_schedules`` draws several schedules in one picture. In the first cycle, triangular and
# triangular2 are the same.

axes = plot_schedules([triangular, triangular2, exp_range], STEPS)
axes.set_xticks(range(0, STEPS, CYCLE // 2))
figures["policies"] = axes.figure
figures["policies"].set_size_inches(8.3, 3.3)
first = np.arange(CYCLE)
assert np.array_equal(triangular.values(first), triangular2.values(first))

# %%
# ``make images`` runs this page where the README is, and saves the pictures for it.

if Path("docs", "images").is_dir():
    for name, figure in figures.items():
        picture = Path("docs", "images", f"{name}.png")
        figure.savefig(picture, dpi=130, facecolor="white")
        print(picture)
