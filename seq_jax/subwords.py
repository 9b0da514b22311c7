"""Subwords: pieces of words by byte-pair encoding, by sentencepiece (Kudo and Richardson 2018).

With a few thousand pieces any word can be written, so a word that training lacks is neither <unk>
in the source nor out of reach in the target (Sennrich et al. 2016, "Neural machine translation of
rare words with subword units").
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import sentencepiece

from seq_jax.text import END, PAD, SPECIALS, START, UNK, whole_graphemes
from train_jax.run.errors import UserError

KINDS = ("bpe", "unigram", "char")
SPACE = "\u2581"  # what sentencepiece writes for the space before a word
MEND = "Train again, or use the file that the run wrote."


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

    def sampled(self, sentence: str, rate: float) -> list[str]:
        """Other pieces of the same sentence: each merge is left out with probability `rate`
        (BPE-dropout, Provilkov et al. 2020, arXiv 1910.13267). Draws from the one generator of
        sentencepiece, see `seed_sampling`."""
        return self.processor.encode(
            sentence, out_type=str, enable_sampling=True, alpha=rate, nbest_size=-1
        )

    def join(self, pieces: Sequence[str]) -> str:
        """The sentence of these pieces, without signs that stand on no letter."""
        return whole_graphemes("".join(pieces).replace(SPACE, " "))


def seed_sampling(*numbers: int) -> None:
    """What `Subwords.sampled` draws from here on, in this thread, is a function of these."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1)
    sentencepiece.set_random_generator_seed(int(seed))


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
            f"{sha256[:12]}. {MEND}"
        )
    try:
        subwords = _subwords(model)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{name}: no sentencepiece model ({error!s:.100}). {MEND}") from error
    if subwords.words[:4] != (PAD, UNK, START, END):
        raise UserError(
            f"{name}: not of this program: its first pieces are {subwords.words[:4]}, expected "
            f"{SPECIALS}. {MEND}"
        )
    return subwords


def _subwords(model: bytes) -> Subwords:
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model)  # the constructor takes no bytes for no model
    words = tuple(processor.id_to_piece(number) for number in range(processor.vocab_size()))
    return Subwords(words, {word: number for number, word in enumerate(words)}, model, processor)
