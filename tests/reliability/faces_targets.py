"""Trials of what reads faces: CSV, zip, folder, photographs. Each makes a file, damages it, reads.

`make_*(folder)` returns `trial(rng)`, which returns whether the file was accepted, and fails with
an AssertionError if that was wrong.
"""

import io
import os
import random
import re
import shutil
import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_jax.fer2013 import CLASSES, contents, source
from fer_jax.predict import images
from tests.reliability import damages, reading
from train_jax.run.errors import UserError

MAX_PIXELS = 1_000_000


def read(path, told=None) -> reading.Rows | None:
    """What the source holds, or None; `told` is a list that gets what is said of it."""
    try:
        found = contents.read(source.find(path))
        if told is not None:
            told += found.notes
        return reading.rows_of(found)
    except UserError as error:
        assert str(path) in str(error) and len(str(error)) < 1500, error
        return None


def picture(rng, side=48, kinds=("PNG", "PNG", "BMP", "JPEG", "RGB", "GIF")) -> bytes:
    pixels = np.frombuffer(rng.randbytes(side * side), np.uint8).reshape(side, side)
    kind, file = rng.choice(kinds), io.BytesIO()
    image = Image.fromarray(pixels)
    if kind in ("RGB", "RGBA", "P", "1", "LA"):
        image, kind = image.convert(kind), "PNG"
    if kind == "16":
        image, kind = Image.fromarray(pixels.astype(np.uint16) * 257), "PNG"
    image.save(file, kind)
    return file.getvalue()


def make_csv(folder: Path):
    path = folder / "fer2013.csv"
    table = [["emotion", "pixels", "Usage"]]
    rng = random.Random(0)
    for number in range(4):
        usage = ("Training", "Training", "PublicTest", "PrivateTest")[number]
        table.append([str(rng.randrange(7)), " ".join(map(str, rng.randbytes(2304))), usage])

    def trial(rng):
        damaged, harmless = [list(row) for row in table], True
        if rng.random() < 0.7:
            damaged[1:] = rng.sample(damaged[1:], len(damaged) - 1)
            order = rng.sample(range(3), 3)
            damaged = [[row[column] for column in order] for row in damaged]
        if rng.random() < 0.4:
            damaged, harmless = damages.rows(rng, damaged), False
        if rng.random() < 0.3:
            row = rng.choice(damaged or [[""]])
            for column, cell in enumerate(row):
                numbers = cell.split(" ")
                numbers[rng.randrange(len(numbers))] = rng.choice(damages.NUMBERS)
                if len(numbers) > 9:
                    row[column] = " ".join(numbers)
            harmless = False
        text = "\n".join(",".join(row) for row in damaged) + "\n" * (rng.random() < 0.5)
        data = text.encode()
        if rng.random() < 0.3:
            data, harmless = damages.encode(rng, text), False
        if rng.random() < 0.4:
            ends = data.replace(b"\n", rng.choice((b"\r\n", b"\n\n", b"\r")))
            data = b"\xef\xbb\xbf" * (not data.startswith(b"\xff")) + ends
        if rng.random() < 0.5:
            data, harmless = damages.damage(rng, data), False
        path.write_bytes(data)
        found, expected = read(path), reading.csv_rows(data)
        assert found is None or found == expected, "other data than the file holds"
        assert found == expected or not harmless, "refused for no reason"
        return found is not None

    return trial


def tree(rng) -> dict[str, bytes]:
    """A layout of train/ and test/, as Kaggle has it; or of one test split, of validation/; or one
    folder of classes; each in a folder or not."""
    kind, above = rng.random(), rng.choice(("", "", "", "faces/", "a/b/"))
    if kind < 0.6:
        return {above + name: data for name, data in kaggle_tree(rng).items()}
    tops = rng.choice((("train/", "test/"), ("Train/", "validation/"), ("",), ("test/",)))
    files = {}
    for number in range(rng.choice((3, 4, 6))):
        label = rng.choice(rng.sample(CLASSES, 2))
        label = label if rng.random() < 0.8 else label.title()
        files[f"{above}{rng.choice(tops)}{label}/im{number}.png"] = picture(rng)
    return files


