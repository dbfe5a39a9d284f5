"""Runs every benchmark, writes the results and prints them."""

from __future__ import annotations

import argparse

from benchmarks import accuracy, import_time, report, step_time


def main() -> None:
    """Measures, writes ``results/latest.json`` and ``results/latest.md``, prints the latter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--blocks",
        type=int,
        default=step_time.BLOCKS,
        help="ratios to take of each step time (default: %(default)s)",
    )
    blocks = parser.parse_args().blocks
    results = {
        **report.environment(),
        "accuracy": accuracy.measure(),
        "step_time": step_time.measure(blocks),
        "import_time": import_time.measure(),
    }
    text = "\n".join(
        [
            report.heading(results),
            accuracy.markdown(results["accuracy"]),
            step_time.markdown(results["step_time"]),
            import_time.markdown(results["import_time"]),
        ]
    )
    report.write(results, text)
    print(text, end="")


if __name__ == "__main__":
    main()
