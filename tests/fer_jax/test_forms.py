"""FER-2013 as it is passed around: one test split, validation/, tar.gz, CSV in an archive, parquet,
a folder deeper, FER+; and what is told about each."""

import gzip
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from fer_jax import data
from fer_jax.fer2013 import CLASSES, cache, contents, meaning, source
from fer_jax.fer2013.classes import Reading
from tests.fer_jax.test_fer2013 import (
    GOOD,
    assert_splits,
    encode,
    pixels,
    read,
    sample,
    tree,
    write_csv,
    write_folder,
    write_zip,
)
from train_jax.run.errors import UserError


def write_tar(path, files, top="", mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def csv_bytes(tmp_path, rows, **kwargs):
    return write_csv(tmp_path / "rows.csv", rows, **kwargs).read_bytes()


def plain_tree(rows):
    """As `tree`, with names that tell nothing: test/sad/im3.png, validation/..."""
    tops = {"train": "train", "valid": "validation", "test": "test"}
    return {
        f"{tops[split]}/{CLASSES[label]}/im{number}.png": encode(image)
        for number, (split, label, image) in enumerate(rows)
    }


def rows_of(*splits):
    return [(split, seed % 7, pixels(seed)) for seed, split in enumerate(splits * 8)]


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "valid"), ("test",)])
def test_splits_whose_files_have_any_name(tmp_path, splits):
    rows = rows_of(*splits)
    assert_splits(read(write_folder(tmp_path / "folder", plain_tree(rows))), rows)
    assert_splits(read(write_zip(tmp_path / "a.zip", plain_tree(rows))), rows)
    assert_splits(read(write_tar(tmp_path / "a.tar.gz", plain_tree(rows))), rows)


@pytest.mark.parametrize("top", ["", "images/", "a/b/"])
def test_a_tar_and_what_lies_deeper(tmp_path, top):
    rows = sample()
    files = {top + name: content for name, content in tree(rows).items()}
    assert_splits(read(write_tar(tmp_path / "a.tar.gz", files)), rows)
    assert_splits(read(write_tar(tmp_path / "a.tar", files, mode="w")), rows)
    assert_splits(read(write_zip(tmp_path / "a.zip", files)), rows)
    assert_splits(read(write_folder(tmp_path / "folder", files)), rows)


def test_a_zip_with_a_readme_beside_its_one_folder(tmp_path):
    rows = sample()
    files = {f"archive/{name}": content for name, content in tree(rows).items()}
    path = write_zip(tmp_path / "a.zip", files | {"README.txt": b"hello"})
    found = contents.read(source.find(path))
    assert_splits(found.splits, rows)
    assert found.notes == (f"{path}: not in the folder of a class, left out: 'README.txt'.",)


def test_junk_in_any_case_of_letters(tmp_path):
    rows = sample()
    names = (
        "thumbs.db",
        "DESKTOP.INI",
        "x.jpg:Zone.Identifier",
        "@eaDir/x.png",
        "a.png:zone.identifier",
    )
    files = tree(rows) | {f"train/sad/{name}": b"junk" for name in names}
    assert_splits(read(write_zip(tmp_path / "a.zip", files)), rows)
    assert_splits(read(write_folder(tmp_path / "folder", files)), rows)


@pytest.mark.parametrize("place", ["fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv"])
def test_a_csv_in_an_archive(tmp_path, place):
    rows = sample()
    files = {place: csv_bytes(tmp_path, rows), "fer2013/README": b"hello", "test.csv": b"pixels\n"}
    assert_splits(read(write_zip(tmp_path / "a.zip", files)), rows)
    assert_splits(read(write_tar(tmp_path / "fer2013.tar.gz", files)), rows)


def test_the_train_csv_of_the_competition(tmp_path):
    rows = [("train", label, pixels(label)) for label in range(7)]
    path = write_csv(tmp_path / "train.csv", rows, header="emotion,pixels")
    assert_splits(read(path), rows)
    (tmp_path / "test.csv").write_text("pixels\n")
    assert source.find(tmp_path) == source.Source("csv", path, ("test.csv",))
    whole = write_csv(tmp_path / "icml_face_data.csv", sample())
    assert source.find(tmp_path).path == whole  # which has those rows, too
    with pytest.raises(UserError, match="no column usage"):
        read(write_csv(tmp_path / "other.csv", rows, header="emotion,pixels"))


