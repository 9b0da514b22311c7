"""The competition's CSV: emotion (0..6), pixels (2,304 integers), Usage, one image per row."""

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from train_jax.run.errors import UserError

# Whole, and the competition's part for training, which has no column Usage
NAMES, TRAIN_NAME = ("fer2013.csv", "icml_face_data.csv"), "train.csv"
COLUMNS = ("emotion", "pixels", "usage")
EMOTIONS = {str(label): label for label in range(7)}
USAGES = {"Training": "train", "PublicTest": "PublicTest", "PrivateTest": "PrivateTest"}
# Looking up the text of a number parses and checks it in one: 300 MB in 5 s, by int() in 6 s.
PIXELS = {str(value): value for value in range(256)}
MAX_LINE = 100_000  # characters; a row has at most 9,300. Bounds the memory, whatever the file


def rows(
    file: BinaryIO, name: str, *, has_usage: bool = True
) -> Iterator[tuple[str, int, np.ndarray, int]]:
    """(split, label, u8[48, 48], line number) of every row. Streams.

    Columns may stand in any order and carry spaces (" Usage"), as in icml_face_data.csv.

    Args:
      file: the content.
      name: its path, for messages.
      has_usage: whether there has to be a column Usage; without it all rows are of train.

    Raises:
        UserError: names the file and the line.
    """
    columns = COLUMNS if has_usage else COLUMNS[:2]
    for row, line in table(file, name, columns, "emotion,pixels,Usage"):
        split, label, image = _row(row, f"{name} line {line}")
        yield split, label, image, line


def table(file: BinaryIO, name: str, wanted, expected: str) -> Iterator[tuple[dict, int]]:
    """({column in small letters: cell}, line number) of every row below the header. Streams.

    Args:
      file: the content, UTF-8.
      name: for messages.
      wanted: columns that must be there, and of those of COLUMNS that may be.
      expected: the header, for messages.
    """
    # As text of whole lines: csv would take a NUL or a line without end as it comes
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(_lines(text, name), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise UserError(f"{name}: is empty. Expected a header {expected}.")
        names = _columns(header, wanted, expected, name)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{name} line {reader.line_num}: expected {len(header)} columns, found "
                    f"{len(row)}. The file may have been cut short: download it again."
                )
            yield dict(zip(names, map(str.strip, row), strict=True)), reader.line_num
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{name} line {reader.line_num + 1}: not a CSV text ({error}). Download it again."
        ) from error
    finally:
        text.detach()  # the file is its owner's to close


def _lines(file, name: str) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE:
            raise UserError(
                f"{name} line {number}: longer than {MAX_LINE} characters; expected "
                "2,304 pixels a line. Is it the right file?"
            )
        if "\0" in line:
            raise UserError(
                f"{name} line {number}: NUL bytes, so the file is damaged or not a "
                "text. Download it again."
            )
        yield line


def _columns(header: list[str], wanted, expected: str, name: str) -> list[str]:
    names = [cell.strip().lower() for cell in header]
    missing = [column for column in wanted if column not in names]
    if missing:
        found = ",".join(header)[:80]
        reason = "The competition has other CSV files too: use fer2013.csv or icml_face_data.csv."
        if ";" in found:
            reason = "The columns are separated by ';': save the file with commas."
        raise UserError(
            f"{name} line 1: no column {', '.join(missing)}. Expected the header {expected}; found "
            f"{found!r}. {reason}"
        )
    if twice := [column for column in wanted if names.count(column) > 1]:
        raise UserError(f"{name} line 1: two columns {twice[0]}. Which one is meant? Remove one.")
    return names


def _row(row: dict, where: str):
    emotion, pixels, usage = row["emotion"], row["pixels"], row.get("usage", "Training")
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
