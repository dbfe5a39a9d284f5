"""The pictures. Matplotlib is imported when one is drawn, not before.

They share one style, at the end of this module: colours that the colour-blind tell apart, dashes
and markers for black and white, legends below the axes. All else is as Matplotlib's settings say,
dark styles included.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clr_schedules import _arguments
from clr_schedules.range_test import suggestions
from clr_schedules.callbacks.cyclical_lr import CyclicalLR
from clr_schedules.callbacks.logger import LearningRateLogger
from clr_schedules.schedules.base import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from clr_schedules.range_test import RangeTestResult, Suggestion

# Of more points than a screen has columns, some are drawn.
_MAX_POINTS = 50_000
# Colours of Okabe and Ito, which the colour-blind tell apart.
_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
_ORANGE, _SKY, _PURPLE, _YELLOW = "#E69F00", "#56B4E9", "#CC79A7", "#F0E442"
# Lines of one picture, by turns dark and light; None is the colour of the text. In black and white,
# thirty differ in their dashes and markers.
_COLORS = (_BLUE, _ORANGE, None, _SKY, _VERMILION, _PURPLE, _GREEN)
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_MARKERS = ("", "o", "s", "^", "D", "v")
# The single rates that are marked on the curve: marker and colour.
_MARKS = {"steepest": ("v", _YELLOW), "valley": ("D", _SKY), "minimum": ("s", _PURPLE)}
# The accuracies of single batches are smoothed over some ten of them.
_ACCURACY_SMOOTHING = 0.9
# Matplotlib counts no further than floats do, and needs some room.
_HUGE = 1e300
_BOUNDS = ("base_lr", "max_lr")
# What `fit` calls the losses of an epoch, and what a reader does.
_LOSSES = {"loss": "loss", "val_loss": "validation loss"}
# Of more epochs to an inch, some are marked on the line of the losses.
_MARKERS_PER_INCH = 7
# Axes of less inches have smaller text, and thinner lines.
_SMALL = 2.2


def plot_schedule(schedule: Schedule, num_steps: int, ax: Axes | None = None) -> Axes:
    """Draws the learning rate of a schedule against the iteration.

    Thin lines mark ``base_lr`` and ``max_lr``, where the schedule has them. Of more than 50,000
    iterations, as many are drawn.

    Args:
        schedule: The schedule.
        num_steps: The number of iterations to draw, from 0. At least 1.
        ax: The Matplotlib axes to draw on; default: those of a new figure. On axes with lines, the
            next colour and dashes are taken and a legend replaces the title; `plot_schedules`
            compares schedules better.

    Returns:
        The axes. The last of their ``lines`` is the schedule's.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError, ValueError: If ``schedule`` is none of this package, ``num_steps`` is not a whole
            number of at least 1, or ``ax`` is something else.

    Example:
        >>> import clr_schedules as clr
        >>> ax = plot_schedule(clr.Triangular(1e-3, 6e-3, step_size=2000), num_steps=8000)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('iteration', 'learning rate')
    """
    _check_schedule("schedule", schedule)
    num_steps = _arguments.count("num_steps", num_steps)
    ax = _axes(ax)
    before = [line.get_label() for line in ax.lines]
    (label,) = _draw_schedules(ax, [schedule], num_steps)
    if before:
        if label in before:
            ax.lines[-1].set_label(repr(schedule))
        if ax.get_title() in before:
            ax.set_title("")
        _draw_legend(ax, ax.get_legend_handles_labels()[0])
    else:
        _draw_title(ax, label)
    return ax


def plot_schedules(schedules: Iterable[Schedule], num_steps: int, ax: Axes | None = None) -> Axes:
    """Draws the learning rates of several schedules against the iteration, for comparison.

    The first line is the widest, at the bottom, the last the thinnest, so that all are seen where
    they run together. The legend has their names or classes, or the calls where those are equal.

    Thin lines mark ``base_lr`` and ``max_lr`` where all the schedules have the same; else, the
    legend has each one's.

    Args:
        schedules: The schedules, an iterable. At least 1.
        num_steps: The number of iterations to draw, from 0. At least 1. Of more than 50,000, as
            many are drawn.
        ax: The Matplotlib axes to draw on; default: those of a new figure. The legend goes below
            them, where ``layout="constrained"`` makes room for it.

    Returns:
        The axes. Their ``lines`` are the schedules', in order.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If ``schedules`` is no iterable of schedules of this package, ``num_steps`` no
            number, or ``ax`` something else.
        ValueError: If there are none, or ``num_steps`` is not a whole number of at least 1.

    Example:
        >>> import clr_schedules as clr
        >>> bounds = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
        >>> policies = [clr.Triangular(**bounds), clr.Triangular2(**bounds, name="halving")]
        >>> ax = plot_schedules(policies, num_steps=8000)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['Triangular', 'halving']
    """
    rule = "a list of one or more schedules"
    if not isinstance(schedules, Iterable):
        raise TypeError(_arguments.received("schedules", rule, schedules))
    schedules = list(schedules)
    if not schedules:
        raise ValueError(_arguments.received("schedules", rule, schedules))
    for i, schedule in enumerate(schedules):
        _check_schedule(f"schedules[{i}]", schedule)
    num_steps = _arguments.count("num_steps", num_steps)
    axes = _axes(ax)
    _draw_schedules(axes, schedules, num_steps)
    _draw_legend(axes, axes.lines[-len(schedules) :])
    if ax is None:
        _make_room(axes)
    return axes


def plot_history(logger: LearningRateLogger | CyclicalLR, ax: Axes | None = None) -> Axes:
    """Draws the losses of a training and its learning rate over the same steps.

    The losses are points on the left axis, the rate of every step is the green line on the right
    one. The loss of an epoch (the mean over its batches) and the validation loss are drawn at its
    end. The axis is logarithmic where the losses are above 0 and span two decades or more. A cross
    at the upper edge is an infinite loss or NaN. Of more than 50,000 steps, as many are drawn.

    Trainings follow each other: a vertical line is where a new optimizer began to count from 0.
    Steps that were taken without the logger are a gap.

    Args:
        logger: A `LearningRateLogger` or a `CyclicalLR` that was among the callbacks of a training.
        ax: The Matplotlib axes to draw on; default: those of a new figure. The rate goes on a twin
            of them, the legend below them, where ``layout="constrained"`` makes room for it.

    Returns:
        The axes, of the losses; without a loss (no epoch ended), of the rate.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If ``logger`` is something else, or ``ax`` is.
        ValueError: If no step was logged.

    Example:
        >>> import keras, numpy as np, clr_schedules as clr
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> lr = clr.Triangular(base_lr=0.001, max_lr=0.006, step_size=5)
        >>> model.compile(keras.optimizers.SGD(learning_rate=lr), loss="mse")
        >>> logger = clr.LearningRateLogger()
        >>> x = np.ones((32, 4))
        >>> history = model.fit(x, x[:, 0], batch_size=8, epochs=2, verbose=0, callbacks=[logger])
        >>> ax = plot_history(logger)
        >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
        ('Training of 8 steps', 'iteration', 'loss')
    """
    if not isinstance(logger, (LearningRateLogger, CyclicalLR)):
        raise TypeError(
            _arguments.received("logger", "a LearningRateLogger or a CyclicalLR", logger)
        )
    logger._catch_up()
    if not logger._iterations:
        rule = "one that has logged a training, of a step or more"
        raise ValueError(_arguments.received("logger", rule, logger))
    ax = rate_ax = _axes(ax, figsize=(7.5, 4.2))
    iterations, epochs = np.array(logger._iterations), logger.epochs
    # Where a new optimizer began to count, the iterations start again.
    starts = np.flatnonzero(np.diff(iterations) <= 0) + 1
    shifts = np.cumsum([0, *(iterations[starts - 1] + 1 - iterations[starts])])
    steps = iterations + np.repeat(shifts, np.diff([0, *starts, len(iterations)]))

    handles = []
    losses = [key for key in _LOSSES if any(key in epoch for epoch in epochs)]
    if losses:
        rate_ax = ax.twinx()
        last = np.array(logger._ends) - 1
        at, training = steps[last] + 1, np.searchsorted(starts, last, side="right")
        for key in losses:
            handles += _draw_loss(ax, key, epochs, at, training)
        _fit_losses(ax)
        _put_in_front(ax, rate_ax)
    kept = _sample(len(steps))
    runs = np.cumsum([0, *(np.diff(iterations) != 1)])  # of consecutive iterations
    x, y = _broken(steps[kept], np.array(logger._rates)[kept], runs[kept])
    look: dict[str, Any] = {"color": _GREEN, "linewidth": 1.4 * _scale(ax)}
    handles += _draw_line(rate_ax, x, y, label="learning rate", **look)
    rate_ax.set_ylabel("learning rate", color=_GREEN)
    if len(starts):
        across = ax.get_xaxis_transform()
        new = ax.vlines(steps[starts], 0, 1, transform=across, label="new optimizer", **_thin(ax))
        handles.append(new)
    ax.set_xlabel("step" if len(starts) else "iteration")
    _draw_title(ax, f"Training of {_counted(len(steps))}")
    _dress(ax, rate_ax)
    if len(handles) > 1:
        _draw_legend(ax, handles)
    return ax


def plot_range_test(result: RangeTestResult, ax: Axes | None = None) -> Axes:
    """Draws the curve of a range test, and what it suggests.

    The loss is the solid line, on the left axis; the accuracy, where a metric's name contains
    "acc", the dashed line on the right axis (of several, their mean). Single batches are pale,
    their moving averages strong, losses on validation data circles. The loss axis ends a little
    above the descent, so that a loss that blows up does not flatten the rest.

    The band reaches from the suggested ``base_lr`` to ``max_lr``; where one is None, the reason is
    written below. Markers on the smoothed loss are the single rates that were found.

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
    ax.set_ylim(*_loss_limits(result))
    losses = result.losses, result.smoothed_losses
    handles = _draw_curve(ax, rates, *losses, label="loss", color=_BLUE, alpha=0.4, width=2.2)
    accuracies, twin = result.accuracies, None
    if accuracies is not None:
        twin = ax.twinx()
        finite = accuracies[np.isfinite(accuracies)]
        if np.all((finite >= 0) & (finite <= 1)):
            twin.set_ylim(-0.02, 1.02)
        look: dict[str, Any] = {"color": _VERMILION, "alpha": 0.25, "width": 1.8, "dashes": "--"}
        smoothed = suggestions.smooth(accuracies, _ACCURACY_SMOOTHING)
        handles += _draw_curve(twin, rates, accuracies, smoothed, label="accuracy", **look)
    if len(result.validation_losses):
        handles += ax.plot(
            result.validation_learning_rates,
            result.validation_losses,
            linestyle="none",
            marker="o",
            markersize=4 * _scale(ax),
            markerfacecolor=ax.get_facecolor(),
            color=_ink(ax),
            label="validation loss",
        )
    handles += _draw_marks(ax, result, suggestion)
    _draw_bounds(ax, suggestion)
    ax.set_xlabel("learning rate")
    short = re.split("[:,]", result.stop_reason)[0]
    small = _is_small(ax)
    counted = "" if small else f" of {_counted(len(rates))}"
    _draw_title(ax, f"Range test{counted}: {short}", pad=22 if small else 20)
    _dress(ax, twin, steps=False)
    _draw_legend(ax, handles, _reasons(suggestion))
    return ax


