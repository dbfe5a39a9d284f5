"""Pictures of schedules, trainings and range tests.

Each function gets data, draws them on Matplotlib axes and returns the axes. Matplotlib is imported
only when a picture is drawn.

Colour-blind readers can tell the colours apart, and dashes do the same for black and white. All
other looks follow Matplotlib's settings, so that dark styles work too.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clr_schedules import _arguments
from clr_schedules.schedules.base import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from clr_schedules.range_test import RangeTestResult, Suggestion

# Keyword arguments of Matplotlib.
_Look: TypeAlias = dict[str, Any]
# Curves with more points than this number are thinned.
_MAX_POINTS = 50_000
# If there are more epochs than this number, only some epochs get a marker.
_MAX_MARKERS = 50
# The colours of Okabe and Ito. Of several schedules, the first twelve differ in colour or dashes.
_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
_ORANGE, _SKY, _PURPLE, _YELLOW = "#E69F00", "#56B4E9", "#CC79A7", "#F0E442"
_COLORS = (_BLUE, _ORANGE, _GREEN, _VERMILION, _SKY, _PURPLE)
_DASHES = ("-", "--", "-.", ":")
# The colours of the rates of several optimizers in the picture of a training.
_RATE_COLORS = (_GREEN, _VERMILION, _PURPLE, _ORANGE, _SKY)
# The names of the attributes of schedules and suggestions that are drawn as bounds.
_BOUNDS = ("base_lr", "max_lr")
# The other rates of a suggestion, each with its marker and colour.
_MARKS = {"steepest": ("v", _YELLOW), "valley": ("D", _SKY), "minimum": ("s", _PURPLE)}
# The losses in the logs of an epoch, and their names in the legend.
_LOSSES = {"loss": "loss", "val_loss": "validation loss"}
# Larger losses are drawn as infinite, because Matplotlib needs room below the largest float.
_HUGE = 1e300


def plot_schedules(
    schedules: Schedule | Iterable[Schedule], num_steps: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draws the learning rates of schedules against the iteration.

    With one schedule, its name is the title. With several, a legend shows their names, or their
    classes if they have no names. Schedules with equal names are shown as the calls that make them.
    The first line is the widest and the last line the thinnest, so that all lines can be seen where
    they coincide. A dotted line marks ``base_lr`` or ``max_lr`` if all schedules share its value.

    Args:
        schedules: A schedule, or an iterable of one or more.
        num_steps: The number of iterations to draw, beginning with iteration 0. At least 1. Above
            50,000, only some iterations are drawn. Default: the longest natural length of the
            schedules, such as three cycles, or all steps of a one-cycle schedule.
        ax: The Matplotlib axes to draw on. Default: those of a new figure.

    Returns:
        The axes. The last entries of their ``lines`` belong to the schedules, in the same order.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is no schedule, or ``num_steps`` is not a whole number of at least 1.

    Example:
        >>> import clr_schedules as clr
        >>> from clr_schedules.plotting import plot_schedules
        >>> bounds = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
        >>> ax = plot_schedules([clr.Triangular(**bounds), clr.Triangular2(**bounds)])
        >>> [line.get_label() for line in ax.lines]
        ['Triangular', 'Triangular2']
    """
    rule = "a schedule of this package, or a list of one or more"
    if not isinstance(schedules, (Schedule, Iterable)):
        raise TypeError(_arguments.received("schedules", rule, schedules))
    drawn: list[Any] = [schedules] if isinstance(schedules, Schedule) else list(schedules)
    if not drawn:
        raise ValueError(_arguments.received("schedules", rule, drawn))
    for i, schedule in enumerate(drawn):
        if not isinstance(schedule, Schedule):
            rule = "a schedule of this package"
            raise TypeError(_arguments.received(f"schedules[{i}]", rule, schedule))
    if num_steps is None:
        longest = max(schedule._natural_length() for schedule in drawn)
        num_steps = min(longest, _arguments.MAX_STEPS)
    num_steps = _arguments.count("num_steps", num_steps)
    axes = _axes(ax, (7, 3.3 + 0.2 * len(drawn)))

    _draw_shared_bounds(axes, drawn)
    steps, before = _sample(num_steps), len(axes.lines)
    widths = np.linspace(min(3.0, 1.0 + 0.6 * len(drawn)), 1.2, len(drawn))
    # If the axes have lines already, the new lines continue the sequence of colours and dashes.
    for look, (schedule, label) in enumerate(zip(drawn, _labels(drawn), strict=True), before):
        axes.plot(
            steps,
            schedule.values(steps),
            color=_COLORS[look % len(_COLORS)],
            linestyle=_DASHES[look % len(_DASHES)],
            linewidth=widths[look - before],
            marker="o" if num_steps == 1 else "",
            label=label,
        )
    axes.set_xlabel("iteration")
    axes.set_ylabel(" or ".join(dict.fromkeys(schedule._quantity for schedule in drawn)))
    _style(axes)
    if len(axes.lines) == 1:
        _set_title(axes, axes.lines[0].get_label())
    else:
        if before:  # the title may be the name of a schedule that was drawn alone earlier
            axes.set_title("")
        _draw_legend(axes, axes.lines, own_figure=ax is None)
    return axes


