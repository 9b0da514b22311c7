"""Checkpoints of the whole TrainState by orbax: the newest and the best, each with a manifest.

orbax survives a kill in the middle of a save, but reads flipped bits as other numbers without a
word. So each checkpoint gets `manifest.json`, the SHA-256 of each of its files, written last: a
checkpoint without one is not whole, and one that disagrees with it is damaged. Only then are older
ones deleted (orbax's own preservation policies delete them before).
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from train_jax import parallel
from train_jax.errors import UserError

MANIFEST = "manifest.json"
RECORD = "record.json"


class Saved(NamedTuple):
    """One checkpoint on disk."""

    label: int  # name of its folder; grows with time
    metric: float | None  # the monitored value; None if saved in the middle of an epoch
    record: dict[str, Any]  # JSON that was saved beside the state


class Checkpoints:
    """The folder `workdir/checkpoints`. Keeps the newest and the best checkpoint."""

    def __init__(self, folder, *, mode):
        """`mode`: 'min' if a smaller metric is better, else 'max'. Of equals the first is best."""
        if mode not in ("min", "max"):
            raise ValueError(f"checkpoint.mode must be 'min' or 'max', got {mode!r}")
        self._sign = 1 if mode == "min" else -1
        self._folder = Path(folder).absolute()

    def save(self, label, state, *, record, metric=None):
        """Saves `state` and the JSON value `record`; returns when both are safe on the disk.

        Every process calls it, since orbax makes them wait for one another; the main one writes.
        """
        folder = self._folder / str(label)
        with parallel.main_first():
            if parallel.is_main():
                self._folder.mkdir(parents=True, exist_ok=True)
                for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(unfinished)
        ocp.save_checkpointables(folder, {"state": state})
        if not parallel.is_main():
            return
        content = {"metric": metric, "record": record, "arrays": array_types(state)}
        write_atomically(folder / RECORD, json.dumps(content))
        write_manifest(folder)
        saved = [self._read(label) for label in self.labels()]
        keep = {label} | {s.label for s in self._ranked(saved)[:1]}
        for old in saved:
            if old.label not in keep:
                shutil.rmtree(self._folder / str(old.label))

    def labels(self) -> list[int]:
        """The labels on disk, unchecked, oldest first."""
        names = [p.name for p in self._folder.glob("*") if p.is_dir()]
        return sorted(int(name) for name in names if name.isdecimal())

    def whole(self) -> list[Saved]:
        """The checkpoints that agree with their manifest, oldest first.

        Others are moved to `damaged/` beside the folder, so that nothing is lost, and named on the
        console.
        """
        whole = []
        for label in self.labels():
            folder = self._folder / str(label)
            problems = check_manifest(folder)
            if problems:
                target = _move_away(folder)
                print(f"checkpoint {folder} is damaged and moved to {target}: {problems[0]}")
            else:
                whole.append(self._read(label))
        return whole

    def best(self) -> Saved:
        """The checkpoint with the best metric, or UserError where there is none."""
        ranked = self._ranked(self.whole())
        if not ranked:
            raise UserError(
                f"no whole checkpoint of a finished epoch in {self._folder}: "
                "train first (--mode=train), with the same --workdir"
            )
        return ranked[0]

    def load(self, saved: Saved, like):
        """The state of a checkpoint from `whole`, with the structure and shapes of `like`."""
        missing = set(self._arrays(saved)) - set(array_types(like))
        if missing:
            raise UserError(self._misfit(saved, f"it also has {min(missing)}"))
        return self.load_part(saved, like)

    def load_part(self, saved: Saved, like):
        """As `load`, but only what `like`, a dict of fields of the state, names.

        Raises UserError if the checkpoint lacks it, or has it in another shape or dtype: looked up
        before orbax does, whose failed loads leave threads and long messages behind.
        """
        found = self._arrays(saved)
        for name, kind in array_types(like).items():
            if found.get(name) != kind:
                there = f"{name} is {found[name]} in it" if name in found else f"it lacks {name}"
                raise UserError(self._misfit(saved, f"{there}, and {kind} in the model"))
        # Orbax as if this were the only process: each reads all, and the main one loads once more
        # when the others are gone.
        process = jax.process_index()
        context = ocp.Context(
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=process, active_processes={process}
            )
        )
        context.pytree.loading.partial_load = True
        with context:
            folder = self._folder / str(saved.label)
            return ocp.load_checkpointables(folder, {"state": like})["state"]

    def load_variables(self, saved: Saved, init, *, ema: bool) -> dict:
        """What is evaluated: {'params', 'batch_stats'} of a checkpoint.

        `init` is that of the Task; `ema` says that the run kept a moving average, which it
        validated in place of the parameters.
        """
        variables = jax.jit(init)(jax.random.key(0))
        like = variables["params"], variables.get("batch_stats", {})
        if ema:
            params, batch_stats = self.load_part(saved, like={"ema": like})["ema"]
        else:
            loaded = self.load_part(saved, {"params": like[0], "batch_stats": like[1]})
            params, batch_stats = loaded["params"], loaded["batch_stats"]
        return {"params": params, "batch_stats": batch_stats}

    def _misfit(self, saved, reason):
        return f"checkpoint {self._folder / str(saved.label)} does not fit this model: {reason}"

    def _arrays(self, saved) -> dict[str, str]:
        return json.loads((self._folder / str(saved.label) / RECORD).read_text())["arrays"]

    def _read(self, label) -> Saved:
        content = json.loads((self._folder / str(label) / RECORD).read_text())
        return Saved(label, content["metric"], content["record"])

    def _ranked(self, saved: list[Saved]) -> list[Saved]:
        """Those of finished epochs, the best first."""
        finished = [s for s in saved if s.metric is not None]
        return sorted(finished, key=lambda s: (self._sign * s.metric, s.label))


def array_types(tree) -> dict[str, str]:
    """{path: dtype and shape} of a pytree's arrays, as 'params/Conv_0/bias': 'float32(32,)'."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{leaf.shape}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def write_manifest(folder: Path):
    """Writes `manifest.json` with the SHA-256 of every file below `folder`, atomically."""
    text = json.dumps({"sha256": hash_files(folder)}, indent=1)
    write_atomically(folder / MANIFEST, text)


def check_manifest(folder: Path) -> list[str]:
    """What is wrong with `folder`, one sentence a file; empty if it is whole."""
    try:
        expected = dict(json.loads((folder / MANIFEST).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} is missing or unreadable ({type(error).__name__})"]
    found = hash_files(folder)
    return (
        [f"{name} is missing" for name in expected if name not in found]
        + [f"{name} was added" for name in found if name not in expected]
        + [f"{n} has changed" for n in expected if n in found and found[n] != expected[n]]
    )


def hash_files(folder: Path) -> dict[str, str]:
    """{path relative to `folder`: SHA-256} of every file below it but the manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def write_atomically(path: Path, content: str | bytes):
    """Writes a file so that after a crash it is there whole, or as it was before.

    Of many processes only the main one writes.
    """
    if not parallel.is_main():
        return
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _move_away(folder: Path) -> Path:
    target = folder.parent.parent / "damaged" / folder.name
    target.parent.mkdir(exist_ok=True)
    while target.exists():
        target = target.with_name(target.name + "_")
    return folder.rename(target)
