"""Text files on the disk, in gzip, in a .zip: which there are, and how they are opened."""

import contextlib
import gzip
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from train_jax.run.errors import UserError

GZIP, ZIP = ".gz", ".zip"


def names(path: Path, expected: str) -> list[str] | None:
    """The files in a folder or an archive; None where the path is that of one file.

    `expected` is for the message.
    """
    if archive_of(path):
        return None
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return sorted(os.listdir(path))
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. Give a folder or a file with {expected}."
        ) from error
    if path.suffix.lower() != ZIP:
        return None
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        # not folders; nor /NAME, which would mean a file outside of the archive
        return [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("/")]


def archive_of(path: Path) -> Path | None:
    """PATH.zip of PATH.zip/NAME."""
    return next((p for p in path.parents if p.suffix.lower() == ZIP and p.is_file()), None)


@contextlib.contextmanager
def _zip_errors(path: Path):
    """What zipfile raises where it opens an archive or a file in it, as a UserError. RuntimeError:
    it is encrypted, or compressed in a way that Python does not know."""
    try:
        yield
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: no zip archive that can be read ({error!s:.100}).") from None


class Opened(NamedTuple):
    file: IO[bytes] | gzip.GzipFile  # of the text
    size: int  # bytes of what `position` counts
    position: Callable[[], int]


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[Opened]:
    """A file; one in an archive is called PATH.zip/NAME. UserError if it cannot be opened."""
    with contextlib.ExitStack() as stack:
        if archive := archive_of(path):
            name = path.relative_to(archive).as_posix()
            with _zip_errors(archive):
                opened = stack.enter_context(zipfile.ZipFile(archive))
                raw, size = stack.enter_context(opened.open(name)), opened.getinfo(name).file_size
        else:
            raw, size = _open_file(path)
            stack.enter_context(raw)
        file = gzip.GzipFile(fileobj=raw) if path.suffix == GZIP else raw
        yield Opened(file, size, raw.tell)


def _open_file(path: Path) -> tuple[BinaryIO, int]:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe cannot be read twice, or never ends
            raise UserError(f"{path}: not a regular file. Expected a text file of sentences.")
        return open(path, "rb"), status.st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def readline(path: Path, file: IO[bytes] | gzip.GzipFile, longest: int) -> bytes:
    """The next line, or as much of it as `longest` bytes. UserError if the file is damaged."""
    try:
        return file.readline(longest)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). An archive is damaged then: download it again."
        ) from None