def test_semicolons_are_named(tmp_path):
    text = csv_bytes(tmp_path, sample()).replace(b",", b";")
    (tmp_path / "fer2013.csv").write_bytes(text)
    with pytest.raises(UserError, match=r"line 1: no column .*separated by ';'"):
        read(tmp_path / "fer2013.csv")


def test_up_to_ten_damaged_images_are_named_together(tmp_path):
    files = {f"train/sad/{number:02d}.png": GOOD for number in range(20)}
    bad = [f"train/sad/{number:02d}.png" for number in (3, 7, 11)]
    path = write_zip(tmp_path / "a.zip", files | dict.fromkeys(bad, b"no image"))
    with pytest.raises(UserError, match="3 images:\n") as found:
        read(path)
    assert all(str(found.value).count(f"{name}: unreadable image") == 1 for name in bad)
    with pytest.raises(UserError, match="10 images, and maybe more:\n") as found:
        read(write_zip(tmp_path / "b.zip", dict.fromkeys(files, b"no image")))
    assert str(found.value).count("unreadable image") == 10


# Damage to a tar


def test_truncated_and_damaged_tars(tmp_path):
    files = tree(sample())
    plain = write_tar(tmp_path / "a.tar", files, mode="w").read_bytes()
    end = max(plain.rfind(encode(image)) for _, _, image in sample())
    for place in (0, 100, len(plain) // 2 // 512 * 512 + 100, end):
        for content in (plain[:place], plain[: max(place // 512 * 512, 512)]):
            (tmp_path / "a.tar").write_bytes(content)
            with pytest.raises(UserError, match=r"a\.tar: (not a whole tar|.*damaged)"):
                read(tmp_path / "a.tar")
    header = plain.index(b"train/", 600)  # of the second entry or a later one
    (tmp_path / "a.tar").write_bytes(plain[:header] + b"X" + plain[header + 1 :])
    with pytest.raises(UserError, match="not a whole tar file.*and not the end"):
        read(tmp_path / "a.tar")
    packed = gzip.compress(plain)
    for content in (packed[: len(packed) // 2], packed[:-6] + b"\0" + packed[-5:]):
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.tar\.gz: not a whole tar file"):
            read(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_device(tmp_path, kind):
    info = tarfile.TarInfo("train/sad/link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(info)
    with pytest.raises(UserError, match=r"link\.png' is a link or a device"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["../a.png", "/train/sad/a.png", "train/../../a.png"])
def test_unsafe_names_in_a_tar(tmp_path, name):
    with pytest.raises(UserError, match="unsafe entry"):
        read(write_tar(tmp_path / "a.tar", tree(sample()) | {name: GOOD}, mode="w"))


def test_a_tar_header_that_claims_much_is_not_believed(tmp_path):
    info = tarfile.TarInfo("train/sad/a.png")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30  # tarfile would read so much at once
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(10_000))
    with pytest.raises(UserError, match="not a whole tar file"):
        read(tmp_path / "a.tar")


# Hugging Face


def write_parquet(path, rows, names=CLASSES, label=None, about=True):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": encode(image), "path": None} for _, _, image in rows]
    labels = [label(row[1]) if label else sorted(names).index(names[row[1]]) for row in rows]
    features = {"label": {"names": sorted(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if about else None
    table = pyarrow.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path


def test_parquet_goes_by_the_names_of_its_labels(tmp_path):
    rows = rows_of("train", "valid", "test")
    for split in ("train", "valid", "test"):
        name = {"valid": "validation"}.get(split, split)
        part = [row for row in rows if row[0] == split]
        write_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet", part)
    assert_splits(read(tmp_path), rows)  # their numbers are alphabetical there, ours are not
    with_names = write_parquet(
        tmp_path / "train.parquet",
        rows_of("train"),
        label=lambda i: CLASSES[i].title(),
        about=False,
    )
    assert_splits(read(with_names), rows_of("train"))


def test_parquet_without_names_of_its_labels_is_refused(tmp_path):
    path = write_parquet(tmp_path / "train.parquet", rows_of("train"), about=False)
    with pytest.raises(UserError, match="labels are numbers, and nothing says which class"):
        read(path)


def test_damaged_parquet(tmp_path):
    path = write_parquet(tmp_path / "train.parquet", rows_of("train"))
    whole = path.read_bytes()
    for damaged in (whole[:-20], b"PAR1", b"hello" * 10):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train\.parquet: not a parquet file"):
            read(path)
    path = write_parquet(tmp_path / "train.parquet", rows_of("train"), label=lambda i: i + 9)
    with pytest.raises(UserError, match=r"row 1: expected a label from 0 to 6, found 9"):
        read(path)


# FER+

FERPLUS = "neutral happiness surprise sadness anger disgust fear contempt unknown NF".split()


def write_ferplus(tmp_path, *, votes, usages=None):
    """fer2013.csv of as many rows, and fer2013new.csv with {name of FER+: votes} for each."""
    rows = [("train", 0, pixels(seed)) for seed in range(len(votes))]
    write_csv(tmp_path / "fer2013.csv", rows)
    lines = ["Usage,Image name," + ",".join(FERPLUS)]
    for number, row in enumerate(votes):
        cells = [str(row.get(name, 0)) for name in FERPLUS]
        usage = usages[number] if usages else "Training"
        lines.append(f"{usage},fer{number:07d}.png," + ",".join(cells))
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "fer2013.csv"


VOTES = [
    {"neutral": 6, "sadness": 4},
    {"happiness": 10},
    {"NF": 10},
    {"unknown": 5, "fear": 4},
    {"anger": 5, "disgust": 5},
    {"contempt": 7, "disgust": 3},
    {"fear": 3, "surprise": 2, "unknown": 2},
]


def test_ferplus_takes_the_majority_and_counts_what_it_leaves_out(tmp_path):
    path = write_ferplus(tmp_path, votes=VOTES)
    found = contents.read(source.find(path), reading=Reading(labels="ferplus"))
    kept = [("train", 6, pixels(0)), ("train", 3, pixels(1)), ("train", 2, pixels(6))]
    assert_splits(found.splits, kept)
    assert found.name == "ferplus"
    assert found.notes == (
        f"{path}: left out 4 of 7: 1 no face (NF), 1 unknown, 1 no majority, 1 contempt.",
        f"{path}: no image to train on of 'angry', 'disgust', 'sad', 'surprise'.",
    )
    # rows in order of the labels: fear, happy, neutral
    expected = [{"fear": 3, "surprise": 2}, {"happy": 10}, {"neutral": 6, "sad": 4}]
    for row, votes in zip(found.votes["train"], expected, strict=True):
        assert dict(zip(CLASSES, row.tolist(), strict=True)) == dict.fromkeys(CLASSES, 0) | votes


def test_ferplus_with_contempt(tmp_path):
    path = write_ferplus(tmp_path, votes=VOTES)
    classes = (*CLASSES, "contempt")
    found = contents.read(source.find(path), reading=Reading(labels="ferplus", classes=classes))
    assert found.classes == classes and found.splits["train"][1].tolist() == [2, 3, 6, 7]


def test_ferplus_unasked_is_named_as_unused(tmp_path):
    path = write_ferplus(tmp_path, votes=VOTES)
    found = contents.read(source.find(path))
    assert found.splits["train"][1].tolist() == [0] * 7
    note, _ = found.notes  # the other: of which classes there is no image
    assert "fer2013new.csv is not used" in note and "data.labels=ferplus" in note


def test_ferplus_in_a_zip_and_changes_to_it(tmp_path):
    path = write_ferplus(tmp_path, votes=VOTES)
    files = {f"fer/{p.name}": p.read_bytes() for p in tmp_path.glob("*.csv")}
    reading = Reading(labels="ferplus")
    in_zip = contents.read(source.find(write_zip(tmp_path / "a.zip", files)), reading=reading)
    plain = contents.read(source.find(path), reading=reading)
    assert in_zip.sha256 == plain.sha256
    before = source.key(source.find(path), reading)
    write_ferplus(tmp_path, votes=[{"happiness": 9}] * 7)
    assert source.key(source.find(path), reading) != before


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda text: text.replace("Training,fer0000003", "PublicTest,fer0000003"),
            "does not go with",
        ),
        (lambda text: text[: text.rindex("Training")], "nothing is left"),
        (lambda text: text + text.splitlines()[-1] + "\n", "8 rows, and 7 in"),
        (lambda text: text.replace(",10,", ",ten,", 1), "line 3: expected votes from 0 to 100"),
        (lambda text: text.replace("contempt", "scorn", 1), "no column contempt"),
    ],
)
def test_mistakes_in_ferplus(tmp_path, change, message):
    path = write_ferplus(tmp_path, votes=VOTES)
    beside = tmp_path / "fer2013new.csv"
    beside.write_text(change(beside.read_text()))
    with pytest.raises(UserError, match=r"fer2013new\.csv.*" + message):
        read(path, labels="ferplus")


def test_ferplus_needs_its_file_and_the_csv(tmp_path):
    path = write_ferplus(tmp_path, votes=VOTES)
    (tmp_path / "fer2013new.csv").unlink()
    with pytest.raises(UserError, match=r"needs fer2013new\.csv beside it"):
        read(path, labels="ferplus")
    with pytest.raises(UserError, match=r"needs fer2013\.csv"):
        read(write_folder(tmp_path / "folder", tree(sample())), labels="ferplus")


def test_votes_come_through_the_cache_and_the_split(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    path = write_ferplus(tmp_path, votes=VOTES * 4)
    dataset = data.load(str(path), Reading(labels="ferplus"))
    again = data.load(str(path), Reading(labels="ferplus"))
    faces = dataset.splits["train"]
    np.testing.assert_array_equal(again.splits["train"].votes, faces.votes)
    assert (faces.votes.argmax(1) == faces.labels).all() and len(faces.labels) == 12
    train, valid = data.split_validation(faces, fraction=0.5, seed=0)
    assert (train.votes.argmax(1) == train.labels).all() and len(valid.votes) == len(valid.labels)


def test_what_lies_beside_the_source_is_told(tmp_path):
    write_folder(tmp_path, {f"faces/{name}": data for name, data in tree(sample()).items()})
    write_folder(tmp_path, {"more/happy/a.png": GOOD, ".hidden/a": b"", "LICENCE": b""})
    found = contents.read(source.find(tmp_path))
    assert_splits(found.splits, sample())
    assert found.notes == (f"{tmp_path}: also there, and not read: 'LICENCE', 'more'.",)


# The name


def test_only_the_class_counts_of_fer2013_make_it_fer2013(tmp_path):
    def labels(counts):
        return np.zeros((sum(counts), 0)), np.repeat(np.arange(7), counts)

    whole = {name: labels(counts) for name, counts in meaning.COUNTS.items() if name != "test"}
    divided = {name: labels(counts) for name, counts in meaning.DIVIDED.items()}
    assert meaning.name(whole, CLASSES) == meaning.name(divided, CLASSES) == "fer2013"
    assert meaning.name({"test": labels(meaning.COUNTS["test"])}, CLASSES) == "fer2013"
    one_more = labels(np.array(meaning.COUNTS["train"]) + [1, 0, 0, 0, 0, 0, 0])
    assert meaning.name(whole | {"train": one_more}, CLASSES) == "own_data"
    assert meaning.name(divided | {"test": labels([1] * 7)}, CLASSES) == "own_data"
    assert meaning.name(whole, (*CLASSES[:6], "calm")) == "own_data"
    turned = {s: (images, 6 - numbers) for s, (images, numbers) in whole.items()}
    assert meaning.name(turned, CLASSES[::-1]) == "fer2013"
    assert (
        contents.read(source.find(write_zip(tmp_path / "a.zip", tree(sample())))).name == "own_data"
    )


def test_what_is_told_is_kept_in_the_cache(tmp_path):
    path = source.find(write_zip(tmp_path / "a.zip", tree(sample()) | {"LICENCE": b""}))
    found = [cache.load(path, tmp_path / "cache") for _ in range(2)]
    assert found[0].notes == found[1].notes and "'LICENCE'" in found[0].notes[0]
    assert found[0].classes == CLASSES


def test_a_zip_of_bytes_is_no_source(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("only.txt", b"hello")
    with pytest.raises(UserError, match=r"expected 2|holds no image"):
        read(tmp_path / "a.zip")
