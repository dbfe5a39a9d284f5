"""The comparison on CIFAR-10: its whole path on a few small images, and what it says."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import BACKEND, LEGACY

if LEGACY:
    pytest.skip("the comparison on CIFAR-10 is of Keras 3", allow_module_level=True)

import keras

import clr_schedules as clr
from benchmarks.cifar10 import __main__ as command
from benchmarks.cifar10 import plan, progress, report, runs, statistics, training, workers
from benchmarks.cifar10.data import CLASSES, Data, Source
from benchmarks.cifar10.plan import Run, Scale

SCALE = Scale("CIFAR-10 (JPEG)", 30, Fraction(1, 3), 500)


def image(path, size=(32, 32), level=0.0):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).normal(level, 40.0, (*size, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def make_folder(folder, train=3, test=1, classes=CLASSES):
    for part, count in (("train", train), ("test", test)):
        for index, name in enumerate(classes):
            for i in range(count):
                # One class is brighter than the other, so that there is something to learn.
                image(folder / part / name / f"{i:04}.png", level=25.0 * index)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "cifar10")


def arguments_of(folder, results, *arguments):
    return [
        *("--data", str(folder), "--batch-size", "10", "--results", str(results)),
        *("--work", str(results.with_suffix(".work")), *arguments),
    ]


def wait_until(condition):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def group_is_gone(process):
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def read(results):
    """The results, without what differs from time to time."""
    found = {path.name: json.loads(path.read_text()) for path in results.glob("*.json")}
    for result in found.values():
        del result["seconds"], result["date"]
    return found


# The whole path -----------------------------------------------------------------------------------


def test_stopped_and_resumed_it_finds_what_it_finds_undisturbed(
    folder, tmp_path, monkeypatch, capfd
):
    def arguments(results):
        return arguments_of(
            *(folder, results, "--arms", "constant", "constant_best", "triangular"),
            *("--seeds", "3", "--epochs", "6", "--budget", "1/3", "--checkpoint-seconds", "0"),
        )

    def stop(self, told):
        if told.run.arm == "constant" and told.epochs == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Display, "told", stop)
        assert command.main(arguments(tmp_path / "b")) == 130
    assert "Stopped. The same command goes on" in capfd.readouterr().err
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("*.json")}
    assert len(times) == 1  # of the range test

    # What no training comes to: it is found in the result only if the checkpoint was taken up.
    (checkpoint,) = (tmp_path / "b.work").glob("*_constant_seed-3.npz")
    with np.load(checkpoint) as file:
        arrays = dict(file)
    kept = json.loads(str(arrays["kept"]))
    assert len(kept["history"]["train_loss"]) == 2
    first, kept["history"]["train_loss"][0] = kept["history"]["train_loss"][0], 123.0
    with checkpoint.open("wb") as file:
        np.savez(file, **arrays | {"kept": json.dumps(kept)})

    assert command.main(arguments(tmp_path / "b")) == 0
    output = capfd.readouterr()
    assert command.main(arguments(tmp_path / "a")) == 0
    assert not list((tmp_path / "b.work").glob("*.npz"))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    found, expected = read(tmp_path / "b"), read(tmp_path / "a")
    assert found.keys() == expected.keys()
    assert len(expected) == 3
    (name,) = (name for name in expected if "_constant_seed" in name)
    assert found[name]["train_loss"][0] == 123.0
    found[name]["train_loss"][0] = first
    for name, result in expected.items():
        for key, value in result.items():
            if key in ("train_loss", "test_loss"):
                np.testing.assert_allclose(found[name][key], value, rtol=1e-4)
            elif key != "curve":
                assert found[name][key] == value
    # Its range test is too short to say a rate.
    assert "constant_best_seed-3: skipped, no range test tells its rate" in output.err
    assert output.out.strip().endswith(str(tmp_path / "b" / report.NAME))
    constant = expected[next(name for name in expected if "_constant_seed" in name)]
    assert len(constant["test_accuracy"]) == 6
    assert constant["steps"] == 18
    text = (tmp_path / "b" / report.NAME).read_text()
    assert "CIFAR-10, 6 epochs, budget 1/3, batches of 10" in text
    for name in ("constant", "triangular"):
        assert f"| `{name}` |" in text
    assert "No run yet of `constant_best`" in text
    assert "with 1 seed no interval is possible" in text
    assert len(list((tmp_path / "b").glob("*.png"))) == 2


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a group of processes as POSIX does")
def test_no_worker_outlives_what_is_killed(folder, tmp_path):
    results = tmp_path / "r"
    # Enough epochs that the end does not come soon after the first checkpoint.
    arguments = arguments_of(
        *(folder, results, "--arms", "constant", "--seeds", "3-4", "--no-range-test"),
        *("--epochs", "60", "--checkpoint-seconds", "0", "--jobs", "2"),
    )
    killed = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.cifar10", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    work = results.with_suffix(".work")
    wait_until(lambda: list(work.glob("*.npz")) or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: group_is_gone(killed))
    assert not read(results)
    scale = Scale("CIFAR-10", 60, Fraction(1, 3), 3, 10)
    # What it was killed at has left no checkpoint by half.
    assert any(runs.epochs_done(work, Run(scale, "constant", seed)) for seed in (3, 4))


class _Ends:
    """What ends the process that is sent it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_ends_early_is_told_without_a_traceback(tmp_path):
    settings = workers.Settings(_Ends(), tmp_path, 30.0, None)
    images = np.zeros((1000, 32, 32, 3), np.uint8)  # more than a pipe holds
    data = Data(images, np.zeros(1000), images, np.zeros(1000))
    with pytest.raises(workers.RunError, match=r"constant_seed-0 ended with exit code 3; the same"):
        workers.work_through([Run(SCALE, "constant", 0)], data, settings, 2, lambda told: None)


def write_range_test(folder, scale, max_lr):
    result = {
        **{"benchmark": "cifar10", "version": runs.VERSION, "arm": "range_test", "seed": 0},
        **{"data": scale.data, "epochs": scale.epochs, "budget": str(scale.budget)},
        **{"steps_per_epoch": scale.steps_per_epoch, "batch_size": scale.batch_size},
        **{"train_images": 30, "test_images": 10},
        **{"min_lr": 0.001, "max_lr": 0.02, "steps": 90, "stop_reason": "completed"},
        "suggestion": {
            **dict.fromkeys(("base_lr", "steepest", "valley", "minimum")),
            "max_lr": max_lr,
            "reasons": {"base_lr": "the accuracy rises from the first step on"},
        },
        "curve": {
            "learning_rate": np.linspace(0.001, 0.02, 30).tolist(),
            "loss": [2.3] * 29 + [None],
            "accuracy": np.linspace(0.1, 0.6, 30).tolist(),
        },
        **{"seconds": 60.0, "date": "2026-01-01T00:00:00+00:00"},
        "environment": {
            **{"device": "a device", "system": "a system", "precision": "float32"},
            "versions": {"python": "3"},
        },
    }
    runs.write(Run(scale, "range_test", 0).path(folder), result)


def test_the_best_constant_rate_is_half_of_what_the_range_test_suggests(folder, tmp_path, capsys):
    scale = Scale("tiny", 1, Fraction(1), 3, 10)
    write_range_test(tmp_path, scale, 0.0061)
    arguments = ["--data", str(folder), "--results", str(tmp_path), "--batch-size", "10"]
    arguments += ["--label", "tiny", "--work", str(tmp_path / "work")]
    arguments += ["--arms", "constant_best", "--epochs", "1", "--budget", "1", "--seeds", "1"]
    assert command.main(arguments) == 0
    result = runs.read(Run(scale, "constant_best", 1).path(tmp_path))
    assert result["rates"] == [0.00305]
    assert result["learning_rate"] == "0.00305"
    text = (tmp_path / report.NAME).read_text()
    assert "| suggested | none | 0.0061 | 0.00305 |" in text
    assert len(result["test_accuracy"]) == 1
    assert (10 * result["test_accuracy"][0]).is_integer()  # of ten images
    assert "- No `base_lr`: the accuracy rises" in text

    # There is nothing left to do, which is said; and other data must not pass for these.
    before = Run(scale, "constant_best", 1).path(tmp_path).stat().st_mtime_ns
    capsys.readouterr()
    assert command.main(arguments) == 0
    assert f"All 2 runs are finished, in {tmp_path}; with another --" in capsys.readouterr().out
    assert Run(scale, "constant_best", 1).path(tmp_path).stat().st_mtime_ns == before
    arguments[arguments.index("tiny")] = "Tiny!"
    assert "Received: Tiny!, where tiny_1-epochs_budget-1-1" in fails(capsys, *arguments)
    arguments[arguments.index("Tiny!")] = "tiny"
    arguments[1] = str(make_folder(tmp_path / "other", 3, 2))
    assert "30 and 20 images, where tiny_1-epochs_budget-1-1" in fails(capsys, *arguments)


