"""Whether the labels of FER-2013 can belong to its images: what a reader of rows cannot see."""

from collections import defaultdict

import numpy as np

from fer_jax.fer2013 import CLASSES
from train_jax.run.errors import UserError

# Images of each class, in the order of CLASSES. No two of a split are equal, so the counts of
# a whole split tell the order of the classes.
COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
    "test": (958, 111, 1024, 1774, 1247, 831, 1233),  # both of them
}
# Of the copy that others have divided into train/ and validation/ alone
# (kaggle.com/datasets/jonathanoheix/face-expression-recognition-dataset)
DIVIDED = {
    "train": (3993, 436, 4103, 7164, 4938, 3205, 4982),
    "valid": (960, 111, 1018, 1825, 1139, 797, 1216),
}
# Of 1,236 training images that had occurred before, pixel for pixel, 1,181 have the same label as
# the first time (95.5 %). With labels of other images 18 % would; 30 images tell the two apart.
MIN_REPEATS = 30
MIN_AGREEING = 0.5


def name(splits: dict[str, tuple[np.ndarray, np.ndarray]], classes: tuple[str, ...]) -> str:
    """'fer2013' if each split has as many images of each class as FER-2013 has; else 'own_data'."""
    if {*classes} != {*CLASSES}:
        return "own_data"
    for known in (COUNTS, DIVIDED):
        if all(_counts(labels, classes) == known.get(s) for s, (_, labels) in splits.items()):
            return "fer2013"
    return "own_data"


def _counts(labels: np.ndarray, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Images of each class, in the order of CLASSES."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return tuple(counts[classes.index(name)] for name in CLASSES)


def check(splits: dict[str, tuple[np.ndarray, np.ndarray]], path, classes=CLASSES) -> None:
    """Refuses labels that stand for other classes, or beside other images, than in FER-2013. Data
    with other classes is not looked at.

    Args:
        splits: {split: (images u8[N, 48, 48], labels i32[N])}.
        path: for the message.
        classes: the names of the labels.

    Raises:
        UserError: a split has the class counts of FER-2013, but not in the order of `classes`; or
            identical images mostly have different labels.
    """
    if {*classes} != {*CLASSES}:
        return
    for split, (_, labels) in splits.items():
        counts, known = list(_counts(labels, classes)), list(COUNTS.get(split, ()))
        if counts != known and sorted(counts) == sorted(known):
            found = [CLASSES[known.index(count)] for count in counts]
            raise UserError(
                f"{path}: the classes stand in another order. The {split} images of classes 0 to 6 "
                f"are as many as FER-2013 has of {', '.join(found)}; expected {', '.join(CLASSES)}"
                ". Renumber the labels (or rename the folders), or download it again."
            )
    repeats, agreeing = _repeats(splits)
    if repeats >= MIN_REPEATS and agreeing < MIN_AGREEING * repeats:
        raise UserError(
            f"{path}: the labels do not belong to the images. {repeats} images occur again, pixel "
            f"for pixel, and only {agreeing} of them with the same label; in FER-2013 it is 95 %. "
            "Was the column of labels moved by a row, or sorted alone? Download it again."
        )


def _repeats(splits) -> tuple[int, int]:
    """(images that occurred before, those of them with the same label as the first time)."""
    groups = defaultdict(list)
    for images, labels in splits.values():
        for image, label in zip(images, labels.tolist(), strict=True):
            groups[image.tobytes()].append(label)
    again = [(labels[0], label) for labels in groups.values() for label in labels[1:]]
    return len(again), sum(first == label for first, label in again)
