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
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from benchmarks.cifar10 import plan, results, training

if TYPE_CHECKING:
    from benchmarks.cifar10.data import Data


# An arm and a seed; the range test is an arm of one seed here.
Run = tuple[str, int]


def todo(scale: plan.Scale, arms: Iterable[str], seeds: Iterable[int], folder: Path) -> list[Run]:
    """What has no result yet, in the order in which it is begun.

    The range test is first, since an arm waits for it; then seed by seed, so that a plan that is
    stopped leaves whole seeds, which can be compared. In a seed the longest come first.

    Raises:
        ValueError: If there are results of other settings.
    """
    ordered = sorted(arms, key=lambda arm: (-scale.epochs_of(arm), plan.ARMS.index(arm)))
    runs = [(plan.RANGE_TEST, 0), *((arm, seed) for seed in seeds for arm in ordered)]
    done = {
        (arm, run["seed"])
        for arm in (plan.RANGE_TEST, *ordered)
        for run in results.begun(folder, scale, arm)["runs"]
    }
    return [run for run in runs if run not in done]


def work_through(
    runs: list[Run], scale: plan.Scale, data: Data, folder: Path, work: Path, jobs: int
) -> None:
    """Does all runs in this order, `jobs` at a time, and shows how far it is.

    Results go to ``folder``; in ``work`` is what trainings that are stopped go on from.

    Raises:
        BrokenProcessPool: If a process ends of itself.
    """
    places = {(arm, seed): work / f"{scale.slug}_{arm}_{seed}" for arm, seed in runs}
    waiting = list(runs)
    running: dict[Future[dict[str, Any]], Run] = {}
    finished = 0
    if jobs > 1:
        # What TensorFlow, JAX and PyTorch read when they start in a process: it takes one core,
        # not all of them.
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, "1")
        os.environ.setdefault("NPROC", "1")
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker)
    try:
        # An epoch can take a minute, and runs differ: the speed of half an hour tells more.
        with Progress(expand=True, speed_estimate_period=1800) as progress:
            bar = progress.add_task("epochs", total=sum(scale.epochs_of(arm) for arm, _ in runs))
            while True:
                best = results.best(folder, scale)
                ready = [run for run in waiting if run[0] != plan.CONSTANT_BEST or best]
                for run in ready[: jobs - len(running)]:
                    waiting.remove(run)
                    if run[0] == plan.RANGE_TEST:
                        future = pool.submit(training.range_test, scale, data)
                    else:
                        future = pool.submit(training.train, scale, *run, best, data, places[run])
                    running[future] = run
                if not running:
                    break
                done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    arm, seed = run = running.pop(future)
                    results.add(folder, scale, arm, future.result())
                    shutil.rmtree(places[run], ignore_errors=True)
                    finished += scale.epochs_of(arm)
                    print(f"{arm}, seed {seed}: done")
                begun = sum(len(results.scores(place)) for place in places.values())
                progress.update(bar, completed=finished + begun)
        for arm, seed in waiting:
            print(f"{arm}, seed {seed}: skipped, the range test suggests no upper bound")
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process, at whatever it is, when the parent has been killed.

    The processes of a pool would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
