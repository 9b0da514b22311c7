"""The forms of a corpus other than aligned files, in any two languages."""

import gzip

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
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_forms(tmp_path, name, content, packed):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert read(path) == [list(pair) for pair in PAIRS]


def test_aligned_files_of_other_languages(tmp_path):
    for side, code in enumerate(FRENCH):
        text = "".join(f"{pair[side]}\n" for pair in PAIRS)
        (tmp_path / f"train.{code}.gz").write_bytes(gzip.compress(text.encode()))
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
