"""A training that is killed several times ends bit for bit as one that was not."""

import contextlib
import inspect
import json
import random
import re
import subprocess
import sys
import time

import pytest
from helpers import ROOT, resumable_training
from helpers.keras_under_test import BACKEND, LEGACY, keras
from helpers.resumable_training import DOUBLE
from helpers.small_training import STEPS, arrays, make, state, train

TESTS = ROOT / "tests"
KILLS = 2
# How many trainings of each kind there are. The first of each is `slow`, the others are `long`, and
# so is that with multipliers, whose optimizer is extended as that with hyperparameters is.
WAYS = {
    "backup": 8,
    "checkpoint": 4,
    "tensorflow": 4,
    "callback": 2,
    "hyperparameters": 2,
    "layers": 1,
}
RUNS = [
    pytest.param(
        way,
        seed,
        marks=[pytest.mark.slow, *([pytest.mark.long] if seed or way == "layers" else [])],
    )
    for way, count in WAYS.items()
    for seed in range(count)
]


def begin(way, folder):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.resumable_training", way, str(folder)],
        cwd=TESTS,  # where the helpers are
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process, folder):
    try:
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads((folder / "state.json").read_text())


def newest_write(folder):
    """The time at which a file of the backups was last written to."""
    times = [0]
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed in the meantime
            if path.parent != folder:
                times.append(path.stat().st_mtime_ns)
    return max(times)


def steps_taken(folder):
    """The number of steps that the training has noted."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # the file is just being written
        return int((folder / "log").read_text())
    return 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The state in which an undisturbed training of each way ends; each is run once."""
    found = {}

    def state(way):
        if way not in found:
            folder = tmp_path_factory.mktemp("whole") / way
            found[way] = end(begin(way, folder), folder)
        return found[way]

    return state


@pytest.mark.parametrize(("way", "seed"), RUNS)
def test_a_killed_training_ends_as_one_that_was_not(way, seed, undisturbed, tmp_path):
    if way in ("hyperparameters", "layers") and LEGACY:
        pytest.skip("the optimizers of Keras 3")
    if way == "tensorflow" and BACKEND != "tensorflow":
        pytest.skip("TensorFlow's own checkpoints")
    folder, moments = tmp_path / way, random.Random(seed)
    log, kills, taken_before = folder / "log", 0, [0]
    for kill in range(KILLS):
        log.unlink(missing_ok=True)
        process = begin(way, folder)
        # The kill comes at any moment after the first step, or while a backup is being written.
        while process.poll() is None and not steps_taken(folder):
            time.sleep(0.001)
        before, deadline = newest_write(folder), time.monotonic() + moments.uniform(0.0, 0.25)
        while process.poll() is None and time.monotonic() < deadline:
            if (seed + kill) % 2 and newest_write(folder) != before:
                time.sleep(moments.uniform(0.0, 0.01))
                break
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (0, -9), errors
        kills += process.returncode == -9
        taken_before.append(steps_taken(folder))
    assert kills, "the training ended before it could be killed"
    assert end(begin(way, folder), folder) == undisturbed(way)
    begins = [int(line) for line in (folder / "begins").read_text().split()]
    assert len(begins) == len(taken_before)
    if DOUBLE or way in ("checkpoint", "tensorflow") or LEGACY:
        # Each process began at the end of the last epoch, or of the one before if the last was
        # being saved.
        for first, taken in zip(begins, taken_before, strict=True):
            assert first >= (taken // STEPS - 1) * STEPS


def test_the_docs_mend_a_backup_as_these_trainings_do():
    page = TESTS.parent / "docs" / "resuming.md"
    source = inspect.getsource(resumable_training.mend_backup)
    assert source in page.read_text(encoding="utf-8")


@pytest.mark.skipif(LEGACY, reason="the page is about the files of Keras 3")
def test_the_docs_go_on_with_a_training(tmp_path):
    """The code of the page, with the end of an epoch in the place of a kill."""
    page = (TESTS.parent / "docs" / "resuming.md").read_text(encoding="utf-8")
    plain, mend, backup = re.findall("```python\n(.*?)```", page, re.DOTALL)
    plain = plain.replace("epochs = 50", "epochs = EPOCHS")
    backup = backup.replace("steps_per_epoch=500", f"steps_per_epoch={STEPS}")
    x, y = arrays()

    def run(code, folder, epochs):
        given = {"make_model": lambda: make(keras, resumable_training.CYCLE), "EPOCHS": epochs}
        folder.mkdir(exist_ok=True)
        fit = "batch_size=16, shuffle=False, verbose=0, epochs"
        code = code.replace("epochs=epochs", f"{fit}=epochs")
        given |= {"x": x, "y": y, "folder": folder}
        exec(code, given)
        return given["model"], given.get("done")

    expected = make(keras, resumable_training.CYCLE)
    train(expected, epochs=3)
    run(plain, tmp_path / "plain", 2)
    model, done = run(plain, tmp_path / "plain", 3)
    assert done == 2
    assert state(model) == state(expected)
    # The page says that Keras 3.6 does not have the argument.
    given = "double_checkpoint=True"
    assert given in backup
    kept = backup.replace(given, f"delete_checkpoint=False{f', {given}' if DOUBLE else ''}")
    names = "import keras, numpy as np\nepochs = EPOCHS\n"
    run(names + mend + kept, tmp_path / "backup", 2)
    latest = tmp_path / "backup" / "latest.weights.h5"
    latest.write_bytes(latest.read_bytes()[:1000])  # as a kill may leave the file
    model, _ = run(names + mend + kept, tmp_path / "backup", 3)
    assert state(model) == state(expected)
    if DOUBLE:
        assert len(model.history.epoch) == 2  # it began at the pair of files before
        assert [path.name for path in tmp_path.glob("backup*")] == ["backup"]
    else:
        assert len(model.history.epoch) == 3  # it began anew
        assert len(list(tmp_path.glob("backup-unreadable-*"))) == 1


@pytest.mark.skipif(LEGACY, reason="the optimizers of Keras 3")
@pytest.mark.parametrize("kind", ["accumulation", "loss scale"])
def test_a_backup_is_not_mended_where_a_batch_is_not_a_step(kind, tmp_path):
    optimizer = keras.optimizers.Adam(
        resumable_training.CYCLE, gradient_accumulation_steps=2 if kind == "accumulation" else None
    )
    if kind == "loss scale":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model = make(keras, resumable_training.CYCLE)
    model.compile(optimizer, loss="binary_crossentropy")
    with pytest.raises(ValueError, match="a file for each epoch"):
        resumable_training.mend_backup(tmp_path, model, STEPS)


def test_a_backup_of_another_model_stays_as_it_is(tmp_path):
    model = make(keras, resumable_training.CYCLE)
    for name in ("latest.weights.h5", "latest.weights.h5.bkp"):
        (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ValueError, match="another model"):
        resumable_training.mend_backup(tmp_path, model, STEPS)
    for name in ("latest.weights.h5", "latest.weights.h5.bkp"):
        assert (tmp_path / name).read_bytes() == b"precious"
