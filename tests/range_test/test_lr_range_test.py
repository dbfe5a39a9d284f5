"""The range test as an object: arguments, when it stops, what it shows, its files."""

import contextlib
import copy
import errno
import io
import json
import math
import os
import pickle
import re
import shlex
import shutil
import stat
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from helpers import model_zoo, other_process
from helpers.keras_under_test import keras
from helpers.model_zoo import BATCH, X, Y
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules.range_test.sweep import Sweep

GOOD = {"batch_size": BATCH, "num_steps": 40, "verbose": 0, "max_lr": 1.0}


@pytest.fixture(scope="module")
def model():
    return model_zoo.make(model_zoo.plain)


@pytest.fixture(scope="module")
def result(model):
    return clr.lr_range_test(model, X, Y, validation_data=(X, Y), **GOOD)


NOT_NUMBERS = [None, "0.1", True, 1j, [0.1], np.array([0.1])]
NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("min_lr", NOT_NUMBERS, TypeError),
        ("max_lr", NOT_NUMBERS, TypeError),
        ("min_lr", [*NOT_FINITE, 0, -1e-3, 1e-60], ValueError),
        ("max_lr", [*NOT_FINITE, 0, -1.0, 1e60], ValueError),
        ("max_lr", [1e-7, 1e-8], ValueError),  # at and below min_lr
        ("num_steps", ["40", True, 1j, [40]], TypeError),
        ("num_steps", [0, 1, -3, 2.5, math.nan, math.inf, 2**62], ValueError),
        ("batch_size", ["16", True, [16]], TypeError),
        ("batch_size", [0, -16, 2.5, math.nan], ValueError),
        ("growth", [None, 3, True], TypeError),
        ("growth", ["", "geometric", "Linear"], ValueError),
        ("stop_factor", NOT_NUMBERS, TypeError),
        ("stop_factor", [math.nan, -math.inf, 1, 0.5, -4], ValueError),
        ("smoothing", NOT_NUMBERS, TypeError),
        ("smoothing", [*NOT_FINITE, -0.1, 1, 1.5], ValueError),
        ("steps_per_execution", ["20", True, [20]], TypeError),
        ("steps_per_execution", [0, -1, 1.5, math.inf], ValueError),
        ("verbose", [None, "loud", 3, -1, 0.5, math.nan, [1]], ValueError),
    ],
)
def test_bad_arguments(model, name, values, error):
    before = [np.array(weight) for weight in model.get_weights()]
    for value in values:
        with pytest.raises(error, match=rf"`{name}` must be .*Received: {name}="):
            clr.lr_range_test(model, X, Y, **GOOD | {name: value})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("value", ["2", True, 0, -1, 1.5, math.nan])
def test_bad_epochs(model, value):
    error = TypeError if isinstance(value, (str, bool)) else ValueError
    with pytest.raises(error, match=r"`epochs` must be .*Received: epochs="):
        clr.lr_range_test(model, X, Y, **GOOD | {"num_steps": None, "epochs": value})


def test_steps_and_epochs_exclude_each_other(model):
    with pytest.raises(ValueError, match=r"Received: num_steps=40, epochs=2"):
        clr.lr_range_test(model, X, Y, epochs=2, **GOOD)


def test_one_epoch_of_one_batch_is_no_test(model):
    with pytest.raises(ValueError, match=r"`epochs` must be at least 2, .* Received: epochs=1"):
        clr.lr_range_test(model, X, Y, epochs=1, batch_size=len(X), verbose=0)


def test_no_data(model):
    with pytest.raises(ValueError, match="`x` must have at least one batch"):
        clr.lr_range_test(model, X[:0], Y[:0], **GOOD)


def test_validation_data_that_cannot_be_gone_through_again(model):
    for data in ((), (X, Y, None, None), model_zoo.generate()):
        with pytest.raises(ValueError, match="`validation_data` must be data that have an end"):
            clr.lr_range_test(model, X, Y, validation_data=data, **GOOD)


