"""The files of a folder, a zip or a tar, listed before any is read: limits and unsafe names are
judged from the list alone."""

import contextlib
import functools
import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, NamedTuple, cast

from train_jax.run.errors import UserError

MAX_ENTRIES = 200_000  # FER-2013 has 35,887
MAX_DEPTH = 8  # folders below the one that was given; also ends a loop of symbolic links
MAX_UNPACKED_BYTES = 4 << 30
MAX_READ_BYTES = 16 << 20  # at once: the list of a zip's entries is; that of FER-2013 has 4 MB
# zipfile bounds what these unpack to; a block of bzip2 or LZMA comes out whole, whatever its size.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
AGAIN = "Its download was cut short or it is another kind of file: download it again."
# What systems and file managers leave behind, in any case of letters
JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}

Parts = tuple[str, ...]  # of a relative path: ('test', 'sad', 'PublicTest_7.jpg')


class Entry(NamedTuple):
    parts: Parts
    name: str  # for messages
    open: Callable[[], AbstractContextManager[BinaryIO]]  # UserError for what goes wrong within

    def read(self, limit: int) -> bytes:
        """The content. UserError if it has more than `limit` bytes."""
        with self.open() as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UserError(
                f"{self.name}: larger than {limit:,} bytes. Remove it or download the data again."
            )
        return data


def is_junk(parts: Parts) -> bool:
    """Whether a file or a folder above it is not part of the data: hidden, a thumbnail, a note of
    Windows about where a file came from ('x.jpg:Zone.Identifier')."""
    return any(
        p.startswith(".") or p.lower() in JUNK or p.lower().endswith(":zone.identifier")
        for p in parts
    )


def visible_names(folder: Path) -> list[str]:
    """Sorted names in the folder, without junk."""
    with readable(folder):
        return sorted(name for name in os.listdir(folder) if not is_junk((name,)))


def listing(names) -> str:
    """The names as part of a message, at most eight of them."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:8])
    return (shown + f" and {len(names) - 8} more" * (len(names) > 8)) or "nothing"


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the system has against reading `path` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from error


@contextlib.contextmanager
def _undamaged(name: str) -> Iterator[None]:
    """An archive raises nearly anything on damaged bytes: BadZipFile, TarError, zlib.error,
    EOFError, OSError, struct.error. Meanwhile our own checks may find what is read to be wrong."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: damaged entry ({error!s:.200}). {AGAIN}") from error


def check_regular(status: os.stat_result, path: Path) -> None:
    """UserError unless `path` is a file: a pipe or a device might never end, or never begin."""
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: not a regular file. Give a file or a folder.")


def _check_count(count: int, path: Path) -> None:
    if count > MAX_ENTRIES:
        raise UserError(f"{path}: {count} entries, more than {MAX_ENTRIES} are not read.")


def of_folder(root: Path) -> list[Entry]:
    """Every file below `root` that is no junk, sorted."""
    found: list[Parts] = []

    def fail(error: OSError):
        raise error  # os.walk would skip the folder silently

    with readable(root):
        for folder, inner, files in os.walk(root, onerror=fail, followlinks=True):
            parts = Path(folder).relative_to(root).parts
            if len(parts) > MAX_DEPTH:
                raise UserError(
                    f"{folder}: more than {MAX_DEPTH} folders deep. Is there a loop of links? "
                    "Give the folder that holds the images."
                )
            inner[:] = [name for name in inner if not is_junk((name,))]
            found += [(*parts, file) for file in files if not is_junk((file,))]
            _check_count(len(found), root)
    return [file_entry(root, parts) for parts in sorted(found)]


def empty_folders(root: Path) -> list[str]:
    """Those below `root` that are no junk, sorted, relative to it."""
    with readable(root):
        folders = [
            Path(f).relative_to(root) for f, inner, files in os.walk(root) if not inner + files
        ]
    return sorted(str(f) for f in folders if not any(is_junk((name,)) for name in f.parts))


def file_entry(root: Path, parts: Parts) -> Entry:
    path = root.joinpath(*parts)

    @contextlib.contextmanager
    def open_file():
        with readable(path):
            check_regular(os.stat(path), path)
            with open(path, "rb") as file:
                yield file

    return Entry(parts, str(path), open_file)


