"""Kaggle's form of FER-2013: images under train/<class> and test/<class>, zipped or unpacked."""

import contextlib
import difflib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fer_jax.fer2013 import CLASSES, SPLITS
from train_jax.run.errors import UserError

LAYOUT = "train/<class>/Training_*.jpg and test/<class>/PublicTest_*.jpg or PrivateTest_*.jpg"
MAX_ENTRIES = 200_000  # FER-2013 has 35,887
MAX_IMAGE_BYTES = 10_000_000  # a 48x48 JPEG has about 1,600
MAX_UNPACKED_BYTES = 4 << 30
MAX_READ_BYTES = 16 << 20  # of a zip, at once: its list of entries is; that of FER-2013 has 4 MB
# zipfile bounds what these unpack to; a block of bzip2 or LZMA comes out whole, whatever its size.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Parts = tuple[str, ...]  # of a relative path: ('test', 'sad', 'PublicTest_7.jpg')


def place(parts: Parts, name: str) -> tuple[str, int]:
    """(split, label) of an image at `parts`, e.g. ('test', 'sad', 'PublicTest_7.jpg')."""
    if len(parts) != 3:
        raise UserError(f"{name}: wrong layout. Expected {LAYOUT}.")
    top, folder, file = parts
    if folder not in CLASSES:
        near = difflib.get_close_matches(folder, CLASSES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(
            f"{name}: unknown class folder {folder!r}{hint}. Expected one of {', '.join(CLASSES)}."
        )
    named = [split for split in SPLITS[1:] if file.lower().startswith(split.lower())]
    if top == "train" and named:
        raise UserError(
            f"{name}: a {named[0]} image in train/. Training on it would leak the test "
            "split: move it to test/."
        )
    if top == "test" and not named:
        raise UserError(
            f"{name}: cannot tell its split. Expected PublicTest_* or PrivateTest_* in "
            f"test/, found {file!r}. Rename it as in the original archive."
        )
    return (named[0] if named else "train"), CLASSES.index(folder)


def _is_junk(parts: Parts) -> bool:
    """What file managers leave behind: .DS_Store, ._x, __MACOSX/, Thumbs.db, desktop.ini."""
    return any(p.startswith(".") or p in ("__MACOSX", "Thumbs.db", "desktop.ini") for p in parts)


def visible_names(folder: Path) -> list[str]:
    """Sorted names in the folder, without junk."""
    with readable(folder):
        return sorted(name for name in os.listdir(folder) if not _is_junk((name,)))


def listing(names: list[str]) -> str:
    """The names as part of a message, at most eight of them."""
    shown = ", ".join(repr(name) for name in names[:8])
    return (shown + f" and {len(names) - 8} more" * (len(names) > 8)) or "nothing"


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the system has against reading `path` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from error


def check_regular(status: os.stat_result, path: Path) -> None:
    """UserError unless `path` is a file: a pipe or a device might never end, or never begin."""
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: not a regular file. Give a file or a folder.")


def _check_top(folders: set[str], names: list[str], path: Path) -> None:
    # A third folder (validation/) left out silently would be a trap; a loose licence is not.
    if not folders & {"train", "test"} or folders - {"train", "test"}:
        raise UserError(
            f"{path}: wrong layout. Expected {LAYOUT}; found at the top: "
            f"{listing(names)}. (A CSV within a zip has to be unpacked first.)"
        )


def _check_size(size: int, name: str) -> None:
    if size > MAX_IMAGE_BYTES:
        raise UserError(
            f"{name}: larger than {MAX_IMAGE_BYTES:,} bytes; a 48x48 image has a few "
            "thousand. Remove it or download the archive again."
        )


def folder_files(root: Path) -> list[Parts]:
    """Sorted relative parts of every file under train/ and test/."""
    names = visible_names(root)
    tops = {name for name in names if (root / name).is_dir()}
    _check_top(tops, names, root)

    def fail(error: OSError):
        raise error  # os.walk would skip the folder silently

    found = []
    with readable(root):
        for top in sorted(tops):
            for folder, inner, files in os.walk(root / top, onerror=fail, followlinks=True):
                inner[:] = [name for name in inner if not _is_junk((name,))]
                parts = Path(folder).relative_to(root).parts
                if len(parts) > 2:  # also ends a loop of symbolic links
                    raise UserError(f"{folder}: a folder within a class folder. Expected {LAYOUT}.")
                found += [(*parts, file) for file in files if not _is_junk((file,))]
    return sorted(found)


def folder_entries(root: Path) -> Iterator[tuple[Parts, str, bytes]]:
    """(parts, name for messages, content) of every file under train/ and test/."""
    for parts in folder_files(root):
        path = root.joinpath(*parts)
        with readable(path):
            check_regular(os.stat(path), path)
            with open(path, "rb") as file:
                data = file.read(MAX_IMAGE_BYTES + 1)
        _check_size(len(data), str(path))
        yield parts, str(path), data


class _ZipFile(io.FileIO):
    """A zip's bytes. zipfile takes the size of the list of entries from the file, and makes an
    object of each before anyone can count them."""

    def read(self, size=-1):
        if size > MAX_READ_BYTES:
            raise ValueError(f"its list of entries has {size:,} bytes")
        return super().read(size)


def zip_entries(path: Path) -> Iterator[tuple[Parts, str, bytes]]:
    """(parts, name for messages, content) of every file under train/ and test/; the zip may have
    a single folder above them."""
    # zipfile raises nearly anything on damaged bytes (BadZipFile, zlib.error, EOFError, OSError,
    # NotImplementedError, struct.error); our own checks run outside of the two try blocks.
    again = "Its download was cut short or it is another kind of file: download it again."
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_ZipFile(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except Exception as error:
            raise UserError(f"{path}: not a whole zip file ({error}). {again}") from error
        for parts, info in _checked_entries(archive, path):
            name = f"{path}: {info.filename}"
            try:
                with archive.open(info) as file:  # archive.read() would trust a false file_size
                    data = file.read(MAX_IMAGE_BYTES)
            except Exception as error:
                raise UserError(f"{name}: damaged entry ({error!s:.200}). {again}") from error
            yield parts, name, data


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> list[tuple[Parts, zipfile.ZipInfo]]:
    """(parts, info) of every file that is no junk, below train/ or test/. Reads no entry: limits
    and unsafe names are judged from the central directory alone."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise UserError(f"{path}: {len(infos)} entries, more than {MAX_ENTRIES} are not read.")
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise UserError(f"{path}: would unpack to more than 4 GiB; FER-2013 has 57 MB.")
    entries = []
    for info in infos:
        name = info.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/") or re.match("[A-Za-z]:", name):
            raise UserError(
                f'{path}: unsafe entry {info.filename!r} (".." or an absolute path). '
                "Expected plain relative paths; use the original archive."
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{path}: entry {info.filename!r} is a symbolic link; expected images.")
        if info.flag_bits & 1:
            raise UserError(
                f"{path}: entry {info.filename!r} is encrypted. Unpack it with its "
                "password and give the folder."
            )
        if info.compress_type not in METHODS:
            raise UserError(
                f"{path}: entry {info.filename!r} is packed by method {info.compress_type}. "
                "Expected deflate: pack it again with zip, or give the unpacked folder."
            )
        if not info.is_dir() and not _is_junk(parts):
            _check_size(info.file_size, f"{path}: {info.filename}")
            entries.append((parts, info))
    common = {parts[0] for parts, _ in entries}
    if len(common) == 1 and not common & {"train", "test"}:  # a single top folder is looked through
        entries = [(parts[1:] or parts, info) for parts, info in entries]
    if entries:
        tops = {parts[0] for parts, _ in entries if len(parts) > 1}
        _check_top(tops, sorted({parts[0] for parts, _ in entries}), path)
    if len({parts for parts, _ in entries}) < len(entries):
        raise UserError(f"{path}: the same name twice. Download the archive again.")
    return [(parts, info) for parts, info in entries if len(parts) > 1]
