"""Text as any language needs it: normalised, cut into tokens, counted, numbered.

A token is a word or a punctuation mark; a sentence is a list of tokens, or these with one space
between them.
"""

import functools
import hashlib
import heapq
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import regex

from train_jax.run.errors import UserError

PAD, UNK, START, END = "<PAD>", "<unk>", "<start>", "<end>"
SPECIALS = (PAD, UNK, START, END)
PUNCTUATION = ("strip", "keep")


def _characters(*categories: str) -> str:
    """What stands in a regular expression's [] for the characters of these Unicode categories.

    Only those below U+10000: re looks these up in a table and searches the others one by one,
    which took 40 times as long.
    """
    characters = map(chr, range(0x10000))
    return "".join(
        re.escape(c) for c in characters if unicodedata.category(c).startswith(categories)
    )


# Words are all that stands between these. Not \w: it misses the vowel signs and the virama, which
# are marks to Unicode, and would cut every Kannada word to pieces; and it takes the underscore.
_MARKS = _characters("P", "S") + "\U0001f000-\U0001fbff"  # the last are emoji and the like
_BETWEEN = _MARKS + _characters("Z", "Cc") + "\ufe00-\ufe0f"  # an emoji's style
# don't is a word, and so are 3.5 and 1,000.
_WORD = re.compile(rf"[^{_BETWEEN}]+(?:(?:'|(?<=\d)[.,](?=\d))[^{_BETWEEN}]+)*")
_WORD_OR_MARK = re.compile(rf"{_WORD.pattern}|[{_MARKS}]")

_JOINERS = "\u200c\u200d"  # ZWNJ, ZWJ: within a Kannada word they choose the shape of a cluster
_INVISIBLE = re.compile(f"[{re.sub(f'[{_JOINERS}]', '', _characters('Cf'))}\U000e0000-\U000e0fff]")
_CONTROL = re.compile(f"[{_characters('Cc')}]")
_OUTER_JOINERS = re.compile(f"(?<![^{_BETWEEN}])[{_JOINERS}]+|[{_JOINERS}]+(?![^{_BETWEEN}])")

_FIRST_MARKS = re.compile(rf"(?<!\S)[{_characters('M')}{_JOINERS}]+")

_LETTERS, _SIGNS = (
    "".join(c for c in map(chr, range(0xC80, 0xD00)) if unicodedata.category(c)[0] == category)
    for category in "LM"
)
_JOINER_RUN = re.compile(f"([{_JOINERS}])[{_JOINERS}]+")
_KANNADA, _VIRAMA = f"[{_LETTERS}{_SIGNS}]", "\u0ccd"
_STRAY_JOINER = re.compile(
    f"(?<={_KANNADA})(?<!{_VIRAMA})[{_JOINERS}](?!{_VIRAMA})|"
    f"(?<!{_VIRAMA})[{_JOINERS}](?!{_VIRAMA})(?={_KANNADA})"
)
_ZERO_FOR_ANUSVARA = re.compile(f"(?<={_KANNADA})[0\u0ce6](?={_KANNADA})")


