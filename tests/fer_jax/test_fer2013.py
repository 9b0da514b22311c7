"""FER-2013 from a zip, a folder or a CSV: the same arrays, and a clear error for every mistake."""

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_jax.fer2013 import CLASSES, cache, contents, entries, source
from fer_jax.fer2013.classes import Reading
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]
REAL_ZIP = ROOT.parent / "shared" / "data" / "fer2013" / "archive.zip"


def encode(pixels, format="PNG", mode=None):
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, format)
    return file.getvalue()


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


def sample():
    """[(split, label, u8[48, 48])]: every class in train, in an order that no reader gives back."""
    rows = [("train", seed % 7, pixels(seed)) for seed in range(15)]
    rows += [("PublicTest", seed % 4, pixels(seed)) for seed in range(20, 26)]
    rows += [("PrivateTest", 6, pixels(seed)) for seed in range(30, 33)]
    rows.append(("train", 5, pixels(3)))  # a twin under another label
    return rows


def expected(rows):
    splits = {}
    for split, label, image in sorted(rows, key=lambda row: (row[1], row[2].tobytes())):
        splits.setdefault(split, []).append((label, image))
    return {
        split: (np.stack([image for _, image in found]), [label for label, _ in found])
        for split, found in splits.items()
    }


def damaged_png():
    """The checksum of its pixels, not the pixels, is wrong."""
    data = bytearray(encode(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)))
    place = data.index(b"IDAT")
    data[place + 4 + int.from_bytes(data[place - 4 : place])] ^= 1
    return bytes(data)


def tree(rows, suffix=".png"):
    """{relative path: content} in Kaggle's layout."""
    files = {}
    for number, (split, label, image) in enumerate(rows):
        top, prefix = ("train", "Training") if split == "train" else ("test", split)
        files[f"{top}/{CLASSES[label]}/{prefix}_{number}{suffix}"] = encode(image)
    return files


