"""The history of a run: metrics.csv, TensorBoard events, and the console."""

import contextlib
import csv
import os
import platform
import sys
import time
from pathlib import Path

from train_jax import parallel
from train_jax.run.files import write_atomically

SECONDS_BETWEEN_REPORTS = 1.0


class Log:
    """Writes the history of a run: metrics.csv, TensorBoard events and the console."""

    def __init__(self, workdir: Path, *, history, epochs, unit):
        """`history` holds the rows of the epochs that a resumed run has behind it."""
        self._path = workdir / "metrics.csv"
        self._epochs, self._unit = epochs, unit
        self._shown = 0.0
        self._begin = (0, 0, 0.0)  # (epoch, steps, seconds) from which its speed is measured
        self._writes = parallel.is_main()
        self._tty = self._writes and sys.stderr.isatty()
        self.rows = list(history)
        if not self._writes:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        # What an interrupted run wrote past its last checkpoint is cut off here ...
        if self.rows:
            self._write_csv()
        else:
            self._path.unlink(missing_ok=True)
        # ... and here
        self._events = _open_events(workdir / "tb")
        if len(self.rows) < epochs:
            print("epoch  training/validation")
        if self._events:
            from tensorboardX.proto.event_pb2 import SessionLog

            self._write_event(0, file_version="brain.Event:2")
            self._write_event(len(history) + 1, session_log=SessionLog(status=SessionLog.START))

    def epoch(self, row: dict):
        """Adds the row of one epoch. Call it after the checkpoint of the epoch is saved."""
        self.rows.append(row)
        if not self._writes:
            return
        self._write_csv()
        self._write_scalars(row)
        self._clear()
        print(self._line(row), flush=True)

    def compiling(self):
        """Said before the first step, which takes as long as the compiler does."""
        self._show("compiling")

    def progress(self, epoch, done, steps, seconds, batch_size, validated=None):
        """At most once a second, one line that is overwritten, on a terminal only.

        `done` of `steps` steps of `batch_size` units of this epoch took `seconds`; `validated`:
        (how many, of how many) batches of validation are done, None before the first.
        """
        if not self._tty or time.perf_counter() - self._shown <= SECONDS_BETWEEN_REPORTS:
            return
        self._shown = time.perf_counter()
        if validated:
            self._show(f"{epoch:3d}/{self._epochs}  validating {validated[0]}/{validated[1]}")
            return
        if self._begin[0] != epoch:  # the first step of a run is not counted, which compiles
            self._begin = epoch, done, seconds
        steps_done, took = done - self._begin[1], seconds - self._begin[2]
        text = f"{epoch:3d}/{self._epochs}  step {done}/{steps}"
        if steps_done > 0 and took > 0:
            left = duration((steps - done) * took / steps_done)
            text += f"  {steps_done * batch_size / took:.0f} {self._unit}/s  {left} left of it"
        self._show(text)

    def _line(self, row) -> str:
        """'  3/24  loss 1.221/1.384  accuracy 0.6124/0.5317 ...': of training and validation."""
        parts = [f"{row['epoch']:3d}/{self._epochs}"]
        for name in row:
            digits = 3 if name.endswith("loss") else 4
            if name.endswith(("loss", "accuracy")) and not name.startswith("val_"):
                both = [row[k] for k in (name, f"val_{name}") if k in row]
                parts.append(f"{name} " + "/".join(f"{v:.{digits}f}" for v in both))
            elif name.startswith("val_") and name.removeprefix("val_") not in row:
                parts.append(f"{name.removeprefix('val_')} {row[name]:.2f}")
        eta = duration((self._epochs - row["epoch"]) * row["seconds"])
        return "  ".join([*parts, f"lr {row['lr']:.1e}", f"{row['seconds']:.0f} s", f"ETA {eta}"])

    def _show(self, text):
        if self._tty:
            self._clear()
            sys.stderr.write(text)
            sys.stderr.flush()

    def close(self):
        self._clear()
        if self._writes and self._events:
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
