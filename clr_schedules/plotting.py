"""The pictures. Matplotlib is imported when one is drawn, not before."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _arguments, _reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from clr_schedules.range_test import RangeTestResult, Suggestion
    from clr_schedules.schedules.base import Schedule

# More points than any screen has columns; beyond, every n-th iteration is drawn.
_MAX_POINTS = 200_000
# Colours of Okabe and Ito, which the colour-blind tell apart.
_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
# The single rates that are marked on the curve: marker and colour.
_MARKS = {"steepest": ("v", "#F0E442"), "valley": ("D", "#56B4E9"), "minimum": ("s", "#CC79A7")}
# The accuracies of single batches are smoothed over some ten of them.
_ACCURACY_SMOOTHING = 0.9


def plot_schedule(schedule: Schedule, num_steps: int, ax: Axes | None = None) -> Axes:
    """Draws the learning rate of a schedule against the iteration.

    Args:
        schedule: The schedule.
        num_steps: The number of iterations to draw, from 0. At least 1.
        ax: The Matplotlib axes to draw on; default: those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError, ValueError: If ``num_steps`` is not a whole number of at least 1, or ``ax`` is
            something else.

    Example:
        >>> import clr_schedules as clr
        >>> ax = plot_schedule(clr.Triangular(1e-3, 6e-3, step_size=2000), num_steps=8000)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('iteration', 'learning rate')
    """
    num_steps = _arguments.count("num_steps", num_steps)
    ax = _axes(ax)
    steps = np.arange(0, num_steps, max(1, num_steps // _MAX_POINTS))
    label = schedule.name or type(schedule).__name__
    ax.plot(steps, schedule.values(steps), linewidth=1.6, label=label)
    ax.set(xlabel="iteration", ylabel="learning rate", title=label)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    ax.margins(x=0)
    ax.grid(alpha=0.3)
    return ax


def plot_range_test(result: RangeTestResult, ax: Axes | None = None) -> Axes:
    """Draws the curve of a range test, and what it suggests.

    The loss is the solid line, on the left axis; the accuracy, where a metric's name contains
    "acc", the dashed line on the right axis (of several, their mean). Pale are the values of each
    batch alone, strong are their moving averages. Losses on validation data are circles. The loss
    axis ends a little above the descent, so that a loss that blows up leaves the picture and does
    not flatten the rest.

    The band reaches from the suggested ``base_lr`` to ``max_lr``. Where one of them is None, there
    is no band, and the reason is written below. Markers on the smoothed loss are the single rates
    that were found.

    Args:
        result: What `lr_range_test` returned.
        ax: The Matplotlib axes to draw on; default: those of a new figure. The accuracy goes on a
            twin of them, the legend below them, where ``layout="constrained"`` makes room for it.

    Returns:
        The axes, of the loss.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If ``ax`` is something else than Matplotlib axes.

    Example:
        >>> import numpy as np, clr_schedules as clr
        >>> rates = np.geomspace(1e-4, 1, 200)
        >>> losses = 1 - np.minimum(rates / 0.02, 1) + (rates / 0.3) ** 3
        >>> result = clr.RangeTestResult(rates, losses, losses, {}, "completed")
        >>> ax = plot_range_test(result)
        >>> ax.get_xscale(), ax.get_title()
        ('log', 'Range test of 200 steps: completed')
    """
    ax = _axes(ax, figsize=(7.5, 4.2))
    rates, suggestion = result.learning_rates, result.suggest()
    if result.growth == "exponential":
        ax.set_xscale("log")
    if len(rates) > 1:
        ax.set_xlim(rates[0], rates[-1])
    handles = _draw_losses(ax, result)
    accuracies = result.accuracies
    if accuracies is not None:
        twin = ax.twinx()
        handles += _draw_accuracy(twin, rates, accuracies)
    if len(result.validation_losses):
        handles += ax.plot(
            result.validation_learning_rates,
            result.validation_losses,
            linestyle="none",
            marker="o",
            markersize=4,
            markerfacecolor="white",
            markeredgecolor="black",
            label="validation loss",
        )
    handles += _draw_marks(ax, result, suggestion)
    _draw_bounds(ax, suggestion)
    ax.set_xlabel("learning rate")
    short = re.split("[:,]", result.stop_reason)[0]
    steps = f"{len(rates)} step{'' if len(rates) == 1 else 's'}"
    ax.set_title(f"Range test of {steps}: {short}", pad=20)
    ax.grid(alpha=0.3)
    _draw_legend(ax, handles, suggestion)
    return ax


def _draw_losses(ax: Axes, result: RangeTestResult) -> list[Any]:
    """The losses, raw and smoothed, on an axis that shows their descent."""
    ax.set_ylim(*_loss_limits(result))
    ax.plot(result.learning_rates, result.losses, color=_BLUE, alpha=0.4, linewidth=0.9)
    ax.set_ylabel("loss", color=_BLUE)
    return ax.plot(
        result.learning_rates, result.smoothed_losses, color=_BLUE, linewidth=2.2, label="loss"
    )


def _loss_limits(result: RangeTestResult) -> tuple[float, float]:
    """From below the lowest loss to a bit above the descent to it."""
    nothing = 0.0, 1.0
    smoothed = result.smoothed_losses[np.isfinite(result.smoothed_losses)]
    finite = result.losses[np.isfinite(result.losses)].tolist()
    if not len(smoothed):
        return nothing
    descent = int(np.argmin(smoothed)) + 1
    batches = result.losses[:descent]
    tops = [np.quantile(batches[np.isfinite(batches)], 0.99, method="higher")]
    if descent < len(result.losses) // 5:  # it rather stays or rises: half of it should be seen
        tops.append(np.quantile(finite, 0.5, method="higher"))
    validated = result.validation_losses[
        np.isfinite(result.validation_losses)
        & (result.validation_learning_rates <= result.learning_rates[descent - 1])
    ]
    seen = [*smoothed[:descent], np.min(batches), *tops, *validated]
    # Python's floats, which overflow without a warning.
    low, high = float(min(seen)), float(max(seen))
    span = (high - low) or abs(high) or 1.0
    low = max(low - 0.1 * span, min(*finite, low) - 0.05 * span)
    high = min(high + 0.15 * span, max(*finite, high) + 0.05 * span)
    # Matplotlib counts no further than floats do, and needs some room.
    return (low, high) if low < high and max(-low, high) < 1e300 else nothing


def _draw_accuracy(
    twin: Axes, rates: NDArray[np.float64], values: NDArray[np.float64]
) -> list[Any]:
    """The accuracy, raw and smoothed, on the axis at the right."""
    smoothed = _reading.smooth(values, _ACCURACY_SMOOTHING)
    finite = values[np.isfinite(values)]
    if np.all((finite >= 0) & (finite <= 1)):
        twin.set_ylim(-0.02, 1.02)
    twin.plot(rates, values, color=_VERMILION, alpha=0.25, linewidth=0.9)
    twin.set_ylabel("accuracy", color=_VERMILION)
    return twin.plot(
        rates, smoothed, color=_VERMILION, linewidth=1.8, linestyle="--", label="accuracy"
    )


def _draw_marks(ax: Axes, result: RangeTestResult, suggestion: Suggestion) -> list[Any]:
    """The single rates that the curve shows, on the smoothed loss."""
    handles = []
    for name, (marker, color) in _MARKS.items():
        rate = getattr(suggestion, name)
        if rate is not None:
            handles += ax.plot(
                [rate],
                [np.interp(rate, result.learning_rates, result.smoothed_losses)],
                linestyle="none",
                marker=marker,
                markersize=7,
                markerfacecolor=color,
                markeredgecolor="black",
                label=f"{name} {rate:.1e}",
                zorder=4,
            )
    return handles


def _draw_bounds(ax: Axes, suggestion: Suggestion) -> None:
    """The bounds of a cycle as a band, their values above its edges."""
    bounds = {
        name: rate
        for name in ("base_lr", "max_lr")
        if (rate := getattr(suggestion, name)) is not None
    }
    if len(bounds) == 2:
        ax.axvspan(*bounds.values(), color=_GREEN, alpha=0.15, linewidth=0)
    # The labels stand outside of the band, so that they do not meet, and above the axes, where no
    # curve is. Their width is in that of the axes.
    width = 1.06 / _inches(ax)
    for name, rate in bounds.items():
        ax.axvline(rate, color=_GREEN, linewidth=1.4, linestyle=":")
        edge = float((ax.transScale + ax.transLimits).transform((rate, 0))[0])
        left = name == "base_lr"
        room = (width, 0.98 - width) if left else (0.02 + width, 1 - width)
        ax.annotate(
            f"{name} {rate:.1e}",
            (min(max(edge, room[0]), room[1]), 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            horizontalalignment="right" if left else "left",
            fontsize=9,
            color=_GREEN,
        )


def _draw_legend(ax: Axes, handles: list[Any], suggestion: Suggestion) -> None:
    """The legend, below the axes, where no curve is; above it, why a bound is missing."""
    from matplotlib.transforms import ScaledTranslation

    inches = _inches(ax)
    missing: dict[str, list[str]] = {}
    for name in ("base_lr", "max_lr"):
        if getattr(suggestion, name) is None:
            missing.setdefault(suggestion.reasons.get(name, ""), []).append(name)
    reasons = [f"no {' and no '.join(names)}: {why}" for why, names in missing.items()]
    # In a row, an entry takes about an inch; in a column, as much as the longest.
    columns = len(handles)
    if columns > inches * 1.05:
        columns = max(1, int(inches / 1.35))
    below = ScaledTranslation(
        0, -3.7 * float(ax.xaxis.label.get_fontsize()) / 72, ax.figure.dpi_scale_trans
    )
    ax.legend(
        handles=handles,
        title="\n".join(textwrap.fill(reason, max(20, int(16 * inches))) for reason in reasons),
        title_fontsize="small",
        fontsize="small",
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + below,
        borderaxespad=0,
        ncols=columns,
        frameon=False,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def _inches(ax: Axes) -> float:
    """The width of the axes, before anything is laid out."""
    return float(ax.get_window_extent().width) / ax.figure.dpi


def _axes(ax: Axes | None, figsize: tuple[float, float] = (7, 3.5)) -> Axes:
    """The given axes, or those of a new figure."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(
            'Drawing needs Matplotlib. Install it with: pip install "clr-schedules[plot]"'
        ) from error
    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(_arguments.received("ax", "Matplotlib axes, or None", ax))
    return ax