def write_zip(path, files, top=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return path


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_csv(path, rows, header="emotion, Usage, pixels", newline="\n", bom=""):
    usage = {"train": "Training"}
    lines = [header]
    for split, label, image in rows:
        cells = {
            "emotion": label,
            "usage": usage.get(split, split),
            "pixels": " ".join(map(str, image.ravel())),
        }
        lines.append(",".join(str(cells[name.strip().lower()]) for name in header.split(",")))
    path.write_text(bom + newline.join(lines) + newline, encoding="utf-8", newline="")
    return path


def read(path, **reading):
    return contents.read(source.find(path), reading=Reading(**reading)).splits


def load(path, folder):
    """(splits, SHA-256)"""
    return cache.load(path, folder)[:2]


def assert_splits(splits, rows):
    wanted = expected(rows)
    assert sorted(splits) == sorted(wanted)
    for split, (images, labels) in wanted.items():
        assert splits[split][0].dtype == np.uint8 and splits[split][1].dtype == np.int32
        np.testing.assert_array_equal(splits[split][0], images)
        np.testing.assert_array_equal(splits[split][1], labels)


# The three forms


def test_zip_folder_and_csv_give_the_same_arrays(tmp_path):
    rows = sample()
    assert_splits(read(write_zip(tmp_path / "archive.zip", tree(rows))), rows)
    assert_splits(read(write_zip(tmp_path / "top.zip", tree(rows), top="archive/")), rows)
    assert_splits(read(write_folder(tmp_path / "folder", tree(rows))), rows)
    assert_splits(read(write_csv(tmp_path / "a.csv", rows[::-1])), rows)


@pytest.mark.parametrize(
    "header, newline, bom",
    [
        ("emotion,pixels,Usage", "\n", ""),
        ("emotion, Usage, pixels", "\r\n", "\ufeff"),
        (" pixels,Usage , emotion", "\n", "\ufeff"),
    ],
)
def test_csv_dialects(tmp_path, header, newline, bom):
    rows = sample()
    assert_splits(read(write_csv(tmp_path / "a.csv", rows, header, newline, bom)), rows)


def test_class_ids_are_the_csv_order_not_the_folder_order(tmp_path):
    files = {
        f"train/{name}/Training_{i}.png": encode(pixels(i))
        for i, name in enumerate(sorted(CLASSES))
    }
    images, labels = read(write_folder(tmp_path, files))["train"]
    by_pixels = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [by_pixels[pixels(i).tobytes()] for i in range(7)] == [0, 1, 2, 3, 6, 4, 5]


def test_a_source_may_hold_only_one_split(tmp_path):
    rows = [("PrivateTest", label, pixels(label)) for label in range(3)]
    assert_splits(read(write_zip(tmp_path / "a.zip", tree(rows))), rows)
    assert_splits(read(write_folder(tmp_path / "folder", tree(rows))), rows)
    assert_splits(read(write_csv(tmp_path / "a.csv", rows)), rows)


def test_junk_is_skipped(tmp_path):
    rows = sample()
    junk = {
        "__MACOSX/train/angry/._a.png": b"x",
        "train/.DS_Store": b"x",
        "Thumbs.db": b"x",
        "train/angry/Thumbs.db": b"x",
        "train/sad/._Training_1.png": b"x",
        "LICENCE": b"x",
        "train/.ipynb_checkpoints/a/b.png": b"x",
    }
    files = tree(rows) | junk
    path = write_zip(tmp_path / "a.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        archive.mkdir("train/happy")
    assert_splits(read(path), rows)
    assert_splits(read(write_folder(tmp_path / "folder", files)), rows)


def test_train_files_may_have_any_name_and_ending(tmp_path):
    files = {"train/sad/me.bin": encode(pixels(0)), "train/sad/2.jpg": encode(pixels(1), "BMP")}
    assert_splits(read(write_folder(tmp_path, files)), [("train", 4, pixels(i)) for i in range(2)])


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF"])
def test_rgb_with_equal_channels_is_grey(tmp_path, format):
    rgb = np.repeat(pixels(0)[..., None], 3, axis=2)
    write_folder(tmp_path, {"train/sad/a.png": encode(rgb, format)})
    assert_splits(read(tmp_path), [("train", 4, pixels(0))])


def test_jpeg_is_decoded_as_pillow_does(tmp_path):
    data = encode(pixels(0), "JPEG")
    write_folder(tmp_path, {"train/sad/a.jpg": data})
    assert_splits(read(tmp_path), [("train", 4, np.asarray(Image.open(io.BytesIO(data))))])


# Which source is meant


def test_a_folder_that_holds_one_source_stands_for_it(tmp_path):
    (tmp_path / "zip").mkdir()
    write_zip(tmp_path / "zip" / "archive.zip", tree(sample()))
    write_folder(tmp_path / "dir" / "archive", tree(sample()))
    (tmp_path / "csv").mkdir()
    write_csv(tmp_path / "csv" / "icml_face_data.csv", sample())
    (tmp_path / "csv" / "test.csv").write_text("pixels\n")  # the competition has such next to it
    forms = {name: source.find(tmp_path / name).form for name in ("zip", "dir", "csv")}
    assert forms == {"zip": "zip", "dir": "folder", "csv": "csv"}
    write_csv(tmp_path / "csv" / "fer2013.csv", sample())
    with pytest.raises(UserError, match=r"2 sources.*'fer2013.csv', 'icml_face_data.csv'"):
        source.find(tmp_path / "csv")


def test_one_class_alone_is_named(tmp_path):
    data = write_folder(tmp_path / "data", {"sad/a.png": GOOD})
    for path in (data, tmp_path):  # a folder above it, too
        with pytest.raises(UserError, match="data: holds one class, sad. Expected two or more, in"):
            source.find(path)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: p / "nowhere.zip", r"nowhere\.zip: No such file.*archive\.zip"),
        (lambda p: p, r"wrong layout.*train/<class>.*found at the top: 'angry', 'readme'"),
        (lambda p: p / "readme", r"expected a \.zip, \.tar\.gz, \.csv or \.parquet file or a"),
    ],
)
def test_find_says_what_is_wrong(tmp_path, make, message):
    (tmp_path / "angry").mkdir()
    (tmp_path / "readme").write_text("hello")
    with pytest.raises(UserError, match=message):
        source.find(make(tmp_path))


