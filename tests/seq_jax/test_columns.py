"""The forms of a corpus other than aligned files, in any two languages."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from seq_jax import corpus
from train_jax.run.errors import UserError

PAIRS = [("I go.", "Je vais."), ("Two, or three?", "Deux, ou trois ?")]
FRENCH = ("en", "fr")
TABBED = "".join(f"{e}\t{f}\n" for e, f in PAIRS)
CSV = 'I go.,Je vais.\n"Two, or three?","Deux, ou trois ?"\n'
OBJECTS = (
    '{{"{0}": "I go.", "{1}": "Je vais."}}\n'
    '{{"{1}": "Deux, ou trois ?", "{0}": "Two, or three?"}}\n'
)
BELOW = OBJECTS.format("en", "fr").replace("{", '{"id": 1, "translation": {').replace("}", "}}")


def read(path, columns=()):
    lines = corpus.read(corpus.find(path, FRENCH, columns))
    return [pair for _, *pair in lines]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fra.txt", TABBED),
        ("a.tsv", TABBED),
        ("a.tsv", TABBED.replace("\n", "\tCC-BY\n")),  # ManyThings
        ("a.tsv", "".join(f"{i}\t{e}\t{i}7\t{f}\n" for i, (e, f) in enumerate(PAIRS))),  # Tatoeba
        ("a.tsv", f"English\tFrench\n{TABBED}"),
        ("a.tsv", "fr\tid\ten\n" + "".join(f"{f}\t{i}\t{e}\n" for i, (e, f) in enumerate(PAIRS))),
        ("a.csv", CSV),
        ("a.csv", "source,target\n" + CSV),
        ("a.jsonl", OBJECTS.format("en", "fr")),
        ("a.jsonl", OBJECTS.format("source", "target")),
        ("a.jsonl", BELOW),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz", ".zip", ".gz.zip"])
def test_forms(tmp_path, name, content, packed):
    path = tmp_path / (name + packed)
    inner = content.encode()
    if ".gz" in packed:
        inner = gzip.compress(inner)
    path.write_bytes(
        zipped({name + packed.removesuffix(".zip"): inner}) if "zip" in packed else inner
    )
    assert read(path) == [list(pair) for pair in PAIRS]


def zipped(files, method=zipfile.ZIP_DEFLATED):
    """The bytes of an archive of {name: bytes}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def aligned(folder="", suffix=""):
    """{name: bytes} of train.en and train.fr."""
    sides = ("".join(f"{pair[side]}\n" for pair in PAIRS).encode() for side in (0, 1))
    pack = gzip.compress if suffix else bytes
    return {
        f"{folder}train.{code}{suffix}": pack(side)
        for code, side in zip(FRENCH, sides, strict=True)
    }


@pytest.mark.parametrize(
    "files",
    [
        aligned(),
        aligned("data/en-fr/", ".gz"),
        aligned() | {"fra.txt": b"x\ty\n", "README": b"read me"},
        {"fra.txt": TABBED.encode(), "_about.txt": b"ManyThings", ".DS_Store": b"x"},
        {"fra-eng/": b"", "fra-eng/fra.txt": TABBED.encode()},
    ],
)
def test_archives(tmp_path, files):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        (tmp_path / "a.zip").write_bytes(zipped(files, method))
        assert read(tmp_path / "a.zip") == [list(pair) for pair in PAIRS]


def test_one_of_several_files_is_given_by_its_path(tmp_path):
    files = {"a/one.tsv": TABBED.encode(), "two.csv": b"x,y\n"}
    (tmp_path / "a.zip").write_bytes(zipped(files))
    with pytest.raises(
        UserError, match="a.zip: wrong layout.*found a/one.tsv, two.csv. Of several"
    ):
        read(tmp_path / "a.zip")
    assert read(tmp_path / "a.zip" / "a" / "one.tsv") == [list(pair) for pair in PAIRS]
    assert read(tmp_path / "a.zip" / "two.csv") == [["x", "y"]]
    with pytest.raises(UserError, match="a.zip: no zip archive that can be read .*three.csv"):
        read(tmp_path / "a.zip" / "three.csv")
    (tmp_path / "b.zip").write_bytes(zipped(aligned("x/")))
    assert read(tmp_path / "b.zip" / "x" / "train.fr") == [list(pair) for pair in PAIRS]


