"""FER-2013 as a TFDS data set: array_record files, no TensorFlow."""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from fer_jax.fer2013 import CLASSES


class Fer2013(tfds.core.GeneratorBasedBuilder):
    """Grey faces of 48x48 pixels: those of FER-2013 (Goodfellow et al. 2013), or the user's own.

    Args:
        splits: {split: (images u8[N, 48, 48], labels i32[N])}, what `contents.read` found. Not a
            path: a `manual_dir` of TFDS is always a folder.
        classes: their names, in the order of the labels.
        **kwargs: as for every TFDS builder; pass `file_format='array_record'`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded. To find that out itself, TFDS 4.9.10 imports importlib_resources, on
    # which it does not depend by its own account.
    url_infos: ClassVar[dict] = {}

    def __init__(self, *, splits, classes=CLASSES, **kwargs):
        self._splits, self._classes = splits, classes
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Grey 48x48 pictures, each of one class.",
            features=tfds.features.FeaturesDict(
                {
                    # Raw bytes: features.Image would write PNGs and needs TensorFlow for arrays.
                    "image": tfds.features.Tensor(
                        shape=(48, 48, 1), dtype=np.uint8, encoding="bytes"
                    ),
                    "label": tfds.features.ClassLabel(names=self._classes),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.kaggle.com/c/"
            "challenges-in-representation-learning-facial-expression-recognition-challenge",
            disable_shuffling=True,  # keeps the order of contents.read
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(*arrays) for split, arrays in self._splits.items()}

    def _generate_examples(self, images, labels):
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": image[..., None], "label": int(label)}
