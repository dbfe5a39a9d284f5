import contextlib
import dataclasses
import itertools

import matplotlib.pyplot as plt
import numpy as np
import other_process
import pytest
import small_training
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_under_test import keras
from matplotlib.colors import to_rgb

import clr_schedules as clr
from clr_schedules._reading import smooth
from clr_schedules.plotting import plot_history, plot_schedule, plot_schedules

BOUNDS = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 2000}
POLICIES = [
    clr.Triangular(**BOUNDS, name="triangular"),
    clr.Triangular2(**BOUNDS, name="triangular2"),
    clr.ExpRange(**BOUNDS, gamma=0.9998, name="exp_range, gamma = 0.9998"),
]


@pytest.mark.parametrize("num_steps", [1, 2, 1000, 1_000_000])
def test_draws_the_values(figures, num_steps):
    schedule = clr.Triangular2(1e-3, 6e-3, step_size=100)
    ax = schedule.plot(num_steps)
    x, y = ax.lines[0].get_data()
    assert np.array_equal(y, schedule.values(x))
    assert x[0] == 0
    assert x[-1] == num_steps - 1
    assert (np.diff(x) > 0).all()
    assert len(x) == num_steps or len(x) > 10_000
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "learning rate")
    ax.figure.canvas.draw()


def test_draws_on_the_given_axes_and_makes_no_figure(figures):
    _, (left, right) = figures.subplots(1, 2)
    assert clr.Triangular(1e-3, 6e-3, 5, name="mine").plot(20, ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert right.get_title() == right.lines[0].get_label() == "mine"


def test_one_drawn_upon_another_is_told_apart(figures):
    ax = clr.Triangular(1e-3, 6e-3, 5).plot(20)
    clr.Triangular(1e-3, 6e-3, 4).plot(20, ax=ax)
    clr.Triangular2(1e-3, 6e-3, 4, name="halving").plot(20, ax=ax)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 3
    assert ax.get_title() == ""
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "Triangular",
        "Triangular(base_lr=0.001, max_lr=0.006, step_size=4)",
        "halving",
    ]


def test_bad_axes():
    with pytest.raises(TypeError, match=r"`ax` must be Matplotlib axes.*Received: ax=3"):
        clr.Triangular(1e-3, 6e-3, 5).plot(20, ax=3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "3", None, float("nan")])
def test_bad_number_of_steps(num_steps):
    with pytest.raises(
        (TypeError, ValueError), match=r"`num_steps` must be .*Received: num_steps="
    ):
        clr.Triangular(1e-3, 6e-3, 5).plot(num_steps)


@pytest.mark.parametrize("schedule", [0.001, "triangular", None, keras.optimizers.SGD()])
def test_refuses_what_is_no_schedule_of_this_package(schedule):
    with pytest.raises(TypeError, match=r"`schedule` must be a schedule of this package.*=.+"):
        plot_schedule(schedule, 20)
    with pytest.raises(TypeError, match=r"`schedules\[1\]` must be a schedule.*Received: .*=.+"):
        plot_schedules([POLICIES[0], schedule], 20)


def test_a_keras_schedule_has_no_values_to_draw():
    cosine = keras.optimizers.schedules.CosineDecay(0.1, 100)
    with pytest.raises(TypeError, match=r"`schedules\[0\]` must be .*CosineDecay"):
        plot_schedules([cosine], 20)


@pytest.mark.parametrize("schedules", [POLICIES[0], 3, None])
def test_refuses_a_schedule_that_is_in_no_list(schedules):
    with pytest.raises(TypeError, match=r"`schedules` must be a list of .*Received: schedules="):
        plot_schedules(schedules, 20)


def test_refuses_no_schedules():
    with pytest.raises(ValueError, match=r"`schedules` must be .*Received: schedules=\[\]"):
        plot_schedules([], 20)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "3", None])
def test_bad_number_of_steps_of_several(num_steps):
    with pytest.raises((TypeError, ValueError), match=r"`num_steps` must be .*Received: num_"):
        plot_schedules(POLICIES, num_steps)
    assert not plt.get_fignums()


