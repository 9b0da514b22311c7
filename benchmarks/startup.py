"""Seconds from the start of the process to the first finished step, and memory over epochs.

python benchmarks/startup.py [arguments for launch.py, such as --config.data.path=archive.zip]

Trains fer_best: once with an empty compilation cache, three times with a filled one. When the
progress line shows step k, k - 1 are finished; it is written at most once a second, so the end of
the first step is where a straight line through some of them meets k = 2.
"""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LINES = 8  # of the progress line, about as many seconds
ROOT = Path(__file__).resolve().parent.parent


def main(arguments):
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cold", "warm", "warm", "warm"):
            workdir = Path(folder) / f"{kind}{time.time()}"
            seconds = first_step(workdir, Path(folder) / "cache", arguments)
            print(f"{kind} cache: {seconds:.1f} s to the first finished step", flush=True)


def first_step(workdir, cache, arguments) -> float:
    """Starts a training in a terminal of its own, and stops it after some steps."""
    command = [sys.executable, "launch.py", "--config=configs/fer_best.py", f"--workdir={workdir}"]
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    terminal, its_end = pty.openpty()
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*command, *arguments], cwd=ROOT, env=env, stdout=its_end, stderr=its_end
    )
    os.close(its_end)
    text, steps, seconds = "", [], []
    while len(steps) < LINES:
        try:
            text += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # it ended
            sys.exit(text)
        shown = [int(step) for step in re.findall(r"step (\d+)/", text)]
        if shown and steps and shown[-1] < steps[-1]:
            break  # the next epoch: validation lies in between
        if shown and shown[-1] > 1 and shown[-1] not in steps:
            steps.append(shown[-1])
            seconds.append(time.perf_counter() - begin)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(terminal)
    if len(steps) < 2:
        sys.exit("an epoch is over too soon to draw a line through its steps: give more data")
    step, start = np.polyfit(steps, seconds, 1)
    return start + 2 * step


if __name__ == "__main__":
    main(sys.argv[1:])
