"""Trains what is not trained yet, and writes the report.

An arm with a seed is never trained twice; one that is stopped goes on, with the next such command,
from its last whole epoch. The range test starts over when it is stopped.
"""

from __future__ import annotations

import argparse
import re
import sys
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from pathlib import Path

from benchmarks import report as shared
from benchmarks.cifar10 import data, plan, report, workers

RESULTS = shared.RESULTS / "cifar10"
# Not in build/, which other targets of the Makefile empty.
WORK = Path(__file__).parents[2] / ".cifar10"


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if not args.report:
        try:
            images = data.load(args.data)
            sizes = len(images.x_train), len(images.x_test)
            scale = plan.Scale(images.label, *sizes, args.epochs, args.budget)
            if not scale.steps_per_epoch:
                raise ValueError(f"Argument `data` must have at least {plan.BATCH_SIZE} images.")
            runs = workers.todo(scale, args.arms, args.seeds, args.results)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        print(f"{scale}: {len(runs)} runs to do; results are in {args.results}")
        try:
            workers.work_through(runs, scale, images, args.results, args.work, args.jobs)
        except KeyboardInterrupt:
            print("Stopped. The same command goes on from here.", file=sys.stderr)
            return 130
        except BrokenProcessPool:
            print("A process ended early. The same command goes on from here.", file=sys.stderr)
            return 1
    try:
        print(report.write(args.results))
    except ValueError as error:
        parser.error(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cifar10",
        description=__doc__,
        epilog="A fifth of the post's scale, with three seeds, two runs at a time:\n"
        "  python -m benchmarks.cifar10 --data FOLDER --epochs 30 --seeds 0-2 --jobs 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    default = "(default: %(default)s)"
    add(
        "--data",
        default=data.KERAS,
        metavar="DIR",
        help="a folder of images (train/airplane/*.jpg, test/airplane/*.jpg and so on), or keras: "
        f"what keras.datasets.cifar10 downloads {default}",
    )
    add("--epochs", type=_count, default=150, help=f"of the constant rates {default}")
    add(
        "--budget",
        type=_budget,
        default="1/3",
        help=f"the part of the epochs that the other arms get, as 1/3 or 0.5 {default}",
    )
    add("--seeds", type=_seeds, default="0-4", help=f"such as 0-4 or 0,2,5 {default}")
    names = f"of {', '.join(plan.ARMS)} (default: all)"
    add("--arms", nargs="+", choices=plan.ARMS, default=plan.ARMS, metavar="ARM", help=names)
    add(
        "--jobs",
        type=_count,
        default=1,
        help="how many runs at a time, each in a process of its own: on a CPU as many as it has "
        f"cores, since each then takes one {default}",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="where results are")
    add("--work", type=Path, default=WORK, metavar="DIR", help="where what is stopped goes on from")
    add("--report", action="store_true", help="only write the report again")
    return parser


def _count(text: str) -> int:
    if not re.fullmatch(r"\d*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1. Received: {text}")
    return int(text)


def _budget(text: str) -> Fraction:
    if not re.fullmatch(r"\d*\.?\d+|\d+/0*[1-9]\d*", text) or not 0 < Fraction(text) <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1. Received: {text}")
    return Fraction(text).limit_denominator(1000)


def _seeds(text: str) -> list[int]:
    """The seeds that a word names."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise argparse.ArgumentTypeError(f"must be such as 0-4 or 0,2,5. Received: {text}")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


if __name__ == "__main__":
    sys.exit(main())
