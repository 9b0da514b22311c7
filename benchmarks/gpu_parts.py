"""The parts of gpu.py, in a process of their own: gpu_parts.py SETTINGS PARTS, both JSON.

Prints a line RESULT {...} for each part. Everything here runs on a CPU too, if small.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from statistics import median
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from train_jax import process  # noqa: E402

process.use_eigen_convolutions()
process.cache_compilations()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import nets  # noqa: E402
import numpy as np  # noqa: E402
import timing  # noqa: E402
from absl import logging  # noqa: E402

from fer_jax.task import settings_of  # noqa: E402
from train_jax import loop, parallel  # noqa: E402
from train_jax.run.checkpoint import Checkpoints  # noqa: E402
from train_jax.run.log import read_csv  # noqa: E402

TINY = {"fer_best": {"features": ((4,), (8,))}, "fer_wide": {"features": ((4,), (8, 8))}}
CELLS = {"seq_lstm": "lstm", "seq_gru": "gru", "seq_rnn": "simple_rnn"}
ROUNDS = 3
RUNS = Path(tempfile.gettempdir()) / "gpu_runs"  # not in --out, which is what is taken home


def main(settings, parts):
    logging.set_verbosity(logging.FATAL)  # as launch.py does
    settings, parts = json.loads(settings), json.loads(parts)
    for name, (seconds, function, values) in parts.items():
        left = settings["end"] - time.time()
        begin = time.perf_counter()
        if left < seconds:
            result = {"left out": f"{left:.0f} s are left, it may need {seconds:.0f}"}
        else:
            try:
                result = globals()[function](*values, settings)
                result["seconds"] = round(time.perf_counter() - begin, 1)
            except Exception as error:
                traceback.print_exc()
                result = {"error": one_line(error)}
        print("RESULT " + json.dumps({"part": name} | result), flush=True)


def one_line(error) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.200}"


def config_of(net, settings, **model):
    """The config of a net, of a small one in a test."""
    return nets.config_of(net, **model | (TINY.get(net, {}) if settings["tiny"] else {}))


def card(settings):
    """What there is, and how fast it multiplies and copies."""
    names = "jax", "jaxlib", "flax", "torch", "nvidia-cudnn-cu13", "nvidia-cublas"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    size = 256 if settings["tiny"] else 8192
    key = jax.random.key(0)
    found = {}
    for name in ("bfloat16", "float32"):  # float32 as JAX does it by default: on a GPU by TF32
        a = jax.random.normal(key, (size, size), name)
        seconds = time_of(jax.jit(jnp.matmul), a, a)
        found[f"{name} product, TFLOP/s"] = three_digits(2e-12 * size**3 / seconds)
    a = jnp.zeros(2**16 if settings["tiny"] else 2**29, jnp.float32)
    found["copy, GB/s"] = three_digits(2e-9 * a.nbytes / time_of(jax.jit(lambda a: a + 1), a))
    gpu = subprocess.run(query, capture_output=True, text=True).stdout.strip() \
        if shutil.which("nvidia-smi") else "no GPU"  # fmt: skip
    return {"gpu": gpu, "device": jax.devices()[0].device_kind} | versions | found


def three_digits(value) -> float:
    return float(f"{value:.3g}")


def time_of(function, *arguments, calls=20):
    """Seconds of a call, of the best of three series."""
    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(calls):
            result = function(*arguments)
        jax.block_until_ready(result)
        found.append((time.perf_counter() - begin) / calls)
    return min(found)


def images(net, batch, dtype, settings):
    """Milliseconds of a training step without augmentation, which the peers do not have."""
    batch = 4 if settings["tiny"] else batch
    steps = 2 if settings["tiny"] else max(8, 8192 // batch)
    case = timing.training(net.removeprefix("fer_"), batch)
    bfloat16 = dtype == "bfloat16"

    def ours():
        config = config_of(net, settings, bfloat16=bfloat16)
        config.train.batch_size = batch
        nets.switch_off_augmentation(config)
        return nets.training(nets.task_of(config, steps * batch), config)

    def torch(compile):
        peer = peer_torch(settings)
        step = peer.training(case, device=peer.DEVICE, bfloat16=bfloat16, compile=compile)
        return lambda: peer.repeat(step, steps)

    found = take_turns(ours, torch, steps, settings)
    return found | share(case.gflop, found["ms"]["jax"])


def sentences(net, batch, length, settings):
    """Milliseconds of a training step; PyTorch's recurrent layers are cuDNN's."""
    batch, length = (4, 3) if settings["tiny"] else (batch, length)
    steps = 2 if settings["tiny"] else 64
    case = timing.recurrent(CELLS[net], batch, length, steps * batch)

    def ours():
        config = config_of(net, settings)
        config.train.batch_size = batch
        return nets.training(nets.task_of(config, steps * batch, length), config)

    def torch(compile):
        peer = peer_torch(settings)
        epoch = peer.recurrent(case, device=peer.DEVICE, compile=compile)
        return lambda: peer.repeat(epoch, 1)

    found = take_turns(ours, torch, steps, settings)
    return found | share(case.gflop / steps, found["ms"]["jax"])


def peer_torch(settings):
    import peer_torch
    import torch

    peer_torch.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32, as ours
    torch.backends.cudnn.benchmark = True
    if settings["tiny"]:
        peer_torch.BLOCKS = {net.removeprefix("fer_"): t["features"] for net, t in TINY.items()}

    def repeat(work, times):
        for _ in range(times):
            work()
        if peer_torch.DEVICE == "cuda":
            torch.cuda.synchronize()

    peer_torch.repeat = repeat
    return peer_torch


def take_turns(ours, torch, steps, settings):
    """{'ms': of a step, the median of the rounds, 'first': seconds until the first call is done}.

    `ours()` and `torch(compile)` make a function that does `steps` steps. Where that fails its
    place holds the reason.
    """
    makers = {"jax": ours, "torch": lambda: torch(False), "torch.compile": lambda: torch(True)}
    calls, first, ms = {}, {}, {}
    for name, make in makers.items():
        begin = time.perf_counter()
        try:
            calls[name] = make()
            calls[name]()
            first[name] = round(time.perf_counter() - begin, 1)
            calls[name]()
        except Exception as error:
            if name == "jax":
                raise
            calls.pop(name, None)
            ms[name] = one_line(error)
    seconds = 0.05 if settings["tiny"] else min(1.0, (settings["end"] - time.time()) / 100)
    rounds = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rounds[name].append(median_seconds(call, seconds))
    ms = {name: 1e3 * median(found) / steps for name, found in rounds.items()} | ms
    return {"ms": ms, "first": first}


def median_seconds(call, seconds):
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not found:
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return median(found)


def share(gflop, ms):
    """Of the bfloat16 product that the part 'card' has measured, if it has."""
    path = Path(SETTINGS["out"]) / "gpu.json"
    for result in json.loads(path.read_text()) if path.exists() else []:
        if "bfloat16 product, TFLOP/s" in result:
            return {"share": gflop / ms / result["bfloat16 product, TFLOP/s"]}
    return {}


def losses(net, settings):
    """The mean losses of five times ten steps, augmentation and dropout included: how far from
    those of the CPU, in whole float32 and as they are by default (TF32)."""
    parts = json.dumps({"": [0, "tens", [net, None]]})
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(settings), parts],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    found = {p or "default": tens(net, p, settings)["losses"] for p in ("highest", None)}
    answer = process.communicate()[0].splitlines()[-1]
    cpu = json.loads(answer.removeprefix("RESULT "))["losses"]
    away = {
        f"{precision}, relative difference of each ten": [
            float(f"{abs(a - b) / abs(b):.1e}") for a, b in zip(values, cpu, strict=True)
        ]
        for precision, values in found.items()
    }
    return {"CPU": [round(value, 4) for value in cpu]} | away


def tens(net, precision, settings):
    config = config_of(net, settings)
    config.train.batch_size = 4 if settings["tiny"] else config.train.batch_size
    with jax.default_matmul_precision(precision):
        epoch = nets.training(nets.task_of(config, 10 * config.train.batch_size), config)
        sums = [jax.device_get(epoch().metrics["loss"]) for _ in range(5)]
    totals = [0.0, *(float(s.total) for s in sums)]
    counts = [0.0, *(float(s.count) for s in sums)]
    return {"losses": list(np.diff(totals) / np.diff(counts))}


def train(dtype, settings):
    """configs/fer_best.py on all of real train, through launch.py."""
    if not settings["data"]:
        return {"left out": "--data is not given"}
    workdir = RUNS / f"fer_best_{dtype}"
    shutil.rmtree(workdir, ignore_errors=True)
    run_launch(workdir, [
        f"--config.data.path={settings['data']}", f"--config.model.bfloat16={dtype == 'bfloat16'}",
    ])  # fmt: skip
    rows = read_csv(workdir / "metrics.csv")
    seconds = [row["seconds"] for row in rows]
    return {
        "epochs": len(rows),
        "first epoch, s": seconds[0],
        "median epoch, s": median(seconds),
        "all epochs, s": sum(seconds),
        "images/s": median(row["images/s"] for row in rows),
        "best val_accuracy": max(row["val_accuracy"] for row in rows),
    }


def checkpoints(settings):
    """What saving costs per epoch of fer_best: the same training with and without."""
    config = config_of("fer_best", settings)
    rows, epochs = (64, 3) if settings["tiny"] else (25_837, 10)
    config.train.epochs = epochs
    task = nets.task_of(config, rows)
    how = settings_of(config, type("Dataset", (), {"name": "noise"}))
    found = {}
    for name in ("with", "without"):
        with tempfile.TemporaryDirectory() as folder:
            save = Checkpoints.save if name == "with" else lambda *a, **k: None
            with mock.patch.object(Checkpoints, "save", save), contextlib.redirect_stdout(None):
                history = loop.fit(task, how, workdir=Path(folder))
        # an epoch's seconds hold the saving of the one before; the first one compiles
        found[name] = sum(row["seconds"] for row in history[1:]) / (epochs - 1)
    cost = found["with"] / found["without"] - 1
    return {f"epoch {k} saving, s": round(v, 4) for k, v in found.items()} | {
        "cost": f"{100 * cost:.1f} %"
    }


def bits(settings):
    """Hashes of the last state of short runs of fer_best on drawn faces: two alike, two alike with
    train.deterministic, and one of these that was interrupted. All with one compilation cache."""
    found = {}
    for name in ("plain", "plain again", "deterministic", "deterministic again", "interrupted"):
        workdir = RUNS / "bits" / name.replace(" ", "_")
        shutil.rmtree(workdir, ignore_errors=True)
        config = config_of("fer_best", settings)
        own = [
            "--config.data.path=drawn",
            "--config.train.epochs=4",
            f"--config.train.deterministic={'plain' not in name}",
        ]
        if settings["tiny"]:
            own += ["--config.model.features=((4,),(8,))", "--config.data.train_fraction=0.05"]
        if name == "interrupted":
            run_launch(workdir, own, interrupt=True)
        lines = run_launch(workdir, own)
        if name == "interrupted":
            found["resumed"] = "".join(s.strip() for s in lines if s.startswith("continuing"))
        task = nets.task_of(config, config.train.batch_size)
        _, state = nets.build(task, config, parallel.make_mesh(1), steps=1)
        folder = Checkpoints(workdir / "checkpoints", mode=config.checkpoint.mode)
        state = folder.load(folder.whole()[-1], like=state)
        digest = hashlib.sha256()
        for array in jax.tree.leaves((state.params, state.batch_stats, state.opt_state, state.ema)):
            digest.update(np.asarray(array).tobytes())
        found[name] = digest.hexdigest()[:12]
    return found


def run_launch(workdir, flags, *, interrupt=False):
    """The lines of launch.py on fer_best. With `interrupt` it gets SIGTERM with its first epoch.

    RuntimeError with its last lines if it fails.
    """
    command = [sys.executable, "launch.py", "--config=configs/fer_best.py", f"--workdir={workdir}"]
    process = subprocess.Popen(
        command + flags, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if interrupt and line.startswith("epoch ") and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            interrupt = False
    code = process.wait()
    if code not in (0, 128 + signal.SIGTERM):
        raise RuntimeError(f"launch.py ended with {code}: {' '.join(lines[-3:])}")
    return lines


if __name__ == "__main__":
    SETTINGS = json.loads(sys.argv[1])
    main(*sys.argv[1:])
