"""Ctrl-C and SIGTERM as a flag that the loop looks at between two steps."""

import contextlib
import signal


class Interrupted(Exception):
    """Training was stopped by a signal; everything is saved."""

    def __init__(self, signum, message):
        super().__init__(message)
        self.exit_code = 128 + signum  # the shell's convention: 130 for Ctrl-C, 143 for SIGTERM


class Flag:
    signum = None  # int: the signal that came; None while none did


@contextlib.contextmanager
def watch_signals():
    """Within the block, SIGINT and SIGTERM set the flag that it yields.

    A second one acts at once, as it would have without us.
    """
    flag = Flag()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.getsignal(s) for s in signals}

    def note(signum, frame):
        flag.signum = signum
        for s in signals:
            signal.signal(s, before[s])

    for s in signals:
        signal.signal(s, note)
    try:
        yield flag
    finally:
        for s in signals:
            signal.signal(s, before[s])
