"""The pictures of the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import report
from benchmarks.cifar10 import plan

if TYPE_CHECKING:
    from benchmarks.cifar10.report import Section

# Colours of Okabe and Ito, and line styles for those who print in black and white.
_LOOKS: dict[str, dict[str, Any]] = {
    "constant": {"color": "#000000", "linestyle": "-", "linewidth": 1.2},
    "constant_best": {"color": "#56B4E9", "linestyle": (0, (1, 1.5)), "linewidth": 2.0},
    "triangular": {"color": "#D55E00", "linestyle": "-", "linewidth": 2.2},
    "triangular2": {"color": "#0072B2", "linestyle": "--", "linewidth": 1.6},
    "exp_range": {"color": "#009E73", "linestyle": "-.", "linewidth": 1.6},
    "one_cycle": {"color": "#CC79A7", "linestyle": (0, (5, 1)), "linewidth": 2.0},
}


def accuracies(section: Section, path: Path) -> None:
    """The accuracy of every arm against steps: lines of means, bands of seeds."""
    scale = section.scale
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    lowest, ends = [], []
    for arm in section.arms:
        curves = np.array(list(section.curves(arm).values()))
        steps = scale.steps_per_epoch * np.arange(1, curves.shape[1] + 1)
        look = _LOOKS[arm]
        mean = curves.mean(axis=0)
        seeds = f"{len(curves)} seed" + ("s" if len(curves) > 1 else "")
        axes.fill_between(
            steps, curves.min(axis=0), curves.max(axis=0), color=look["color"], alpha=0.15, lw=0
        )
        axes.plot(
            steps, mean, label=f"{arm} ({seeds})", marker="o", markersize=5, markevery=[-1], **look
        )
        # The first epochs are alike and low, and would leave no room for what differs.
        early = math.ceil(0.15 * section.early.epochs)
        lowest.append(mean[min(early, len(mean) - 1) :].min())
        ends.append(curves.max())
    low, high = min(lowest), max(ends)
    margin = 0.05 * max(high - low, 1.0)
    axes.set(ylim=(max(0.0, low - margin), min(100.0, high + margin)), xlim=(0, None))
    end = section.early.epochs * scale.steps_per_epoch
    if section.early.is_part:
        axes.axvline(end, color="0.5", linewidth=0.8, zorder=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set(title=str(scale), xlabel="step", ylabel="test accuracy in %")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    _save(figure, path)


def range_test(section: Section, path: Path) -> None:
    """The curve of the range test, the post's bounds and the suggested ones."""
    assert section.range_test is not None
    (found,) = section.range_test["runs"]
    best = plan.constant_best(found)
    curve = found["curve"]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    rates = curve["learning_rate"]
    for axes, name, unit in ((top, "accuracy", 100), (bottom, "loss", 1)):
        values = unit * np.array(curve[name], float)
        axes.plot(rates, values, color="0.3", linewidth=1.2)
        axes.set(ylabel=f"{name} of training batches" + (" in %" if unit == 100 else ""))
        axes.grid(alpha=0.3)
        axes.axvspan(
            plan.BASE_LR, plan.MAX_LR, color="#E69F00", alpha=0.2, label="the post's bounds"
        )
        suggestion = found["suggestion"]
        for bound, style in (("base_lr", "--"), ("max_lr", "-")):
            if (rate := suggestion[bound]) is not None:
                label = f"suggested {bound}, {rate:.2g}"
                axes.axvline(rate, color="#0072B2", linestyle=style, label=label)
        if best is not None:
            color = _LOOKS[plan.CONSTANT_BEST]["color"]
            axes.axvline(best, color=color, linestyle=":", label=f"constant_best, {best:g}")
    top.set(title=f"Range test: {section.scale}")
    top.legend(loc="best", fontsize="small")
    bottom.set(xlabel="learning rate", xlim=(0, None))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    # Without a date or a version, the same results are the same file.
    with report.beside(path) as new:
        figure.savefig(new, format="png", dpi=120, metadata={"Software": None})