def normalise(text: str) -> str:
    """Unicode NFC, one space between words, nothing invisible but ZWJ and ZWNJ within words.

    Byte order marks, zero-width spaces, soft hyphens and direction marks go without a trace;
    control characters become spaces.
    """
    if not text.isprintable():  # so nothing is searched for in nearly all lines
        text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
        text = _OUTER_JOINERS.sub("", text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def tokenise(text: str, punctuation: str = "strip") -> list[str]:
    """The tokens of a line, normalised and in lower case.

    'keep' sets every punctuation mark apart as a token; 'strip' drops them, and an apostrophe
    within a word without a gap: "Don't go!" is don't go ! or dont go. "well-known" has two words.
    """
    if punctuation not in PUNCTUATION:
        raise ValueError(f"punctuation must be 'strip' or 'keep', got {punctuation!r}")
    text = normalise(text.lower())
    text = text.replace("\u2019", "'").replace("\u2018", "'").replace("\u02bc", "'")
    if punctuation == "keep":
        return _WORD_OR_MARK.findall(text)
    words = _WORD.findall(text)
    if "'" in text:  # what it parted may compose once it is gone
        words = [unicodedata.normalize("NFC", word.replace("'", "")) for word in words]
    return words


def fix_kannada(text: str) -> str:
    """What was typed wrongly and looks right: joiners next to no virama, or more than one of them,
    go; the digit 0 between letters becomes the anusvara. For text that is in NFC; letters of other
    scripts keep their joiners, which Hindi and Persian need."""
    text = _JOINER_RUN.sub(r"\1", text)
    return _ZERO_FOR_ANUSVARA.sub("\u0c82", _STRAY_JOINER.sub("", text))


def whole_graphemes(text: str) -> str:
    """Normalised, and without the signs and joiners at the start of a word, which have no letter to
    stand on: what pieces of words put together by a model may have."""
    return normalise(_FIRST_MARKS.sub("", text))


@functools.cache
def script_check(script: str) -> Callable[[Sequence[str]], bool]:
    """The function (words) -> whether each word is letters of this script, with their signs.

    Digits are not letters.

    Args:
        script: a name of the Unicode script property, such as 'Kannada', 'Devanagari' or 'Latin';
            or 'ASCII', the letters A to Z alone.

    Raises:
        UserError: there is no script of this name.
    """
    if script == "ASCII":
        return lambda words: (text := "".join(words)).isascii() and text.isalpha()
    try:
        if not re.fullmatch("[A-Za-z_ ]+", script):
            raise regex.error("no name")
        pattern = rf"[\p{{Script={script}}}&&\p{{L}}]", rf"[\p{{Script={script}}}&&\p{{M}}]"
        letters, signs = (set(regex.findall(p, _all_characters(), regex.V1)) for p in pattern)
    except regex.error:
        raise UserError(
            f"no Unicode script is called {script!r}: expected a name such as Latin, Devanagari or "
            "Kannada; ASCII for A to Z alone; or nothing, for no filter"
        ) from None
    within = letters | signs | set(_JOINERS)
    return lambda words: all(word[0] in letters and within.issuperset(word) for word in words)


@functools.cache
def _all_characters() -> str:
    return "".join(map(chr, range(0x20000)))  # beyond are rare Chinese characters and no words


class WordCounts:
    """How often each word occurs, in bounded memory.

    Above `limit` different words the rarest are forgotten until half of the room is free (lossy
    counting, Manku and Motwani 2002). A count is then too low by at most `lost`: with 0 all are
    exact, and otherwise those of common words as good as.
    """

    def __init__(self, limit: int = 500_000):  # about 100 MB of Kannada words
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.lost = 0

    def add(self, words: Iterable[str]) -> None:
        self.counts.update(words)
        if len(self.counts) > self.limit:
            floor = sorted(self.counts.values())[-self.limit // 2]
            self.counts = Counter({w: n for w, n in self.counts.items() if n > floor})
            self.lost += floor

    def most_common(self, k: int | None = None) -> list[tuple[str, int]]:
        """The k most common words (all, if None) with counts; equal ones in the order of code
        points, so that the order of the lines does not matter."""
        k = len(self.counts) if k is None else k
        return heapq.nsmallest(k, self.counts.items(), key=lambda item: (-item[1], item[0]))


class Vocabulary(NamedTuple):
    """Words and their numbers: 0 <PAD>, 1 <unk> where there is one, then <start> and <end> where
    they are used, then the words, the most common first."""

    words: tuple[str, ...]
    index: dict[str, int]  # type: ignore[assignment]  # of each word in `words`

    @property
    def sha256(self) -> str:
        """The same for the same words in the same order, and for no others."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()

    def pieces(self, sentence: str) -> list[str]:
        """What of a sentence is numbered: its words. subwords.py has another form."""
        return sentence.split()

    def join(self, pieces: Sequence[str]) -> str:
        """The sentence of these words."""
        return " ".join(pieces)


def build_vocabulary(
    sentences: Iterable[str],
    *,
    unk: bool = True,
    markers: bool = True,
    max_words: int | None = None,
    min_count: int = 1,
) -> Vocabulary:
    """The vocabulary of these sentences.

    Args:
        sentences: tokens with spaces between them.
        unk: whether there is an <unk>; without it, encoding an unknown word is an error.
        markers: whether there are a <start> and an <end>.
        max_words: at most so many of the most common words, not counting <PAD> and its like.
        min_count: only words that occur so often. With 1 and all words kept, training never
            meets an <unk> and learns nothing about it.
    """
    counts = WordCounts()
    for sentence in sentences:
        counts.add(sentence.split())
    words = [word for word, count in counts.most_common(max_words) if count >= min_count]
    specials = [PAD, *[UNK] * unk, *[START, END] * markers]
    return _vocabulary(specials + words)


def _vocabulary(words: Sequence[str]) -> Vocabulary:
    return Vocabulary(tuple(words), {word: number for number, word in enumerate(words)})


def unknown_words(vocabulary: Vocabulary, sentence: str) -> list[str]:
    """The words (of subwords: the letters) of the sentence that the vocabulary lacks, in order."""
    return [word for word in vocabulary.pieces(sentence) if word not in vocabulary.index]


def encode(vocabulary: Vocabulary, sentence: str, pieces: Sequence[str] | None = None) -> list[int]:
    """The numbers of the sentence's tokens, between <start> and <end> if the vocabulary has them.

    `pieces`: what to number instead of `vocabulary.pieces(sentence)`.

    Raises:
        UserError: an unknown word, and the vocabulary has no <unk>.
    """
    index = vocabulary.index
    if UNK not in index and (unknown := unknown_words(vocabulary, sentence)):
        raise UserError(
            f"Not in the vocabulary of {len(index)} words, which has no {UNK}: "
            f"{', '.join(unknown[:8])}. Use other words, or train with an {UNK}."
        )
    unknown_word = index.get(UNK, -1)  # which there is, if a word is unknown
    numbers = [index.get(word, unknown_word) for word in pieces or vocabulary.pieces(sentence)]
    return [index[START], *numbers, index[END]] if START in index else numbers


def decode(vocabulary: Vocabulary, numbers: Iterable[int]) -> str:
    """The sentence up to <end>, without <PAD> and <start>."""
    words = []
    for number in numbers:
        word = vocabulary.words[number]
        if word == END:
            break
        if word not in (PAD, START):
            words.append(word)
    return vocabulary.join(words)


def to_json(vocabulary: Vocabulary) -> str:
    """Only the words: their order is their numbering."""
    return json.dumps(list(vocabulary.words), ensure_ascii=False, indent=0) + "\n"


def from_json(text: str, name: str) -> Vocabulary:
    """The vocabulary written by `to_json`.

    Raises:
        UserError: it is not one; `name` says which file it came from.
    """
    try:
        words = json.loads(text)
        json.dumps(words, ensure_ascii=False).encode()  # ValueError: half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not a vocabulary, since it is not JSON ({error}).") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{name}: not a vocabulary: expected a JSON list of words.")
    if len(set(words)) < len(words):
        twice = next(word for word, count in Counter(words).items() if count > 1)
        raise UserError(f"{name}: not a vocabulary: {twice!r} stands in it twice.")
    head = words[: sum(word in SPECIALS for word in words)]
    if head != [word for word in SPECIALS if word in head] or words[:1] != [PAD]:
        raise UserError(
            f"{name}: not a vocabulary of this program: expected {PAD}, then maybe {UNK}, "
            f"{START} and {END}, then words; found {words[:4]}."
        )
    return _vocabulary(words)


def check_same(vocabulary: Vocabulary, sha256: str, name: str) -> None:
    """Refuses a vocabulary whose numbers mean other words than those that `sha256` stands for.

    Raises:
        UserError: `name` says whose vocabulary it is.
    """
    if vocabulary.sha256 != sha256:
        raise UserError(
            f"{name}: another vocabulary ({len(vocabulary.words)} words, SHA-256 "
            f"{vocabulary.sha256[:12]}) than that of the run ({sha256[:12]}). Use the files that "
            "this run wrote, or train again."
        )
