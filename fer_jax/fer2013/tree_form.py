"""Images in folders that are named after their classes: which split and class each belongs to."""

from typing import NamedTuple

from fer_jax.fer2013.entries import Entry, listing
from train_jax.run.errors import UserError

LAYOUT = "train/<class>/<image>, test/<class>/<image>, or <class>/<image>"
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
TEST_SPLITS = ("PublicTest", "PrivateTest")  # of FER-2013, told apart by the names of the files


class Place(NamedTuple):
    split: str
    folder: str  # that names the class
    entry: Entry


def places(entries: list[Entry], where) -> tuple[list[Place], list[str]]:
    """(the place of every image, the names of loose files at the top, which belong to no class).

    Args:
      entries: of a folder or an archive.
      where: its path, for messages.

    Raises:
      UserError: they lie neither as split/class/file nor as class/file.
    """
    root, loose = _root(entries)
    deep = [entry for entry in entries if len(entry.parts) > root + 1]
    tops = {entry.parts[root] for entry in deep}
    if not deep:
        return [], loose
    known = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    if len({SPLIT_FOLDERS[top.lower()] for top in known}) < len(known):
        raise UserError(
            f"{where}: two folders of one split in {listing(sorted(known))}: put them into one."
        )
    if known and tops - known:  # left out silently it would be a trap; a loose licence is not
        raise UserError(
            f"{where}: wrong layout. Expected {LAYOUT}; found at the top: {listing(sorted(tops))}."
        )
    return [_place(entry, root, bool(known)) for entry in deep], loose


def _root(entries: list[Entry]) -> tuple[int, list[str]]:
    """(folders above the layout, names of files beside them): archive/train/..., with a README."""
    root, loose = 0, []
    while True:
        loose += [entry.parts[-1] for entry in entries if len(entry.parts) == root + 1]
        deep = [entry.parts[root:] for entry in entries if len(entry.parts) > root + 1]
        tops = {parts[0] for parts in deep}
        wraps = len(tops) == 1 and next(iter(tops)).lower() not in SPLIT_FOLDERS
        if not wraps or max(map(len, deep)) < 3:
            return root, loose
        root += 1


def _place(entry: Entry, root: int, has_splits: bool) -> Place:
    parts = entry.parts[root:]
    expected = 3 if has_splits else 2
    if len(parts) != expected:
        problem = "a folder within a class folder" if len(parts) > expected else "wrong layout"
        raise UserError(f"{entry.name}: {problem}. Expected {LAYOUT}.")
    if not has_splits:
        return Place("undivided", parts[0], entry)
    split, file = SPLIT_FOLDERS[parts[0].lower()], parts[2].lower()
    named = [name for name in TEST_SPLITS if file.startswith(name.lower())]
    if split == "train" and named:
        raise UserError(
            f"{entry.name}: a {named[0]} image in {parts[0]}/. Training on it would leak the test "
            "split: move it to test/."
        )
    if split == "test" and file.startswith("training_"):
        raise UserError(
            f"{entry.name}: a Training image in {parts[0]}/. Rename it as in the original archive."
        )
    return Place(named[0] if split == "test" and named else split, parts[1], entry)
