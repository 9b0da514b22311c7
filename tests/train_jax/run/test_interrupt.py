"""interrupt.py: signals as a flag."""

import signal
import subprocess
import sys

import pytest

from train_jax import process
from train_jax.run import interrupt
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


LONG_STEP = """
import hashlib, signal, sys
from train_jax import process
from train_jax.run import interrupt
signal.signal(signal.SIGINT, process.stop)
signal.signal(signal.SIGTERM, process.stop)
process.listen()
def work():
    print("working", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # many minutes within one instruction
if sys.argv[1] == "outside":
    with interrupt.watch_signals():
        pass
    print("half a line", end="")
    work()
else:
    with interrupt.watch_signals(lambda: "all is saved"):
        work()
"""


@pytest.mark.parametrize("signum,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("where", "line", "out"),
    [
        ("outside", "interrupted; run the same command again\n", "half a lineworking\n"),
        ("finish", "all is saved\n", "working\n"),
    ],
)
def test_a_signal_is_heard_within_an_instruction(where, line, out, signum, code):
    """As a compiled call is one, or a search in a large picture."""
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_STEP, where], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == out
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (code, line)


def test_a_step_that_ends_in_time_is_not_cut_off(handlers, monkeypatch):
    """And the pipe of the block is that of no other."""
    monkeypatch.setattr(process, "listening", True)
    monkeypatch.setattr(interrupt, "PATIENCE", 300.0)
    finished = []
    with watch_signals(lambda: finished.append(1)) as flag:
        signal.raise_signal(signal.SIGTERM)
        assert flag.signum == signal.SIGTERM
    with watch_signals(lambda: finished.append(1)) as flag:
        assert flag.signum is None
    assert not finished and current() == handlers
    assert signal.set_wakeup_fd(-1) == -1


def test_a_process_of_others_is_not_ended(handlers, monkeypatch):
    """A notebook, or pytest: the flag is all."""
    monkeypatch.setattr(interrupt, "PATIENCE", 0.0)
    before = signal.set_wakeup_fd(-1)
    with watch_signals(lambda: "saved") as flag:
        assert signal.set_wakeup_fd(-1) == -1
        signal.raise_signal(signal.SIGTERM)
        assert flag.signum == signal.SIGTERM
    signal.set_wakeup_fd(before)
