"""What a run leaves in its workdir and on the console: config.json, metrics.csv, TensorBoard."""

import contextlib
import csv
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
from pathlib import Path

from train_jax import json_text, parallel
from train_jax.errors import UserError
from train_jax.files import write_atomically

SECONDS_BETWEEN_REPORTS = 1.0
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


def write_config(workdir: Path, config: dict, identity: dict):
    """Writes config.json, or checks that the one there agrees, once there is a checkpoint.

    Args:
      workdir: made if it is not there.
      config: JSON values.
      identity: JSON values of the task (data hash, class names ...).

    Raises:
      UserError: see `check_config`.
    """
    path = workdir / "config.json"
    if path.exists() and any((workdir / "checkpoints").glob("*")):
        check_config(workdir, config, identity)
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


def check_config(workdir: Path, config: dict, identity: dict):
    """Compares with what a run wrote.

    `data.path` may change between runs, since `identity` holds the hash of the data itself, and
    the fields of other modes, which decide nothing in training, and what decides nothing but
    rounding.

    Raises:
      UserError: the workdir holds a run with another config or other data; names the differences.
    """
    old = read_config(workdir)
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


def read_config(workdir: Path) -> dict:
    """What `write_config` wrote. UserError if there is nothing, or something else."""
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(
            f"{workdir} holds no run (there is no config.json in it): train first with "
            "--mode=train, or point --workdir at a run"
        )
    try:
        content = json_text.parse(path.read_bytes())
        dict(content["config"]), dict(content["identity"])
        return content
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


class Writer:
    """Writes the history of a run: metrics.csv, TensorBoard events and the console."""

    def __init__(self, workdir: Path, *, history, epochs, unit):
        """`history` holds the rows of the epochs that a resumed run has behind it."""
        self._path = workdir / "metrics.csv"
        self._epochs, self._unit = epochs, unit
        self._shown = 0.0
        main = parallel.is_main()
        self._tty = main and sys.stderr.isatty()
        self.rows = list(history)
        if not main:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        # What an interrupted run wrote past its last checkpoint is cut off here ...
        if self.rows:
            self._write_csv()
        else:
            self._path.unlink(missing_ok=True)
        # ... and here
        self._events = _open_events(workdir / "tb")
        if self._events:
            from tensorboardX.proto.event_pb2 import SessionLog

            self._write_event(0, file_version="brain.Event:2")
            self._write_event(len(history) + 1, session_log=SessionLog(status=SessionLog.START))

    def epoch(self, row: dict):
        """Adds the row of one epoch. Call it after the checkpoint of the epoch is saved."""
        self.rows.append(row)
        if not parallel.is_main():
            return
        self._write_csv()
        self._write_scalars(row)
        eta = duration((self._epochs - row["epoch"]) * row["seconds"])
        numbers = "  ".join(
            f"{k} {v:.4f}" for k, v in row.items() if k.endswith(("loss", "accuracy"))
        )
        self._clear()
        print(
            f"epoch {row['epoch']:3d}/{self._epochs}  {numbers}  lr {row['lr']:.2e}  "
            f"{row['seconds']:.1f} s  {row[self._unit + '/s']:.0f} {self._unit}/s  ETA {eta}",
            flush=True,
        )

    def progress(self, epoch, done, steps, seconds, batch_size):
        """At most once a second, one line that is overwritten, on a terminal only.

        `done` of `steps` steps of `batch_size` units of this epoch took `seconds`.
        """
        if self._tty and time.perf_counter() - self._shown > SECONDS_BETWEEN_REPORTS:
            self._shown = time.perf_counter()
            self._clear()
            left = duration((steps - done) * seconds / done)
            sys.stderr.write(
                f"epoch {epoch:3d}/{self._epochs}  step {done}/{steps}  "
                f"{done * batch_size / seconds:.0f} {self._unit}/s  {left} left of this epoch"
            )
            sys.stderr.flush()

    def close(self):
        self._clear()
        if parallel.is_main() and self._events:
            with contextlib.suppress(OSError):  # what is not written yet, `epoch` has told
                self._events.close()

    def _clear(self):
        if self._tty:
            sys.stderr.write("\r\033[K")

    def _write_scalars(self, row):
        if not self._events:
            return
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "epoch"
        ]
        self._write_event(row["epoch"], summary=Summary(value=values))
        self._events.flush()

    def _write_event(self, step, **content):
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        self._events.write(event.SerializeToString())

    def _write_csv(self):
        # the whole file each time: a row is there whole or not at all
        text = [",".join(self.rows[0])]
        text += [",".join(_csv_value(v) for v in row.values()) for row in self.rows]
        # a run that goes on writes it again from its checkpoint
        write_atomically(self._path, "\n".join(text) + "\n", sync_disk=False)


def _open_events(folder: Path):
    """A new file for TensorBoard in `folder`; None without tensorboardX, which is then said."""
    try:
        # 0.3 s. Not SummaryWriter, whose thread dies of a full disk and is waited for.
        from tensorboardX.record_writer import RecordWriter
    except ImportError as error:
        print(f"nothing is written for TensorBoard: {error}", file=sys.stderr)
        return None
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}"
    return RecordWriter(str(folder / name))


def read_csv(path: Path) -> list[dict]:
    """metrics.csv as rows of floats."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def duration(seconds: float) -> str:
    """'59 s', '12 min 05 s' or '1 h 02 min'."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _csv_value(value):
    return str(value) if isinstance(value, int) else repr(float(value))
