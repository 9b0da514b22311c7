"""Reads pictures, videos and webcams into RGB arrays; what cannot be read has a reason.

H, W = height and width in pixels of whatever comes in.
"""

import glob
import os
import time
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

from fer_jax.kinds import PICTURE, VIDEO, kind_of, read_head
from fer_jax.predict.inputs import webcam_number

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the rows have the reasons

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit; ours is asked of the header, see `read_still`

# judged by content; Pillow's other decoders stay shut
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")
MAX_SIDE = 32_000  # pixels; OpenCV's warpAffine ends at 32,767
REDUCED = 254, 1  # tag and bit of a TIFF: a smaller copy of another picture, as in raw files
SECONDS_BETWEEN_SHOWN = 10.0  # frames of a video that are drawn


class Picture(NamedTuple):
    file: str  # as it was given, or below a folder that was
    frame: int  # of a video, from 0; 0 for a still
    pixels: np.ndarray | None  # u8[H, W, 3] RGB, upright
    reason: str  # why there are no pixels; ''
    moving: bool = False  # a frame of a video or webcam
    shown: bool = True  # to be drawn: every still, and a frame every few seconds
    seconds: float | None = None  # the frame's own time in its video; since the start of a webcam
    frames: int = 0  # that the video says it has; 0 where it does not
    shrunk: int = 1  # a JPEG above the limit is decoded in a half of its size: 2


class UnreadableError(Exception):
    """One file cannot be read; the text says why, for the row of that file."""


def read(files, *, max_pixels: int, every: int, max_frames: int) -> Iterator[Picture]:
    """Every picture of the files, one at a time, so that memory does not grow with their number.

    Args:
      files: paths of pictures and videos, and 'webcam:N'; see inputs.find.
      max_pixels: of a picture, asked of its header before anything is decoded.
      every: of videos, each how-many-th frame is looked at.
      max_frames: of each video or webcam, how many frames are looked at; 0 for all.
    """
    frames = {"max_pixels": max_pixels, "every": every, "max_frames": max_frames}
    for name in files:
        if name.startswith("webcam:"):
            yield from _frames(name, webcam_number(name), **frames)
            continue
        path = Path(name)
        kind = kind_of(read_head(path))
        if kind == VIDEO or (not kind and path.suffix.lower() in VIDEOS and path.is_file()):
            yield from _frames(name, name, **frames)
            continue
        try:
            if kind not in (PICTURE, ""):
                raise UnreadableError(f"{kind}: convert it to JPEG")
            pixels, shrunk = read_still(path, max_pixels=max_pixels)
            yield Picture(name, 0, pixels, "", shrunk=shrunk)
        except UnreadableError as error:
            yield Picture(name, 0, None, str(error))


def read_still(path: Path, *, max_pixels: int) -> tuple[np.ndarray, int]:
    """(u8[H, W, 3] RGB of a picture, 1, or 2 where it was decoded in half of its height and width).

    Turned as its EXIF says, 16 bits cut to 8, transparent parts white; of an animation or a TIFF
    of many pages the first picture. A JPEG of up to four times `max_pixels` is decoded in half,
    which its format makes cheap. UnreadableError says why not.
    """
    if path.is_dir():
        raise UnreadableError(_why_no_folder(path))
    if not path.is_file():
        raise UnreadableError(_why_no_file(path))
    try:
        if not path.stat().st_size:
            raise UnreadableError("an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata
            with Image.open(path, formats=FORMATS) as image:  # reads the header only
                size, shrunk = image.size, 1
                if _is_too_large(size, max_pixels) and image.format in ("JPEG", "MPO"):
                    image.draft(None, (size[0] // 2, size[1] // 2))
                    shrunk = 2 if image.size != size else 1
                if _is_too_large(image.size, max_pixels):
                    raise UnreadableError(_too_large(*size, max_pixels))
                return _to_rgb(image), shrunk
    except UnreadableError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UnreadableError(f"not a {', '.join(FORMATS)} file") from error
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise UnreadableError(f"damaged or cut off: {error}") from error


def _why_no_folder(path) -> str:
    try:
        os.listdir(path)
    except OSError as error:
        return f"a folder that cannot be opened: {error.strerror}"
    return "a folder without pictures or videos"


def _why_no_file(path) -> str:
    if path.is_symlink() and not path.exists():
        return "a link to a file that is not there"
    if path.exists():
        return "not a regular file"
    return "no file fits this pattern" if glob.has_magic(str(path)) else "no such file"


def _is_too_large(size, max_pixels) -> bool:
    return size[0] * size[1] > max_pixels or max(size) > MAX_SIDE


def _too_large(width, height, max_pixels) -> str:
    limit = f"at most {max_pixels:,} (predict.max_pixels), and {MAX_SIDE:,} a side"
    return f"too large: {width}x{height} pixels; {limit}"


def _to_rgb(image) -> np.ndarray:
    """u8[H, W, 3] of a Pillow picture, as `read_still` has it."""
    number, bit = REDUCED
    if image.format == "TIFF" and int(image.tag_v2.get(number, 0)) & bit:
        raise UnreadableError("camera raw, whose first picture is a preview: convert it to JPEG")
    if image.mode == "F":
        raise UnreadableError("pixels in floating point: convert it to 8 bits")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them at 255
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


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
        if _is_too_large((width, height), max_pixels):
            yield Picture(name, 0, None, _too_large(width, height, max_pixels), moving=True)
            return
        clock = _clock(capture, isinstance(source, int))
        expected = max(0, min(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 10**9))
        grabbed, looked_at, next_shown = 0, 0, 0.0
        while (not max_frames or looked_at < max_frames) and capture.grab():
            frame, grabbed = grabbed, grabbed + 1
            if frame % every:
                continue
            seconds = clock(frame)
            ok, pixels = capture.retrieve()
            if not ok:
                reason = "a frame that cannot be decoded"
                yield Picture(name, frame, None, reason, moving=True, seconds=seconds)
                continue
            looked_at += 1
            shown = seconds >= next_shown
            next_shown = seconds + SECONDS_BETWEEN_SHOWN if shown else next_shown
            rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            yield Picture(name, frame, rgb, "", True, shown, seconds, expected)
        if not grabbed:
            yield Picture(name, 0, None, "a video without a readable frame", moving=True)
        elif grabbed < 0.9 * expected and not (max_frames and looked_at >= max_frames):
            reason = f"cut off: {grabbed} of {expected} frames could be read"
            yield Picture(name, grabbed, None, reason, moving=True)
    finally:
        capture.release()


def _clock(capture, live):
    """frame -> its time in seconds: by the file, which may have a changing rate; else by the frames
    a second; of a webcam since the start."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 1 <= rate <= 1000 else 25.0
    start = time.monotonic()

    def seconds(frame):
        if live:
            return time.monotonic() - start
        stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp if stamp > 0 else frame / rate

    return seconds
