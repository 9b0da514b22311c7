"""The competition's CSV: emotion (0..6), pixels (2,304 integers), Usage, one image per row."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from train_jax.run.errors import UserError

COLUMNS = ("emotion", "pixels", "usage")
EMOTIONS = {str(label): label for label in range(7)}
USAGES = {"Training": "train", "PublicTest": "PublicTest", "PrivateTest": "PrivateTest"}
# Looking up the text of a number parses and checks it in one: 300 MB in 5 s, by int() in 6 s.
PIXELS = {str(value): value for value in range(256)}
MAX_LINE = 100_000  # characters; a row has at most 9,300. Bounds the memory, whatever the file


def rows(path: Path) -> Iterator[tuple[str, int, np.ndarray, int]]:
    """(split, label, u8[48, 48], line number) of every row. Streams.

    Columns may stand in any order and carry spaces (" Usage"), as in icml_face_data.csv.

    Raises:
        UserError: names the file and the line.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines(file, path), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UserError(f"{path}: is empty. Expected a header emotion,pixels,Usage.")
            columns = _columns(header, path)
            for row in reader:
                if row:
                    split, label, image = _row(
                        row, columns, len(header), f"{path} line {reader.line_num}"
                    )
                    yield split, label, image, reader.line_num
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} line {reader.line_num + 1}: not a CSV text ({error}). Download it again."
            ) from error


def _lines(file, path: Path) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE:
            raise UserError(
                f"{path} line {number}: longer than {MAX_LINE} characters; expected "
                "2,304 pixels per line. Is it the right file?"
            )
        if "\0" in line:
            raise UserError(
                f"{path} line {number}: NUL bytes, so the file is damaged or not a "
                "text. Download it again."
            )
        yield line


def _columns(header: list[str], path: Path) -> list[int]:
    names = [name.strip().lower() for name in header]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise UserError(
            f"{path} line 1: no column {', '.join(missing)}. Expected the header "
            f"emotion,pixels,Usage; found {','.join(header)[:80]!r}. The competition "
            "has other CSV files too: use fer2013.csv or icml_face_data.csv."
        )
    if twice := [column for column in COLUMNS if names.count(column) > 1]:
        raise UserError(f"{path} line 1: two columns {twice[0]}. Which one is meant? Remove one.")
    return [names.index(column) for column in COLUMNS]


def _row(row: list[str], columns: list[int], width: int, where: str):
    if len(row) != width:
        raise UserError(
            f"{where}: expected {width} columns, found {len(row)}. "
            "The file may have been cut short: download it again."
        )
    emotion, pixels, usage = (row[column].strip() for column in columns)
    if emotion not in EMOTIONS:
        raise UserError(f"{where}: expected an emotion from 0 to 6, found {emotion[:20]!r}.")
    if usage not in USAGES:
        raise UserError(f"{where}: expected Usage {', '.join(USAGES)}, found {usage[:20]!r}.")
    values = pixels.split()
    if len(values) != 48 * 48:
        raise UserError(
            f"{where}: expected 2304 pixels (48x48), found {len(values)}. "
            "The file may have been cut short: download it again."
        )
    try:
        data = bytes(map(PIXELS.__getitem__, values))
    except KeyError as error:
        raise UserError(
            f"{where}: expected pixels that are integers from 0 to 255, found "
            f"{error.args[0][:20]!r}."
        ) from error
    return USAGES[usage], EMOTIONS[emotion], np.frombuffer(data, np.uint8).reshape(48, 48)