# Mistakes in a tree of files: the same words for a zip and a folder


GOOD = encode(pixels(0))
FLIPPED = GOOD[:900] + bytes([GOOD[900] ^ 255]) + GOOD[901:]
COLOUR = encode(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
DEEP = encode(pixels(0).astype(np.uint16) * 257)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# Grey, but RGB with 16 bits per channel: Pillow would narrow it to 8 silently.
DEEP_RGB = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 48, 16, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(48 * (1 + 48 * 6))))
    + chunk(b"IEND", b"")
)


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"train/angri/a.png": GOOD},
            r"unknown class folder 'angri' \(did you mean 'angry'\?\)",
        ),
        ({"train/xyz/a.png": GOOD}, r"unknown class folder 'xyz'\. Expected one of angry"),
        ({"train/a.png": GOOD}, r"train/a\.png: wrong layout"),
        ({"train/sad/x/a.png": GOOD}, r"train/sad/x"),
        (
            {"train/sad/a.png": GOOD, "extra/sad/b.png": GOOD},
            r"wrong layout.*found at the top: 'extra', 'train'",
        ),
        (
            {"valid/sad/a.png": GOOD, "validation/sad/b.png": GOOD},
            r"two folders of one split in 'valid', 'validation'",
        ),
        (
            {"test/sad/img_7.png": GOOD, "test/sad/PublicTest_1.png": GOOD},
            r"cannot tell the split of some images in test/",
        ),
        ({"test/sad/Training_7.png": GOOD}, r"Training_7\.png: a Training image in test/"),
        ({"train/sad/PublicTest_7.png": GOOD}, r"PublicTest_7\.png: a PublicTest image in train/"),
        ({"train/sad/privatetest_7.png": GOOD}, r"a PrivateTest image in train/"),
        ({"train/sad/a.png": b"not an image"}, r"a\.png: unreadable image.*12 bytes"),
        ({"train/sad/a.png": b""}, r"a\.png: unreadable image"),
        (
            {"train/sad/a.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)},
            r"a\.jpg: unreadable image.*found HEIC. Convert it to PNG or remove it",
        ),
        ({"train/sad/a.png": damaged_png()}, r"a\.png: damaged image"),
        ({"train/sad/a.png": GOOD[:-12]}, r"a\.png: damaged image"),
        ({"train/sad/a.png": GOOD[:1000]}, r"a\.png: damaged image"),
        ({"train/sad/a.png": FLIPPED}, r"a\.png: damaged image"),
        ({"train/sad/a.png": encode(pixels(0)[:40])}, r"expected 48x48 pixels, found 48x40"),
        ({"train/sad/a.png": DEEP}, r"expected 8 bits"),
        ({"train/sad/a.png": DEEP_RGB}, r"expected 8 bits"),
        ({"train/sad/a.png": encode(pixels(0), mode="1")}, r"expected 8 bits"),
        ({"train/sad/a.png": COLOUR}, r"expected a grey image, found colour.*RGB"),
        ({"train/sad/a.png": encode(pixels(0), mode="LA")}, r"transparency \(mode LA\)"),
        ({"train/sad/a.webp": encode(pixels(0), "TIFF")}, r"unreadable image"),
        ({"train/sad/a.png": GOOD + bytes(10_000_000)}, r"larger than 10,000,000 bytes"),
    ],
)
def test_mistakes_in_files(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read(write_zip(tmp_path / "a.zip", files))
    with pytest.raises(UserError, match=message):
        read(write_folder(tmp_path / "folder", files))


def test_animation_is_refused(tmp_path):
    file = io.BytesIO()
    frames = [Image.fromarray(pixels(i)) for i in range(2)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="expected one picture, found 2 frames"):
        read(write_folder(tmp_path, {"train/sad/a.gif": file.getvalue()}))


def test_empty_sources_are_refused(tmp_path):
    (tmp_path / "folder" / "train").mkdir(parents=True)
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "header.csv").write_text("emotion,pixels,Usage\n")
    for path, message in [
        (write_zip(tmp_path / "a.zip", {}), "holds no image"),
        (tmp_path / "folder", "holds no image"),
        (tmp_path / "empty.csv", "is empty"),
        (tmp_path / "header.csv", "holds no image"),
    ]:
        with pytest.raises(UserError, match=f"{path}: {message}"):
            read(path)


