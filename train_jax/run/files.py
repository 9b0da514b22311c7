"""Files that are there whole or as before, and manifests, by which damage is noticed.

A manifest is `manifest.json` in a folder: the SHA-256 of every file below it, written last. A
folder without one is not whole, and one that disagrees with it is damaged.
"""

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np

from train_jax import parallel
from train_jax.run.errors import cannot_write

MANIFEST = "manifest.json"


def write_atomically(path: Path, content: str | bytes, *, sync_disk: bool = True):
    """Writes a file so that after a crash it is there whole, or as it was before.

    Without `sync_disk`, which takes 12 ms, not after a loss of power. Of many processes only the
    main one writes, see `parallel.start`. UserError if the disk is full, say.
    """
    if not parallel.is_main():
        return
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync_disk:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync_disk:
            sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)  # or it would fill the disk
        raise cannot_write(path, error) from error


def write_arrays(path: Path, **arrays):
    """Writes an .npz as `write_atomically` does."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote. OSError, ValueError, EOFError or zipfile.BadZipFile if it did
    not."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def sync(path: Path):
    """Returns when a file, or the list of names in a folder, is safe from a loss of power."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_manifest(folder: Path | str):
    """Writes `manifest.json`, when all that it names is safe from a loss of power."""
    folder = Path(folder)
    folder.joinpath(MANIFEST + ".tmp").unlink(missing_ok=True)  # of a write that was killed
    for path in (*folder.rglob("*"), folder, folder.parent):
        if path.is_file() or path.is_dir():
            sync(path)
    write_atomically(folder / MANIFEST, _manifest(hash_files(folder)))


def check_manifest(folder: Path | str) -> list[str]:
    """What is wrong with `folder`, one sentence per file; empty if it is whole.

    Reads nothing but the manifest where that is missing, so that any folder may be asked about.
    """
    folder = Path(folder)
    try:
        text = (folder / MANIFEST).read_bytes()
        expected = json.loads(text)["sha256"]
        if not isinstance(expected, dict) or text != _manifest(expected).encode():
            return [f"{MANIFEST} has changed"]  # each byte counts, blanks too
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{MANIFEST} has changed: it is no list of files"]
    found = hash_files(folder)
    return (
        [f"{n}, which {MANIFEST} lists, is missing" for n in sorted(expected.keys() - found.keys())]
        + [f"{n} was added: {MANIFEST} does not list it" for n in sorted(found.keys() - expected)]
        + [
            f"{n} has changed: its SHA-256 is {found[n]}, and {MANIFEST} says {expected[n]}"
            for n in sorted(expected.keys() & found.keys())
            if found[n] != expected[n]
        ]
    )


def hash_files(folder: Path | str) -> dict[str, str]:
    """{path relative to `folder`: SHA-256} of every file below it but the manifest.

    Of what has no content that could be read: what it is. Of folders: those that are empty.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    found = {path: _hash(path) for path in sorted(folder.rglob("*")) if path != manifest}
    return {str(path.relative_to(folder)): text for path, text in found.items() if text}


def _hash(path: Path) -> str:
    """'' for a folder with something in it."""
    try:
        if path.is_dir() and not path.is_symlink():
            return "" if any(path.iterdir()) else "an empty folder"
        if not path.is_file():  # a pipe, say, which could be read for ever
            return "no plain file"
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # as from a disk that fails
        return f"cannot be read ({error.strerror})"


def _manifest(hashes: dict) -> str:
    return json.dumps({"sha256": hashes}, indent=1)
