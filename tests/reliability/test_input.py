"""Input that is wrong in a way no single row shows, and files made to exhaust the machine."""

import bz2
import functools
import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import fer_base
from fer_jax.fer2013 import CLASSES, contents, entries, meaning, source
from fer_jax.predict import images
from seq_jax import columns, corpus, sources, text, translate
from train_jax import settings
from train_jax.run import weights, workdir
from train_jax.run.errors import UserError
from train_jax.run.files import write_manifest

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "PublicTest", "PrivateTest")


def faces(counts, *, distinct=7):
    """(images, labels) with as many of each class; few different images, each of one class."""
    labels = np.repeat(np.arange(7), counts).astype(np.int32)
    kinds = np.random.default_rng(0).integers(0, 256, (distinct, 48, 48), dtype=np.uint8)
    return kinds[labels % distinct], labels


# labels that mean something else


@pytest.mark.parametrize("split", SPLITS)
def test_the_counts_of_fer2013_are_accepted_in_their_order_only(split, tmp_path):
    images, labels = faces(meaning.COUNTS[split])
    meaning.check({split: (images, labels)}, tmp_path)
    folders = sorted(CLASSES)  # the order of Kaggle's folders, the classic mistake
    alphabetical = np.array([folders.index(name) for name in CLASSES])
    for name, order in {
        "alphabetical": alphabetical,
        "one too high": (np.arange(7) + 1) % 7,
        "two exchanged": np.array([0, 1, 2, 3, 6, 5, 4]),
    }.items():
        with pytest.raises(UserError, match="another order") as caught:
            meaning.check({split: (images, order[labels].astype(np.int32))}, tmp_path)
        assert f"The {split} images" in str(caught.value), name


def test_other_counts_say_nothing(tmp_path):
    images, labels = faces([40, 4, 41, 72, 48, 31, 49])
    meaning.check({"train": (images, labels)}, tmp_path)
    meaning.check({"train": (images, (labels + 1) % 7)}, tmp_path)  # a data set of one's own


