"""The report of a run on faces, from eval.json and mistakes.json as `evaluate.score` writes."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from fer_jax.data import CLASSES, Faces, select
from fer_jax.evaluate import score
from fer_jax.report import page as report_html
from fer_jax.report.mistakes import write_mistakes
from train_jax.metrics import wilson_interval
from train_jax.report.page import Cards, Pictures, Text
from train_jax.report.run import Run
from train_jax.report.table import Table


def random_faces(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % 7
    return Faces(rng.integers(0, 256, (n, 48, 48)).astype(np.uint8), labels)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was scored with logits drawn at random, not in the class 'disgust'."""
    splits = {
        "train": random_faces(30, 0),
        "valid": random_faces(70, 1),
        "test": random_faces(90, 2),
    }
    splits["test"] = select(splits["test"], splits["test"].labels != 1)
    logits = {len(f.labels): np.random.default_rng(3).normal(size=(len(f.labels), 7)) * 2
              for f in splits.values()}  # fmt: skip
    about = {"data": "drawn_faces", "sha256": "ab" * 32, "epoch": 7, "tta": "none",
             "weights": "best checkpoint"}  # fmt: skip
    monkeypatch.setattr("fer_jax.report.tables.save_confusion", lambda *_: None)
    score(tmp_path, lambda images: logits[len(images)], splits, classes=CLASSES,
          temperature=1.7, majority=3, about=about)  # fmt: skip
    result = json.loads((tmp_path / "eval.json").read_text())
    return Run(tmp_path, "run", RECORD, [], result, ""), splits, logits


RECORD = {"config": {}, "identity": {"classes": CLASSES}}


def parts(sections, title, kind):
    (section,) = [s for s in sections if s.title == title]
    return [p for p in section.parts if isinstance(p, kind)]


def test_scores_recall_reliability_and_mistakes_are_there(run):
    run, splits, _ = run
    sections = report_html.sections(run)
    titles = [s.title for s in sections]
    assert titles == [
        "Scores", "Confusion", "Recall of each class", "Reliability", "Most confident mistakes",
    ]  # fmt: skip
    (table,) = parts(sections, "Scores", Table)
    assert [row[0] for row in table.rows][:3] == ["train", "valid", "test"]
    s = run.scores["splits"]["test"]
    low, high = s["ci95"]
    n = len(splits["test"].labels)
    assert table.rows[2][1:4] == [
        str(n),
        f"{s['accuracy']:.4f} [{low:.4f}, {high:.4f}]",
        f"{s['majority']:.4f}",
    ]
    (words,) = parts(sections, "Scores", Text)
    assert "Epoch 7, single view" in words.text and "say nothing about people" in words.text
    assert len(parts(sections, "Confusion", Pictures)[0].pictures) == 2  # valid, test
    (coverage,) = parts(sections, "Reliability", Table)
    assert coverage.header[-2:] == ["test: answered", "test: right"]
    assert [coverage.rows[0][0], *coverage.rows[0][-2:]] == [
        "0.00", "100.0%", f"{s['accuracy']:.1%}"
    ]  # fmt: skip


def test_the_main_score_is_of_the_last_split(run):
    main = report_html.main_score(run[0].scores)
    s = run[0].scores["splits"]["test"]
    assert main[:5] == ("accuracy on test", s["n"], s["accuracy"], *s["ci95"])
    assert main.baseline == s["majority"]


def test_an_eval_json_of_an_older_version_has_no_reliability(run):
    run = run[0]
    del run.scores["reliability"]
    (run.workdir / "mistakes.json").unlink()
    sections = report_html.sections(run)
    assert [s.title for s in sections if s.parts] == ["Scores", "Confusion", "Recall of each class"]
    assert report_html.sections(run._replace(scores=None))[0].parts


def test_recall_bars_have_wilson_intervals(run):
    scores = run[0].scores["splits"]["test"]
    axes, told = report_html.recall("test", scores, CLASSES).axes
    confusion = np.array(scores["confusion"])
    bars = axes.containers[-1].patches
    segments = [line for c in axes.collections for line in c.get_segments()]
    assert len(bars) == len(segments) == 7
    for label, (bar, ((low, _), (high, _))) in enumerate(zip(bars, segments, strict=True)):
        hits, n = int(confusion[label, label]), int(confusion[label].sum())
        assert bar.get_width() == pytest.approx(hits / max(n, 1))
        expected = wilson_interval(hits, n) if n else (0, 0)
        assert (low, high) == pytest.approx(expected, abs=1e-9)
    assert [t.get_text() for t in axes.get_yticklabels()] == list(CLASSES)
    counts = [f"{confusion[k, k]} of {confusion[k].sum()}" for k in range(7)]
    assert [t.get_text() for t in told.get_yticklabels()] == counts
    assert axes.get_ylim() == told.get_ylim()
    assert list(axes.get_yticks()) == list(told.get_yticks())


