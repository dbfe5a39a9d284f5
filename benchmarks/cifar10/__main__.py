"""Trains what is not trained yet, and writes the report.

An arm with a seed is never trained twice; one that is stopped goes on, with the next such command,
from its last whole epoch. The range test starts over when it is stopped.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

from benchmarks import report as shared
from benchmarks.cifar10 import data, plan, report, workers

RESULTS = shared.RESULTS / "cifar10"
# Not in build/, which other targets of the Makefile empty.
WORK = Path(__file__).parents[2] / ".cifar10"


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cifar10",
        description=__doc__,
        epilog="A fifth of the post's scale, with three seeds, two runs at a time: "
        "python -m benchmarks.cifar10 --data FOLDER --epochs 30 --seeds 0-2 --jobs 2",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    folder = "a folder of images (train/airplane/*.jpg, test/airplane/*.jpg and so on), or keras: "
    folder += "what keras.datasets.cifar10 downloads"
    add("--data", default=data.KERAS, metavar="DIR", help=folder)
    add("--epochs", type=int, default=150, help="of the constant rates")
    budget = "the part of the epochs that the other arms get, as 1/3 or 0.5"
    add("--budget", type=Fraction, default="1/3", help=budget)
    add("--seeds", type=seeds, default="0-4", help="such as 0-4, or 3")
    add("--arms", nargs="+", choices=plan.ARMS, default=plan.ARMS, metavar="ARM", help="which")
    jobs = "how many runs at a time: on a CPU as many as it has cores, since each then takes one"
    add("--jobs", type=int, default=1, help=jobs)
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="where results are")
    add("--work", type=Path, default=WORK, metavar="DIR", help="where what is stopped goes on from")
    add("--report", action="store_true", help="only write the report again")
    args = parser.parse_args(arguments)
    if min(args.epochs, args.jobs) < 1 or not 0 < args.budget <= 1:
        parser.error("--epochs and --jobs must be at least 1, --budget above 0 and at most 1")
    try:
        if not args.report:
            images = data.load(args.data)
            sizes = len(images.x_train), len(images.x_test)
            scale = plan.Scale(images.label, *sizes, args.epochs, args.budget)
            runs = workers.todo(scale, args.arms, args.seeds, args.results)
            print(f"{scale}: {len(runs)} runs to do; results are in {args.results}")
            workers.work_through(runs, scale, images, args.results, args.work, args.jobs)
        print(report.write(args.results))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def seeds(text: str) -> range:
    """The seeds that are meant by a first and a last one, or by one."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