def _draw_curve(
    ax: Axes,
    rates: NDArray[np.float64],
    values: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    *,
    label: str,
    color: str,
    alpha: float,
    width: float,
    dashes: str = "-",
) -> list[Any]:
    """The values of each batch, pale, and their moving average, strong."""
    ax.set_ylabel(label, color=color)
    ax.plot(rates, values, color=color, alpha=alpha, linewidth=0.9 * _scale(ax))
    return ax.plot(rates, smoothed, dashes, color=color, linewidth=width * _scale(ax), label=label)


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
    return (low, high) if low < high and max(-low, high) < _HUGE else nothing


def _draw_marks(ax: Axes, result: RangeTestResult, suggestion: Suggestion) -> list[Any]:
    handles = []
    for name, (marker, color) in _MARKS.items():
        rate = getattr(suggestion, name)
        if rate is not None:
            handles += ax.plot(
                [rate],
                [np.interp(rate, result.learning_rates, result.smoothed_losses)],
                linestyle="none",
                marker=marker,
                markersize=7 * _scale(ax),
                markerfacecolor=color,
                markeredgecolor=_ink(ax),
                label=name if _is_small(ax) else f"{name} {rate:.1e}",
                zorder=4,
            )
    return handles


def _draw_bounds(ax: Axes, suggestion: Suggestion) -> None:
    """The bounds of a cycle as a band, their values above its edges."""
    bounds = _bounds(suggestion)
    if len(bounds) == 2:
        ax.axvspan(*bounds.values(), color=_GREEN, alpha=0.15, linewidth=0)
    # The labels stand outside of the band, so that they do not meet, and above the axes.
    small = _is_small(ax)
    width = (0.6 if small else 1.06) / _inches(ax)
    for name, rate in bounds.items():
        ax.axvline(rate, color=_GREEN, linewidth=1.4 * _scale(ax), linestyle=":")
        edge = float((ax.transScale + ax.transLimits).transform((rate, 0))[0])
        left = name == "base_lr"
        room = (width, 0.98 - width) if left else (0.02 + width, 1 - width)
        ax.annotate(
            f"{name}\n{rate:.1e}" if small else f"{name} {rate:.1e}",
            (min(max(edge, room[0]), room[1]), 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            horizontalalignment="right" if left else "left",
            fontsize="x-small" if small else 9,
            color=_GREEN,
        )


def _bounds(thing: Schedule | Suggestion) -> dict[str, float]:
    rates = {name: getattr(thing, name, None) for name in _BOUNDS}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _reasons(suggestion: Suggestion) -> str:
    missing: dict[str, list[str]] = {}
    for name in _BOUNDS:
        if getattr(suggestion, name) is None:
            missing.setdefault(suggestion.reasons.get(name, ""), []).append(name)
    return "\n".join(f"no {' and no '.join(names)}: {why}" for why, names in missing.items())


def _draw_schedules(ax: Axes, schedules: Sequence[Schedule], num_steps: int) -> list[str]:
    """Curves, and the bounds that all of them have. Returns their labels."""
    before = len(ax.lines)
    first, *others = map(_bounds, schedules)
    bounds = {
        name: rate
        for name, rate in first.items()
        if all(other.get(name) == rate for other in others)
    }
    for rate in set(bounds.values()):
        ax.hlines(rate, 0, 1, transform=ax.get_yaxis_transform(), **_thin(ax))
        ax.annotate(
            " = ".join(name for name in bounds if bounds[name] == rate),
            (1, rate),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=_small_text(ax),
            annotation_clip=False,
        )
    labels = _labels(schedules, bounds)
    steps = _sample(num_steps)
    dashes = list(itertools.product(_MARKERS, _DASHES))
    widths = np.linspace(min(3.4, 0.85 + 0.85 * len(schedules)), 1.2, len(schedules))
    # The looks that come after those of the lines that are there.
    for i, (schedule, label) in enumerate(zip(schedules, labels, strict=True), before):
        marker, dash = dashes[i % len(dashes)]
        _draw_line(
            ax,
            steps,
            schedule.values(steps),
            color=_COLORS[i % len(_COLORS)] or _ink(ax),
            linestyle=dash,
            linewidth=widths[i - before] * _scale(ax),
            marker=marker,
            markersize=5 * _scale(ax),
            markevery=0.15,
            label=label,
        )
    ax.set(xlabel="iteration", ylabel=" or ".join(dict.fromkeys(s._quantity for s in schedules)))
    _dress(ax)
    return labels


def _labels(schedules: Sequence[Schedule], shared: Iterable[str]) -> list[str]:
    """Names, all different, with the bounds that are not shared."""
    labels = []
    for schedule in schedules:
        bounds = _bounds(schedule).items()
        own = {name: f"{rate:g}" for name, rate in bounds if name not in shared}
        both = len(own) == len(_BOUNDS)
        said = [" to ".join(own.values())] if both else map(" ".join, own.items())
        labels.append(", ".join([schedule.name or type(schedule).__name__, *said]))
    labels = [
        label if labels.count(label) == 1 else repr(schedule)
        for label, schedule in zip(labels, schedules, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: i + 1].count(label)})"
        for i, label in enumerate(labels)
    ]


