"""Twelve odd inputs of --mode=predict, made of drawn faces. To make them in FOLDER:

python -m tests.fer_jax.predict.odd_inputs FOLDER
"""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fer_jax import drawn_faces

FOUND = (25, 9, 19, 24, 20)  # of the drawn faces, those that the detector takes for faces
SIDE = 192  # pixels of a face


def make(folder: Path) -> list[str]:
    """Makes the inputs in `folder`; returns their paths in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    one, five = wall(1), wall(5)
    noise = np.random.default_rng(0).integers(90, 160, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "01_no_face.png")
    five.save(folder / "02_five_faces.jpg", quality=90)
    whole = io.BytesIO()
    five.save(whole, format="jpeg")
    (folder / "03_truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    Image.new("RGB", (1, 1)).save(folder / "04_1x1.png")
    (folder / "05_header_bomb.png").write_bytes(png_header(20_000, 20_000))
    (folder / "06_text.jpg").write_text("This is a text.\n" * 99)
    one.convert("CMYK").save(folder / "07_cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise to see me upright"
    one.transpose(Image.Transpose.ROTATE_90).save(folder / "08_exif_rotated.jpg", exif=exif)
    one.save(folder / "09_ಮುಖ_顔_é.png")
    one.save(folder / "10_animated.gif", save_all=True, append_images=[five.resize(one.size)])
    (folder / "11_empty.png").write_bytes(b"")
    (folder / "12_directory_without_images").mkdir(exist_ok=True)
    (folder / "12_directory_without_images" / "notes.txt").write_text("no image")
    return sorted(str(path) for path in folder.iterdir())


def wall(count: int) -> Image.Image:
    """A grey wall with `count` drawn faces side by side."""
    step = SIDE + 60
    pixels = np.full((SIDE + 120, count * step + 60), 128, np.uint8)
    pictures = drawn_faces.draw(28, seed=1, nuisance=0.5)[0]
    for number in range(count):
        face = Image.fromarray(pictures[FOUND[number]]).resize((SIDE, SIDE), Image.BICUBIC)
        left = 60 + number * step
        pixels[60 : 60 + SIDE, left : left + SIDE] = np.asarray(face)
    return Image.fromarray(pixels).convert("RGB")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, with next to nothing behind it."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


if __name__ == "__main__":
    print(",".join(make(Path(sys.argv[1]))))
