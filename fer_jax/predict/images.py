"""Reads pictures, folders, videos and webcams into RGB arrays; what cannot be read has a reason.

H, W = height and width in pixels of whatever comes in.
"""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Before OpenCV opens a video: no network (a playlist in a file could name one), no messages.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from PIL import Image, ImageOps

from train_jax.run.errors import UserError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the rows have the reasons

FORMATS = ("JPEG", "PNG", "BMP", "GIF")  # judged by content; Pillow's other decoders stay shut
STILLS = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif")  # looked for in folders
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
MAX_SIDE = 32_000  # pixels; OpenCV's warpAffine ends at 32,767
SECONDS_BETWEEN_SHOWN = 10.0  # frames of a video that are drawn


class Picture(NamedTuple):
    file: str  # as it was given, or below a folder that was
    frame: int  # of a video, from 0; 0 for a still
    pixels: np.ndarray | None  # u8[H, W, 3] RGB, upright
    reason: str  # why there are no pixels; ''
    moving: bool = False  # a frame of a video or webcam
    shown: bool = True  # to be drawn: every still, and a frame every few seconds


class UnreadableError(Exception):
    """One file cannot be read; the text says why, for the row of that file."""


def read(inputs, *, max_pixels: int, every: int, max_frames: int) -> Iterator[Picture]:
    """Every picture of the inputs, one at a time, so that memory does not grow with their number.

    Args:
      inputs: paths of pictures, folders and videos, and 'webcam:N'.
      max_pixels: of a picture, asked of its header before anything is decoded.
      every: of videos, each how-many-th frame is looked at.
      max_frames: of each video or webcam, how many frames are looked at; 0 for all.
    """
    frames = {"max_pixels": max_pixels, "every": every, "max_frames": max_frames}
    for name in inputs:
        if name.startswith("webcam:"):
            yield from _frames(name, webcam_number(name), **frames)
            continue
        for path in _files(name):
            if path.suffix.lower() in VIDEOS and path.is_file():
                yield from _frames(str(path), str(path), **frames)
                continue
            try:
                yield Picture(str(path), 0, read_still(path, max_pixels=max_pixels), "")
            except UnreadableError as error:
                yield Picture(str(path), 0, None, str(error))


def webcam_number(name: str) -> int:
    """The N of 'webcam:N'."""
    number = name.removeprefix("webcam:")
    if not number.isdecimal():
        raise UserError(f"--inputs: {name}: expected webcam:0, or another number")
    return int(number)


def read_still(path: Path, *, max_pixels: int) -> np.ndarray:
    """u8[H, W, 3] RGB of a picture: turned as its EXIF says, 16 bits cut to 8, transparent parts
    white; of a GIF the first frame. UnreadableError says why not."""
    if path.is_dir():
        raise UnreadableError("a folder without pictures or videos")
    if not path.is_file():
        raise UnreadableError("no such file" if not path.exists() else "not a regular file")
    try:
        if not path.stat().st_size:
            raise UnreadableError("an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata and large pictures
            with Image.open(path, formats=FORMATS) as image:  # reads the header only
                width, height = image.size
                if width * height > max_pixels or max(width, height) > MAX_SIDE:
                    raise UnreadableError(_too_large(width, height, max_pixels))
                return _to_rgb(image)
    except UnreadableError:
        raise
    except Image.DecompressionBombError as error:  # more than twice what Pillow warns of
        pixels = int(re.search(r"\d+", str(error))[0])
        raise UnreadableError(f"too large: {pixels:,} pixels; {_limit(max_pixels)}") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableError(f"not a {', '.join(FORMATS)} file") from error
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise UnreadableError(f"damaged or cut off: {error}") from error


def _too_large(width, height, max_pixels) -> str:
    return f"too large: {width}x{height} pixels; {_limit(max_pixels)}"


def _limit(max_pixels) -> str:
    return f"at most {max_pixels:,} (predict.max_pixels), and {MAX_SIDE:,} a side"


def _to_rgb(image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them at 255
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _files(name: str) -> Iterator[Path]:
    """The file itself; of a folder all that look like pictures or videos, sorted, or the folder
    where there are none."""
    path = Path(os.path.expanduser(name))
    if not path.is_dir():
        yield path
        return
    found = sorted(
        p
        for p in path.rglob("*")
        if p.suffix.lower() in STILLS + VIDEOS
        and not any(part.startswith(".") for part in p.relative_to(path).parts)
        and not p.is_dir()
    )
    yield from found or [path]


def _frames(name, source: int | str, *, max_pixels, every, max_frames) -> Iterator[Picture]:
    """The frames of a video file or of a webcam, and one more Picture if it breaks off."""
    api = cv2.CAP_ANY if isinstance(source, int) else cv2.CAP_FFMPEG
    capture = cv2.VideoCapture(source, api)
    try:
        if not capture.isOpened():
            kind = "webcam" if isinstance(source, int) else "video"
            yield Picture(name, 0, None, f"not a {kind} that OpenCV can open", moving=True)
            return
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels or max(width, height) > MAX_SIDE:
            yield Picture(name, 0, None, _too_large(width, height, max_pixels), moving=True)
            return
        rate = capture.get(cv2.CAP_PROP_FPS)
        step = SECONDS_BETWEEN_SHOWN * (rate if 1 <= rate <= 1000 else 25.0)
        expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        grabbed, looked_at, next_shown = 0, 0, 0.0
        while (not max_frames or looked_at < max_frames) and capture.grab():
            frame, grabbed = grabbed, grabbed + 1
            if frame % every:
                continue
            ok, pixels = capture.retrieve()
            if not ok:
                yield Picture(name, frame, None, "a frame that cannot be decoded", moving=True)
                continue
            looked_at += 1
            shown = frame >= next_shown
            next_shown += step if shown else 0.0
            rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            yield Picture(name, frame, rgb, "", moving=True, shown=shown)
        if not grabbed:
            yield Picture(name, 0, None, "a video without a readable frame", moving=True)
        elif grabbed < 0.9 * expected and not (max_frames and looked_at >= max_frames):
            reason = f"cut off: {grabbed} of {expected:.0f} frames could be read"
            yield Picture(name, grabbed, None, reason, moving=True)
    finally:
        capture.release()
