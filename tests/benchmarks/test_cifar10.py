"""The comparison on CIFAR-10: its whole path on a few small images, and what its report says."""

import dataclasses
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import LEGACY

if LEGACY:
    pytest.skip("the comparison on CIFAR-10 is of Keras 3", allow_module_level=True)

import keras

if "double_checkpoint" not in inspect.signature(keras.callbacks.BackupAndRestore).parameters:
    pytest.skip(f"Keras {keras.__version__} keeps no second checkpoint", allow_module_level=True)

import clr_schedules as clr
from benchmarks.cifar10 import __main__ as command
from benchmarks.cifar10 import data, plan, report, results, training, workers

SCALE = plan.Scale("CIFAR-10 (JPEG)", 50_000, 10_000, 30, Fraction(1, 3))
COMMITTED = ROOT / "benchmarks" / "results" / "cifar10"


def image(path, size=(32, 32), level=0.0):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).normal(level, 40.0, (*size, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 20), ("test", 2)):
        for index, name in enumerate(data.CLASSES):
            for i in range(count):
                # One class is brighter than the other, so that there is something to learn.
                image(folder / part / name / f"{i:04}.png", level=25.0 * index)
    return folder


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


# The whole path -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process as POSIX does")
def test_killed_and_continued_it_finds_what_it_finds_undisturbed(folder, tmp_path):
    slug = "cifar-10_30-epochs_budget-1-30_200-and-20-images"

    def start(name):
        arguments = ["--data", str(folder), "--arms", "constant", "triangular", "--seeds", "3-4"]
        arguments += ["--jobs", "2", "--epochs", "30", "--budget", "1/30"]
        arguments += ["--results", str(tmp_path / name), "--work", str(tmp_path / f"{name}-work")]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cifar10", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read(name):
        files = {
            file.name: json.loads(file.read_text()) for file in (tmp_path / name).glob("*.json")
        }
        for content in files.values():
            for run in content["runs"]:
                del run["seconds"], run["date"]
        return files

    whole, killed = start("whole"), start("killed")
    try:
        work = tmp_path / "killed-work"
        place = work / f"{slug}_constant_3"
        wait_until(lambda: len(results.scores(place)) > 2)
        killed.kill()
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        wait_until(lambda: group_is_gone(killed))  # no worker outlives it
        assert not any("constant" in name for name in read("killed"))
        # What no training comes to: it is found in the result only if the scores were taken up.
        scores = results.scores(place)
        first, scores[0]["train_loss"] = scores[0]["train_loss"], 123.0
        (place / "scores.json").write_text(json.dumps(scores))

        continued = start("killed")
        output, errors = continued.communicate(timeout=400)
        assert continued.returncode == 0, errors
        whole.communicate(timeout=400)
    finally:
        for process in (whole, killed):
            process.kill()
    assert not list(work.iterdir())
    assert "constant, seed 3: done" in errors
    found, expected = read("killed"), read("whole")
    taken_up = found[f"{slug}_constant.json"]["runs"][0]["train_loss"]
    assert taken_up[0] == 123.0
    taken_up[0] = first
    assert found.keys() == expected.keys()
    assert len(expected) == 3
    for name, content in expected.items():
        for run, other in zip(found[name]["runs"], content["runs"], strict=True):
            for losses in {"train_loss", "test_loss"} & run.keys():
                np.testing.assert_allclose(run.pop(losses), other.pop(losses), rtol=1e-4)
            assert (run.pop("curve", None) is None) == (other.pop("curve", None) is None)
        assert found[name] == content
    assert output.strip().endswith(str(tmp_path / "killed" / report.NAME))
    text = (tmp_path / "killed" / report.NAME).read_text()
    assert "## CIFAR-10, 30 epochs, budget 1/30, 200 and 20 images" in text
    assert "No verdict on the post's claim, which takes 3 seeds" in text
    assert "| `constant`, first 1 epochs | `0.001` | 2 | 2 |" in text
    assert "Not trained, or not to the end: `constant_best` with 3, `constant_best` with 4," in text
    assert len(list((tmp_path / "killed").glob("*.png"))) == 2


