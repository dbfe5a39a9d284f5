"""
The three policies of the paper
===============================

All three climb linearly from ``base_lr`` to ``max_lr`` in ``step_size`` iterations and fall back in
as many. What they differ in is what becomes of the peaks: they stay, they halve with every cycle,
or they decay with every iteration.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import clr_schedules as clr

# %%
# The paper's ``gamma`` of 0.99994 halves the amplitude every 11,552 iterations, which would hardly
# show here. This one halves it about every 3,500.

bounds = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
policies = [
    clr.Triangular(**bounds, name="triangular"),
    clr.Triangular2(**bounds, name="triangular2"),
    clr.ExpRange(**bounds, gamma=0.9998, name="exp_range, gamma = 0.9998"),
]

# %%
# ``plot`` draws on axes of ours, so that we can set the three side by side and mark the bounds.

figure, panels = plt.subplots(1, 3, figsize=(10, 2.9), sharey=True, layout="constrained")
for policy, axes in zip(policies, panels, strict=True):
    policy.plot(12_001, ax=axes)
    axes.set_xticks(range(0, 12_001, 2 * policy.step_size))
    axes.label_outer()
    for bound in ("base_lr", "max_lr"):
        rate = getattr(policy, bound)
        axes.axhline(rate, color="black", linestyle="--", linewidth=0.8)
        if axes is panels[-1]:
            axes.annotate(f" {bound}", (12_000, rate), va="center", annotation_clip=False)

# %%
# ``make images`` saves the picture for the README.

picture = Path("docs", "images", "policies.png").resolve()
picture.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(picture, dpi=150, facecolor="white")
print(picture)