def test_no_name_in_an_archive_means_a_file_outside_of_it(tmp_path):
    (tmp_path / "secret.tsv").write_text(TABBED)
    for name in (str(tmp_path / "secret.tsv"), "../secret.tsv"):
        (tmp_path / "a.zip").write_bytes(zipped({name: b"x\ty\n"}))
        try:
            assert read(tmp_path / "a.zip") == [["x", "y"]]
        except UserError as error:
            assert "a.zip" in str(error)


def test_lines_of_an_archive_are_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"fra.txt": b"a\tb\nonly one\n"}))
    with pytest.raises(UserError, match="a.zip/fra.txt line 2: expected English TAB French"):
        read(tmp_path / "a.zip")


def test_a_damaged_zip(tmp_path):
    whole = zipped({"fra.txt": TABBED.encode() * 50}, zipfile.ZIP_STORED)
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    changed = whole.replace(b"Deux", b"Deuy", 1)  # which only the checksum at the end tells
    for damaged in (whole[:-9], b"no archive", b"", bytes(encrypted), changed):
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(UserError, match="a.zip"):
            read(tmp_path / "a.zip")


def test_progress_of_archives_ends_at_all(tmp_path, monkeypatch):
    """Of what is packed the packed bytes are counted."""
    numbers = np.random.default_rng(0).integers(10**9, size=(40_000, 2))
    lines = "".join(f"{a}\t{b}\n" for a, b in numbers).encode()
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.zip").write_bytes(zipped({"a.tsv": lines}))
    for name in ("a.tsv.gz", "a.zip"):
        stderr = io.StringIO()
        stderr.isatty = lambda: True
        monkeypatch.setattr("sys.stderr", stderr)
        read(tmp_path / name)
        shares = [int(part.split("%")[0]) for part in stderr.getvalue().split("] ")[1:]]
        assert len(shares) == 2 and 30 < shares[0] < 70 and 90 < shares[1] <= 100


def test_aligned_files_of_other_languages(tmp_path):
    for name, content in aligned(suffix=".gz").items():
        (tmp_path / name).write_bytes(content)
    assert read(tmp_path) == [list(pair) for pair in PAIRS]
    (tmp_path / "train.fr.gz").unlink()
    with pytest.raises(UserError, match="Expected train.en and train.fr, .* English TAB French"):
        read(tmp_path)


def test_columns_by_name_and_by_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,Texte,Text\n1,Je vais.,I go.\n", "utf-8")
    assert read(path, ("text", "texte")) == [["I go.", "Je vais."]]
    assert read(path, ("3", "2"))[1] == ["I go.", "Je vais."]
    with pytest.raises(
        UserError, match="a.csv line 1: expected a header with the columns text, en; it"
    ):
        read(path, ("text", "en"))
    with pytest.raises(UserError, match="a.csv line 1: expected at least 9 columns, found 3"):
        read(path, ("9", "1"))
    with pytest.raises(UserError, match="data.columns must name two columns"):
        read(path, ("1",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\tb\nonly one\n", "line 2: expected English TAB French .* found 0"),
        ("a.csv", 'a,"b\n', "line 1: no line of a CSV file"),
        ("a.jsonl", "{}\n", "line 1: expected an object with two texts, named en and fr or"),
        ("a.jsonl", "[1]\n", "line 1: expected an object with two texts"),
        ("a.jsonl", '{"en": 1, "fr": "x"}\n', "line 1: expected an object with two texts"),
        ("a.jsonl", "nothing\n", "line 1: not JSON"),
    ],
)
def test_lines_without_a_pair(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UserError, match=f"{name} {message}"):
        read(tmp_path / name)


def test_a_damaged_archive(tmp_path):
    whole = gzip.compress(TABBED.encode() * 50)
    for damaged in (whole[:-9], whole[:40] + b"\0\0\0\0" + whole[44:], b"no archive"):
        (tmp_path / "a.tsv.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="a.tsv.gz"):
            read(tmp_path / "a.tsv.gz")
