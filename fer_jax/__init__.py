"""Facial expressions by convolutional networks in pure JAX. In Python:

import fer_jax
net = fer_jax.load()  # weights/fer_best; or a run, or an export folder
net.classify(images)  # u8[N, H, W] grey or u8[N, H, W, 3] RGB: one face each
net.faces("photo.jpg")  # finds the faces first
"""


def load(folder=None, *, tta="none"):
    """A `fer_jax.net.Net`; see `fer_jax.net.load`."""
    from fer_jax import net  # here, or every import of a part would wait for jax

    return net.load(folder, tta=tta)