def test_unknown_lengths_need_a_number_of_steps(model):
    for arguments in ({}, {"epochs": 2}):
        with pytest.raises(ValueError, match=r"`num_steps` must be given for data of unknown"):
            clr.lr_range_test(model, model_zoo.generate(), verbose=0, **arguments)


def test_rates_as_any_kind_of_number(model):
    kinds = Fraction(1, 1000), np.float32(0.5), np.int64(1)
    for value in kinds:
        result = clr.lr_range_test(model, X, Y, **GOOD | {"max_lr": value})
        assert result.learning_rates[0] == 1e-7


def test_growth(model):
    steps = np.arange(40)
    result = clr.lr_range_test(model, X, Y, **GOOD, growth="linear", stop_factor=math.inf)
    expected = 1e-7 + (1 - 1e-7) * steps / 39
    np.testing.assert_allclose(result.learning_rates, expected, rtol=1e-14)
    assert result.growth == "linear"
    result = clr.lr_range_test(model, X, Y, **GOOD, stop_factor=math.inf)
    np.testing.assert_allclose(result.learning_rates, 1e-7 * 1e7 ** (steps / 39), rtol=1e-14)
    assert (result.learning_rates[[0, -1]] == [1e-7, 1]).all()


# When it stops.


def swept(losses, steps=1, **arguments):
    """A sweep over these losses, one after the other."""
    options = {"stop_factor": 4.0, "smoothing": 0.98} | arguments
    sweep = Sweep(np.geomspace(1e-7, 10, len(losses)), "float32", steps_per_call=steps, **options)
    for start in range(0, len(losses), steps):
        if sweep.remaining:
            sweep.add({"loss": losses[start : start + steps]})
    return sweep


losses = st.lists(st.floats(1e-3, 1e6) | st.just(math.nan) | st.just(math.inf), min_size=2)


@given(losses, st.floats(1.01, 10), st.floats(0, 0.99), st.integers(1, 7))
def test_it_stops_at_the_first_step_that_says_so(losses, factor, smoothing, steps):
    """By the definition, in a plain loop; however many steps a call takes."""
    average, best, stop = 0.0, math.inf, len(losses)
    for step, loss in enumerate(losses, start=1):
        average = smoothing * average + (1 - smoothing) * loss
        smoothed = average / (1 - smoothing**step)
        best = min(best, smoothed)
        if not math.isfinite(loss) or smoothed - best > (factor - 1) * best:
            stop = step
            break
    sweep = swept(losses, steps, stop_factor=factor, smoothing=smoothing)
    assert sweep.taken == stop
    np.testing.assert_array_equal(sweep.columns()["loss"], losses[:stop])
    assert sweep.stop_reason is not None
    assert sweep.remaining == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_the_last(bad):
    sweep = swept([1.0, 1.0, bad, 1.0], steps=4, stop_factor=math.inf)
    assert sweep.taken == 3
    rate = f"{sweep.rates[2]:.3g}"
    assert sweep.stop_reason == f"diverged: the loss was {bad:g} at a learning rate of {rate}"


def test_losses_below_zero_do_not_stop_a_descent():
    """A likelihood may fall from 3 to -5; four times -5 is no rise."""
    falling = np.linspace(3, -5, 200)
    assert swept(falling, smoothing=0.5).stop_reason.startswith("completed")
    rising = np.concatenate([falling, np.linspace(-5, 100, 50)])
    assert swept(rising, smoothing=0.5).stop_reason.startswith("diverged: the smoothed loss was 4")


def test_a_model_that_diverges_ends_the_test(model):
    arguments = GOOD | {"min_lr": 1e-2, "max_lr": 1e30, "num_steps": 400}
    result = clr.lr_range_test(model, X, Y, **arguments)
    assert result.stop_reason.startswith("diverged: ")
    assert 1 < len(result.losses) < 400
    columns = result.learning_rates, result.losses, result.smoothed_losses
    assert len({len(column) for column in (*columns, *result.metrics.values())}) == 1


# What it returns.


def test_smoothed_losses(result):
    average = 0.0
    for step, loss in enumerate(result.losses):
        average = 0.98 * average + 0.02 * loss
        smoothed = average / (1 - 0.98 ** (step + 1))
        np.testing.assert_allclose(result.smoothed_losses[step], smoothed, rtol=1e-12)


