"""One run: trained from its last checkpoint on, and written to a file of its own at its end."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import report
from benchmarks.cifar10.plan import RANGE_TEST, RANGE_TEST_SEED, Run, Scale

if TYPE_CHECKING:
    from benchmarks.cifar10.data import Data

VERSION = 1
# What the curve of a range test is averaged to, to be kept.
_POINTS = 250

Told = Callable[[int], None]


def perform(
    run: Run,
    data: Data,
    *,
    results: Path,
    work: Path,
    every: float,
    range_steps: int | None,
    told: Told,
) -> None:
    """Does a run, and writes its result.

    Args:
        run: What to do.
        data: The images.
        results: The folder of results.
        work: The folder of checkpoints.
        every: The seconds from one checkpoint to the next.
        range_steps: The steps of the range test; None: those of its scale.
        told: Called with the number of epochs done.
    """
    if run.is_range_test:
        found = _range_test(run, data, work, range_steps or run.scale.range_test_steps)
    else:
        found = _training(run, data, best_rate(results, run.scale), work, every, told)
    write(run.path(results), found)
    _checkpoint(work, run).unlink(missing_ok=True)


def _head(run: Run, data: Data) -> dict[str, Any]:
    """What every result begins with."""
    return {
        "benchmark": "cifar10",
        "version": VERSION,
        "data": run.scale.data,
        "train_images": len(data.x_train),
        "test_images": len(data.x_test),
        "epochs": run.scale.epochs,
        "budget": str(run.scale.budget),
        "steps_per_epoch": run.scale.steps_per_epoch,
        "batch_size": run.scale.batch_size,
        "arm": run.arm,
        "seed": run.seed,
    }


def _training(
    run: Run, data: Data, best: float | None, work: Path, every: float, told: Told
) -> dict[str, Any]:
    from benchmarks.cifar10 import training

    rate = run.learning_rate(best)
    network = training.training(rate, data, run.seed)
    checkpoint = _checkpoint(work, run)
    # What a checkpoint must have been made with for this run to go on from it.
    same = [training.BACKEND, repr(rate), run.epochs, len(data.x_train), len(data.x_test)]
    history: dict[str, list[float]] = {name: [] for name in training.Scores._fields}
    seconds = 0.0
    if (found := _resumed(checkpoint, same)) is not None:
        state, history, seconds = found
        network.restore(state)
    start = saved = time.perf_counter()
    first = len(history["test_loss"])
    told(first)
    for epoch in range(first, run.epochs):
        order = training.batches(run.seed, epoch, len(data.x_train), run.scale.batch_size)
        for name, score in network.epoch(order)._asdict().items():
            history[name].append(score)
        now = time.perf_counter()
        if now - saved >= every and epoch + 1 < run.epochs:
            kept = {"same": same, "history": history, "seconds": seconds + now - start}
            _save(checkpoint, network.state(), kept)
            saved = now
        told(epoch + 1)
    seconds += time.perf_counter() - start
    begins = np.arange(run.epochs) * run.scale.steps_per_epoch
    rates = np.full(run.epochs, rate) if isinstance(rate, float) else rate.values(begins)
    return _head(run, data) | {
        "learning_rate": str(rate),
        "steps": run.epochs * run.scale.steps_per_epoch,
        # Of the first step of each epoch; the others follow from `learning_rate`.
        "rates": [float(f"{value:.8g}") for value in rates],
        **{name: [_rounded(value) for value in values] for name, values in history.items()},
        "test_accuracy": _exact(history["test_accuracy"], len(data.x_test)),
        "seconds": round(seconds, 1),
        "date": report.now(),
        "environment": training.environment(),
    }


def _range_test(run: Run, data: Data, work: Path, steps: int) -> dict[str, Any]:
    """The package's range test on the network; all its points stay in the folder of checkpoints."""
    import keras

    import clr_schedules as clr
    from benchmarks.cifar10 import training

    start = time.perf_counter()
    keras.utils.set_random_seed(run.seed)
    model = training.network()
    # XLA's convolutions are slow on CPUs, and JAX has nothing else.
    jit = {} if training.BACKEND == "jax" else {"jit_compile": False}
    model.compile(keras.optimizers.Adam(), training.loss(), metrics=["accuracy"], **jit)
    low, high = RANGE_TEST
    result = clr.lr_range_test(
        model,
        data.x_train,
        data.y_train,
        min_lr=low,
        max_lr=high,
        num_steps=steps,
        growth="linear",
        batch_size=run.scale.batch_size,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    work.mkdir(parents=True, exist_ok=True)
    result.save(work / f"{run.name}_all-steps.json")
    suggestion = vars(result.suggest()) | {}
    suggestion["reasons"] = dict(suggestion["reasons"])
    accuracies = result.metrics["accuracy"]
    curve = {
        "learning_rate": _averages(result.learning_rates),
        "loss": _averages(result.losses),
        "accuracy": _averages(accuracies),
    }
    return _head(run, data) | {
        "min_lr": low,
        "max_lr": high,
        "steps": steps,
        "steps_taken": len(result.losses),
        "stop_reason": result.stop_reason,
        "suggestion": suggestion,
        "curve": curve,
        "seconds": round(seconds, 1),
        "date": report.now(),
        "environment": training.environment(),
    }


def _averages(values: Any) -> list[float | None]:
    """The means of as many parts of an array as are kept."""
    parts = np.array_split(values, min(_POINTS, len(values)))
    return [_rounded(float(np.mean(part))) for part in parts]


def _rounded(value: float) -> float | None:
    """The number as it is kept; None where it is not finite, which JSON does not have."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _exact(accuracies: list[float], images: int) -> list[float]:
    """Accuracies as parts of so many images, without the errors of float32, which break ties."""
    return [round(accuracy * images) / images for accuracy in accuracies]


def best_rate(results: Path, scale: Scale) -> float | None:
    """The constant rate that the range test of a scale says, if there is one."""
    found = read(Run(scale, "range_test", RANGE_TEST_SEED).path(results))
    return None if found is None else half_of_bound(found)


def half_of_bound(range_test: dict[str, Any]) -> float | None:
    """Half of the upper bound that a range test suggests: a choice, not the result of a search."""
    max_lr = range_test["suggestion"]["max_lr"]
    return None if max_lr is None else float(f"{max_lr / 2:.3g}")


# Files --------------------------------------------------------------------------------------------


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a result, with an array a line, not a number a line."""
    report.put(path, _joined(json.dumps(content, indent=1, allow_nan=False)) + "\n")


def _joined(text: str) -> str:
    """JSON with every list of numbers on one line."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        bare = line.strip()
        if inside:
            lines[-1] += bare if bare.startswith("]") else bare + (" " if bare[-1] == "," else "")
            inside = not bare.startswith("]")
        else:
            lines.append(line)
            inside = bare.endswith("[")
    return "\n".join(lines)


def read(path: Path) -> dict[str, Any] | None:
    """A result, or None if it is not there.

    Raises:
        ValueError: If the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"Not a result of this benchmark: {path}, which is no JSON") from error
    if not isinstance(content, dict) or content.get("benchmark") != "cifar10":
        raise ValueError(f"Not a result of this benchmark: {path}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"Results must have version {VERSION}. Received: {path} of {content.get('version')}"
        )
    if "test_accuracy" in content:
        content["test_accuracy"] = _exact(content["test_accuracy"], content["test_images"])
    return content


