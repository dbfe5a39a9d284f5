"""Runs every benchmark, or some, writes the results and prints the report."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from benchmarks import (
    accuracy,
    cost,
    digits,
    engines,
    fit,
    gpu,
    gpu_kernels,
    layers,
    logger,
    range_test,
    report,
    suggestions,
    timing,
)

SECTIONS: dict[str, Any] = {
    "accuracy": accuracy,
    "cost": cost,
    "layers": layers,
    "fit": fit,
    "range_test": range_test,
    "logger": logger,
    "digits": digits,
}
# Measured where there is what they need, and kept in files of their own.
APART: dict[str, Any] = {
    "engines": engines,
    "gpu_kernels": gpu_kernels,
    "gpu": gpu,
    "suggestions": suggestions,
}
# The order of the report.
ORDER = (
    "accuracy",
    "engines",
    "cost",
    "layers",
    "fit",
    "gpu_kernels",
    "gpu",
    "range_test",
    "suggestions",
    "logger",
    "digits",
)


def main() -> None:
    """Measures, writes ``results/latest.json`` and ``results/latest.md``, prints the latter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"measure these alone, and keep the other results ({', '.join(SECTIONS)}); "
        "none: make the report and its picture again",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="in a minute or two, from few runs; prints, writes nothing",
    )
    args = parser.parse_args()
    names = list(SECTIONS) if args.only is None else args.only
    results = {} if args.quick else report.read() or {}
    for name in names:
        timing.tidy()
        start = time.perf_counter()
        results[name] = SECTIONS[name].measure(quick=args.quick)
        results[name] |= {
            "environment": report.environment(),
            "seconds": round(time.perf_counter() - start, 1),
        }
        results = {section: results[section] for section in SECTIONS if section in results}
        print(f"{name}: {results[name]['seconds']:.0f} s", file=sys.stderr, flush=True)
        if not args.quick:
            report.write(results)
    text = document(results)
    if not args.quick:
        report.write_text(text)
        accuracy.draw(results["accuracy"])
    print(text, end="")


def document(results: dict[str, Any]) -> str:
    """The report of these results, and of those that are kept apart."""
    sections = []
    for name in ORDER:
        if name in APART:
            sections.append(f"{APART[name].markdown(report.read(name)).rstrip()}\n")
        elif name in results:
            text = SECTIONS[name].markdown(results[name]).rstrip()
            sections.append(f"{text}\n\n{report.measured(results[name])}\n")
    text = "\n".join([report.HEADING, *sections])
    return f"{report.filled(text.rstrip())}\n"


if __name__ == "__main__":
    main()
