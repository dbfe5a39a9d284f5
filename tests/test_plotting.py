import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

import clr_schedules as clr
from clr_schedules._reading import smooth


@pytest.mark.parametrize("num_steps", [1, 2, 1000, 1_000_000])
def test_draws_the_values(figures, num_steps):
    schedule = clr.Triangular2(1e-3, 6e-3, step_size=100)
    ax = schedule.plot(num_steps)
    x, y = ax.lines[0].get_data()
    assert np.array_equal(y, schedule.values(x))
    assert x[0] == 0
    assert num_steps - x[-1] <= max(1, num_steps // 200_000)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "learning rate")
    ax.figure.canvas.draw()


def test_draws_on_the_given_axes_and_makes_no_figure(figures):
    _, (left, right) = figures.subplots(1, 2)
    assert clr.Triangular(1e-3, 6e-3, 5, name="mine").plot(20, ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert right.get_title() == right.lines[0].get_label() == "mine"


def test_bad_axes():
    with pytest.raises(TypeError, match=r"`ax` must be Matplotlib axes.*Received: ax=3"):
        clr.Triangular(1e-3, 6e-3, 5).plot(20, ax=3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "3", None, float("nan")])
def test_bad_number_of_steps(num_steps):
    with pytest.raises(
        (TypeError, ValueError), match=r"`num_steps` must be .*Received: num_steps="
    ):
        clr.Triangular(1e-3, 6e-3, 5).plot(num_steps)


def test_says_what_to_install_when_matplotlib_is_missing():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
import clr_schedules as clr
try:
    clr.Triangular(1e-3, 6e-3, 5).plot(20)
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "clr-schedules[plot]"' in run.stdout


def curve(losses, accuracies=None, growth="exponential", stop_reason="completed: at 1", **kwargs):
    """A result with these losses, at rates from 1e-5 to 1."""
    losses = np.asarray(losses, np.float64)
    space = {"exponential": np.geomspace, "linear": np.linspace}[growth]
    return clr.RangeTestResult(
        learning_rates=space(1e-5, 1, len(losses)),
        losses=losses,
        smoothed_losses=smooth(losses, 0.9),
        metrics={} if accuracies is None else {"accuracy": np.asarray(accuracies, np.float64)},
        stop_reason=stop_reason,
        growth=growth,
        **kwargs,
    )


RATES = np.geomspace(1e-5, 1, 200)
NOISE = np.random.default_rng(0).normal(0, 0.02, 200)
FALL = 2.3 / (1 + (RATES / 3e-3) ** 2) + NOISE
BLOWS_UP = FALL + (RATES / 0.2) ** 9
ACCURACY = np.clip(1 - FALL / 2.5 - (RATES / 0.8) ** 4, 0, 1)
ODD = {
    "no steps": ([], []),
    "a step": ([1], [0.5]),
    "two steps": ([1, 0.5], [0.1, 0.2]),
    "all NaN": ([np.nan] * 100, [np.nan] * 100),
    "flat": ([1] * 100, [0.3] * 100),
    "zero": ([0] * 100, [0] * 100),
    "rising": (1 + np.arange(100), 50 - np.arange(100)),
    "infinite at the end": ([*FALL[:-1], np.inf], [*ACCURACY[:-1], np.nan]),
    "negative infinite at the end": ([*FALL[:-1], -np.inf], [*ACCURACY[:-1], np.nan]),
    "huge at the end": ([*FALL[:-1], 1e308], ACCURACY),
    "huge": (FALL * 1e307, ACCURACY),
    "huge on both sides": ([1e308, -1e308] * 50, [0.5] * 100),
    "tiny": (FALL * 1e-320, ACCURACY),
}


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def twin_of(ax):
    (twin,) = (other for other in ax.figure.axes if other is not ax)
    return twin


def band_of(ax):
    """The limits of the band, in learning rates; None if there is none."""
    if not ax.patches:
        return None
    (band,) = ax.patches
    x = band.get_patch_transform().transform(band.get_path().vertices)[:, 0]
    return x.min(), x.max()


def texts(ax):
    """What is written above the axes, and above the legend."""
    return [text.get_text() for text in ax.texts], ax.get_legend().get_title().get_text()


def test_range_test_draws_the_losses(figures):
    result = curve(BLOWS_UP)
    ax = result.plot()
    ax.figure.canvas.draw()
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")
    assert ax.get_title() == "Range test of 200 steps: completed"
    assert ax.get_xlim() == (1e-5, 1)
    raw, smoothed, *_ = ax.lines
    assert np.array_equal(raw.get_data(), (result.learning_rates, result.losses))
    assert np.array_equal(smoothed.get_data(), (result.learning_rates, result.smoothed_losses))
    assert raw.get_alpha() < 0.5
    assert lines(ax)["loss"] is smoothed
    assert ax.figure.axes == [ax]


def test_range_test_draws_the_mean_accuracy_at_the_right(figures):
    other = np.sqrt(ACCURACY)
    result = dataclasses.replace(
        curve(FALL), metrics={"acc": ACCURACY, "mae": FALL, "top_Accuracy": other}
    )
    ax = result.plot()
    twin = twin_of(ax)
    assert twin.get_ylabel() == "accuracy"
    assert twin.yaxis.get_label_position() == "right"
    raw, smoothed = twin.lines
    mean = (ACCURACY + other) / 2
    assert np.allclose(raw.get_ydata(), mean)
    assert np.allclose(smoothed.get_ydata(), smooth(mean, 0.9))
    loss = lines(ax)["loss"]
    assert smoothed.get_color() != loss.get_color()
    assert (smoothed.get_linestyle(), loss.get_linestyle()) == ("--", "-")
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["loss", "accuracy"]


def test_range_test_marks_the_suggestion(figures):
    result = curve(BLOWS_UP, ACCURACY)
    suggestion = result.suggest()
    ax = result.plot()
    assert band_of(ax) == pytest.approx((suggestion.base_lr, suggestion.max_lr))
    assert texts(ax) == (
        [f"base_lr {suggestion.base_lr:.1e}", f"max_lr {suggestion.max_lr:.1e}"],
        "",
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    for name in ("steepest", "valley", "minimum"):
        rate = getattr(suggestion, name)
        assert f"{name} {rate:.1e}" in labels
        ((x,), (y,)) = lines(ax)[f"{name} {rate:.1e}"].get_data()
        assert x == rate
        assert y == pytest.approx(np.interp(rate, RATES, result.smoothed_losses))


def test_range_test_says_why_a_bound_is_missing(figures):
    result = curve(2.3 / (1 + (RATES / 0.3) ** 2))
    suggestion = result.suggest()
    assert suggestion.base_lr
    assert suggestion.max_lr is None
    ax = result.plot()
    assert band_of(ax) is None
    assert texts(ax) == (
        [f"base_lr {suggestion.base_lr:.1e}"],
        f"no max_lr: {suggestion.reasons['max_lr']}",
    )


def test_range_test_says_a_reason_once(figures):
    result = curve([1.0] * 100)
    reasons = result.suggest().reasons
    assert reasons["base_lr"] == reasons["max_lr"]
    ax = result.plot()
    assert texts(ax) == ([], f"no base_lr and no max_lr: {reasons['max_lr']}")
    assert list(lines(ax)) == ["loss"]


def test_range_test_with_linear_growth(figures):
    ax = curve(FALL, growth="linear").plot()
    assert ax.get_xscale() == "linear"
    assert ax.get_xlim() == (1e-5, 1)


def test_range_test_draws_the_validation_losses_as_points(figures):
    at, values = RATES[9::10], FALL[9::10] + 0.1
    values[0], values[-1] = 3, -1
    ax = curve(FALL, validation_learning_rates=at, validation_losses=values).plot()
    assert ax.get_ylim()[1] > 3
    points = lines(ax)["validation loss"]
    assert np.array_equal(points.get_data(), (at, values))
    assert points.get_linestyle() == "None"
    assert points.get_marker() == "o"


@pytest.mark.parametrize("last", [1e3, 1e9, 1e300, np.inf, np.nan, -np.inf])
def test_range_test_shows_the_descent_of_a_loss_that_blows_up(figures, last):
    ax = curve([*BLOWS_UP[:-1], last], stop_reason="diverged: the loss was nan").plot()
    low, high = ax.get_ylim()
    assert -0.5 < low < FALL.min()
    assert 2.3 < high < 3
    assert ax.get_title() == "Range test of 200 steps: diverged"


def test_range_test_shows_half_of_a_loss_that_only_rises(figures):
    low, high = curve(1 + np.arange(100)).plot().get_ylim()
    assert low < 1
    assert 50 < high < 100


@pytest.mark.parametrize("growth", ["exponential", "linear"])
@pytest.mark.parametrize("with_accuracy", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_range_test_draws_odd_curves_without_a_warning(figures, name, with_accuracy, growth):
    losses, accuracies = ODD[name]
    ax = curve(losses, accuracies if with_accuracy else None, growth).plot()
    ax.figure.canvas.draw()
    assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()


# Bounds close together and at either end, in wide axes and in narrow ones.
@pytest.mark.parametrize("width", [7.5, 3.5])
@pytest.mark.parametrize(
    "bounds", [(1e-5, 2e-5), (1e-5, 1), (0.5, 1), (1e-2, 1.1e-2), (1e-4, 1e-1), (1e-5, None)]
)
def test_range_test_writes_nothing_over_anything(figures, monkeypatch, bounds, width):
    suggestion = clr.Suggestion(*bounds, 1e-3, 1e-2, 1e-1, reasons={"max_lr": "of this " * 9})
    monkeypatch.setattr(clr.RangeTestResult, "suggest", lambda self: suggestion)
    _, ax = figures.subplots(figsize=(width, 4), layout="constrained")
    at = {"validation_learning_rates": RATES[::9], "validation_losses": FALL[::9]}
    curve(FALL, ACCURACY, **at).plot(ax)
    ax.figure.canvas.draw()
    pieces = [*ax.texts, ax.title, ax.xaxis.label, ax.get_legend()]
    boxes = [piece.get_window_extent() for piece in pieces]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.y0 >= ax.bbox.y1 or box.y1 <= ax.bbox.y0
        assert ax.figure.bbox.x0 <= box.x0
        assert box.x1 <= ax.figure.bbox.x1


def test_range_test_draws_on_the_given_axes(figures):
    figure, (left, right) = figures.subplots(1, 2, layout="constrained")
    assert curve(FALL, ACCURACY).plot(ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert len(figure.axes) == 3


def test_range_test_refuses_what_are_no_axes():
    with pytest.raises(TypeError, match=r"`ax` must be Matplotlib axes.*Received: ax='left'"):
        curve(FALL).plot(ax="left")
