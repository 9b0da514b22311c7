"""What holds for every input of a kind (hypothesis), where the other tests have examples.

derandomize: the same examples in every run, so that a failure is one for all.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fer_jax.data import Faces, split_validation
from fer_jax.fer2013 import contents, source
from seq_jax import corpus, text
from seq_jax.filter import filter_lines
from tests.fer_jax.test_fer2013 import assert_splits, tree, write_csv, write_folder, write_zip
from train_jax.epoch import epoch_order
from train_jax.run import weights

quick = settings(
    derandomize=True, max_examples=100, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
files = settings(quick, max_examples=25)  # each writes some


# faces


@st.composite
def labelled_faces(draw):
    """[(split, label, u8[48, 48])], now and then the same pixels twice."""
    number = draw(st.integers(1, 8))
    seeds = draw(st.lists(st.integers(0, 5), min_size=number, max_size=number))
    rows = []
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)
        split = draw(st.sampled_from(("train", "PublicTest", "PrivateTest")))
        rows.append((split, draw(st.integers(0, 6)), pixels // draw(st.sampled_from((1, 255)))))
    return rows


@files
@given(labelled_faces(), st.randoms(use_true_random=False), st.sampled_from(("\n", "\r\n")))
def test_csv_zip_and_folder_are_the_same_arrays(rows, random, newline):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        header = ",".join(random.sample(["emotion", " pixels", "Usage "], 3))
        for path in (
            write_csv(folder / "a.csv", random.sample(rows, len(rows)), header, newline),
            write_zip(folder / "a.zip", tree(random.sample(rows, len(rows)))),
            write_folder(folder / "folder", tree(rows)),
        ):
            assert_splits(contents.read(source.find(path)).splits, rows)


@st.composite
def twins(draw):
    """Faces of few different pictures, so that many are twins, with any labels."""
    number = draw(st.integers(4, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pictures = rng.integers(0, 256, (draw(st.integers(2, 80)), 48, 48), dtype=np.uint8)
    which = rng.integers(0, len(pictures), number)
    labels = rng.integers(0, draw(st.integers(1, 7)), number).astype(np.int32)
    return Faces(pictures[which], labels)


def tokens_of(faces):
    return [(i.tobytes(), int(label)) for i, label in zip(*faces[:2], strict=True)]


@quick
@given(twins(), st.floats(0.05, 0.6), st.integers(0, 2**32))
def test_validation_is_a_part_without_twins_on_the_other_side(faces, fraction, seed):
    try:
        train, valid = split_validation(faces, fraction=fraction, seed=seed)
    except Exception as error:
        assert "validation fraction" in str(error)  # too few for two sides
        assume(False)
    everything = tokens_of(faces)
    kept, held = tokens_of(train), tokens_of(valid)
    assert sorted(kept + held) == sorted(everything)  # nothing lost, nothing doubled
    assert not {pixels for pixels, _ in kept} & {pixels for pixels, _ in held}
    assert kept == [row for row in everything if row[0] in {pixels for pixels, _ in kept}]  # order
    wanted = np.rint(fraction * np.bincount(faces.labels, minlength=7))
    found = np.bincount(valid.labels, minlength=7)
    assert (found <= wanted).all()
    alone = [row for row in everything if [p for p, _ in everything].count(row[0]) == 1]
    left = np.bincount([label for row, label in alone if row in dict(kept)], minlength=7)
    assert ((found == wanted) | (left == 0)).all()  # as many as fit: no lone image would still fit


@quick
@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 2**31), st.integers(0, 10**6))
def test_an_epoch_sees_each_row_once(n, size, seed, epoch):
    index, mask = epoch_order(n, size, seed=seed, epoch=epoch)
    assert index.shape == mask.shape == (-(-n // size), size)
    assert sorted(index[mask == 1].tolist()) == list(range(n))
    assert index.min() >= 0 and index.max() < n and mask.sum() == n
    assert (np.diff(mask.ravel()) <= 0).all()  # what fills up stands at the end
    again, _ = epoch_order(n, size, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(index, again)


# text

KANNADA = st.characters(min_codepoint=0xC80, max_codepoint=0xCFF, categories=("L", "M"))
words = st.text(
    st.one_of(KANNADA, st.sampled_from("abcXYZé0123456789\u200c\u200d")), min_size=1, max_size=9
)
lines = st.one_of(
    st.text(max_size=60),
    st.lists(words, max_size=8).map(" ".join),
    st.text(st.one_of(KANNADA, st.sampled_from(" '.,!?-\u2019\u200b\u200c\ufeff\t")), max_size=60),
)
styles = st.sampled_from(text.PUNCTUATION)


@quick
@given(lines, styles)
def test_tokens_are_stable_and_hold_no_space(line, punctuation):
    tokens = text.tokenise(line, punctuation)
    assert text.tokenise(" ".join(tokens), punctuation) == tokens
    assert " ".join(tokens).split() == tokens  # a sentence can be cut at its spaces again
    assert not set(tokens) & set(text.SPECIALS)  # no text can forge a marker
    assert text.tokenise(f"\ufeff  {line}\t\u200b", punctuation) == tokens


@quick
@given(st.lists(lines, max_size=12), styles, st.booleans())
def test_sentences_come_back_from_their_numbers(raw, punctuation, markers):
    sentences = [" ".join(text.tokenise(line, punctuation)) for line in raw]
    vocabulary = text.build_vocabulary(sentences, unk=False, markers=markers)
    counts = {}
    for sentence in sentences:
        numbers = text.encode(vocabulary, sentence)
        assert text.decode(vocabulary, [*numbers, 0, 0]) == sentence
        assert 0 not in numbers and max(numbers, default=0) < len(vocabulary.words)
        for word in sentence.split():
            counts[word] = counts.get(word, 0) + 1
    found = [word for word in vocabulary.words if word not in text.SPECIALS]
    assert found == sorted(counts, key=lambda word: (-counts[word], word))


@quick
@given(st.lists(lines, max_size=12), st.booleans(), st.booleans(), st.sampled_from((None, 1, 5)))
def test_a_vocabulary_comes_back_from_its_file(raw, unk, markers, most):
    sentences = [" ".join(text.tokenise(line)) for line in raw]
    vocabulary = text.build_vocabulary(sentences, unk=unk, markers=markers, max_words=most)
    written = text.to_json(vocabulary)
    again = text.from_json(written.encode().decode(), "words.json")
    assert again == vocabulary and again.sha256 == vocabulary.sha256
    assert json.loads(written) == list(vocabulary.words)


sentence_lines = st.lists(st.tuples(lines, lines), max_size=15).map(
    lambda pairs: [(number, *pair) for number, pair in enumerate(pairs + pairs[::2], start=1)]
)


@quick
@given(sentence_lines, st.booleans(), st.booleans(), styles, st.sampled_from((None, 3, 6)))
def test_what_the_filter_keeps_is_what_it_promises(pairs, script, letters, punctuation, most):
    kept, report = filter_lines(
        pairs, target_script="Kannada" * script, source_script="ASCII" * letters,
        punctuation=punctuation, max_tokens=most,
    )  # fmt: skip
    found = list(zip(*kept, strict=True))
    assert len(found) == report.kept and report.read == len(pairs)
    assert report.kept + sum(report.removed.values()) == report.read
    assert len(set(found)) == len(found)
    whole = [tuple(" ".join(text.tokenise(s, punctuation)) for s in line[1:]) for line in pairs]
    assert found == [pair for pair in dict.fromkeys(whole) if pair in set(found)]  # the order
    for number, pair in enumerate(dict.fromkeys(whole)):
        english, kannada = (text.tokenise(side) for side in pair)
        passes = bool(english) and bool(kannada)
        passes &= not letters or "".join(english).isascii() and "".join(english).isalpha()
        passes &= (
            not script
            or all(
                0xC80 <= ord(c) <= 0xCFF or c in "\u200c\u200d" for word in kannada for c in word
            )
            and text.script_check("Kannada")(kannada)
        )
        passes &= most is None or max(len(side.split()) for side in pair) + 2 <= most
        assert (pair in set(found)) == passes, (number, pair)


@files
@given(st.lists(st.tuples(words, words), min_size=1, max_size=9), st.booleans(), st.booleans())
def test_a_corpus_is_the_same_from_both_layouts(pairs, bom, crlf):
    end, start = ("\r\n" if crlf else "\n"), "\ufeff" * bom
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "a").mkdir()
        for side, name in enumerate(corpus.aligned_names(corpus.LANGUAGES)):
            body = start + "".join(pair[side] + end for pair in pairs)
            (folder / "a" / name).write_bytes(body.encode())
        body = start + "".join(f"{e}\t{k}\tCC{end}" for e, k in pairs)
        (folder / "kan.txt").write_bytes(body.encode())
        expected = [(number, *pair) for number, pair in enumerate(pairs, start=1)]
        for path in (folder / "a", folder / "kan.txt"):
            assert list(corpus.read(corpus.find(path))) == expected


# weights

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC_0123456789", min_size=1, max_size=8)
KINDS = st.sampled_from(("float32", "int32", "uint8", "float16"))


@st.composite
def arrays(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    array = rng.integers(0, 200, shape).astype(draw(KINDS))
    return array.T if draw(st.booleans()) else array


@files
@given(
    st.dictionaries(NAMES, st.one_of(arrays(), st.dictionaries(NAMES, arrays(), min_size=1)),
                    min_size=1, max_size=4),
    st.dictionaries(NAMES, arrays(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(-(2**70), 2**70) | st.text(), max_size=3),
)  # fmt: skip
def test_weights_come_back_bit_for_bit(params, statistics, said):
    reserved = {"format", "parameters", "batch_statistics", "arrays", "sha256"}
    assume(not reserved & said.keys())
    variables = {"params": params} | ({"batch_stats": statistics} if statistics else {})
    with tempfile.TemporaryDirectory() as folder:
        weights.export(Path(folder), variables, said, readme=lambda card: "")
        found = weights.load(Path(folder))
    assert found.card | said == found.card
    assert found.variables["batch_stats"].keys() == statistics.keys()
    check_same(found.variables["params"], params)
    check_same(found.variables["batch_stats"], statistics)


def check_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            check_same(found[name], value)
        else:
            wide = value.astype(np.float32) if value.dtype == np.float16 else value
            np.testing.assert_array_equal(found[name], wide, strict=True)