DRAWN = [
    "clr.Triangular(1e-3, 6e-3, 5).plot(20)",
    "plotting.plot_schedules([clr.Triangular(1e-3, 6e-3, 5)], 20)",
    "plotting.plot_history(logger)",
    "clr.RangeTestResult([1.0], [1.0], [1.0], {}, 'completed').plot()",
]


def test_says_what_to_install_when_matplotlib_is_missing():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
import clr_schedules as clr
from clr_schedules import plotting
logger = clr.LearningRateLogger()
logger.history["iteration"].append(0)
logger.history["learning_rate"].append(0.1)
found = []
for one in drawn:
    try:
        eval(one)
    except ImportError as error:
        found.append(str(error))
print(json.dumps(found))
"""
    found = other_process.run(code, drawn=DRAWN)
    assert len(found) == len(DRAWN)
    assert all('pip install "clr-schedules[plot]"' in message for message in found)


def looks(ax):
    """What tells the lines apart in black and white."""
    return [(str(line._unscaled_dash_pattern), line.get_marker()) for line in ax.lines]


def names_in_legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@settings(max_examples=20)
@given(
    schedules=st.lists(strategies.schedules, min_size=1, max_size=8),
    num_steps=st.integers(1, 300) | st.integers(1, 2**62 - 1),
)
def test_draws_the_values_of_several(schedules, num_steps):
    try:
        ax = plot_schedules(schedules, num_steps)
        assert len(ax.lines) == len(schedules)
        for schedule, line in zip(schedules, ax.lines, strict=True):
            x, y = line.get_data()
            assert np.array_equal(y, schedule.values(x))
            assert (x[0], x[-1]) == (0, num_steps - 1)
        assert len(set(names_in_legend(ax))) == len(schedules)
        ax.figure.canvas.draw()
    finally:
        plt.close("all")


def test_several_are_told_apart_without_colour_where_they_run_together(figures):
    schedules = [clr.Triangular(1e-3, 6e-3, n + 5) for n in range(30)]
    ax = plot_schedules(schedules, 100)
    assert len(set(looks(ax))) == 30
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(set(widths), reverse=True)
    orders = [line.get_zorder() for line in ax.lines]
    assert orders == sorted(orders)
    for below, above in itertools.pairwise(ax.lines):
        assert below.get_color() != above.get_color()


def test_no_cycle_is_as_long_as_the_distance_of_the_points(figures):
    for half in (1, 2, 10, 25, 50, 100):
        _, ax = figures.subplots()
        clr.Triangular(1e-3, 6e-3, half).plot(100 * 50_000, ax=ax)
        y = ax.lines[0].get_ydata()
        low, middle, high = np.quantile(y, [0.1, 0.5, 0.9])
        # Those of a uniform distribution between the bounds; half=1 has nothing in between.
        if half > 2:
            assert [low, middle, high] == pytest.approx([1.5e-3, 3.5e-3, 5.5e-3], abs=1.3e-3)
        else:
            assert (low, high) == pytest.approx((1e-3, 6e-3))


def references(ax):
    """The names of the lines that mark bounds, with their rates."""
    marked = {lines.get_segments()[0][0][1] for lines in ax.collections}
    named = {text.get_text(): text.xy[1] for text in ax.texts}
    assert set(named.values()) == marked
    return named


def test_bounds_that_all_share_are_marked(figures):
    ax = plot_schedules(POLICIES, 12_000)
    assert references(ax) == {"base_lr": 0.001, "max_lr": 0.006}
    assert names_in_legend(ax) == ["triangular", "triangular2", "exp_range, gamma = 0.9998"]
    low, high = ax.get_ylim()
    assert low < 0.001 < 0.006 < high
    ax = POLICIES[2].plot(12_000)
    assert references(ax) == {"base_lr": 0.001, "max_lr": 0.006}
    assert ax.get_ylim()[1] > 0.006
    assert ax.get_legend() is None


def test_bounds_that_differ_are_in_the_legend(figures):
    other = clr.Triangular2(0.002, 0.006, 3000)
    ax = plot_schedules([*POLICIES[:2], other], 12_000)
    assert references(ax) == {"max_lr": 0.006}
    assert names_in_legend(ax) == [
        "triangular, base_lr 0.001",
        "triangular2, base_lr 0.001",
        "Triangular2, base_lr 0.002",
    ]
    other = clr.Triangular2(0.002, 0.1, 3000)
    ax = plot_schedules([*POLICIES[:1], other], 12_000)
    assert not references(ax)
    assert names_in_legend(ax) == ["triangular, 0.001 to 0.006", "Triangular2, 0.002 to 0.1"]


def test_schedules_without_a_base_lr(figures):
    one = clr.OneCycle(0.006, 12_000)
    assert references(one.plot(12_000)) == {"max_lr": 0.006}
    ax = plot_schedules([one, POLICIES[0]], 12_000)
    assert references(ax) == {"max_lr": 0.006}
    assert names_in_legend(ax) == ["OneCycle", "triangular, base_lr 0.001"]


def test_bounds_that_are_one(figures):
    assert references(clr.Triangular(0.1, 0.1, 5).plot(20)) == {"base_lr = max_lr": 0.1}


def test_equal_names_are_told_apart(figures):
    fast, slow = clr.Triangular(1e-3, 6e-3, 100), clr.Triangular(1e-3, 6e-3, 200)
    ax = plot_schedules((fast, slow, slow, POLICIES[1]), 800)  # any iterable
    assert [" ".join(name.split()) for name in names_in_legend(ax)] == [
        repr(fast),
        f"{slow!r} (1)",
        f"{slow!r} (2)",
        "triangular2",
    ]


def test_momentum_is_not_called_a_rate(figures):
    rate = clr.OneCycle(0.1, 100)
    assert rate.momentum().plot(100).get_ylabel() == "momentum"
    assert plot_schedules([rate, rate.momentum()], 100).get_ylabel() == "learning rate or momentum"


@pytest.mark.parametrize("count", [1, 12, 40])
def test_the_legend_of_many_schedules_leaves_the_curves_their_room(figures, count):
    ax = plot_schedules([clr.Triangular(1e-3, 6e-3, 5 + i) for i in range(count)], 100)
    ax.figure.canvas.draw()
    assert ax.get_window_extent().height / ax.figure.dpi > 1.8
    assert ax.get_legend().get_window_extent().y0 >= 0


def test_names_are_written_as_they_are(figures):
    strange = clr.Triangular(1e-3, 6e-3, 5, name=r"from $5 to $6 \frac{")
    ax = strange.plot(20)
    plot_schedules([strange], 20).figure.canvas.draw()
    ax.figure.canvas.draw()
    assert ax.get_title() == strange.name


def logged(*trainings, **losses):
    """A logger of trainings, each of the iterations of its epochs; losses of all the epochs."""
    logger = clr.LearningRateLogger()
    history = logger.history
    for epochs in trainings:
        for number, iterations in enumerate(epochs):
            history["iteration"] += iterations
            history["learning_rate"] += POLICIES[1].values(np.multiply(iterations, 50)).tolist()
            logger.epochs.append({"epoch": number, "iteration": iterations[-1] + 1})
            logger._ends.append(len(history["iteration"]))
    for key, values in losses.items():
        for epoch, value in zip(logger.epochs, values, strict=True):
            if value is not None:
                epoch[key] = value
    return logger


def epochs_of(steps, number, start=0):
    return [range(start + i * steps, start + (i + 1) * steps) for i in range(number)]


def rate_line(ax):
    """The one line that is not of the losses, which are on the returned axes."""
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
    model.fit(
        x,
        y,
        batch_size=small_training.BATCH,
        epochs=4,
        validation_data=(x, y),
        validation_freq=2,
        verbose=0,
        callbacks=[logger],
    )
    ax = plot_history(logger)
    ax.figure.canvas.draw()
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
    assert (
        len({(line.get_linestyle(), line.get_marker()) for line in (*ax.lines, *twin.lines)}) == 3
    )
    assert ax.get_zorder() > twin.get_zorder()
    assert not ax.patch.get_visible()
    assert twin.patch.get_visible()
    assert ax.get_yscale() == "linear"


def test_history_of_the_posts_callback(figures):
    model = small_training.make(keras, 0.01)
    cyclical = clr.CyclicalLR(1e-3, 6e-3, stepsize=15)
    x, y = small_training.arrays()
    model.fit(x, y, batch_size=small_training.BATCH, verbose=0)
    model.fit(x, y, batch_size=small_training.BATCH, epochs=2, verbose=0, callbacks=[cyclical])
    ax = plot_history(cyclical)
    assert points(rate_line(ax)) == (list(range(20, 60)), cyclical.history["lr"])
    assert points(ax.lines[0])[0] == [40, 60]


def test_history_of_a_training_that_failed_in_its_first_epoch(figures):
    logger = clr.LearningRateLogger()
    x, y = small_training.arrays()
    fail = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: 1 // (7 - batch))
    for steps, callbacks, raised in (
        (20, [logger, fail], pytest.raises(ZeroDivisionError)),
        (5, [logger], contextlib.nullcontext()),
    ):
        model = small_training.make(keras, clr.Triangular2(1e-3, 6e-3, step_size=15))
        samples = steps * small_training.BATCH
        with raised:
            model.fit(
                x[:samples],
                y[:samples],
                batch_size=small_training.BATCH,
                verbose=0,
                callbacks=callbacks,
            )
    ax = plot_history(logger)
    assert points(rate_line(ax))[0] == list(range(13))
    assert points(ax.lines[0])[0] == [13]


def test_history_of_no_training():
    with pytest.raises(ValueError, match="`logger` must be one that has logged a training"):
        plot_history(clr.LearningRateLogger())
    assert not plt.get_fignums()


@pytest.mark.parametrize("logger", [None, {"iteration": [0]}, keras.callbacks.History()])
def test_history_of_what_is_no_logger(logger):
    with pytest.raises(TypeError, match=r"`logger` must be a LearningRateLogger .*logger=."):
        plot_history(logger)


def test_history_without_losses(figures):
    logger = logged([range(30)])
    ax = plot_history(logger)
    ax.figure.canvas.draw()
    assert ax.figure.axes == [ax]
    assert ax.get_ylabel() == "learning rate"
    assert points(rate_line(ax)) == tuple(map(list, logger.history.values()))


@pytest.mark.parametrize("loss", [1.0, None, np.nan])
def test_history_of_one_step(figures, loss):
    ax = plot_history(logged([[7]], loss=[loss]))
    ax.figure.canvas.draw()
    assert ax.get_title() == "Training of 1 step"
    assert rate_line(ax).get_marker() == "o"
    assert points(rate_line(ax))[0] == [7]
    low, high = ax.get_xlim()
    assert low <= 7 < 8 <= high


def test_history_of_trainings_one_after_another(figures):
    # Of three optimizers, the second of which began within the first one's steps, then at 5.
    logger = logged(epochs_of(10, 2), epochs_of(10, 2), epochs_of(4, 2, start=5), loss=FALLING)
    ax = plot_history(logger)
    ax.figure.canvas.draw()
    assert ax.get_xlabel() == "step"
    assert points(rate_line(ax)) == (list(range(48)), logger.history["learning_rate"])
    assert np.flatnonzero(np.isnan(rate_line(ax).get_xdata())).tolist() == [20, 41]
    assert points(ax.lines[0]) == ([10, 20, 30, 40, 44, 48], FALLING)
    assert np.flatnonzero(np.isnan(ax.lines[0].get_xdata())).tolist() == [2, 5]
    (new,) = ax.collections
    assert [segment[0][0] for segment in new.get_segments()] == [20, 40]
    assert names_in_legend(ax) == ["loss", "learning rate", "new optimizer"]


@given(trainings=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5))
@settings(max_examples=30)
def test_history_has_every_epoch_in_its_training(trainings):
    logger = logged(*(epochs_of(*shape) for shape in trainings))
    for i, epoch in enumerate(logger.epochs):
        epoch["loss"] = float(i)
    try:
        ax = plot_history(logger)
        lengths = [steps for steps, number in trainings for _ in range(number)]
        assert points(ax.lines[0])[0] == np.cumsum(lengths).tolist()
        assert points(rate_line(ax))[0] == list(range(sum(lengths)))
    finally:
        plt.close("all")


def test_history_has_a_gap_where_nothing_was_logged(figures):
    logger = logged([range(10), range(30, 40)], loss=[2.0, 1.0])
    ax = plot_history(logger)
    assert ax.get_xlabel() == "iteration"
    x = rate_line(ax).get_xdata()
    assert np.isnan(x[10])
    assert points(rate_line(ax))[0] == logger.history["iteration"]
    assert points(ax.lines[0])[0] == [10, 40]
    assert not ax.collections


def test_history_marks_losses_that_are_no_numbers(figures):
    losses = [2.0, np.inf, 1.2, np.nan, -np.inf, 1e308]
    logger = logged(epochs_of(10, 6), loss=losses, val_loss=FALLING)
    ax = plot_history(logger)
    ax.figure.canvas.draw()
    assert names_in_legend(ax)[:3] == ["loss", "loss inf or NaN", "validation loss"]
    line, crosses, _ = ax.lines
    assert np.array_equal(line.get_ydata(), [2.0, *[np.nan], 1.2, *[np.nan] * 3], equal_nan=True)
    assert crosses.get_xdata().tolist() == [20, 40, 50, 60]
    assert set(crosses.get_ydata()) == {1.0}
    assert ax.get_ylim()[1] < 3


def test_history_of_losses_over_decades(figures):
    ax = plot_history(logged(epochs_of(10, 6), loss=[2.0, 0.3, 0.05, 0.01, 0.008, 0.007]))
    assert ax.get_yscale() == "log"
    ax = plot_history(logged(epochs_of(10, 6), loss=[2.0, 0.3, 0.05, 0.01, 0.008, -1]))
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
    ax = plot_history(logged(epochs_of(10, 6), loss=losses, val_loss=FALLING[::-1]))
    ax.figure.canvas.draw()
    assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()


def test_history_of_a_million_steps(figures):
    logger = logged(epochs_of(1000, 1000), loss=np.geomspace(2, 0.5, 1000))
    ax = plot_history(logger)
    ax.figure.canvas.draw()
    x, y = points(rate_line(ax))
    assert 10_000 < len(x) < 100_000
    assert (x[0], x[-1]) == (0, 999_999)
    assert np.array_equal(y, np.array(logger.history["learning_rate"])[np.int64(x)])
    assert len(ax.lines[0].get_xdata()) == 1000
    shown = 1000 / ax.lines[0].get_markevery()
    assert 10 < shown < 60


STRANGE = logged(
    epochs_of(20, 6), epochs_of(20, 4), loss=[*FALLING, np.nan, *FALLING[:3]], val_loss=[1.0] * 10
)
PICTURES = {
    "a schedule": lambda ax: POLICIES[2].plot(12_001, ax),
    "a schedule of a step": lambda ax: POLICIES[0].plot(1, ax),
    "many steps": lambda ax: POLICIES[0].plot(123_456_789, ax),
    "schedules": lambda ax: plot_schedules(POLICIES, 12_001, ax),
    "other bounds": lambda ax: plot_schedules(
        [POLICIES[0], clr.Triangular(1e-4, 0.1, 999)], 12_001, ax
    ),
    "a history": lambda ax: plot_history(logged(epochs_of(20, 6), loss=FALLING), ax),
    "a history of decades": lambda ax: plot_history(
        logged(epochs_of(20, 6), loss=[1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]), ax
    ),
    "two trainings": lambda ax: plot_history(STRANGE, ax),
    "no losses": lambda ax: plot_history(logged([range(30)]), ax),
    "a range test": lambda ax: curve(BLOWS_UP, ACCURACY).plot(ax),
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
        if ax.get_legend():
            yield from ax.get_legend().get_texts()


@pytest.mark.parametrize("size", [(2, 1.5), (2.6, 2.6), (3.5, 2.5), (7, 3.5)])
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_over_another(figures, name, size):
    figure, ax = figures.subplots(figsize=size, layout="constrained")
    PICTURES[name](ax)
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
    assert ax.bbox.height > 0.15 * figure.bbox.height


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
        figure, ax = figures.subplots()
        PICTURES[name](ax)
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
