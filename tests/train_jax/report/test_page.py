"""report.html: what is read from a workdir, what is computed from it, and a page that stands alone.

The runs are folders with the files of a run, written by hand.
"""

import json
import re
from html.parser import HTMLParser

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.figure import Figure

from train_jax.report import compare as report_compare
from train_jax.report import page as report_html
from train_jax.report import run as report_run
from train_jax.report.figure import new_figure, svg
from train_jax.report.page import (
    Card,
    Cards,
    Details,
    Facts,
    Fold,
    Picture,
    Pictures,
    Section,
    Text,
)
from train_jax.report.table import Table
from train_jax.report.tables import draw_curve
from train_jax.report.write import write_report
from train_jax.run.errors import UserError

CONFIG = {
    "task": "toy",
    "data": {"path": ""},
    "model": {"features": [1, 2]},
    "train": {"seed": 3},
    "schedule": {"learning_rate": 0.1},
    "checkpoint": {"monitor": "val_loss", "mode": "min"},
    "plateau": {
        "enabled": True, "monitor": "val_loss", "mode": "min", "factor": 0.5, "patience": 2,
        "min_delta": 0.0, "cooldown": 0, "min_lr": 0.0,
    },
    "early_stop": {
        "enabled": True, "monitor": "val_loss", "mode": "min", "patience": 3, "min_delta": 0.0,
        "baseline": None, "start_from_epoch": 0,
    },
}  # fmt: skip
SCORES = {
    "splits": {"valid": {}, "test": {"score": 0.5}}, "data": "toys", "sha256": "cd" * 32,
    "split_sha256": {"valid": "01" * 32, "test": "02" * 32},
}  # fmt: skip
LOSSES = [3.0, 2.0, 2.5, 2.4, 2.6]  # bad: 3, 4 (cut), 5 (third bad one: stop)


def make_run(
    workdir, *, losses=LOSSES, scores="default", parameters=None, identity=None, **changes
):
    """A workdir as train_jax/run/workdir.py leaves it."""
    workdir.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG)) | changes
    record = {
        "config": config,
        "identity": identity or {"data": "toys", "train_sha256": "ab" * 32},
        "command": "launch.py --config=<script>alert(1)</script>",
        "git_commit": "abc", "versions": {"jax": "9.9"}, "machine": "m", "started": "today",
    }  # fmt: skip
    record |= {"parameters": parameters} if parameters else {}
    (workdir / "config.json").write_text(json.dumps(record))
    rows = ["epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds,toys/s"]
    rows += [
        f"{e},{v + 1},0.5,{v},0.4,0.1,{10.0 * e},{100.0 * e}" for e, v in enumerate(losses, start=1)
    ]
    if losses:
        (workdir / "metrics.csv").write_text("\n".join(rows) + "\n")
    if scores == "default":
        scores = SCORES
    if scores:
        (workdir / "eval.json").write_text(json.dumps(scores))
    if parameters:
        (workdir / "model.txt").write_text("Net  shape\n")
    return workdir


def main_score(scores):
    value = scores["splits"]["test"]["score"]
    return report_run.Score("score on test", 50, value, value - 0.1, value + 0.1, 0.2, 2)


def score_of(sums, n):
    return sums[0] / n


def report(*workdirs, sections=lambda run: [Section("Own", [Text("own text")])], task="toy"):
    return write_report(
        workdirs, task=task, sections=sections, main_score=main_score, score_of=score_of
    )


