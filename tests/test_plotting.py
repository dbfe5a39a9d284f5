"""The pictures: what a reader sees on the axes."""

import contextlib
import dataclasses
import itertools
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import small_training
from helpers.keras_under_test import keras
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

import clr_schedules as clr
from clr_schedules.callbacks.snapshots import Snapshot
from clr_schedules.plotting import plot_history, plot_range_test, plot_schedules
from clr_schedules.range_test.suggestions import smooth

BOUNDS = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
POLICIES = [
    clr.Triangular(**BOUNDS, name="triangular"),
    clr.Triangular2(**BOUNDS, name="triangular2"),
    clr.ExpRange(**BOUNDS, gamma=0.9998, name="exp_range, gamma = 0.9998"),
]


def names_in_legend(ax):
    """The entries of the legend, which is below the axes or on the twin."""
    (legend,) = [
        *ax.figure.legends,
        *filter(None, (one.get_legend() for one in ax.figure.axes)),
    ]
    return [text.get_text() for text in legend.get_texts()]


def twin_of(ax):
    (twin,) = (other for other in ax.figure.axes if other is not ax)
    return twin


# --- Schedules ---


@pytest.mark.parametrize("num_steps", [1, 2, 1000, 1_000_000, 2**53])
def test_draws_the_values(figures, num_steps):
    schedule = clr.Triangular2(1e-3, 6e-3, step_size=100)
    ax = schedule.plot(num_steps)
    x, y = ax.lines[0].get_data()
    assert np.array_equal(y, schedule.values(x))
    assert (x[0], x[-1]) == (0, num_steps - 1)
    assert (np.diff(x) > 0).all()
    assert len(x) == num_steps or 10_000 < len(x) <= 50_000
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "learning rate")


@pytest.mark.parametrize("num_steps", [1, 2**53])
def test_draws_any_number_of_steps_without_a_warning(figures, num_steps):
    clr.Triangular2(1e-3, 6e-3, step_size=100).plot(num_steps).figure.canvas.draw()


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        (clr.Triangular(1e-3, 6e-3, step_size=100), 600),
        (clr.OneCycle(0.1, total_steps=500), 500),
        (clr.Warmup(clr.OneCycle(0.1, total_steps=500), warmup_steps=50), 550),
        (clr.Triangular(1e-3, 6e-3, step_size=2**53), 2**53),
    ],
)
def test_draws_the_natural_length(figures, schedule, length):
    first, last = schedule.plot().lines[0].get_xdata()[[0, -1]]
    assert first == 0
    assert length - 1 <= last <= length
    assert plot_schedules([schedule, POLICIES[0]]).lines[0].get_xdata()[-1] >= last


def test_one_schedule_has_a_title_and_several_have_a_legend(figures):
    ax = POLICIES[2].plot()
    assert ax.get_title() == POLICIES[2].name
    assert not ax.figure.legends
    assert plot_schedules(POLICIES[2]).get_title() == POLICIES[2].name
    ax = plot_schedules(iter(POLICIES), 12_000)
    assert ax.get_title() == ""
    assert names_in_legend(ax) == ["triangular", "triangular2", "exp_range, gamma = 0.9998"]
    for schedule, line in zip(POLICIES, ax.lines, strict=True):
        assert np.array_equal(line.get_ydata(), schedule.values(np.arange(12_000)))


