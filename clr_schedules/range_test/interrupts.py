"""Delays Ctrl-C while a range test prepares or restores a model."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Interrupts:
    """A context in which a Ctrl-C waits until the end of the context, except in `let_through`.

    In both cases, the user's own handler is called (Python's default handler raises a
    ``KeyboardInterrupt``). Python calls handlers only in the main thread. In other threads, this
    context does nothing.
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
        """Calls the user's handler again if a Ctrl-C came but its exception got lost.

        Python drops exceptions that are raised in a destructor, ``KeyboardInterrupt`` too.
        """
        if self._came and self._previous is not None:
            self._previous(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a Ctrl-C: calls the user's handler now, or only remembers that a Ctrl-C came."""
        self._came = True
        if self._let_through and self._previous is not None:
            # From here on, a second Ctrl-C waits, so that it cannot disturb the work that the
            # first one starts: the end of the training and the restoring of the model.
            self._let_through = False
            self._previous(number, frame)
            # The user's handler returned without an exception, so the training continues.
            self._let_through, self._came = True, False
