"""interrupt.py: signals as a flag."""

import signal

import pytest

from train_jax.run.interrupt import Interrupted, watch_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Heard(Exception):
    """What our own handlers raise, in place of ending the test run."""


@pytest.fixture
def handlers():
    """Sets a handler of our own for both signals; {signal: handler}."""
    before = {s: signal.getsignal(s) for s in SIGNALS}

    def make(expected):
        def handler(signum, frame):
            assert signum == expected
            raise Heard(signum)

        return handler

    ours = {s: make(s) for s in SIGNALS}
    for s, handler in ours.items():
        signal.signal(s, handler)
    yield ours
    for s, handler in before.items():
        signal.signal(s, handler)


def current():
    return {s: signal.getsignal(s) for s in SIGNALS}


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_sets_the_flag_and_raises_nothing(handlers, signum):
    with watch_signals() as flag:
        assert flag.signum is None
        signal.raise_signal(signum)
        assert flag.signum == signum


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_signal_acts_as_before(handlers, signum):
    with watch_signals() as flag:
        signal.raise_signal(signum)
        with pytest.raises(Heard):
            signal.raise_signal(signum)
        assert flag.signum == signum
    assert current() == handlers


def test_a_second_signal_of_the_other_kind_acts_as_before(handlers):
    with watch_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Heard):
            signal.raise_signal(signal.SIGTERM)


def test_handlers_are_restored(handlers):
    with watch_signals():
        assert all(current()[s] is not handlers[s] for s in SIGNALS)
    assert current() == handlers


def test_handlers_are_restored_after_an_error_and_after_a_signal(handlers):
    with pytest.raises(ZeroDivisionError), watch_signals():
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError
    assert current() == handlers


def test_the_flag_of_one_block_is_not_that_of_the_next(handlers):
    with watch_signals() as first:
        signal.raise_signal(signal.SIGINT)
    with watch_signals() as second:
        assert first.signum == signal.SIGINT and second.signum is None


def test_a_default_handler_acts_on_the_second_ctrl_c(handlers):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with watch_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("signum,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_is_that_of_the_shell(signum, code):
    error = Interrupted(signum, "all is saved")
    assert error.exit_code == code and str(error) == "all is saved"
