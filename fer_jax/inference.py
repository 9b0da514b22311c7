"""What a net answers to images, or to views of them whose answers are averaged."""

import jax
import numpy as np

from fer_jax.data import SIDE
from fer_jax.models import takes_any_size
from fer_jax.task import preprocess
from train_jax.compiler import forward_options
from train_jax.epoch import batches
from train_jax.run.errors import UserError

VIEWS = ("none", "flip", "ten_crop")  # config.eval.tta
CROP = 44  # pixels, side of the crops of 'ten_crop'


def views_of(model) -> tuple[str, ...]:
    """Those of VIEWS that a model can be asked for."""
    return VIEWS if takes_any_size(model) else VIEWS[:2]


def check_view(tta, views):
    """UserError unless `tta` is one of `views`."""
    if tta not in views:
        choices = ", ".join(map(repr, views))
        raise UserError(f"config.eval.tta must be one of {choices} for this net, got {tta!r}")


def pictures(images, tta) -> list:
    """The pictures u8[N, h, w] of images u8[N, 48, 48] whose answers `tta` averages."""
    if tta == "none":
        return [images]
    far = SIDE - CROP
    places = [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)]
    crops = [images[:, row : row + CROP, column : column + CROP] for row, column in places]
    upright = [images] if tta == "flip" else crops
    return [view for picture in upright for view in (picture, picture[:, :, ::-1])]


def make_predict(model):
    """The compiled (variables, images u8[B, 48, 48]) -> logits f32[B, K]."""
    return jax.jit(
        lambda variables, images: model.apply(variables, preprocess(images), train=False),
        compiler_options=forward_options(jax.default_backend()),
    )


def predict_split(predict, variables, images, *, batch_size, tta) -> np.ndarray:
    """Logits f32[N, K] on the host for images u8[N, 48, 48].

    `tta`: one of VIEWS; with more than one picture of an image, the mean of their
    log-probabilities.
    """

    def logits_of(images):
        logits = [predict(variables, images[i]) for i, _ in batches(len(images), batch_size)]
        return np.concatenate(logits)[: len(images)]

    views = [logits_of(picture) for picture in pictures(images, tta)]
    if len(views) == 1:
        return views[0]
    return np.asarray(sum(jax.nn.log_softmax(logits) for logits in views) / len(views))
