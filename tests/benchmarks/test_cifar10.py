"""The comparison on CIFAR-10: its whole path on a few small images, and what its report says."""

import inspect
import json
import os
import shutil
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
FULL = SCALE._replace(epochs=150)
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


def start(folder, place, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.cifar10", "--data", str(folder), "--jobs", "2"),
            *("--results", str(place), "--work", str(place / "work"), *arguments),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


ENVIRONMENT = {
    **{"backend": "jax", "loop": "`fit`", "device": "a device", "system": "a system"},
    **{"precision": "float32", "versions": {"python": "3"}},
}


def range_test(max_lr):
    return {
        **{"seed": 0, "min_lr": 0.001, "max_lr": 0.02, "steps_taken": 30, "seconds": 60.0},
        **{"stop_reason": "completed", "date": "2026-01-01T00:00:00+00:00"},
        "suggestion": {"base_lr": None, "max_lr": max_lr, "reasons": {"base_lr": "it rises"}},
        "curve": {"learning_rate": [0.001, 0.02], "loss": [2.3, None], "accuracy": [0.1, 0.6]},
        "environment": ENVIRONMENT,
    }


# The whole path -----------------------------------------------------------------------------------


def test_the_command_trains_what_is_missing_and_reports_it(folder, tmp_path, capsys):
    scale = plan.Scale("CIFAR-10", 200, 20, 2, Fraction(1, 2))
    results.add(tmp_path, scale, plan.RANGE_TEST, range_test(0.0061))
    arguments = ["--arms", "constant_best", "triangular", "--epochs", "2", "--budget", "1/2"]
    process = start(folder, tmp_path, *arguments, "--seeds", "1-1")
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert output.strip().endswith(str(tmp_path / report.NAME))
    text = (tmp_path / report.NAME).read_text()
    assert "## CIFAR-10, 2 epochs, budget 1/2, 200 and 20 images" in text
    assert "**No verdict on the post's claim" in text
    # Half of the bound that the range test suggests.
    assert "so the rate of `constant_best`: 0.00305" in text
    assert "| `constant_best`, first 1 epochs | `0.00305` | 2 | 1 |" in text
    assert "- `max_lr`: 0.0061; the post's is 0.005" in text
    assert "- `base_lr`: none, since it rises" in text
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert workers.todo(scale, ["constant_best"], [1, 2], tmp_path) == [("constant_best", 2)]
    # What is there must be of the same settings.
    file = results.path(tmp_path, scale, "constant_best")
    file.write_text(file.read_text().replace("0.00305", "0.004"))
    with pytest.raises(SystemExit):
        command.main(["--data", str(folder), *arguments, "--results", str(tmp_path)])
    assert "other settings must not be there. Received: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process as POSIX does")
def test_killed_and_continued_it_finds_what_it_finds_undisturbed(folder, tmp_path):
    def begin():
        return start(folder, tmp_path, "--arms", "constant", "--epochs", "30", "--seeds", "3")

    def wait_until(condition):
        deadline = time.monotonic() + 200
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def group_is_gone():
        try:
            os.killpg(killed.pid, 0)
        except ProcessLookupError:
            return True
        return False

    scale = plan.Scale("CIFAR-10", 200, 20, 30, Fraction(1, 3))
    place, file = tmp_path / "work" / f"{scale.slug}_constant_3", f"{scale.slug}_constant.json"
    killed = begin()
    try:
        wait_until(lambda: len(results.scores(place)) > 2)
    finally:
        killed.kill()
    killed.communicate()
    wait_until(group_is_gone)  # no worker outlives it
    assert not (tmp_path / file).exists()
    # What no training comes to: it is found in the result only if the scores were taken up.
    scores = results.scores(place)
    first, scores[0]["train_loss"] = scores[0]["train_loss"], 123.0
    (place / "scores.json").write_text(json.dumps(scores))
    continued = begin()
    _, errors = continued.communicate(timeout=400)
    assert continued.returncode == 0, errors
    assert not any(place.parent.iterdir())
    (found,) = results.read(tmp_path / file)["runs"]
    assert found["train_loss"][0] == 123.0
    found["train_loss"][0] = first
    images = data.load(str(folder))
    expected = training.train(scale, "constant", 3, None, images, tmp_path / "whole")
    for name in training.SCORES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["weights cut short", "epoch not written", "epoch cut short"])
def test_a_training_killed_while_it_writes_goes_on_aright(damage, folder, tmp_path):
    images = data.load(str(folder))

    def train(work, epochs):
        scale = plan.Scale(images.label, 200, 20, epochs, Fraction(1, 3))
        return training.train(scale, "constant", 1, None, images, tmp_path / work)

    train("work", 2)
    scores = results.scores(tmp_path / "work")
    # What no training comes to: it stays where an epoch is not trained again.
    for epoch in scores:
        epoch["train_loss"] = 123.0
    (tmp_path / "work" / "scores.json").write_text(json.dumps(scores))
    backup = tmp_path / "work" / "backup"
    if damage == "weights cut short":
        weights = backup / "latest.weights.h5"
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        epoch = '{"epoch": 1, "batch": 0}' if damage == "epoch not written" else ""
        (backup / "training_metadata.json").write_text(epoch)
    found, expected = train("work", 4), train("whole", 4)
    not_again = 1 if damage == "weights cut short" else 2
    assert [loss == 123.0 for loss in found["train_loss"]] == [i < not_again for i in range(4)]
    for name in training.SCORES:
        assert len(found[name]) == 4
        np.testing.assert_allclose(found[name][2:], expected[name][2:], rtol=1e-4)


# The plan -----------------------------------------------------------------------------------------


