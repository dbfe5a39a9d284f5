"""Ctrl-C lets itself be held off, and is never lost."""

import contextlib
import signal
import threading

import pytest

from clr_schedules._interrupts import Interrupts


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def python_handler():
    """Python's own handler, and a check that it is there again afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupts_and_the_second_does_not_disturb_what_it_set_off():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts():  # noqa: PT012
        try:
            interrupt()
            reached.append("the next statement")
        finally:
            interrupt()
            interrupt()
            reached.append("the end of the clean-up")
    assert reached == ["the end of the clean-up"]


def test_one_that_was_held_arrives_at_the_end():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        interrupts.hold()
        interrupt()
        reached.append("the end of the context")
    assert reached == ["the end of the context"]


def test_one_that_came_to_nothing_arrives_at_the_next_check():
    """As it does in a destructor, whose exceptions Python only reports."""
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        interrupts.check()
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        interrupt()
        reached.append("the check")
        interrupts.check()
        reached.append("the end of the context")
    assert reached == ["the check"]


def test_one_that_came_to_nothing_arrives_at_the_end_at_the_latest():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        interrupts.hold()
        interrupts.check()
        reached.append("the end of the context")
    assert reached == ["the end of the context"]


def test_an_error_that_an_interrupt_set_off_is_not_interrupted_again():
    with pytest.raises(ZeroDivisionError), Interrupts():  # noqa: PT012
        try:
            interrupt()
        except KeyboardInterrupt:
            1 / 0  # noqa: B018


def test_nothing_arrives_when_nothing_came():
    with Interrupts() as interrupts:
        interrupts.hold()


def test_a_handler_of_the_users_is_called_and_goes_on():
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    with Interrupts() as interrupts:
        interrupt()
        interrupt()
        assert calls == [signal.SIGINT] * 2
        interrupts.hold()
        interrupt()
        assert calls == [signal.SIGINT] * 2
    assert calls == [signal.SIGINT] * 3
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_are_left_alone():
    handlers = []

    def run():
        with Interrupts() as interrupts:
            handlers.append(signal.getsignal(signal.SIGINT))
            interrupts.hold()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
