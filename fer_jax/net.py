"""A trained classifier in Python: `net = fer_jax.load()`; the same answers as --mode=predict."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax import average
from fer_jax.data import SIDE
from fer_jax.inference import check_view
from fer_jax.weights import SHIPPED
from train_jax.run.errors import UserError
from train_jax.run.weights import of_run

MAX_PIXELS = 50_000_000  # of a photograph


class Answers(NamedTuple):
    """Of N pictures. `probabilities` are calibrated: of those near 0.8, about 80 % are right."""

    labels: list[str]  # the most probable class of each
    probabilities: np.ndarray  # f64[N, K], rows add up to 1
    classes: tuple[str, ...]  # their K columns


class Found(NamedTuple):
    """A face in a photograph."""

    box: tuple[int, ...]  # x, y, width, height, in pixels
    label: str
    probabilities: dict[str, float]  # class -> calibrated probability


class Net:
    """See `load`. Compiles once for 1, 4, 16, 64 ... pictures."""

    def __init__(self, classifier, tta: str):
        from fer_jax.predict.run import make_classify  # OpenCV

        check_view(tta, list(classifier.temperature))
        self.classifier = classifier  # weights.Classifier: model, variables, card ...
        self.classes = tuple(classifier.card["classes"])
        self._classify = make_classify(classifier, tta=tta)

    def classify(self, images) -> Answers:
        """What expression each picture of one face has.

        Args:
          images: u8[N, H, W] or u8[H, W] grey, u8[N, H, W, 3] or u8[H, W, 3] RGB, or a list of
            such pictures of any sizes. Pictures that are not square are padded by repeating their
            edges, and resized to 48x48, as with --config.predict.detector=none.

        Raises:
          ValueError: another dtype or shape.
        """
        crops = [crop(picture) for picture in pictures(images)]
        probabilities = self._classify(crops)
        return Answers(
            [self.classes[i] for i in probabilities.argmax(1)], probabilities, self.classes
        )

    def faces(self, photo, *, min_face: int = 40) -> list[Found]:
        """The faces of a photograph, the largest first.

        Args:
          photo: the path of a picture file, or u8[H, W] or u8[H, W, 3] (RGB).
          min_face: side of the smallest face that is looked for, in pixels; at least 24.

        Raises:
          ValueError: an array of another dtype or shape; or `min_face` is too small.
          UserError: the file cannot be read, and why.
        """
        from fer_jax.predict.faces import find_faces

        if min_face < 24:
            raise ValueError(f"min_face must be at least 24 pixels, got {min_face}")
        is_path = isinstance(photo, (str, Path))
        pixels, shrunk = read(Path(photo)) if is_path else (rgb(one_picture(photo)), 1)
        # as config.predict has it by default
        found = find_faces(
            pixels, detector="haar", min_face=max(24, round(min_face / shrunk)), margin=0.0,
            align=True, turned=True,
        )  # fmt: skip
        answers = self._classify([face.crop for face in found])
        return [
            Found(tuple(shrunk * value for value in face.box), self.classes[int(row.argmax())],
                  dict(zip(self.classes, map(float, row), strict=True)))
            for face, row in zip(found, answers, strict=True)
        ]  # fmt: skip


def load(folder: str | Path | None = None, *, tta: str = "none") -> Net:
    """A trained classifier.

    Args:
      folder: exported weights; or a run, whose export is taken; or several, with commas, whose
        probabilities are averaged. None: those that are shipped.
      tta: 'flip' averages each picture and its mirror, at twice the cost.

    Raises:
      UserError: there are no such weights, or they are damaged.
    """
    folder = SHIPPED if folder is None else of_run(Path(folder))
    return Net(average.load(str(folder)), tta)


def pictures(images) -> list:
    """A list of one_picture()s."""
    if isinstance(images, (list, tuple)):
        return [one_picture(picture) for picture in images]
    images = np.asarray(images)
    stack = images.ndim == 4 or (images.ndim == 3 and images.shape[-1] != 3)
    return [one_picture(picture) for picture in (images if stack else [images])]


def one_picture(picture) -> np.ndarray:
    """u8[H, W] or u8[H, W, 3]. ValueError for anything else."""
    picture = np.asarray(picture)
    fits = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[-1] == 3)
    if picture.dtype != np.uint8 or not fits or 0 in picture.shape:
        hint = ""
        if np.issubdtype(picture.dtype, np.floating):
            hint = "; of values in [0, 1] make (255 * picture).round().astype('uint8')"
        raise ValueError(
            f"expected pictures uint8[H, W] (grey) or uint8[H, W, 3] (RGB), got "
            f"{picture.dtype}{list(picture.shape)}{hint}"
        )
    return picture


def read(path: Path) -> tuple[np.ndarray, int]:
    """(u8[H, W, 3] of a picture file, its shrinking). UserError if it cannot be read."""
    from fer_jax.predict.images import UnreadableError, read_still

    try:
        return read_still(path.expanduser(), max_pixels=MAX_PIXELS)
    except UnreadableError as error:
        raise UserError(f"{path}: {error}") from None


def rgb(picture) -> np.ndarray:
    """u8[H, W, 3] of u8[H, W] or itself."""
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)


def crop(picture) -> np.ndarray:
    """u8[48, 48] of a picture that is one face."""
    from fer_jax.predict.faces import find_faces

    if picture.shape == (SIDE, SIDE):
        return picture
    (face,) = find_faces(rgb(picture), detector="none", min_face=24, margin=0.0, align=False,
                         turned=False)  # fmt: skip
    return face.crop
