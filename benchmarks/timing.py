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
    kind: str  # train, infer, recurrent, load or prepare
    net: str  # lobo or best; simple_rnn, gru or lstm; '' for data
    batch: int
    length: int = 0  # tokens per sentence
    sentences: int = 0  # of an epoch
    gflop: float = 0.0  # operations of one step: multiply and add count as two
    gbyte: float = 0.0  # that one step has to move, if all it computes is written and read again


def _image_net(side, layers):
    """(GFLOP forward, activations, parameters) of an image of side^2 pixels.

    `layers`: (kind, inputs, outputs); 'same' and 'valid' are 3x3 convolutions, 'pool' halves.
    """
    flop = activations = parameters = 0
    for kind, inputs, outputs in layers:
        if kind == "pool":
            side //= 2
            continue
        side -= 2 * (kind == "valid")
        places, taps = (1, 1) if kind == "dense" else (side * side, 9)
        flop += 2 * places * taps * inputs * outputs
        activations += places * outputs
        parameters += taps * inputs * outputs
    return 1e-9 * flop, activations, parameters


POOL = ("pool", 0, 0)
FEATURES = ((32,), (64, 64), (128, 128), (256, 256, 256))  # of fer_best, see nets.py
WIDE = ((64, 64), (128, 128), (256, 256), (512, 512))  # the same class, 468 million products


def _blocks(blocks):
    """The layers of a BestCNN for `_image_net`."""
    layers, inputs = [], 1
    for number, block in enumerate(blocks):
        layers += [POOL] * (number > 0)
        for outputs in block:
            layers.append(("same", inputs, outputs))
            inputs = outputs
    return [*layers, ("dense", inputs, 7)]


NETS = {
    "lobo": _image_net(48, [
        ("same", 1, 32), ("same", 32, 64), POOL, ("same", 64, 128), ("valid", 128, 256), POOL,
        ("dense", 11 * 11 * 256, 1024), ("dense", 1024, 7),
    ]),
    "best": _image_net(48, _blocks(FEATURES)),
    "wide": _image_net(48, _blocks(WIDE)),
}  # fmt: skip
VOCABULARIES = 513, 344  # English, Kannada: the original study's
IMAGES = 6300  # of the data cases
# Passes over memory that a step cannot do without: each activation is written and read forward,
# read again backward, its gradient written and read; Adam reads parameter, gradient and two
# moments, and writes all but the gradient, which was written before.
ACTIVATION_PASSES, ADAM_PASSES = 5, 8


def training(net, batch):
    flop, activations, parameters = NETS[net]
    passes = ACTIVATION_PASSES * batch * activations + ADAM_PASSES * parameters
    return Case("train", net, batch, gflop=3 * batch * flop, gbyte=4e-9 * passes)


def _inference(net, batch):
    flop, activations, parameters = NETS[net]
    return Case(
        "infer", net, batch, gflop=batch * flop, gbyte=4e-9 * (2 * batch * activations + parameters)
    )


def recurrent(net, batch, length, sentences):
    gates = {"simple_rnn": 1, "gru": 3, "lstm": 4}[net]
    embedding, units = (64, 256) if net != "lstm" else (128, 64)
    weights = gates * units * (embedding + units) + units * 1024 + 1024 * VOCABULARIES[1]
    activations = embedding + (gates + 1) * units + 1024 + VOCABULARIES[1]
    tokens, steps = length * sentences, -(-sentences // batch)
    passes = ACTIVATION_PASSES * tokens * activations
    passes += ADAM_PASSES * steps * (weights + embedding * VOCABULARIES[0])
    return Case("recurrent", net, batch, length, sentences, 6e-9 * weights * tokens, 4e-9 * passes)


CASES = {
    "train fer_lobo, batch 32": training("lobo", 32),
    "train fer_best, batch 32": training("best", 32),
    "train fer_best, batch 64": training("best", 64),
    "infer fer_best, batch 1": _inference("best", 1),
    "infer fer_best, batch 64": _inference("best", 64),
    **{f"epoch of {net}, 379 pairs": recurrent(net, 64, 7, 379)
       for net in ("simple_rnn", "gru", "lstm")},
    **{f"step of {net}, 256 x 50": recurrent(net, 256, 50, 256)
       for net in ("simple_rnn", "gru", "lstm")},
    # what an epoch needs of the disk: our run reads arrays that were prepared once; PyTorch's
    # Dataset of JPEGs and Keras's image_dataset_from_directory decode them in every epoch
    f"load {IMAGES} JPEGs of 48x48": Case("load", "", 64, gbyte=2e-9 * IMAGES * 48 * 48),
    f"prepare {IMAGES} JPEGs, once": Case("prepare", "", 64, gbyte=2e-9 * IMAGES * 48 * 48),
}  # fmt: skip


def write_jpegs(folder, n=IMAGES):
    """Blurred noise as `n` grey JPEGs of 48x48 in Kaggle's layout: folder/train/CLASS/NAME.jpg."""
    from PIL import Image

    rng = np.random.default_rng(0)
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    for number, coarse in enumerate(rng.integers(0, 256, (n, 8, 8)).astype(np.uint8)):
        path = Path(folder) / "train" / names[number % 7] / f"Training_{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC).save(path, quality=90)


def jpegs() -> Path:
    """The folder that `bench.py` has filled by `write_jpegs`."""
    return Path(os.environ["BENCH_JPEGS"])


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


def report(make, version):
    """Runs the case named on the command line for the seconds that come next there, and prints
    what was measured."""
    case, seconds = CASES[sys.argv[1]], float(sys.argv[2])
    step = make(case)
    step()
    first = age()
    for _ in range(0 if case.kind == "prepare" else 2):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(
        json.dumps({"seconds": times, "first": first, "peak_mb": memory_mb(), "version": version})
    )
