"""Checkpoints of the whole TrainState by orbax: the newest and the best, each with a manifest.

orbax survives a kill in the middle of a save, but reads flipped bits as other numbers without a
word. So each checkpoint gets `manifest.json`, the SHA-256 of each of its files, written last: a
checkpoint without one is not whole, and one that disagrees with it is damaged.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from orbax.checkpoint import v1 as ocp

from train_jax.errors import UserError

MANIFEST = "manifest.json"


class Saved(NamedTuple):
    """One checkpoint on disk."""

    label: int  # name of its folder; grows with time
    metric: float | None  # the monitored value; None if saved in the middle of an epoch
    record: dict[str, Any]  # JSON that was saved beside the state


class Checkpoints:
    """The folder `workdir/checkpoints`. Keeps the newest and the best checkpoint."""

    def __init__(self, folder, *, mode):
        """`mode`: 'min' if a smaller metric is better, else 'max'. Of equals the first is best."""
        policies = ocp.training.preservation_policies
        self._sign = {"min": 1, "max": -1}[mode]
        self._folder = Path(folder).absolute()
        self._orbax = ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(1),
                    policies.BestN(
                        get_metric_fn=lambda m: (self._sign * m["metric"], m["label"]),
                        reverse=True,
                        n=1,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )

    def save(self, label, state, *, record, metric=None):
        """Saves `state` and the JSON value `record`; returns when both are safe on the disk."""
        self._orbax.save_checkpointables(
            label,
            {"state": state},
            metrics=None if metric is None else {"metric": metric, "label": label},
            custom_metadata={"record": record},
        )
        write_manifest(self._folder / str(label))

    def labels(self) -> list[int]:
        """The labels on disk, unchecked."""
        return [checkpoint.step for checkpoint in self._orbax.checkpoints]

    def whole(self) -> list[Saved]:
        """The checkpoints that agree with their manifest, oldest first.

        Others are moved to `damaged/` beside the folder, so that nothing is lost, and named on the
        console.
        """
        whole = []
        for checkpoint in sorted(self._orbax.checkpoints, key=lambda c: c.step):
            folder = self._folder / str(checkpoint.step)
            problems = check_manifest(folder)
            if problems:
                target = _move_away(folder)
                print(f"checkpoint {folder} is damaged and moved to {target}: {problems[0]}")
                continue
            metadata = self._orbax.metadata(checkpoint.step)
            metric = checkpoint.metrics["metric"] if checkpoint.metrics else None
            whole.append(Saved(checkpoint.step, metric, metadata.custom_metadata["record"]))
        self._orbax.reload()
        return whole

    def best(self) -> Saved:
        """The checkpoint with the best metric, or UserError where there is none."""
        saved = [s for s in self.whole() if s.metric is not None]
        if not saved:
            raise UserError(
                f"no whole checkpoint of a finished epoch in {self._folder}: "
                "train first (--mode=train), with the same --workdir"
            )
        return min(saved, key=lambda s: (self._sign * s.metric, s.label))

    def load(self, saved: Saved, like):
        """The state of a checkpoint from `whole`, with the structure and shapes of `like`."""
        return self._load(saved, like, partial=False)

    def load_part(self, saved: Saved, like):
        """As `load`, but only what `like`, a dict of fields of the state, names."""
        return self._load(saved, like, partial=True)

    def _load(self, saved, like, *, partial):
        context = ocp.Context()
        context.pytree.loading.partial_load = partial
        try:
            with context:
                loaded = ocp.load_checkpointables(self._folder / str(saved.label), {"state": like})
        except (ValueError, KeyError, ocp.errors.NoEntryError) as error:
            reason = error.__cause__ or error.__context__ or error
            raise UserError(
                f"checkpoint {self._folder / str(saved.label)} does not fit this model: {reason}"
            ) from error
        return loaded["state"]

    def close(self):
        self._orbax.close()


def write_manifest(folder: Path):
    """Writes `manifest.json` with the SHA-256 of every file below `folder`, atomically."""
    text = json.dumps({"sha256": hash_files(folder)}, indent=1)
    write_atomically(folder / MANIFEST, text)


def check_manifest(folder: Path) -> list[str]:
    """What is wrong with `folder`, one sentence a file; empty if it is whole."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())["sha256"]
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
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def write_atomically(path: Path, text: str):
    """Writes a file so that after a crash it is there whole, or as it was before."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
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
