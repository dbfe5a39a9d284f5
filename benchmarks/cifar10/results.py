"""The files of results: one for each arm at a scale, with all its seeds; one for each range test.

A file is one JSON object. What an arm shares stands first, then `runs` has an object for each seed.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cifar10 import plan

VERSION = 2


def path(folder: Path, scale: plan.Scale, arm: str) -> Path:
    """Where the results of an arm are."""
    return folder / f"{scale.slug}_{arm}.json"


def scale_of(content: dict[str, Any]) -> plan.Scale:
    """The scale that a file is of."""
    numbers = (content[name] for name in ("train_images", "test_images", "epochs"))
    return plan.Scale(content["data"], *numbers, Fraction(content["budget"]))


def begun(folder: Path, scale: plan.Scale, arm: str, learning_rate: Any) -> dict[str, Any]:
    """What there is of an arm, or of a range test; a file without runs if there is none.

    Raises:
        ValueError: If what there is was made with other settings.
    """
    file = path(folder, scale, arm)
    settings = {
        **{"benchmark": "cifar10", "version": VERSION, "arm": arm, "data": scale.data},
        **{"train_images": scale.train_images, "test_images": scale.test_images},
        **{"epochs": scale.epochs, "budget": str(scale.budget), "batch_size": plan.BATCH_SIZE},
        **{"steps": scale.steps_of(arm), "learning_rate": str(learning_rate)},
    }
    found = read(file) if file.exists() else settings | {"runs": []}
    if found | settings != found:
        raise ValueError(f"Results of other settings must not be there. Received: {file}")
    return found


def best(folder: Path, scale: plan.Scale) -> float | None:
    """The rate of `constant_best`; None without a range test that says one."""
    runs = begun(folder, scale, plan.RANGE_TEST, plan.RANGE_TEST_BOUNDS)["runs"]
    return plan.constant_best(runs[0]) if runs else None


def read(file: Path) -> dict[str, Any]:
    """A file of results.

    Raises:
        ValueError: If the file is something else.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if {"benchmark": "cifar10", "version": VERSION}.items() <= content.items():
        return dict(content)
    raise ValueError(f"Not a result of this benchmark, version {VERSION}: {file}")


def add(folder: Path, content: dict[str, Any], run: dict[str, Any]) -> None:
    """Writes a file of results with one run more, a run a line."""
    runs = sorted([*content["runs"], run], key=lambda run: int(run["seed"]))
    lines = {name: json.dumps(value) for name, value in content.items()}
    lines["runs"] = "[\n" + ",\n".join(json.dumps(run, allow_nan=False) for run in runs) + "\n]"
    text = ",\n".join(f'"{name}": {line}' for name, line in lines.items())
    report.put(path(folder, scale_of(content), content["arm"]), f"{{\n{text}\n}}\n")


def scores(folder: Path) -> list[dict[str, float]]:
    """The scores of the epochs that a training that was stopped there had done."""
    file = folder / "scores.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []
