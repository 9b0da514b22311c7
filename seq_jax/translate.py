"""Sentences from the command line, a file or a pipe, made ready for a model."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq_jax.text import UNK, encode, tokenise, unknown_words
from train_jax.errors import UserError

MAX_BYTES = 64 << 20  # of sentences; bounds the memory


class Prepared(NamedTuple):
    source: np.ndarray  # i32[N, T]; a line without a word has only <start> and <end>
    empty: list[bool]  # which lines are such
    unknown: dict[int, list[str]]  # line, from 1 -> its words that the vocabulary lacks


def read_lines(inputs: str) -> list[str]:
    """The sentences that `--inputs` means: '-' stdin, a file's lines, or else itself.

    Raises:
        UserError: it looks like a path and is not there, its bytes are not UTF-8 or too many.
    """
    if inputs == "-":
        return _decode(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin")
    try:
        with open(os.path.expanduser(inputs), "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        looks_like_a_path = " " not in inputs and (os.sep in inputs or Path(inputs).suffix)
        if looks_like_a_path or isinstance(error, PermissionError):
            raise UserError(
                f"--inputs={inputs}: cannot be read ({error.strerror}). Give a sentence, a file "
                "with a sentence a line, or - for stdin."
            ) from error
        return [inputs]
    return _decode(raw, inputs)


def _decode(raw: bytes, name: str) -> list[str]:
    if len(raw) > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES:,} bytes. Split it into several files.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} line {line}: not UTF-8 (0x{raw[error.start]:02x}). Save it as UTF-8."
        ) from error
    lines = text.split("\n")  # not splitlines, which breaks at U+2028 too
    return lines[:-1] if lines[-1] == "" else lines


def prepare(lines, vocabulary, *, tokens: int, punctuation: str) -> Prepared:
    """The numbers of the sentences' tokens, as in training.

    Args:
        lines: English sentences.
        vocabulary: the English one of the run.
        tokens: T of the run.
        punctuation: of the run, see `tokenise`.

    Raises:
        UserError: a sentence is longer than T, or has an unknown word and there is no <unk>;
            names its line.
    """
    source = np.zeros((len(lines), tokens), np.int32)
    empty, unknown = [], {}
    for number, line in enumerate(lines, start=1):
        sentence = " ".join(tokenise(line, punctuation))
        words = unknown_words(vocabulary, sentence)
        if words:
            unknown[number] = words
        if words and UNK not in vocabulary.index:
            raise UserError(
                f"line {number}: {', '.join(words)}: not in the vocabulary, and the run has no "
                f"{UNK} (data.unk)"
            )
        row = encode(vocabulary, sentence)
        if len(row) > tokens:
            raise UserError(
                f"line {number}: {len(row)} tokens with <start> and <end>, and the model was "
                f"trained for {tokens}. Shorten the sentence, or train with a larger "
                f"data.max_tokens. It begins {line[:40]!r}"
            )
        source[number - 1, : len(row)] = row
        empty.append(not sentence)
    return Prepared(source, empty, unknown)
