"""Seconds from the start of the process to the first finished step, and memory over epochs.

python benchmarks/startup.py [arguments for launch.py, such as --config.data.path=archive.zip]

Trains fer_best: once with an empty compilation cache, three times with a filled one. The first step
is finished when the progress line shows a second one; it is written at most once a second, so that
a figure may be up to a second too large.
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

ROOT = Path(__file__).resolve().parent.parent


def main(arguments):
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cold", "warm", "warm", "warm"):
            workdir = Path(folder) / f"{kind}{time.time()}"
            seconds = first_step(workdir, Path(folder) / "cache", arguments)
            print(f"{kind} cache: {seconds:.1f} s to the first finished step", flush=True)


def first_step(workdir, cache, arguments) -> float:
    """Starts a training in a terminal of its own, and stops it once a step is finished."""
    command = [sys.executable, "launch.py", "--config=configs/fer_best.py", f"--workdir={workdir}"]
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    terminal, its_end = pty.openpty()
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*command, *arguments], cwd=ROOT, env=env, stdout=its_end, stderr=its_end
    )
    os.close(its_end)
    text = ""
    while True:
        try:
            text += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # it ended
            sys.exit(text)
        if any(int(step) > 1 for step in re.findall(r"step (\d+)/", text)):
            break
    seconds = time.perf_counter() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(terminal)
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