def plot_history(
    history: Mapping[str, Sequence[float]],
    epochs: Sequence[Mapping[str, Any]] = (),
    ax: Axes | None = None,
    snapshots: Sequence[Any] = (),
) -> Axes:
    """Draws the losses of a training, and its learning rate over the same steps.

    The losses are points on the left axis, and the rate of every step is the green line on the
    right axis. The loss of an epoch (the mean over its batches) and the validation loss are drawn
    at the end of the epoch. The left axis is logarithmic if the losses are above 0 and span two
    decades or more. A cross at the upper edge marks a loss that is infinite or NaN.

    Several trainings are drawn one after another. A dotted line marks the step at which another
    optimizer began to count. Steps that were taken without the logger leave a gap. If several
    optimizers train a model, each rate has a line of its own, over the steps of its own optimizer.
    The ends of the epochs are those of the optimizer that has taken the most steps.

    Args:
        history: The ``history`` of a `LearningRateLogger` or a `CyclicalLR`.
        epochs: The ``epochs`` of the same callback. Default: none; only the rate is drawn.
        ax: The Matplotlib axes to draw on. Default: those of a new figure.
        snapshots: The ``snapshots`` of a `CycleSnapshots` of the training, which are marked on the
            line of the rate. Default: none.

    Returns:
        The axes of the losses; without losses, those of the rate.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If an argument is of the wrong kind.
        ValueError: If ``history`` has no steps, or if ``epochs`` do not come from a logger.

    Example:
        >>> from clr_schedules.plotting import plot_history
        >>> history = {"iteration": [0, 1, 2, 3], "learning_rate": [0.001, 0.002, 0.003, 0.002]}
        >>> epochs = [{"steps_logged": 2, "loss": 0.7}, {"steps_logged": 4, "loss": 0.5}]
        >>> ax = plot_history(history, epochs)
        >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
        ('Training of 4 steps', 'iteration', 'loss')
    """
    columns = _columns(history)
    if not all(isinstance(epoch, Mapping) and "steps_logged" in epoch for epoch in epochs):
        rule = "the `epochs` of a LearningRateLogger or a CyclicalLR"
        raise ValueError(_arguments.received("epochs", rule, epochs))
    ax, own_figure = _axes(ax, (7.5, 4.2)), ax is None
    # The first of the optimizers with the most steps has the axis of the iterations.
    longest = max(columns, key=lambda label: len(columns[label][0]))
    steps, starts = _one_after_another(columns[longest][0])

    handles: list[Any] = []
    rate_ax = ax
    losses = [key for key in _LOSSES if any(key in epoch for epoch in epochs)]
    if losses:
        rate_ax = ax.twinx()
        logged = np.array([epoch["steps_logged"] for epoch in epochs])
        ends = np.append(steps[0], steps + 1)[logged]
        trainings = np.searchsorted(starts, logged, side="left")
        for key in losses:
            handles += _draw_losses(ax, key, epochs, ends, trainings)
        ax.set_ylabel("loss", color=_BLUE)
        low, high = map(float, ax.dataLim.intervaly)
        # The limit of 100 decades: with more decades, Matplotlib's margins could overflow.
        if 0 < 100 * low <= high < 1e100 * low:
            ax.set_yscale("log")
    for number, (label, (iterations, rates)) in enumerate(columns.items()):
        x, kept = _one_after_another(iterations)[0], _sample(len(rates))
        runs = np.cumsum([0, *(np.diff(iterations) != 1)])  # the number of gaps before each step
        look: _Look = {"color": _RATE_COLORS[number % len(_RATE_COLORS)], "linewidth": 1.4}
        look |= {"linestyle": _DASHES[number % len(_DASHES)], "label": label}
        look["marker"] = "o" if len(rates) == 1 else ""
        handles += rate_ax.plot(*_broken(x[kept], rates[kept], runs[kept]), **look)
    if len(snapshots):
        iterations, rates = columns[longest]
        ends = np.flatnonzero(np.isin(iterations + 1, [each.iteration for each in snapshots]))
        look = {"marker": "D", "linestyle": "", "color": _ink(ax), "label": "snapshot"}
        handles += rate_ax.plot(steps[ends] + 1, rates[ends], **look)
    rate_ax.set_ylabel("learning rate", color=_GREEN)
    if len(starts):
        across = ax.get_xaxis_transform()
        look = {"linewidths": 1.0, "label": "new optimizer"}
        handles.append(ax.vlines(steps[starts], 0, 1, _ink(ax), ":", transform=across, **look))
    ax.set_xlabel("step" if len(starts) else "iteration")
    _set_title(ax, f"Training of {_count_steps(len(steps))}")
    _style(ax, rate_ax)
    if len(handles) > 1:
        _draw_legend(rate_ax, handles, own_figure)
    return ax


