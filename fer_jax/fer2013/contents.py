"""Gathers the images of a source into arrays, each checked on the way; see source.py.

Every mistake is a UserError that names the file, what was expected, what was found, what to do.
"""

import contextlib
import functools
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax.fer2013 import CLASSES, SPLITS, csv_form, entries, ferplus, meaning, parquet_form
from fer_jax.fer2013 import classes as classes_lib
from fer_jax.fer2013.classes import Reading
from fer_jax.fer2013.entries import Entry, listing
from fer_jax.fer2013.image import decode
from fer_jax.fer2013.source import FORMS, Source, votes_beside
from fer_jax.fer2013.tree_form import places
from train_jax.run.errors import UserError

MAX_IMAGES = 200_000  # FER-2013 has 35,887; bounds the memory, whatever the source
MAX_IMAGE_BYTES = 10_000_000  # a 48x48 JPEG has about 1,600
MAX_LARGE_IMAGE_BYTES = 64_000_000  # of one that is shrunk
MAX_REFUSED = 10  # images that a message names


class Data(NamedTuple):
    """What a source holds. N images of a split, K classes."""

    splits: dict[
        str, tuple[np.ndarray, np.ndarray]
    ]  # {split: (images u8[N, 48, 48], labels i32[N])}
    sha256: str  # of the splits, see content_sha256
    classes: tuple[str, ...]  # in the order of the labels
    name: str  # see meaning.name
    notes: tuple[str, ...]  # what was left out or not used, in words
    votes: dict[str, np.ndarray]  # {split: u8[N, K]}, people's votes of FER+; or {}


class Item(NamedTuple):
    """An image, before it is decoded."""

    split: str  # one of SPLITS
    label: str  # name of its class in the source, or why it is to be left out
    decode: Callable[[], np.ndarray]  # -> u8[48, 48]
    votes: dict[str, int] = {}  # noqa: RUF012, nobody changes it


class Opened(NamedTuple):
    labels: set[str]  # names of the classes in the source
    items: Iterator[Item]
    notes: list[str]


def read(
    source: Source,
    progress: Callable[[int], None] = lambda count: None,
    reading: Reading = Reading(),  # noqa: B008, immutable
) -> Data:
    """The images of the source, for the splits that it has.

    Within a split the images are sorted by (label, pixels): a CSV has no file names, so content is
    the only order that all forms share. `progress` is called with the count so far.

    Raises:
        UserError: anything in the source that is not as it should be; no image at all, or more than
            MAX_IMAGES; or labels that cannot belong to the images, see meaning.py.
    """
    reading.check()
    found, refused = defaultdict(list), []
    left_out: Counter[str] = Counter()
    with _open(source, reading) as opened:
        classes, numbers = classes_lib.number(opened.labels, reading, source.path)
        count = 0
        for count, item in enumerate(opened.items, start=1):
            if count > MAX_IMAGES:
                raise UserError(f"{source.path}: more than {MAX_IMAGES} images are not read.")
            label = numbers.get(item.label)
            if label is None:
                left_out[item.label] += 1
                continue
            try:
                pixels = item.decode().tobytes()
            except UserError as error:
                refused.append(str(error))
                if len(refused) == MAX_REFUSED:
                    break
                continue
            counts = np.zeros(len(classes) * bool(item.votes), np.uint8)
            for name, people in item.votes.items():
                if numbers.get(name) is not None:
                    counts[numbers[name]] += people
            found[item.split].append((label, pixels, counts.tobytes()))
            progress(count)
        notes = list(opened.notes)
    if source.beside:
        notes.append(f"{source.path.parent}: also there, and not read: {listing(source.beside)}.")
    if refused:
        _refuse(refused, source.path)
    if not found:
        raise UserError(f"{source.path}: holds no image. Expected {FORMS}.")
    if left_out:
        told = ", ".join(f"{n:,} {name}" for name, n in left_out.most_common())
        notes.append(f"{source.path}: left out {sum(left_out.values()):,} of {count:,}: {told}.")
    if "test" in found and ("PublicTest" in found or "PrivateTest" in found):
        raise UserError(
            f"{source.path}: cannot tell the split of some images in test/. Expected PublicTest_* "
            "or PrivateTest_* of all, or of none."
        )
    splits: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    votes: dict[str, np.ndarray] = {}
    for split in SPLITS:
        if rows := sorted(found.get(split, [])):
            images = np.frombuffer(b"".join(row[1] for row in rows), np.uint8)
            labels = np.array([row[0] for row in rows], np.int32)
            splits[split] = (images.reshape(-1, 48, 48), labels)
            if rows[0][2]:
                joined = b"".join(row[2] for row in rows)
                votes[split] = np.frombuffer(joined, np.uint8).reshape(len(rows), len(classes))
    for split in {"train", "undivided"}.intersection(splits):
        present = {*splits[split][1].tolist()}
        if lacking := [name for i, name in enumerate(classes) if i not in present]:
            notes.append(f"{source.path}: no image to train on of {listing(lacking)}.")
    if not reading.labels:
        meaning.check(splits, source.path, classes)
    name = reading.labels or meaning.name(splits, classes)
    return Data(splits, content_sha256(splits), classes, name, tuple(notes), votes)


def _refuse(refused: list[str], path: Path):
    if len(refused) == 1:
        raise UserError(refused[0])
    more = ", and maybe more" if len(refused) == MAX_REFUSED else ""
    raise UserError(f"{path}: {len(refused)} images{more}:\n" + "\n".join(refused))