def test_the_arms_at_the_posts_scale_are_the_posts_and_keep_their_shape_at_others():
    assert FULL.learning_rate("triangular", None) == clr.Triangular(0.001, 0.005, step_size=2500)
    assert FULL.learning_rate("exp_range", None).gamma == pytest.approx(0.99994, rel=1e-12)
    assert FULL.learning_rate("one_cycle", None) == clr.OneCycle(0.005, total_steps=25_000)
    assert [FULL.learning_rate(arm, 0.002) for arm in plan.CONSTANTS] == [0.001, 0.002]
    assert [FULL.steps_of(arm) for arm in ("constant", plan.RANGE_TEST)] == [75_000, 75_000]
    at = np.array([0, 1000, 1500, 2500, 4000])
    for arm in ("triangular", "triangular2", "exp_range"):
        large, small = FULL.learning_rate(arm, None), SCALE.learning_rate(arm, None)
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
        (["--budget", "3/2"], "--budget above 0 and at most 1"),
        (["--epochs", "0"], "must be at least 1"),
        (["--seeds", "few"], "invalid seeds value: 'few'"),
        (["--data", "nowhere"], "Received: no images (jpg or png) in nowhere/train"),
        (["--report", "--results", "nowhere"], "There are no results yet. Received: nowhere"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert words in capsys.readouterr().err


def test_images_must_be_of_32_by_32_pixels(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "odd")
    image(tmp_path / "odd" / "test" / "frog" / "0007.png", size=(16, 24))
    with pytest.raises(ValueError, match=r"32 by 32 pixels. Received: .*0007.png"):
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
    assert workers.todo(FULL, plan.ARMS, range(5), COMMITTED) == []


def section_of(folder, finals, *, scale=SCALE, seeds=3, backend="jax", train_loss=0.5):
    """The section of arms that end at these accuracies, the constant one also at the budget."""
    for arm, final in finals.items():
        at_budget, end = final if isinstance(final, tuple) else (final, final)
        for seed in range(seeds):
            curve = np.full(scale.epochs_of(arm), 0.4)
            curve[scale.epochs_of("triangular") - 1] = at_budget
            curve[-1] = end + 1e-4 * seed**2
            # Not quite alike from seed to seed, so that there are intervals.
            curve += 0.01 * seed + 1e-4 * (seed % 2) * (len(arm) - 8)
            run = {
                **{"seed": seed, "test_accuracy": curve.tolist(), "seconds": 60.0},
                **{"train_loss": [2.0, train_loss], "test_loss": [1.5, 1.0, 2.5]},
                "date": "2026-01-01T00:00:00+00:00",
                "environment": ENVIRONMENT | {"backend": backend},
            }
            results.add(folder, scale, arm, run)
    return report.read_all(folder)[0]


HOLDS = "The post's claim holds here."
NEED_NOT = "The post's claim holds here, but the cycle need not be the reason."


@pytest.mark.parametrize(
    ("constant", "best", "triangular", "words"),
    [
        ((0.60, 0.65), 0.64, 0.70, HOLDS),
        ((0.75, 0.65), 0.64, 0.70, NEED_NOT),  # as a constant rate that stops early
        ((0.70, 0.65), 0.64, 0.70, NEED_NOT),
        ((0.60, 0.65), 0.72, 0.70, NEED_NOT),  # as another constant rate
        ((0.60, 0.75), 0.66, 0.70, "The post's claim does not hold here."),
        ((0.60, 0.70), 0.66, 0.70, "The post's claim is not confirmed here."),
    ],
)
def test_the_verdict_follows_from_the_intervals(constant, best, triangular, words, tmp_path):
    finals = {"constant": constant, "constant_best": best, "triangular": triangular}
    assert report.verdict(section_of(tmp_path, finals)) == words


def test_a_difference_is_paired_and_has_student_s_interval_from_three_seeds_on():
    constant = {(seed, "jax"): [0.0, end] for seed, end in enumerate((1.0, 2.0, 3.0))}
    triangular = {(seed, "jax"): [end] for seed, end in enumerate((2.0, 2.9, 4.1))}
    found = report.difference(triangular, constant)
    assert (str(found), found.words) == ("**+1.00** (+0.75 to +1.25)", "better than")
    assert report.difference(constant, triangular).words == "worse than"
    few = report.difference(dict(list(triangular.items())[:2]), constant)
    assert (str(few), few.words) == ("+0.95 (no interval)", "not distinguishable from")
    assert report.difference({(0, "torch"): [2.0]}, constant) is None


def test_the_report_tells_what_is_missing_and_what_failed(tmp_path):
    section_of(tmp_path, {"constant": (0.69, 0.65), "triangular": 0.68, "one_cycle": 0.72})
    section_of(tmp_path, {"exp_range": 0.1}, seeds=1, train_loss=2.31)
    section_of(tmp_path, {"triangular2": 0.1}, seeds=1, train_loss=None)
    text = report.write(tmp_path).read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| `triangular` | `Tri")]
    assert "| 5,000 | 0, 1, 2 | 3 of 3 |" in row
    assert text.count("| 5,000 | 0 | 0 of 1 |") == 2
    assert "lowest after step 1,000, at 1.00, and 2.50 at its end" in text
    assert "  - `one_cycle` is better than `constant`: **" in text
    assert "There is no range test yet" in text
    assert "| 3 of 3 (at 5,000; 5,000; 5,000) |" in text
    assert "nan" not in text


def test_at_the_whole_budget_an_arm_has_one_row(tmp_path):
    whole = SCALE._replace(budget=Fraction(1))
    section = section_of(tmp_path, {"constant": 0.6, "triangular": 0.7}, scale=whole)
    assert report.verdict(section) == HOLDS
    assert list(section.rows) == ["`constant`", "`triangular`"]