def test_draws_on_the_given_axes_and_makes_no_figure(figures):
    figure, (left, right) = figures.subplots(1, 2)
    assert clr.Triangular(1e-3, 6e-3, 5, name="mine").plot(20, ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert not figure.legends
    assert right.get_title() == right.lines[0].get_label() == "mine"


def test_schedules_on_axes_with_lines_are_told_apart(figures):
    ax = clr.Triangular(1e-3, 6e-3, 5).plot(20)
    clr.Triangular2(1e-3, 6e-3, 4, name="halving").plot(20, ax=ax)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 2
    assert ax.get_title() == ""
    assert names_in_legend(ax) == ["Triangular", "halving"]


def test_twelve_schedules_are_told_apart(figures):
    ax = plot_schedules([clr.Triangular(1e-3, 6e-3, n + 5) for n in range(12)], 100)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 12
    # The first of those that coincide is the widest, and lowest.
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(set(widths), reverse=True)


def test_no_cycle_is_as_long_as_the_distance_of_the_points(figures):
    for half in (1, 2, 10, 25, 50, 100):
        y = clr.Triangular(1e-3, 6e-3, half).plot(100 * 50_000).lines[0].get_ydata()
        low, middle, high = np.quantile(y, [0.1, 0.5, 0.9])
        # Those of a uniform distribution between the bounds; half=1 has nothing in between.
        if half > 2:
            assert [low, middle, high] == pytest.approx([1.5e-3, 3.5e-3, 5.5e-3], abs=1.3e-3)
        else:
            assert (low, high) == pytest.approx((1e-3, 6e-3))


def marked_bounds(ax):
    """The names at the lines that mark bounds, with their rates."""
    marked = {lines.get_segments()[0][0][1] for lines in ax.collections}
    named = {text.get_text(): text.xy[1] for text in ax.texts}
    assert set(named.values()) == marked
    return named


@pytest.mark.parametrize(
    ("schedules", "bounds"),
    [
        (POLICIES, {"base_lr": 0.001, "max_lr": 0.006}),
        ([*POLICIES, clr.Triangular2(0.002, 0.006, 3000)], {"max_lr": 0.006}),
        ([POLICIES[0], clr.Triangular2(0.002, 0.1, 3000)], {}),
        ([clr.OneCycle(0.006, 12_000), POLICIES[0]], {"max_lr": 0.006}),
        (clr.OneCycle(0.006, 12_000), {"max_lr": 0.006}),
        (clr.Triangular(0.1, 0.1, 5), {"base_lr = max_lr": 0.1}),
    ],
)
def test_bounds_that_all_schedules_have_are_marked(figures, schedules, bounds):
    ax = plot_schedules(schedules, 12_000)
    assert marked_bounds(ax) == bounds
    low, high = ax.get_ylim()
    assert all(low < rate < high for rate in bounds.values())


def test_schedules_of_the_same_name_have_their_calls_in_the_legend(figures):
    fast, slow = clr.Triangular(1e-3, 6e-3, 100), clr.Triangular(1e-3, 6e-3, 200)
    assert names_in_legend(plot_schedules((fast, slow, POLICIES[1]), 800)) == [
        repr(fast),
        repr(slow),
        "triangular2",
    ]


def test_momentum_is_not_called_a_rate(figures):
    rate = clr.OneCycle(0.1, 100)
    assert rate.momentum().plot(100).get_ylabel() == "momentum"
    assert plot_schedules([rate, rate.momentum()], 100).get_ylabel() == "learning rate or momentum"


def test_names_are_written_as_they_are(figures):
    strange = clr.Triangular(1e-3, 6e-3, 5, name=r"from $5 to $6 \frac{")
    ax = strange.plot(20)
    ax.figure.canvas.draw()
    assert ax.get_title() == strange.name
    plot_schedules([strange, POLICIES[0]], 20).figure.canvas.draw()


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "3", float("nan")])
def test_bad_number_of_steps(num_steps):
    for draw in (POLICIES[0].plot, lambda number: plot_schedules(POLICIES, number)):
        with pytest.raises((TypeError, ValueError), match=r"`num_steps` must be .*Received: num_"):
            draw(num_steps)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "other",
    [0.001, "triangular", None, keras.optimizers.schedules.CosineDecay(0.1, 100)],
)
def test_what_is_not_a_schedule_of_this_package_is_refused(other):
    with pytest.raises(TypeError, match=r"`schedules\[1\]` must be a schedule.*Received: .*=.+"):
        plot_schedules([POLICIES[0], other], 20)
    with pytest.raises(TypeError, match=r"`schedules(\[0\])?` must be a schedule of this package"):
        plot_schedules(other, 20)


def test_no_schedules_are_refused():
    with pytest.raises(ValueError, match=r"`schedules` must be .*Received: schedules=\[\]"):
        plot_schedules([], 20)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: POLICIES[0].plot(20, ax),
        lambda ax: plot_history({"iter": [0], "lr": [0.1]}, ax=ax),
        lambda ax: plot_range_test(curve(FALL), ax),
    ],
)
def test_bad_axes(draw):
    with pytest.raises(TypeError, match=r"`ax` must be Matplotlib axes.*Received: ax='left'"):
        draw("left")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: POLICIES[0].plot(20),
        lambda: plot_schedules(POLICIES, 20),
        lambda: plot_history({"iteration": [0], "learning_rate": [0.1]}),
        lambda: plot_range_test(curve(FALL)),
    ],
)
def test_says_what_to_install_when_matplotlib_is_missing(monkeypatch, draw):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)  # as Python marks what it cannot import
    with pytest.raises(ImportError, match=r'pip install "clr-schedules\[plot\]"'):
        draw()


