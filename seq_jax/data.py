"""The sentence pairs that a run trains and is judged on.

Letters: N pairs, T tokens per side with <start> and <end> where they are used.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seq_jax import corpus
from seq_jax.columns import name_of
from seq_jax.filter import Pairs, Report, common_words, describe, filter_lines
from seq_jax.text import Vocabulary, encode, tokenise
from train_jax.run.errors import UserError

PHRASEBOOK_NOTICE = """\
PHRASEBOOK: no corpus was given, so these are some hundred sentences written for this project \
(seq_jax/phrasebook).
Scores on them say little about translation: they only show that the program works.
To run on a corpus: put train.en and train.kn into a folder, then add --config.data.path=FOLDER"""


class Dataset(NamedTuple):
    name: str  # 'phrasebook' or 'corpus'
    pairs: Pairs
    report: Report
    source: str  # paths, or 'seq_jax/phrasebook'
    sha256: str  # of the pairs
    notice: str  # what the user has to be told: '', or three lines about the phrasebook


def load(
    path: str,
    *,
    languages: Sequence[str] = corpus.LANGUAGES,
    columns: Sequence[str] = (),
    target_top_k: int | None = None,
    skip_empty: bool = False,
    **settings,
) -> Dataset:
    """The filtered pairs of train.en + train.kn or of kan.txt; '' stands for seq_jax/phrasebook.

    Args:
        path: a folder or a file, see corpus.find.
        languages, columns: see corpus.find.
        target_top_k: only pairs whose target words are all among the k most common ones of the
            whole corpus, before any other filter. Takes a second reading, the first one to count.
        skip_empty: whether lines with one empty side are dropped instead of an error.
        **settings: of `filter_lines`.

    Raises:
        UserError: every mistake in the source, see corpus.py; or a filter that leaves nothing.
    """
    if len(languages) != 2 or languages[0] == languages[1]:
        raise UserError(f"config.data.languages must be two codes, got {tuple(languages)}")
    source = corpus.find(path, languages, columns)
    settings["languages"] = tuple(map(name_of, languages))

    def lines(title):
        return corpus.read(source, skip_empty=skip_empty, title=title)

    common = None
    if target_top_k is not None:
        common = common_words(lines("counting words"), target_top_k)
    pairs, report = filter_lines(lines("filtering"), common=common, **settings)
    if not report.kept:
        most = max(report.removed, key=report.removed.__getitem__, default="nothing was read")
        raise UserError(
            f"{source}: none of {report.read} pairs passes the filter; most were removed for: "
            f"{most}.\n{describe(report)}"
        )
    embedded = source.form == "embedded"
    name, notice = ("phrasebook", PHRASEBOOK_NOTICE) if embedded else ("corpus", "")
    return Dataset(name, pairs, report, str(source), pairs_sha256(pairs), notice)


def pairs_sha256(pairs: Pairs) -> str:
    """SHA-256 of all sentences in their order."""
    digest = hashlib.sha256()
    for source, target in zip(*pairs, strict=True):
        digest.update(f"{source}\t{target}\n".encode())
    return digest.hexdigest()


def split(
    pairs: Pairs,
    *,
    valid_fraction: float,
    test_fraction: float,
    folds: int,
    fold: int,
    seed: int,
) -> dict[str, Pairs]:
    """{'train', 'valid', 'test'}: parts that share no source sentence. Order is kept.

    The same source words stay together, whatever the punctuation and the translation, so a part
    can miss its size by a few pairs.

    Args:
        pairs: all of them.
        valid_fraction: of all pairs, in [0, 1); 0 leaves 'valid' empty.
        test_fraction: likewise; with folds the test part is 1/folds instead.
        folds: 0, or the number of test parts into which all pairs are dealt.
        fold: which of them is 'test', from 0; 'valid' is cut from what follows it.
        seed: of the shuffle.

    Raises:
        UserError: a setting is out of range, or a part that was asked for would be empty.
    """
    _check_split(valid_fraction, test_fraction, folds, fold)
    groups: dict[str, list[int]] = {}
    for index, sentence in enumerate(pairs.source):
        groups.setdefault(" ".join(tokenise(sentence)), []).append(index)
    members = list(groups.values())
    count = len(pairs.source)
    first = count * fold // folds if folds else 0
    tests = count * (fold + 1) // folds - first if folds else round(test_fraction * count)
    valids = round(valid_fraction * count)
    parts: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    dealt = 0
    for number in np.random.default_rng(seed).permutation(len(members)):
        place = (dealt - first) % count  # the pairs lie on a circle, which each fold turns
        name = "test" if place < tests else "valid" if place < tests + valids else "train"
        parts[name] += members[number]
        dealt += len(members[number])
    wanted = {"train": True, "valid": valid_fraction > 0, "test": test_fraction > 0 or folds > 0}
    if any(wanted[name] and not parts[name] for name in parts):
        sizes = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise UserError(
            f"{count} pairs with {len(members)} different source sentences are too few to "
            f"split: {sizes}. Loosen the filter or change the fractions."
        )
    return {name: _select(pairs, sorted(part)) for name, part in parts.items()}


def _check_split(valid_fraction: float, test_fraction: float, folds: int, fold: int) -> None:
    for name, value in {"valid_fraction": valid_fraction, "test_fraction": test_fraction}.items():
        if not 0 <= value < 1:
            raise UserError(f"{name} must be in [0, 1), got {value}.")
    if folds and (folds < 2 or not 0 <= fold < folds):
        raise UserError(
            f"folds must be 0 or at least 2, and fold from 0 to folds - 1; got folds {folds} and "
            f"fold {fold}."
        )
    rest = 1 - valid_fraction - (1 / folds if folds else test_fraction)
    if rest <= 0:
        raise UserError(
            f"valid_fraction {valid_fraction} and the test part leave {rest:.2f} to train on."
        )


def _select(pairs: Pairs, indices: list[int]) -> Pairs:
    return Pairs(*(tuple(side[i] for i in indices) for side in pairs))


def encode_pairs(
    pairs: Pairs, source: Vocabulary, target: Vocabulary, *, max_tokens: int | None
) -> dict[str, np.ndarray]:
    """{'source': i32[N, T], 'target': i32[N, T]}: numbers of tokens, 0 after the last one.

    Args:
        pairs: sentences.
        source: vocabulary of that side.
        target: likewise.
        max_tokens: T; None stands for the longest of these sentences.

    Raises:
        UserError: an unknown word, where the vocabulary has no <unk>.
        ValueError: a sentence has more tokens than T: they are never cut silently.
    """
    sides = {
        "source": [encode(source, sentence) for sentence in pairs.source],
        "target": [encode(target, sentence) for sentence in pairs.target],
    }
    longest = max((len(row) for rows in sides.values() for row in rows), default=0)
    if max_tokens is not None and longest > max_tokens:
        raise ValueError(f"a sentence has {longest} tokens, more than max_tokens {max_tokens}")
    arrays = {}
    for name, rows in sides.items():
        arrays[name] = np.zeros((len(rows), max_tokens or longest), np.int32)
        for array, row in zip(arrays[name], rows, strict=True):
            array[: len(row)] = row
    return arrays
