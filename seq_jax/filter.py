"""Which sentence pairs of a corpus are used: one pass over the lines, in bounded memory."""

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from seq_jax.corpus import Line
from seq_jax.text import (
    PUNCTUATION,
    WordCounts,
    fix_kannada,
    normalise,
    script_check,
    tokenise,
)
from train_jax.run.errors import UserError

SLACK = 100_000  # pairs above max_pairs before the surplus goes: sorting takes a while


class Pairs(NamedTuple):
    source: tuple[str, ...]  # sentences, one space between tokens
    target: tuple[str, ...]  # their translations


class Report(NamedTuple):
    """What became of the lines that were read."""

    read: int
    removed: dict[str, int]  # reason -> pairs, in the order in which the filters were asked
    kept: int
    longest: tuple[int, int]  # tokens of the longest pair that passed the other filters; its line


def common_words(lines: Iterable[Line], k: int) -> frozenset[str]:
    """The k most common words of the target; see WordCounts for the memory that this takes."""
    _check_at_least_1(target_top_k=k)
    counts = WordCounts()
    for _, _, target in lines:
        counts.add(tokenise(target))
    return frozenset(word for word, _ in counts.most_common(k))


def filter_lines(
    lines: Iterable[Line],
    *,
    common: frozenset[str] | None = None,
    punctuation: str = "strip",
    source_words: int | None = None,
    max_source_words: int | None = None,
    source_script: str = "",
    max_target_words: int | None = None,
    target_script: str = "",
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
        common: target words; a pair with another one goes.
        punctuation: 'strip' or 'keep', for what is handed out.
        source_words: exactly so many words.
        max_source_words, max_target_words: at most so many.
        source_script, target_script: each word is made of letters of this script, not digits; see
            text.script_check. '' for any.
        mend_script: whether the target goes through text.fix_kannada first.
        remove_duplicates: of pairs with the same tokens on both sides, only the first is kept.
        max_tokens: longer pairs are removed, or else one very long sentence would fill all others
            with <PAD>. Counts <start> and <end>.
        markers: whether <start> and <end> will be added.
        languages: what source and target are called in the report.
        max_pairs: of more pairs a random choice is kept, always the same. Bounds the memory, to
            about 0.5 KB per pair.
    """
    if punctuation not in PUNCTUATION:
        raise UserError(f"punctuation must be 'strip' or 'keep', got {punctuation!r}.")
    _check_at_least_1(
        source_words=source_words,
        max_source_words=max_source_words,
        max_target_words=max_target_words,
        max_tokens=max_tokens,
        max_pairs=max_pairs,
    )
    source_checks = _checks(languages[0], source_words, max_source_words, source_script, None)
    target_checks = _checks(languages[1], None, max_target_words, target_script, common)
    too_long = f"more than {max_tokens} tokens"
    removed = dict.fromkeys([*source_checks, *target_checks], 0)
    removed |= {too_long: 0} if max_tokens else {}
    chosen = _Chosen(max_pairs, remove_duplicates)
    read, longest = 0, (0, 0)
    for number, *pair in lines:
        read += 1
        source = tokenise(pair[0])
        if reason := _objection(source_checks, source):
            removed[reason] += 1
            continue
        if mend_script:
            pair[1] = fix_kannada(normalise(pair[1]))
        target = tokenise(pair[1])
        if reason := _objection(target_checks, target):
            removed[reason] += 1
            continue
        if punctuation == "keep":
            source, target = (tokenise(side, "keep") for side in pair)
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


def _checks(
    name: str, exactly: int | None, at_most: int | None, script: str, common: frozenset[str] | None
) -> Checks:
    checks: Checks = {f"no {name} word": bool}
    if exactly is not None:
        checks[f"not {exactly} {name} words"] = lambda words: len(words) == exactly
    if at_most is not None:
        checks[f"more than {at_most} {name} words"] = lambda words: len(words) <= at_most
    if script:
        checks[f"{name} in other than {script} letters"] = script_check(script)
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
