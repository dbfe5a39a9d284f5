"""The curve and the suggestion as objects: what they show, copies, schedules, and their files."""

import contextlib
import copy
import errno
import json
import math
import os
import pickle
import shlex
import shutil
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from helpers.keras_under_test import LEGACY, keras
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr


@pytest.fixture
def result():
    """A curve with everything that a range test can record."""
    rates = np.geomspace(1e-7, 1, 40)
    losses = 1 / (1 + rates / 1e-4) + (rates / 0.1) ** 4
    return clr.RangeTestResult(
        learning_rates=rates,
        losses=np.append(losses[:-1], math.inf),
        smoothed_losses=losses,
        metrics={"accuracy": 1 - losses / 3},
        stop_reason="completed: reached the last learning rate, 1",
        validation_learning_rates=rates[9::10],
        validation_losses=losses[9::10],
        validation_metrics={"accuracy": np.append(losses[9:30:10], math.nan)},
    )


def test_repr(result):
    assert repr(result) == (
        "<RangeTestResult: 40 steps from 1e-07 to 1, validated at 4 rates; "
        "completed: reached the last learning rate, 1>"
    )


def test_accuracies_are_the_mean_over_outputs():
    zeros = np.zeros(2)
    metrics = {"a_accuracy": np.array([0.5, 1.0]), "b_acc": np.array([0.0, 0.5]), "mae": zeros}
    result = clr.RangeTestResult(zeros, zeros, zeros, metrics, "completed")
    np.testing.assert_array_equal(result.accuracies, [0.25, 0.75])
    assert clr.RangeTestResult(zeros, zeros, zeros, {}, "completed").accuracies is None


def test_an_accuracy_is_known_by_its_name():
    column = np.ones(2)
    accuracies = ("acc", "accuracy_1", "binary_accuracy", "Top5_Accuracy", "out_acc")
    others = (
        "acceleration_loss",
        "acc_loss",
        "accel",
        "loss",
        "acceleration_mae",
        "b_accuracy_mse",
    )
    metrics = dict.fromkeys((*accuracies, *others), column)
    for name, values in metrics.items():
        one = clr.RangeTestResult(column, column, column, {name: values}, "completed")
        assert (one.accuracies is not None) == (name in accuracies), name


@pytest.mark.skipif(LEGACY, reason="on tf_keras, the name of a metric decides")
def test_the_class_of_a_metric_says_whether_it_is_an_accuracy(tmp_path):
    """For outputs of confusing names, weighted or not, and in the file."""
    metrics = keras.metrics
    x, y = np.zeros((64, 2)), np.arange(64) % 2
    inputs = keras.Input((2,))
    outputs = [keras.layers.Dense(2, name=name)(inputs) for name in ("acceleration", "b")]
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(),
        ["mse", keras.losses.SparseCategoricalCrossentropy(from_logits=True)],
        metrics=[
            [metrics.MeanAbsoluteError(name="acc")],
            [metrics.SparseTopKCategoricalAccuracy(k=1, name="hits"), "accuracy"],
        ],
        weighted_metrics=[[], ["accuracy"]],
    )
    result = clr.lr_range_test(model, x, [np.zeros((64, 2)), y], num_steps=20, verbose=0)
    assert set(result.accuracy_names) == {"b_hits", "b_accuracy", "b_weighted_accuracy"}
    assert {"acceleration_acc", "acceleration_loss"} <= result.metrics.keys()
    result.save(tmp_path / "test.json")
    equal(clr.RangeTestResult.load(tmp_path / "test.json"), result)


def test_a_suggestion_prints_three_digits_and_a_reason_once():
    reasons = dict.fromkeys(("steepest", "valley", "minimum"), "It was flat. Go lower.")
    suggestion = clr.Suggestion(0.00123456, 0.0654321, None, None, None, reasons)
    assert (
        str(suggestion)
        == repr(suggestion)
        == (
            "Suggestion:\n"
            "  base_lr   0.00123\n"
            "  max_lr    0.0654\n"
            "  steepest  None\n"
            "  valley    None\n"
            "  minimum   None\n"
            "steepest, valley and minimum are None: It was flat. Go lower."
        )
    )


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


@contextlib.contextmanager
def files_of_100_bytes():
    """A context without output, which may go to a file: this process cannot write larger ones."""
    resource = pytest.importorskip("resource", reason="needs limits for a process")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_the_system_ends_leaves_the_old_file(result, tmp_path):
    path = tmp_path / "test.json"
    path.write_text("precious")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)), files_of_100_bytes():
        result.save(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
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
    reasons = {"max_lr": "It was still falling. Go higher.", "base_lr": "It was flat. Go lower."}
    suggestion = clr.Suggestion(None, None, None, None, None, reasons)
    with pytest.raises(
        ValueError, match=r"base_lr is None: It was flat\. Go lower\. max_lr is None"
    ):
        suggestion.schedule(clr.Triangular, step_size=9)
    for one_sided in (suggestion, clr.Suggestion(1e-3, None, None, None, None, reasons)):
        with pytest.raises(
            ValueError, match=r"takes\. max_lr is None: It was still .*\. Go higher\."
        ):
            one_sided.schedule(clr.OneCycle, total_steps=100)
    reasons = dict.fromkeys(("base_lr", "max_lr"), "The batches come in an order. Shuffle.")
    suggestion = clr.Suggestion(None, None, None, None, None, reasons)
    with pytest.raises(
        ValueError, match=r"takes\. base_lr and max_lr are None: The [^:]*: schedule\("
    ):
        suggestion.schedule(clr.Triangular, step_size=9)