def read_all(results: Path) -> list[dict[str, Any]]:
    """All results of a folder."""
    found = (read(path) for path in sorted(results.glob("*.json")))
    return [result for result in found if result is not None]


# Checkpoints --------------------------------------------------------------------------------------


def _checkpoint(work: Path, run: Run) -> Path:
    return work / f"{run.name}.npz"


def _save(path: Path, state: list[Any], kept: dict[str, Any]) -> None:
    arrays = {f"{index:03}": array for index, array in enumerate(state)}
    with report.beside(path) as new, new.open("wb") as file:
        np.savez(file, kept=json.dumps(kept), **arrays)


def _loaded(path: Path) -> tuple[list[Any], dict[str, Any]] | None:
    """The state of a checkpoint and what is kept with it; None where none can be read."""
    try:
        with np.load(path) as file:
            kept = json.loads(str(file["kept"]))
            return [file[name] for name in sorted(set(file.files) - {"kept"})], kept
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _resumed(path: Path, same: list[Any]) -> tuple[list[Any], dict[str, list[float]], float] | None:
    """State, history and seconds of a checkpoint; None without one that is of such a run."""
    found = _loaded(path)
    if found is None or found[1]["same"] != same:
        return None
    state, kept = found
    return state, kept["history"], kept["seconds"]


def epochs_done(work: Path, run: Run) -> int:
    """The epochs in the checkpoint of a run."""
    found = _loaded(_checkpoint(work, run))
    return 0 if found is None else len(found[1]["history"]["test_loss"])
