"""Times the peers in turn on this machine and prints one table: `make bench`.

python benchmarks/bench.py [--rounds=2] [words that the names of the cases must hold]

Each round runs every peer once, in a process of its own (A B C A B C ...), so that a machine that
slows down slows all of them. A figure is the median of all its steps; a ratio below 1 says that we
are faster. The floor is the operations of the case at the measured speed of a large matrix product.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import timing

HERE = Path(__file__).parent
PEERS = ("jax", "torch", "keras")


def main(arguments):
    rounds = 2
    words = []
    for argument in arguments:
        if argument.startswith("--rounds="):
            rounds = int(argument.removeprefix("--rounds="))
        else:
            words.append(argument)
    speed, bandwidth = matmul_speed(), copy_speed()
    print(f"float32 matrix product {speed:.0f} GFLOP/s, memory copy {bandwidth:.1f} GB/s")
    peers = "".join(f"{p:>11s}" for p in PEERS)
    print(f"{'case':30s}{peers}  /torch  /keras     floor x floor   first step, peak MB")
    versions = set()
    for name, case in timing.CASES.items():
        if not all(word in name for word in words):
            continue
        found = {peer: [] for peer in PEERS}
        for _ in range(rounds):
            for peer in PEERS:
                found[peer].append(measure(peer, name))
        seconds = {
            p: median(s for run in runs for s in run["seconds"]) for p, runs in found.items()
        }
        versions |= {run["version"] for runs in found.values() for run in runs}
        floor = case.peak / speed
        ratios = [seconds["jax"] / seconds[peer] for peer in PEERS[1:]]
        first = "  ".join(
            f"{p} {median(r['first'] for r in runs):.1f} s {max(r['peak_mb'] for r in runs):.0f}"
            for p, runs in found.items()
        )
        print(
            f"{name:30s}" + "".join(f"{1e3 * seconds[p]:8.2f} ms" for p in PEERS)
            + "".join(f"{ratio:8.2f}" for ratio in ratios)
            + f"{1e3 * floor:7.2f} ms{seconds['jax'] / floor:8.2f}   {first}",
            flush=True,
        )  # fmt: skip
    print("; ".join(sorted(versions)))


def measure(peer, name):
    """What one process of a peer reports about a case."""
    command = [sys.executable, HERE / f"peer_{peer}.py", name]
    result = subprocess.run(command, capture_output=True, text=True)
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