def plot_range_test(result: RangeTestResult, ax: Axes | None = None) -> Axes:
    """Draws the curve of a range test, and the rates that it suggests.

    The loss is the solid line on the left axis. The dashed line on the right axis is the accuracy:
    the mean of the metrics that are accuracies. The pale lines show single batches, the
    strong lines their moving averages, and the circles the losses on validation data. The axis of
    the loss ends a little above the descent, so that a loss that blows up does not flatten the
    rest of the curve.

    A band reaches from the suggested ``base_lr`` to the suggested ``max_lr``. If one of these
    bounds is None, the reason stands below the axes. The markers on the smoothed loss show the
    other suggested rates.

    Args:
        result: The result of `lr_range_test`.
        ax: The Matplotlib axes to draw on. Default: those of a new figure.

    Returns:
        The axes of the loss.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError: If ``ax`` is not Matplotlib axes.

    Example:
        >>> import numpy as np, clr_schedules as clr
        >>> from clr_schedules.plotting import plot_range_test
        >>> rates = np.geomspace(1e-4, 1, 200)
        >>> losses = 1 - np.minimum(rates / 0.02, 1) + (rates / 0.3) ** 3
        >>> result = clr.RangeTestResult(rates, losses, losses, {}, "completed")
        >>> ax = plot_range_test(result)
        >>> ax.get_xscale(), ax.get_title()
        ('log', 'Range test of 200 steps: completed')
    """
    ax, own_figure = _axes(ax, (7.5, 4.2)), ax is None
    rates, suggestion = result.learning_rates, result.suggest()
    if result.growth == "exponential":
        ax.set_xscale("log")
    if len(rates) > 1:
        ax.set_xlim(rates[0], rates[-1])
    ax.set_ylim(*_loss_limits(result))
    ax.set_ylabel("loss", color=_BLUE)
    ax.plot(rates, result.losses, color=_BLUE, alpha=0.4, linewidth=0.9)
    handles = ax.plot(rates, result.smoothed_losses, color=_BLUE, linewidth=2.2, label="loss")
    top_ax, accuracies = ax, result.accuracies
    if accuracies is not None:
        top_ax = ax.twinx()
        finite = accuracies[np.isfinite(accuracies)]
        if np.all((finite >= 0) & (finite <= 1)):
            top_ax.set_ylim(-0.02, 1.02)
        top_ax.set_ylabel("accuracy", color=_VERMILION)
        top_ax.plot(rates, accuracies, color=_VERMILION, alpha=0.25, linewidth=0.9)
        look: _Look = {"color": _VERMILION, "linewidth": 1.8, "label": "accuracy"}
        handles += top_ax.plot(rates, _moving_average(accuracies), linestyle="--", **look)
    point: _Look = {"linestyle": "none", "color": _ink(ax)}
    if len(result.validation_losses):
        x, y = result.validation_learning_rates, result.validation_losses
        circle: _Look = {"marker": "o", "markersize": 4, "markerfacecolor": ax.get_facecolor()}
        handles += ax.plot(x, y, label="validation loss", **circle, **point)
    for name, (marker, color) in _MARKS.items():
        if (rate := getattr(suggestion, name)) is not None:
            y = np.interp([rate], rates, result.smoothed_losses)
            mark: _Look = {"marker": marker, "markersize": 7, "markerfacecolor": color}
            handles += ax.plot([rate], y, label=f"{name} {rate:.1e}", **mark, **point)
    _draw_suggested_bounds(ax, suggestion)
    ax.set_xlabel("\n".join(["learning rate", *_missing_bounds(suggestion)]), parse_math=False)
    reason = re.split("[:,]", result.stop_reason)[0]
    _set_title(ax, f"Range test of {_count_steps(len(rates))}: {reason}", pad=20)
    _style(ax, top_ax, steps=False)
    # At this side, a legend in the middle has a good chance to lie between the loss and the
    # accuracy: before the two curves cross, or long after.
    side = "left" if result.growth == "exponential" else "right"
    _draw_legend(top_ax, handles, own_figure, f"center {side}")
    return ax


