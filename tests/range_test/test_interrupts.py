"""Ctrl-C interrupts a training as always, waits while a model is restored, and is never lost."""

import contextlib
import signal
import threading

import pytest

from clr_schedules.range_test.interrupts import Interrupts


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def python_handler():
    """Python's own handler, and a check that it is there again afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupts_the_training_and_the_second_does_not_disturb_the_restoring():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        try:
            with interrupts.let_through():
                interrupt()
                reached.append("the next statement")
        finally:
            interrupt()
            interrupt()
            reached.append("the end of the restoring")
    assert reached == ["the end of the restoring"]


def test_the_second_does_not_disturb_what_the_first_sets_off_within_the_training():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.let_through():  # noqa: PT012
        try:
            interrupt()
        finally:
            interrupt()
            reached.append("the end of the clean-up")
    assert reached == ["the end of the clean-up"]


@pytest.mark.parametrize("trained", [False, True])
def test_one_that_waits_arrives_at_the_end(trained):
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        if trained:
            with interrupts.let_through():
                pass
        interrupt()
        reached.append("the end of the context")
    assert reached == ["the end of the context"]


def test_one_that_comes_while_an_error_is_handled_arrives_at_the_end():
    with pytest.raises(KeyboardInterrupt) as raised, Interrupts() as interrupts:  # noqa: PT012
        try:
            with interrupts.let_through():
                1 / 0  # noqa: B018
        finally:
            interrupt()
    assert isinstance(raised.value.__context__, ZeroDivisionError)


def test_one_that_got_lost_arrives_at_the_next_check():
    """As it does in a destructor, whose exceptions Python only reports."""
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.let_through():  # noqa: PT012
        interrupts.check()
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        interrupt()
        reached.append("the check")
        interrupts.check()
        reached.append("the end of the context")
    assert reached == ["the check"]


def test_one_that_got_lost_arrives_at_the_end_at_the_latest():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        with interrupts.let_through(), contextlib.suppress(KeyboardInterrupt):
            interrupt()
        reached.append("the end of the context")
    assert reached == ["the end of the context"]


def test_nothing_arrives_when_nothing_came():
    with Interrupts() as interrupts:
        interrupts.check()
        with interrupts.let_through():
            interrupts.check()


def test_a_handler_of_the_users_is_called_and_goes_on():
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    with Interrupts() as interrupts:
        with interrupts.let_through():
            interrupt()
            interrupt()
            interrupts.check()
            assert calls == [signal.SIGINT] * 2
        interrupt()
        assert calls == [signal.SIGINT] * 2
    assert calls == [signal.SIGINT] * 3
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts() as interrupts, interrupts.let_through():
        interrupt()
        interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_are_left_alone():
    handlers = []

    def run():
        with Interrupts() as interrupts, interrupts.let_through():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