# --- Histories ---


def logged(*trainings, **losses):
    """A history of trainings, each of the iterations of its epochs, and the logs of the epochs."""
    history, epochs = {"iteration": [], "learning_rate": []}, []
    for training in trainings:
        for number, iterations in enumerate(training):
            history["iteration"] += iterations
            history["learning_rate"] += POLICIES[1].values(np.multiply(iterations, 50)).tolist()
            epochs.append({"epoch": number, "steps_logged": len(history["iteration"])})
    for key, values in losses.items():
        for epoch, value in zip(epochs, values, strict=True):
            if value is not None:
                epoch[key] = value
    return history, epochs


def epochs_of(steps, number, start=0):
    return [range(start + i * steps, start + (i + 1) * steps) for i in range(number)]


def rate_line(ax):
    """The line of the learning rate; the losses are on the returned axes."""
    (line,) = (ax if len(ax.figure.axes) == 1 else twin_of(ax)).lines
    return line


def points(line):
    """The points of a line, without the breaks in it."""
    x, y = line.get_data()
    return x[np.isfinite(x)].tolist(), y[np.isfinite(x)].tolist()


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9, 0.8]


def test_history_of_a_training(figures):
    model = small_training.make(keras, clr.Triangular2(1e-3, 6e-3, step_size=15))
    logger = clr.LearningRateLogger()
    x, y = small_training.arrays()
    training = {"batch_size": small_training.BATCH, "epochs": 4, "verbose": 0}
    validation = {"validation_data": (x, y), "validation_freq": 2}
    model.fit(x, y, callbacks=[logger], **training, **validation)
    ax = logger.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "loss")
    assert ax.get_title() == "Training of 80 steps"
    twin = twin_of(ax)
    assert twin.get_ylabel() == "learning rate"
    assert twin.yaxis.get_label_position() == "right"
    assert names_in_legend(ax) == ["loss", "validation loss", "learning rate"]
    losses, validation = ax.lines
    assert points(rate_line(ax)) == tuple(map(list, logger.history.values()))
    assert points(losses) == ([20, 40, 60, 80], [epoch["loss"] for epoch in logger.epochs])
    assert points(validation) == ([40, 80], [e["val_loss"] for e in logger.epochs[1::2]])
    looks = {(line.get_linestyle(), line.get_marker()) for line in (*ax.lines, *twin.lines)}
    assert len(looks) == 3
    assert ax.get_yscale() == "linear"


def test_history_of_the_posts_callback(figures):
    model = small_training.make(keras, 0.01)
    cyclical = clr.CyclicalLR(1e-3, 6e-3, stepsize=15)
    x, y = small_training.arrays()
    training = {"batch_size": small_training.BATCH, "epochs": 2, "verbose": 0}
    model.fit(x, y, callbacks=[cyclical], **training)
    _, (_, right) = figures.subplots(1, 2)
    assert cyclical.plot(right) is right
    (twin,) = set(right.figure.axes[2:])
    assert points(*twin.lines) == (list(range(40)), cyclical.history["lr"])
    assert points(right.lines[0])[0] == [20, 40]
    assert [text.get_text() for text in twin.get_legend().get_texts()] == ["loss", "learning rate"]


def test_history_of_a_training_that_failed_in_its_first_epoch(figures):
    logger = clr.LearningRateLogger()
    x, y = small_training.arrays()
    fail = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: 1 // (7 - batch))
    training = {"batch_size": small_training.BATCH, "verbose": 0}
    for steps, callbacks, raised in (
        (20, [logger, fail], pytest.raises(ZeroDivisionError)),
        (5, [logger], contextlib.nullcontext()),
    ):
        model = small_training.make(keras, clr.Triangular2(1e-3, 6e-3, step_size=15))
        samples = steps * small_training.BATCH
        with raised:
            model.fit(x[:samples], y[:samples], callbacks=callbacks, **training)
    ax = logger.plot()
    assert points(rate_line(ax))[0] == list(range(13))
    assert points(ax.lines[0])[0] == [13]


