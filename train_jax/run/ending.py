"""How the command ends: an exit code, at most one line on stderr, and nothing that disturbs."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from train_jax import process
from train_jax.run.errors import in_one_line
from train_jax.run.interrupt import Interrupted


def exit_code(work: Callable[[], int | None], workdir: Path) -> int | None:
    """What `work` returns; else that of its exception, told in one line unless a traceback says
    more."""
    try:
        return work()
    except Interrupted as interrupted:
        return fail(str(interrupted), interrupted.exit_code)
    except BrokenPipeError:  # `| head -1` has read enough
        sys.stdout = open(os.devnull, "w")
        return 128 + 13
    except Exception as error:
        told = in_one_line(error, workdir)
        if told is None:
            raise
        return fail(f"error: {told}")


def fail(message: str, code: int = 2) -> int:
    """Prints the message to stderr; the code."""
    print(message, file=sys.stderr, flush=True)
    return code


def close():
    """When all is written: no signal counts any more, and what stdout still holds goes out."""
    process.ignore_stops()
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more
