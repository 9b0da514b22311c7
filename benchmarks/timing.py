"""What every peer does in the same way: the cases, the clock and the report.

A peer is a module with `make(case) -> step`, a function that does the work of the case once and
returns when it is done. `python benchmarks/peer_NAME.py CASE` prints one line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    kind: str  # train, infer or recurrent
    net: str  # lobo or best; simple_rnn, gru or lstm
    batch: int
    length: int = 0  # tokens a sentence
    sentences: int = 0  # of an epoch
    peak: float = 0.0  # GFLOP of one step: multiply and add count as two


# forward operations of one image: 2 * rows * columns * 9 * inputs * outputs of each convolution
LOBO = 2e-9 * (48 * 48 * 9 * (32 + 32 * 64) + 24 * 24 * 9 * 64 * 128 + 22 * 22 * 9 * 128 * 256
               + 11 * 11 * 256 * 1024)  # fmt: skip
BEST = 2e-9 * (48 * 48 * 9 * 32 + 24 * 24 * 9 * (32 * 64 + 64 * 64)
               + 12 * 12 * 9 * (64 * 128 + 128 * 128)
               + 6 * 6 * 9 * (128 * 256 + 2 * 256 * 256))  # fmt: skip
VOCABULARIES = 513, 344  # English, Kannada: the original study's


def _recurrent(net, batch, length, sentences):
    gates = {"simple_rnn": 1, "gru": 3, "lstm": 4}[net]
    embedding, units = (64, 256) if net != "lstm" else (128, 64)
    token = gates * units * (embedding + units) + units * 1024 + 1024 * VOCABULARIES[1]
    return Case("recurrent", net, batch, length, sentences, 6e-9 * token * length * sentences)


CASES = {
    "train fer_lobo, batch 32": Case("train", "lobo", 32, peak=3 * 32 * LOBO),
    "train fer_best, batch 32": Case("train", "best", 32, peak=3 * 32 * BEST),
    "train fer_best, batch 64": Case("train", "best", 64, peak=3 * 64 * BEST),
    "infer fer_best, batch 1": Case("infer", "best", 1, peak=BEST),
    "infer fer_best, batch 64": Case("infer", "best", 64, peak=64 * BEST),
    **{f"epoch of {net}, 379 pairs": _recurrent(net, 64, 7, 379)
       for net in ("simple_rnn", "gru", "lstm")},
    **{f"step of {net}, 256 x 50": _recurrent(net, 256, 50, 256)
       for net in ("simple_rnn", "gru", "lstm")},
}  # fmt: skip
FEATURES = ((32,), (64, 64), (128, 128), (256, 256, 256))  # of fer_best


def faces(n):
    """(images f32[n, 48, 48, 1] in [0, 1], labels i32[n]) from a fixed seed."""
    rng = np.random.default_rng(0)
    return rng.random((n, 48, 48, 1), np.float32), rng.integers(0, 7, n).astype(np.int32)


def sentences(n, length):
    """(source i32[n, T], target i32[n, T]) from a fixed seed, no <PAD>."""
    rng = np.random.default_rng(0)
    return tuple(rng.integers(1, v, (n, length)).astype(np.int32) for v in VOCABULARIES)


def age() -> float:
    """Seconds since this process was started, imports included."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(name="VmHWM") -> float:
    """Resident memory of this process, MB (10^6 bytes): its peak, or with 'VmRSS' now.

    Not getrusage, whose peak includes the parent's.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024e-6


def report(make, version, seconds=6.0):
    """Runs the case named on the command line for `seconds`, and prints what was measured."""
    step = make(CASES[sys.argv[1]])
    step()
    first = age()
    for _ in range(2):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(
        json.dumps({"seconds": times, "first": first, "peak_mb": memory_mb(), "version": version})
    )
