"""Small runs through launch.py, and what of them has to be the same bit for bit."""

import csv
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from train_jax.run import weights
from train_jax.run.files import check_manifest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "fer": (
        "--config=configs/fer_batchnorm.py --config.data.path=drawn "
        "--config.data.train_fraction=0.1 --config.model.features=(4,8) --config.model.dense=16 "
        "--config.model.dropout=0.3 --config.augment.rotation=10. --config.train.batch_size=16 "
        "--config.train.epochs=6 --config.train.ema_decay=0.9 "
        "--config.early_stop.enabled=False --config.checkpoint.min_seconds=0.0"
    ),
    "seq": (
        "--config=configs/seq_gru.py --config.model.units=16 --config.model.dense=32 "
        "--config.model.embedding=8 --config.train.batch_size=16 --config.train.epochs=8"
    ),
    "attention": (
        "--config=configs/seq_attention.py --config.data.max_pairs=80 --config.data.subwords=80 "
        "--config.data.bpe_dropout=0.1 --config.data.lengths=(10,16,24) --config.decode.beam=2 "
        "--config.model.embedding=8 --config.model.encoder_units=8 --config.model.units=8 "
        "--config.train.batch_size=8 --config.train.epochs=6 --config.checkpoint.min_seconds=0.0"
    ),
}
TIMES = ("seconds", "images/s", "sentences/s")


def start(task, workdir, cache):
    """launch.py in a process of its own; `cache` holds the code that XLA compiled."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    # A shell starts what it puts in the background with SIGINT ignored, which children inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "launch.py", f"--workdir={workdir}", *TINY[task].split()],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def result_of(workdir: Path) -> dict:
    """Everything that may not depend on kills: {what: its bits or its value}."""
    found = {}
    for folder in (workdir / "checkpoints").iterdir():
        assert check_manifest(folder) == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # without a template, on purpose
            state = ocp.load_checkpointables(folder)["state"]
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            found[f"checkpoint {folder.name}: {jax.tree_util.keystr(path)}"] = _bits(leaf)
        record = json.loads((folder / "record.json").read_text())
        history = [_without_times(row) for row in record["record"]["history"]]
        found[f"checkpoint {folder.name}: record"] = record["metric"], history
    with open(workdir / "metrics.csv", newline="") as file:
        found["metrics.csv"] = [_without_times(row) for row in csv.DictReader(file)]
    # eval.json holds no times; neither do the others
    names = ["eval.json", "mistakes.json", "translations.tsv", "export/model.safetensors"]
    names += [f"vocabulary_{side}.{form}" for side in ("english", "kannada")
              for form in ("json", "model")]  # fmt: skip
    names += ["export/source.model", "export/target.model"]
    found |= {n: (workdir / n).read_bytes() for n in names if (workdir / n).exists()}
    if (workdir / "export").exists():
        card = weights.load(workdir / "export").card
        del card["origin"]  # the command, with the workdir in it
        found["export/model.json"] = card
    return found


def differences(one: dict, two: dict) -> list[str]:
    """The names of what is not the same."""
    return [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]


def _bits(leaf):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), _bits(jax.random.key_data(leaf))
    leaf = np.asarray(leaf)
    return str(leaf.dtype), leaf.shape, leaf.tobytes()


def _without_times(row):
    return {name: value for name, value in row.items() if name not in TIMES}