class Page(HTMLParser):
    """The page, with its tags balanced, and what it would load."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.loads, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.text.append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())


def read(path):
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert all(url.startswith(("#", "data:")) for url in page.loads), page.loads
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\((?!\"?(data:|#))", html)
    return page


# a run


def test_a_page_says_what_was_run_and_stands_alone(tmp_path):
    run = make_run(tmp_path / "seed<3", parameters=1234)
    path = report(run)
    assert path == run / "report.html"
    page = read(path)
    words = page.words()
    assert "seed<3: score on test 0.50 [0.40, 0.60]" in words
    for part in (
        "launch.py --config=<script>alert(1)</script>", "jax 9.9", "abc", "today", "own text",
        "ab" * 32, "cd" * 32, "trainable parameters 1,234", "2 min 30 s for 5",
        "30 s (median), the slowest 50", "toys/s 300 (median",
    ):  # fmt: skip
        assert part in words, part
    assert page.tags.count("svg") == 2  # loss, accuracy: the learning rate is a number
    order = [words.index(t) for t in ("own text", "5 epochs;", "median", "command", "abc")]
    assert order == sorted(order)


def test_a_run_without_epochs_and_scores_has_a_page_too(tmp_path):
    words = read(report(make_run(tmp_path / "new", losses=[], scores=None))).words()
    assert "No epoch is finished yet." in words and "Timing" not in words


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("metrics.csv", "epoch,loss\n1,2\n"),
        ("metrics.csv", "epoch,loss,lr,seconds\n1,x,1,1\n"),
        ("eval.json", "{"),
        ("eval.json", "{}"),
        ("eval.json", '{"splits": {}, "data": "", "sha256": ""}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, text):
    run = make_run(tmp_path / "run")
    (run / file).write_text(text)
    with pytest.raises(UserError, match=file):
        report(run)
    assert not (run / "report.html").exists()


def test_a_folder_without_a_run_and_a_run_of_another_task_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report(tmp_path / "nothing")
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="task 'toy', and not of 'fer'"):
        report(run, task="fer")


# what is computed


def read_run(tmp_path, **settings):
    return report_run.read_run(make_run(tmp_path / "run", **settings))


def test_plateau_cuts_and_early_stop(tmp_path):
    run = read_run(tmp_path)
    assert report_run.plateau_cuts(run) == [4]
    assert report_run.stopped_early(run)
    words = report_run.history(run).parts[0].text
    assert words == (
        "5 epochs; epoch 2, the best by val_loss, is evaluated. Plateau: learning rate × 0.5 after "
        "epoch 4. Stopped early after epoch 5. The learning rate is 0.1 throughout."
    )


def test_two_cuts_without_early_stop(tmp_path):
    off = CONFIG["early_stop"] | {"enabled": False}
    run = read_run(tmp_path, losses=[2.0, 3.0, 3.0, 3.0, 3.0, 1.0], early_stop=off)
    assert report_run.plateau_cuts(run) == [3, 5]
    assert not report_run.stopped_early(run)
    assert "after epoch 3, 5." in report_run.history(run).parts[0].text
    assert "Stopped" not in report_run.history(run).parts[0].text


def test_a_plateau_that_is_off_never_cuts(tmp_path):
    run = read_run(tmp_path, plateau=CONFIG["plateau"] | {"enabled": False})
    assert report_run.plateau_cuts(run) == []
    assert "lateau" not in report_run.history(run).parts[0].text


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 1)])
def test_the_first_of_equal_epochs_is_the_best(tmp_path, mode, best):
    run = read_run(
        tmp_path, losses=[5.0, 1.0, 5.0, 1.0], checkpoint={"monitor": "val_loss", "mode": mode}
    )
    assert report_run.best_epoch(run) == best


def test_curves_carry_their_marks():
    rows = [{"epoch": e, "loss": 4.0 - e, "val_loss": 5.0 - e, "lr": 0.1} for e in (1, 2, 3)]
    marks = {"best epoch": ([2], "C2", "--"), "plateau cut": ([1, 3], "C3", ":")}
    axes = new_figure(4, 3).subplots()
    draw_curve(axes, rows, "loss", marks, legend=True)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["train"].get_ydata(), [3, 2, 1])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [4, 3, 2])
    assert lines["best epoch"].get_xdata()[0] == 2
    red = [line.get_xdata()[0] for line in axes.lines
           if matplotlib.colors.same_color(line.get_color(), "C3")]  # fmt: skip
    assert red == [1, 3]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["train", "validation", "best epoch", "plateau cut"]


def test_a_changing_rate_is_a_curve_and_the_legend_is_there_once(tmp_path):
    run = read_run(tmp_path)
    rows = [row | {"lr": 0.1 / row["epoch"]} for row in run.history]
    text, pictures = report_run.history(run._replace(history=rows)).parts
    assert "throughout" not in text.text and len(pictures.pictures) == 3
    assert len(report_run.history(run).parts[1].pictures) == 2
    with_legend = [len(picture.svg) for picture in pictures.pictures]
    assert with_legend[0] > 1.2 * max(with_legend[1:])


def test_hashes_and_settings_are_folded_away(tmp_path):
    path = make_run(tmp_path / "run") / "config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"differs": [{"field": "a.b", "old": 1, "new": 2}]}))
    parts = report_run.what_was_run(report_run.read_run(path.parent)).parts
    folded = {part.summary: part.parts for part in parts if isinstance(part, Fold)}
    assert folded["1 settings that differ from configs/toy_base.py"][0].rows == [["a.b", "1", "2"]]
    facts = dict(folded["versions, machine and hashes"][0].rows)
    assert facts["train_sha256"] == "ab" * 32 and facts["sha256 of the data"] == "cd" * 32
    assert facts["sha256 of valid"] == "01" * 32 and facts["sha256 of test"] == "02" * 32
    assert "ab" * 32 not in str([part for part in parts if isinstance(part, Facts)])


def test_a_page_shows_what_differs_from_the_base(tmp_path):
    run = make_run(tmp_path / "run")
    assert "differ" not in read(report(run)).words()  # a run of before they were kept
    path = run / "config.json"
    record = json.loads(path.read_text())
    for differs, words in (
        ([], "All settings are of configs/toy_base.py."),
        (
            [{"field": "model.old", "old": None}, {"field": "model.new", "new": "it: is -> b"}],
            "field base this run model.old None - model.new - 'it: is -> b'",
        ),
    ):
        path.write_text(json.dumps(record | {"differs": differs}))
        assert words in read(report(run)).words()


# several runs


def test_a_comparison_puts_the_best_first_and_names_the_differences(tmp_path):
    scores = {"data": "toys", "sha256": "cd" * 32}
    worse = make_run(tmp_path / "a" / "same", scores=scores | {"splits": {"test": {"score": 0.3}}},
                     parameters=7654)  # fmt: skip
    better = make_run(tmp_path / "b" / "same", train={"seed": 4}, losses=LOSSES[:2])
    path = report(worse, better)
    assert path == tmp_path / "comparison.html"
    page = read(path)
    words = page.words()
    assert words.index("b/same") < words.index("a/same")
    assert "0.50 [0.40, 0.60]" in words and "0.30 [0.20, 0.40]" in words and "7,654" in words
    assert re.search(r"train\.seed 3 4 ", words)  # in the order of the command
    assert "plateau.factor" not in words and "Careful" not in words
    assert page.tags.count("svg") == 3  # scores, loss, accuracy


def with_outcomes(run, values):
    np.savez(run / "outcomes.npz", test=np.array(values, np.float32))
    return run


def test_a_comparison_tells_the_paired_difference_on_the_same_examples(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 50)
    b = np.where(rng.random(50) < 0.2, 1 - a, a)  # alike, as two nets are
    one, other = (
        with_outcomes(make_run(tmp_path / name), values) for name, values in (("a", a), ("b", b))
    )
    page = read(report(one, other)).words()
    runs = [report_run.read_run(run) for run in (one, other)]
    pair = report_compare.paired(*runs, score_of)
    half = 1.96 * np.std(b - a, ddof=1) / 50**0.5
    assert pair.difference == pytest.approx(np.mean(b - a), abs=1e-6)
    # of a normal distribution; 1000 resamples, 50 examples
    assert [pair.low, pair.high] == pytest.approx([-half, half] + np.mean(b - a), abs=0.15 * half)
    unpaired = 1.96 * np.sqrt((np.var(a) + np.var(b)) / 50)
    assert (pair.high - pair.low) / 2 < 0.7 * unpaired
    assert (pair.n, pair.better, pair.worse) == (50, (b > a).sum(), (b < a).sum())
    assert pair.better and pair.worse and " ".join(pair.cells(2)) in page
    assert "minus a [95 %]" in page and "same 50 examples" in page
    table = report_compare.table(runs, [main_score(run.scores) for run in runs], score_of)
    assert table.header[:5] == ["run", "score [95 %]", "minus a [95 %]", "better", "worse"]
    assert {row[0]: row[2] == "-" for row in table.rows} == {"a": True, "b": False}


def test_no_paired_difference_where_the_examples_are_others(tmp_path):
    one = with_outcomes(make_run(tmp_path / "one"), [0, 1, 1])
    of_others = {"valid": "01" * 32, "test": "03" * 32}  # the same data, split by another seed
    only_valid = {"valid": "01" * 32}
    scores = [SCORES | {"split_sha256": hashes} for hashes in (of_others, only_valid)]
    old = {key: value for key, value in SCORES.items() if key != "split_sha256"}
    for number, (values, changes) in enumerate(
        [([0, 1], {}), (None, {}), *(([0, 1, 1], {"scores": s}) for s in (*scores, old))]
    ):
        other = make_run(tmp_path / f"other{number}", **changes)
        if values:
            with_outcomes(other, values)
        assert "minus" not in read(report(one, other)).words()


def test_damaged_outcomes_are_named(tmp_path):
    run = make_run(tmp_path / "run")
    for content in (
        b"",
        b"PK hello",
        (with_outcomes(run, 1) / "outcomes.npz").read_bytes(),
        (with_outcomes(run, []) / "outcomes.npz").read_bytes(),
        (with_outcomes(run, [0, 1]) / "outcomes.npz").read_bytes()[:-9],
    ):
        (run / "outcomes.npz").write_bytes(content)
        with pytest.raises(UserError, match="outcomes.npz"):
            report(run)


def test_runs_on_other_data_are_told_apart(tmp_path):
    one = make_run(tmp_path / "one")
    other = make_run(tmp_path / "other", identity={"data": "toys", "train_sha256": "ef" * 32})
    assert "trained on different data" in read(report(one, other)).words()
    of_others = {"valid": "01" * 32, "test": "03" * 32}
    third = make_run(tmp_path / "third", scores=SCORES | {"split_sha256": of_others})
    assert "scored on different data" in read(report(one, third)).words()
    old = {key: value for key, value in SCORES.items() if key != "split_sha256"}
    fourth = make_run(tmp_path / "fourth", scores=old)
    assert "scored on different data" not in read(report(one, fourth)).words()
    fifth = make_run(tmp_path / "fifth", scores=old | {"sha256": "00" * 32})
    assert "scored on different data" in read(report(one, fifth)).words()


def test_a_run_that_is_not_scored_comes_last(tmp_path):
    runs = [
        report_run.read_run(make_run(tmp_path / name, scores=scores, losses=losses))
        for name, scores, losses in (("a", None, []), ("b", "default", LOSSES))
    ]
    table = report_compare.table(runs, [None, main_score(runs[1].scores)], score_of)
    assert [row[0] for row in table.rows] == ["b", "a"]
    assert (
        "not scored" in table.rows[1]
        and dict(zip(table.header, table.rows[1], strict=True))["n"] == "-"
    )


def test_runs_that_are_chosen_by_other_metrics_are_compared(tmp_path):
    """val_chrf++ is in metrics.csv of an encoder-decoder only."""
    one = make_run(tmp_path / "one")
    other = make_run(tmp_path / "other", checkpoint={"monitor": "val_chrf++", "mode": "max"})
    text = (other / "metrics.csv").read_text()
    (other / "metrics.csv").write_text(text.replace("val_accuracy", "val_chrf++"))
    runs = [report_run.read_run(run) for run in (one, other)]
    table = report_compare.trainings(runs, [None, None])
    assert table.header[-3:] == ["val_chrf++", "val_loss", "time"]
    assert [row[-3:-1] for row in table.rows] == [["-", "2.0000"], ["0.4000", "2.0000"]]
    assert "val_chrf++" in read(report(one, other)).words()


def test_the_same_run_twice_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="twice"):
        report(run, tmp_path / "run")


# the page


def test_every_kind_of_part_is_shown_and_escaped(tmp_path):
    figure = Figure(figsize=(2, 2))
    figure.subplots().set_title("A&B")
    sections = [
        Section("Empty", []),
        Section("One", [Text("a<b"), Facts([("name<", "value<")]), Details("more<", "x\n  y<"),
                        Fold("fold<", [Text("inner<"), Fold("deep<", [Text("inmost<")])])]),
        Section("Two", [
            Table(["h<"], [["c<"]], (0,), "note<"),
            Pictures([Picture(svg(figure), "caption<")]),
            Cards([Card(report_html.png_uri("QUJD"), ["line<", "two<"])]),
        ]),
    ]  # fmt: skip
    font = report_html.Font("Some Font", "data:font/ttf;base64,QUJD", "U+0C80-0CFF")
    report_html.write_page(tmp_path / "page.html", "t<", "s<", sections, [font])
    page = read(tmp_path / "page.html")
    words = page.words()
    for part in ("t<", "s<", "a<b", "name< value<", "more<", "y<", "h<", "c<", "note<",
                 "fold< inner< deep< inmost<",
                 "caption<", "line< two<"):  # fmt: skip
        assert part in words, part
    assert "Empty" not in words
    assert "data:image/png;base64,QUJD" in page.loads
    html = (tmp_path / "page.html").read_text()
    assert '"Some Font", system-ui' in html and "unicode-range: U+0C80-0CFF" in html
    assert '<td class="number">c&lt;</td>' in html
    assert {url for url in page.loads if url.startswith("#s")} == {"#s1", "#s2"}


def test_svg_fits_its_place_and_is_the_same_each_time():
    def draw():
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([1, 2], [3, 4])
        return svg(figure)

    text = draw()
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>")
    start = text[: text.index(">")]
    assert "viewBox" in start and " width=" not in start and " height=" not in start
    assert 'style="width: 288px"' in start  # 3 inches: letters have one size in all figures
    assert "stroke: currentColor" in text and "#000000" not in text and "fill: #ffffff" not in text
    assert "<metadata>" not in text and "<?xml" not in text
    assert text == draw()
