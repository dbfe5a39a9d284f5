"""What all benchmarks share: the machine, Markdown tables and the result files."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def now() -> str:
    """The date and time."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """The date, the machine and the versions that a result belongs to."""
    import keras
    import numpy
    import tensorflow

    import clr_schedules

    modules = (tensorflow, keras, numpy, clr_schedules)
    return {
        "date": now(),
        "machine": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()}
        | {module.__name__: module.__version__ for module in modules},
    }


HEADING = """# Benchmarks

Made by `make bench`. Times are ratios of runs in turn in one process, by the
[reasons](../timing.py) given there; counts are exact.
"""


def measured(section: dict[str, Any]) -> str:
    """When and on what a section was measured, and how long that took."""
    environment = section["environment"]
    machine, versions = environment["machine"], environment["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    seconds = f" in {section['seconds']:.0f} s" if "seconds" in section else ""
    return (
        f"Measured on {environment['date']}{seconds}: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['system']}; {names}."
    )


def read(name: str = "latest") -> dict[str, Any] | None:
    """The results of a file, if there is one."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def write(results: dict[str, Any], name: str = "latest") -> None:
    """Writes a file of results."""
    put(RESULTS / f"{name}.json", json.dumps(results, indent=1, allow_nan=False) + "\n")


def write_text(text: str) -> None:
    """Writes the report."""
    put(RESULTS / "latest.md", text)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of this one in the end, so never by half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    yield new
    new.replace(path)


def put(path: Path, text: str) -> None:
    """Writes a file of text, beside its place first."""
    with beside(path) as new:
        new.write_text(text, encoding="utf-8")


def cpu() -> str:
    """The model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
