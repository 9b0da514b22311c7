"""Translation by recurrent networks. In Python:

import seq_jax
translator = seq_jax.load()  # weights/seq_best; or seq_jax.load("runs/seq_best/export")
translator.translate(["in front of her house"])
"""


def load(folder=None):
    """A `weights.Translator` from exported weights, by default those that are shipped."""
    from seq_jax import weights  # here, or every import of a part would wait for jax

    return weights.load(folder or weights.SHIPPED)
