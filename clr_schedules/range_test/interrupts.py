"""Ctrl-C, let through once and then held off until what must be put back is put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Within this context, a SIGINT interrupts once, and waits from then on or from `hold` on.

    What a SIGINT does is unchanged, and none is lost: one that waited arrives on leaving, and one
    whose exception came to nothing, as in a destructor, at the next `check`. Outside the main
    thread, where Python delivers no signals, the context does nothing.
    """

    def __init__(self) -> None:
        self._held = False  # by `hold`
        self._raised = False
        self._waiting = False
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Interrupts:
        previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(previous):
            self._previous = previous
            try:
                signal.signal(signal.SIGINT, self._handle)
            except BaseException:  # one arrived right here
                signal.signal(signal.SIGINT, previous)
                raise
        return self

    def check(self) -> None:
        """Interrupts if an interrupt has come; it should not have got as far as this."""
        if self._raised and not self._held and self._previous is not None:
            self._previous(signal.SIGINT, None)

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
        got_through = self._raised and error is not None
        if (self._raised or self._waiting) and not got_through:
            signal.raise_signal(signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held or self._raised or self._previous is None:
            self._waiting = True
            return
        # Set before it is raised: a second one must not interrupt what the first one sets off.
        self._raised = True
        self._previous(number, frame)
        self._raised = False  # the handler did not raise
