"""FER-2013 as a TFDS data set: array_record files, no TensorFlow."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data.fer2013 import CLASSES, source


class Fer2013(tfds.core.GeneratorBasedBuilder):
    """35,887 grey faces of 48x48 pixels with one of seven expressions (Goodfellow et al., 2013).

    Args:
        source: where it comes from; the data set gets the splits that are there. Not a
            `manual_dir`, since a TFDS one is always a folder.
        **kwargs: as for every TFDS builder; pass `file_format='array_record'`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded. To find that out itself, TFDS 4.9.10 imports importlib_resources, on
    # which it does not depend by its own account.
    url_infos: ClassVar[dict] = {}

    def __init__(self, *, source: source.Source, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Grey 48x48 faces, each with one of seven expressions.",
            features=tfds.features.FeaturesDict(
                {
                    # Raw bytes: features.Image would write PNGs and needs TensorFlow for arrays.
                    "image": tfds.features.Tensor(
                        shape=(48, 48, 1), dtype=np.uint8, encoding="bytes"
                    ),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.kaggle.com/c/"
            "challenges-in-representation-learning-facial-expression-recognition-challenge",
            disable_shuffling=True,  # keeps the order of source.read
        )

    def _split_generators(self, dl_manager):
        with _progress(f"FER-2013: preparing {self._source.path}, once") as progress:
            splits = source.read(self._source, progress)
        return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

    def _generate_examples(self, images, labels):
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": image[..., None], "label": int(label)}


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int], None]]:
    """One line on stderr, rewritten as images come in; where that is no terminal, only its end."""
    start, shown, back = time.monotonic(), 0, "\r" * sys.stderr.isatty()

    def show(count: int) -> None:
        nonlocal shown
        shown = count
        if back and count % 1000 == 0:
            print(f"{back}{title}: {count} images", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        seconds = time.monotonic() - start
        print(f"{back}{title}: {shown} images in {seconds:.1f} s", file=sys.stderr)