@pytest.mark.parametrize("damage", ["weights cut short", "epoch not written"])
def test_a_training_killed_while_it_writes_goes_on_aright(damage, folder, tmp_path):
    images = data.load(str(folder))
    scale = dataclasses.replace(SCALE, train_images=200, test_images=20, epochs=4)
    told = []

    def train(work, tell):
        return training.train(
            **{"scale": scale, "arm": "constant", "seed": 1, "best": None, "data": images},
            **{"work": work, "told": tell},
        )

    def stop(epochs):
        told.append(epochs)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "work", stop)
    backup = tmp_path / "work" / "backup"
    if damage == "weights cut short":
        weights = backup / "latest.weights.h5"
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        (backup / "training_metadata.json").write_text('{"epoch": 1, "batch": 0}')
    told.clear()
    found = train(tmp_path / "work", told.append)
    assert len(told) == (3 if damage == "weights cut short" else 2)
    expected = train(tmp_path / "whole", told.append)
    for name in training.SCORES:
        assert len(found[name]) == 4
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def range_test(max_lr):
    reasons = {"base_lr": "the accuracy rises from the first step on", "max_lr": "it never slows"}
    return {
        **{"seed": 0, "min_lr": 0.001, "max_lr": 0.02, "steps_taken": 30, "seconds": 60.0},
        **{"stop_reason": "completed", "date": "2026-01-01T00:00:00+00:00"},
        "suggestion": {"base_lr": None, "max_lr": max_lr, "reasons": reasons},
        "curve": {
            "learning_rate": np.linspace(0.001, 0.02, 30).tolist(),
            "loss": [2.3] * 29 + [None],
            "accuracy": np.linspace(0.1, 0.6, 30).tolist(),
        },
        "environment": ENVIRONMENT,
    }


ENVIRONMENT = {
    **{"backend": "jax", "loop": "`fit`", "device": "a device", "system": "a system"},
    **{"precision": "float32", "versions": {"python": "3"}},
}


def keep(folder, scale, arm, rate, run):
    results.add(folder, results.begun(folder, scale, arm, rate), run)


def test_the_best_constant_rate_is_half_of_what_the_range_test_suggests(folder, tmp_path, capfd):
    scale = plan.Scale("CIFAR-10", 200, 20, 1, Fraction(1, 3))
    arguments = ["--data", str(folder), "--arms", "constant_best", "--epochs", "1", "--seeds", "1"]

    def run(name, max_lr):
        keep(tmp_path / name, scale, plan.RANGE_TEST, plan.RANGE_TEST_BOUNDS, range_test(max_lr))
        places = ["--results", str(tmp_path / name), "--work", str(tmp_path / "work")]
        assert command.main([*arguments, *places]) == 0
        return (tmp_path / name / report.NAME).read_text(), capfd.readouterr().err

    text, _ = run("r", 0.0061)
    file = results.path(tmp_path / "r", scale, "constant_best")
    content = results.read(file)
    assert content["learning_rate"] == "0.00305"
    assert (20 * content["runs"][0]["test_accuracy"][0]).is_integer()
    assert "- `max_lr`: 0.0061; the post's is 0.005" in text
    assert "- `base_lr`: none, since the accuracy rises from" in text
    assert "- so the rate of `constant_best`: 0.00305" in text
    assert workers.todo(scale, ["constant_best"], [1, 2], tmp_path / "r") == [("constant_best", 2)]
    # What is there must be of the same settings.
    file.write_text(file.read_text().replace("0.00305", "0.004"))
    with pytest.raises(SystemExit):
        command.main([*arguments, "--results", str(tmp_path / "r")])
    assert "other settings must not be there. Received: " in capfd.readouterr().err

    text, errors = run("none", None)
    assert "constant_best, seed 1: skipped, the range test suggests no upper bound" in errors
    assert "- so the rate of `constant_best`: none" in text


# The plan -----------------------------------------------------------------------------------------


def test_the_arms_at_the_posts_scale_are_the_posts_and_keep_their_shape_at_others():
    full = dataclasses.replace(SCALE, epochs=150)
    assert full.learning_rate("triangular", None) == clr.Triangular(0.001, 0.005, step_size=2500)
    assert full.learning_rate("exp_range", None).gamma == pytest.approx(0.99994, rel=1e-12)
    assert full.learning_rate("one_cycle", None) == clr.OneCycle(0.005, total_steps=25_000)
    assert [full.learning_rate(arm, 0.002) for arm in plan.CONSTANTS] == [0.001, 0.002]
    assert [full.steps_of(arm) for arm in ("constant", plan.RANGE_TEST)] == [75_000, 75_000]
    at = np.array([0, 1000, 1500, 2500, 4000])
    for arm in ("triangular", "triangular2", "exp_range"):
        large, small = full.learning_rate(arm, None), SCALE.learning_rate(arm, None)
        np.testing.assert_allclose(large.values(5 * at), small.values(at), rtol=1e-9)


