"""The pictures of the docs that show results, drawn from the results file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import accuracy, step_time, timing
from benchmarks.step_time import OURS

IMAGES = Path(__file__).parents[1] / "docs" / "images"
_BLUE, _VERMILION, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#808080"


def draw(results: dict[str, Any]) -> None:
    """Draws what the results have: ``step_time.png`` and ``accuracy.png`` in ``docs/images``."""
    if "step_time" in results:
        _draw_step_time(results["step_time"])
    if "accuracy" in results:
        _draw_accuracy(results["accuracy"])


def _draw_step_time(result: dict[str, Any]) -> None:
    """The ratios of the update alone, and the time of a rate that is right in every step."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    update = result["update"][-1]["ratios"]
    names = [timing.CONTROL, *(name for name in update if name not in (timing.CONTROL, OURS))]
    labels = {timing.CONTROL: "constant, half by half"}
    for i, name in enumerate(names):
        ratio = update[name]
        ours = name in step_time.rates()
        color = _BLUE if ours else _GREY
        left.plot([ratio["low"], ratio["high"]], [i, i], color=color, linewidth=2)
        left.plot(ratio["ratio"], i, "o" if ours else "s", color=color)
    left.axvline(1, color="black", linewidth=0.8)
    left.axvline(step_time.TARGET, color="black", linewidth=0.8, linestyle=":")
    left.set_yticks(range(len(names)), [labels.get(n, n).replace("`", "") for n in names])
    left.invert_yaxis()
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.set_xlabel("time of an update,\nby that with a constant rate")
    left.set_title("A schedule in the compiled step")

    networks = list(step_time.NETWORKS)
    found = result["right"]
    bars = [*found[networks[0]]["ratios"]]
    labels = {name: f"{name},\none step a call" for name in bars}
    height = 0.38
    for n, network in enumerate(networks):
        ratios = [found[network]["ratios"][name] for name in bars]
        at = np.arange(len(bars)) + (n - 0.5) * height
        medians = [ratio["ratio"] for ratio in ratios]
        shown = right.barh(at, medians, height * 0.9, color=(_BLUE, _VERMILION)[n], label=network)
        right.bar_label(shown, [f"{median:.1f}" for median in medians], padding=3)
    right.axvline(1, color="black", linewidth=0.8)
    right.set_yticks(range(len(bars)), [labels[name] for name in bars])
    right.invert_yaxis()
    right.margins(x=0.12)
    right.set_xlabel("time of a step,\nby that with Triangular, 500 steps a call")
    right.set_title("A rate that is right in every step")
    right.legend(frameon=False, loc="lower right")
    _save(figure, "step_time.png")


def _draw_accuracy(result: dict[str, Any]) -> None:
    """The worst error against the number of steps."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    looks = {
        "float32 formula": (_VERMILION, "s"),
        "Keras cosine": (_GREY, "D"),
        "Triangular": (_BLUE, "o"),
        "ExpRange": (_GREEN, "^"),
    }
    for name, (color, marker) in looks.items():
        points = [
            (accuracy.LIMITS[label], error["relative"])
            for label, error in result["rates"][name].items()
            if error["relative"] is not None
        ]
        ax.loglog(*zip(*points, strict=True), marker=marker, color=color, label=name, markersize=4)
    ax.axhline(2.0**-24, color="black", linewidth=0.8, linestyle=":")
    ax.annotate(
        "half a unit in the last place",
        (1, 2.0**-24),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize="small",
    )
    ax.axhline(1, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlabel("steps below")
    ax.set_ylabel("worst relative error of the rate")
    ax.set_title("Learning rates in float32, compiled by XLA")
    ax.legend(frameon=False, loc="center right")
    _save(figure, "accuracy.png")


def _save(figure: Any, name: str) -> None:
    import matplotlib.pyplot as plt

    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / name, dpi=130, facecolor="white")
    plt.close(figure)
