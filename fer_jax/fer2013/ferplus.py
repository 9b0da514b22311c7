"""FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041): ten people's votes for each image
of FER-2013, in fer2013new.csv, row by row beside fer2013.csv."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fer_jax.fer2013 import csv_form
from train_jax.run.errors import UserError

NAME = "fer2013new.csv"
# Its names of the classes -> ours
CLASSES = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad",
    "anger": "angry", "disgust": "disgust", "fear": "fear", "contempt": "contempt",
}  # fmt: skip
COLUMNS = ("usage", *CLASSES, "unknown", "nf")
HEADER = "Usage,Image name,neutral,happiness,...,contempt,unknown,NF"
MAX_VOTES = 100  # of a cell; there are ten people


class Votes(NamedTuple):
    split: str
    label: str  # our name of the class with the most votes; or why there is none
    votes: dict[str, int]  # by our names


def rows(file: BinaryIO, name: str) -> Iterator[Votes]:
    """What people said, row by row. UserError names the file and the line."""
    for row, line in csv_form.table(file, name, COLUMNS, HEADER):
        where = f"{name} line {line}"
        usage = row["usage"]
        if usage not in csv_form.USAGES:
            raise UserError(
                f"{where}: expected Usage {', '.join(csv_form.USAGES)}, found {usage[:20]!r}."
            )
        votes = {column: _count(row[column], where) for column in COLUMNS[1:]}
        yield Votes(csv_form.USAGES[usage], _label(votes), {CLASSES[c]: votes[c] for c in CLASSES})


def _count(cell: str, where: str) -> int:
    if not (cell.isascii() and cell.isdigit() and int(cell[:4]) <= MAX_VOTES and len(cell) < 4):
        raise UserError(f"{where}: expected votes from 0 to {MAX_VOTES}, found {cell[:20]!r}.")
    return int(cell)


def _label(votes: dict[str, int]) -> str:
    most = max(votes.values())
    winners = [name for name, count in votes.items() if count == most]
    if len(winners) > 1 or not most:
        return "no majority"
    return {"nf": "no face (NF)", "unknown": "unknown"}.get(winners[0]) or CLASSES[winners[0]]
