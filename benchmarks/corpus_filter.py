"""The corpus filter at scale: seconds and peak memory at sizes that differ, on made-up lines.

    python -m benchmarks.corpus_filter 400000 4000000 --folder=/tmp/corpus_filter

writes as many line pairs into the folder, filters each corpus in a process of its own, prints a
table in Markdown and deletes what it wrote. Words follow Zipf's law with a long tail, more
different ones than text.WordCounts holds.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import memory_mb

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "the original's": dict(
        target_top_k=500,
        source_words=5,
        source_script="ASCII",
        target_script="Kannada",
        max_tokens=7,
    ),
    "up to 7 words per side": dict(max_source_words=7, max_target_words=7, target_script="Kannada"),
}
LATIN = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = ["".join(s) for s in itertools.product("ಕಗಚಜಟಡತದನಪಬಮಯರಲವಶಸಹಳ", ["", *"ಾಿುೆೊ", "್ತ"])]
BLOCK = 20_000  # line pairs written at once


def write(folder: Path, count: int, seed: int = 0) -> None:
    """train.en and train.kn of `count` lines: 1 to 15 English and 1 to 11 Kannada words, of at
    most 500,000 and 3,000,000 different ones."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    sides = (("train.en", LATIN, 15, 500_000, 0.03), ("train.kn", SYLLABLES, 11, 3_000_000, 0.15))
    for name, alphabet, longest, words, rare in sides:
        common = [spell(rank, alphabet) for rank in range(50_000)]
        with open(folder / name, "w", encoding="utf-8") as file:
            for start in range(0, count, BLOCK):
                lengths = rng.integers(1, longest + 1, min(BLOCK, count - start))
                size = lengths.sum()
                ranks = np.minimum((1 - rng.random(size)) ** -1.25, words).astype(np.int64)
                ranks = np.where(rng.random(size) < rare, rng.integers(1, words, size), ranks)
                spelled = iter(
                    common[rank] if rank < len(common) else spell(rank, alphabet)
                    for rank in ranks.tolist()
                )
                for length in lengths.tolist():
                    file.write(" ".join(itertools.islice(spelled, length)).capitalize() + " .\n")


def spell(rank: int, alphabet) -> str:
    """A word of its own for every rank."""
    letters = ""
    rank += len(alphabet)
    while rank:
        rank, letter = divmod(rank, len(alphabet))
        letters += alphabet[letter]
    return letters


def measure(folder: str, settings: dict) -> dict:
    """Filters the corpus in this process. The peak is that of the whole process, imports too."""
    from seq_jax import data

    wall, cpu = time.perf_counter(), time.process_time()
    report = data.load(folder, **settings).report
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = memory_mb() * 1e6 / 2**20
    return {"read": report.read, "kept": report.kept, "wall": wall, "cpu": cpu, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="*", default=[400_000, 4_000_000])
    parser.add_argument(
        "--folder", type=Path, required=True, help="a new one; needs 250 B per pair"
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # settings, for the inner process
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(str(arguments.folder), json.loads(arguments.measure))))
        return
    print("| line pairs | filter | pairs kept | CPU s | wall s | peak MiB | load average |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for count in arguments.count:
        write(arguments.folder, count)
        for name, settings in SETTINGS.items():
            module = [sys.executable, "-m", "benchmarks.corpus_filter"]
            options = [f"--folder={arguments.folder}", f"--measure={json.dumps(settings)}"]
            done = subprocess.run([*module, *options], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            found = json.loads(done.stdout)
            print(
                f"| {found['read']:,} | {name} | {found['kept']:,} | {found['cpu']:.1f} "
                f"| {found['wall']:.1f} | {found['peak']:.0f} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )
        shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
