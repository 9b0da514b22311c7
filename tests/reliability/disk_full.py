"""A disk of every size that is too small for a run, then one that is large enough.

python -m tests.reliability.disk_full --n=20     # as root, on Linux: it mounts a tmpfs

Each run is started in a workdir on a tmpfs of a random size: it must end with exit code 2 and one
line that names what could not be written, whatever that was. Then the disk grows, the same command
runs again, and must end with the bits of a run that always had enough room.
"""

import argparse
import collections
import math
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import logging

from tests.reliability.runs import differences, result_of, start


def mount(folder: Path, kib: int, *more):
    """A tmpfs of so many KiB; with 'remount' the one that is there gets another size."""
    options = ",".join((f"size={kib}k", *more))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def trial(task, disk: Path, cache: Path, reference: dict, kib: int) -> str:
    """What was full. AssertionError if it is not told, or costs anything but time."""
    disk.mkdir()
    mount(disk, kib)
    try:
        workdir = disk / "run"
        process = start(task, workdir, cache)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2, f"{kib} KiB: exit code {process.returncode}: {errors}"
        (line,) = errors.splitlines()
        found = re.fullmatch("error: (.*) cannot be written: (.*)[.] What was saved .*", line)
        assert found and str(workdir) in found[1] and "No space left" in found[2], line
        mount(disk, 20_000, "remount")
        process = start(task, workdir, cache)
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, ""), errors
        wrong = differences(result_of(workdir), reference)
        assert not wrong, f"{kib} KiB: {wrong}"
        assert not (workdir / "damaged").exists()
    finally:
        subprocess.run(["umount", disk], check=True)
    disk.rmdir()
    name = Path(found[1]).relative_to(workdir)
    return "a checkpoint" if name.parts[:1] == ("checkpoints",) else str(name)


def campaign(task, n, seed) -> dict:
    """{what was full: number of times}."""
    rng, seen = random.Random(f"{task} {seed}"), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _, errors = start(task, folder / "reference", folder / "cache").communicate()
        assert not errors, errors
        reference = result_of(folder / "reference")
        used = sum(p.stat().st_size for p in (folder / "reference").rglob("*")) // 1024
        for number in range(n):
            kib = rng.randrange(4, used - 100)
            if number % 2:  # the small files come first
                kib = round(math.exp(rng.uniform(math.log(4), math.log(kib))))
            seen[trial(task, folder / f"disk{number}", folder / "cache", reference, kib)] += 1
            print(f"{task}: {kib} of {used} KiB: {dict(seen)}", flush=True)
    return seen


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--tasks", default="fer,seq")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)
    tasks = arguments.tasks.split(",")
    for task in tasks:
        campaign(task, arguments.n // len(tasks), arguments.seed)
    print("every full disk was told in one line, and cost nothing but time")


if __name__ == "__main__":
    main(sys.argv[1:])