def kaggle_tree(rng) -> dict[str, bytes]:
    files = {}
    for number in range(rng.choice((3, 4, 6))):
        split = rng.choice(("Training", "Training", "PublicTest", "PrivateTest"))
        top = "train" if split == "Training" else "test"
        files[f"{top}/{rng.choice(CLASSES)}/{split}_{number}.png"] = picture(rng)
    return files


def damage_tree(rng, files: dict[str, bytes]) -> dict[str, bytes]:
    files, name = dict(files), rng.choice(sorted(files))
    *_, top, label, last = ["", *name.split("/")]
    kind = rng.choice(("content", "content", "other size", "lose", "place", "junk"))
    if kind == "content":
        files[name] = damages.damage(rng, files[name])
    elif kind == "other size":
        side = rng.choice((1, 47, 49, 96))
        kinds = ("PNG", "JPEG") if side != 48 else ("16", "RGBA", "P", "1", "LA")
        files[name] = picture(rng, side, kinds)
    elif kind == "lose":
        del files[name]
    elif kind == "junk":
        place = rng.choice((
            ".DS_Store", f"{top}/.x", f"{top}/{label}/._{last}", "LICENCE", f"{top}/thumbs.db",
            f"{top}/{label}/{last}:Zone.Identifier", f"{top}/@eaDir/x.png",
        ))  # fmt: skip
        files[place.lstrip("/")] = b"x"
    else:
        other = rng.choice(CLASSES)
        place = rng.choice((
            f"{top}/{other}/{last}", f"{top}/{label.upper()}/{last}", f"{top}/{last}",
            f"{'train' if top == 'test' else 'test'}/{label}/{last}", f"{top}/{label}/x/{last}",
            f"valid/{label}/{last}", f"{label}/{last}", f"{top}/{label}/im1.png", f"a/b/{name}",
            f"{top}/{label}s/{last}", f"{top}/{label}/é ಮುಖ.png",
        ))  # fmt: skip
        files[place.lstrip("/")] = files.pop(name)  # not "/x", which is no part of the folder
    return files


def make_folder(folder: Path):
    root = folder / "folder"

    def trial(rng):
        shutil.rmtree(root, ignore_errors=True)
        files, harmless = tree(rng), rng.random() < 0.1
        files = files if harmless else damage_tree(rng, files)
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        odd = rng.random()
        if odd < 0.05 and (root / "train").is_dir():
            special(rng, root / "train")
            files = {"train/sad/special": b""}  # must not be accepted
        found = read(root, told := [])
        expected = reading.tree_rows(files)
        fine = found is None or found == expected or "also there, and not read" in str(told)
        assert fine, "other data than the files hold"
        assert found is not None or not harmless or odd < 0.05, "refused for no reason"
        return found is not None

    return trial


def special(rng, folder):
    (folder / "sad").mkdir(exist_ok=True)
    path = folder / "sad" / "special"
    kind = rng.randrange(4)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to("/dev/zero")
    elif kind == 2:
        path.symlink_to(path)
    else:
        path.symlink_to(folder)


