"""Which sentence pairs of a corpus are used: one pass over the lines, in bounded memory."""

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from seq_jax.corpus import Line
from seq_jax.text import PUNCTUATION, WordCounts, is_kannada, mend_kannada, normalise, tokenise
from train_jax.run.errors import UserError

SLACK = 100_000  # pairs above max_pairs before the surplus goes: sorting takes a while


class Pairs(NamedTuple):
    source: tuple[str, ...]  # English sentences, one space between tokens
    target: tuple[str, ...]  # their Kannada translations


class Report(NamedTuple):
    """What became of the lines that were read."""

    read: int
    removed: dict[str, int]  # reason -> pairs, in the order in which the filters were asked
    kept: int
    longest: tuple[int, int]  # tokens of the longest pair that passed the other filters; its line


def common_kannada(lines: Iterable[Line], k: int) -> frozenset[str]:
    """The k most common Kannada words; see WordCounts for the memory that this takes."""
    _check_at_least_1(kannada_top_k=k)
    counts = WordCounts()
    for _, _, kannada in lines:
        counts.add(tokenise(kannada))
    return frozenset(word for word, _ in counts.most_common(k))


def filter_lines(
    lines: Iterable[Line],
    *,
    common: frozenset[str] | None = None,
    punctuation: str = "strip",
    english_words: int | None = None,
    max_english_words: int | None = None,
    english_letters_only: bool = False,
    max_kannada_words: int | None = None,
    kannada_script: bool = True,
    mend_script: bool = False,
    remove_duplicates: bool = True,
    max_tokens: int | None = None,
    markers: bool = True,
    max_pairs: int = 500_000,
    languages: tuple[str, str] = ("English", "Kannada"),
) -> tuple[Pairs, Report]:
    """The pairs that pass, in the order of their lines, and what removed the others.

    Words never include punctuation marks; tokens do where these are kept.

    Args:
        lines: as from corpus.read.
        common: Kannada words; a pair with another one goes.
        punctuation: 'strip' or 'keep', for what is handed out.
        english_words: exactly so many words.
        max_english_words: at most so many.
        english_letters_only: ^[A-Za-z\\s]*$ after punctuation was stripped.
        max_kannada_words: at most so many.
        kannada_script: each Kannada word is made of Kannada letters (not digits).
        mend_script: whether Kannada goes through text.mend_kannada first.
        remove_duplicates: of pairs with the same tokens on both sides, only the first is kept.
        max_tokens: longer pairs are removed, or else one very long sentence would fill all others
            with <PAD>. Counts <start> and <end>.
        markers: whether <start> and <end> will be added.
        languages: what source and target are called in the report.
        max_pairs: of more pairs a random choice is kept, always the same. Bounds the memory, to
            about 0.5 KB a pair.
    """
    if punctuation not in PUNCTUATION:
        raise UserError(f"punctuation must be 'strip' or 'keep', got {punctuation!r}.")
    _check_at_least_1(
        english_words=english_words,
        max_english_words=max_english_words,
        max_kannada_words=max_kannada_words,
        max_tokens=max_tokens,
        max_pairs=max_pairs,
    )
    english_checks = _english_checks(
        languages[0], english_words, max_english_words, english_letters_only
    )
    kannada_checks = _kannada_checks(languages[1], max_kannada_words, kannada_script, common)
    too_long = f"more than {max_tokens} tokens"
    removed = dict.fromkeys([*english_checks, *kannada_checks], 0)
    removed |= {too_long: 0} if max_tokens else {}
    chosen = _Chosen(max_pairs, remove_duplicates)
    read, longest = 0, (0, 0)
    for number, english, kannada in lines:
        read += 1
        source = tokenise(english)
        if reason := _objection(english_checks, source):
            removed[reason] += 1
            continue
        if mend_script:
            kannada = mend_kannada(normalise(kannada))
        target = tokenise(kannada)
        if reason := _objection(kannada_checks, target):
            removed[reason] += 1
            continue
        if punctuation == "keep":
            source, target = tokenise(english, "keep"), tokenise(kannada, "keep")
        tokens = max(len(source), len(target)) + 2 * markers
        longest = max(longest, (tokens, -number))  # of equally long ones the first
        if max_tokens and tokens > max_tokens:
            removed[too_long] += 1
            continue
        chosen.add(number, " ".join(source), " ".join(target))
    pairs = chosen.pairs()
    removed |= {reason: count for reason, count in chosen.removed.items() if count}
    return pairs, Report(read, removed, len(pairs.source), (longest[0], -longest[1]))


