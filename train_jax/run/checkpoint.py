"""Checkpoints of the whole TrainState by orbax: the newest and the best, each with a manifest.

orbax survives a kill in the middle of a save, but reads flipped bits as other numbers without a
word, and does not wait until the disk has what it wrote. So each checkpoint gets a manifest, see
files.py. Only then are older ones deleted (orbax's own preservation policies delete them before).
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from train_jax import parallel
from train_jax.run.errors import UserError, cannot_write
from train_jax.run.files import MANIFEST, check_manifest, write_atomically, write_manifest
from train_jax.settings import Settings

RECORD = "record.json"
UNFINISHED = "*.orbax-checkpoint-tmp*"  # what a kill leaves of a save ...
DELETED = ".deleted"  # ... and of a deletion


class Saved(NamedTuple):
    """One checkpoint on disk."""

    label: int  # name of its folder; grows with time
    metric: float | None  # the monitored value; None if saved in the middle of an epoch
    record: dict[str, Any]  # JSON that was saved next to the state


def load_selected(workdir: Path | str, settings: Settings, init) -> tuple[dict, int]:
    """(variables, epoch) of the checkpoint of a run that is evaluated; see `load_variables`."""
    c = settings.checkpoint
    checkpoints = Checkpoints(Path(workdir, "checkpoints"), mode=c.mode, select=c.select)
    saved = checkpoints.best()
    variables = checkpoints.load_variables(saved, init, ema=settings.ema_decay > 0)
    return variables, len(saved.record["history"])


class Checkpoints:
    """The folder `workdir/checkpoints`. Keeps the newest and the best checkpoint."""

    def __init__(self, folder, *, mode, select="best"):
        """`mode`: 'min' if a smaller metric is better, else 'max'. Of equals the one with the least
        val_loss is best, which a share of few examples often needs; then the first.

        `select`: 'last' takes the last finished epoch for the best, whatever its metric.
        """
        if mode not in ("min", "max"):
            raise ValueError(f"checkpoint.mode must be 'min' or 'max', got {mode!r}")
        if select not in ("best", "last"):
            raise ValueError(f"checkpoint.select must be 'best' or 'last', got {select!r}")
        self._sign, self._last = (1 if mode == "min" else -1), select == "last"
        self.folder = Path(folder).absolute()

    def save(self, label, state, *, record, metric=None):
        """Saves `state` and the JSON value `record`; returns when both are safe on the disk.

        Every process calls it, since orbax makes them wait for one another; the main one writes.
        UserError if the disk is full, say; then the older checkpoints are as they were.
        """
        folder = self.folder / str(label)
        with parallel.main_first():
            if parallel.is_main():
                self._sweep()
        if jax.process_count() == 1:  # then the files do not say how many devices there were
            state = parallel.local(state)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _quiet_threads():
                ocp.save_checkpointables(folder, {"state": state})
            if not parallel.is_main():
                return
            content = {"metric": metric, "record": record, "arrays": array_types(state)}
            write_atomically(folder / RECORD, json.dumps(content))
            write_manifest(folder)
        except (OSError, ValueError, UserError) as error:
            if parallel.is_main():
                self._sweep(unfinished=folder)
            # tensorstore tells of a full disk in a ValueError
            if isinstance(error, OSError) or "os_error_code" in str(error):
                raise cannot_write(folder, error) from error
            raise
        saved = [self._read(label) for label in self.labels()]
        keep = {label} | {s.label for s in self._ranked(saved)[:1]}
        for old in saved:
            if old.label not in keep:
                # under another name first: one that is deleted in part is not a damaged one
                path = self.folder / str(old.label)
                shutil.rmtree(path.rename(path.with_name(path.name + DELETED)))

    def _sweep(self, unfinished: Path | None = None):
        """Deletes what kills have left, and a checkpoint that did not become whole."""
        left = [*self.folder.glob(UNFINISHED), *self.folder.glob(f"*{DELETED}")]
        if unfinished and not (unfinished / MANIFEST).exists():
            left.append(unfinished)
        for path in left:
            shutil.rmtree(path, ignore_errors=True)

    def labels(self) -> list[int]:
        """The labels on disk, unchecked, oldest first."""
        names = [p.name for p in self.folder.glob("*") if p.is_dir()]
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def whole(self) -> list[Saved]:
        """The checkpoints that agree with their manifest, oldest first.

        Others are moved to `damaged/` next to the folder, so that nothing is lost, and named on the
        console.
        """
        whole = []
        for label in self.labels():
            folder = self.folder / str(label)
            problems = check_manifest(folder)
            if problems:
                target = _move_away(folder)
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                print(f"checkpoint {folder} is damaged and moved to {target}: {problems[0]}{more}")
            else:
                whole.append(self._read(label))
        return whole

    def best(self) -> Saved:
        """The checkpoint with the best metric, or UserError where there is none."""
        ranked = self._ranked(self.whole())
        if not ranked:
            raise UserError(
                f"no whole checkpoint of a finished epoch in {self.folder}: "
                "train first (--mode=train), with the same --workdir"
            )
        return ranked[0]

    def best_rank(self) -> tuple[float, float] | None:
        """Of the best finished epoch on the disk, unchecked; None if there is none."""
        ranked = self._ranked([self._read(label) for label in self.labels()])
        return self.rank(ranked[0].metric, ranked[0].record) if ranked else None

    def rank(self, metric: float | None, record) -> tuple[float, float]:
        """What is least for the best epoch: the metric by `mode`, then its val_loss."""
        return self._sign * metric, loss_of(record)

    def improves(self, rank: tuple[float, float], best: tuple[float, float] | None) -> bool:
        """Whether an epoch of this rank is the best one after one of `best`, None for none. Where
        the last epoch is selected, none is until then."""
        return not self._last and (best is None or rank < best)

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
            folder = self.folder / str(saved.label)
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
        return f"checkpoint {self.folder / str(saved.label)} does not fit this model: {reason}"

    def _arrays(self, saved) -> dict[str, str]:
        return json.loads((self.folder / str(saved.label) / RECORD).read_text())["arrays"]

    def _read(self, label) -> Saved:
        content = json.loads((self.folder / str(label) / RECORD).read_text())
        return Saved(label, content["metric"], content["record"])

    def _ranked(self, saved: list[Saved]) -> list[Saved]:
        """Those of finished epochs, the best first."""
        finished = [s for s in saved if s.metric is not None]
        if self._last:
            return sorted(finished, key=lambda s: -s.label)
        return sorted(finished, key=lambda s: (*self.rank(s.metric, s.record), s.label))


def loss_of(record) -> float:
    """The val_loss of the last epoch in the record of a checkpoint; 0 where there is none."""
    history = record.get("history") if isinstance(record, dict) else None
    return history[-1].get("val_loss", 0.0) if history else 0.0


def array_types(tree) -> dict[str, str]:
    """{path: dtype and shape} of a pytree's arrays, as 'params/Conv_0/bias': 'float32(32,)'."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{leaf.shape}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@contextlib.contextmanager
def _quiet_threads():
    """Within the block, and after it where it fails, the threads that orbax then leaves behind do
    not fill stderr with pages on a closed event loop: the exception says all."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: (
        None if "Event loop is closed" in str(unraisable.exc_value) else before(unraisable)
    )
    yield
    sys.unraisablehook = before


def _move_away(folder: Path) -> Path:
    target = folder.parent.parent / "damaged" / folder.name
    target.parent.mkdir(exist_ok=True)
    while target.exists():
        target = target.with_name(target.name + "_")
    return folder.rename(target)
