"""One image file, from its bytes to u8[48, 48]."""

import io

import numpy as np
from PIL import Image, ImageOps

from fer_jax.kinds import HEAD, PICTURE, kind_of
from train_jax.run.errors import UserError

SIDE = 48  # pixels
FORMATS = ("JPEG", "PNG", "BMP", "GIF")  # judged by content; Pillow's other decoders stay shut
MORE_FORMATS = ("WEBP", "TIFF")  # of images that are shrunk
MAX_PIXELS, MAX_LENGTH = 50_000_000, 14_000  # of an image that is shrunk; pixels of a side
RESIZE = "--config.data.resize=True takes images of any size and in colour"


def decode(data: bytes, name: str, *, resize: bool = False) -> np.ndarray:
    """u8[48, 48] from an encoded 8-bit grey image; RGB counts as grey if its channels are equal.

    With `resize` from an 8-bit image of any size, in colour or not, as --mode=predict takes a whole
    picture for a face: upright by its EXIF, grey by ITU-R 601, transparent parts white, made a
    square by repeating its edges, then scaled by areas, or bilinearly where it grows.

    Raises:
        UserError: unreadable, of another size, not 8-bit, in colour. `name` stands in the message.
    """
    formats = FORMATS + MORE_FORMATS * resize
    # Pillow raises nearly anything on damaged bytes: OSError, SyntaxError, zlib.error...
    try:
        image = Image.open(io.BytesIO(data), formats=formats)  # reads the header only
    except Exception as error:
        raise UserError(
            f"{name}: unreadable image. Expected {', '.join(formats)}, found {_found(data)} "
            "or remove it."
        ) from error
    if not resize and image.size != (SIDE, SIDE):
        raise UserError(
            f"{name}: expected 48x48 pixels, found {image.width}x{image.height}. "
            f"Use the original images; {RESIZE}."
        )
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_LENGTH:
        raise UserError(
            f"{name}: {image.width}x{image.height} pixels; expected at most {MAX_PIXELS:,}, and "
            f"{MAX_LENGTH:,} a side. Shrink it."
        )
    # Pillow narrows a 16-bit RGB PNG to 8 bits silently; the depth stands at byte 24 (IHDR).
    depth = data[24] if image.format == "PNG" else 8
    deep = depth > 8 if resize else depth != 8 or image.mode == "1"
    if deep or image.mode.startswith(("I", "F")):
        raise UserError(
            f"{name}: expected 8 bits per pixel, found another depth (mode "
            f"{image.mode}). Convert it to 8-bit grey."
        )
    try:
        if image.format == "PNG":  # load() looks at no checksum of the pixels, nor for the end
            Image.open(io.BytesIO(data)).verify()
        image.load()
        frames = getattr(image, "n_frames", 1)
        shrunk = _shrink(image) if resize and frames == 1 else None
    except Exception as error:
        raise UserError(
            f"{name}: damaged image ({error}). Download it again or remove it."
        ) from error
    if frames > 1:
        raise UserError(f"{name}: expected one picture, found {frames} frames.")
    if shrunk is not None:
        return shrunk
    plain = image.convert("RGB") if image.mode == "P" else image  # GIF and BMP: grey in a palette
    pixels = np.asarray(plain)
    if plain.mode == "RGB" and (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if plain.mode != "L":
        raise UserError(
            f"{name}: expected a grey image, found colour or transparency (mode "
            f"{plain.mode}). Convert it to 8-bit grey; {RESIZE}."
        )
    return pixels


def _found(data: bytes) -> str:
    """What is no image that is read, and what to do."""
    kind = kind_of(data[:HEAD])
    if kind and kind != PICTURE:
        return f"{kind}. Convert it to PNG"
    return f"{len(data)} bytes that are none of them. Download it again"


def _shrink(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    grey = np.asarray(image.convert("RGB").convert("L"))
    rows, columns = (max(grey.shape) - n for n in grey.shape)
    square = np.pad(grey, [(n // 2, n - n // 2) for n in (rows, columns)], mode="edge")
    method = Image.Resampling.BOX if len(square) > SIDE else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(square).resize((SIDE, SIDE), method))
