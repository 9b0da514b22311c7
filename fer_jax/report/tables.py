"""Tables on the console and figures in `workdir/figures`."""

from pathlib import Path

import numpy as np

from train_jax.report.figure import new_figure, save_figure, use_letters
from train_jax.report.table import Table, as_text, interval


def describe(dataset, splits) -> str:
    """What is trained on: name, source, hash, and the count of each class in each split."""
    rows = []
    for name, faces in splits.items():
        counts = np.bincount(faces.labels, minlength=len(dataset.classes))
        rows.append([name, *(f"{n:,}" for n in (len(faces.labels), *counts))])
    table = Table(["split", "images", *dataset.classes], rows, range(1, 2 + len(dataset.classes)))
    source = f"data: {dataset.name} from {dataset.source}, sha256 {dataset.sha256[:16]}"
    return f"{source}\n{as_text(table)}"


MOST_NUMBERS = 12  # classes up to which a confusion figure has numbers in it
ON_LIGHT = "#010101"  # not black, which turns light on a dark page
# config.eval.tta
VIEW_WORDS = {
    "none": "single view",
    "flip": "image and mirror averaged",
    "ten_crop": "five crops of 44 pixels and their mirrors averaged",
}
NOTE = (
    "Accuracy with its 95 % interval (Wilson). Majority: accuracy of always answering the most "
    "frequent class of train. Recall, F1: means over the classes. NLL: negative log-likelihood; "
    "ECE: expected calibration error, 15 bins; /T: of the logits divided by the temperature, "
    "{temperature:.3f}. Clean: without the images that have a pixel-identical twin in train. "
    "Without near twins: nor those of which train has the same photograph, cropped, scaled or lit "
    "otherwise (correlation of the pixels at least 0.9)."
)


def scores(result: dict) -> Table:
    """Every split of eval.json, all images and those without twins in train, where there are any,
    next to the baseline."""
    splits = result["splits"]
    rows = [*splits.items()]
    for kind, words in (("clean", "clean"), ("no_near_twins", "without near twins")):
        rows += [
            (f"{name}, {words}", s)
            for name, s in result.get(kind, {}).items()  # one of before 2026-11-26 has fewer
            if s["n"] < splits[name]["n"]
        ]
    header = ["split", "n", "accuracy [95 %]", "majority", "recall", "F1", "top 2", "NLL", "ECE",
              "NLL/T", "ECE/T"]  # fmt: skip
    cells = [
        [name, f"{s['n']:,}", interval(s["accuracy"], s["ci95"], 4)]
        + [f"{s[key]:.4f}" for key in ("majority", "macro_recall", "macro_f1", "top2", "nll")]
        + [f"{x:.4f}" for x in (s["ece"], s["calibrated"]["nll"], s["calibrated"]["ece"])]
        for name, s in rows
    ]
    note = NOTE.format(temperature=result["temperature"])
    return Table(header, cells, range(1, len(header)), note)


def summary(result: dict) -> Table:
    """What the console says of eval.json, in 80 columns: the splits that were not trained on, and
    the last of them without near twins."""
    table = scores(result)
    test = list(result["splits"])[-1]
    rows = [row for row in table.rows if row[0] in result["splits"] and row[0] != "train"]
    rows += [row for row in table.rows if row[0] == f"{test}, without near twins"]
    note = (
        "Majority: always answering the most frequent class of train. The whole table is in "
        "report.html, and in eval.json."
    )
    return Table(table.header[:4], [row[:4] for row in rows or table.rows], range(1, 4), note)


def coverage(splits: dict) -> Table:
    """What is answered, and right, if answers below a calibrated probability do not count, of every
    split but train, which was trained on."""
    splits = {name: s["coverage"] for name, s in splits.items() if name != "train"}
    header = ["at least", *(f"{name}: {what}" for name in splits for what in ("answered", "right"))]
    cells = [
        [f"{rows[0]['threshold']:.2f}"]
        + [
            cell
            for row in rows
            for cell in (
                f"{row['kept']:.1%}",
                "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}",
            )
        ]
        for rows in zip(*splits.values(), strict=True)
    ]
    note = "If only answers of at least a calibrated probability count."
    return Table(header, cells, range(len(header)), note)


def draw_confusion(axes, name: str, scores: dict, classes) -> None:
    """In % of the true class, with counts, as long as there is room for them."""
    matrix = np.array(scores["confusion"])
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape) if len(classes) <= MOST_NUMBERS else ():
        count = matrix[row, column]
        axes.text(
            column, row, f"{100 * share[row, column]:.0f} %\n{count}" if count else "0",
            ha="center", va="center", fontsize=8,
            color="white" if share[row, column] > 0.6 else ON_LIGHT,
        )  # fmt: skip
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    title = f"{name}: {scores['accuracy']:.1%} of {scores['n']:,}"
    axes.set(xlabel="predicted", ylabel="true", title=title)


def save_confusion(workdir: Path, scores, data_name, classes):
    """figures/confusion.png: for each split but train, unless there is no other."""
    use_letters(classes)
    names = [name for name in scores if name != "train"] or ["train"]
    figure = new_figure(6 * len(names), 5.6)
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        draw_confusion(axes, name, scores[name], classes)
    figure.suptitle(f"{workdir.name} on {data_name}")
    save_figure(figure, workdir / "figures" / "confusion.png")