@contextlib.contextmanager
def of_zip(path: Path) -> Iterator[list[Entry]]:
    """Every file of the zip that is no junk, in its order."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_ZipFile(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except Exception as error:
            raise UserError(f"{path}: not a whole zip file ({error}). {AGAIN}") from error
        infos = archive.infolist()
        _check_count(len(infos), path)
        if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
            raise UserError(f"{path}: would unpack to more than 4 GiB; FER-2013 has 57 MB.")
        found = []
        for info in infos:
            parts = _safe_parts(info.filename, path)
            _check_zip_entry(info, path)
            if not info.is_dir() and not is_junk(parts):
                found.append(
                    _entry(functools.partial(archive.open, info), parts, f"{path}: {info.filename}")
                )
        _check_names(found, path)
        yield found


class _ZipFile(io.FileIO):
    """A zip's bytes. zipfile takes the size of the list of entries from the file, and makes an
    object of each before anyone can count them."""

    def read(self, size=-1):
        if size > MAX_READ_BYTES:
            raise ValueError(f"its list of entries has {size:,} bytes")
        return super().read(size)


def _entry(opened: Callable, parts: Parts, name: str) -> Entry:
    """Of an archive; `opened()` is the file in it."""

    @contextlib.contextmanager
    def open_entry():
        with _undamaged(name), opened() as file:
            yield file

    return Entry(parts, name, open_entry)


def _check_zip_entry(info: zipfile.ZipInfo, path: Path) -> None:
    name = f"{path}: entry {info.filename!r}"
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UserError(f"{name} is a symbolic link; expected images.")
    if info.flag_bits & 1:
        raise UserError(f"{name} is encrypted. Unpack it with its password and give the folder.")
    if info.compress_type not in METHODS:
        raise UserError(
            f"{name} is packed by method {info.compress_type}. Expected deflate: pack it again "
            "with zip, or give the unpacked folder."
        )


@contextlib.contextmanager
def of_tar(path: Path) -> Iterator[list[Entry]]:
    """Every file of the tar (plain or .gz) that is no junk, in its order, in which it is best read:
    going back in it means unpacking it again."""
    with contextlib.ExitStack() as stack:
        found = []
        try:
            file = stack.enter_context(open(path, "rb"))
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=file)) if packed else file
            counted = cast(IO[bytes], _TarBytes(unpacked))  # it has what tarfile asks for
            archive = stack.enter_context(tarfile.open(fileobj=counted, mode="r:"))
            for number, info in enumerate(archive, start=1):
                _check_count(number, path)
                parts = _safe_parts(info.name, path)
                if info.isdir() or is_junk(parts):
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(
                        f"{path}: entry {info.name!r} is a link or a device; expected files."
                    )
                found.append(
                    _entry(
                        functools.partial(archive.extractfile, info), parts, f"{path}: {info.name}"
                    )
                )
            members = archive.getmembers()
            last = members[-1] if members else None
            _check_end(unpacked, last.offset_data + -(-last.size // 512) * 512 if last else 0)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{path}: not a whole tar file ({error!s:.200}). {AGAIN}") from error
        _check_names(found, path)
        yield found


def _check_end(file: IO[bytes] | gzip.GzipFile, place: int) -> None:
    """ValueError unless nothing but zeros, and a block of them, follows the last entry: a damaged
    header is the end for tarfile, and gzip looks at its checksum there."""
    file.seek(place)
    count = 0
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise ValueError(f"no entry at byte {place:,}, and not the end")
        count += len(block)
    if count < 512:
        raise ValueError("it has no end")


class _TarBytes:
    """A tar's bytes: bounded, where a header or a gzip of zeros would ask for endless ones."""

    def __init__(self, file):
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, place, whence=0):
        if place > MAX_UNPACKED_BYTES:
            raise ValueError("it unpacks to more than 4 GiB")
        return self._file.seek(place, whence)

    def read(self, size=-1):
        if not 0 <= size <= MAX_READ_BYTES:
            raise ValueError(f"{size:,} bytes at once")
        if self.tell() > MAX_UNPACKED_BYTES:
            raise ValueError("it unpacks to more than 4 GiB")
        return self._file.read(size)


def _safe_parts(filename: str, path: Path) -> Parts:
    """The parts of a name in an archive. UserError if it would lead out of it."""
    name = filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or re.match("[A-Za-z]:", name):
        raise UserError(
            f'{path}: unsafe entry {filename!r} (".." or an absolute path). '
            "Expected plain relative paths; use the original archive."
        )
    return parts


def _check_names(found: list[Entry], path: Path) -> None:
    if len({entry.parts for entry in found}) < len(found):
        raise UserError(f"{path}: the same name twice. Download the archive again.")
