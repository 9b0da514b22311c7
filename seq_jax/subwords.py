"""Subwords: pieces of words by byte-pair encoding, by sentencepiece (Kudo and Richardson 2018).

With a few thousand pieces any word can be written, so a word that training lacks is neither <unk>
in the source nor out of reach in the target (Sennrich et al. 2016, "Neural machine translation of
rare words with subword units").
"""

import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

import sentencepiece

from seq_jax.text import END, PAD, SPECIALS, START, UNK, whole_graphemes
from train_jax.run.errors import UserError

KINDS = ("bpe", "unigram", "char")
SPACE = "\u2581"  # what sentencepiece writes for the space before a word
FIX = "Train again, or use the file that the run wrote."


class Subwords(NamedTuple):
    """Has what a `text.Vocabulary` has. Pieces 0 to 3 are <PAD>, <unk>, <start> and <end>."""

    words: tuple[str, ...]  # the pieces; one that begins a word begins with SPACE
    index: dict[str, int]  # type: ignore[assignment]  # of each piece in `words`
    model: bytes  # the whole sentencepiece model
    processor: sentencepiece.SentencePieceProcessor

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model).hexdigest()

    def pieces(self, sentence: str) -> list[str]:
        """The pieces of a sentence; a character that train lacks is one that `index` lacks."""
        return self.processor.encode(sentence, out_type=str)

    def sampled(self, sentence: str, rate: float, random: Random) -> list[str]:
        """Other pieces of the same sentence: at each merge each candidate is left out with
        probability `rate` (BPE-dropout, Provilkov et al. 2020, arXiv 1910.13267).

        Our own, because what sentencepiece samples differs from process to process, whatever seed
        it is given (0.2.3), and a run could not be continued with the same bits. For models of
        kind bpe; at rate 0 the same as `pieces`.
        """
        words = re.findall(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", "".join(self.pieces(sentence)))
        return [piece for word in words for piece in self._merged([*word], rate, random)]

    def _merged(self, pieces: list[str], rate: float, random: Random) -> list[str]:
        rank = self.index  # of a bpe model the pieces that merge first come first
        while True:
            candidates = [
                (rank[pair], place)
                for place, pair in enumerate(map("".join, zip(pieces, pieces[1:], strict=False)))
                if pair in rank and random.random() >= rate
            ]
            if not candidates:
                break
            _, place = min(candidates)
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        # characters that train lacks are one piece as long as they stand side by side
        known = itertools.groupby(pieces, key=lambda piece: piece in rank)
        return [p for is_known, run in known for p in (run if is_known else ["".join(run)])]

    def join(self, pieces: Sequence[str]) -> str:
        """The sentence of these pieces, without signs that stand on no letter."""
        return whole_graphemes("".join(pieces).replace(SPACE, " "))


def train(sentences: Iterable[str], *, size: int, kind: str) -> Subwords:
    """The subwords of these sentences, tokens with spaces between them.

    Args:
        sentences: of the training part alone, so that nothing is known of the others.
        size: pieces at most, <PAD> and its like included.
        kind: 'bpe'; 'unigram' (Kudo 2018); or 'char', single characters, however many there are.

    Raises:
        UserError: a setting is out of range, or the sentences do not give so many pieces.
    """
    if kind not in KINDS:
        raise UserError(f"config.data.subword_kind must be one of {KINDS}, got {kind!r}")
    file = io.BytesIO()
    pad, unk, start, end = SPECIALS
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=file,
            vocab_size=size,
            hard_vocab_limit=False,  # few sentences have fewer pieces
            model_type=kind,
            # text.py has normalised; the default would make a space of ZWNJ and break clusters
            normalization_rule_name="identity",
            character_coverage=1.0,
            pad_id=0, unk_id=1, bos_id=2, eos_id=3,
            pad_piece=pad, unk_piece=unk, bos_piece=start, eos_piece=end,
            num_threads=1,  # the same model on every machine
            minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1][:200]
        raise UserError(
            f"config.data.subwords={size} cannot be trained on these sentences ({reason})"
        ) from error
    return _subwords(file.getvalue())


def load(model: bytes, sha256: str, name: str) -> Subwords:
    """The subwords of a model's bytes, which are looked at only if their hash is `sha256`.

    Raises:
        UserError: they are not those, or no subwords of this program; `name` says whose they are.
    """
    found = hashlib.sha256(model).hexdigest()
    if found != sha256:
        raise UserError(
            f"{name}: damaged, or of another run: its SHA-256 is {found[:12]}, expected "
            f"{sha256[:12]}. {FIX}"
        )
    try:
        subwords = _subwords(model)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{name}: no sentencepiece model ({error!s:.100}). {FIX}") from error
    if subwords.words[:4] != (PAD, UNK, START, END):
        raise UserError(
            f"{name}: not of this program: its first pieces are {subwords.words[:4]}, expected "
            f"{SPECIALS}. {FIX}"
        )
    return subwords


def _subwords(model: bytes) -> Subwords:
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model)  # the constructor takes no bytes for no model
    words = tuple(processor.id_to_piece(number) for number in range(processor.vocab_size()))
    return Subwords(words, {word: number for number, word in enumerate(words)}, model, processor)
