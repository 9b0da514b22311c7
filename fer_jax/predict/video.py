"""A video of annotated frames: MPEG-4 in .mp4, for players; a browser wants H.264, which OpenCV's
wheel cannot write (VP8, which it can, costs eight times as much and a message on stderr)."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train_jax.run.errors import UserError

RATE = 25  # frames a second
LONGEST = 10.0  # seconds that one frame is shown for, whatever the times say


class Video:
    """Writes frames at their own times: each is repeated until the next one is due, so that a video
    of a changing rate, or of which only some frames are looked at, keeps its pace."""

    def __init__(self, path: Path):
        self._path, self._due = path, 0
        self._writer: Any = None  # cv2.VideoWriter
        self._last: Any = None  # u8[H, W, 3]

    def add(self, pixels: np.ndarray, seconds: float):
        """u8[H, W, 3] RGB, and when it is shown."""
        height, width = (side - side % 2 for side in pixels.shape[:2])  # the codec wants even sides
        if self._writer is None:
            self._start = seconds
            self._size = width, height
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), RATE, self._size
            )
            if not self._writer.isOpened():
                raise UserError("predict.video: this OpenCV cannot write MPEG-4; leave it off")
        due = round(RATE * (seconds - self._start))
        for _ in range(min(due - self._due, round(RATE * LONGEST))):
            self._write(self._last)
        self._due = max(due, self._due)
        self._last = cv2.cvtColor(pixels[:height, :width], cv2.COLOR_RGB2BGR)

    def close(self):
        """Writes the last frame."""
        if self._writer is not None:
            self._write(self._last)
            self._writer.release()

    def _write(self, frame):
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(frame)
