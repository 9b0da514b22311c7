"""Signals at random moments, then the same command again, until the run ends by itself.

python -m tests.reliability.kill --kills=100                  # of both; a quarter of an hour
python -m tests.reliability.kill --kills=20 --signal=SIGTERM  # or SIGINT

Each run must end with the bits of one that nothing disturbed: the checkpoints, newest and best, the
exported weights, metrics.csv without its times, eval.json. Every signal is aimed at a moment that
is uniform over the life of an undisturbed run, its start, its saves and its scores included; a
moment after its end is none, and counts as none. After SIGTERM and SIGINT, exit code and stderr are
checked too. (But for the first 0.4 s: Python itself, and absl, are no concern of ours.)
"""

import argparse
import collections
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from absl import logging

from tests.reliability.runs import differences, result_of, start


def disturb(task, folder: Path, cache: Path, reference, seconds, rng, kills, signum):
    """One run with at most so many kills. AssertionError if it differs from the reference.

    Returns (counts of what was seen, the seconds that an undisturbed run takes at most).
    """
    earliest = 0 if signum == signal.SIGKILL else 0.4
    workdir, seen = folder / "run", collections.Counter()
    while True:
        began = time.perf_counter()
        process = start(task, workdir, cache)
        at = rng.uniform(earliest, seconds) if seen["kills"] < kills else 600
        try:
            while process.poll() is None and time.perf_counter() - began < at:
                time.sleep(0.002)
            process.send_signal(signum)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        if process.returncode == 0:
            took = time.perf_counter() - began
            break
        seen["kills"] += 1
        seen[_stage(workdir)] += 1
        assert "Traceback" not in errors, errors
        if signum == signal.SIGKILL:
            assert process.returncode == -signum, f"exit code {process.returncode}: {errors}"
        else:
            assert process.returncode == 128 + signum, f"exit code {process.returncode}: {errors}"
            (line,) = errors.splitlines()
            assert line.startswith("interrupted") and "the same command again" in line, line
            seen[line.split(",")[0].split(";")[0].rstrip("0123456789")] += 1
    found = result_of(workdir)
    assert found.keys() == reference.keys(), sorted(found.keys() ^ reference.keys())
    wrong = differences(found, reference)
    assert not wrong, f"differs after {dict(seen)}: {wrong}"
    seen["cut off between data and manifest"] = len(list(workdir.glob("damaged/*")))
    seen["runs"] = 1
    return seen, seconds if seen["kills"] else min(seconds, took)


def _stage(workdir):
    """How far the run was that was just killed, by what it has left."""
    saved = workdir / "checkpoints"
    if any(saved.glob("*.orbax-checkpoint-tmp*")) or any(saved.glob("*.deleted")):
        return "in mid-save"
    labels = [p for p in saved.glob("*") if p.name.isdecimal()]
    if any(not (p / "manifest.json").exists() for p in labels):
        return "in mid-save"
    if not labels:
        return "before the first checkpoint"
    return "after the scores" if (workdir / "export").exists() else "between saves, or scoring"


def campaign(task, kills, seed, signum=signal.SIGKILL) -> dict:
    """Runs with kills until there are `kills` of them."""
    rng, seen = random.Random(f"{task} {seed}"), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ("compiles", "reference"):  # the first one is slower
            began = time.perf_counter()
            _, errors = start(task, folder / name, folder / "cache").communicate()
            seconds = time.perf_counter() - began
            assert not errors, errors
        reference = result_of(folder / "reference")
        assert differences(reference, result_of(folder / "compiles")) == []
        print(f"{task}: an undisturbed run takes {seconds:.1f} s; {len(reference)} values compared")
        while seen["kills"] < kills:
            with tempfile.TemporaryDirectory(dir=folder) as run:
                more, seconds = disturb(
                    task, Path(run), folder / "cache", reference, seconds, rng,
                    kills - seen["kills"], signum,
                )  # fmt: skip
                seen += more
            print(f"{task}: {dict(seen)}", flush=True)
    return seen


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--tasks", default="fer,seq,attention")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="SIGKILL")
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)
    signum = signal.Signals[arguments.signal]
    tasks = arguments.tasks.split(",")
    for number, task in enumerate(tasks):
        share = arguments.kills // len(tasks) + (number < arguments.kills % len(tasks))
        campaign(task, share, arguments.seed, signum)
    print("all runs ended with the same bits")


if __name__ == "__main__":
    main(sys.argv[1:])