Checks = dict[str, Callable[[list[str]], bool]]  # reason for removal -> whether words may stay


def _english_checks(
    name: str, exactly: int | None, at_most: int | None, letters_only: bool
) -> Checks:
    checks: Checks = {f"no {name} word": bool}
    if exactly is not None:
        checks[f"not {exactly} {name} words"] = lambda words: len(words) == exactly
    if at_most is not None:
        checks[f"more than {at_most} {name} words"] = lambda words: len(words) <= at_most
    if letters_only:
        checks[f"not only {name} letters"] = lambda words: _is_ascii_letters("".join(words))
    return checks


def _is_ascii_letters(text: str) -> bool:
    return text.isascii() and text.isalpha()


def _kannada_checks(
    name: str, at_most: int | None, script: bool, common: frozenset[str] | None
) -> Checks:
    checks: Checks = {f"no {name} word": bool}
    if at_most is not None:
        checks[f"more than {at_most} {name} words"] = lambda words: len(words) <= at_most
    if script:
        checks["not only Kannada letters"] = is_kannada
    if common is not None:
        checks[f"a {name} word not among the {len(common)} most common"] = common.issuperset
    return checks


def _objection(checks: Checks, words: list[str]) -> str:
    for reason, passes in checks.items():
        if not passes(words):
            return reason
    return ""


class _Chosen:
    """The pairs kept so far. Each has a hash, the same for duplicates; of more than `limit` pairs
    those with the smallest hashes are kept: a random choice without a generator to seed, which
    needs no memory for pairs that are not in it."""

    def __init__(self, limit: int, remove_duplicates: bool):
        self.limit, self.remove_duplicates = limit, remove_duplicates
        self.found: dict[bytes, tuple[str, str]] = {}  # in the order of their lines
        self.highest = b"\xff" * 8
        self.surplus = f"more than {limit} pairs, a random choice kept"
        self.removed = {"duplicate": 0, self.surplus: 0}

    def add(self, number: int, source: str, target: str) -> None:
        identity = f"{source}\t{target}" + f"\t{number}" * (not self.remove_duplicates)
        key = hashlib.blake2b(identity.encode(), digest_size=8).digest()
        if key in self.found:
            self.removed["duplicate"] += 1
        elif key > self.highest:
            self.removed[self.surplus] += 1
        else:
            self.found[key] = source, target
            if len(self.found) > self.limit + SLACK:
                self._shrink()

    def _shrink(self) -> None:
        keys = sorted(self.found)
        for key in keys[self.limit :]:
            del self.found[key]
        self.highest = keys[min(self.limit, len(keys)) - 1] if keys else self.highest
        self.removed[self.surplus] += max(0, len(keys) - self.limit)

    def pairs(self) -> Pairs:
        self._shrink()
        rows = self.found.values()
        return Pairs(tuple(source for source, _ in rows), tuple(target for _, target in rows))


def _check_at_least_1(**settings: int | None) -> None:
    for name, value in settings.items():
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, got {value}.")


def describe(report: Report) -> str:
    """The report as a table."""
    rows = [(report.read, "pairs read")]
    rows += [(-count, f"removed: {reason}") for reason, count in report.removed.items()]
    rows += [(report.kept, "pairs kept")]
    tokens, line = report.longest
    longest = f"\nlongest pair: {tokens} tokens (line {line})" if tokens else ""
    return "\n".join(f"{count:>11,}  {what}" for count, what in rows) + longest
