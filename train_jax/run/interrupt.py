"""Ctrl-C and SIGTERM as a flag that the loop looks at between two steps."""

import contextlib
import os
import signal
import threading

from train_jax import process

PATIENCE = 0.5  # seconds that a step may go on for after a signal, where there is a `finish`


class Interrupted(Exception):
    """Training was stopped by a signal; everything is saved."""

    def __init__(self, signum, message):
        super().__init__(message)
        self.exit_code = 128 + signum  # the shell's convention: 130 for Ctrl-C, 143 for SIGTERM


class Flag:
    signum = None  # int: the signal that came; None while none did


@contextlib.contextmanager
def watch_signals(finish=None):
    """Within the block, SIGINT and SIGTERM set the flag that it yields.

    A second one acts at once, as it would have without us.

    Args:
      finish: where a step may be long, such as a search in a large picture: () -> str, which saves
        what there is and says so. If the block has not ended PATIENCE after a signal, it is called
        in another thread, and the process ends; but not where the process is another's, such as
        a notebook's.
    """
    flag = Flag()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.getsignal(s) for s in signals}

    def note(signum, frame):
        flag.signum = signum
        for s in signals:
            signal.signal(s, before[s])

    with contextlib.ExitStack() as stack:
        if finish and process.listening:
            stack.enter_context(_hurry(finish))
        elif process.listening:
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(-1))  # process.listen is deaf
        for s in signals:
            signal.signal(s, note)
        try:
            yield flag
        finally:
            for s in signals:
                signal.signal(s, before[s])


@contextlib.contextmanager
def _hurry(finish):
    """Python hears of a signal only between two of its instructions; the pipe here at once."""
    ended = threading.Event()
    source, sink = os.pipe()
    os.set_blocking(sink, False)

    def wait():
        signum = os.read(source, 1)
        if signum and not ended.wait(PATIENCE):
            os.write(2, (finish() + "\n").encode(errors="backslashreplace"))
            os._exit(128 + signum[0])

    thread = threading.Thread(target=wait, daemon=True)
    before = signal.set_wakeup_fd(sink)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(sink)
        thread.join()
        os.close(source)
