"""A classifier as StableHLO: one file that jax runs without this project and without flax.

import jax, numpy as np
net = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
answer = net.call(np.zeros((5, 48, 48), np.uint8))  # {'logits': f32[5, K], ...}
"""

import jax
import jax.export

from fer_jax.convolution import only_xla
from fer_jax.data import SIDE
from fer_jax.task import preprocess

PLATFORMS = ("cpu", "cuda", "tpu")


def build(classifier) -> bytes:
    """The program u8[N, 48, 48], for any N -> {'logits', 'probabilities'}, both f32[N, K].

    The weights, the preprocessing and the temperature are in it. Versions of jax half a year older
    or newer than the one that wrote it read it, which is what `jax.export` promises.
    """
    temperature = classifier.temperature["none"]

    def answer(images):
        logits = classifier.model.apply(classifier.variables, preprocess(images), train=False)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits / temperature)}

    shape = jax.export.symbolic_shape(f"N, {SIDE}, {SIDE}")
    with only_xla():
        exported = jax.export.export(jax.jit(answer), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct(shape, "uint8")
        )
    return bytes(exported.serialize())