def test_repr(result):
    assert repr(result) == (
        "<RangeTestResult: 40 steps from 1e-07 to 1, validated at 30 rates; "
        "completed: reached the last learning rate, 1>"
    )


def test_accuracies_are_the_mean_over_outputs():
    zeros = np.zeros(2)
    metrics = {"a_accuracy": np.array([0.5, 1.0]), "b_acc": np.array([0.0, 0.5]), "mae": zeros}
    result = clr.RangeTestResult(zeros, zeros, zeros, metrics, "completed")
    np.testing.assert_array_equal(result.accuracies, [0.25, 0.75])
    assert clr.RangeTestResult(zeros, zeros, zeros, {}, "completed").accuracies is None


def equal(a, b):
    assert vars(a).keys() == vars(b).keys()
    for name, value in vars(a).items():
        other = vars(b)[name]
        if isinstance(value, dict):
            assert value.keys() == other.keys()
            for key in value:
                np.testing.assert_array_equal(value[key], other[key])
        elif isinstance(value, np.ndarray):
            assert value.dtype == other.dtype == np.float64
            np.testing.assert_array_equal(value, other)
        else:
            assert value == other


def test_save_and_load(result, tmp_path):
    path = tmp_path / "results" / "test.json"
    path.parent.mkdir()
    result.save(path)
    loaded = clr.RangeTestResult.load(str(path))
    equal(loaded, result)
    assert loaded.suggest() == result.suggest()
    assert list(path.parent.iterdir()) == [path]
    json.loads(path.read_text(), parse_constant=pytest.fail)  # JSON has no NaN


@st.composite
def results(draw):
    """Any numbers, of any number of steps, under any names."""
    steps = draw(st.integers(0, 5))
    numbers = st.lists(st.floats(), min_size=steps, max_size=steps)
    arrays = numbers.map(lambda column: np.array(column, np.float64))
    rates, losses, smoothed = (draw(arrays) for _ in range(3))
    metrics = draw(st.dictionaries(st.text(), arrays, max_size=2))
    return clr.RangeTestResult(rates, losses, smoothed, metrics, draw(st.text()))


@given(results())
def test_any_result_survives_the_file(tmp_path_factory, result):
    path = tmp_path_factory.mktemp("any") / "test.json"
    result.save(path)
    equal(clr.RangeTestResult.load(path), result)


def test_copies_and_pickles(result):
    for again in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        equal(again, result)
    suggestion = result.suggest()
    assert pickle.loads(pickle.dumps(suggestion)) == suggestion
    assert hash(suggestion) == hash(copy.copy(suggestion))


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[]", "3", "{}", '{"class": "Suggestion"}', '{"class": "RangeTestResult"}',
     '{"class": "RangeTestResult", "surprise": 1}'],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(
        ValueError, match=r"`path` must be a file that `RangeTestResult.save` wrote"
    ):
        clr.RangeTestResult.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("losses", [1.0]), ("losses", 1.0), ("metrics", {"accuracy": []}), ("metrics", 3),
     ("validation_losses", [1.0]), ("stop_reason", [1.0]), ("growth", None)],
)  # fmt: skip
def test_columns_of_different_lengths_are_refused(result, tmp_path, name, value):
    path = tmp_path / "test.json"
    clr.RangeTestResult(**vars(result) | {name: value}).save(path)
    with pytest.raises(ValueError, match=r"`path` must be a file that"):
        clr.RangeTestResult.load(path)


def test_a_truncated_file_is_refused(result, tmp_path):
    path = tmp_path / "test.json"
    result.save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"`path` must be a file that") as error:
            clr.RangeTestResult.load(path)
        assert str(path) in str(error.value)


