"""Parquet files of Hugging Face: an encoded image and a label a row, the split in the name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fer_jax.fer2013.tree_form import SPLIT_FOLDERS
from train_jax.run.errors import UserError

IMAGES, LABELS = ("image", "img", "img_bytes", "pixels"), ("label", "labels", "emotion", "class")
BATCH = 256  # rows that are in memory at once
ADVICE = "Download it again, or give another form of the data set."


class Row(NamedTuple):
    split: str
    label: str
    data: bytes  # an encoded image
    name: str  # for messages


class Table(NamedTuple):
    """A file of which the header was read."""

    path: Path
    file: Any  # pyarrow.parquet.ParquetFile
    split: str
    image: str  # column
    label: str  # column
    names: list[str]  # of the numbers in the label column; [] where it holds names


def find(folder: Path) -> list[Path]:
    """The parquet files of a folder, or of data/ in it, as Hugging Face has them. Sorted."""
    for place in (folder, folder / "data"):
        if found := sorted(p for p in place.glob("*.parquet") if not p.name.startswith(".")):
            return found
    return []


def open_files(paths: list[Path]) -> list[Table]:
    """UserError if a file is none, or lacks an image or a label."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(
            f"{paths[0]}: reading parquet needs pyarrow ({error}). Install it: pip install pyarrow"
        ) from error
    tables = []
    for path in paths:
        try:
            file = parquet.ParquetFile(path)
        except Exception as error:  # of pyarrow or of the system
            raise UserError(f"{path}: not a parquet file ({error!s:.200}). {ADVICE}") from error
        tables.append(_table(path, file))
    return tables


def class_names(tables: list[Table]) -> set[str]:
    """The names of all labels."""
    found: set[str] = set()
    for table in tables:
        found |= set(table.names)
        if not table.names:
            for batch in _batches(table, [table.label]):
                found |= {str(label) for label in batch[table.label]}
    return found


def rows(tables: list[Table]) -> Iterator[Row]:
    """Every row. UserError names the file and the row, from 1."""
    for table in tables:
        number = 0
        for batch in _batches(table, [table.image, table.label]):
            for image, label in zip(batch[table.image], batch[table.label], strict=True):
                number += 1
                where = f"{table.path} row {number}"
                data = image.get("bytes") if isinstance(image, dict) else image
                if not isinstance(data, bytes):
                    raise UserError(f"{where}: no image. Expected the bytes of a PNG or JPEG.")
                yield Row(table.split, _name_of(label, table.names, where), data, where)


def _table(path: Path, file) -> Table:
    schema = file.schema_arrow
    image = next((name for name in IMAGES if name in schema.names), None)
    label = next((name for name in LABELS if name in schema.names), None)
    if not image or not label:
        raise UserError(
            f"{path}: expected a column {' or '.join(IMAGES)} and one {' or '.join(LABELS)}; found "
            f"{', '.join(schema.names)[:200]}."
        )
    kind, names = str(schema.field(label).type), []
    if "int" in kind:
        names = _names(schema.metadata or {}, label)
        if not names:
            raise UserError(
                f"{path}: the labels are numbers, and nothing says which class each one is. "
                "Expected the names in the file, as Hugging Face's ClassLabel writes them."
            )
    elif "string" not in kind:
        raise UserError(f"{path}: labels of type {kind}; expected names, or numbers with names.")
    first = path.name.lower().split("-")[0].split(".")[0]
    return Table(path, file, SPLIT_FOLDERS.get(first, "undivided"), image, label, names)


def _names(metadata: dict, column: str) -> list[str]:
    """The names of ClassLabel in what Hugging Face writes beside the schema; or []."""
    try:
        about = json.loads(metadata[b"huggingface"])
        names = about["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    fine = isinstance(names, list) and all(isinstance(n, str) and n for n in names)
    return names if fine else []


def _batches(table: Table, columns: list[str]) -> Iterator[dict[str, list]]:
    try:
        for batch in table.file.iter_batches(batch_size=BATCH, columns=columns):
            yield batch.to_pydict()
    except Exception as error:  # pyarrow's own, OSError, UnicodeDecodeError of a name
        raise UserError(f"{table.path}: damaged ({error!s:.200}). {ADVICE}") from error


def _name_of(label, names: list[str], where: str) -> str:
    if not names and isinstance(label, str) and label:
        return label
    if names and isinstance(label, int) and 0 <= label < len(names):
        return names[label]
    raise UserError(
        f"{where}: expected a label {f'from 0 to {len(names) - 1}' if names else 'with a name'}, "
        f"found {label!r:.20}."
    )
