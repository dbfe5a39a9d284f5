"""The pictures of the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import report
from benchmarks.cifar10 import plan

if TYPE_CHECKING:
    from benchmarks.cifar10.report import Section


# Those of Okabe and Ito, which the colour-blind can tell apart.
_COLOURS = ("#000000", "#56B4E9", "#D55E00", "#0072B2", "#009E73", "#CC79A7")


def accuracies(section: Section, path: Path) -> None:
    """The accuracy of every arm against steps: lines of means, bands of seeds."""
    steps = section.scale.steps_per_epoch
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=_COLOURS)
    lowest = []
    for arm in section.arms:
        curves = np.array(list(section.rows[f"`{arm}`"].values()))
        mean, at = curves.mean(axis=0), steps * np.arange(1, curves.shape[1] + 1)
        style = "--" if arm in plan.CONSTANTS else "-"
        axes.plot(at, mean, style, label=arm, marker="o", markersize=5, markevery=[-1])
        axes.fill_between(at, curves.min(axis=0), curves.max(axis=0), alpha=0.15, lw=0)
        lowest.append(mean[len(mean) // 7 :].min())
    # The first epochs are alike and low, and would leave no room for what differs.
    axes.set(ylim=(min(lowest) - 0.5, None), xlim=(0, None))
    axes.axvline(steps * section.scale.epochs_of("triangular"), color="0.5", lw=0.8, zorder=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(title=str(section.scale), xlabel="step", ylabel="test accuracy in %")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    _save(figure, path)


def range_test(section: Section, path: Path) -> None:
    """The curve of the range test, the post's bounds and the suggested ones."""
    assert section.range_test is not None
    (found,) = section.range_test["runs"]
    curve = found["curve"]
    rates = {
        "suggested base_lr": (found["suggestion"]["base_lr"], "C0", "--"),
        "suggested max_lr": (found["suggestion"]["max_lr"], "C0", "-"),
        plan.CONSTANT_BEST: (plan.constant_best(found), "C2", ":"),
    }
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    for axes, name in zip(panels, ("accuracy", "loss"), strict=True):
        axes.plot(curve["learning_rate"], np.array(curve[name], float), color="0.3", linewidth=1.2)
        axes.set(ylabel=f"{name} of training batches")
        axes.grid(alpha=0.3)
        axes.axvspan(plan.BASE_LR, plan.MAX_LR, color="C1", alpha=0.2, label="the post's bounds")
        for label, (rate, color, style) in rates.items():
            if rate is not None:
                axes.axvline(rate, color=color, linestyle=style, label=f"{label}, {rate:.3g}")
    panels[0].set(title=f"Range test: {section.scale}")
    panels[0].legend(loc="best", fontsize="small")
    panels[1].set(xlabel="learning rate", xlim=(0, None))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    # Without a date or a version, the same results are the same file.
    with report.beside(path) as new:
        figure.savefig(new, format="png", dpi=120, metadata={"Software": None})