def test_a_loop_of_symbolic_links_ends(tmp_path):
    write_folder(tmp_path, tree(sample()))
    (tmp_path / "train" / "sad" / "loop").symlink_to(tmp_path / "train")
    with pytest.raises(UserError, match="more than 8 folders deep"):
        read(tmp_path)


def test_a_broken_link_is_named(tmp_path):
    write_folder(tmp_path, tree(sample()))
    (tmp_path / "train" / "sad" / "broken.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"broken\.png: cannot be read \(No such file"):
        cache.load(source.find(tmp_path), tmp_path / "cache")


# Mistakes in a zip


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "train/../../a.png",
        "/train/sad/a.png",
        "train\\..\\a.png",
        "C:/train/sad/a.png",
        "__MACOSX/../a.png",
    ],
)
def test_unsafe_zip_names(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", tree(sample()) | {name: GOOD})
    with pytest.raises(UserError, match="unsafe entry"):
        read(path)


def test_zip_with_a_symbolic_link(tmp_path):
    path = write_zip(tmp_path / "a.zip", tree(sample()))
    link = zipfile.ZipInfo("train/sad/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"link\.png' is a symbolic link"):
        read(path)


def test_truncated_and_damaged_zips(tmp_path):
    path = write_zip(tmp_path / "a.zip", tree(sample()))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.zip: not a whole zip file.*download it again"):
        read(path)
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(UserError, match=r"a\.zip: train/angry/Training_0\.png: damaged entry"):
        read(path)
    path.write_bytes(b"hello")
    with pytest.raises(UserError, match="not a whole zip file"):
        read(path)


def test_zip_limits_are_judged_before_anything_is_read(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", tree(sample()))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was read"))
    monkeypatch.setattr(entries, "MAX_ENTRIES", 24)
    with pytest.raises(UserError, match="25 entries, more than 24"):
        read(path)
    monkeypatch.undo()
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was read"))
    monkeypatch.setattr(entries, "MAX_UNPACKED_BYTES", 25 * 2000)
    with pytest.raises(UserError, match="would unpack to more than"):
        read(path)


def test_a_zip_entry_that_lies_about_its_size_is_not_unpacked_whole(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"train/sad/a.png": bytes(50_000_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 2_000)))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.png: damaged entry .*CRC"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # it is cut at MAX_IMAGE_BYTES


def test_the_same_name_twice_in_a_zip(tmp_path):
    path = write_zip(tmp_path / "a.zip", tree(sample()))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/angry/Training_0.png", encode(pixels(99)))
    with pytest.raises(UserError, match="the same name twice"):
        read(path)


