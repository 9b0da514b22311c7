"""Tables and figures say what they were given."""

import numpy as np

from fer_jax.data import CLASSES, Dataset, Faces
from fer_jax.report import tables as report
from train_jax.report.table import as_text


def scores(confusion):
    confusion = np.array(confusion)
    n = int(confusion.sum())
    return {
        "n": n, "accuracy": float(np.trace(confusion) / n), "ci95": [0.1234, 0.5678],
        "macro_recall": 0.21, "macro_f1": 0.22, "top2": 0.23, "nll": 1.24, "ece": 0.25,
        "recall": dict.fromkeys(CLASSES, 0.5), "confusion": confusion.tolist(), "majority": 0.26,
        "calibrated": {"nll": 1.27, "ece": 0.28},
        "coverage": [
            {"threshold": 0.0, "kept": 1.0, "accuracy": 0.31},
            {"threshold": 0.95, "kept": 0.0, "accuracy": None},
        ],
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


def test_scores_have_a_row_for_each_split_with_and_without_twins():
    split = scores(random_confusion(0))
    result = {
        "temperature": 1.29,
        "splits": {"train": split, "valid": split, "test": split},
        "clean": {"valid": split, "test": split | {"n": 17}},
        "no_near_twins": {"test": split | {"n": 15}},
    }  # fmt: skip
    table = report.scores(result)
    numbers = [
        f"{split['accuracy']:.4f} [0.1234, 0.5678]", "0.2600", "0.2100", "0.2200", "0.2300",
        "1.2400", "0.2500", "1.2700", "0.2800",
    ]  # fmt: skip
    n = f"{split['n']:,}"
    assert table.rows == [
        ["train", n, *numbers], ["valid", n, *numbers], ["test", n, *numbers],
        ["test, clean", "17", *numbers],  # of valid it would say the same again
        ["test, without near twins", "15", *numbers],
    ]  # fmt: skip
    assert table.header[:4] == ["split", "n", "accuracy [95 %]", "majority"]
    assert "1.290" in table.note and table.header[-1] == "ECE/T"
    del result["no_near_twins"]  # of a run that is older than the row
    assert len(report.scores(result).rows) == 4


def test_the_console_has_three_rows_in_80_columns():
    split = scores(random_confusion(0))
    names = ("train", "valid", "PublicTest")
    result = {"temperature": 1.0, "splits": dict.fromkeys(names, split), "clean": {}}
    result["no_near_twins"] = {name: split | {"n": 12_345} for name in names[1:]}
    table = report.summary(result | {"splits": dict.fromkeys(names, split | {"n": 23_456})})
    assert [row[0] for row in table.rows] == [
        "valid", "PublicTest", "PublicTest, without near twins"
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in as_text(table).splitlines())
    alone = report.summary(result | {"splits": {"train": split}, "no_near_twins": {}})
    assert [row[0] for row in alone.rows] == ["train"]


def test_coverage_leaves_train_out():
    one = scores(random_confusion(0))
    other = one | {"coverage": [row | {"accuracy": 0.75} for row in one["coverage"]]}
    table = report.coverage({"train": one, "valid": one, "PublicTest": other})
    assert table.header == [
        "at least", "valid: answered", "valid: right", "PublicTest: answered", "PublicTest: right",
    ]  # fmt: skip
    assert table.rows == [
        ["0.00", "100.0%", "31.0%", "100.0%", "75.0%"],
        ["0.95", "0.0%", "-", "0.0%", "75.0%"],
    ]


def test_confusion_shows_percent_of_the_true_class_and_counts(saved, tmp_path):
    test, valid = random_confusion(1), random_confusion(2)
    test[1] = 0  # a class without images
    names = {"train": random_confusion(3), "valid": valid, "PublicTest": test}
    report.save_confusion(
        tmp_path / "run", {k: scores(v) for k, v in names.items()}, "fer2013", CLASSES
    )
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
        count = test[row, column]
        assert text.get_text() == (f"{100 * share:.0f} %\n{count}" if count else "0")
    np.testing.assert_allclose(
        axes.images[0].get_array(), test / np.maximum(test.sum(1, keepdims=True), 1)
    )


def test_the_figure_is_written_where_it_belongs(tmp_path):
    report.save_confusion(tmp_path, {"test": scores(random_confusion(0))}, "fer2013", CLASSES)
    assert (tmp_path / "figures" / "confusion.png").read_bytes().startswith(b"\x89PNG")