def _draw_loss(
    ax: Axes,
    key: str,
    epochs: Sequence[dict[str, Any]],
    at: NDArray[np.int64],
    training: NDArray[np.int64],
) -> list[Any]:
    """A loss at the ends of the epochs that have it; crosses for what is no number."""
    has = np.array([key in epoch for epoch in epochs])
    losses = np.array([epoch[key] for epoch in epochs if key in epoch], np.float64)
    x, label = at[has], _LOSSES[key]
    lost = ~(np.abs(losses) < _HUGE)
    look: dict[str, Any] = {"color": _BLUE, "linewidth": 2.2 * _scale(ax)}
    if key != "loss":
        look = {"color": _ink(ax), "linestyle": "--", "linewidth": 1.2 * _scale(ax)}
    handles = ax.plot(
        *_broken(x, np.where(lost, np.nan, losses), training[has]),
        marker="o",
        markersize=4.5 * _scale(ax),
        markerfacecolor=_BLUE if key == "loss" else ax.get_facecolor(),
        markevery=1 + len(x) // max(1, int(_MARKERS_PER_INCH * _inches(ax))),
        label=label,
        **look,
    )
    if lost.any():
        handles += ax.plot(
            x[lost],
            np.ones(np.count_nonzero(lost)),
            transform=ax.get_xaxis_transform(),
            linestyle="none",
            marker="x",
            markersize=6 * _scale(ax),
            color=look["color"],
            clip_on=False,
            label=f"{label} inf or NaN",
        )
    return handles