def test_a_zip_with_two_csvs_asks_which(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/fer2013.csv": b"", "b/fer2013.csv": b""})
    with pytest.raises(UserError, match=r"holds 'a/fer2013.csv', 'b/fer2013.csv'.*Unpack"):
        read(path)


# Mistakes in a CSV


PIXELS = " ".join(["7"] * 2304)
HEADER = "emotion,pixels,Usage\n"


@pytest.mark.parametrize(
    "text, message",
    [
        (
            f"{HEADER}0,{PIXELS},Training\n0,{PIXELS[:-2]},Training\n",
            r"line 3: expected 2304 pixels \(48x48\), found 2303",
        ),
        (f"{HEADER}0,{PIXELS} 7,Training\n", "line 2: expected 2304 .* found 2305"),
        (f"{HEADER}0,{PIXELS[:-1]}256,Training\n", "line 2: .*integers from 0 to 255, found '256'"),
        (f"{HEADER}0,{PIXELS[:-1]}-1,Training\n", "found '-1'"),
        (f"{HEADER}0,{PIXELS[:-1]}1.5,Training\n", "found '1.5'"),
        (f"{HEADER}0,{PIXELS[:-1]}nan,Training\n", "found 'nan'"),
        (f"{HEADER}7,{PIXELS},Training\n", "line 2: expected an emotion from 0 to 6, found '7'"),
        (f"{HEADER}happy,{PIXELS},Training\n", "found 'happy'"),
        (f"{HEADER}-1,{PIXELS},Training\n", "found '-1'"),
        (
            f"{HEADER}0,{PIXELS},Test\n",
            "expected Usage Training, PublicTest, PrivateTest, found 'Test'",
        ),
        (f"{HEADER}0,{PIXELS}\n", "line 2: expected 3 columns, found 2"),
        (f"{HEADER}0,{PIXELS},Training,x\n", "line 2: expected 3 columns, found 4"),
        (f"emotion,pixels\n0,{PIXELS}\n", "line 1: no column usage.*found .emotion,pixels"),
        (f"0,{PIXELS},Training\n", "line 1: no column emotion, pixels, usage"),
        (f"{HEADER}0,{PIXELS},Training\n\0\0\0\n", "line 3: NUL bytes"),
        (f"{HEADER}0,{PIXELS * 50},Training\n", "line 2: longer than"),
        (f'{HEADER}0,"{PIXELS},Training\n', "not a CSV text"),
        (b"\xff\xfe\x00", "not a CSV text"),
        (b"\x89PNG\r\n\x1a\n", "not a CSV text"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, message):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"fer2013\.csv.*" + message):
        read(path)


def test_number_of_images_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_IMAGES", 24)
    with pytest.raises(UserError, match="more than 24 images"):
        read(write_csv(tmp_path / "a.csv", sample()))


# Hashes and the cache


def test_content_sha256_covers_split_label_and_pixels():
    splits = {"train": (np.stack([pixels(0), pixels(1)]), np.array([0, 1], np.int32))}
    images, labels = splits["train"]
    by_hand = hashlib.sha256(b"train 2\n" + b"\0\0\0\0\1\0\0\0" + images.tobytes()).hexdigest()
    assert contents.content_sha256(splits) == by_hand
    assert contents.content_sha256({"train": (images, labels[::-1])}) != by_hand
    assert contents.content_sha256({"train": (images[::-1], labels)}) != by_hand
    assert contents.content_sha256({"PublicTest": (images, labels)}) != by_hand


def test_prepared_once_then_served_from_the_cache(tmp_path, monkeypatch, capsys):
    rows = sample()
    path = source.find(write_zip(tmp_path / "a.zip", tree(rows)))
    splits, sha256 = load(path, tmp_path / "cache")
    assert_splits(splits, rows)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("a.zip, once: 25 images") == 1

    monkeypatch.setattr(contents, "read", lambda *_: pytest.fail("it was prepared again"))
    splits, again = load(path, tmp_path / "cache")
    assert_splits(splits, rows)
    assert again == sha256 == contents.content_sha256(splits)
    assert capsys.readouterr().err == ""


def test_without_tfds_the_arrays_are_the_same(tmp_path, monkeypatch, capsys):
    path = source.find(write_zip(tmp_path / "a.zip", tree(sample())))
    expected = contents.read(path)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    splits, sha256 = load(path, tmp_path / "cache")
    assert sha256 == expected.sha256 == contents.content_sha256(splits)
    assert_splits(splits, sample())
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and "tensorflow_datasets" in said
    cache.load(path, tmp_path / "cache")
    assert capsys.readouterr().err == ""


def test_the_tfds_data_set_is_one_that_tfds_reads(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    rows = sample()
    path = source.find(write_csv(tmp_path / "a.csv", rows))
    cache.load(path, tmp_path)
    builder = tfds.builder_from_directory(tmp_path / source.key(path)[:16] / "fer2013" / "1.0.0")
    assert builder.info.features["label"].names == list(CLASSES)
    splits = {}
    for split in builder.info.splits:
        data = builder.as_data_source(split=split)
        faces = [data[i] for i in range(len(data))]
        splits[split] = (
            np.stack([face["image"][..., 0] for face in faces]),
            np.array([face["label"] for face in faces], np.int32),
        )
    assert_splits(splits, rows)
    assert "tensorflow" not in sys.modules


def test_three_forms_have_one_content_hash_and_three_keys(tmp_path):
    rows = sample()
    sources = [
        source.find(path)
        for path in (
            write_zip(tmp_path / "a.zip", tree(rows)),
            write_folder(tmp_path / "folder", tree(rows)),
            write_csv(tmp_path / "a.csv", rows),
        )
    ]
    assert len({cache.load(each, tmp_path / "cache")[1] for each in sources}) == 1
    assert len({source.key(each) for each in sources}) == 3


@pytest.mark.parametrize("form", ["zip", "csv", "folder"])
def test_a_changed_source_is_never_served_from_the_old_cache(tmp_path, form):
    def write(rows):
        if form == "csv":
            return write_csv(tmp_path / "a.csv", rows)
        if form == "zip":
            return write_zip(tmp_path / "a.zip", tree(rows))
        return write_folder(tmp_path / "folder", tree(rows))

    rows = sample()
    path = source.find(write(rows))
    cache.load(path, tmp_path / "cache")
    rows[0] = ("train", 0, pixels(0)[::-1])
    write(rows)
    assert_splits(cache.load(path, tmp_path / "cache")[0], rows)


def test_a_folder_is_keyed_by_name_size_and_time(tmp_path):
    path = source.find(write_folder(tmp_path, tree(sample())))
    before = source.key(path)
    file = tmp_path / "train/angry/Training_0.png"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert source.key(path) != before
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.key(path) == before
    file.rename(tmp_path / "train/sad/Training_0.png")
    assert source.key(path) != before


def test_the_key_holds_the_format_version(tmp_path, monkeypatch):
    path = source.find(write_csv(tmp_path / "a.csv", sample()))
    before = source.key(path)
    monkeypatch.setattr(source, "FORMAT", source.FORMAT + 1)
    assert source.key(path) != before


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = source.find(write_csv(tmp_path / "a.csv", sample()))
    whole_read = contents.read

    def read_and_change(*args):
        splits = whole_read(*args)
        write_csv(path.path, sample()[1:])
        return splits

    monkeypatch.setattr(contents, "read", read_and_change)
    with pytest.raises(UserError, match="changed while it was read"):
        cache.load(path, tmp_path / "cache")
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99, "cut", "gone", "other"])
def test_a_damaged_cache_is_noticed_and_prepared_again(tmp_path, place, capsys):
    rows = sample()
    path = source.find(write_csv(tmp_path / "a.csv", rows))
    _, sha256 = load(path, tmp_path / "cache")
    capsys.readouterr()
    file = tmp_path / "cache" / source.key(path)[:16] / "arrays.npz"
    data = bytearray(file.read_bytes())
    if place == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif place == "gone":
        file.unlink()
    elif place == "other":  # whole, but not what was prepared from this source
        with np.load(file) as arrays:
            np.savez(file, **{**arrays, "key": "f" * 64})
    else:
        data[int(place * len(data))] ^= 1
        file.write_bytes(data)
    splits, again = load(path, tmp_path / "cache")
    assert_splits(splits, rows)
    assert again == sha256
    if "is damaged" not in capsys.readouterr().err:
        assert place in (0.0, 0.99)  # a byte of the zip's own directory that carries no data


def test_arrays_changed_behind_a_good_crc_are_noticed(tmp_path, capsys):
    path = source.find(write_csv(tmp_path / "a.csv", sample()))
    cache.load(path, tmp_path / "cache")
    file = tmp_path / "cache" / source.key(path)[:16] / "arrays.npz"
    with np.load(file) as arrays:
        changed = dict(arrays)
    changed["train_labels"] = changed["train_labels"][::-1]
    np.savez(file, **changed)
    assert_splits(cache.load(path, tmp_path / "cache")[0], sample())
    assert "SHA-256" in capsys.readouterr().err


LOAD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from fer_jax.fer2013 import cache, source
if sys.argv[4:] == ['die']:
    from fer_jax.fer2013 import builder
    def die(self, images, labels):
        yield 0, {'image': images[0][..., None], 'label': 0}
        os._exit(9)
    builder.Fer2013._generate_examples = die
print(cache.load(source.find(sys.argv[1]), Path(sys.argv[2]))[1])
"""


def start(path, directory, *args):
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, path, directory, ROOT, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_preparation_leaves_nothing_that_counts(tmp_path):
    pytest.importorskip("tensorflow_datasets")  # the kill comes while it writes
    path = write_csv(tmp_path / "a.csv", sample())
    killed = start(path, tmp_path / "cache", "die")
    killed.communicate()
    assert killed.returncode == 9
    assert sorted(os.listdir(tmp_path / "cache")) == [".lock", "preparing"]
    assert_splits(cache.load(source.find(path), tmp_path / "cache")[0], sample())
    assert "preparing" not in os.listdir(tmp_path / "cache")


def test_whole_leftovers_of_another_source_are_not_taken_over(tmp_path):
    other = source.find(write_csv(tmp_path / "other.csv", sample()[3:]))
    cache.load(other, tmp_path / "cache")
    (tmp_path / "cache" / source.key(other)[:16]).rename(tmp_path / "cache" / "preparing")
    path = source.find(write_csv(tmp_path / "a.csv", sample()))
    assert_splits(cache.load(path, tmp_path / "cache")[0], sample())


def test_processes_that_prepare_at_once_agree(tmp_path):
    path = write_csv(tmp_path / "a.csv", sample())
    processes = [start(path, tmp_path / "cache") for _ in range(3)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert {output for output, _ in outputs} == {contents.content_sha256(read(path)) + "\n"}
    assert sum("preparing" in errors for _, errors in outputs) == 1
    assert sorted(os.listdir(tmp_path / "cache")) == [".lock", source.key(source.find(path))[:16]]


def test_mistakes_come_through_the_builder_unchanged(tmp_path):
    path = source.find(write_folder(tmp_path / "folder", {"train/sad/a.png": b"x"}))
    with pytest.raises(UserError, match=r"a\.png: unreadable image"):
        cache.load(path, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == [".lock"]


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    path = source.find(write_csv(tmp_path / "a.csv", sample()))
    with pytest.raises(UserError, match="cannot be prepared there"):
        cache.load(path, tmp_path / "file" / "cache")


@pytest.mark.slow
def test_the_real_zip_in_three_forms(tmp_path):
    if not REAL_ZIP.exists():
        pytest.skip(f"{REAL_ZIP} is not there")
    with zipfile.ZipFile(REAL_ZIP) as archive:
        archive.extractall(tmp_path / "folder")
    rows = [
        (face.split, face.label, face.image)
        for face in source.faces(source.Source("zip", REAL_ZIP))
    ]
    write_csv(tmp_path / "fer2013.csv", rows)
    found = [
        cache.load(source.find(path), tmp_path / "cache")
        for path in (REAL_ZIP, tmp_path / "folder", tmp_path / "fer2013.csv")
    ]
    assert len({sha256 for sha256 in (each.sha256 for each in found)}) == 1
    counts = {split: np.bincount(labels).tolist() for split, (_, labels) in found[0][0].items()}
    assert counts["train"] == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert counts["PublicTest"] == [467, 56, 496, 895, 653, 415, 607]