def test_the_confusion_figure_has_counts_beside_percentages(run):
    scores = run[0].scores["splits"]["test"]
    (axes,) = report_html.confusion("test", scores, CLASSES).axes
    confusion = np.array(scores["confusion"])
    shares = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    cells = zip(shares.flat, confusion.flat, strict=True)
    expected = [f"{s:.0f} %\n{n}" if n else "0" for s, n in cells]
    assert [t.get_text() for t in axes.texts] == expected
    many = scores | {"confusion": np.eye(50, dtype=int).tolist()}
    (axes,) = report_html.confusion("test", many, [f"c{i}" for i in range(50)]).axes
    assert not axes.texts and max(axes.figure.get_size_inches()) <= 10


def test_whether_each_image_is_right_is_kept(run):
    run, splits, logits = run
    with np.load(run.workdir / "outcomes.npz") as found:
        assert {*found} == {*splits}
        for name, faces in splits.items():
            right = logits[len(faces.labels)].argmax(1) == faces.labels
            np.testing.assert_array_equal(found[name], right)
            accuracy = report_html.score_of(found[name][:, None].sum(0), len(right))
            assert accuracy == run.scores["splits"][name]["accuracy"]


def test_the_same_data_with_another_test_split_is_told(run, tmp_path):
    run, splits, logits = run
    other = Faces(splits["test"].images[::-1], splits["test"].labels[::-1])
    about = {"data": "own_data", "sha256": run.scores["sha256"], "epoch": 7, "tta": "none",
             "weights": "best checkpoint"}  # fmt: skip
    result = score(
        tmp_path, lambda images: logits[len(images)], splits | {"test": other}, classes=CLASSES,
        temperature=1.7, majority=3, about=about,
    )  # fmt: skip
    same = {n for n, h in result["split_sha256"].items() if run.scores["split_sha256"][n] == h}
    assert same == {"train", "valid"}


def test_the_bins_of_the_diagram_are_those_of_the_answers(run):
    run, splits, logits = run
    labels = splits["test"].labels
    for kind, temperature in (("plain", 1.0), ("calibrated", 1.7)):
        powers = np.exp(logits[len(labels)] / temperature)
        probabilities = powers / powers.sum(1, keepdims=True)
        confidence = probabilities.max(1)
        hits = probabilities.argmax(1) == labels
        bins = run.scores["reliability"]["test"][kind]
        assert len(bins) == 15
        for number, b in enumerate(bins):
            inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
            assert b["n"] == inside.sum()
            if b["n"]:
                assert b["confidence"] == pytest.approx(confidence[inside].mean())
                assert b["accuracy"] == pytest.approx(hits[inside].mean())
            else:
                assert b["confidence"] is None and b["accuracy"] is None
        above, below = report_html.reliability("title", bins).axes
        heights = [bar.get_height() for bar in above.patches]
        assert heights == pytest.approx([b["accuracy"] for b in bins if b["n"]])
        lefts = [bar.get_x() for bar in above.patches]
        assert lefts == pytest.approx([i / 15 for i, b in enumerate(bins) if b["n"]])
        assert sum(bar.get_height() for bar in below.patches) == pytest.approx(1)


def test_mistakes_are_the_most_confident_wrong_answers(tmp_path):
    faces = Faces(random_faces(5, 4).images, np.array([0, 1, 2, 3, 4], np.int32))
    probabilities = np.full((5, 7), 0.01)
    for row, (label, p) in enumerate([(0, 0.99), (2, 0.6), (5, 0.9), (6, 0.7), (4, 0.5)]):
        probabilities[row, label] = p
    write_mistakes(tmp_path / "mistakes.json", "test", faces, probabilities, CLASSES, most=2)
    found = json.loads((tmp_path / "mistakes.json").read_text())
    assert found["split"] == "test"
    expected = [(2, "fear", "surprise", 0.9), (3, "happy", "neutral", 0.7)]
    keys = ("index", "true", "predicted", "probability")
    assert [tuple(m[key] for key in keys) for m in found["mistakes"]] == expected
    for m in found["mistakes"]:
        with Image.open(io.BytesIO(base64.b64decode(m["png"]))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), faces.images[m["index"]])
    (cards,) = [p for p in report_html.mistakes(tmp_path).parts if isinstance(p, Cards)]
    assert [card.lines for card in cards.cards] == [
        ["surprise 90%", "true: fear"],
        ["neutral 70%", "true: happy"],
    ]


def test_without_mistakes_there_is_no_such_section(tmp_path):
    faces = random_faces(7, 5)
    write_mistakes(tmp_path / "mistakes.json", "test", faces, np.eye(7), CLASSES)
    assert report_html.mistakes(tmp_path).parts == []
