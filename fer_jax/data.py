"""The faces that a run trains and is judged on, as numpy arrays.

Letters: N images, K classes. Images are u8[N, 48, 48], labels i32[N] with the ids of the classes,
whose names are those of the Dataset. CLASSES are the seven of FER-2013.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax.fer2013 import CLASSES, cache
from fer_jax.fer2013.classes import Reading
from fer_jax.fer2013.contents import content_sha256
from fer_jax.fer2013.source import find
from train_jax.run.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
RAW = ROOT / "data" / "raw" / "fer2013"
CACHE = Path(os.environ.get("FER_SEQ_CACHE") or ROOT / "data" / "cache") / "fer2013"
SIDE = 48  # pixels of an image

STAND_IN_EPOCHS = 8  # at most, on faces that are drawn for want of others
DRAWN_NOTICE = """\
DRAWN FACES: {why} faces drawn by this project (fer_jax/drawn_faces).
Numbers on them say nothing about people: they only show that the program works{epochs}.
To run on FER-2013: put archive.zip from https://www.kaggle.com/datasets/msambare/fer2013 into \
data/raw/fer2013/ (or add --config.data.path=PATH), then: python launch.py \
--config=configs/fer_best.py --workdir=runs/fer2013"""


class Faces(NamedTuple):
    images: np.ndarray  # u8[N, 48, 48]
    labels: np.ndarray  # i32[N], indices into the classes
    votes: np.ndarray | None = None  # u8[N, K], people's votes for each class, where there are some


class Dataset(NamedTuple):
    name: str  # 'fer2013', 'ferplus', 'own_data' or 'drawn_faces'
    splits: dict[str, Faces]  # 'train', 'valid' and test splits, as far as the source has them
    source: str  # path, or 'embedded'
    sha256: str  # of the arrays of all splits: the same for the zip, the folder and the CSV
    notice: str  # what the user has to be told, in lines: drawn faces, what was left out; or ''
    classes: tuple[str, ...] = CLASSES


def load(path: str, reading: Reading = Reading()) -> Dataset:  # noqa: B008, immutable
    """Faces from `path`; if that is '', from data/raw/fer2013; if nothing is there, drawn faces.

    A `path` of 'drawn' asks for the drawn faces, whatever lies in data/raw.

    Args:
        path: of FER-2013 or own data, see fer_jax/fer2013/source.py, or a folder that holds exactly
            one source. One that is wrong is never replaced by others.
        reading: classes and the like, see config.data.

    Raises:
        UserError: every mistake in the source or in `reading`.
    """
    reading.check()
    if path == "drawn":
        return _drawn_faces(DRAWN_NOTICE.format(why="these are", epochs=""), reading)
    if not path and not _anything_in(RAW):
        why, epochs = (
            "no FER-2013 was found, so these are",
            f", in {STAND_IN_EPOCHS} epochs at most",
        )
        return _drawn_faces(DRAWN_NOTICE.format(why=why, epochs=epochs), reading)
    source = find(path or RAW)
    data = cache.load(source, CACHE, reading)
    splits = {
        name: Faces(images, labels, data.votes.get(name))
        for name, (images, labels) in data.splits.items()
    }
    if "undivided" in splits:
        train, test = split_validation(
            splits.pop("undivided"), fraction=reading.test_fraction, seed=reading.split_seed,
            part="test",
        )  # fmt: skip
        splits = {"train": train} | ({"test": test} if len(test.labels) else {})
    notice = "\n".join(data.notes)
    return Dataset(data.name, splits, str(source.path), data.sha256, notice, data.classes)


def reading_of(c, **known) -> Reading:
    """How `c`, the fields of config.data, wants data to be read. A card of before 2026-11-27 lacks
    some fields. `known` go before its own."""
    fields = {name: c[name] for name in Reading._fields if name in c} | known
    for name in ("classes", "class_map"):  # lists, in JSON
        if isinstance(fields.get(name), list):
            fields[name] = tuple(tuple(v) if isinstance(v, list) else v for v in fields[name])
    return Reading(**fields)


def _anything_in(folder: Path) -> bool:
    return folder.is_dir() and any(not name.startswith(".") for name in os.listdir(folder))


def _drawn_faces(notice, reading: Reading) -> Dataset:
    from fer_jax.drawn_faces import load as load_drawn_faces

    if reading.labels or reading.classes not in ((), CLASSES):
        raise UserError(
            "config.data.classes and data.labels are of your own data, and data.path names none: "
            f"the drawn faces have the classes {', '.join(CLASSES)}"
        )
    splits = load_drawn_faces()
    faces = {name: Faces(images, labels) for name, (images, labels) in splits.items()}
    return Dataset("drawn_faces", faces, "embedded", content_sha256(splits), notice)


def sha256(splits: dict[str, Faces]) -> str:
    """Of the names, labels and images of the splits, in hexadecimal."""
    return content_sha256({name: faces[:2] for name, faces in splits.items()})


def split_validation(
    train: Faces, *, fraction: float, seed: int, part: str = "validation"
) -> tuple[Faces, Faces]:
    """(train, valid): a stratified part for validation, never with a twin of a training image.

    Pixel-identical images stay on one side, even where their labels differ. Each class gives
    `fraction` of its images, to the nearest image where such groups allow. Order is kept. With a
    fraction of 0 all is for training. `part` is what messages call it.

    Raises:
        UserError: `fraction` is not in [0, 1), or would leave one side empty.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"The {part} fraction must be in [0, 1), got {fraction}.")
    if fraction == 0:
        return train, select(train, np.zeros(len(train.labels), bool))
    room = np.rint(fraction * np.bincount(train.labels)).astype(int)
    is_valid = np.zeros(len(train.labels), bool)
    groups = _twin_groups(train.images)
    for number in np.random.default_rng(seed).permutation(len(groups)):
        if not room.any():
            break
        wanted = np.bincount(train.labels[groups[number]], minlength=len(room))
        if (wanted <= room).all():
            room -= wanted
            is_valid[groups[number]] = True
    if is_valid.all() or not is_valid.any():
        raise UserError(
            f"A {part} fraction of {fraction} of {len(is_valid)} images, {len(groups)} of them "
            f"different, leaves {is_valid.sum()} for {part} and {(~is_valid).sum()} for training. "
            "Give more pictures of each class, or another fraction."
        )
    return select(train, ~is_valid), select(train, is_valid)


