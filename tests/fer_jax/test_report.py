"""Tables and figures say what they were given."""

import numpy as np
import pytest

from fer_jax import report
from fer_jax.data import CLASSES, Dataset, Faces
from fer_jax.models import SimpleCNN
from fer_jax.task import init_model


@pytest.fixture
def saved(monkeypatch):
    """{file: figure} in place of pictures on the disk."""
    figures = {}
    monkeypatch.setattr(report, "_save", lambda figure, path: figures.update({path.name: figure}))
    return figures


def scores(confusion):
    confusion = np.array(confusion)
    n = int(confusion.sum())
    return {
        "n": n, "accuracy": float(np.trace(confusion) / n), "ci95": [0.1234, 0.5678],
        "macro_recall": 0.21, "macro_f1": 0.22, "top2": 0.23, "nll": 1.24, "ece": 0.25,
        "recall": dict.fromkeys(CLASSES, 0.5), "confusion": confusion.tolist(), "majority": 0.26,
    }  # fmt: skip


def random_confusion(seed):
    return np.random.default_rng(seed).integers(0, 100, (7, 7))


def test_describe_counts_each_class_of_each_split():
    train = Faces(np.zeros((1234, 48, 48), np.uint8), np.repeat([0, 3, 6], [4, 1200, 30]))
    valid = Faces(np.zeros((3, 48, 48), np.uint8), np.array([1, 1, 2]))
    dataset = Dataset("fer2013", {}, "faces.zip", "0123456789abcdef" * 4, notice="")
    first, header, *rows = report.describe(dataset, {"train": train, "valid": valid}).splitlines()
    assert first == "data: fer2013 from faces.zip, sha256 0123456789abcdef"
    assert header.split() == ["split", "images", *CLASSES]
    assert [row.split() for row in rows] == [
        ["train", "1,234", "4", "0", "0", "1,200", "0", "0", "30"],
        ["valid", "3", "0", "2", "1", "0", "0", "0", "0"],
    ]


def test_model_table_names_every_array_and_both_totals():
    model = SimpleCNN(num_classes=7, features=(2, 3), dense=5, batch_norm=True, dropout=0.0)
    first, *rows = report.model_table(model, lambda key: init_model(model, key)).splitlines()
    assert first.split() == ["SimpleCNN", "shape", "parameters"]
    table = {row.rsplit("  ", 1)[0].strip(): row.split()[-1] for row in rows}
    counts = {name.split("  ")[0]: number for name, number in table.items()}
    dense = 12 * 12 * 3 * 5
    assert counts == {
        "Conv_0/bias": "2", "Conv_0/kernel": "18", "Conv_1/bias": "3", "Conv_1/kernel": "54",
        "BatchNorm_0/bias": "2", "BatchNorm_0/scale": "2",
        "BatchNorm_1/bias": "3", "BatchNorm_1/scale": "3",
        "BatchNorm_2/bias": "5", "BatchNorm_2/scale": "5",
        "Dense_0/bias": "5", "Dense_0/kernel": f"{dense:,}",
        "Dense_1/bias": "7", "Dense_1/kernel": "35",
        "trainable": f"{2 + 18 + 3 + 54 + 20 + 5 + dense + 7 + 35:,}",
        "batch statistics": "20",
    }  # fmt: skip
    assert "(3, 3, 2, 3)" in next(row for row in rows if row.startswith("Conv_1/kernel"))


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_score_table(tta):
    split = scores(random_confusion(0))
    result = {
        "data": "drawn_faces", "epoch": 12, "tta": tta,
        "splits": {"train": split, "test": split}, "clean": {"test": split | {"n": 17}},
    }  # fmt: skip
    first, header, *rows = report.score_table(result, "runs/x").splitlines()
    assert "epoch 12" in first and "drawn_faces" in first and "runs/x/eval.json" in first
    assert ("image and mirror" in first) == (tta == "flip")
    assert ("single view" in first) == (tta == "none")
    assert header.index("accuracy") < header.index("majority") < header.index("ECE")
    numbers = [
        f"{split['accuracy']:.4f}", "0.1234-0.5678", "0.2600", "0.2100", "0.2200", "0.2300",
        "1.2400", "0.2500",
    ]  # fmt: skip
    assert rows[0].split() == ["train", f"{split['n']:,}", *numbers]
    assert rows[1].split() == ["test", f"{split['n']:,}", *numbers]
    assert rows[2].split() == ["test,", "clean", "17", *numbers]
    assert "majority" in rows[3]


HISTORY = [
    {
        "epoch": e, "loss": 2 / e, "accuracy": 0.1 * e, "val_loss": 3 / e, "val_accuracy": 0.05 * e,
        "lr": 0.1**e, "seconds": 1.0, "images/s": 2.0,
    }
    for e in (1, 2, 3)
]  # fmt: skip


def test_history_shows_both_curves_and_the_best_epoch(saved, tmp_path):
    report.draw_history(tmp_path / "seed1", HISTORY, 2, "drawn_faces")
    figure = saved["history.png"]
    title = figure.get_suptitle()
    assert "seed1" in title and "drawn_faces" in title
    axes = {a.get_ylabel(): a for a in figure.axes}
    for name in ("accuracy", "loss"):
        train, valid, best = axes[name].lines
        assert (train.get_label(), valid.get_label()) == ("train", "validation")
        np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(train.get_ydata(), [row[name] for row in HISTORY])
        np.testing.assert_allclose(valid.get_ydata(), [row[f"val_{name}"] for row in HISTORY])
        assert set(best.get_xdata()) == {2}
    np.testing.assert_allclose(axes["learning rate"].lines[0].get_ydata(), [0.1, 0.01, 0.001])
    assert any("2" in text.get_text() for text in figure.axes[0].get_legend().get_texts())


def test_confusion_shows_percent_of_the_true_class_and_counts(saved, tmp_path):
    test, valid = random_confusion(1), random_confusion(2)
    test[1] = 0  # a class without images
    names = {"train": random_confusion(3), "valid": valid, "PublicTest": test}
    report.draw_confusion(tmp_path / "run", {k: scores(v) for k, v in names.items()}, "fer2013")
    figure = saved["confusion.png"]
    assert "fer2013" in figure.get_suptitle()
    assert [a.get_title().split(":")[0] for a in figure.axes] == ["valid", "PublicTest"]
    axes = figure.axes[1]
    assert f"{np.trace(test) / test.sum():.1%} of {test.sum():,}" in axes.get_title()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(CLASSES)
    assert len(axes.texts) == 49
    for text in axes.texts:
        column, row = text.get_position()
        share = test[row, column] / max(test[row].sum(), 1)
        assert text.get_text() == f"{100 * share:.0f} %\n{test[row, column]}"
    np.testing.assert_allclose(
        axes.images[0].get_array(), test / np.maximum(test.sum(1, keepdims=True), 1)
    )


def test_figures_are_written_where_they_belong(tmp_path):
    report.draw_history(tmp_path, HISTORY[:1], 1, "fer2013")  # one epoch, no line to draw
    report.draw_confusion(tmp_path, {"test": scores(random_confusion(0))}, "fer2013")
    for name in ("history", "confusion"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
