"""Statistics of a corpus, as tables and as a picture with Kannada in it."""

import random

import numpy as np
import pytest

from seq_jax import explore
from train_jax.run.errors import UserError

LINES = [
    (1, "I go home.", "ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತೇನೆ."),
    (2, "I, I go!", "ನಾನು ಬಸ್\u200cಗೆ"),
    (3, "", "ಮತ್ತು"),
]


def test_counts_of_a_small_corpus():
    sides = explore.statistics(LINES, top=2)
    english, kannada = sides["English"], sides["Kannada"]
    assert (english.sentences, english.words, english.distinct, english.once) == (3, 6, 3, 1)
    assert english.lengths == {0: 1, 3: 2} and kannada.lengths == {1: 1, 2: 1, 3: 1}
    assert english.common == [("i", 3), ("go", 2)] and kannada.common[0] == ("ನಾನು", 2)
    assert english.growth[-1] == (6, 3) and english.exact


def test_growth_is_counted_as_the_words_come():
    lines = [(number, f"word{number // 2}", "ಕ") for number in range(5000)]
    side = explore.statistics(lines)["English"]
    assert all(distinct == (words + 1) // 2 for words, distinct in side.growth)
    assert 30 < len(side.growth) < 100 and side.growth[-1] == (5000, 2500)


def test_heaps_law_is_recovered():
    words = np.logspace(1, 6, 40)
    k, beta = explore.heaps([(int(n), int(7 * n**0.6)) for n in words])
    np.testing.assert_allclose([k, beta], [7, 0.6], rtol=0.02)  # counts are rounded down
    assert np.isnan(explore.heaps([(5, 3)])).all()


def test_what_does_not_fit_in_memory_is_said(monkeypatch):
    monkeypatch.setattr(explore.WordCounts.__init__, "__defaults__", (100,))
    rng = random.Random(0)
    lines = [(n, f"the word{rng.randrange(10_000)}", "ಕ") for n in range(1000)]
    sides = explore.statistics(lines)
    assert not sides["English"].exact and sides["Kannada"].exact
    words = [word for _, english, _ in lines for word in english.split()]
    growth = sides["English"].growth  # ends where the counts are no longer exact
    assert growth and all(distinct == len(set(words[:read])) for read, distinct in growth)
    table = explore.describe(sides)
    assert f">{sides['English'].distinct}" in table and "not counted" in table
    assert sides["English"].common[0] == ("the", 1000)


def test_the_tables():
    lines = [*LINES, (4, "word " * 30, "ಕ " * 25)]
    table = explore.describe(explore.statistics(lines)).splitlines()
    rows = {line[:28].strip(): line[28:].split() for line in table[1:11]}
    assert rows["sentences"] == ["4", "4"] and rows["words"] == ["36", "31"]
    assert rows["50 % have at most"] == ["3", "2"] and rows["longest"] == ["30", "25"]
    assert next(line.split() for line in table if line.startswith(" " * 12 + "more")) == [
        "more",
        "1",
        "1",
    ]
    assert any(line.split() == ["25", "ಕ"] for line in table)


def test_a_side_without_words_is_an_error():
    with pytest.raises(UserError, match="No Kannada word in 1 lines"):
        explore.statistics([(1, "a", "...")])


def test_the_picture_has_every_glyph(tmp_path):
    pytest.importorskip("manimgx_fonts")  # a missing glyph is a warning, so an error here
    path = tmp_path / "figures" / "explore.png"
    explore.draw(explore.statistics(LINES), path, "three pairs: ಮೂರು")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
