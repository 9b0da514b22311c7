"""Sentences from the command line, a file or a pipe, and a line for each: its translation."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from seq_jax.text import UNK, tokenise, unknown_words
from train_jax.run.errors import UserError

MAX_BYTES = 64 << 20  # of sentences; bounds the memory
NAMED = 3  # lines with unknown words that are named one by one


def read_chunks(inputs: str) -> Iterator[list[str]]:
    """As `read_lines`, but of stdin the lines that are there, as soon as they are: a pipe is
    answered line by line."""
    if inputs != "-":
        yield read_lines(inputs)
        return
    done, rest = 0, b""
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    while data := stdin.read1(1 << 16):
        rest += data
        if len(rest) > MAX_BYTES:
            raise UserError(f"stdin line {done + 1}: more than {MAX_BYTES:,} bytes.")
        whole, newline, rest = rest.rpartition(b"\n")
        if newline:
            lines = _decode(whole + newline, "stdin", done)
            done += len(lines)
            yield lines
    if rest:
        yield _decode(rest, "stdin", done)


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
        path = Path(
            os.path.expanduser(inputs)
        )  # 'and/or' is a sentence, unless there is a folder 'and'
        in_a_folder = os.sep in inputs and (
            path.parent.is_dir() or inputs.startswith(("/", ".", "~"))
        )
        looks_like_a_path = " " not in inputs and (in_a_folder or path.suffix)
        if looks_like_a_path or isinstance(error, PermissionError):
            raise UserError(
                f"--inputs={inputs}: cannot be read ({error.strerror}). Give a sentence, a file "
                "with one sentence per line, or - for stdin."
            ) from error
        return [inputs]
    return _decode(raw, inputs)


def _decode(raw: bytes, name: str, before: int = 0) -> list[str]:
    """The lines of `raw`, of which `before` others came before."""
    if len(raw) > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES:,} bytes. Split it into several files.")
    try:
        text = raw.decode("utf-8" if before else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = before + raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} line {line}: not UTF-8 (0x{raw[error.start]:02x}). Save it as UTF-8."
        ) from error
    lines = text.split("\n")  # not splitlines, which breaks at U+2028 too
    return lines[:-1] if lines[-1] == "" else lines


def answer(
    chunks,
    vocabulary,
    translate: Callable[[list[str]], list[list]],
    *,
    punctuation: str,
    longest: int,
    n_best: int,
) -> int:
    """Prints the translation of each line of `chunks`, one line out for each line in.

    A line without a word, or with too many tokens, gives an empty line and a note on stderr. With
    `n_best` above 1 a line gives so many, as NUMBER TAB SCORE TAB TRANSLATION.

    Args:
        chunks: from `read_chunks`.
        vocabulary: of the source.
        translate: sentences -> for each its hypotheses, the best first; [] if it is too long.
        punctuation: of the run, see `tokenise`.
        longest: tokens of a sentence, with <start> and <end>; for the note.
        n_best: translations of each line.

    Returns:
        The exit code: 1 if a line was left empty.

    Raises:
        UserError: an unknown word, and the vocabulary has no <unk>; names its line.
    """
    lines = empty = strange = 0
    for chunk in chunks:
        sentences = [" ".join(tokenise(line, punctuation)) for line in chunk]
        for number, sentence in enumerate(sentences, start=lines + 1):
            words = unknown_words(vocabulary, sentence)
            if words and UNK not in vocabulary.index:
                raise UserError(
                    f"line {number}: {', '.join(words)}: not in the vocabulary, and the run has no "
                    f"{UNK} (data.unk)"
                )
            strange += bool(words)
            if words and strange <= NAMED:
                _note(f"line {number}: unknown words, read as {UNK}: {', '.join(words)}")
        found = iter(translate([sentence for sentence in sentences if sentence]))
        for line, sentence in zip(chunk, sentences, strict=True):
            lines += 1
            best = next(found) if sentence else []
            if not best:
                empty += 1
                reason = f"more than {longest} tokens with <start> and <end>"
                _note(
                    f"line {lines}: {reason if sentence else 'no word'}, so no translation. "
                    f"It begins {line[:40]!r}"
                )
            _print(best, lines, n_best)
        sys.stdout.flush()
    if strange > NAMED:
        _note(f"{strange} of {lines} lines have unknown words")
    return 1 if empty else 0


def _print(hypotheses: Sequence, number: int, n_best: int):
    if n_best == 1:
        print(hypotheses[0].text if hypotheses else "")
        return
    for hypothesis in hypotheses[:n_best]:
        print(f"{number}\t{hypothesis.score:.3f}\t{hypothesis.text}")


def _note(text: str):
    print(text, file=sys.stderr)
