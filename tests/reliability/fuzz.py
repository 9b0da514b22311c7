"""Damages every kind of input at random, and reads it.

Each trial must end with the data that a plain second reader (reading.py) finds in the same bytes,
or with a UserError: never with another exception, in over 10 s or with much memory.

python -m tests.reliability.fuzz --n=50000
python -m tests.reliability.fuzz --n=50000 --target=csv --seed=1
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

# target -> (module, share of the trials). A trial of csv takes 2 ms, of weights 30 ms.
TARGETS = {
    "csv": ("faces_targets", 0.18),
    "zip": ("faces_targets", 0.14),
    "folder": ("faces_targets", 0.08),
    "photo": ("faces_targets", 0.06),
    "tar": ("forms_targets", 0.06),
    "ferplus": ("forms_targets", 0.04),
    "parquet": ("forms_targets", 0.02),
    "resize": ("forms_targets", 0.02),
    "tsv": ("text_targets", 0.11),
    "pairs": ("text_targets", 0.11),
    "corpora": ("text_targets", 0.06),
    "subwords": ("text_targets", 0.03),
    "vocabulary": ("text_targets", 0.04),
    "flags": ("text_targets", 0.03),
    "weights": ("weights_target", 0.02),
}
SECONDS = 10  # of one trial, at most
MEGABYTES = 400  # that the process may grow by, at most


class Hang(BaseException):
    """No `except Exception` of a reader catches it."""


def run(target: str, n: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """(trials that were accepted, a text about each trial that failed), of n trials.

    Trial i is that of Random(f'{target} {seed} {i}').
    """
    make: Callable = getattr(
        importlib.import_module(f"tests.reliability.{TARGETS[target][0]}"), f"make_{target}"
    )
    trial = make(folder)
    accepted, failures = 0, []
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak so far is what is used now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def hang(*_):
        raise Hang(f"more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, hang)
    try:
        for number in range(n):
            signal.alarm(SECONDS)
            try:
                accepted += trial(Random(f"{target} {seed} {number}"))
            except (Exception, Hang) as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                failures.append(f"{target} {seed} {number}: {error!r:.300} at {where}")
            signal.alarm(0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MEGABYTES:
        failures.append(f"{target} {seed}: the process grew by {grown:.0f} MB")
    return accepted, failures


def run_in_process(target: str, n: int, seed: int) -> tuple[int, list[str]]:
    """As `run`, in a process of its own, whose memory is counted and which may crash."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, initializer=silence) as pool:
            return pool.submit(run, target, n, seed, Path(folder)).result(timeout=60 + n)


def silence():
    """libjpeg and libpng of the second reader speak of what they see; the first one's do not."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000, help="trials, of all targets together")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    targets = {args.target: 1.0} if args.target else {k: share for k, (_, share) in TARGETS.items()}
    bad = 0
    for target, share in targets.items():
        n, start = max(1, round(args.n * share)), time.monotonic()
        accepted, failures = run_in_process(target, n, args.seed)
        seconds = time.monotonic() - start
        print(
            f"{target}: {n} trials in {seconds:.0f} s, {accepted} accepted, "
            f"{n - accepted - len(failures)} refused, {len(failures)} failed",
            flush=True,
        )
        for failure in failures[:20]:
            print("  " + failure)
        bad += len(failures)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
