"""Many runs, one after the other or side by side, each in a process that takes one after another.

A pool of the standard library outlives a parent that is killed, and waits for ever. Here a worker
has a pipe to the parent, and ends when the parent does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.cifar10 import runs
from benchmarks.cifar10.plan import CONSTANT_BEST, Run

if TYPE_CHECKING:
    from benchmarks.cifar10.data import Data


class RunError(RuntimeError):
    """A run could not be done to its end."""


class Told(NamedTuple):
    """What is told of a run: it has done so many epochs, is finished, or was skipped."""

    run: Run
    epochs: int
    what: str  # "epoch", "finished" or "skipped"


class Settings(NamedTuple):
    """What all runs share; see `runs.perform`."""

    results: Path
    work: Path
    every: float
    range_steps: int | None


def work_through(
    todo: list[Run], data: Data, settings: Settings, jobs: int, told: Callable[[Told], None]
) -> None:
    """Does all runs.

    Args:
        todo: The runs, in the order in which they are begun.
        data: The images.
        settings: What all runs share.
        jobs: How many run at a time. With one, this process does them.
        told: Called, in this process, with what happens.

    Raises:
        RunError: If a worker ends of itself, or a run in one fails.
    """
    waiting = list(todo)
    if jobs == 1:
        while (run := _next(waiting, settings, [], told)) is not None:
            _perform(run, data, settings, told)
            told(Told(run, run.epochs, "finished"))
        return
    context = multiprocessing.get_context("spawn")
    busy: dict[Any, Run] = {}
    idle: list[Any] = []
    processes: dict[Any, Any] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(min(jobs, len(waiting))):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, settings), daemon=True)
            process.start()
            there.close()
            processes[here] = process
            idle.append(here)
            stack.callback(_stop, process)
        for here, run in zip(idle, waiting, strict=False):
            with _expecting(processes[here], run):
                here.send(data)
        while waiting or busy:
            while idle:
                run = _next(waiting, settings, list(busy.values()), told)
                if run is None:
                    break
                here = idle.pop(0)
                with _expecting(processes[here], run):
                    here.send(run)
                busy[here] = run
            ready: list[Any] = connection.wait(list(busy))
            for here in ready:
                run = busy[here]
                with _expecting(processes[here], run):
                    what, content = here.recv()
                if what == "failed":
                    raise RunError(f"{run.name} failed:\n{content}")
                told(Told(run, content, what))
                if what == "finished":
                    del busy[here]
                    idle.append(here)


@contextlib.contextmanager
def _expecting(process: Any, run: Run) -> Iterator[None]:
    """Says what became of a worker whose pipe is broken."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError):
        process.join()
        raise RunError(
            f"The worker of {run.name} ended with exit code {process.exitcode}; "
            "the same command goes on from here"
        ) from None


def _next(
    waiting: list[Run], settings: Settings, busy: list[Run], told: Callable[[Told], None]
) -> Run | None:
    """Takes the first run that can begin; what cannot any more is skipped."""
    for run in list(waiting):
        if run.arm == CONSTANT_BEST and runs.best_rate(settings.results, run.scale) is None:
            if any(other.is_range_test for other in (*waiting, *busy)):
                continue
            waiting.remove(run)
            told(Told(run, 0, "skipped"))
            continue
        waiting.remove(run)
        return run
    return None


def _perform(run: Run, data: Data, settings: Settings, told: Callable[[Told], None]) -> None:
    runs.perform(
        run, data, **settings._asdict(), told=lambda epochs: told(Told(run, epochs, "epoch"))
    )


def _stop(process: Any) -> None:
    process.terminate()
    process.join()


def _work(parent: Any, settings: Settings) -> None:
    """What a worker does, until the pipe breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    # Read when TensorFlow and JAX start. With what the package sets, a worker takes one thread;
    # otherwise it takes two or more, for those of its neighbours.
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("NPROC", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        data = parent.recv()
        for run in _received(parent):
            try:
                _perform(run, data, settings, lambda told: parent.send((told.what, told.epochs)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception:
                parent.send(("failed", traceback.format_exc()))
                continue
            parent.send(("finished", run.epochs))


def _end_with_parent() -> None:
    """Ends this process, at whatever it is, when the parent has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _received(parent: Any) -> Iterator[Run]:
    while True:
        yield parent.recv()