def _draw_shared_bounds(ax: Axes, schedules: Sequence[Schedule]) -> None:
    """Draws dotted lines with names at the bounds that all schedules share."""
    names: dict[float, list[str]] = {}
    for name in _BOUNDS:
        rates = {getattr(schedule, name, None) for schedule in schedules}
        if len(rates) == 1 and (rate := rates.pop()) is not None:
            names.setdefault(rate, []).append(name)
    across = ax.get_yaxis_transform()
    for rate, equal in names.items():
        ax.hlines(rate, 0, 1, _ink(ax), ":", transform=across, linewidths=1.0)
        text: _Look = {"textcoords": "offset points", "xytext": (3, 0), "fontsize": "small"}
        ax.annotate(" = ".join(equal), (1, rate), xycoords=across, va="center", **text)


def _labels(schedules: Sequence[Schedule]) -> list[str]:
    """A label for each schedule: its name or class, or its repr if labels would be equal."""
    names = [schedule.name or type(schedule).__name__ for schedule in schedules]
    return [
        name if names.count(name) == 1 else textwrap.fill(repr(schedule), 80)
        for name, schedule in zip(names, schedules, strict=True)
    ]


def _columns(history: Any) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Checks a history, and returns the iterations and the rates of each learning rate in it."""
    rule = "the `history` of a LearningRateLogger or a CyclicalLR that has logged a training"
    error = _arguments.received("history", rule, history)
    if not isinstance(history, Mapping):
        raise TypeError(error)
    columns = {}
    shared = history.get("iteration", history.get("iter", ()))
    alone = history.get("learning_rate", history.get("lr"))
    if alone is not None:
        columns["learning rate"] = shared, alone
    for name in history:
        key = name.removeprefix("learning_rate_")
        # A hyperparameter may have a similar name: Ftrl's `learning_rate_power`.
        if key != name and (alone is None or f"iteration_{key}" in history):
            iterations = history.get(f"iteration_{key}", shared)
            columns[f"learning rate of {key}"] = iterations, history[name]
    if not columns or not all(0 < len(steps) == len(rates) for steps, rates in columns.values()):
        raise ValueError(error)
    return {
        label: (np.asarray(steps, np.int64), np.asarray(rates, np.float64))
        for label, (steps, rates) in columns.items()
    }


def _one_after_another(iterations: NDArray[np.int64]) -> tuple[Any, Any]:
    """The places of the steps on the axis, and the first steps of new optimizers.

    The iterations do not rise where another optimizer begins to count. The steps of the new
    optimizer are shifted, so that they come after the steps of the former optimizer.
    """
    starts = np.flatnonzero(np.diff(iterations) <= 0) + 1
    shifts = np.cumsum([0, *(iterations[starts - 1] + 1 - iterations[starts])])
    return iterations + np.repeat(shifts, np.diff([0, *starts, len(iterations)])), starts


def _draw_losses(
    ax: Axes,
    key: str,
    epochs: Sequence[Mapping[str, Any]],
    ends: NDArray[np.int64],
    trainings: NDArray[np.int64],
) -> list[Any]:
    """Draws a loss at the end of each epoch that has it, and crosses for losses not finite.

    Args:
        ax: The axes to draw on.
        key: The key of the loss in the epochs' logs.
        epochs: The logs of the epochs.
        ends: For each epoch, the step at its end.
        trainings: For each epoch, the number of its training. Lines break between trainings.

    Returns:
        The lines, for the legend.
    """
    has_loss = np.array([key in epoch for epoch in epochs])
    losses = np.array([epoch[key] for epoch in epochs if key in epoch], np.float64)
    x, label = ends[has_loss], _LOSSES[key]
    lost = ~(np.abs(losses) < _HUGE)
    look: _Look = {"color": _BLUE, "linewidth": 2.2}
    if key != "loss":
        look = {"color": _ink(ax), "linewidth": 1.2, "linestyle": "--"}
        look["markerfacecolor"] = ax.get_facecolor()
    points = _broken(x, np.where(lost, np.nan, losses), trainings[has_loss])
    marker: _Look = {"marker": "o", "markersize": 4.5, "markevery": 1 + len(x) // _MAX_MARKERS}
    handles = ax.plot(*points, label=label, **marker, **look)
    if lost.any():
        edge = np.ones(np.count_nonzero(lost)), ax.get_xaxis_transform()
        cross: _Look = {"linestyle": "none", "marker": "x", "markersize": 6, "clip_on": False}
        cross |= {"color": look["color"], "label": f"{label} inf or NaN"}
        handles += ax.plot(x[lost], edge[0], transform=edge[1], **cross)
    return handles


def _loss_limits(result: RangeTestResult) -> tuple[float, float]:
    """The limits of the loss axis, which show the descent of the loss and a little more."""
    smoothed = result.smoothed_losses[np.isfinite(result.smoothed_losses)]
    finite = result.losses[np.isfinite(result.losses)].tolist()
    if not len(smoothed):
        return 0.0, 1.0
    descent = int(np.argmin(smoothed)) + 1
    batches = result.losses[:descent]
    tops = [np.quantile(batches[np.isfinite(batches)], 0.99, method="higher")]
    # If the loss is lowest within the first fifth of the steps, it hardly falls. Then the axis
    # also shows the lower half of all batches' losses.
    if descent < len(result.losses) // 5:
        tops.append(np.quantile(finite, 0.5, method="higher"))
    validation = result.validation_losses[
        np.isfinite(result.validation_losses)
        & (result.validation_learning_rates <= result.learning_rates[descent - 1])
    ]
    # Python's floats, because they overflow without a warning.
    shown = [float(loss) for loss in (*smoothed[:descent], np.min(batches), *tops, *validation)]
    low, high = min(shown), max(shown)
    span = (high - low) or abs(high) or 1.0
    # Some room at both ends, but not far beyond the lowest and the highest loss of all.
    low = max(low - 0.1 * span, min(*finite, low) - 0.05 * span)
    high = min(high + 0.15 * span, max(*finite, high) + 0.05 * span)
    return (low, high) if low < high and max(-low, high) < _HUGE else (0.0, 1.0)


def _moving_average(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential moving average over about ten values, with a corrected start."""
    if not len(values):
        return values
    weights = 0.9 ** np.arange(min(100, len(values)))
    sums, ones = np.convolve(values, weights), np.convolve(np.ones(len(values)), weights)
    return (sums / ones)[: len(values)]


