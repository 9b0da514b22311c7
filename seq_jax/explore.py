"""What a corpus looks like, in numbers and in one picture; in bounded memory, as it streams."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq_jax.corpus import LANGUAGES, Line
from seq_jax.fonts import use_fonts
from seq_jax.text import WordCounts, tokenise
from train_jax.report.figure import new_figure
from train_jax.run.errors import UserError


class Side(NamedTuple):
    """One language of a corpus."""

    sentences: int
    words: int  # all of them, repeats included
    distinct: int  # different words; at least so many, if not `exact`
    exact: bool  # whether all different words fitted in memory, see text.WordCounts
    once: int  # words that occur a single time
    lengths: dict[int, int]  # words in a sentence -> sentences, in order of length
    growth: list[tuple[int, int]]  # (words read, different ones among them), while exact
    common: list[tuple[str, int]]  # the most common words with their counts


class _Counting:
    """What `Side` is made from, while the lines go by."""

    def __init__(self):
        self.counts, self.lengths, self.growth = WordCounts(), Counter(), [(0, 0)]
        self.words = 0

    def add(self, words: list[str]) -> None:
        self.counts.add(words)
        self.lengths[len(words)] += 1
        self.words += len(words)
        if self.words > self.growth[-1][0] * 1.1 + 10:  # evenly spaced on a logarithmic axis
            self._mark()

    def _mark(self) -> None:
        if not self.counts.lost:
            self.growth.append((self.words, len(self.counts.counts)))

    def side(self, top: int) -> Side:
        if self.growth[-1][0] < self.words:
            self._mark()
        counts = self.counts.counts
        return Side(
            sentences=self.lengths.total(),
            words=self.words,
            distinct=max(len(counts), self.growth[-1][1]),
            exact=not self.counts.lost,
            once=sum(count == 1 for count in counts.values()),
            lengths=dict(sorted(self.lengths.items())),
            growth=self.growth[1:],
            common=self.counts.most_common(top),
        )


def statistics(
    lines: Iterable[Line], *, top: int = 20, languages=("English", "Kannada")
) -> dict[str, Side]:
    """{language: Side} of source and target, of words without punctuation; `top` common ones each.

    Raises:
        UserError: a side has no word at all.
    """
    sides = {name: _Counting() for name in languages}
    for _, *sentences in lines:
        for counting, sentence in zip(sides.values(), sentences, strict=True):
            counting.add(tokenise(sentence))
    for name, counting in sides.items():
        if not counting.words:
            raise UserError(f"No {name} word in {counting.lengths.total()} lines to look at.")
    return {name: counting.side(top) for name, counting in sides.items()}


def heaps(growth: list[tuple[int, int]]) -> tuple[float, float]:
    """(K, beta) of Heaps' law, different words = K * words ** beta, by least squares over the
    logarithms; (nan, nan) for fewer than two points. A beta near 1 means that most words are new:
    what was learnt about others does not help with them."""
    points = np.log([(words, distinct) for words, distinct in growth if distinct])
    if len(points) < 2:
        return float("nan"), float("nan")
    beta, log_k = np.polyfit(points[:, 0], points[:, 1], 1)
    return float(np.exp(log_k)), float(beta)


def _percentile(lengths: dict[int, int], percent: float) -> int:
    total = np.cumsum(list(lengths.values()))
    return list(lengths)[int(np.searchsorted(total, percent / 100 * total[-1]))]


def describe(sides: dict[str, Side]) -> str:
    """Three tables: counts, lengths, most common words."""
    lines = [f"{'':28s}" + "".join(f"{name:>14s}" for name in sides)]

    def row(title, values):
        lines.append(f"{title:28s}" + "".join(f"{value:>14s}" for value in values))

    both = sides.values()
    row("sentences", [f"{s.sentences:,}" for s in both])
    row("words", [f"{s.words:,}" for s in both])
    row("different words", [">" * (not s.exact) + f"{s.distinct:,}" for s in both])
    row("words that occur once", [f"{s.once:,}" if s.exact else "not counted" for s in both])
    row("Heaps' law: exponent", [f"{heaps(s.growth)[1]:.2f}" for s in both])
    row("words per sentence: mean", [f"{s.words / s.sentences:.1f}" for s in both])
    for percent in (50, 95, 99, 100):
        title = "longest" if percent == 100 else f"{percent} % have at most"
        row(f"  {title}", [str(_percentile(s.lengths, percent)) for s in both])
    lines += ["", f"{'words':>16s}" + "".join(f"{name:>14s}" for name in sides)]
    longest = max(length for s in both for length in s.lengths)
    for length in range(min(longest, 20) + 1):
        counts = [s.lengths.get(length, 0) for s in both]
        lines.append(f"{length:>16d}" + "".join(f"{count:>14,}" for count in counts))
    if longest > 20:
        counts = [sum(n for length, n in s.lengths.items() if length > 20) for s in both]
        lines.append(f"{'more':>16s}" + "".join(f"{count:>14,}" for count in counts))
    for name, side in sides.items():
        lines += ["", f"most common {name} words"]
        lines += [f"{count:>12,}  {word}" for word, count in side.common]
    return "\n".join(lines)


def draw(sides: dict[str, Side], path: Path, title: str, languages=LANGUAGES) -> None:
    """Lengths, growth of the vocabulary and the most common words, as one picture."""
    use_fonts(languages)
    figure = new_figure(15, 6)
    panels = figure.subplot_mosaic([["lengths", *sides], ["growth", *sides]])
    for number, (name, side) in enumerate(sides.items()):
        shown = {length: count for length, count in side.lengths.items() if length <= 30}
        places = [length + 0.4 * number - 0.2 for length in shown]
        panels["lengths"].bar(places, shown.values(), 0.4, label=name)
        _, beta = heaps(side.growth)
        panels["growth"].loglog(
            *zip(*side.growth, strict=True), ".-", label=f"{name}: exponent {beta:.2f}"
        )
        words, counts = zip(*reversed(side.common), strict=True)
        panels[name].barh(range(len(words)), counts, color=f"C{number}")
        panels[name].set_yticks(range(len(words)), words)
        panels[name].set(title=f"most common {name} words", xlabel="occurrences")
    panels["lengths"].set(xlabel="words per sentence (up to 30)", ylabel="sentences")
    panels["growth"].set(xlabel="words read", ylabel="different words")
    for name in ("lengths", "growth"):
        panels[name].legend()
        panels[name].grid(alpha=0.3)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