def make_zip(folder: Path):
    path = folder / "archive.zip"

    def trial(rng):
        files, harmless = tree(rng), True
        if rng.random() < 0.3:
            files, harmless = damage_tree(rng, files), False
        top = ""
        if rng.random() < 0.3:
            top = rng.choice(("archive/", "./", "__MACOSX/", "train/", "../", "/", "C:\\"))
        harmless &= top in ("", "archive/")
        method = rng.choice((0, *[8] * 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        harmless &= method in (0, 8)
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(top + name, data)
            if rng.random() < 0.1:
                harmless = False
                odd_entry(rng, archive)
        data = path.read_bytes()
        if rng.random() < 0.5:
            data, harmless = damages.damage(rng, data), False
        elif rng.random() < 0.4:
            data, harmless = lie(rng, data), False
        path.write_bytes(data)
        found = read(path)
        if found is not None:
            expected = reading.tree_rows(reading.zip_files(data))
            assert found == expected, "other data than the zip holds"
        assert found is not None or not harmless, "refused for no reason"
        return found is not None

    return trial


def odd_entry(rng, archive):
    name = rng.choice(("../x.png", "train/sad/../../x", "/etc/x", "train/sad/l.png", "a\\..\\b"))
    info = zipfile.ZipInfo(name)
    info.compress_type = archive.compression
    if rng.random() < 0.5:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, bytes(rng.choice((10, 20_000_000))))


def lie(rng, data: bytes) -> bytes:
    """Another value in one field of one entry of the central directory, or of its end."""
    data = bytearray(data)
    places = [found.start() for found in re.finditer(b"PK\1\2", data)]
    end = data.rfind(b"PK\5\6")
    field = rng.choice((8, 10, 16, 20, 24, 28, 30, 34, 38, 42, "end"))
    place = end + rng.choice((4, 8, 10, 12, 16)) if field == "end" else rng.choice(places) + field
    value = rng.choice((0, 1, 12, 14, 1000, 2**16 - 1, 2**31, 2**32 - 1))
    struct.pack_into("<H", data, place, value & 0xFFFF)
    if rng.random() < 0.5 and place + 4 <= len(data):
        struct.pack_into("<I", data, place, value)
    return bytes(data)


def make_photo(folder: Path):
    def trial(rng):
        side = rng.choice((1, 8, 30, 48))
        kinds = ("PNG", "BMP", "JPEG", "RGB", "RGBA", "P", "1", "LA", "16", "GIF", "WEBP", "AVIF",
                 "TIFF")  # fmt: skip
        data = picture(rng, side, kinds)
        changed = rng.random() < 0.9
        if changed:
            data = bomb(rng, data) if rng.random() < 0.3 else damages.damage(rng, data)
        path = folder / rng.choice(("a.png", "b.jpg", "c.gif", "d.tif", "e"))
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found, *others = images.read([str(path)], max_pixels=MAX_PIXELS, every=1, max_frames=0)
        assert (found.pixels is None) == bool(found.reason)
        assert not others or found.moving  # with other brands an AVIF is a video
        assert changed or found.pixels is not None, "refused for no reason"
        if found.pixels is not None:
            check_picture(found.pixels, data)
        return found.pixels is not None

    return trial


def check_picture(pixels, data):
    """Against OpenCV, where both mean the same: it makes no white of what is transparent."""
    height, width, channels = pixels.shape
    assert channels == 3 and pixels.dtype == np.uint8 and height * width <= MAX_PIXELS
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if other is None or other.dtype != np.uint8 or (other.ndim == 3 and other.shape[2] != 3):
        return
    other = cv2.cvtColor(other, cv2.COLOR_GRAY2BGR) if other.ndim == 2 else other
    if data.startswith(b"\x89PNG") and b"tRNS" not in data and b"eXIf" not in data:
        assert pixels.shape == other.shape and (pixels == other[..., ::-1]).all(), "other pixels"


def bomb(rng, data: bytes) -> bytes:
    """Another size in the header, with a checksum that agrees."""
    width, height = rng.choice(
        ((20_000, 20_000), (2**31 - 1, 2), (33_000, 1), (0, 5), (1001, 1000))
    )
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data.startswith(b"BM"):
        return data[:18] + struct.pack("<ii", width, rng.choice((height, -height))) + data[26:]
    if data.startswith(b"GIF"):
        return data[:6] + struct.pack("<HH", width & 0xFFFF, height & 0xFFFF) + data[10:]
    place = data.find(b"\xff\xc0")
    size = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    return data[: place + 5] + size + data[place + 9 :]
