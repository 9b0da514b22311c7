"""One table, three ways to read it."""

from train_jax.report.page import Section, write_page
from train_jax.report.table import Table, as_markdown, as_text, interval

TABLE = Table(
    ["split", "n", "ಕನ್ನಡ"],
    [["train", "1,234", "a"], ["b", "5", ""]],
    numbers=(1,),
    note="Why. " * 30,
)


def test_text_is_aligned_and_its_note_wrapped():
    header, *rows = as_text(TABLE).splitlines()
    assert header == "split      n  ಕನ್ನಡ"
    assert rows[:2] == ["train  1,234  a", "b          5"]
    assert len(rows) > 3 and max(map(len, rows)) <= 100
    assert " ".join(rows[2:]) == ("Why. " * 30).strip()


def test_markdown_says_the_same():
    lines = as_markdown(TABLE).splitlines()
    assert lines[:5] == [
        "| split | n | ಕನ್ನಡ |", "| --- | --: | --- |", "| train | 1,234 | a |", "| b | 5 |  |", "",
    ]  # fmt: skip
    assert lines[5].startswith("Why. Why.")
    assert "\n\n" not in as_markdown(TABLE._replace(note=""))


def test_html_says_the_same(tmp_path):
    write_page(tmp_path / "x.html", "t", "s", [Section("Scores", [TABLE])])
    html = (tmp_path / "x.html").read_text("utf-8")
    for cell in ("split", "ಕನ್ನಡ", "train", "1,234", "Why. Why."):
        assert cell in html
    assert '<td class="number">1,234</td>' in html and "<td>train</td>" in html


def test_interval():
    assert interval(0.6623, (0.6459, 0.6767), 3) == "0.662 [0.646, 0.677]"
    assert interval(None, (0, 1), 3) == interval(float("nan"), (0, 1), 3) == "-"