def _fit_losses(ax: Axes) -> None:
    ax.set_ylabel("loss", color=_BLUE)
    low, high = map(float, ax.dataLim.intervaly)
    # Of too many decades, Matplotlib could not make room at the edges.
    if 0 < 100 * low <= high < 1e100 * low:
        ax.set_yscale("log")


def _put_in_front(ax: Axes, twin: Axes) -> None:
    ax.set_zorder(twin.get_zorder() + 1)
    twin.set_facecolor(ax.get_facecolor())
    twin.patch.set_visible(True)
    ax.patch.set_visible(False)


def _sample(count: int) -> NDArray[np.int64]:
    """The numbers below ``count``; of too many, some, the first and the last among them."""
    stride = -(-count // _MAX_POINTS)
    numbers = np.arange(0, count, stride)
    if stride > 1:
        # One of each stretch by chance: equal distances might be the length of a cycle.
        numbers += np.random.default_rng(0).integers(0, stride, len(numbers))
        numbers[[0, -1]] = 0, count - 1
    return numbers


def _broken(x: Any, y: Any, runs: NDArray[np.int64]) -> tuple[Any, Any]:
    """The points, with a NaN between two runs, which breaks a line."""
    ends = np.flatnonzero(np.diff(runs)) + 1
    return np.insert(x.astype(np.float64), ends, np.nan), np.insert(y, ends, np.nan)


def _draw_line(ax: Axes, x: Any, y: Any, **look: Any) -> list[Any]:
    """A line through the points; a point without neighbours is a dot."""
    seen = np.concatenate([[False], np.isfinite(y), [False]])
    if (alone := seen[1:-1] & ~seen[:-2] & ~seen[2:]).any():
        look |= {
            "clip_on": False,
            "marker": "o",
            "markersize": 4.5 * _scale(ax),
            "markevery": np.flatnonzero(alone).tolist(),
        }
    return ax.plot(x, y, **look)


def _draw_title(ax: Axes, text: str, **look: Any) -> None:
    if _is_small(ax):
        look["fontsize"] = "small"
    ax.set_title(textwrap.fill(text, max(24, int(13 * _inches(ax)))), parse_math=False, **look)


def _draw_legend(ax: Axes, handles: Sequence[Any], title: str = "") -> None:
    """The legend, below the axes; above it, a title."""
    from matplotlib.transforms import ScaledTranslation

    inches = _inches(ax)
    small = _is_small(ax)
    size = _small_text(ax)
    letters = max(28, int(16 * inches))
    below = ScaledTranslation(
        0, -3.7 * float(ax.xaxis.label.get_fontsize()) / 72, ax.figure.dpi_scale_trans
    )
    for columns in range(len(handles), 0, -1):
        legend = ax.legend(
            handles=handles,
            title="\n".join(textwrap.fill(line, letters) for line in title.splitlines()),
            title_fontsize=size,
            fontsize=size,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=ax.transAxes + below,
            borderaxespad=0,
            ncols=columns,
            frameon=False,
            handlelength=1.4 if small else 2.0,
            handletextpad=0.5,
            labelspacing=0.2 if small else 0.5,
            columnspacing=0.8 if small else 1.2,
        )
        for text in legend.get_texts():
            text.set_text(textwrap.fill(text.get_text(), letters))
            text.set_parse_math(False)
        if legend.get_window_extent().width <= 1.25 * inches * ax.figure.dpi:
            break


def _make_room(ax: Axes) -> None:
    """Makes a figure higher where its legend is long."""
    figure: Any = ax.figure
    legend: Any = ax.get_legend()
    height = legend.get_window_extent().height / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0.0, height - 0.6))


