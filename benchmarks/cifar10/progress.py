"""How far the plan is, and how long it will still take."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from benchmarks.cifar10.plan import Run
    from benchmarks.cifar10.workers import Told


class Display:
    """A line for each run that ends, and in a terminal a bar.

    Args:
        planned: All runs.
        finished: Those that need not be done.
        begun: The epochs that checkpoints have of the others.
    """

    def __init__(
        self, planned: Sequence[Run], finished: Sequence[Run], begun: Mapping[Run, int]
    ) -> None:
        self._done = {run: run.epochs for run in finished} | dict(begun)
        self._count = len(finished)
        self._start, self._begin = time.monotonic(), self._sum()
        self._planned = planned
        self._console = Console(highlight=False, stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
            # An epoch can take a minute, and runs differ: the speed of half an hour tells more.
            speed_estimate_period=1800,
        )
        self._task = self._progress.add_task(
            self._description(), total=sum(run.epochs for run in planned), completed=self._sum()
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def told(self, told: Told) -> None:
        """Takes note of what happened to a run."""
        if told.what == "skipped":
            self._count += 1
            self._done[told.run] = told.run.epochs
            self._console.print(
                f"{told.run.name}: skipped, no range test tells its rate", soft_wrap=True
            )
        else:
            self._done[told.run] = told.epochs
        if told.what == "finished":
            self._count += 1
            count = f"{self._count} of {len(self._planned)}"
            self._console.print(f"{told.run.name}: done ({count}{self._left()})", soft_wrap=True)
        self._progress.update(self._task, completed=self._sum(), description=self._description())

    def _left(self) -> str:
        """How long the rest will take, at the speed so far."""
        total, done = sum(run.epochs for run in self._planned), self._sum()
        if done in (self._begin, total):
            return ""
        seconds = (time.monotonic() - self._start) * (total - done) / (done - self._begin)
        return f", {datetime.timedelta(seconds=round(seconds))} left"

    def _sum(self) -> int:
        return sum(self._done.values())

    def _description(self) -> str:
        return f"{self._count} of {len(self._planned)} runs"
