"""Trains what is not trained yet, and writes the report.

A run is an arm with a seed. Each that ends leaves a file in the folder of results, and is never
repeated; one that is stopped goes on from its last checkpoint with the next such command.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks import report as shared
from benchmarks.cifar10 import plan, report, runs, workers
from benchmarks.cifar10.data import KERAS, Source
from benchmarks.cifar10.plan import Run, Scale

RESULTS = shared.RESULTS / "cifar10"
_ROOT = Path(__file__).parents[2]
# Not in build/, which other targets of the Makefile empty.
WORK = _ROOT / ".cifar10"


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        if not args.report:
            _train(args)
        if not args.plan:
            _write_report(args.results)
    except (InputError, workers.RunError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


class InputError(Exception):
    """What was asked for cannot be done; the message says why."""


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turns errors about what was given into what is told without a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cifar10",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--arms", nargs="+", choices=plan.ARMS, default=plan.ARMS, metavar="ARM", help=_ARMS)
    add(
        "--seeds",
        nargs="+",
        default=["0-4"],
        metavar="SEEDS",
        help="such as 0-4, 0,2,5 or 0 1 2 (default: 0-4)",
    )
    add("--epochs", type=_count, default=150, help="of the constant rates (default: %(default)s)")
    add(
        "--budget",
        type=_budget,
        default=Fraction(1, 3),
        help="the part of the epochs that the other arms get, as 1/3 or 0.5 (default: 1/3)",
    )
    add(
        "--data",
        default=KERAS,
        metavar="DIR",
        help="a folder of images (train/airplane/*.jpg, test/airplane/*.jpg and so on), or keras: "
        "what keras.datasets.cifar10 downloads (default: %(default)s)",
    )
    add("--batch-size", type=_count, default=plan.BATCH_SIZE, help="(default: %(default)s)")
    add(
        "--label",
        help="what the data set is called (default: CIFAR-10, of JPEG images CIFAR-10 (JPEG))",
    )
    add(
        "--range-test",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the range test, of which the rate of constant_best comes (default: do it); it takes "
        "about as long as a constant rate, tells no progress, and starts over when it is stopped",
    )
    add(
        "--range-steps",
        type=_count,
        metavar="STEPS",
        help="of the range test (default: as many as the constant rates take)",
    )
    add(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help=f"where results are {_shown(RESULTS)}",
    )
    add(
        "--work",
        type=Path,
        default=WORK,
        metavar="DIR",
        help=f"where checkpoints are {_shown(WORK)}",
    )
    add(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="from one checkpoint of a run to the next (default: %(default)s)",
    )
    add(
        "--jobs",
        type=_count,
        default=1,
        help="how many runs at a time, each in a process of its own: on a CPU as many as it has "
        "cores, since each then takes one (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    what.add_argument("--report", action="store_true", help="only write the report again")
    return parser


def _shown(path: Path) -> str:
    return f"(default: {path.relative_to(_ROOT)} of the checkout)"


_ARMS = f"of {', '.join(plan.ARMS)} (default: all)"
_EXAMPLE = (
    "A fifth of the post's scale, with three seeds, two runs at a time:\n"
    "  python -m benchmarks.cifar10 --data FOLDER --epochs 30 --seeds 0-2 --jobs 2"
)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1. Received: {text}")
    return int(text)


def _budget(text: str) -> Fraction:
    try:
        budget = Fraction(text)
    except (ValueError, ZeroDivisionError):
        budget = Fraction(0)
    if not 0 < budget <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1. Received: {text}")
    return budget.limit_denominator(1000)


def _seeds(texts: list[str]) -> list[int]:
    """The seeds that some words name."""
    seeds: list[int] = []
    for text in ",".join(texts).replace(" ", ",").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(
                f"Argument `seeds` must be such as 0-4, 0,2,5 or 0 1 2. Received: {' '.join(texts)}"
            )
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


def _train(args: argparse.Namespace) -> None:
    """Shows the plan, or does what of it is not done."""
    with _refusing():
        source = Source(args.data)
        planned = _planned(args, source)
        results = {run: runs.read(run.path(args.results)) for run in planned}
        finished = [run for run, result in results.items() if _is_of(result, run, source)]
    todo = [run for run in planned if run not in finished]
    if args.plan:
        _show(planned, finished, args)
        return
    if not todo:
        print(
            f"All {len(planned)} runs are finished, in {args.results}; "
            "with another --results they are trained again"
        )
        return
    from benchmarks.cifar10.progress import Display

    with _refusing():
        data = source.load()
    settings = workers.Settings(args.results, args.work, args.checkpoint_seconds, args.range_steps)
    with Display(planned, finished, {r: runs.epochs_done(args.work, r) for r in todo}) as display:
        workers.work_through(todo, data, settings, args.jobs, display.told)


def _planned(args: argparse.Namespace, source: Source) -> list[Run]:
    """All runs, finished or not."""
    if source.train < args.batch_size:
        raise ValueError(
            f"Argument `data` must have at least {args.batch_size} train images, one batch. "
            f"Received: {args.data} with {source.train}"
        )
    steps = source.train // args.batch_size
    label = args.label or source.label
    scale = Scale(label, args.epochs, args.budget, steps, args.batch_size)
    return plan.runs(scale, args.arms, _seeds(args.seeds), range_test=args.range_test)


def _is_of(result: dict[str, Any] | None, run: Run, source: Source) -> bool:
    """Whether there is a result; raises if it is of other data that are called the same."""
    if result is None:
        return False
    if result["data"] != run.scale.data:
        raise ValueError(
            "Argument `label` must be that of the results, or differ in letters or digits. "
            f"Received: {run.scale.data}, where {run.name}.json is of {result['data']}"
        )
    images = result["train_images"], result["test_images"]
    if images != (source.train, source.test):
        raise ValueError(
            "Argument `label` must be given to data of which there are no results yet. "
            f"Received: {source.train} and {source.test} images, where {run.name}.json is of "
            f"{images[0]} and {images[1]}"
        )
    return True


def _show(planned: list[Run], finished: list[Run], args: argparse.Namespace) -> None:
    """Prints the plan."""
    rows = []
    left = 0
    for run in planned:
        done = run.epochs if run in finished else runs.epochs_done(args.work, run)
        steps = run.epochs * run.scale.steps_per_epoch
        if run.is_range_test:
            steps = args.range_steps or run.scale.range_test_steps
            done = min(done, run.epochs)
        left += steps - done * steps // run.epochs
        state = "finished" if run in finished else f"{done} of {run.epochs} epochs"
        if run.is_range_test and run not in finished:
            state = "to do"
        rows.append([run.arm, str(run.seed), f"{steps:,}", state])
    print(f"{planned[0].scale}:\n")
    print(shared.table(["arm", "seed", "steps", "done"], rows))
    print(f"\n{left:,} steps to do.")


def _write_report(results: Path) -> None:
    with _refusing():
        found = runs.read_all(results)
        if not found:
            raise ValueError(f"There are no results yet. Received: results={results}")
    report.write(results, found)
    print(results / report.NAME)


if __name__ == "__main__":
    sys.exit(main())
