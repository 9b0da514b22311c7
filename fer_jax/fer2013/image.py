"""One image file of FER-2013, from its bytes to u8[48, 48]."""

import io

import numpy as np
from PIL import Image

from train_jax.run.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "GIF")  # judged by content; Pillow's other decoders stay shut


def decode(data: bytes, name: str) -> np.ndarray:
    """u8[48, 48] from an encoded 8-bit grey image; RGB counts as grey if its channels are equal.

    Raises:
        UserError: unreadable, of another size, not 8-bit, in colour. `name` stands in the message.
    """
    # Pillow raises nearly anything on damaged bytes: OSError, SyntaxError, zlib.error...
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)  # reads the header only
    except Exception as error:
        raise UserError(
            f"{name}: unreadable image. Expected {', '.join(FORMATS)}, found "
            f"{len(data)} bytes that are none of them. Download it again or remove it."
        ) from error
    if image.size != (48, 48):
        raise UserError(
            f"{name}: expected 48x48 pixels, found {image.width}x{image.height}. "
            "Use the original images, or resize it."
        )
    # Pillow narrows a 16-bit RGB PNG to 8 bits silently; the depth stands at byte 24 (IHDR).
    depth = data[24] if image.format == "PNG" else 8
    if depth != 8 or image.mode in ("1", "I", "F", "I;16", "I;16B"):
        raise UserError(
            f"{name}: expected 8 bits per pixel, found another depth (mode "
            f"{image.mode}). Convert it to 8-bit grey."
        )
    try:
        if image.format == "PNG":  # load() looks at no checksum of the pixels, nor for the end
            Image.open(io.BytesIO(data)).verify()
        image.load()
        frames = getattr(image, "n_frames", 1)
    except Exception as error:
        raise UserError(
            f"{name}: damaged image ({error}). Download it again or remove it."
        ) from error
    if frames > 1:
        raise UserError(f"{name}: expected one picture, found {frames} frames.")
    if image.mode == "P":  # GIF and BMP keep grey in a palette
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode == "RGB" and (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if image.mode != "L":
        raise UserError(
            f"{name}: expected a grey image, found colour or transparency (mode "
            f"{image.mode}). Convert it to 8-bit grey."
        )
    return pixels
