"""Finds FER-2013 as people have it, and their own faces: folders of images, plain or in a zip or a
tar, a CSV of the competition, plain or in one of these, or parquet files of Hugging Face.

`find` tells which form lies at a path, `key` names its present content; contents.py reads it. Every
mistake is a UserError that names the file, what was expected, what was found, what to do.
"""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from fer_jax.fer2013 import csv_form, entries, ferplus, parquet_form
from fer_jax.fer2013.classes import Reading
from fer_jax.fer2013.entries import listing
from fer_jax.fer2013.tree_form import LAYOUT, SPLIT_FOLDERS
from train_jax.run.errors import UserError

FORMAT = 4  # raise it when the reading rules change: it is part of every cache key
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
FORMS = (
    f"{LAYOUT}, a zip or tar.gz of that, {' or '.join(csv_form.NAMES)}, {csv_form.TRAIN_NAME}, or "
    "parquet files"
)


class Source(NamedTuple):
    form: str  # 'folder', 'zip', 'tar', 'csv' or 'parquet'
    path: Path
    beside: tuple[str, ...] = ()  # what else lies in the folder that was given, and is not read


def find(path: str | Path) -> Source:
    """The source at `path`: a file or folder of one of FORMS, or a folder that holds exactly one.

    Raises:
        UserError: nothing is there, or it is none of them, or it is not clear which is meant.
    """
    path = Path(os.path.expanduser(path))
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. Give the path of FER-2013: archive.zip, the "
            f"folder unpacked from it, or {' or '.join(csv_form.NAMES)}; or of your own data."
        ) from error
    if path.is_dir():
        found = _find_in_folder(path)
        if found is None:
            names = entries.visible_names(path)
            raise UserError(
                f"{path}: wrong layout. Expected {FORMS}; found at the top: {listing(names)}."
            )
        return found
    entries.check_regular(status, path)
    name = path.name.lower()
    if name.endswith(".csv"):
        return Source("csv", path)
    if name.endswith(".parquet"):
        return Source("parquet", path)
    if name.endswith(".zip") or zipfile.is_zipfile(path):
        return Source("zip", path)
    if name.endswith(TAR_ENDINGS):
        return Source("tar", path)
    raise UserError(
        f"{path}: expected a .zip, .tar.gz, .csv or .parquet file or a folder, found "
        f"{path.suffix or 'a file without an ending'}."
    )


def _find_in_folder(folder: Path, depth: int = 0) -> Source | None:
    names = entries.visible_names(folder)
    if _holds_splits(folder):
        return Source("folder", folder)
    found, training = [], []
    for name in names:
        inside, lower = folder / name, name.lower()
        if inside.is_dir() and _holds_splits(inside):
            found.append(Source("folder", inside))
        elif inside.is_file() and lower.endswith(".zip"):
            found.append(Source("zip", inside))
        elif inside.is_file() and lower.endswith(TAR_ENDINGS):
            found.append(Source("tar", inside))
        elif inside.is_file() and lower in csv_form.NAMES:
            found.append(Source("csv", inside))
        elif inside.is_file() and lower == csv_form.TRAIN_NAME:
            training.append(Source("csv", inside))
    if parquet_form.find(folder):
        found.append(Source("parquet", folder))
    found = found or training  # the competition has its part for training beside the whole
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds {len(found)} sources of FER-2013: "
            f"{listing([source.path.name for source in found])}. "
            "Give the path of the one that is meant."
        )
    if found:
        used = {found[0].path.name, ferplus.NAME}
        others = () if found[0].path == folder else (n for n in names if n not in used)
        return found[0]._replace(beside=tuple(others))
    folders = [folder / name for name in names if (folder / name).is_dir()]
    with entries.readable(folder):
        filled = [inside for inside in folders if any(p.is_file() for p in inside.iterdir())]
    if len(filled) > 1:
        return Source("folder", folder)  # of classes
    if len(folders) == 1 and depth < 3:
        found_deeper = _find_in_folder(folders[0], depth + 1)
        if found_deeper or not filled or any(path.is_dir() for path in folders[0].iterdir()):
            return found_deeper
        raise UserError(
            f"{folder}: holds one class, {folders[0].name}. Expected two or more, in {LAYOUT}."
        )
    return None


def _holds_splits(folder: Path) -> bool:
    with entries.readable(folder):
        return any(n.lower() in SPLIT_FOLDERS and (folder / n).is_dir() for n in os.listdir(folder))


def key(source: Source, reading: Reading = Reading()) -> str:  # noqa: B008, immutable
    """A SHA-256 that changes whenever the source or how it is read does: of the bytes of a file; of
    the sorted (relative path, size, mtime_ns) of a folder, whose 36k files would take too long."""
    digest = hashlib.sha256()
    if source.form in ("folder", "parquet") and source.path.is_dir():
        if source.form == "folder":
            found = [(e.parts, Path(e.name)) for e in entries.of_folder(source.path)]
        else:
            found = [((p.name,), p) for p in parquet_form.find(source.path)]
        for parts, path in found:
            with entries.readable(path):
                status = os.stat(path)
            line = "\0".join([*parts, str(status.st_size), str(status.st_mtime_ns)])
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    else:
        votes = votes_beside(source)
        for path in (source.path, *([votes] if votes else [])):
            with entries.readable(path), open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    how = repr((reading.classes, reading.class_map, reading.resize, reading.labels))
    return hashlib.sha256(f"{FORMAT} {source.form} {digest.hexdigest()} {how}".encode()).hexdigest()


def votes_beside(source: Source) -> Path | None:
    """The file of FER+ that lies beside a CSV."""
    path = source.path.with_name(ferplus.NAME)
    return path if source.form == "csv" and path.is_file() else None
