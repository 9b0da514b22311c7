"""Which two cells of a line are the pair: tab-separated text, CSV and JSON lines.

Without `data.columns` these are recognised: two columns, or three with an attribution (ManyThings);
four of which the first and third are numbers (Tatoeba); a header of language codes or names, or
source and target; JSON objects with such keys, also below "translation".
"""

import csv
import json
from collections.abc import Iterator, Sequence

from train_jax.run.errors import UserError

NAMES = {  # of languages, by their code of ISO 639-1; another code stands for itself
    "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French",
    "gu": "Gujarati", "hi": "Hindi", "kn": "Kannada", "ml": "Malayalam", "mr": "Marathi",
    "pa": "Punjabi", "ta": "Tamil", "te": "Telugu", "ur": "Urdu",
}  # fmt: skip
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl"}  # of any other name: tabbed


def name_of(code: str) -> str:
    """English for en; the code itself where the name is not known."""
    return NAMES.get(code, code)


def pairs(
    lines: Iterator[str], form: str, *, path, languages: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[int, str, str]]:
    """(line number from 1, source, target) of every line but a header.

    Args:
        lines: without their ends.
        form: 'tabbed', 'csv' or 'jsonl'.
        path: of the file, for messages.
        languages: the codes of both.
        columns: two names of a header or numbers from 1; () for those that are recognised.

    Raises:
        UserError: a line without both; names it, what was expected and found.
    """
    if columns and len(columns) != 2:
        raise UserError(f"config.data.columns must name two columns, got {tuple(columns)}")
    chosen = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            yield number, "", ""
            continue
        where = f"{path} line {number}"
        if form == "jsonl":
            yield number, *_of_object(line, where, languages, columns)
            continue
        cells = _cells(line, form, where)
        if number == 1:
            chosen = _header(cells, languages, columns, where)
            if chosen:
                continue
        if columns and not chosen:
            chosen = [int(column) - 1 for column in columns]
        places = chosen or _recognised(cells, where, line, languages)
        if max(places) >= len(cells):
            raise UserError(
                f"{where}: expected at least {max(places) + 1} columns, found {len(cells)} in "
                f"{line[:60]!r}."
            )
        yield number, cells[places[0]], cells[places[1]]


def _cells(line: str, form: str, where: str) -> list[str]:
    if form == "tabbed":
        return line.split("\t")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise UserError(
            f"{where}: no line of a CSV file ({error}); expected a pair a line, without line "
            "feeds within a cell."
        ) from None


def _header(cells, languages, columns, where) -> list[int] | None:
    """The places of both in a header; None where the first line is none."""
    keys = [cell.strip().lower() for cell in cells]
    if columns:
        if all(column.isdecimal() and int(column) > 0 for column in columns):
            return None
        lacking = [c for c in columns if c.lower() not in keys]
        if lacking:
            raise UserError(
                f"{where}: expected a header with the columns {', '.join(columns)}; it has "
                f"{', '.join(cells)}. See data.columns."
            )
        return [keys.index(column.lower()) for column in columns]
    for wanted in _keys(languages):
        if set(wanted) <= set(keys):
            return [keys.index(key) for key in wanted]
    return None


def _keys(languages):
    """The names that a header may give to the two columns."""
    codes = [code.lower() for code in languages]
    return codes, [name_of(code).lower() for code in codes], ["source", "target"], ["src", "tgt"]


def _recognised(cells, where, line, languages) -> list[int]:
    if len(cells) == 4 and cells[0].strip().isdecimal() and cells[2].strip().isdecimal():
        return [1, 3]
    if len(cells) in (2, 3):
        return [0, 1]
    source, target = map(name_of, languages)
    raise UserError(
        f"{where}: expected {source} TAB {target} TAB attribution (which may be missing), so 1 or "
        f"2 tabs; found {len(cells) - 1} in {line[:60]!r}."
    )


def _of_object(line, where, languages, columns) -> tuple[str, str]:
    try:
        found = json.loads(line)
        json.dumps(found, ensure_ascii=False).encode()  # ValueError: half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}).") from None
    if isinstance(found, dict) and isinstance(found.get("translation"), dict):
        found = found["translation"]
    for wanted in (columns,) if columns else _keys(languages):
        if isinstance(found, dict) and all(isinstance(found.get(key), str) for key in wanted):
            source, target = (" ".join(found[key].split()) for key in wanted)
            return source, target
    expected = " or ".join(" and ".join(w) for w in ((columns,) if columns else _keys(languages)))
    raise UserError(
        f"{where}: expected an object with two texts, named {expected}; found {line[:60]!r}. See "
        "data.columns."
    )
