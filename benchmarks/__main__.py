"""Runs every benchmark, or some, writes the results and prints the report."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from benchmarks import (
    accuracy,
    claims,
    engines,
    gpu,
    gpu_kernels,
    import_time,
    logger,
    memory,
    other_frameworks,
    pictures,
    range_test,
    report,
    scaling,
    step_time,
    structure,
    suggestions,
    timing,
    without_xla,
)

SECTIONS: dict[str, Any] = {
    "step_time": step_time,
    "without_xla": without_xla,
    "structure": structure,
    "accuracy": accuracy,
    "range_test": range_test,
    "suggestions": suggestions,
    "logger": logger,
    "import_time": import_time,
    "memory": memory,
    "scaling": scaling,
    "other_frameworks": other_frameworks,
}
# Measured when asked for, since it takes long; its results stay.
BY_REQUEST = ("suggestions",)
# Most of their time goes into starting processes.
NOT_QUICK = ("import_time", "other_frameworks")
# Measured where there is what they need, and kept in files of their own.
APART: dict[str, Any] = {"engines": engines, "gpu_kernels": gpu_kernels, "gpu": gpu}


def main() -> None:
    """Measures, writes ``results/latest.json`` and ``results/latest.md``, prints the latter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"measure these alone, and keep the other results ({', '.join(SECTIONS)}); "
        "none: make the report and the pictures again",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="in some two minutes, from few runs; prints, writes nothing",
    )
    args = parser.parse_args()
    names = args.only
    if names is None:
        left_out = (*BY_REQUEST, *(NOT_QUICK if args.quick else ()))
        names = [name for name in SECTIONS if name not in left_out]
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
        pictures.draw(results)
    print(text, end="")


def document(results: dict[str, Any]) -> str:
    """The report of these results, and of those that are kept apart."""
    apart = {name: report.read(name) for name in APART}
    sections = [claims.markdown(results, apart)]
    sections += [
        f"{module.markdown(results[name]).rstrip()}\n\n{report.measured(results[name])}\n"
        for name, module in SECTIONS.items()
        if name in results
    ]
    sections += [f"{module.markdown(apart[name]).rstrip()}\n" for name, module in APART.items()]
    return "\n".join([report.HEADING, *sections])


if __name__ == "__main__":
    main()