@pytest.mark.parametrize(
    ("history", "error"),
    [
        (None, TypeError),
        (clr.LearningRateLogger(), TypeError),
        (clr.LearningRateLogger().history, ValueError),
        ({"loss": [1.0], "learning_rate": [0.1]}, ValueError),
        ({"iteration": [0, 1], "learning_rate": [0.1]}, ValueError),
    ],
)
def test_what_is_not_a_history_is_refused(history, error):
    with pytest.raises(error, match=r"`history` must be the `history` of a LearningRateLogger"):
        plot_history(history)
    assert not plt.get_fignums()


@pytest.mark.parametrize("epochs", [[{"loss": 1.0}], [1.0]])
def test_what_are_not_epochs_is_refused(epochs):
    with pytest.raises(ValueError, match=r"`epochs` must be the `epochs` of a LearningRateLogger"):
        plot_history({"iteration": [0], "learning_rate": [0.1]}, epochs)


def test_snapshots_are_marked_on_the_rate(figures):
    """At the steps after which they were taken, also in a second training."""
    history, epochs = logged(epochs_of(10, 3), epochs_of(10, 2, start=30), loss=[5, 4, 3, 2, 1])
    snapshots = [Snapshot(iteration, epoch=0) for iteration in (10, 25, 50, 1000)]
    ax = plot_history(history, epochs, snapshots=snapshots)
    *_, marks = twin_of(ax).lines
    assert marks.get_label() == "snapshot"
    assert marks.get_xdata().tolist() == [10, 25, 50]
    expected = [history["learning_rate"][iteration - 1] for iteration in (10, 25, 50)]
    assert marks.get_ydata().tolist() == expected


def test_history_without_losses(figures):
    history, epochs = logged([range(30)])
    for ax in (plot_history(history), plot_history(history, epochs)):
        assert ax.figure.axes == [ax]
        assert ax.get_ylabel() == "learning rate"
        assert points(rate_line(ax)) == tuple(map(list, history.values()))


@pytest.mark.parametrize("loss", [1.0, None, np.nan])
def test_history_of_one_step(figures, loss):
    ax = plot_history(*logged([[7]], loss=[loss]))
    assert ax.get_title() == "Training of 1 step"
    assert rate_line(ax).get_marker() == "o"
    assert points(rate_line(ax))[0] == [7]


def test_history_of_trainings_one_after_another(figures):
    # Of three optimizers, the second of which began within the first one's steps, then at 5.
    history, epochs = logged(
        epochs_of(10, 2), epochs_of(10, 2), epochs_of(4, 2, start=5), loss=FALLING
    )
    ax = plot_history(history, epochs)
    assert ax.get_xlabel() == "step"
    assert points(rate_line(ax)) == (list(range(48)), history["learning_rate"])
    assert np.flatnonzero(np.isnan(rate_line(ax).get_xdata())).tolist() == [20, 41]
    assert points(ax.lines[0]) == ([10, 20, 30, 40, 44, 48], FALLING)
    assert np.flatnonzero(np.isnan(ax.lines[0].get_xdata())).tolist() == [2, 5]
    (new,) = ax.collections
    assert [segment[0][0] for segment in new.get_segments()] == [20, 40]
    assert names_in_legend(ax) == ["loss", "learning rate", "new optimizer"]


@given(trainings=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5))
@settings(max_examples=20)
def test_history_has_every_epoch_in_its_training(trainings):
    history, epochs = logged(*(epochs_of(*shape) for shape in trainings))
    for i, epoch in enumerate(epochs):
        epoch["loss"] = float(i)
    try:
        ax = plot_history(history, epochs)
        lengths = [steps for steps, number in trainings for _ in range(number)]
        assert points(ax.lines[0])[0] == np.cumsum(lengths).tolist()
        assert points(rate_line(ax))[0] == list(range(sum(lengths)))
        breaks = np.cumsum([steps * number for steps, number in trainings])[:-1]
        assert np.isnan(rate_line(ax).get_xdata()).sum() == len(breaks)
    finally:
        plt.close("all")


def test_history_has_a_gap_where_nothing_was_logged(figures):
    history, epochs = logged([range(10), range(30, 40)], loss=[2.0, 1.0])
    ax = plot_history(history, epochs)
    assert ax.get_xlabel() == "iteration"
    assert np.isnan(rate_line(ax).get_xdata()[10])
    assert points(rate_line(ax))[0] == history["iteration"]
    assert points(ax.lines[0])[0] == [10, 40]
    assert not ax.collections