def assign_folds(train: Faces, *, folds: int, seed: int) -> np.ndarray:
    """i32[N]: a fold from 0 for each image, the classes divided evenly, twins in one fold.

    Raises:
        UserError: fewer than 2 folds, or more than images of some kind.
    """
    groups = _twin_groups(train.images)
    if not 2 <= folds <= len(groups):
        raise UserError(f"The folds must be 2 to {len(groups)}, the distinct images, got {folds}.")
    fold = np.zeros(len(train.labels), np.int32)
    classes = train.labels.max() + 1
    counts = np.zeros((folds, classes), np.int64)
    for number in np.random.default_rng(seed).permutation(len(groups)):
        members = groups[number]
        labels = train.labels[members]
        # where the class has fewest; of equals, where there are fewest images
        fold[members] = least = np.lexsort((counts.sum(1), counts[:, labels[0]]))[0]
        counts[least] += np.bincount(labels, minlength=classes)
    return fold


def take_fraction(faces: Faces, *, fraction: float, seed: int) -> Faces:
    """A stratified part: of each class present, `fraction` of its images and at least one.

    With one seed, a smaller fraction is a part of a larger one. Order is kept.

    Raises:
        UserError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"The fraction to train on must be in (0, 1], got {fraction}.")
    rng = np.random.default_rng(seed)
    keep = np.zeros(len(faces.labels), bool)
    for label in np.unique(faces.labels):
        members = rng.permutation(np.flatnonzero(faces.labels == label))
        keep[members[: max(1, round(fraction * len(members)))]] = True
    return select(faces, keep)


def has_twin(faces: Faces, train: Faces) -> np.ndarray:
    """bool[N]: whether `train` holds an image with the very same pixels, whatever its label."""
    known = {image.tobytes() for image in train.images}
    return np.array([image.tobytes() in known for image in faces.images], bool)


NEAR = 0.9  # correlation of the pixels from which two images are taken for one photograph


def has_near_twin(faces: Faces, train: Faces) -> np.ndarray:
    """bool[N]: whether `train` holds the same photograph, cropped, scaled or lit otherwise."""
    return closest(faces, train)[0] >= NEAR


def closest(faces: Faces, others: Faces) -> tuple[np.ndarray, np.ndarray]:
    """For each of `faces` the largest correlation (Pearson's r over the pixels) with an image of
    `others`, f32[N], and the index of that image, i64[N]. An image of one grey has r = 0."""
    ours = _standardised(faces.images)
    best, index = np.full(len(ours), -1, np.float32), np.zeros(len(ours), np.int64)
    for first in range(0, len(others.images), 4096):
        r = ours @ _standardised(others.images[first : first + 4096]).T
        place = r.argmax(1)
        value = r[np.arange(len(r)), place]
        index = np.where(value > best, first + place, index)
        best = np.maximum(value, best)
    return best, index


def _standardised(images) -> np.ndarray:
    """f32[N, 2304] of mean 0 and length 1, or all 0."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _twin_groups(images: np.ndarray) -> list[list[int]]:
    """Indices of the images, those with the same pixels together, in order of first appearance."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.tobytes(), []).append(index)
    return list(groups.values())


def select(faces: Faces, mask: np.ndarray) -> Faces:
    """Those where `mask` bool[N] is True."""
    votes = None if faces.votes is None else faces.votes[mask]
    return Faces(faces.images[mask], faces.labels[mask], votes)
