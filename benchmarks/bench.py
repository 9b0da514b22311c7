"""Times the peers in turn on this machine and prints one table: `make bench`.

python benchmarks/bench.py --rounds=3 --peers=torch,keras "train fer_best"

Each round runs every peer once, in a process of its own (A B C A B C ...), so that a machine that
slows down slows all of them. A time is the median over the rounds of the median step; a ratio is
the median over the rounds of our time by the peer's, with the smallest and the largest of them:
below 1 we are faster. The floor is the larger of two: the operations of the case at the measured
speed of a large matrix product, and the bytes that it has to move at the measured speed of a copy.
The first step is counted from the start of the process; our first round fills a compilation cache.

Each peer runs as its users run it. Ours gets 2 MB pages for malloc from launch.py; --huge-pages
gives them to all. The table is Markdown, and also left in runs/bench.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import timing

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "runs" / "bench.md"
PEERS = {  # name: (module, environment, kinds of cases that it has)
    "jax": ("jax", {}, {"train", "infer", "recurrent", "load", "prepare"}),
    "torch": ("torch", {}, {"train", "infer", "recurrent", "load"}),
    "torch.compile": ("torch", {"TORCH_COMPILE": "1"}, {"train", "infer"}),
    "keras": ("keras", {}, {"train", "infer", "recurrent", "load"}),
}
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="that the names of the cases must hold")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--peers", default=",".join(PEERS), help="in addition to jax")
    parser.add_argument("--huge-pages", action="store_true", help="for the peers too")
    options = parser.parse_args(arguments)
    wanted = options.peers.split(",")
    if unknown := set(wanted) - set(PEERS):
        parser.error(f"--peers: no {', '.join(unknown)}, only {', '.join(PEERS)}")
    cases = {name: c for name, c in timing.CASES.items() if all(w in name for w in options.words)}
    if not cases:
        parser.error(f"no case holds {options.words}, of: {'; '.join(timing.CASES)}")
    peers = ["jax", *(p for p in PEERS if p in wanted and p != "jax")]
    more = HUGE_PAGES if options.huge_pages else {}
    speed, bandwidth = matmul_speed(), copy_speed()
    OUTPUT.parent.mkdir(exist_ok=True)
    with open(OUTPUT, "w") as file, tempfile.TemporaryDirectory() as folder:
        timing.write_jpegs(f"{folder}/faces")

        def tell(line):
            print(line, flush=True)
            print(line, file=file, flush=True)

        tell(f"float32 matrix product {speed:.0f} GFLOP/s, memory copy {bandwidth:.1f} GB/s\n")
        tell(
            f"| case | {' | '.join(peers)} | {' | '.join(f'jax / {p}' for p in peers[1:])} "
            "| floor | jax / floor | first step, s | peak, MB |"
        )
        tell("|---" * (2 * len(peers) + 4) + "|")
        versions = set()
        for name, case in cases.items():
            runs = {peer: [] for peer in peers if case.kind in PEERS[peer][2]}
            for _ in range(options.rounds):
                for peer in runs:
                    env = more | {
                        "BENCH_JPEGS": f"{folder}/faces",
                        "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache",
                    }
                    runs[peer].append(measure(peer, name, options.seconds, env))
            versions |= {run["version"] for found in runs.values() for run in found}
            tell(row(name, case, peers, runs, speed, bandwidth))
        tell("\n" + "; ".join(sorted(versions)))


def row(name, case, peers, runs, speed, bandwidth) -> str:
    """One line of the table. `runs`: {peer: what each of its processes has reported}."""
    seconds = {peer: [median(run["seconds"]) for run in found] for peer, found in runs.items()}
    floor = max(case.gflop / speed, case.gbyte / bandwidth)
    times = [number(1e3 * median(seconds[p])) + " ms" if p in seconds else "" for p in peers]
    ratios = [ratio(seconds["jax"], seconds[p]) if p in seconds else "" for p in peers[1:]]
    first = [f"{median(run['first'] for run in runs[p]):.1f}" for p in runs]
    peak = [f"{max(run['peak_mb'] for run in runs[p]):.0f}" for p in runs]
    bound = "operations" if case.gflop / speed > case.gbyte / bandwidth else "bytes"
    cells = [
        name, *times, *ratios, f"{number(1e3 * floor)} ms, {bound}",
        f"{median(seconds['jax']) / floor:.2f}", ", ".join(first), ", ".join(peak),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def number(value) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def ratio(ours, theirs) -> str:
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"**{median(each):.2f}** ({min(each):.2f} to {max(each):.2f})"


def measure(peer, name, seconds, env):
    """What one process of a peer reports about a case."""
    module, more, _ = PEERS[peer]
    command = [sys.executable, HERE / f"peer_{module}.py", name, str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | env | more)
    if result.returncode:
        sys.exit(f"{peer}, {name}:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def matmul_speed(n=2048):
    """GFLOP/s of a float32 matrix product in numpy, the best of 10."""
    a = np.random.default_rng(0).random((n, n), np.float32)
    return 2e-9 * n**3 / best_of(10, lambda: a @ a)


def copy_speed(megabytes=512):
    """GB/s read and written by a copy, the best of 10."""
    a = np.ones(megabytes * 2**17)
    b = np.empty_like(a)
    return 2 * a.nbytes / 1e9 / best_of(10, lambda: np.copyto(b, a))


def best_of(times, work):
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
