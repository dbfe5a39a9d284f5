"""What all benchmarks share: the machine, Markdown tables and the result files."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def environment() -> dict[str, Any]:
    """The date, the machine and the versions that a result belongs to."""
    import keras
    import numpy
    import tensorflow

    import clr_schedules

    modules = (tensorflow, keras, numpy, clr_schedules)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()}
        | {module.__name__: module.__version__ for module in modules},
    }


def heading(results: dict[str, Any]) -> str:
    """The title of the results, with when and on what they were measured."""
    return f"""# Benchmarks

{_told(results)}
Made by `python -m benchmarks`.
"""


def apart(section: dict[str, Any]) -> str:
    """When and on what a section was measured, if not with the others."""
    environment = section.get("environment")
    return f"\nThis section was measured apart: {_told(environment)}\n" if environment else ""


def _told(environment: dict[str, Any]) -> str:
    """The environment in a sentence."""
    machine, versions = environment["machine"], environment["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{environment['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}; {names}."
    )


def read() -> dict[str, Any]:
    """The results of ``latest.json``."""
    results: dict[str, Any] = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))
    return results


def write(results: dict[str, Any], text: str) -> None:
    """Writes ``latest.json`` and ``latest.md``: beside their places first, so never by halves."""
    RESULTS.mkdir(exist_ok=True)
    contents = {
        "latest.json": json.dumps(results, indent=2, allow_nan=False) + "\n",
        "latest.md": text,
    }
    for name, content in contents.items():
        (RESULTS / f"{name}.new").write_text(content, encoding="utf-8")
    for name in contents:
        (RESULTS / f"{name}.new").replace(RESULTS / name)


def _cpu() -> str:
    """The model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