def test_an_epoch_before_the_first_step_is_at_the_start(figures):
    history, epochs = logged([range(10)], loss=[1.0])
    ax = plot_history(history, [{"steps_logged": 0, "loss": 2.0}, *epochs])
    assert points(ax.lines[0]) == ([0, 10], [2.0, 1.0])


def test_history_marks_losses_that_are_not_finite(figures):
    losses = [2.0, np.inf, 1.2, np.nan, -np.inf, 1e308]
    ax = plot_history(*logged(epochs_of(10, 6), loss=losses, val_loss=FALLING))
    assert names_in_legend(ax)[:3] == ["loss", "loss inf or NaN", "validation loss"]
    line, crosses, _ = ax.lines
    assert np.array_equal(line.get_ydata(), [2.0, np.nan, 1.2, *[np.nan] * 3], equal_nan=True)
    assert crosses.get_xdata().tolist() == [20, 40, 50, 60]
    assert set(crosses.get_ydata()) == {1.0}
    assert ax.get_ylim()[1] < 3


def test_history_of_losses_over_decades(figures):
    ax = plot_history(*logged(epochs_of(10, 6), loss=[2.0, 0.3, 0.05, 0.01, 0.008, 0.007]))
    assert ax.get_yscale() == "log"
    ax = plot_history(*logged(epochs_of(10, 6), loss=[2.0, 0.3, 0.05, 0.01, 0.008, -1]))
    assert ax.get_yscale() == "linear"


@pytest.mark.parametrize(
    "losses",
    [
        [0.0] * 6,
        [np.nan] * 6,
        [1e299, 1e-300] * 3,
        [-1e299, 1e299] * 3,
        [5e-324, 1e-320] * 3,
        [None, 1.0] * 3,
    ],
)
def test_history_draws_odd_losses_without_a_warning(figures, losses):
    ax = plot_history(*logged(epochs_of(10, 6), loss=losses, val_loss=FALLING[::-1]))
    ax.figure.canvas.draw()
    assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()


def test_history_of_a_million_steps(figures):
    history, epochs = logged(epochs_of(1000, 1000), loss=np.geomspace(2, 0.5, 1000))
    ax = plot_history(history, epochs)
    x, y = points(rate_line(ax))
    assert 10_000 < len(x) <= 50_000
    assert (x[0], x[-1]) == (0, 999_999)
    assert np.array_equal(y, np.array(history["learning_rate"])[np.int64(x)])
    assert len(ax.lines[0].get_xdata()) == 1000
    assert 10 < 1000 / ax.lines[0].get_markevery() < 60


# --- Range tests ---


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


def named_lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def band_of(ax):
    """The limits of the band, in learning rates; None if there is none."""
    if not ax.patches:
        return None
    (band,) = ax.patches
    x = band.get_patch_transform().transform(band.get_path().vertices)[:, 0]
    return x.min(), x.max()


def bounds_above(ax):
    return [text.get_text() for text in ax.texts]


def reasons_below(ax):
    """The lines below the name of the axis, each reason in one."""
    first, *reasons = ax.get_xlabel().split("\nno ")
    assert first == "learning rate"
    return [f"no {' '.join(reason.split())}" for reason in reasons]


def test_range_test_draws_the_losses(figures):
    result = curve(BLOWS_UP)
    ax = result.plot()
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")
    assert ax.get_title() == "Range test of 200 steps: completed"
    assert ax.get_xlim() == (1e-5, 1)
    raw, smoothed, *_ = ax.lines
    assert np.array_equal(raw.get_data(), (result.learning_rates, result.losses))
    assert np.array_equal(smoothed.get_data(), (result.learning_rates, result.smoothed_losses))
    assert raw.get_alpha() < 0.5
    assert named_lines(ax)["loss"] is smoothed
    assert ax.figure.axes == [ax]


def test_range_test_draws_the_mean_accuracy_at_the_right(figures):
    other = np.sqrt(ACCURACY)
    metrics = {"acc": ACCURACY, "mae": FALL, "top_Accuracy": other}
    ax = dataclasses.replace(curve(FALL), metrics=metrics).plot()
    twin = twin_of(ax)
    assert twin.get_ylabel() == "accuracy"
    assert twin.yaxis.get_label_position() == "right"
    raw, smoothed = twin.lines
    mean = (ACCURACY + other) / 2
    assert np.allclose(raw.get_ydata(), mean)
    assert np.allclose(smoothed.get_ydata(), smooth(mean, 0.9), atol=1e-4)
    loss = named_lines(ax)["loss"]
    assert smoothed.get_color() != loss.get_color()
    assert (smoothed.get_linestyle(), loss.get_linestyle()) == ("--", "-")
    assert names_in_legend(ax)[:2] == ["loss", "accuracy"]


def test_range_test_marks_the_suggestion(figures):
    result = curve(BLOWS_UP, ACCURACY)
    suggestion = result.suggest()
    ax = result.plot()
    assert band_of(ax) == pytest.approx((suggestion.base_lr, suggestion.max_lr))
    assert bounds_above(ax) == [
        f"base_lr {suggestion.base_lr:.1e}",
        f"max_lr {suggestion.max_lr:.1e}",
    ]
    assert not reasons_below(ax)
    for name in ("steepest", "valley", "minimum"):
        rate = getattr(suggestion, name)
        assert f"{name} {rate:.1e}" in names_in_legend(ax)
        ((x,), (y,)) = named_lines(ax)[f"{name} {rate:.1e}"].get_data()
        assert x == rate
        assert y == pytest.approx(np.interp(rate, RATES, result.smoothed_losses))


def test_range_test_says_why_a_bound_is_missing(figures):
    result = curve(2.3 / (1 + (RATES / 0.3) ** 2))
    suggestion = result.suggest()
    assert suggestion.base_lr
    assert suggestion.max_lr is None
    ax = result.plot()
    assert band_of(ax) is None
    assert bounds_above(ax) == [f"base_lr {suggestion.base_lr:.1e}"]
    assert reasons_below(ax) == [f"no max_lr: {suggestion.reasons['max_lr']}"]


def test_range_test_says_a_reason_once(figures):
    result = curve([1.0] * 100)
    reasons = result.suggest().reasons
    assert reasons["base_lr"] == reasons["max_lr"]
    ax = result.plot()
    assert bounds_above(ax) == []
    assert reasons_below(ax) == [f"no base_lr and no max_lr: {reasons['max_lr']}"]
    assert list(named_lines(ax)) == ["loss"]


def test_range_test_with_linear_growth(figures):
    ax = curve(FALL, growth="linear").plot()
    assert ax.get_xscale() == "linear"
    assert ax.get_xlim() == (1e-5, 1)


def test_range_test_draws_the_validation_losses_as_points(figures):
    at, values = RATES[9::10], FALL[9::10] + 0.1
    values[0], values[-1] = 3, -1
    ax = curve(FALL, validation_learning_rates=at, validation_losses=values).plot()
    assert ax.get_ylim()[1] > 3
    circles = named_lines(ax)["validation loss"]
    assert np.array_equal(circles.get_data(), (at, values))
    assert (circles.get_linestyle(), circles.get_marker()) == ("None", "o")


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


@pytest.mark.parametrize(
    ("name", "growth"),
    [*((name, "exponential") for name in ODD), ("no steps", "linear"), ("a step", "linear")],
)
def test_range_test_draws_odd_curves_without_a_warning(figures, name, growth):
    losses, accuracies = ODD[name]
    ax = curve(losses, accuracies, growth).plot()
    ax.figure.canvas.draw()
    assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()


