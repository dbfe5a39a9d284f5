"""Many trainings side by side, each in a process that takes one after another."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks.cifar10 import plan, results

if TYPE_CHECKING:
    from benchmarks.cifar10.data import Data


class Run(NamedTuple):
    """A training, or the range test, which is an arm of one seed here."""

    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


def todo(scale: plan.Scale, arms: Iterable[str], seeds: Iterable[int], folder: Path) -> list[Run]:
    """What has no result yet, in the order in which it is begun.

    The range test is first, since an arm waits for it; then seed by seed, so that a plan that is
    stopped leaves whole seeds, which can be compared. In a seed the longest come first.

    Raises:
        ValueError: If there are results of other settings.
    """
    ordered = sorted(arms, key=lambda arm: (-scale.epochs_of(arm), plan.ARMS.index(arm)))
    runs = [Run(plan.RANGE_TEST, 0), *(Run(arm, seed) for seed in seeds for arm in ordered)]
    done = {arm: _begun(scale, arm, folder)["runs"] for arm in (plan.RANGE_TEST, *ordered)}
    return [run for run in runs if all(found["seed"] != run.seed for found in done[run.arm])]


def _begun(scale: plan.Scale, arm: str, folder: Path) -> dict[str, Any]:
    if arm == plan.RANGE_TEST:
        return results.begun(folder, scale, arm, plan.RANGE_TEST_BOUNDS)
    rate = scale.learning_rate(arm, results.best(folder, scale))
    return results.begun(folder, scale, arm, rate)


def work_through(
    runs: list[Run], scale: plan.Scale, data: Data, folder: Path, work: Path, jobs: int
) -> None:
    """Does all runs in this order, `jobs` at a time, and shows how far it is.

    Results go to ``folder``; in ``work`` is what trainings that are stopped go on from.

    Raises:
        BrokenProcessPool: If a process ends of itself.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.SimpleQueue()
    pool = ProcessPoolExecutor(jobs, context, _start, (scale, data, told, jobs))
    running: dict[Future[dict[str, Any]], Run] = {}
    console = Console(highlight=False, stderr=True)
    # An epoch can take a minute, and runs differ: the speed of half an hour tells more.
    options: dict[str, Any] = {"expand": True, "speed_estimate_period": 1800}
    epochs = sum(scale.epochs_of(run.arm) for run in runs)

    def place(run: Run) -> Path:
        return work / f"{scale.slug}_{run.arm}_{run.seed}"

    try:
        with Progress(console=console, disable=not console.is_terminal, **options) as progress:
            done_before = sum(len(results.scores(place(run))) for run in runs)
            bar = progress.add_task("epochs", total=epochs, completed=done_before)
            while True:
                best = results.best(folder, scale)
                ready = [run for run in runs if run.arm != plan.CONSTANT_BEST or best is not None]
                for run in ready[: jobs - len(running)]:
                    runs.remove(run)
                    running[pool.submit(_do, run, best, place(run))] = run
                if not running:
                    break
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                while not told.empty():
                    progress.update(bar, advance=told.get())
                for future in done:
                    run = running.pop(future)
                    results.add(folder, _begun(scale, run.arm, folder), future.result())
                    shutil.rmtree(place(run), ignore_errors=True)
                    console.print(f"{run}: done")
            for run in runs:
                console.print(f"{run}: skipped, the range test suggests no upper bound")
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


# In a worker --------------------------------------------------------------------------------------

_given: tuple[plan.Scale, Data, Any]


def _start(scale: plan.Scale, data: Data, told: Any, jobs: int) -> None:
    """Prepares a worker."""
    global _given
    _given = scale, data, told
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    if jobs > 1:
        # Read when TensorFlow, JAX and PyTorch start: a worker takes one core, not all of them.
        for name in (
            "OMP_NUM_THREADS",
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
            "NPROC",
        ):
            os.environ.setdefault(name, "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process, at whatever it is, when the parent has been killed.

    The processes of a pool would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(run: Run, best: float | None, work: Path) -> dict[str, Any]:
    """Does a run, and returns what is kept of it."""
    from benchmarks.cifar10 import training

    scale, data, told = _given
    if run.arm == plan.RANGE_TEST:
        found = training.range_test(scale, data)
        told.put(scale.epochs)
        return found
    return training.train(
        **{"scale": scale, "arm": run.arm, "seed": run.seed, "best": best},
        **{"data": data, "work": work, "told": told.put},
    )