def test_plans_begin_with_the_range_test_and_go_seed_by_seed(tmp_path):
    arms = ["triangular", "constant_best", "constant"]
    ordered = ["constant", "constant_best", "triangular"]
    expected = [(plan.RANGE_TEST, 0), *((arm, seed) for seed in (0, 2) for arm in ordered)]
    assert workers.todo(SCALE, arms, [0, 2], tmp_path) == expected


def test_batches_are_of_the_seed_and_the_epoch_and_leave_no_image_out_for_ever(folder):
    images = data.load(str(folder))
    np.testing.assert_array_equal(images.y_train, np.repeat(np.arange(10), 20))
    batches, other = training.Batches(images, 0), training.Batches(images, 1)
    order = batches.order
    assert sorted(order.ravel()) == list(range(200))
    np.testing.assert_array_equal(batches[1][0], images.x_train[order[1]])
    np.testing.assert_array_equal(batches[1][1], images.y_train[order[1]])
    assert (order != other.order).any()
    batches.begin(1)
    assert (order != batches.order).any()
    batches.begin(0)
    np.testing.assert_array_equal(order, batches.order)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "constant", "square"], "invalid choice: 'square'"),
        (["--budget", "3/2"], "above 0 and at most 1. Received: 3/2"),
        (["--budget", "1/0"], "above 0 and at most 1. Received: 1/0"),
        (["--epochs", "0"], "at least 1. Received: 0"),
        (["--seeds", "3-1"], "such as 0-4 or 0,2,5. Received: 3-1"),
        (["--data", "nowhere"], "Received: no images (jpg or png) in nowhere/train/airplane"),
        (["--report", "--results", "nowhere"], "There are no results yet. Received: nowhere"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert words in capsys.readouterr().err


def test_images_must_be_images_of_32_by_32_pixels(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "odd")
    file = tmp_path / "odd" / "test" / "frog" / "0007.png"
    image(file, size=(16, 24))
    with pytest.raises(ValueError, match=r"32 by 32 pixels. Received: .*0007.png"):
        data.load(str(tmp_path / "odd"))
    file.write_text("no image")
    with pytest.raises(OSError, match=r"0007.png"):
        data.load(str(tmp_path / "odd"))


# The report ---------------------------------------------------------------------------------------


def test_the_committed_report_is_of_the_committed_results(tmp_path):
    for file in COMMITTED.glob("*.json"):
        shutil.copy(file, tmp_path)
    assert command.main(["--report", "--results", str(tmp_path)]) == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {file.name for file in COMMITTED.iterdir()}
    assert (tmp_path / report.NAME).read_text() == (COMMITTED / report.NAME).read_text()
    # Nothing of it would be trained again.
    assert workers.todo(SCALE, plan.ARMS, range(3), COMMITTED) == []
    full = dataclasses.replace(SCALE, epochs=150)
    assert workers.todo(full, plan.ARMS, range(5), COMMITTED) == []


def section_of(folder, finals, *, scale=SCALE, seeds=3, backend="jax", train_loss=0.5):
    """The section of arms that end at these accuracies, the constant one also at the budget."""
    for arm, final in finals.items():
        epochs = scale.epochs_of(arm)
        at_budget, end = final if isinstance(final, tuple) else (final, final)
        for seed in range(seeds):
            curve = np.linspace(0.4, end - 0.01, epochs)
            curve[scale.epochs_of("triangular") - 1] = at_budget
            curve[-1] = end
            # Not quite alike from seed to seed, so that there are intervals.
            curve += 0.01 * seed + 1e-4 * (seed % 2) * (len(arm) - 8)
            run = {
                **{"seed": seed, "test_accuracy": curve.tolist(), "seconds": 60.0},
                "train_loss": [*np.linspace(2.0, 0.6, epochs - 1), train_loss],
                "test_loss": [1.5, 1.0, *np.linspace(1.25, 2.5, epochs - 2)],
                "date": "2026-01-01T00:00:00+00:00",
                "environment": ENVIRONMENT | {"backend": backend},
            }
            keep(folder, scale, arm, scale.learning_rate(arm, 0.002), run)
    return report.read_all(folder)[0]


@pytest.mark.parametrize(
    ("constant", "best", "triangular", "words"),
    [
        ((0.60, 0.65), 0.64, 0.70, "claim holds here.**"),
        (
            (0.60, 0.65),
            0.64,
            0.70,
            "`triangular` after 5,000 steps is better than `constant` after 5",
        ),
        ((0.75, 0.65), 0.64, 0.70, "claim holds here, but the cycle need not be the reason.**"),
        ((0.75, 0.65), 0.64, 0.70, "worse than `constant` after 5,000 steps (-"),
        ((0.70, 0.65), 0.64, 0.70, "not distinguishable from `constant` after 5,000 steps"),
        ((0.70, 0.65), 0.64, 0.70, "`constant` after 5,000 steps is better than `constant` after"),
        ((0.60, 0.65), 0.72, 0.70, "worse than `constant_best` after 15,000 steps"),
        ((0.60, 0.75), 0.66, 0.70, "claim does not hold here.** `triangular` after 5,000 steps is"),
        ((0.60, 0.70), 0.66, 0.70, "claim is not confirmed here.**"),
    ],
)
def test_the_conclusion_follows_from_the_intervals(constant, best, triangular, words, tmp_path):
    finals = {"constant": constant, "constant_best": best, "triangular": triangular}
    assert words in report.conclusion(section_of(tmp_path, finals))


def test_a_difference_is_paired_and_has_student_s_interval_from_three_seeds_on(tmp_path):
    def section(seeds):
        constant, triangular = (0.0, 0.0, 0.0), (0.010, 0.009, 0.011)
        for arm, ends in (("constant", constant), ("triangular", triangular)):
            runs = [
                {"seed": seed, "test_accuracy": [end] * 30, "environment": ENVIRONMENT}
                for seed, end in enumerate(ends[:seeds])
            ]
            yield {"arm": arm, "runs": runs}

    found = report.Section(SCALE, section(3))
    difference = found.difference(found.whole("triangular"), found.whole("constant"))
    assert difference.cell == "**+1.00** (+0.75 to +1.25)"
    few = report.Section(SCALE, section(2))
    difference = few.difference(few.whole("triangular"), few.whole("constant"))
    assert difference.cell == "+0.95 (no interval, 2 seeds)"
    assert "No verdict" in report.conclusion(few)
    assert few.difference(few.whole("one_cycle"), few.whole("constant")) is None


def test_the_report_tells_what_is_missing_and_what_failed(tmp_path):
    section_of(tmp_path, {"constant": (0.69, 0.65), "triangular": 0.68, "one_cycle": 0.72})
    section_of(tmp_path, {"exp_range": 0.1}, seeds=1, train_loss=2.31)
    section_of(tmp_path, {"triangular2": 0.1}, seeds=1, train_loss=None)
    report.write(tmp_path)
    text = (tmp_path / report.NAME).read_text()
    assert "Seeds: 0, 1, 2. Not trained, or not to the end: `constant_best` with 0," in text
    assert "`exp_range` with 1, `exp_range` with 2" in text
    assert "stays in the means): `triangular2` with 0, `exp_range` with 0." in text
    assert "test loss rises from 1.00 at step 1,000 to 2.50 at its end, while" in text
    assert "its train loss falls from 1.95 to 0.50" in text
    assert "`one_cycle` after 5,000 steps is better than `constant` after 15,000 steps" in text
    assert "There is no range test yet" in text
    assert "| 3 of 3 (at 5,000; 5,000; 5,000) |" in text
    assert "nan" not in text


def test_only_runs_of_one_backend_are_compared(tmp_path):
    section_of(tmp_path, {"constant": 0.6})
    section = section_of(tmp_path, {"triangular": 0.7}, backend="torch")
    assert "No verdict" in report.conclusion(section)
    assert "`triangular`" not in report._differences(section)


def test_at_the_whole_budget_an_arm_has_one_row(tmp_path):
    whole = dataclasses.replace(SCALE, budget=Fraction(1))
    section = section_of(tmp_path, {"constant": 0.6, "triangular": 0.7}, scale=whole)
    assert "claim holds here.**" in report.conclusion(section)
    assert [str(entry) for entry in section.entries] == ["`constant`", "`triangular`"]
