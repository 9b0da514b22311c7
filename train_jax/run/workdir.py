"""The workdir of a run: its lock, and config.json, which says what made it."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from train_jax import parallel
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically

# A whole section may be absent from a run that is older than its mode.
DECIDES_NOTHING = re.compile(
    r"config\.(data\.(path|soft_labels)|checkpoint\.min_seconds|"
    r"train\.(deterministic|epochs_on_drawn_faces)|"  # the latter until 2026-11-26
    r"(distributed|eval|decode|explore|explain|predict)(\..*)?)$"
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def lock_workdir(workdir: Path | str):
    """Takes the workdir for this process; the lock dies with it. Returns what must stay open."""
    workdir = Path(workdir)
    if not parallel.is_main():
        return contextlib.nullcontext()  # the main process has it
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{workdir} cannot be a folder ({error.strerror}): choose another --workdir"
        ) from None
    file = open(workdir / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(
            f"{workdir} is in use by another running process; wait for it, or choose another "
            "--workdir"
        ) from None
    return file


def is_run(workdir: Path | str) -> bool:
    """Whether training wrote its config there."""
    return Path(workdir, "config.json").exists()


def write_config(
    workdir: Path | str,
    config: dict,
    identity: dict,
    *,
    base: dict | None = None,
    update: Callable[[dict], dict] | None = None,
    parameters: int | None = None,
):
    """Writes config.json; where a run is there already, checks that it may be continued.

    Args:
      workdir: made if it is not there.
      config: JSON values.
      identity: JSON values of the task (data hash, class names ...).
      base: the base config of the task: what differs from it is kept, for the report.
      update: see `read_config`.
      parameters: how many trainable ones the model has, for the report.

    Raises:
      UserError: see `check_config`.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if path.exists() and any((workdir / "checkpoints").glob("*")):
        longer = check_config(workdir, config, identity, base=base, update=update)
        if longer:
            print("continuing with " + "; ".join(map(str, longer)))
            record = read_config(workdir, update) | {"config": config}
            write_atomically(path, json.dumps(record, indent=2))
        return
    write_atomically(
        path,
        json.dumps(
            {
                "config": config,
                "differs": _differs(base, config) if base else None,
                "identity": identity,
                **({} if parameters is None else {"parameters": parameters}),
                **origin(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
            indent=2,
        ),
    )


def check_config(
    workdir: Path | str,
    config: dict,
    identity: dict,
    *,
    base: dict | None = None,
    update: Callable[[dict], dict] | None = None,
) -> list["Difference"]:
    """Compares with what a run wrote.

    `data.path` may change between runs, since `identity` holds the hash of the data itself, and
    the fields of other modes, which decide nothing in training, and what decides nothing but
    rounding. A field that the run lacks, being older than it, counts as its default in `base`.

    Returns:
      What lets the run go on for longer: more patience, and more epochs where nothing that is
      already trained depended on their number.

    Raises:
      UserError: the workdir holds a run with another config or other data; names the differences.
    """
    old = read_config(workdir, update)
    old = {"config": old["config"], "identity": old["identity"]}
    defaults = {"config": base or {}}
    changed = [
        d
        for d in differences(old, {"config": config, "identity": identity})
        if not DECIDES_NOTHING.match(d.path)
        and not (d.old is ABSENT and d.new == _value(defaults, d.path, ABSENT))
    ]
    longer = [d for d in changed if _only_longer(d, config)]
    if len(longer) < len(changed):
        raise UserError(
            f"{workdir} holds a run with other settings:\n  "
            + "\n  ".join(str(d) for d in changed if d not in longer)
            + "\nGive this run another --workdir, or the old settings to continue the old run."
        )
    return longer


def read_config(workdir: Path | str, update: Callable[[dict], dict] | None = None) -> dict:
    """What `write_config` wrote. UserError if there is nothing, or something else.

    `update` gives what an older version wrote the names of today.
    """
    path = Path(workdir, "config.json")
    if not path.exists():
        raise UserError(
            f"{workdir} holds no run (there is no config.json in it): train first with "
            "--mode=train, or point --workdir at a run"
        )
    try:
        content = json.loads(path.read_bytes())
        dict(content["config"]), dict(content["identity"])
        return update(content) if update else content
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a config that a run wrote: {error!r}") from None


def origin() -> dict:
    """What made a file: the command, the commit of the code, the versions of the packages."""
    return {
        "command": shlex.join(sys.argv),
        "git_commit": git_commit(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES}
        | {"python": platform.python_version()},
    }


class Difference(NamedTuple):
    """Of one field of two configs."""

    path: str  # 'config.train.epochs'
    old: Any  # a JSON value, or ABSENT
    new: Any

    def __str__(self):
        return f"{self.path}: {self.old!r} -> {self.new!r}"

    def record(self) -> dict:
        """{'field', 'old', 'new'}, without the value that is absent: JSON."""
        values = {"old": self.old, "new": self.new}
        return {"field": self.path} | {k: v for k, v in values.items() if v is not ABSENT}


class _Absent:
    def __repr__(self):
        return "(absent)"


ABSENT = _Absent()


def differences(old: dict, new: dict) -> list[Difference]:
    """The leaves of two nested dicts of JSON values that are not equal, ordered by path."""
    # through JSON, which knows no tuples
    old, new = (json.loads(json.dumps(d)) for d in (old, new))
    return list(_differences(old, new, ""))


def _differs(base, config) -> list[dict]:
    """A section of a mode that the config lacks, being of a test, say, is no difference."""
    return [d.record() for d in differences(base, config) if d.path.split(".")[0] in config]


def _differences(old, new, path):
    dicts = [d for d in (old, new) if isinstance(d, dict)]
    if not dicts or any(d is not ABSENT and not isinstance(d, dict) for d in (old, new)):
        if old is ABSENT or new is ABSENT or old != new:
            yield Difference(path, old, new)
        return
    old, new = ({} if d is ABSENT else d for d in (old, new))
    for key in sorted(old.keys() | new.keys()):
        name = f"{path}.{key}" if path else key
        if key not in old or key not in new or old[key] != new[key]:
            yield from _differences(old.get(key, ABSENT), new.get(key, ABSENT), name)


def _value(config: dict, path: str, default):
    """The value at 'a.b.c', through JSON."""
    for key in path.split("."):
        if not isinstance(config, dict) or key not in config:
            return default
        config = config[key]
    return json.loads(json.dumps(config))


def _only_longer(d: Difference, config: dict) -> bool:
    """Whether a run that is continued with this difference only goes on for longer."""
    if d.path == "config.train.epochs":
        if config["schedule"]["name"] == "cosine" or config.get("augment", {}).get("sizes"):
            return False  # they go by the share of the epochs
    elif d.path != "config.early_stop.patience":
        return False
    return isinstance(d.old, int) and isinstance(d.new, int) and d.new > d.old


def git_commit() -> str:
    """The commit of the code, with '+changes' if files differ from it; 'unknown' outside git."""

    def git(*words):
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