def _dress(ax: Axes, twin: Axes | None = None, *, steps: bool = True) -> None:
    """What all pictures share: ticks, grid and frame."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

    axes = [ax] if twin is None or twin is ax else [ax, twin]
    for axis in (*(one.yaxis for one in axes), *([] if steps else [ax.xaxis])):
        if axis.get_scale() == "linear":
            formatter = ScalarFormatter(useMathText=True)
            formatter.set_powerlimits((-2, 3))
            axis.set_major_formatter(formatter)
    if steps:
        for one in axes:
            one.margins(x=0.01 if twin else 0)  # room for the last marker
        if ax.get_xscale() == "linear":
            # Short labels, as many as the axis has room for.
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        low, high = ax.get_xlim()
        if high - low < 1:  # one step
            ax.set_xlim(round(low), round(low) + 1)
    ax.grid(alpha=0.3)
    for one in axes:
        one.spines["top"].set_visible(False)
        one.spines["right"].set_visible(one is not ax)
        one.spines["left"].set_visible(one is ax)
        if _is_small(ax):
            one.tick_params(labelsize="x-small")
            for axis in (one.xaxis, one.yaxis):
                axis.label.set_fontsize("x-small")
                axis.offsetText.set_fontsize("x-small")


def _thin(ax: Axes) -> dict[str, Any]:
    return {"colors": _ink(ax), "linestyles": ":", "linewidths": 1.0}


def _ink(ax: Axes) -> Any:
    return ax.xaxis.label.get_color()


def _counted(steps: int) -> str:
    return f"{steps:,} step{'' if steps == 1 else 's'}"


def _inches(ax: Axes) -> float:
    return float(ax.get_window_extent().width) / ax.figure.dpi


def _is_small(ax: Axes) -> bool:
    return _inches(ax) < _SMALL


def _small_text(ax: Axes) -> str:
    return "x-small" if _is_small(ax) else "small"


def _scale(ax: Axes) -> float:
    return 0.6 if _is_small(ax) else 1.0


def _check_schedule(name: str, schedule: Any) -> None:
    if not isinstance(schedule, Schedule):
        raise TypeError(_arguments.received(name, "a schedule of this package", schedule))


def _axes(ax: Axes | None, figsize: tuple[float, float] = (7, 3.5)) -> Axes:
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
