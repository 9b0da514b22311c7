"""What a prediction leaves in its workdir: rows, annotated pictures and videos, a contact sheet."""

import csv
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from fer_jax.predict import draw
from fer_jax.predict.draw import Answer
from fer_jax.predict.emoji import NOT_SURE
from fer_jax.predict.video import Video

BOX = ("x", "y", "width", "height")
COLUMNS = ("file", "frame", "seconds", "face", "pose", *BOX, "class")  # classes, reason
TABLES = ("predictions.csv", "predictions.jsonl")
MAX_TILES = 120  # of the contact sheet
BETWEEN_REPORTS = 5.0  # seconds, on how far a video is


class Output:
    """The files of one prediction, written as it goes, so that memory does not grow.

    Those of an earlier one stay until the first picture is read: a typo does not erase them.
    """

    def __init__(self, workdir: Path, settings, classes):
        self._workdir, self._settings, self._classes = workdir, settings, classes
        self._annotated = workdir / "annotated"
        self._tiles: list = []
        self._left_out, self._drawn, self._not_drawn = 0, 0, 0
        self._videos = 0
        self._counts: dict[str, Counter[str]] = {}  # of the moving pictures: {file: answers}
        self._read = self._unreadable = 0
        self._video = self._reported = None  # of the video that is read; when it was reported on
        self._lock = threading.RLock()  # of one picture's rows, or of the end; see `finish`
        self._in_place = not (workdir / TABLES[0]).exists()

    def __enter__(self):
        # file names need not be Unicode; what is not, is written as \\udc..
        kind = {"encoding": "utf-8", "errors": "backslashreplace"}
        names = TABLES if self._in_place else [f".new_{name}" for name in TABLES]
        self._csv = open(self._workdir / names[0], "w", newline="", **kind)
        self._jsonl = open(self._workdir / names[1], "w", **kind)
        self._rows = csv.writer(self._csv)
        self._rows.writerow([*COLUMNS, *self._classes, "reason"])
        return self

    def __exit__(self, *exception):
        self._close()

    def finish(self) -> str:
        """Closes all files, for good, from another thread; what to say of it."""
        if self._lock.acquire(timeout=1):  # and keeps it: nothing is written from now on
            self._close()  # or else somebody does not read what is printed; the rows are flushed
        return self.interrupted()

    def interrupted(self) -> str:
        """What to say at the end of a prediction that was interrupted."""
        if not self._read:
            return "interrupted before a picture was read; run the same command again"
        return f"interrupted; what was done is in {self._workdir}"

    def _close(self):
        self._csv.close()
        self._jsonl.close()
        if self._video:
            self._video.close()
        if not self._in_place:
            for name in TABLES:
                (self._workdir / f".new_{name}").unlink()
        elif self._tiles:
            draw.sheet(self._tiles).save(self._workdir / "contact_sheet.png")

    def unreadable(self, picture):
        """A row with the reason."""
        with self._lock:
            self._unreadable += 1
            self._row(picture, None, None, picture.reason)
            self._tile(None, [picture.reason, Path(picture.file).name])
            print(f"{picture.file}: {picture.reason}")

    def add(self, picture, answers, probabilities, reason) -> Image.Image | None:
        """A row for each face, or one with the reason where there is none; and the pictures.

        Returns the annotated picture, if there was a use for it.
        """
        with self._lock:
            self._replace_earlier()
            self._read += 1
            for found, row in zip(answers, probabilities, strict=True):
                self._row(picture, found, row, "")
            if not answers:
                self._row(picture, None, None, reason)
            if picture.moving:
                self._count(picture, answers)
            else:
                summary = ", ".join(a.text() for a in answers) or reason
                half = "; decoded in half of its size" if picture.shrunk > 1 else ""
                print(f"{picture.file}: {summary}{half}")
            self._csv.flush()
            self._jsonl.flush()
            return self._draw(picture, answers, reason)

    def report(self) -> int:
        """Prints what was done and returns the exit code."""
        for file, counts in self._counts.items():
            found = ", ".join(f"{n} {name}" for name, n in counts.most_common() if name != "frames")
            print(f"{file}: {counts['frames']} frames; {found or 'no face found'}")
        if self._left_out:
            print(f"contact_sheet.png shows the first {MAX_TILES}; {self._left_out} are not on it")
        if self._not_drawn:
            print(
                f"annotated/ has the first {self._drawn} pictures; {self._not_drawn} more are not "
                "drawn (predict.max_pictures)"
            )
        if self._in_place:
            print(
                f"{self._read} pictures read, {self._unreadable} problems; see {self._workdir}: "
                "predictions.csv, predictions.jsonl, annotated/, contact_sheet.png"
            )
        else:
            print(f"What was in {self._workdir} before is left as it was.")
        if not self._read:
            print("error: nothing could be read", file=sys.stderr)
        return 0 if self._read else 1

    def _replace_earlier(self):
        """Puts the tables in the place of those of an earlier prediction, and removes its pictures.

        The open files go with their new names."""
        if not self._read:
            self._annotated.mkdir(exist_ok=True)
            for old in self._annotated.glob("[0-9]*-*"):
                old.unlink()
            (self._workdir / "contact_sheet.png").unlink(missing_ok=True)
        if not self._in_place:
            for name in TABLES:
                (self._workdir / f".new_{name}").replace(self._workdir / name)
            self._in_place = True

    def _row(self, picture, found: Answer | None, probabilities, reason):
        numbers = map(float, probabilities) if found else ()
        values = dict(zip(self._classes, numbers, strict=True)) if found else {}
        box = [picture.shrunk * side for side in found.box] if found else None
        seconds = None if picture.seconds is None else round(picture.seconds, 3)
        told = [found.number, found.pose, *box, found.name] if found and box else [""] * 7
        self._rows.writerow(
            [picture.file, picture.frame, "" if seconds is None else f"{seconds:.3f}"]
            + told
            + [f"{values[c]:.6f}" if values else "" for c in self._classes]
            + [reason]
        )
        record = {
            "file": picture.file,
            "frame": picture.frame,
            "seconds": seconds,
            "face": found.number if found else None,
            "pose": found.pose if found else None,
            "box": dict(zip(BOX, box, strict=True)) if box else None,
            "class": found.name if found else None,
            "probabilities": {k: round(v, 6) for k, v in values.items()} or None,
            "reason": reason or None,
        }
        self._jsonl.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _count(self, picture, answers):
        """Counts the answers of a video, and says now and then how far it is."""
        now = time.monotonic()
        if picture.file not in self._counts:
            self._counts[picture.file] = Counter(frames=0)
            self._started = self._reported = now
        counts = self._counts[picture.file]
        counts["frames"] += 1
        counts.update([a.name for a in answers])
        if now - self._reported >= BETWEEN_REPORTS:
            self._reported = now
            print(progress(picture, now - self._started), flush=True)

    def _draw(self, picture, answers, reason):
        if picture.frame == 0 and self._video:
            self._video.close()
            self._video = None
        name = Path(picture.file).name
        label = f"{name}, frame {picture.frame}" if picture.moving else name
        filmed = picture.moving and self._settings["video"]
        wanted = picture.shown and self._drawn < self._settings["max_pictures"]
        image = None
        if wanted or filmed or picture.file.startswith("webcam:"):
            image = draw.annotate(picture.pixels, answers, numbered=picture.moving)
        safe = "".join(c if c.isprintable() and c != "/" else "_" for c in name)[:50]
        if wanted:
            self._drawn += 1
            suffix = f"-{picture.frame}" if picture.moving else ""
            image.save(self._annotated / f"{self._drawn:05d}-{safe}{suffix}.jpg", quality=92)
        elif picture.shown:
            self._not_drawn += 1
        if filmed:
            if self._video is None:
                self._videos += 1
                self._video = Video(self._annotated / f"{self._videos:05d}-{safe}.mp4")
            self._video.add(np.asarray(image), picture.seconds)
        if picture.shown:
            self._tiles_of(picture, answers, reason, label)
        return image

    def _tiles_of(self, picture, answers, reason, label):
        if not answers:
            self._tile(picture.pixels, [reason.partition(":")[0], label])
        for found in answers:
            x, y, width, height = found.box
            cut = picture.pixels[max(y, 0) : y + height, max(x, 0) : x + width]
            self._tile(cut, [found.text(), label], found.name)

    def _tile(self, pixels, lines, name=""):
        if len(self._tiles) < MAX_TILES:
            picture = None if pixels is None else Image.fromarray(pixels)
            self._tiles.append(draw.tile(picture, lines, name))
        else:
            self._left_out += 1


def progress(picture, elapsed: float) -> str:
    """'clip.mp4: frame 300 of 6000, 2:05 left' after `elapsed` seconds; without a number of frames
    in the file, or from a webcam, the frames and the time in it."""
    done = picture.frame + 1
    if picture.frames <= done:
        return f"{picture.file}: frame {done}, at {picture.seconds:.0f} s"
    left = round(elapsed * (picture.frames - done) / done)
    return f"{picture.file}: frame {done} of {picture.frames}, {left // 60}:{left % 60:02d} left"


def answer(face, number: int, probabilities, threshold, classes) -> Answer:
    """The most probable class of f64[K] of a Face, or NOT_SURE where it is below the threshold."""
    best = classes[int(probabilities.argmax())]
    probability = float(probabilities.max())
    name = best if probability >= threshold else NOT_SURE
    return Answer(face.box, name, best, probability, number, face.pose)
