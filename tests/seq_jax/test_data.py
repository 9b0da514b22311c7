"""Which sentence pairs a run gets: reading, filtering, dividing, numbering."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seq_jax import corpus, data
from seq_jax.data import Pairs, encode_pairs, filter_lines, split
from seq_jax.text import build_vocabulary
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "en_kn"
ENGLISH = ["I am going home.", "Where is the house?", "He came."]
KANNADA = ["ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತಿದ್ದೇನೆ.", "ಮನೆ ಎಲ್ಲಿದೆ?", "ಅವನು ಬಂದನು."]


KANNADA_ONLY = {"target_script": "Kannada"}


def write_aligned(folder, english, kannada):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train.en", english), ("train.kn", kannada)):
        if isinstance(lines, list):
            lines = "".join(f"{line}\n" for line in lines).encode()
        (folder / name).write_bytes(lines)
    return folder


def read(path, **settings):
    return list(corpus.read(corpus.find(path), **settings))


def run_filter(rows, **settings):
    """Kept rows and report of (english, kannada) rows."""
    lines = ((number, *row) for number, row in enumerate(rows, start=1))
    pairs, report = filter_lines(lines, **settings)
    return list(zip(*pairs, strict=True)), report


def many_pairs(count, repeats=1):
    """Pairs with `count` different English sentences, each with `repeats` translations."""
    english = [f"sentence {number}" for number in range(count) for _ in range(repeats)]
    return Pairs(tuple(english), tuple(f"ಕ {number}" for number in range(count * repeats)))


# reading


def test_aligned_files_are_read_line_by_line(tmp_path):
    folder = write_aligned(tmp_path, ENGLISH, KANNADA)
    expected = list(zip([1, 2, 3], ENGLISH, KANNADA, strict=True))
    assert read(folder) == expected
    assert read(folder / "train.en") == read(folder / "train.kn") == expected


def test_tabbed_file_with_and_without_attribution(tmp_path):
    rows = "Go.\tಹೋಗು.\tCC-BY 2.0 (France)\nStop!\tನಿಲ್ಲು!\n\n"
    (tmp_path / "kan.txt").write_text(rows)
    expected = [(1, "Go.", "ಹೋಗು."), (2, "Stop!", "ನಿಲ್ಲು!"), (3, "", "")]
    assert read(tmp_path) == read(tmp_path / "kan.txt") == expected
    (tmp_path / "kan.txt").rename(tmp_path / "mine.tsv")
    assert read(tmp_path / "mine.tsv") == expected


def test_a_folder_with_both_forms_means_the_aligned_one(tmp_path):
    write_aligned(tmp_path, ENGLISH, KANNADA)
    (tmp_path / "kan.txt").write_text("Go.\tಹೋಗು.\n")
    assert corpus.find(tmp_path).form == "aligned"


def test_line_ends_and_byte_order_mark_are_accepted(tmp_path):
    english = b"\xef\xbb\xbf" + "\r\n".join(ENGLISH).encode()  # and no last line end
    folder = write_aligned(tmp_path, english, KANNADA)
    assert read(folder) == list(zip([1, 2, 3], ENGLISH, KANNADA, strict=True))


def test_only_a_line_feed_ends_a_line(tmp_path):
    english = ["a\u2028b", "c\x0cd\x85e", "f\rg"]
    assert [line[1] for line in read(write_aligned(tmp_path, english, KANNADA))] == english


def test_an_empty_path_is_the_phrasebook(monkeypatch):
    module = type(sys)("seq_jax.phrasebook")
    module.load = lambda: list(zip(ENGLISH, KANNADA, strict=True))
    monkeypatch.setitem(sys.modules, "seq_jax.phrasebook", module)
    dataset = data.load("")
    assert (dataset.name, dataset.source) == ("phrasebook", "seq_jax/phrasebook")
    assert dataset.pairs.source == ("i am going home", "where is the house", "he came")
    assert len(dataset.notice.splitlines()) == 3
    for part in ("PHRASEBOOK", "say little", "train.en", "--config.data.path="):
        assert part in dataset.notice


@pytest.mark.parametrize(
    "english, kannada, message",
    [
        (ENGLISH, KANNADA[:1], r"train\.en has 3 lines and .*train\.kn has 1"),
        (ENGLISH[:2], KANNADA, r"train\.en has 2 lines and .*train\.kn has 3"),
        (b"", KANNADA, r"train\.en: is empty"),
        (ENGLISH, b"", r"train\.kn: is empty"),
        (["a", " \t", "c"], KANNADA, r"train\.en line 2: the English side is empty"),
        (ENGLISH, ["ಕ", "ಕ", ""], r"train\.kn line 3: the Kannada side is empty"),
        (b"a\nbc\xff\nd\n", KANNADA, r"train\.en line 2: .* byte 3 of the line, byte 5 of the"),
        (ENGLISH, b"\xe0\xb2\nx\ny\n", r"train\.kn line 1: .* byte 1 of the .*0xe0"),
        (b"a\nb\0c\nd\n", KANNADA, r"train\.en line 2: NUL bytes"),
        ("\ufeffa\nb\n".encode("utf-16-le"), KANNADA, r"train\.en: is UTF-16 text: save"),
        ("\ufeffa\nb\n".encode("utf-16-be"), KANNADA, r"train\.en: is UTF-16 text: save"),
        ("a\nb\n".encode("utf-16-le"), KANNADA, r"line 1: NUL bytes, .*UTF-16"),
        (b"PK\x03\x04abc", KANNADA, r"is a zip archive: name it .zip"),
        (b"a\n" + b"x" * 2_000_000, KANNADA, r"train\.en line 2: longer than 1000000 bytes"),
    ],
)
def test_what_is_wrong_in_aligned_files(tmp_path, english, kannada, message):
    folder = write_aligned(tmp_path, english, kannada)
    with pytest.raises(UserError, match=message):
        data.load(folder)
    with pytest.raises(UserError, match=message):  # in the counting pass, too
        data.load(folder, target_top_k=5)


def test_the_byte_of_bad_utf8_is_counted_from_the_start_of_the_file(tmp_path):
    english = b"\xef\xbb\xbfab\r\ncd\n\xc3\xa9\xfe\n"
    with pytest.raises(UserError, match="line 3: not UTF-8 at byte 3 of the line, byte 13 of"):
        read(write_aligned(tmp_path, english, KANNADA))
    assert english.index(b"\xfe") + 1 == 13


def test_empty_lines_can_be_skipped(tmp_path):
    folder = write_aligned(tmp_path, ["a", "", "", "d"], ["ಕ", "ಕ", "", ""])
    dataset = data.load(folder, skip_empty=True)
    assert dataset.pairs == Pairs(("a",), ("ಕ",))
    assert dataset.report.removed["no English word"] == 2
    assert dataset.report.removed["no Kannada word"] == 1
    both = write_aligned(tmp_path / "both", ["a", " "], ["ಕ", ""])
    assert data.load(both).report.removed["no English word"] == 1


@pytest.mark.parametrize("row, tabs", [("only english", 0), ("a\tb\tc\td", 3)])
def test_wrong_number_of_tabs(tmp_path, row, tabs):
    (tmp_path / "kan.txt").write_text(f"Go.\tಹೋಗು.\n{row}\n")
    with pytest.raises(UserError, match=rf"kan\.txt line 2: .*1 or 2 tabs; found {tabs} in '"):
        read(tmp_path)


def test_paths_that_hold_no_corpus(tmp_path):
    with pytest.raises(UserError, match="nowhere: No such file"):
        corpus.find(tmp_path / "nowhere")
    with pytest.raises(UserError, match="wrong layout.*train.en and train.kn.*found nothing"):
        corpus.find(tmp_path)
    (tmp_path / "train.en").write_text("a\n")
    (tmp_path / "kan.txt").write_text("a\tb\n")
    for path in (tmp_path, tmp_path / "train.en"):  # half of one form is not the other form
        with pytest.raises(UserError, match="wrong layout.*found kan.txt, train.en"):
            corpus.find(path)


def test_progress_is_shown_on_a_terminal_only(tmp_path, monkeypatch):
    folder = write_aligned(tmp_path, ["a"] * 20_000, ["ಕ"] * 20_000)
    for tty in (True, False):
        stderr = io.StringIO()
        stderr.isatty = lambda tty=tty: tty
        monkeypatch.setattr("sys.stderr", stderr)
        assert len(read(folder, title="counting")) == 20_000
        assert ("counting [" in stderr.getvalue() and "20,000 pairs" in stderr.getvalue()) == tty
        assert tty or not stderr.getvalue()


# filtering


@pytest.mark.parametrize(
    "settings, reason, kept, removed",
    [
        ({"source_words": 2}, "not 2 English words", ("Go away!", "ಹೋಗು"), ("Go", "ಹೋಗು")),
        ({"max_source_words": 2}, "more than 2 English words", ("I go.", "ಕ"), ("a b c", "ಕ")),
        ({"max_target_words": 1}, "more than 1 Kannada words", ("a", "ಕ!"), ("a", "ಕ ಕ")),
        (
            {"source_script": "ASCII"},
            "English in other than ASCII letters",
            ("Don't, Tom-boy!", "ಕ"),
            ("Room 5", "ಕ"),
        ),
        (
            {"source_script": "ASCII"},
            "English in other than ASCII letters",
            ("a", "ಕ"),
            ("café", "ಕ"),
        ),
        (
            KANNADA_ONLY,
            "Kannada in other than Kannada letters",
            ("a", "ಬಸ್\u200cಗೆ."),
            ("a", "ಕ bus"),
        ),
        (KANNADA_ONLY, "Kannada in other than Kannada letters", ("a", "ಕ।"), ("a", "೧೨ ಕ")),
        ({}, "no English word", ("a", "ಕ"), ("?!", "ಕ")),
        ({}, "no Kannada word", ("a", "ಕ"), ("a", "...")),
        ({"max_tokens": 4}, "more than 4 tokens", ("a b", "ಕ ಗ"), ("a", "ಕ ಗ ಚ")),
        ({"max_tokens": 4}, "more than 4 tokens", ("a b", "ಕ"), ("a b c", "ಕ")),
        (
            {"common": frozenset({"ಕ", "ಗ"})},
            "a Kannada word not among the 2 most common",
            ("a", "ಕ ಗ!"),
            ("a", "ಕ ಚ"),
        ),
    ],
)
def test_each_filter(settings, reason, kept, removed):
    rows, report = run_filter([removed, kept, removed], **settings)
    assert len(rows) == report.kept == 1 and rows == run_filter([kept])[0]
    assert report.read == 3 and report.removed.pop(reason) == 2
    assert not any(report.removed.values())


def test_without_markers_more_words_fit():
    rows, _ = run_filter([("a b c", "ಕ")], max_tokens=3, markers=False)
    assert len(rows) == 1


def test_kept_punctuation_counts_as_tokens_but_not_as_words():
    row = ("Don't go, now!", "ಕ?")
    rows, report = run_filter(
        [row], punctuation="keep", source_words=3, source_script="ASCII", max_target_words=1
    )
    assert rows == [("don't go , now !", "ಕ ?")]
    assert report.longest == (7, 1)
    assert run_filter([row], punctuation="keep", max_tokens=6)[1].kept == 0
    assert run_filter([row], punctuation="strip", max_tokens=6)[1].kept == 1


def test_duplicates_are_equal_on_both_sides_after_normalising():
    rows = [("Go.", "ಹೋಗು"), ("go", "ಹೋಗು!"), ("Go.", "ನಡೆ"), ("Walk", "ನಡೆ"), ("GO", "ಹೋಗು")]
    kept, report = run_filter(rows)
    assert kept == [("go", "ಹೋಗು"), ("go", "ನಡೆ"), ("walk", "ನಡೆ")]
    assert report.removed["duplicate"] == 2
    assert len(run_filter(rows, remove_duplicates=False)[0]) == 5


def test_common_words_are_counted_over_the_whole_corpus(tmp_path):
    # ಗ is common only in lines that another filter removes
    folder = write_aligned(tmp_path, ["a"] + ["x y"] * 3, ["ಕ ಗ", "ಗ ಚ", "ಗ ಕ", "ಗ ಟ"])
    assert data.load(folder, target_top_k=2, source_words=1).pairs.target == ("ಕ ಗ",)
    with pytest.raises(UserError, match="none of 4 pairs"):
        data.load(folder, target_top_k=1, source_words=1)


def test_the_longest_pair_is_reported_with_its_line():
    rows = [("a b", "ಕ"), ("a " * 60, "ಕ"), ("b " * 60, "ಕ"), ("1 " * 90, "ಕ")]
    for max_tokens in (7, None):
        kept, report = run_filter(rows, max_tokens=max_tokens, source_script="ASCII")
        assert report.longest == (62, 2)
        assert len(kept) == (1 if max_tokens else 3)
    assert "longest pair: 62 tokens (line 2)" in data.describe(report)


def test_report_adds_up():
    rows = [("a b", "ಕ"), ("a", "x"), ("A.", "ಕ"), ("a", "ಕ"), ("", ""), ("a", "ಕ " * 9)]
    _, report = run_filter(rows, source_words=1, max_tokens=7, **KANNADA_ONLY)
    assert report.read == 6 == report.kept + sum(report.removed.values())
    table = data.describe(report).splitlines()
    assert table[0].split() == ["6", "pairs", "read"]
    assert sum(int(line.split()[0]) for line in table[:-2]) == int(table[-2].split()[0]) == 1


def test_more_pairs_than_fit_are_a_random_choice(monkeypatch):
    rows = [(f"sentence {number}", "ಕ") for number in range(3000)]
    monkeypatch.setattr("seq_jax.filter.SLACK", 50)
    kept, report = run_filter(rows + rows, max_pairs=300)
    assert len(kept) == report.kept == 300
    assert report.read == 6000 == report.kept + sum(report.removed.values())
    numbers = [int(english.split()[1]) for english, _ in kept]
    assert numbers == sorted(set(numbers))
    assert np.histogram(numbers, 3, (0, 3000))[0].min() > 70  # from everywhere: 100 each, sd 8
    again, _ = run_filter(reversed(rows), max_pairs=300)
    assert sorted(again) == sorted(kept)


def test_nothing_left_names_the_filter_that_removed_the_most(tmp_path):
    folder = write_aligned(tmp_path, ENGLISH, KANNADA)
    with pytest.raises(UserError, match=r"none of 3 pairs .* for: not 5 English words"):
        data.load(folder, source_words=5, max_tokens=7)


@pytest.mark.parametrize(
    "setting", ["source_words", "max_source_words", "max_target_words", "max_tokens"]
)
def test_settings_are_checked(setting):
    with pytest.raises(UserError, match=f"{setting} must be at least 1, got 0"):
        run_filter([("a", "ಕ")], **{setting: 0})
    with pytest.raises(UserError, match="must be 'strip' or 'keep', got 'drop'"):
        run_filter([("a", "ಕ")], punctuation="drop")


def test_the_hash_is_that_of_the_pairs():
    assert len({data.pairs_sha256(p) for p in (many_pairs(3), many_pairs(3), many_pairs(2))}) == 2


def test_importing_it_does_not_import_jax():
    code = 'import sys, seq_jax.data; print(*{"tensorflow_datasets", "jax"} & set(sys.modules))'
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b""


# dividing


def parts_of(pairs, **changes):
    settings = dict(valid_fraction=0.2, test_fraction=0.1, folds=0, fold=0, seed=0)
    return split(pairs, **settings | changes)


def rows_of(pairs):
    return list(zip(*pairs, strict=True))


def test_parts_have_their_sizes_and_lose_nothing():
    pairs = many_pairs(100)
    parts = parts_of(pairs)
    assert {name: len(part.source) for name, part in parts.items()} == {
        "train": 70,
        "valid": 20,
        "test": 10,
    }
    assert sorted(sum((rows_of(part) for part in parts.values()), [])) == sorted(rows_of(pairs))
    order = {row: number for number, row in enumerate(rows_of(pairs))}
    for part in parts.values():
        numbers = [order[row] for row in rows_of(part)]
        assert numbers == sorted(numbers)
    assert parts_of(pairs, test_fraction=0.0)["test"] == Pairs((), ())


@pytest.mark.parametrize("folds", [0, 5])
@pytest.mark.parametrize("seed", range(3))
def test_no_english_sentence_is_in_two_parts(folds, seed):
    twins = Pairs(("sentence 3 !", "sentence 5 ?"), ("ಕ", "ಕ"))  # the same words as others
    pairs = Pairs(*(a + b for a, b in zip(many_pairs(40, 3), twins, strict=True)))
    for fold in range(max(folds, 1)):
        parts = parts_of(pairs, folds=folds, fold=fold, seed=seed)
        english = [{s.strip(" !?") for s in part.source} for part in parts.values()]
        assert sum(map(len, english)) == len(set.union(*english)) == 40


def test_a_split_depends_on_the_seed_alone():
    pairs = many_pairs(100)
    assert parts_of(pairs) == parts_of(pairs) != parts_of(pairs, seed=1)


@pytest.mark.parametrize("count, repeats, folds", [(103, 1, 5), (40, 3, 4), (10, 1, 10), (7, 1, 3)])
def test_each_pair_is_in_the_test_part_of_one_fold(count, repeats, folds):
    pairs = many_pairs(count, repeats)
    tests, sizes = [], set()
    for fold in range(folds):
        parts = parts_of(pairs, folds=folds, fold=fold, test_fraction=0.0)
        assert sorted(sum((rows_of(p) for p in parts.values()), [])) == sorted(rows_of(pairs))
        tests += rows_of(parts["test"])
        sizes.add(len(parts["test"].source))
    assert sorted(tests) == sorted(rows_of(pairs))
    assert max(sizes) - min(sizes) <= 2 * repeats - 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"valid_fraction": 1.0}, r"valid_fraction must be in \[0, 1\), got 1.0"),
        ({"test_fraction": -0.1}, r"test_fraction must be in \[0, 1\), got -0.1"),
        ({"test_fraction": float("nan")}, "test_fraction must be in"),
        ({"folds": 1}, "folds must be 0 or at least 2"),
        ({"folds": 5, "fold": 5}, "got folds 5 and fold 5"),
        ({"folds": 5, "fold": -1}, "got folds 5 and fold -1"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "leave 0.00 to train on"),
        ({"valid_fraction": 0.5, "folds": 2}, "leave 0.00 to train on"),
    ],
)
def test_split_settings_are_checked(changes, message):
    with pytest.raises(UserError, match=message):
        parts_of(many_pairs(50), **changes)


def test_too_few_pairs_to_split():
    one_sentence = many_pairs(1, repeats=20)
    with pytest.raises(UserError, match="20 pairs with 1 different source .* 0 train, 0 valid"):
        parts_of(one_sentence)
    with pytest.raises(UserError, match="too few"):
        parts_of(many_pairs(3), folds=5, fold=0)


# numbering


def test_arrays_are_padded_at_the_end_to_max_tokens():
    pairs = Pairs(("a b", "b"), ("ಕ", "ಕ ಗ"))
    source, target = build_vocabulary(pairs.source), build_vocabulary(pairs.target)
    arrays = encode_pairs(pairs, source, target, max_tokens=6)
    # 4 is the most common word: b, ಕ
    assert arrays["source"].tolist() == [[2, 5, 4, 3, 0, 0], [2, 4, 3, 0, 0, 0]]
    assert arrays["target"].tolist() == [[2, 4, 3, 0, 0, 0], [2, 4, 5, 3, 0, 0]]
    assert all(array.dtype == np.int32 for array in arrays.values())
    longest = encode_pairs(pairs, source, target, max_tokens=None)
    assert longest["source"].shape == longest["target"].shape == (2, 4)
    with pytest.raises(ValueError, match="4 tokens, more than max_tokens 3"):
        encode_pairs(pairs, source, target, max_tokens=3)
    assert encode_pairs(Pairs((), ()), source, target, max_tokens=6)["source"].shape == (0, 6)


# the real corpus


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/en_kn")
def test_the_original_filter_on_the_real_corpus():
    original = dict(source_words=5, source_script="ASCII", max_tokens=7, **KANNADA_ONLY)
    for top_k, kept in ((500, 265), (700, 404)):
        dataset = data.load(REAL, target_top_k=top_k, **original)
        assert (dataset.report.read, dataset.report.kept) == (27_607, kept)
        assert {len(sentence.split()) for sentence in dataset.pairs.source} == {5}
    assert (
        data.load(REAL, max_source_words=7, max_target_words=7, **KANNADA_ONLY).report.kept
        == 19_993
    )
    assert data.load(REAL / "kan.txt").report.read == 153