# The training -------------------------------------------------------------------------------------


def small_data(images=60):
    random = np.random.default_rng(0)

    def of(count):
        labels = np.arange(count, dtype=np.int32) % 10
        noise = random.normal(25.0 * labels[:, None, None, None], 40.0, (count, 32, 32, 3))
        return np.clip(noise, 0, 255).astype(np.uint8), labels

    return Data(*of(images), *of(20))


def test_an_epoch_is_what_keras_does():
    data = small_data()
    rate = clr.Triangular(1e-3, 5e-3, step_size=3)
    mine = training.training(rate, data, seed=1)
    begin = mine.state()
    orders = [training.batches(1, epoch, 60, 10)[:4] for epoch in range(2)]
    scores = [mine.epoch(order) for order in orders]

    keras.utils.set_random_seed(1)
    model = training.network()
    adam = keras.optimizers.Adam(rate)
    model.compile(adam, training.loss(), metrics=["accuracy"], jit_compile=False)
    for ours, theirs in zip(begin, model.weights, strict=False):
        np.testing.assert_array_equal(ours, keras.ops.convert_to_numpy(theirs))
    for order, score in zip(orders, scores, strict=True):
        losses = []
        for batch in order:
            model.reset_metrics()
            losses.append(model.train_on_batch(data.x_train[batch], data.y_train[batch])[0])
        loss, accuracy = model.evaluate(data.x_test, data.y_test, batch_size=20, verbose=0)
        np.testing.assert_allclose(score, (np.mean(losses), loss, accuracy), rtol=2e-4)
    for ours, theirs in zip(mine.state(), model.weights, strict=False):
        np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(theirs), rtol=0, atol=2e-4)


def test_a_training_goes_on_from_its_state():
    data = small_data()
    first, again = (training.training(1e-3, data, seed) for seed in (0, 5))
    orders = [training.batches(0, epoch, 60, 10) for epoch in range(3)]
    first.epoch(orders[0])
    state = first.state()
    again.restore(state)
    for order in orders[1:]:
        expected = first.epoch(order)
        np.testing.assert_allclose(again.epoch(order), expected, rtol=1e-5)
    assert float(first.optimizer.learning_rate) == pytest.approx(1e-3)


@pytest.mark.skipif(BACKEND != "jax", reason=f"about JAX; the backend is {BACKEND}")
def test_an_epoch_is_one_call_and_constant_rates_share_its_program():
    data = small_data()
    one, other = training.training(1e-3, data, 0), training.training(2e-3, data, 1)
    order = training.batches(0, 0, 60, 10)
    text = one._program.lower(one._state, order, *one.data).as_text()
    assert text.count("stablehlo.while") >= 2  # one over the batches, one over the test
    one.epoch(order)
    other.epoch(order)
    one.epoch(order)
    assert one._program is other._program
    assert one._program._cache_size() == 1


def test_batches_are_of_the_seed_and_leave_no_image_out_for_ever():
    order = training.batches(0, 0, 60, 10)
    assert order.shape == (6, 10)
    assert sorted(order.ravel()) == list(range(60))
    np.testing.assert_array_equal(order, training.batches(0, 0, 60, 10))
    assert (order != training.batches(0, 1, 60, 10)).any()
    assert (order != training.batches(1, 0, 60, 10)).any()
    assert training.batches(0, 0, 65, 10).shape == (6, 10)


# The plan -----------------------------------------------------------------------------------------


