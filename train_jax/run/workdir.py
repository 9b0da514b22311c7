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

from train_jax import json_text, parallel
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically

# A whole section may be absent from a run that is older than its mode.
DECIDES_NOTHING = re.compile(
    r"config\.(data\.(path|soft_labels)|train\.deterministic|checkpoint\.min_seconds|"
    r"(distributed|eval|decode|explore|explain|predict)(\.[^:]*)?): "
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def lock_workdir(workdir: Path):
    """Takes the workdir for this process; the lock dies with it. Returns what must stay open."""
    if not parallel.is_main():
        return contextlib.nullcontext()  # the main process has it
    workdir.mkdir(parents=True, exist_ok=True)
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


def write_config(workdir: Path, config: dict, identity: dict, update: Callable | None = None):
    """Writes config.json, or checks that the one there agrees, once there is a checkpoint.

    Args:
      workdir: made if it is not there.
      config: JSON values.
      identity: JSON values of the task (data hash, class names ...).
      update: see `read_config`.

    Raises:
      UserError: see `check_config`.
    """
    path = workdir / "config.json"
    if path.exists() and any((workdir / "checkpoints").glob("*")):
        check_config(workdir, config, identity, update)
        return
    write_atomically(
        path,
        json.dumps(
            {
                "config": config,
                "identity": identity,
                **origin(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
            indent=2,
        ),
    )


def check_config(workdir: Path, config: dict, identity: dict, update: Callable | None = None):
    """Compares with what a run wrote.

    `data.path` may change between runs, since `identity` holds the hash of the data itself, and
    the fields of other modes, which decide nothing in training, and what decides nothing but
    rounding.

    Raises:
      UserError: the workdir holds a run with another config or other data; names the differences.
    """
    old = read_config(workdir, update)
    old = {"config": old["config"], "identity": old["identity"]}
    # through JSON, which knows no tuples
    new = json.loads(json.dumps({"config": config, "identity": identity}))
    changed = [d for d in differences(old, new) if not DECIDES_NOTHING.match(d)]
    if changed:
        raise UserError(
            f"{workdir} holds a run with other settings:\n  "
            + "\n  ".join(changed)
            + "\nGive this run another --workdir, or the old settings to continue the old run."
        )


def read_config(workdir: Path, update: Callable[[dict], dict] | None = None) -> dict:
    """What `write_config` wrote. UserError if there is nothing, or something else.

    `update` gives what an older version wrote the names of today.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(
            f"{workdir} holds no run (there is no config.json in it): train first with "
            "--mode=train, or point --workdir at a run"
        )
    try:
        content = json_text.parse(path.read_bytes())
        dict(content["config"]), dict(content["identity"])
        return update(content) if update else content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a config that a run wrote: {error!r}") from None


def origin() -> dict:
    """What made a file: the command, the commit of the code, the versions of the packages."""
    return {
        "command": shlex.join(sys.argv),
        "git_commit": git_commit(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES}
        | {"python": platform.python_version()},
    }


def differences(old, new, prefix="") -> list[str]:
    """'a.b: old value -> new value' for each leaf of two nested dicts that is not equal."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{prefix}: {old!r} -> {new!r}"]
    lines = []
    for key in sorted(old.keys() | new.keys()):
        name = f"{prefix}.{key}" if prefix else key
        lines += differences(old.get(key, "(absent)"), new.get(key, "(absent)"), name)
    return lines


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
