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
