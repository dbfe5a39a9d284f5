"""Delays Ctrl-C while a model is being prepared and restored."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Interrupts:
    """Within this context a Ctrl-C waits until the end, except within `let_through`.

    The handler that the user has set (Python's raises a ``KeyboardInterrupt``) is called either
    way. Python runs it in the main thread alone; in other threads, this context does nothing.
    """

    def __init__(self) -> None:
        self._let_through = False
        self._came = False
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Interrupts:
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous) and threading.current_thread() is threading.main_thread():
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self._came and not isinstance(error, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """A context in which the first Ctrl-C interrupts at once."""
        self._let_through = True
        try:
            yield
        finally:
            self._let_through = False

    def check(self) -> None:
        """Interrupts again if an interrupt got lost, as Python loses those in destructors."""
        if self._came and self._previous is not None:
            self._previous(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        if self._let_through and self._previous is not None:
            # From here on, others wait: none may disturb what this one sets off.
            self._let_through = False
            self._previous(number, frame)
            self._let_through, self._came = True, False  # the handler did not raise
