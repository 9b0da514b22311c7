"""Whether the labels of FER-2013 can belong to its images: what a reader of rows cannot see."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from fer_jax.fer2013 import CLASSES
from train_jax.run.errors import UserError

# Images of each class, in the order of CLASSES. No two of a split are equal, so the counts of
# a whole split tell the order of the classes.
COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
# Of 1,236 training images that had occurred before, pixel for pixel, 1,181 have the same label as
# the first time (95.5 %). With labels of other images 18 % would; 30 images tell the two apart.
MIN_REPEATS = 30
MIN_AGREEING = 0.5


def check(splits: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Refuses labels that stand for other classes, or come with other images, than in FER-2013.

    Args:
        splits: {split: (images u8[N, 48, 48], labels i32[N])}.
        path: for the message.

    Raises:
        UserError: a split has the class counts of FER-2013, but not in the order of CLASSES; or
            identical images mostly have different labels.
    """
    for split, (_, labels) in splits.items():
        counts = np.bincount(labels, minlength=len(CLASSES)).tolist()
        known = list(COUNTS[split])
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
