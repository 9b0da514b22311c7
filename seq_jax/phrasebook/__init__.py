"""English-Kannada phrasebook: the small embedded text, written for this project (README.md)."""

import unicodedata
from pathlib import Path

PATH = Path(__file__).with_name("pairs.tsv")


def load() -> list[tuple[str, str]]:
    """All pairs (English, Kannada) in the order of the file.

    Raises:
      ValueError: the file is damaged: not UTF-8 in NFC, not two columns, a stray blank, an empty
        side, or a last line cut short. Names the path and the line, counted from 1.
    """
    lines = PATH.read_bytes().split(b"\n")
    if lines[-1]:
        raise ValueError(f"{PATH}:{len(lines)}: the last line does not end in a newline")
    if len(lines) == 1:
        raise ValueError(f"{PATH}:1: empty file")
    return [_parse(line, where=f"{PATH}:{n}") for n, line in enumerate(lines[:-1], start=1)]


def _parse(line: bytes, *, where: str) -> tuple[str, str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from error
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError(f"{where}: not in Unicode NFC: {text!r}")
    columns = text.split("\t")
    if len(columns) != 2:
        raise ValueError(f"{where}: expected english TAB kannada, got {len(columns)} columns")
    for column in columns:
        # A carriage return or a byte-order mark would pass as part of a word.
        if not column or column != " ".join(column.split()) or "\ufeff" in column:
            raise ValueError(f"{where}: empty side or stray blank: {column!r}")
    english, kannada = columns
    return english, kannada