def test_the_arms_at_the_posts_scale_are_the_posts():
    full = dataclasses.replace(SCALE, epochs=150)
    run = Run(full, "triangular", 0)
    assert run.learning_rate() == clr.Triangular(0.001, 0.005, step_size=2500)
    assert run.epochs == 50
    assert Run(full, "constant", 0).epochs == 150
    assert Run(full, "constant", 0).learning_rate() == 0.001
    assert Run(full, "exp_range", 0).learning_rate().gamma == pytest.approx(0.99994, rel=1e-12)
    assert full.range_test_steps == 75_000


def test_at_another_scale_there_are_as_many_cycles():
    full = dataclasses.replace(SCALE, epochs=150)
    for arm in plan.CYCLICAL:
        large, small = Run(full, arm, 0).learning_rate(), Run(SCALE, arm, 0).learning_rate()
        at = np.array([0, 1000, 1500, 2500, 4000])
        if arm == "one_cycle":
            assert (large.total_steps, small.total_steps) == (25_000, 5_000)
        else:
            np.testing.assert_allclose(large.values(5 * at), small.values(at), rtol=1e-9)


def test_plans_begin_with_the_range_test_and_go_seed_by_seed():
    arms = ["triangular", "constant_best", "constant"]
    found = [(run.arm, run.seed) for run in plan.runs(SCALE, arms, [0, 2, 0], range_test=True)]
    ordered = ["constant", "constant_best", "triangular"]
    assert found == [("range_test", 0), *((arm, seed) for seed in (0, 2) for arm in ordered)]


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["0-4"], [0, 1, 2, 3, 4]),
        (["0,2,5"], [0, 2, 5]),
        (["0", "1", "2"], [0, 1, 2]),
        (["0-1,", "7"], None),
        (["4-0"], None),
        (["x"], None),
        (["-1"], None),
    ],
)
def test_seeds(words, seeds):
    if seeds is None:
        with pytest.raises(ValueError, match=r"`seeds` must be such as 0-4.*Received"):
            command._seeds(words)
    else:
        assert command._seeds(words) == seeds


def test_the_plan_is_shown_and_nothing_done(folder, tmp_path, capsys):
    arguments = ["--data", str(folder), "--results", str(tmp_path / "r"), "--batch-size", "10"]
    arguments += ["--epochs", "6", "--seeds", "0-1", "--plan"]
    assert command.main(arguments) == 0
    output = capsys.readouterr().out
    assert "| constant | 0 | 18 | 0 of 6 epochs |" in output
    assert "| triangular | 1 | 6 | 0 of 2 epochs |" in output
    assert "| range_test | 0 | 18 | to do |" in output
    assert "138 steps to do" in output
    assert not (tmp_path / "r").exists()


# What can be wrong --------------------------------------------------------------------------------


