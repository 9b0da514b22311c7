"""Prepares a source once, and reads what was prepared ever after.

A prepared folder, named after the key of its source, holds the TFDS data set (fer2013/1.0.0, for
any reader of TFDS) and arrays.npz, which was filled from that data set: 32k records take 1.2 s to
decode one by one, TFDS imported, the arrays 0.1 s. Both are whole or the folder is not there. Where
TFDS is not installed there are the arrays alone, which are the same.
"""

import contextlib
import fcntl
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fer_jax.fer2013 import SPLITS, contents
from fer_jax.fer2013.classes import Reading
from fer_jax.fer2013.contents import Data, content_sha256
from fer_jax.fer2013.source import Source, key
from train_jax.run.errors import UserError


class _DamagedError(Exception):
    """A prepared folder does not hold what was written into it."""


def load(source: Source, cache: Path, reading: Reading = Reading()) -> Data:  # noqa: B008, immutable
    """What the source holds, from `cache`, prepared there if need be.

    Whatever happens meanwhile (a kill, a second process), a folder under its final name is whole:
    it is filled under another name by the one process that holds the lock, then renamed.

    Raises:
        UserError: a mistake in the source; or the cache cannot be written.
    """
    source_key = key(source, reading)
    directory = cache / source_key[:16]
    if directory.exists():
        with contextlib.suppress(_DamagedError):  # looked at again below, under the lock
            return _read(directory, source_key)
    try:
        with _lock(cache):
            if directory.exists():  # another process has prepared it meanwhile, or it is damaged
                try:
                    return _read(directory, source_key)
                except _DamagedError as error:
                    print(f"{directory} is damaged ({error}); preparing it again.", file=sys.stderr)
                    shutil.rmtree(directory)
            _prepare(source, reading, source_key, cache / "preparing", directory)
            return _read(directory, source_key)
    except OSError as error:
        raise UserError(
            f"{cache}: the data cannot be prepared there ({error}). Is there room "
            "(200 MB), and may you write? FER_SEQ_CACHE=FOLDER in the environment names another."
        ) from error
    except _DamagedError as error:
        raise UserError(
            f"{directory}: reads back otherwise than it was written ({error}). Check the disk."
        ) from error


def _prepare(
    source: Source, reading: Reading, source_key: str, temporary: Path, directory: Path
) -> None:
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process: we hold the lock
    temporary.mkdir()
    try:
        with _progress(f"preparing {source.path}, once") as progress:
            data = contents.read(source, progress, reading)
        if key(source, reading) != source_key:
            raise UserError(f"{source.path}: changed while it was read. Run the command again.")
        data = _through_tfds(data, temporary)
        arrays = {split + "_images": images for split, (images, _) in data.splits.items()}
        arrays |= {split + "_labels": labels for split, (_, labels) in data.splits.items()}
        arrays |= {split + "_votes": votes for split, votes in data.votes.items()}
        about = json.dumps({"classes": data.classes, "name": data.name, "notes": data.notes})
        facts = {"key": source_key, "sha256": data.sha256, "about": about}
        arrays |= {name: np.array(fact) for name, fact in facts.items()}
        np.savez(temporary / "arrays.npz", **arrays)  # type: ignore[arg-type]
        os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _through_tfds(data: Data, folder: Path) -> Data:
    """`data` with the images and labels as they are read from the TFDS data set that is left in
    `folder`."""
    try:
        import tensorflow_datasets as tfds  # 0.2 to 0.4 s, so only where it is needed
    except ImportError as error:
        print(f"No TFDS data set is made of them: {error}.", file=sys.stderr)
        return data
    from fer_jax.fer2013.builder import Fer2013

    builder = Fer2013(
        splits=data.splits, classes=data.classes, data_dir=folder, file_format="array_record"
    )
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS talks of downloads; there are none
        builder.download_and_prepare()
    splits = {split: _split_arrays(builder, split) for split in builder.info.splits}
    return data._replace(splits=splits, sha256=content_sha256(splits))


def _split_arrays(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = builder.as_data_source(split=split)
    rows = data.__getitems__(range(len(data)))
    images = np.stack([row["image"][..., 0] for row in rows])
    return images, np.array([row["label"] for row in rows], np.int32)


def _read(directory: Path, source_key: str) -> Data:
    # Whatever error flipped bits lead to in the zip or npy layer, here it means one thing.
    try:
        with (
            open(directory / "arrays.npz", "rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            there = [split for split in SPLITS if split + "_images" in arrays]
            splits = {s: (arrays[s + "_images"], arrays[s + "_labels"]) for s in there}
            votes = {s: arrays[s + "_votes"] for s in there if s + "_votes" in arrays}
            sha256, prepared_from = str(arrays["sha256"]), str(arrays["key"])
            about = json.loads(str(arrays["about"]))
        if content_sha256(splits) != sha256:
            raise ValueError("its SHA-256 is not the one stored with it")
        if prepared_from != source_key:
            raise ValueError("it was prepared from another source")
        classes, notes = tuple(about["classes"]), tuple(about["notes"])
    except Exception as error:
        raise _DamagedError(f"{type(error).__name__}: {error}") from error
    return Data(splits, sha256, classes, about["name"], notes, votes)


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of a killed one."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int], None]]:
    """One line on stderr, rewritten as images come in; where that is no terminal, only its end."""
    start, shown, back = time.monotonic(), 0, "\r" * sys.stderr.isatty()

    def show(count: int) -> None:
        nonlocal shown
        shown = count
        if back and count % 1000 == 0:
            print(f"{back}{title}: {count} images", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        seconds = time.monotonic() - start
        print(f"{back}{title}: {shown} images in {seconds:.1f} s", file=sys.stderr)
