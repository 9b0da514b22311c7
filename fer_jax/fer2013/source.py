"""Reads FER-2013 as people have it: Kaggle's zip, the folder unpacked from it, a competition CSV.

`find` tells which form lies at a path, `key` names its present content, `faces` iterates over its
images and `read` gathers them into arrays. Everything that comes from outside is checked here, and
every mistake is a UserError that names the file, what was expected, what was found, what to do.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax.fer2013 import SPLITS, csv_form, meaning, tree_form
from fer_jax.fer2013.image import decode
from train_jax.run.errors import UserError

FORMAT = 2  # raise it when the reading rules change: it is part of every cache key
MAX_IMAGES = 200_000  # FER-2013 has 35,887; bounds the memory, whatever the source
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")


class Source(NamedTuple):
    form: str  # 'zip', 'folder' or 'csv'
    path: Path


class Face(NamedTuple):
    split: str  # one of SPLITS
    label: int  # index into CLASSES
    image: np.ndarray  # u8[48, 48]
    name: str  # where it came from, for messages


def find(path: str | Path) -> Source:
    """The source at `path`: a zip, a folder, a CSV, or a folder that holds exactly one of them.

    Raises:
        UserError: nothing is there, or it is none of the three, or it is not clear which is meant.
    """
    path = Path(os.path.expanduser(path))
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. Give the path of FER-2013: archive.zip, the "
            f"folder unpacked from it, or {' or '.join(CSV_NAMES)}."
        ) from error
    if path.is_dir():
        return _find_in_folder(path)
    tree_form.check_regular(status, path)
    if path.suffix.lower() == ".csv":
        return Source("csv", path)
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return Source("zip", path)
    raise UserError(
        f"{path}: expected a .zip file, a .csv file or a folder, found "
        f"{path.suffix or 'a file without an ending'}."
    )


def _find_in_folder(folder: Path) -> Source:
    names = tree_form.visible_names(folder)
    if _holds_splits(folder):
        return Source("folder", folder)
    found = []
    for name in names:
        inside = folder / name
        if inside.is_dir() and _holds_splits(inside):
            found.append(Source("folder", inside))
        elif inside.is_file() and inside.suffix.lower() == ".zip":
            found.append(Source("zip", inside))
        elif inside.is_file() and name.lower() in CSV_NAMES:
            found.append(Source("csv", inside))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{folder}: holds {len(found)} sources of FER-2013: "
            f"{tree_form.listing([source.path.name for source in found])}. "
            "Give the path of the one that is meant."
        )
    raise UserError(
        f"{folder}: wrong layout. Expected {tree_form.LAYOUT}, or archive.zip, or "
        f"{' or '.join(CSV_NAMES)}; found at the top: {tree_form.listing(names)}."
    )


def _holds_splits(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def key(source: Source) -> str:
    """A SHA-256 that changes whenever the source does: of the bytes of a file; of the sorted
    (relative path, size, mtime_ns) of a folder, whose 36k files would take too long to read."""
    if source.form == "folder":
        digest = hashlib.sha256()
        for parts in tree_form.folder_files(source.path):
            path = source.path.joinpath(*parts)
            with tree_form.readable(path):
                status = os.stat(path)
            line = "\0".join([*parts, str(status.st_size), str(status.st_mtime_ns)])
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    else:
        with tree_form.readable(source.path), open(source.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    return hashlib.sha256(f"{FORMAT} {source.form} {digest.hexdigest()}".encode()).hexdigest()


def faces(source: Source) -> Iterator[Face]:
    """Every image of the source, in the order in which it lies there.

    Raises:
        UserError: anything in the source that is not as it should be.
    """
    if source.form == "csv":
        for split, label, image, line in csv_form.rows(source.path):
            yield Face(split, label, image, f"{source.path} line {line}")
        return
    entries = {"zip": tree_form.zip_entries, "folder": tree_form.folder_entries}[source.form]
    for parts, name, data in entries(source.path):
        split, label = tree_form.place(parts, name)
        yield Face(split, label, decode(data, name), name)


def read(
    source: Source, progress: Callable[[int], None] = lambda count: None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{split: (images u8[N, 48, 48], labels i32[N])}, for the splits that the source has.

    Within a split the images are sorted by (label, pixels): a CSV has no file names, so content is
    the only order that all three forms share. `progress` is called with the count so far.

    Raises:
        UserError: as `faces`; or no image at all; or more than MAX_IMAGES; or labels that cannot
            belong to the images, see meaning.py.
    """
    found: dict[str, list[tuple[int, bytes]]] = {split: [] for split in SPLITS}
    count = 0
    for count, face in enumerate(faces(source), start=1):
        if count > MAX_IMAGES:
            raise UserError(f"{source.path}: more than {MAX_IMAGES} images; FER-2013 has 35,887.")
        found[face.split].append((face.label, face.image.tobytes()))
        progress(count)
    if not count:
        raise UserError(
            f"{source.path}: holds no image. Expected {tree_form.LAYOUT}; in a CSV, "
            "rows below the header."
        )
    splits = {}
    for split, rows in found.items():
        if rows:
            rows.sort()
            pixels = np.frombuffer(b"".join(image for _, image in rows), np.uint8)
            labels = np.array([label for label, _ in rows], np.int32)
            splits[split] = (pixels.reshape(-1, 48, 48), labels)
    meaning.check(splits, source.path)
    return splits


def content_sha256(splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """SHA-256 over name, size, labels (i32) and images (u8) of every split, in order of name."""
    digest = hashlib.sha256()
    for split, (images, labels) in sorted(splits.items()):
        digest.update(f"{split} {len(labels)}\n".encode())
        digest.update(np.ascontiguousarray(labels, "<i4"))
        digest.update(np.ascontiguousarray(images, np.uint8))
    return digest.hexdigest()