def _draw_suggested_bounds(ax: Axes, suggestion: Suggestion) -> None:
    """Draws the bounds of a cycle as a band, with their values above the edges of the band."""
    bounds = {name: getattr(suggestion, name) for name in _BOUNDS}
    if None not in bounds.values():
        ax.axvspan(*bounds.values(), color=_GREEN, alpha=0.15, linewidth=0)
    across = ax.get_xaxis_transform()
    text: _Look = {"textcoords": "offset points", "xytext": (0, 4), "fontsize": "small"}
    for name, rate in bounds.items():
        if rate is not None:
            ax.axvline(rate, color=_GREEN, linewidth=1.4, linestyle=":")
            # Both labels stand outside the band, so that they never overlap.
            text |= {"color": _GREEN, "ha": "right" if name == "base_lr" else "left"}
            ax.annotate(f"{name} {rate:.1e}", (rate, 1), xycoords=across, **text)


def _missing_bounds(suggestion: Suggestion) -> list[str]:
    """A sentence for each reason why a bound is missing; one sentence if both reasons agree."""
    names: dict[str, list[str]] = {}
    for name in _BOUNDS:
        if getattr(suggestion, name) is None:
            names.setdefault(suggestion.reasons.get(name, ""), []).append(name)
    return [
        textwrap.fill(f"no {' and no '.join(missing)}: {reason}", 80)
        for reason, missing in names.items()
    ]