def twins(count, agreeing, seed=0):
    """`count` pairs of identical images, of which `agreeing` have the same label."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    labels = rng.integers(0, 7, count)
    second = (labels + (np.arange(count) >= agreeing)) % 7
    order = rng.permutation(2 * count)
    return np.concatenate([images, images])[order], np.concatenate([labels, second])[order]


@pytest.mark.parametrize(
    "count, agreeing, refused",
    [(29, 0, False), (30, 14, True), (30, 15, False), (400, 70, True), (400, 380, False)],
)
def test_labels_of_other_images_are_seen_by_the_twins(count, agreeing, refused, tmp_path):
    images, labels = twins(count, agreeing)
    half = count  # across splits too
    splits = {"train": (images[:half], labels[:half]), "PublicTest": (images[half:], labels[half:])}
    if refused:
        with pytest.raises(UserError, match=f"{count} images occur again.*only {agreeing} of"):
            meaning.check(splits, tmp_path)
    else:
        meaning.check(splits, tmp_path)


def write_csv(path, images, labels):
    rows = ["emotion,pixels,Usage"]
    for image, label in zip(images, labels, strict=True):
        rows.append(f"{label},{' '.join(map(str, image.ravel()))},Training")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_label_column_that_was_moved_by_a_row_is_refused(tmp_path):
    images, labels = twins(60, 58)
    contents.read(source.find(write_csv(tmp_path / "right.csv", images, labels)))
    path = write_csv(tmp_path / "moved.csv", images, np.roll(labels, 1))
    with pytest.raises(UserError, match="moved.csv: the labels do not belong to the images"):
        contents.read(source.find(path))


def test_labels_from_1_to_7_are_refused(tmp_path):
    images, labels = twins(20, 20)
    path = write_csv(tmp_path / "a.csv", images, labels + 1)
    with pytest.raises(UserError, match="expected an emotion from 0 to 6, found '7'"):
        contents.read(source.find(path))


def test_a_column_twice_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    pixels = " ".join(["7"] * 2304)
    path.write_text(f"emotion,pixels,Usage,Emotion \n0,{pixels},Training,1\n")
    with pytest.raises(UserError, match="line 1: two columns emotion"):
        contents.read(source.find(path))


# memory


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(call, words):
    with pytest.raises(UserError, match=words):
        call()


def refused_source(path, words):
    refused(lambda: contents.read(source.find(path)), words)


def test_a_zip_packed_by_a_method_that_unpacks_whole_is_refused(tmp_path):
    """60 bytes of bzip2 become 60 MB in one call of zipfile, whatever the directory states."""
    path, name = tmp_path / "a.zip", "train/sad/a.png"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(name, b"x" * 1000)
    packed = bz2.compress(bytes(60_000_000))
    size = len(packed)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 46, 0, 12, 0, 0, 0, size, 1000, len(name), 0)
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 46, 46, 0, 12, 0, 0, 0, size, 1000, len(name), *[0] * 6
    )
    body = local + name.encode() + packed
    directory = entry + name.encode()
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    refusal = functools.partial(refused_source, path, "packed by method 12. Expected deflate")
    assert peak_of(refusal) < 5e6


def test_a_zip_with_a_huge_directory_is_refused_before_it_is_read(tmp_path):
    """400,000 entries without a name: zipfile makes objects of 200 MB of them before they can be
    counted."""
    path = tmp_path / "a.zip"
    directory = (b"PK\1\2" + bytes(42)) * 400_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    path.write_bytes(directory + end)
    words = r"a\.zip: not a whole zip file \(its list of entries has 18,400,000 bytes"
    assert peak_of(functools.partial(refused_source, path, words)) < 5e6
    assert entries.MAX_ENTRIES * 80 <= entries.MAX_READ_BYTES  # what is allowed is readable


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    for name in ("fer2013.csv", "a.zip", "kan.txt", "folder/train/sad/a.png", "w/model.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("fer2013.csv", "a.zip", "zero.csv"):
        refused(lambda name=name: source.find(tmp_path / name), f"{name}: not a regular file")
    refused(
        lambda: contents.read(source.find(tmp_path / "folder")), r"sad/a\.png: not a regular file"
    )
    refused(
        lambda: list(corpus.read(corpus.find(tmp_path / "kan.txt"))), "kan.txt: not a regular file"
    )
    refused(lambda: weights.load(tmp_path / "w"), "model.json: 0 bytes, or no regular file")


def test_weights_of_many_gigabytes_are_not_read(tmp_path):
    for name, size in {"model.json": 17 << 20, "model.safetensors": 5 << 30}.items():
        (tmp_path / "model.json").write_text('{"format": 1}')
        write_manifest(tmp_path)
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
        load = functools.partial(weights.load, tmp_path)
        assert peak_of(functools.partial(refused, load, f"{name}: {size:,} bytes")) < 1e6


def test_sentences_to_translate_are_bounded(tmp_path, monkeypatch):
    refused(lambda: translate.read_lines("/dev/zero"), "/dev/zero: more than 67,108,864 bytes")
    monkeypatch.setattr(translate, "MAX_BYTES", 5)
    stdin = type("stdin", (), {"buffer": io.BytesIO(b"abcdef")})
    monkeypatch.setattr("sys.stdin", stdin)
    refused(lambda: translate.read_lines("-"), "stdin: more than 5 bytes")
    (tmp_path / "a.txt").write_text("abcd\n")
    assert translate.read_lines(str(tmp_path / "a.txt")) == ["abcd"]


def launch(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT, env=os.environ | environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True,
        text=True, errors="surrogateescape", timeout=300,
    )  # fmt: skip


def test_a_model_larger_than_the_memory_is_one_line(tmp_path):
    result = launch(
        "--config=configs/seq_rnn.py", f"--workdir={tmp_path}", f"--config.model.dense={10**12}"
    )
    assert result.returncode == 2 and result.stderr.startswith("error: out of memory. Lower the")
    assert len(result.stderr.splitlines()) == 1


def test_a_file_name_that_is_no_unicode_is_no_traceback(tmp_path):
    name = os.fsdecode(b"\xff.png")
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / name)
    result = launch(
        "--mode=predict", f"--inputs={tmp_path / name}", f"--workdir={tmp_path / 'out'}",
        "--config.predict.detector=none", PYTHONIOENCODING="utf-8:strict",
    )  # fmt: skip
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "\\udcff.png: " in result.stdout


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_that_jax_would_cut_is_refused(seed, tmp_path):
    """jax.random.key(2**32) is that of 0."""
    config = fer_base.get_config()
    config.train.seed = seed
    refused(lambda: settings.of_config(config), r"config.train.seed must be in \[0, 2\*\*32\)")


# JSON and names


@pytest.mark.parametrize(
    "written",
    ["[" * 100_000, "[" * 60 + "]" * 60, '["\\ud800"]', "9" * 5000, b"\xff\xfe\xff", b"\xff"],
)
def test_json_that_breaks_programs_is_refused(written, tmp_path):
    raw = written.encode() if isinstance(written, str) else written
    (tmp_path / "model.json").write_bytes(raw)
    write_manifest(tmp_path)
    refused(lambda: weights.load(tmp_path), "model.json: (not JSON|expected a JSON object)")
    (tmp_path / "config.json").write_bytes(raw)
    refused(lambda: workdir.read_config(tmp_path), "config.json is not a config")
    if isinstance(written, str):
        refused(lambda: text.from_json(written, "words.json"), "words.json: not a vocabulary")
        if raw.startswith(b"["):
            lines = iter([written])
            found = columns.pairs(lines, "jsonl", path="a", languages=("en", "kn"), columns=())
            refused(lambda: list(found), "a line 1: (not JSON|expected an object)")


@pytest.mark.parametrize(
    "field, value", [("tokens", "7"), ("tokens", 0), ("tokens", 10**9), ("target_sha256", None)]
)
def test_a_damaged_identity_of_a_run_is_refused(field, value, tmp_path):
    identity = {"tokens": 7, "source_sha256": "a", "target_sha256": "b"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": {}, "identity": identity}))
    assert sources.read_identity(tmp_path) == identity
    file.write_text(json.dumps({"config": {}, "identity": identity | {field: value}}))
    refused(lambda: sources.read_identity(tmp_path), f"identity.{field} is .*, expected")


@pytest.mark.parametrize("content", [{"config": 3, "identity": {}}, {"config": {}, "identity": 3}])
def test_a_config_of_a_run_that_is_none(content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    refused(lambda: workdir.read_config(tmp_path), "config.json is not a config")


def test_a_home_that_is_not_there_is_no_traceback():
    name = "~nobody_of_this_name/x"
    refused(lambda: source.find(name), "No such file")
    refused(lambda: corpus.find(name), "No such file")
    refused(lambda: translate.read_lines(name), "cannot be read")
    (found,) = images.read([name], max_pixels=9, every=1, max_frames=0)
    assert found.reason == "no such file"


def test_a_word_with_a_slash_is_a_sentence_and_a_missing_file_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert translate.read_lines("and/or") == ["and/or"]
    assert translate.read_lines("he/she") == ["he/she"]
    (tmp_path / "folder").mkdir()
    for name in ("folder/lines", "./lines", str(tmp_path / "lines"), "and/or.txt"):
        refused(lambda name=name: translate.read_lines(name), "cannot be read")
