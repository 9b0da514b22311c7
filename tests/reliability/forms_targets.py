"""Trials of the other forms that faces come in: tar, FER+, parquet, pictures to be shrunk. As
faces_targets.py."""

import io
import json
import random
import tarfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from fer_jax.fer2013 import CLASSES, contents, source
from fer_jax.fer2013.classes import Reading
from fer_jax.fer2013.image import decode
from tests.reliability import damages, reading
from tests.reliability.faces_targets import bomb, damage_tree, picture, read, tree
from train_jax.run.errors import UserError


def make_tar(folder: Path):
    def trial(rng):
        files, harmless = tree(rng), True
        if rng.random() < 0.3:
            files, harmless = damage_tree(rng, files), False
        packed, data = rng.random() < 0.6, io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz" if packed else "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            if rng.random() < 0.1:
                harmless = False
                odd = tarfile.TarInfo(rng.choice(("../x.png", "/etc/x", "train/sad/l.png")))
                odd.type = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))
                archive.addfile(odd)
        data = data.getvalue()
        if rng.random() < 0.5:
            data, harmless = damages.damage(rng, data), False
        path = folder / ("a.tar.gz" if packed else "a.tar")
        path.write_bytes(data)
        found = read(path)
        if found is not None:
            named = reading.tar_files(data)
            assert named is not None, "accepted, and damaged"
            assert found == reading.tree_rows(named), "other data than the tar holds"
        assert found is not None or not harmless, "refused for no reason"
        return found is not None

    return trial


def make_ferplus(folder: Path):
    path, beside = folder / "fer2013.csv", folder / "fer2013new.csv"
    rng = random.Random(0)
    rows = [("train" if i < 4 else "PublicTest", i % 7, rng.randbytes(2304)) for i in range(6)]
    lines = ["emotion,pixels,Usage"]
    for split, label, image in rows:
        usage = "Training" if split == "train" else split
        lines.append(f"{label},{' '.join(map(str, image))},{usage}")
    path.write_text("\n".join(lines))

    def trial(rng):
        table, harmless = [["Usage", "Image name", *reading.FERPLUS]], True
        for number, (split, *_) in enumerate(rows):
            votes = ["0"] * 10
            for _ in range(10):
                place = rng.randrange(10) if rng.random() < 0.4 else 0
                votes[place] = str(int(votes[place]) + 1)
            usage = "Training" if split == "train" else split
            table.append([usage, f"fer{number}.png", *rng.sample(votes, 10)])
        if rng.random() < 0.5:
            table, harmless = damages.rows(rng, table), False
        data = "\n".join(",".join(row) for row in table).encode()
        if rng.random() < 0.3:
            data, harmless = damages.damage(rng, data), False
        beside.write_bytes(data)
        try:
            found = contents.read(source.find(path), reading=Reading(labels="ferplus"))
            found = reading.rows_of(found)
        except UserError as error:
            assert str(folder) in str(error) and len(str(error)) < 1500, error
            found = None
        expected = reading.ferplus_rows(data, rows)
        assert found is None or found == expected, "other labels than the file holds"
        assert found == expected or not harmless, "refused for no reason"
        return found is not None

    return trial


def make_parquet(folder: Path):
    import pyarrow
    from pyarrow import parquet

    path = folder / "train-00000-of-00001.parquet"
    about = {"info": {"features": {"label": {"names": sorted(CLASSES), "_type": "ClassLabel"}}}}

    def trial(rng):
        count = rng.choice((1, 3, 5))
        images = [{"bytes": picture(rng), "path": None} for _ in range(count)]
        labels = [rng.randrange(7) for _ in range(count)]
        table = pyarrow.table({"image": images, "label": labels})
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        file = io.BytesIO()
        parquet.write_table(table, file, compression=rng.choice(("none", "snappy", "zstd")))
        data, harmless = file.getvalue(), True
        if rng.random() < 0.7:
            data, harmless = damages.damage(rng, data), False
        path.write_bytes(data)
        found = read(path)
        if found is not None:  # pyarrow is the only reader there is: once more, all at once
            rows = parquet.read_table(path).to_pylist()
            names = json.loads(parquet.read_schema(path).metadata[b"huggingface"])
            names = names["info"]["features"]["label"]["names"]
            expected = [
                (
                    "train",
                    CLASSES.index(names[r["label"]].lower()),
                    reading.face(r["image"]["bytes"]),
                )
                for r in rows
            ]
            assert found == sorted(expected), "other data than the file holds"
        assert found is not None or not harmless, "refused for no reason"
        return found is not None

    return trial


def make_resize(folder: Path):
    def trial(rng):
        side = rng.choice((1, 8, 30, 48, 100))
        kinds = ("PNG", "BMP", "JPEG", "RGB", "RGBA", "P", "1", "LA", "GIF", "WEBP", "TIFF")
        data, changed = picture(rng, side, kinds), rng.random() < 0.8
        if changed:
            data = bomb(rng, data) if rng.random() < 0.3 else damages.damage(rng, data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of what it repairs
                found = decode(data, "a.png", resize=True)
        except UserError as error:
            assert str(error).startswith("a.png: ") and changed, error
            return False
        assert found.shape == (48, 48) and found.dtype == np.uint8
        if not changed and data.startswith((b"\x89PNG", b"BM")):
            with Image.open(io.BytesIO(data)) as image:
                grey = np.asarray(image.convert("RGB").convert("L"), float)
            assert abs(found.mean() - grey.mean()) < 8 or side == 30, "other pixels"
        return True

    return trial