def _sample(count: int) -> NDArray[np.int64]:
    """The numbers from 0 to below ``count``, thinned to at most 50,000.

    The first and the last number are always kept.
    """
    stride = -(-count // _MAX_POINTS)
    numbers = np.arange(0, count, stride)
    if stride > 1:
        # The distances vary at random, since points at equal distances could hit every cycle at the
        # same phase and hide its shape.
        numbers += np.random.default_rng(0).integers(0, stride, len(numbers))
        numbers[[0, -1]] = 0, count - 1
    return numbers


def _broken(x: NDArray[Any], y: NDArray[Any], runs: NDArray[np.int64]) -> tuple[Any, Any]:
    """The points, with a NaN between different runs, so that Matplotlib breaks the line there."""
    ends = np.flatnonzero(np.diff(runs)) + 1
    return np.insert(x.astype(np.float64), ends, np.nan), np.insert(y, ends, np.nan)


def _set_title(ax: Axes, text: Any, **look: Any) -> None:
    """Sets a title, with line breaks and without Matplotlib's formulas between dollar signs."""
    ax.set_title(textwrap.fill(str(text), 80), parse_math=False, **look)


def _draw_legend(ax: Axes, handles: Sequence[Any], own_figure: bool, place: str = "best") -> None:
    """Draws a legend: below the axes in a figure of their own, or on the axes of the user."""
    if own_figure:
        # A row of small text has room for about 105 characters. Each entry has a sample of its
        # line, which takes as much room as eight characters.
        widths = [len(str(handle.get_label())) + 8 for handle in handles]
        columns = len(handles) if sum(widths) <= 105 else max(1, 105 // max(widths))
        figure: Any = ax.figure
        look = {"loc": "outside lower center", "ncols": columns, "frameon": False}
        legend = figure.legend(handles=handles, fontsize="small", **look)
    else:
        legend = ax.legend(handles=handles, fontsize="small", loc=place)  # type: ignore[call-overload]
    for text in legend.get_texts():
        text.set_parse_math(False)


def _style(ax: Axes, twin: Axes | None = None, *, steps: bool = True) -> None:
    """Sets the style of all pictures: a grid, an open frame, and short numbers on the axes.

    If the horizontal axis counts steps, its numbers are whole.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

    right = ax if twin is None else twin
    for one in {ax, right}:
        if one.get_yscale() == "linear":
            formatter = ScalarFormatter(useMathText=True)
            formatter.set_powerlimits((-2, 3))
            one.yaxis.set_major_formatter(formatter)
        one.spines["top"].set_visible(False)
        one.spines["right"].set_visible(one is not ax)
    if steps and ax.get_xscale() == "linear":
        ax.margins(x=0.01)
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.grid(alpha=0.3)


def _ink(ax: Axes) -> Any:
    """The colour of the axes' text, which fits light and dark styles."""
    return ax.xaxis.label.get_color()


def _count_steps(steps: int) -> str:
    """A number of steps in words, such as "1,000 steps"."""
    return f"{steps:,} step{'' if steps == 1 else 's'}"


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Checks the given axes, or makes the axes of a new figure if none are given."""
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