def test_a_file_of_brackets_is_refused(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"`path` must be a file that"):
        clr.RangeTestResult.load(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits for a process")
def test_a_disk_that_is_full_leaves_the_old_file(result, tmp_path):
    """By the limit of a process on the size of its files: not everyone may mount a small disk."""
    path = tmp_path / "test.json"
    path.write_text("precious")
    code = """
import resource, signal
import clr_schedules as clr
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
column = np.linspace(0, 1, 40)
try:
    clr.RangeTestResult(column, column, column, {}, "").save(path)
except OSError as error:
    print(json.dumps(error.errno))
"""
    assert other_process.run(code, path=str(path)) == errno.EFBIG
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_small_disk_that_is_full_leaves_the_old_file(tmp_path):
    """On a disk in memory, in a process that sees it alone."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        pytest.skip("needs Linux's namespaces")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]
    alone = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*alone, *mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    code = """
import errno, os, sys
import clr_schedules as clr
import numpy as np
column = np.linspace(0, 1, 40)
result = clr.RangeTestResult(column, column, column, {}, "")
os.chdir(sys.argv[1])
result.save("test.json")
with open("test.json", "rb") as file: before = file.read()
try:
    with open("filler", "wb", buffering=0) as filler:
        while True: filler.write(bytes(512))
except OSError:
    pass
try:
    result.save("test.json")
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise AssertionError("there was room")
with open("test.json", "rb") as file: assert file.read() == before
assert sorted(os.listdir()) == ["filler", "test.json"], os.listdir()
"""
    python = [sys.executable, "-c", code, str(tmp_path)]
    both = f"{shlex.join(mount)} && exec {shlex.join(python)}"
    found = subprocess.run([*alone, "sh", "-c", both], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_a_link_is_written_through(result, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    result.save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    equal(clr.RangeTestResult.load(tmp_path / "target.json"), result)


def test_a_file_that_cannot_be_written_leaves_the_old_one(result, tmp_path):
    path = tmp_path / "test.json"
    path.write_text("precious")
    bad = clr.RangeTestResult(**vars(result) | {"stop_reason": object()})
    with pytest.raises(TypeError):
        bad.save(path)
    assert path.read_text() == "precious"
    with pytest.raises(FileNotFoundError):
        result.save(tmp_path / "missing" / "test.json")
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_usual_permissions(result, tmp_path):
    (tmp_path / "usual").write_text("")
    result.save(tmp_path / "test.json")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_to_csv(result, tmp_path):
    path = tmp_path / "test.csv"
    result.to_csv(path)
    header, *rows = path.read_text().splitlines()
    assert header == "step,learning_rate,loss,smoothed_loss,accuracy"
    table = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    columns = result.learning_rates, result.losses, result.smoothed_losses
    expected = np.stack([np.arange(40), *columns, result.metrics["accuracy"]], axis=1)
    np.testing.assert_array_equal(table, expected)
    assert list(tmp_path.iterdir()) == [path]


# What it suggests.


def test_a_schedule_between_the_bounds():
    suggestion = clr.Suggestion(1e-3, 6e-3, None, None, None)
    triangular = suggestion.schedule(clr.Triangular, step_size=2000)
    assert triangular == clr.Triangular(1e-3, 6e-3, 2000)
    assert suggestion.schedule(clr.ExpRange, step_size=20, gamma=0.9) == clr.ExpRange(
        1e-3, 6e-3, 20, gamma=0.9
    )
    with pytest.raises(ValueError, match=r"Received: step_size=0"):
        suggestion.schedule(clr.Triangular, step_size=0)


def test_a_schedule_gets_those_of_the_bounds_that_it_takes():
    reasons = {"base_lr": "the loss was already falling at the lowest rate, 1e-07"}
    suggestion = clr.Suggestion(None, 6e-3, None, None, None, reasons)
    one_cycle = suggestion.schedule(clr.OneCycle, total_steps=10_000)
    assert one_cycle == clr.OneCycle(6e-3, 10_000)
    restarts = suggestion.schedule(clr.CosineRestarts, first_cycle_steps=500, min_lr=1e-4)
    assert restarts == clr.CosineRestarts(6e-3, 500, min_lr=1e-4)
    with pytest.raises(ValueError, match=r"base_lr is None: the loss was already falling"):
        suggestion.schedule(clr.Triangular, step_size=20)
    # A bound of the user's own needs none from the curve.
    own = suggestion.schedule(clr.Triangular, step_size=20, base_lr=1e-4)
    assert own == clr.Triangular(1e-4, 6e-3, 20)
    with pytest.raises(TypeError, match=r"`kind` must take `base_lr` or `max_lr`"):
        suggestion.schedule(clr.Warmup, warmup_steps=3)


def test_a_function_of_any_names_gets_both_bounds():
    def make(step_size, **bounds):
        return bounds

    suggestion = clr.Suggestion(1e-3, 6e-3, None, None, None)
    assert suggestion.schedule(make, step_size=3) == {"base_lr": 1e-3, "max_lr": 6e-3}
    with pytest.raises(ValueError, match="base_lr is None"):
        clr.Suggestion(None, 6e-3, None, None, None).schedule(make, step_size=3)


def test_no_schedule_without_bounds():
    reasons = {"max_lr": "the loss was still falling at max_lr=10", "base_lr": "it was flat"}
    with pytest.raises(ValueError, match=r"base_lr is None: it was flat; max_lr .*still falling"):
        clr.Suggestion(None, None, None, None, None, reasons).schedule(clr.Triangular, step_size=9)
    with pytest.raises(ValueError, match=r"max_lr is None: the loss was still falling"):
        clr.Suggestion(1e-3, None, None, None, None, reasons).schedule(clr.Triangular, step_size=9)


@pytest.mark.parametrize("steps", [2, 3])
def test_few_steps_suggest_nothing(model, steps):
    suggestion = clr.lr_range_test(model, X, Y, **GOOD | {"num_steps": steps}).suggest()
    assert suggestion.base_lr is suggestion.max_lr is suggestion.steepest is None
    assert suggestion.reasons.keys() == {"base_lr", "max_lr", "steepest", "valley", "minimum"}
    with pytest.raises(ValueError, match=f"the test took only {steps} steps"):
        suggestion.schedule(clr.Triangular, step_size=20)


def test_a_frozen_model_suggests_nothing():
    """Nothing can be learned, so that the curve is flat."""
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(), loss=lambda y_true, y_pred: 0.0 * y_pred + 1.0)
    suggestion = clr.lr_range_test(model, X, Y, **GOOD | {"num_steps": 100}).suggest()
    assert suggestion.base_lr is suggestion.max_lr is None
    assert set(suggestion.reasons) == {"base_lr", "max_lr", "steepest", "valley", "minimum"}


def test_plot(result, figures):
    _, ax = figures.subplots()
    assert result.plot(ax) is ax
    assert ax.get_xscale() == "log"


# What it shows.


def shown(model, verbose, **arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        clr.lr_range_test(model, X, Y, **GOOD | arguments | {"verbose": verbose})
    return out.getvalue()


def test_progress(model):
    assert shown(model, 0) == ""
    for verbose in ("auto", 1, True):
        text = shown(model, verbose)
        assert text.endswith("\n")
        last = re.sub(r"\x1b\[[0-9;]*m", "", re.split(r"[\r\b]", text.rstrip())[-1])
        assert re.search(r"40/40 .* loss: \d.* accuracy: \d.* learning_rate: 1", last), last
    line = shown(model, 2)
    assert line.count("\n") == 1
    assert line.startswith("40/40 - ")


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_test_that_stops_early_says_where(model, verbose):
    text = shown(model, verbose, min_lr=1e-2, max_lr=1e30, num_steps=400)
    last = re.sub(r"\x1b\[[0-9;]*m", "", re.split(r"[\r\b]", text.rstrip())[-1])
    taken, planned = map(int, re.match(r"\s*(\d+)/(\d+)", last).groups())
    assert 1 < taken < 400
    assert planned == (400 if verbose == 1 else taken)
    assert text.endswith("\n")


def test_an_error_leaves_the_terminal_at_the_beginning_of_a_line(model):
    def fail(index):
        if index == 100:
            raise KeyError(index)

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(Exception, match="100"):
        clr.lr_range_test(model, model_zoo.generate(fail), num_steps=400, max_lr=1e-3)
    assert out.getvalue().endswith("\n")
    assert "/400" in out.getvalue()
