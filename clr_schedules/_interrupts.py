"""Ctrl-C, let through once and then held off until what must be put back is put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Within this context, the first SIGINT interrupts, unless `hold` was called before it.

    A SIGINT that was held off arrives on leaving the context. The handler is the one that was
    there before, so what a SIGINT does is unchanged. Outside the main thread, where Python delivers
    no signals, the context does nothing.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting = False
        self._raised = False
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Interrupts:
        in_main_thread = threading.current_thread() is threading.main_thread()
        previous = signal.getsignal(signal.SIGINT)
        if in_main_thread and callable(previous):
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)
        return self

    def hold(self) -> None:
        """From here on, a SIGINT waits."""
        self._held = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self._waiting and not self._raised:
            signal.raise_signal(signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held or self._previous is None:
            self._waiting = True
            return
        # Held before it is raised: a second one must not interrupt what the first one set off.
        self._held = self._raised = True
        self._previous(number, frame)
        self._held = self._raised = False  # the handler did not raise
