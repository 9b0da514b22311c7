"""What a network looks at: feature maps, Grad-CAM, occlusion and first-layer filters of one face.

Letters: H, W pixels of a layer, C its features, K classes. A face is u8[48, 48].
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.task import preprocess
from train_jax.run.errors import UserError

SIDE = 48  # pixels


class Explanation(NamedTuple):
    """Everything there is to show about one face."""

    face: np.ndarray  # u8[48, 48]
    probabilities: np.ndarray  # f32[K]
    label: int  # the class that the two maps below speak of
    features: dict[str, np.ndarray]  # layer -> f32[H, W, C] or f32[C], in order of execution
    cam: np.ndarray  # f32[H, W] >= 0, of the last convolution
    cam_layer: str
    occlusion: np.ndarray  # f32[48, 48], drop of the probability where a square hides the face


def explain(model, variables, face, *, label, temperature, size, stride) -> Explanation:
    """Args:
    model, variables: flax module and what it is applied with.
    face: u8[48, 48].
    label: the class to explain, None for the most probable one.
    temperature: the logits are divided by it.
    size, stride: pixels, of the square that hides a part of the face.
    """

    @jax.jit
    def probabilities_of(images):
        logits = model.apply(variables, preprocess(images), train=False)
        return jax.nn.softmax(logits / temperature)

    probabilities = np.asarray(probabilities_of(face[None])[0])
    label = int(probabilities.argmax()) if label is None else label
    image = preprocess(face[None])
    features = feature_maps(model, variables, image)
    layer = last_convolution(features)
    return Explanation(
        face=face,
        probabilities=probabilities,
        label=label,
        features={name: np.asarray(maps[0], np.float32) for name, maps in features.items()},
        cam=np.asarray(grad_cam(model, variables, image, layer=layer, label=label)),
        cam_layer=layer,
        occlusion=occlusion_map(
            lambda images: np.asarray(probabilities_of(images))[:, label],
            face,
            size=size,
            stride=stride,
        ),
    )


def feature_maps(model, variables, images) -> dict[str, jax.Array]:
    """The output of every layer for f32[B, 48, 48, 1], by name, in order of execution."""
    outputs = {}

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path:  # () is the model itself
            outputs["/".join(context.module.path)] = output
        return output

    with nn.intercept_methods(record):
        model.apply(variables, images, train=False)
    return outputs


def last_convolution(features) -> str:
    """The name of the last rectified output that still has rows and columns."""
    return [name for name, maps in features.items() if maps.ndim == 4 and "ReLU" in name][-1]


def grad_cam(model, variables, image, *, layer, label) -> jax.Array:
    """Where the features of a layer speak for a class: f32[H, W], at least 0, not normalised.

    Selvaraju et al. 2017, equations 1 and 2: L = ReLU(sum_k alpha_k A_k), where A_k is feature map
    k of the layer, and alpha_k the mean over its pixels of the gradient of the class's logit.

    Args:
      image: f32[1, 48, 48, 1].
      layer: a name that `feature_maps` gives, with an output [1, H, W, C].
      label: index of the class.
    """

    def logit(shift):
        kept = {}

        def add(call, args, kwargs, context):
            output = call(*args, **kwargs)
            if context.method_name == "__call__" and "/".join(context.module.path) == layer:
                kept["maps"] = output
                output = output + shift
            return output

        with nn.intercept_methods(add):
            logits = model.apply(variables, image, train=False)
        return logits[0, label], kept["maps"]

    zeros = jnp.zeros_like(feature_maps(model, variables, image)[layer])
    gradient, maps = jax.grad(logit, has_aux=True)(zeros)
    alpha = gradient[0].mean((0, 1))
    return jax.nn.relu((maps[0] * alpha[None, None]).sum(-1).astype(jnp.float32))


def occlusion_map(probability_of, face, *, size, stride) -> np.ndarray:
    """How much the probability drops where a grey square hides the face: f32[48, 48].

    Zeiler and Fergus 2014. The square has the mean grey of the face. A pixel has the mean drop of
    the squares that cover it.

    Args:
      probability_of: u8[N, 48, 48] -> f32[N].
      face: u8[48, 48].
      size, stride: pixels; the last square of a row or column ends at the border.

    Raises:
      UserError: see `check_square`.
    """
    check_square(size, stride)
    starts = [*range(0, SIDE - size, stride), SIDE - size]
    corners = [(top, left) for top in starts for left in starts]
    hidden = np.zeros((len(corners), SIDE, SIDE), bool)
    for number, (top, left) in enumerate(corners):
        hidden[number, top : top + size, left : left + size] = True
    images = np.where(hidden, np.uint8(np.rint(face.mean())), face)
    drops = probability_of(face[None])[0] - probability_of(images)
    return (np.tensordot(drops, hidden, 1) / hidden.sum(0)).astype(np.float32)


def check_square(size, stride) -> None:
    """UserError unless squares of `size` pixels, `stride` pixels apart, cover a face."""
    if not 1 <= stride <= size <= SIDE:
        raise UserError(
            f"config.explain: 1 <= occlusion_stride <= occlusion_size <= {SIDE} (pixels) must "
            f"hold, got stride {stride} and size {size}"
        )