def fails(capsys, *arguments):
    """The one line that a command which cannot be done leaves."""
    try:
        code = command.main(list(map(str, arguments)))
    except SystemExit as error:
        code = error.code
    assert code != 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("python -m benchmarks.cifar10: error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "constant", "square"], "invalid choice: 'square'"),
        (["--budget", "0"], "above 0 and at most 1. Received: 0"),
        (["--budget", "3/2"], "above 0 and at most 1. Received: 3/2"),
        (["--budget", "1/0"], "above 0 and at most 1. Received: 1/0"),
        (["--epochs", "0"], "at least 1. Received: 0"),
        (["--seeds", "3-1"], "Received: 3-1"),
        (["--data", "nowhere"], "Received: nowhere, which is no folder"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    assert words in fails(capsys, *arguments)


def test_bad_folders(tmp_path, capsys):
    whole = make_folder(tmp_path / "whole", 1, 1)
    assert "at least 100 train images" in fails(capsys, "--data", whole, "--results", tmp_path)

    odd = make_folder(tmp_path / "odd", 1, 1)
    image(odd / "train" / "frog" / "0007.png", size=(16, 24))
    line = fails(capsys, "--data", odd, "--batch-size", "5", "--results", tmp_path)
    assert "0007.png of 24 by 16" in line

    (odd / "train" / "frog" / "0007.png").write_text("no image")
    line = fails(capsys, "--data", odd, "--batch-size", "5", "--results", tmp_path)
    assert "Cannot read the image" in line

    few = make_folder(tmp_path / "few", 1, 1, classes=CLASSES[2:])
    assert "without images (jpg or png) of airplane, automobile" in fails(capsys, "--data", few)

    train = tmp_path / "train_only"
    (whole / "test").rename(tmp_path / "elsewhere")
    whole.rename(train)
    assert "train_only, without test" in fails(capsys, "--data", train)


def test_a_report_of_nothing(tmp_path, capsys):
    assert "no results yet" in fails(capsys, "--report", "--results", tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert "other.json" in fails(capsys, "--report", "--results", tmp_path)


def test_keras_without_a_network_is_told_what_else_there_is(tmp_path, monkeypatch, capsys):
    def offline():
        raise Exception("URL fetch failure on https://example.org: None -- no route")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", offline)
    line = fails(capsys, "--data", "keras", "--results", tmp_path, "--work", tmp_path)
    assert "give a folder with --data. Received: keras (URL fetch failure" in line


def test_only_jpeg_images_are_called_so(tmp_path):
    for index, (suffix, label) in enumerate(
        [("jpg", "CIFAR-10 (JPEG)"), ("JPEG", "CIFAR-10 (JPEG)"), ("png", "CIFAR-10")]
    ):
        for part in ("train", "test"):
            for name in CLASSES:
                file = tmp_path / str(index) / part / name / f"0.{suffix}"
                file.parent.mkdir(parents=True)
                file.touch()
        assert Source(str(tmp_path / str(index))).label == label


def test_images_are_read_as_they_are(folder):
    from PIL import Image

    source = Source(str(folder.parent))  # or the folder that holds it
    data = source.load()
    assert source.label == "CIFAR-10"
    assert (source.train, source.test) == (30, 10)
    assert data.x_train.dtype == np.uint8
    np.testing.assert_array_equal(data.y_train, np.repeat(np.arange(10), 3))
    expected = np.asarray(Image.open(folder / "train" / "bird" / "0001.png"))
    np.testing.assert_array_equal(data.x_train[7], expected)


# The statistics -----------------------------------------------------------------------------------


def test_differences_are_paired():
    found = statistics.paired({0: 1.0, 1: 5.0, 2: 9.0, 7: 0.0}, {0: 0.0, 1: 4.1, 2: 7.9, 3: 0.0})
    assert found.seeds == 3
    assert found.mean == pytest.approx(1.0)
    assert found.bootstrap == pytest.approx((0.9, 1.1))
    assert found.student == pytest.approx((1 - 0.248, 1 + 0.248), abs=1e-3)
    assert found.verdict == "better"


def test_it_takes_both_intervals_to_tell_two_apart():
    found = statistics.paired({0: 0.1, 1: 0.5, 2: 0.9}, dict.fromkeys(range(3), 0.0))
    assert found.bootstrap[0] > 0 > found.student[0]
    assert found.verdict == "level"
    found = statistics.paired(dict.fromkeys(range(3), 0.0), {0: 0.1, 1: 0.5, 2: 0.9})
    assert found.verdict == "level"


def test_few_seeds_have_no_interval():
    found = statistics.paired({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert (found.bootstrap, found.student, found.verdict) == (None, None, "open")
    assert statistics.paired({0: 1.0}, {1: 1.0}) is None


def test_steps_to_the_best_of_another():
    constant = {0: [0.1, 0.7, 0.6], 1: [0.1, 0.2, 0.5], 2: [0.9, 0.1, 0.1]}
    arm = {0: [0.7, 0.1], 1: [0.4, 0.6], 2: [0.8, 0.8], 3: [1.0, 1.0]}
    found = statistics.reached(arm, constant, 500)
    assert found.steps == (500, 1000, np.inf)
    assert found.times == 2
    assert found.median == 1000
    never = statistics.reached({0: [0.0]}, constant, 500)
    assert (never.times, never.median) == (0, np.inf)


# The report ---------------------------------------------------------------------------------------


def write_results(folder, scale, finals, *, seeds=3, backend="jax"):
    """Runs that end at these accuracies (of constant rates: also after the budget)."""
    random = np.random.default_rng(0)
    for arm, final in finals.items():
        for seed in range(seeds):
            run = Run(scale, arm, seed)
            at_budget, end = final if isinstance(final, tuple) else (final, final)
            curve = np.linspace(0.4, end - 0.01, run.epochs)
            curve[scale.cyclical_epochs - 1] = at_budget
            curve[-1] = end
            curve += 0.01 * seed + 1e-4 * random.random()
            result = {
                **{"benchmark": "cifar10", "version": runs.VERSION, "data": scale.data},
                **{"epochs": scale.epochs, "budget": str(scale.budget), "arm": arm, "seed": seed},
                **{"steps_per_epoch": scale.steps_per_epoch, "batch_size": scale.batch_size},
                **{"learning_rate": str(run.learning_rate(0.002)), "seconds": 60.0},
                **{"rates": [0.001] * run.epochs, "test_accuracy": curve.tolist()},
                **{"train_images": 50_000, "test_images": 10_000},
                "train_loss": np.linspace(2.0, 0.5, run.epochs).tolist(),
                "test_loss": [1.5, 1.0, *np.linspace(1.25, 2.5, run.epochs - 2)],
                "date": "2026-01-01T00:00:00+00:00",
                "environment": {
                    "backend": backend,
                    **{"device": "a device", "system": "a system", "precision": "float32"},
                    "versions": {"python": "3"},
                },
            }
            runs.write(run.path(folder), result)


def section_of(folder, finals, scale=SCALE, **options):
    write_results(folder, scale, finals, **options)
    (section,) = report.sections(runs.read_all(folder))
    return section


ALIKE = "not distinguishable from `constant` after 5,000 steps: the cycle need not be the reason."
STOPPED = "itself is better after as few steps than at its end: this network overfits, and stopping"


@pytest.mark.parametrize(
    ("constant", "best", "triangular", "words"),
    [
        (
            (0.60, 0.65),
            (0.60, 0.64),
            0.70,
            "as the post says, and than `constant` after 5,000 steps.",
        ),
        (
            (0.75, 0.65),
            (0.60, 0.64),
            0.70,
            "but worse than `constant` after 5,000 steps: the cycle",
        ),
        ((0.70, 0.65), (0.60, 0.64), 0.70, ALIKE),
        ((0.70, 0.65), (0.60, 0.64), 0.70, f"{STOPPED} early alone gives as much."),
        ((0.67, 0.65), (0.60, 0.64), 0.70, f"{STOPPED} early alone gives a part of that."),
        (
            (0.65, 0.65),
            (0.60, 0.64),
            0.70,
            "`constant` itself is no worse after as few steps than at its end.",
        ),
        ((0.60, 0.65), (0.60, 0.72), 0.70, "but worse than `constant_best` after 15,000 steps"),
        ((0.60, 0.65), (0.60, 0.64), 0.70, "3 seeds), a weak baseline"),
        ((0.60, 0.75), (0.60, 0.66), 0.70, '"better results faster" does not hold here'),
        ((0.60, 0.70), (0.60, 0.66), 0.70, '"better results faster" is not confirmed here'),
    ],
)
def test_the_verdict_follows_from_the_intervals(constant, best, triangular, words, tmp_path):
    finals = {"constant": constant, "constant_best": best, "triangular": triangular}
    section = section_of(tmp_path, finals)
    assert words in report.verdict(section)
    assert "early" not in report.verdict(section) or constant[0] > constant[1]


def test_the_verdict_tells_when_and_of_one_cycle(tmp_path):
    finals = {"constant": (0.69, 0.65), "triangular": 0.68, "one_cycle": 0.72}
    text = report.verdict(section_of(tmp_path, finals))
    assert "`one_cycle` is better than `constant` after 15,000 and 5,000 steps." in text
    assert (
        "`constant` is reached by `triangular` in 0 of 3 seeds and `one_cycle` in 3 of 3 seeds"
        in text
    )
    assert "test loss of `constant` rises from 1.00 at step 1,000 to 2.50 at its end" in text
    assert "its train loss falls from 1.95 to 0.50" in text


def test_at_the_whole_budget_nothing_is_faster(tmp_path):
    whole = dataclasses.replace(SCALE, budget=Fraction(1))
    for triangular, words in (
        (0.70, "`constant` after 15,000 steps, as the post says."),
        (0.60, '"better results" is not confirmed here: after 15,000 steps, `triangular` is not'),
        (0.50, '"better results" does not hold here'),
    ):
        section = section_of(tmp_path, {"constant": 0.6, "triangular": triangular}, whole)
        assert words in report.verdict(section)
        assert "faster" not in report.verdict(section)


def test_only_runs_of_one_backend_are_compared(tmp_path):
    write_results(tmp_path, SCALE, {"constant": 0.6})
    section = section_of(tmp_path, {"triangular": 0.7}, backend="torch")
    assert "no seed has `triangular` and `constant` both, on one backend" in report.verdict(section)
    assert "| `triangular` | `constant` |" not in report.markdown(section)
    section = section_of(tmp_path, {"constant": 0.6}, seeds=2, backend="torch")
    assert "| `triangular` | `constant` | 2 | +10.0" in report.markdown(section)


def test_accuracies_are_whole_numbers_of_images(tmp_path):
    path = Run(SCALE, "constant", 0).path(tmp_path)
    write_results(tmp_path, SCALE, {"constant": 0.6}, seeds=1)
    content = json.loads(path.read_text())
    content["test_accuracy"][:2] = 0.7088001, 0.7087999
    path.write_text(json.dumps(content))
    assert runs.read(path)["test_accuracy"][:2] == [0.7088, 0.7088]


def test_without_the_arms_or_the_seeds_there_is_no_verdict(tmp_path):
    write_results(tmp_path, SCALE, {"triangular": 0.7, "one_cycle": 0.7})
    (section,) = report.sections(runs.read_all(tmp_path))
    assert "there is no run of `constant` yet" in report.verdict(section)
    assert "No run yet of `constant`, `constant_best`, " in report.markdown(section)
    write_results(tmp_path, SCALE, {"constant": 0.6}, seeds=2)
    (section,) = report.sections(runs.read_all(tmp_path))
    assert "with 2 seeds no interval is possible" in report.verdict(section)
    assert "too few seeds" in report.markdown(section)


def test_a_report_of_mixed_results(tmp_path, capsys):
    full = dataclasses.replace(SCALE, epochs=150)
    other = dataclasses.replace(SCALE, data="CIFAR-10")
    whole = dataclasses.replace(SCALE, budget=Fraction(1))
    finals = dict.fromkeys(plan.CYCLICAL, 0.7) | dict.fromkeys(plan.CONSTANTS, (0.6, 0.65))
    write_results(tmp_path, full, finals, seeds=5)
    write_results(tmp_path, SCALE, {"constant": 0.6, "triangular": 0.5, "exp_range": 0.5})
    write_results(tmp_path, other, {"triangular2": 0.5}, seeds=1)
    write_results(tmp_path, whole, {"constant": 0.6, "triangular": 0.7})
    assert command.main(["--report", "--results", str(tmp_path)]) == 0
    text = (tmp_path / report.NAME).read_text()
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[0] == "## CIFAR-10 (JPEG), 150 epochs, budget 1/3"
    assert set(titles[1:]) == {
        "## CIFAR-10 (JPEG), 30 epochs, budget 1/3",
        "## CIFAR-10 (JPEG), 30 epochs, budget 1",
        "## CIFAR-10, 30 epochs, budget 1/3",
    }
    assert "| `constant`, first 50 epochs | 0.001 | 25,000 | 5 | 62.0" in text
    assert "| `triangular` | `constant`, first 50 epochs | 5 | +10.0" in text
    assert "| `constant`, first 50 epochs | `constant` | 5 | -5.0" in text
    assert "gamma=0.9997)" in text
    assert "nan" not in text
    # Every table tells of what it is.
    for heading in ("Accuracy after", "Differences,", "Steps to the best", "Range test"):
        for line in text.splitlines():
            if line.startswith(f"### {heading}"):
                assert "(CIFAR-10" in line
                assert "epochs, budget " in line
    assert len(list(tmp_path.glob("*.png"))) == 4
    before = {path: path.read_bytes() for path in tmp_path.glob("*.[mp]*")}
    assert command.main(["--report", "--results", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob("*.new"))