@contextlib.contextmanager
def _open(source: Source, reading: Reading) -> Iterator[Opened]:
    """What the source holds, before any image is decoded."""
    path = source.path
    if source.form == "parquet":
        yield _parquet(source, reading)
    elif source.form == "csv":
        beside = votes_beside(source)
        yield _table(_path_entry(path), _path_entry(beside) if beside else None, reading)
    elif source.form == "folder":
        opened = _tree(entries.of_folder(path), path, reading)
        if empty := entries.empty_folders(path):
            opened.notes.append(f"{path}: empty, so no class: {listing(empty)}.")
        yield opened
    else:
        with {"zip": entries.of_zip, "tar": entries.of_tar}[source.form](path) as found:
            tables = [e for e in found if e.parts[-1].lower() in csv_form.NAMES]
            tables = tables or [e for e in found if e.parts[-1].lower() == csv_form.TRAIN_NAME]
            if len(tables) > 1:
                raise UserError(
                    f"{path}: holds {listing(['/'.join(e.parts) for e in tables])}. Unpack it and "
                    "give the one that is meant."
                )
            if tables:
                votes = [e for e in found if e.parts[-1].lower() == ferplus.NAME]
                yield _table(tables[0], votes[0] if votes else None, reading)
            else:
                yield _tree(found, path, reading)


def _path_entry(path: Path) -> Entry:
    return entries.file_entry(path.parent, (path.name,))


def _tree(found: list[Entry], path: Path, reading: Reading) -> Opened:
    _no_votes(reading, path)
    images, loose = places(found, path)
    notes = [f"{path}: not in the folder of a class, left out: {listing(loose)}."] if loose else []
    limit = MAX_LARGE_IMAGE_BYTES if reading.resize else MAX_IMAGE_BYTES

    def pixels(entry):
        return decode(entry.read(limit), entry.name, resize=reading.resize)

    items = (
        Item(place.split, place.folder, functools.partial(pixels, place.entry)) for place in images
    )
    return Opened({place.folder for place in images}, items, notes)


def _parquet(source: Source, reading: Reading) -> Opened:
    _no_votes(reading, source.path)
    paths = parquet_form.find(source.path) if source.path.is_dir() else [source.path]
    tables = parquet_form.open_files(paths)
    items = (
        Item(
            row.split,
            row.label,
            functools.partial(decode, row.data, row.name, resize=reading.resize),
        )
        for row in parquet_form.rows(tables)
    )
    return Opened(parquet_form.class_names(tables), items, [])


def _table(table: Entry, votes: Entry | None, reading: Reading) -> Opened:
    """Of the competition's CSV, with the labels of FER+ where they are asked for."""
    has_usage = table.parts[-1].lower() != csv_form.TRAIN_NAME
    if reading.labels == "ferplus":
        if votes is None:
            raise UserError(
                f"{table.name}: data.labels='ferplus' needs {ferplus.NAME} beside it, from "
                "https://github.com/microsoft/FERPlus"
            )
        known = set(ferplus.CLASSES.values())
        if reading.classes and "contempt" not in [name.lower() for name in reading.classes]:
            known.remove("contempt")  # then it is left out, and counted
        return Opened(known, _items_of_votes(table, votes, has_usage), [])

    def items():
        with table.open() as file:
            for split, label, image, _ in csv_form.rows(file, table.name, has_usage=has_usage):
                yield Item(split, CLASSES[label], _as_it_is(image))

    notes = []
    if votes is not None:
        notes.append(f"{votes.name} is not used; --config.data.labels=ferplus takes its labels.")
    return Opened(set(CLASSES), items(), notes)


def _as_it_is(image: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: image


def _items_of_votes(table: Entry, votes: Entry, has_usage: bool) -> Iterator[Item]:
    people = []
    with votes.open() as file:
        for voted in ferplus.rows(file, votes.name):
            people.append(voted)
            if len(people) > MAX_IMAGES:
                raise UserError(f"{votes.name}: more than {MAX_IMAGES} rows; FER-2013 has 35,887.")
    with table.open() as file:
        number = 0
        for split, _, image, line in csv_form.rows(file, table.name, has_usage=has_usage):
            row = people[number] if number < len(people) else None
            if row is None or row.split != split:
                raise UserError(
                    f"{votes.name}: does not go with {table.name}: line {line} there is of "
                    f"{split}, and here {'nothing is left' if row is None else f'of {row.split}'}."
                )
            yield Item(split, row.label, _as_it_is(image), row.votes)
            number += 1
    if number < len(people):
        raise UserError(f"{votes.name}: {len(people):,} rows, and {number:,} in {table.name}.")


def _no_votes(reading: Reading, path: Path) -> None:
    if reading.labels:
        raise UserError(
            f"{path}: data.labels='ferplus' needs fer2013.csv, whose rows it goes by; this is "
            "another form of the data set."
        )


def content_sha256(splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """SHA-256 over name, size, labels (i32) and images (u8) of every split, in order of name."""
    digest = hashlib.sha256()
    for split, (images, labels) in sorted(splits.items()):
        digest.update(f"{split} {len(labels)}\n".encode())
        digest.update(np.ascontiguousarray(labels, "<i4").data)
        digest.update(np.ascontiguousarray(images, np.uint8).data)
    return digest.hexdigest()
