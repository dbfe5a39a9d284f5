"""Runs every benchmark, or some, writes the results and prints them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks import accuracy, import_time, logger, range_test, report, step_time

SECTIONS = {
    "accuracy": accuracy,
    "step_time": step_time,
    "import_time": import_time,
    "range_test": range_test,
    "logger": logger,
}


def main() -> None:
    """Measures, writes ``results/latest.json`` and ``results/latest.md``, prints the latter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"measure these alone, and keep the other results ({', '.join(SECTIONS)})",
    )
    parser.add_argument(
        "--blocks",
        type=int,
        default=step_time.BLOCKS,
        help="ratios to take of each step time (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=range_test.ROUNDS,
        help="ratios to take of each time of a range test (default: %(default)s)",
    )
    args = parser.parse_args()
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "accuracy": accuracy.measure,
        "step_time": lambda: step_time.measure(args.blocks),
        "import_time": import_time.measure,
        "range_test": lambda: range_test.measure(args.rounds),
        "logger": logger.measure,
    }
    if args.only:
        apart = {"environment": report.environment()}
        results = report.read() | {name: measures[name]() | apart for name in args.only}
    else:
        results = report.environment() | {name: measure() for name, measure in measures.items()}
    sections = (
        module.markdown(results[name]) + report.apart(results[name])
        for name, module in SECTIONS.items()
        if name in results
    )
    text = "\n".join([report.heading(results), *sections])
    report.write(results, text)
    print(text, end="")


if __name__ == "__main__":
    main()
