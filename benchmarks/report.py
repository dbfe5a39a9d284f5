"""What all benchmarks share: the machine, Markdown tables and the result files."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import textwrap
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


def grouped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """Rows that differ in their first column alone, as one row of all their names."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, *cells in rows:
        names.setdefault(tuple(cells), []).append(name)
    return [["; ".join(of), *cells] for cells, of in names.items()]


def part(name: str, text: str) -> str:
    """A part of the report that a page can include: between two comments that nobody sees."""
    return f"<!-- {name} -->\n\n{text}\n\n<!-- end of {name} -->"


def filled(text: str) -> str:
    """The text with its paragraphs filled anew, since figures are longer or shorter than names."""
    blocks = text.split("\n\n")
    return "\n\n".join(
        block
        if block.startswith(("#", "|", "- ", "<!--"))
        else textwrap.fill(block, 100, break_long_words=False, break_on_hyphens=False)
        for block in blocks
    )


HEADING = """# Benchmarks

Made by `make bench`. Counts are exact. Times are ratios of runs in turn in one process, for the
[reasons](../timing.py) given there: a median with its 95 % interval, or where runs are few a
geometric mean with Student's. The ratio of two arms that are alike is the control; how far its
interval reaches from 1 is the noise.
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
