"""From --inputs to files: lists, patterns, folders and their links. Files are known by content."""

import csv
import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_jax.kinds import kind_of, read_head
from train_jax.run.errors import UserError

# endings under which a picture or video is expected: unreadable content then has a row
ENDINGS = {
    f".{ending}" for ending in (
        "jpg jpeg jpe jfif png bmp gif webp avif tif tiff heic heif jxl jp2 cr2 cr3 nef arw dng "
        "raf mp4 m4v mov avi mkv webm mpg mpeg wmv 3gp flv ts mts m2ts ogv"
    ).split()
}  # fmt: skip
HIDDEN = {"@eadir", "__macosx", "thumbs.db", "desktop.ini"}  # what systems leave in folders


class Found(NamedTuple):
    files: list[str]  # to be read, in order; 'webcam:N' among them; what is not there, too
    left_out: list[str]  # one sentence for each folder of which files are left out


def split(inputs: str) -> list[str]:
    """Names separated by commas; one with a comma in it stands in double quotes."""
    if os.path.exists(inputs):
        return [inputs]
    try:
        names = next(csv.reader([inputs]), [])
    except csv.Error as error:
        raise UserError(f"--inputs: {error}: separate names by commas") from None
    return [name for name in names if name.strip()]  # 'a.jpg,' is one name


def find(names, results: Sequence[Path] = (), lists: tuple[str, ...] = ()) -> Found:
    """The files of names: of a folder those that are pictures or videos, by their content or by
    their ending; of a pattern ('*.jpg', '**/*.jpg') what it fits; of @LIST its lines.

    Args:
      names: see above.
      results: files and folders that an earlier call wrote, which no folder is read for.
      lists: those that led here, which may not name themselves.

    Raises:
      UserError: a list cannot be read, is empty or names itself; or a name is an address.
    """
    found = Found([], [])
    for name in names:
        path = Path(os.path.expanduser(name))
        if name.startswith("webcam:"):
            webcam_number(name)
            found.files.append(name)
        elif "://" in name:
            raise UserError(f"--inputs: {name}: expected a file; download it first")
        elif name.startswith("@") and not path.exists():
            if name in lists:
                raise UserError(f"--inputs: {' in '.join((name, *lists))}: a list names itself")
            listed = find(_lines(name[1:]), results, (name, *lists))
            found.files.extend(listed.files)
            found.left_out.extend(listed.left_out)
        elif glob.has_magic(name) and not path.exists():
            matches = [m for m in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(m)]
            found.files.extend(matches or [str(path)])
        elif path.is_dir():
            files, left_out = _look_through(path, results)
            found.files.extend(files or [str(path)])
            if left_out:
                found.left_out.append(f"{path}: left out {left_out}")
        else:
            found.files.append(str(path))
    return found


def webcam_number(name: str) -> int:
    """The N of 'webcam:N'."""
    number = name.removeprefix("webcam:")
    if not number.isdecimal():
        raise UserError(f"--inputs: {name}: expected webcam:0, or another number")
    return int(number)


def _lines(name) -> list[str]:
    """The names in a list file, one a line. UserError if it cannot be read."""
    try:
        lines = Path(os.path.expanduser(name)).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"--inputs: @{name}: the list cannot be read: {reason}") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"--inputs: @{name}: the list is empty")
    return names


def _look_through(folder: Path, results) -> tuple[list[str], str]:
    """(pictures and videos below `folder`, sorted; what is left out, or '')."""
    endings: Counter[str] = Counter()
    found, hidden = [], 0
    seen: set[tuple[int, int]] = set()
    own, earlier = {_identity(path) for path in results if path.exists()}, 0
    for at, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: found.append(Path(error.filename))
    ):
        if _identity(at) in seen | own:  # a link that leads back, or a second one
            earlier += len(names) * (_identity(at) in own)
            folders.clear()
            continue
        seen.add(_identity(at))
        hidden += sum(map(_is_hidden, folders + names))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in names:
            path = Path(at, name)
            if _is_hidden(name):
                continue
            if own and path.exists() and _identity(path) in own:
                earlier += 1
            elif kind_of(read_head(path)) or path.suffix.lower() in ENDINGS:
                found.append(path)
            else:
                endings[path.suffix.lower() or "no ending"] += 1
    parts = [f"{count} {ending}" for ending, count in endings.most_common(5)]
    others = endings.total() - sum(count for _, count in endings.most_common(5))
    left_out = []
    if parts:
        more = f", {others} more" if others else ""
        left_out.append(f"{endings.total()} no pictures or videos ({', '.join(parts)}{more})")
    if earlier:
        left_out.append(f"{earlier} of the results that were written here before")
    if hidden:
        left_out.append(f"{hidden} hidden")
    return list(map(str, sorted(found))), "; ".join(left_out)


def _identity(path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN
