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


def path(folder: Path, scale: plan.Scale, arm: str) -> Path:
    """Where the results of an arm are."""
    return folder / f"{scale.slug}_{arm}.json"


def scale_of(content: dict[str, Any]) -> plan.Scale:
    """The scale that a file is of."""
    data, train, test, epochs = (content[name] for name in plan.Scale._fields[:-1])
    return plan.Scale(data, train, test, epochs, Fraction(content["budget"]))


def begun(folder: Path, scale: plan.Scale, arm: str) -> dict[str, Any]:
    """What there is of an arm, or of a range test; a file without runs if there is none.

    Raises:
        ValueError: If what there is was made with other settings.
    """
    rate = scale.learning_rate(arm, best(folder, scale) if arm == plan.CONSTANT_BEST else None)
    settings = {
        "benchmark": "cifar10",
        "version": 2,
        "arm": arm,
        **scale._asdict(),
        "budget": str(scale.budget),
        "batch_size": plan.BATCH_SIZE,
        "steps": scale.steps_of(arm),
        "learning_rate": str(rate),
    }
    file = path(folder, scale, arm)
    found = read(file) if file.exists() else settings | {"runs": []}
    if found | settings != found:
        raise ValueError(f"Results of other settings must not be there. Received: {file}")
    return found


def best(folder: Path, scale: plan.Scale) -> float | None:
    """The rate of `constant_best`; None without a range test that says one."""
    runs = begun(folder, scale, plan.RANGE_TEST)["runs"]
    return plan.constant_best(runs[0]) if runs else None


def read(file: Path) -> dict[str, Any]:
    """A file of results."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


def add(folder: Path, scale: plan.Scale, arm: str, run: dict[str, Any]) -> None:
    """Adds a run to the file of its arm, which has a run a line."""
    content = begun(folder, scale, arm)
    runs = sorted([*content["runs"], run], key=lambda run: int(run["seed"]))
    lines = {name: json.dumps(value) for name, value in content.items()}
    lines["runs"] = "[\n" + ",\n".join(json.dumps(run, allow_nan=False) for run in runs) + "\n]"
    text = ",\n".join(f'"{name}": {line}' for name, line in lines.items())
    report.put(path(folder, scale, arm), f"{{\n{text}\n}}\n")


def scores(folder: Path) -> list[dict[str, float]]:
    """The scores of the epochs that an unfinished training has done, which are in its folder."""
    file = folder / "scores.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []
