"""Where sentence pairs come from, and how they are read: line by line, in little memory.

Everything that comes from outside is checked here. Every mistake is a UserError that names the
file and the line, what was expected, what was found, what to do.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from gzip import GzipFile
from pathlib import Path
from typing import IO, NamedTuple

from seq_jax import archives
from seq_jax.archives import GZIP
from seq_jax.columns import SUFFIXES, name_of, pairs
from train_jax.run.errors import UserError

LANGUAGES = ("en", "kn")  # source and target, where nothing else is said
PAIRS = (".txt", ".tsv", *SUFFIXES)  # of files with both sides
MAX_LINE = 1_000_000  # bytes; the longest sentence of a corpus has some thousand. Bounds the memory
STARTS = {
    b"\xff\xfe": "UTF-16 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"PK\x03\x04": "a zip archive: name it .zip",
    b"\x1f\x8b": "a gzip archive: unpack it first, or name it .gz",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
}
BOM = "\ufeff"
Line = tuple[int, str, str]  # its number from 1, source, target


class Source(NamedTuple):
    form: str  # 'aligned', 'tabbed', 'csv', 'jsonl' or 'embedded'
    paths: tuple[Path, ...]  # two, one or none; of an archive PATH.zip/NAME
    languages: tuple[str, ...] = LANGUAGES  # the codes of both
    columns: tuple[str, ...] = ()  # see columns.py

    def __str__(self):
        return " + ".join(map(str, self.paths)) or "seq_jax/phrasebook"


def aligned_names(languages: Sequence[str]) -> tuple[str, str]:
    """train.en and train.kn, of the two codes."""
    return f"train.{languages[0]}", f"train.{languages[1]}"


def layout(languages: Sequence[str]) -> str:
    """What is expected, in words."""
    source, target = aligned_names(languages)
    names = " TAB ".join(map(name_of, languages))
    return (
        f"{source} and {target}, line by line the same sentences; or one file of pairs "
        f"({', '.join(PAIRS)}), such as {names}"
    )


def find(
    path: str | Path, languages: Sequence[str] = LANGUAGES, columns: Sequence[str] = ()
) -> Source:
    """The source at `path`, a folder, a .zip or a file; '' stands for the embedded phrasebook.

    A folder or an archive holds train.en and train.kn, of the two languages, or else one file of
    pairs; a name that begins with _ or . is none, as ManyThings's _about.txt. Each file may have
    .gz behind its name. Files are read by their name, see columns.SUFFIXES.

    Raises:
        UserError: nothing is there, or it is neither form.
    """
    if not str(path):
        return Source("embedded", ())
    path = Path(os.path.expanduser(path))
    names = archives.names(path, layout(languages))
    if names is None:
        if path.name.removesuffix(GZIP) in aligned_names(languages):
            return find(archives.archive_of(path) or path.parent, languages)
        return _of_pairs(path, languages, columns)
    files = {Path(name).name: name for name in names}
    for suffix in ("", GZIP):
        both = [name + suffix for name in aligned_names(languages)]
        if set(both) <= set(files):
            paths = tuple(path / files[name] for name in both)
            return Source("aligned", paths, tuple(languages))
    half = {*aligned_names(languages)} & {name.removesuffix(GZIP) for name in files}
    found = [n for n in files if Path(n.removesuffix(GZIP)).suffix in PAIRS and n[0] not in "_."]
    if len(found) == 1 and not half:
        return _of_pairs(path / files[found[0]], languages, columns)
    listing = ", ".join(names[:8]) + f" and {len(names) - 8} more" * (len(names) > 8)
    raise UserError(
        f"{path}: wrong layout. Expected {layout(languages)}; found {listing or 'nothing'}. "
        "Of several files of pairs: give the path of one."
    )


def _of_pairs(path: Path, languages, columns) -> Source:
    form = SUFFIXES.get(Path(path.name.removesuffix(GZIP)).suffix, "tabbed")
    return Source(form, (path,), tuple(languages), tuple(columns))


def read(source: Source, *, skip_empty: bool = False, title: str = "reading") -> Iterator[Line]:
    """Every line with its number. On a terminal, a line on stderr shows how far it has come.

    Args:
        source: from `find`.
        skip_empty: whether lines with one empty side come out as they are, for a filter to drop.
            Otherwise they are an error, since they mostly mean that the sides do not belong
            together. Lines with both sides empty always come out.
        title: of the progress line.

    Raises:
        UserError: everything in the files that is not as it should be.
    """
    if source.form == "embedded":
        from seq_jax.phrasebook import load

        for number, (source_side, target_side) in enumerate(load(), start=1):
            yield number, source_side, target_side
        return
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(archives.open_text(path)) for path in source.paths]
        if source.form == "aligned":
            lines = _aligned(source.paths, [opened.file for opened in files])
        else:
            (path,), (opened,) = source.paths, files
            lines = pairs(_lines(path, opened.file), source.form, path=path,
                          languages=source.languages, columns=source.columns)  # fmt: skip
        for line in _with_progress(lines, files[0], title):
            number, *sides = line
            if not skip_empty and bool(sides[0].strip()) != bool(sides[1].strip()):
                side = 1 if sides[0].strip() else 0
                raise UserError(
                    f"{source.paths[-side]} line {number}: the {name_of(source.languages[side])} "
                    "side is empty and the other is not. Fix the line; or, if the lines around "
                    "it do belong together, set skip_empty."
                )
            yield line


def _aligned(paths: tuple[Path, ...], files: list[IO[bytes] | GzipFile]) -> Iterator[Line]:
    sides = [_lines(path, file) for path, file in zip(paths, files, strict=True)]
    for number, pair in enumerate(itertools.zip_longest(*sides), start=1):
        if None in pair:
            counts = [
                number - 1 if line is None else number + sum(1 for _ in side)
                for line, side in zip(pair, sides, strict=True)
            ]
            raise UserError(
                f"{paths[0]} has {counts[0]} lines and {paths[1]} has {counts[1]}: line n of one "
                "must be the translation of line n of the other. One of them may have been cut "
                "short: download both again."
            )
        source, target = pair
        yield number, source, target


def _lines(path: Path, file: IO[bytes] | GzipFile) -> Iterator[str]:
    """The lines of a UTF-8 file without their ends. Only a line feed ends a line: str.splitlines
    would also break at U+2028 or a form feed, and the two sides would no longer be aligned."""
    number = offset = 0
    while raw := archives.readline(path, file, MAX_LINE):
        number += 1
        if number == 1:
            _check_start(path, raw)
        if b"\0" in raw:
            raise UserError(
                f"{path} line {number}: NUL bytes, so the file is damaged, UTF-16 or not a text. "
                "Expected UTF-8."
            )
        if len(raw) == MAX_LINE:
            raise UserError(
                f"{path} line {number}: longer than {MAX_LINE} bytes; expected one sentence "
                "per line."
            )
        try:
            line = raw.rstrip(b"\r\n").decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} line {number}: not UTF-8 at byte {error.start + 1} of the line, byte "
                f"{offset + error.start + 1} of the file (0x{raw[error.start]:02x}, "
                f"{error.reason}). Save the file as UTF-8, or download it again."
            ) from error
        yield line if number > 1 else line.removeprefix(BOM)
        offset += len(raw)
    if not number:
        raise UserError(f"{path}: is empty. Expected a sentence, or a pair, a line.")


def _check_start(path: Path, raw: bytes) -> None:
    for start, meaning in STARTS.items():
        if raw.startswith(start):
            raise UserError(f"{path}: is {meaning}.")


def _with_progress(lines: Iterator[Line], opened: archives.Opened, title: str) -> Iterator[Line]:
    if not sys.stderr.isatty():
        yield from lines
        return
    try:
        for line in lines:
            if line[0] % 20_000 == 0:
                part = opened.position() / max(opened.size, 1)
                bar = "#" * round(30 * part)
                print(
                    f"\r{title} [{bar:30}] {part:4.0%} {line[0]:,} pairs", end="", file=sys.stderr
                )
            yield line
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