def test_range_test_draws_on_the_given_axes(figures):
    figure, (left, right) = figures.subplots(1, 2, layout="constrained")
    assert curve(FALL, ACCURACY).plot(ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert len(figure.axes) == 3
    assert not figure.legends


# --- All pictures ---

TRAININGS = logged(
    epochs_of(20, 6), epochs_of(20, 4), loss=[*FALLING, np.nan, *FALLING[:3]], val_loss=[1.0] * 10
)
VALIDATION = {"validation_learning_rates": RATES[::9], "validation_losses": FALL[::9]}
PICTURES = {
    "a schedule": lambda ax=None: POLICIES[2].plot(12_001, ax),
    "many steps": lambda ax=None: POLICIES[0].plot(123_456_789, ax),
    "schedules": lambda ax=None: plot_schedules(POLICIES, 12_001, ax),
    "twelve schedules": lambda ax=None: plot_schedules(
        [clr.Triangular(1e-3, 6e-3, 5 + i) for i in range(12)], 100, ax
    ),
    "a history": lambda ax=None: plot_history(*logged(epochs_of(20, 6), loss=FALLING), ax),
    "a history of decades": lambda ax=None: plot_history(
        *logged(epochs_of(20, 6), loss=[1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]), ax
    ),
    "two trainings": lambda ax=None: plot_history(*TRAININGS, ax),
    "no losses": lambda ax=None: plot_history(*logged([range(30)]), ax),
    "a range test": lambda ax=None: curve(BLOWS_UP, ACCURACY, **VALIDATION).plot(ax),
    "no bounds": lambda ax=None: curve([1.0] * 100).plot(ax),
}


def visible_texts(figure):
    """Everything that is written."""
    for ax in figure.axes:
        yield from (ax.title, *ax.texts)
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_visible():
                yield from (axis.label, axis.offsetText)
                low, high = sorted(axis.get_view_interval())
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                    if low <= tick.get_loc() <= high:
                        yield from (tick.label1, tick.label2)
    for legend in figure.legends:
        yield from legend.get_texts()


def check_that_texts_are_apart(figure):
    """No text is over another, or cut off at the edge of the figure."""
    figure.canvas.draw()
    boxes = {
        (text.get_text(), i): text.get_window_extent()
        for i, text in enumerate(visible_texts(figure))
        if text.get_visible() and text.get_text()
    }
    assert len(boxes) > 5
    for (one, box), (other, its) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(its), (one, other)
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0, text
        assert box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0, text
        assert box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_over_another(figures, name):
    ax = PICTURES[name]()
    check_that_texts_are_apart(ax.figure)
    assert ax.bbox.height > 0.4 * ax.figure.bbox.height


# Bounds that are close together, and at either end of the axis.
@pytest.mark.parametrize(
    "bounds", [(1e-5, 2e-5), (1e-5, 1), (0.5, 1), (1e-2, 1.1e-2), (1e-4, 1e-1), (1e-5, None)]
)
def test_range_test_writes_nothing_over_anything(figures, bounds):
    class Suggested(clr.RangeTestResult):
        def suggest(self):
            return clr.Suggestion(*bounds, 1e-3, 1e-2, 1e-1, reasons={"max_lr": "of this " * 20})

    result = Suggested(**vars(curve(FALL, ACCURACY, **VALIDATION)))
    check_that_texts_are_apart(result.plot().figure)


@pytest.mark.parametrize("name", PICTURES)
def test_settings_of_matplotlib_stay_as_they_are(figures, name):
    before = dict(figures.rcParams)
    PICTURES[name](figures.subplots()[1])
    assert dict(figures.rcParams) == before


def contrast(one, other):
    return np.abs(np.subtract(to_rgb(one), to_rgb(other))).max()


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("name", PICTURES)
def test_everything_is_seen_on_dark_and_on_light(figures, name, style):
    with figures.style.context(style):
        figure = PICTURES[name]().figure
        for each in figure.axes:
            for line in each.lines:
                assert contrast(line.get_color(), figure.get_facecolor()) > 0.4
            for lines in each.collections:
                assert contrast(lines.get_color()[0], figure.get_facecolor()) > 0.4


def test_draws_over_axes_that_are_logarithmic(figures):
    _, ax = figures.subplots()
    ax.set(xscale="log", yscale="log")
    POLICIES[0].plot(12_000, ax)
    ax.figure.canvas.draw()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


# --- In a notebook ---


@pytest.mark.parametrize(
    ("schedule", "caption"),
    [
        (POLICIES[0], "learning rate from 0.001 to 0.006 in 12,000 iterations"),
        (clr.OneCycle(0.1, 100).momentum(), "momentum from 0.85 to 0.95 in 100 iterations"),
        (clr.Piecewise([0.1], []), "learning rate from 0.1 to 0.1 in 1,000 iterations"),
        (clr.Triangular(0.1, 0.2, 2**53), "in 9,007,199,254,740,992 iterations"),
    ],
)
def test_a_notebook_shows_a_call_and_a_curve_within_its_frame(schedule, caption):
    page = schedule._repr_html_()
    assert caption in page
    points = page.split('points="')[1].split('"')[0].split()
    x, y = np.array([point.split(",") for point in points], np.float64).T
    assert 2 <= len(x) <= 601
    assert x.min() >= 2
    assert x.max() <= 298
    assert y.min() >= 2
    assert y.max() <= 58


def test_a_notebook_escapes_the_call():
    page = clr.Triangular(0.1, 0.2, 5, name="<b>&")._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
