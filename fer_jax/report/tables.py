"""Tables on the console and figures in `workdir/figures`."""

from pathlib import Path

import numpy as np

from train_jax.report.figure import new_figure, save_figure, use_letters


def describe(dataset, splits) -> str:
    """What is trained on: name, source, hash, and the count of each class in each split."""
    classes = dataset.classes
    widths = [max(10, 2 + len(name)) for name in classes]
    lines = [f"data: {dataset.name} from {dataset.source}, sha256 {dataset.sha256[:16]}"]
    cells = "".join(f"{c:>{w}s}" for c, w in zip(classes, widths, strict=True))
    lines.append(f"{'split':12s}{'images':>8s}{cells}")
    for name, faces in splits.items():
        counts = np.bincount(faces.labels, minlength=len(classes))
        cells = "".join(f"{n:{w},d}" for n, w in zip(counts, widths, strict=True))
        lines.append(f"{name:12s}{len(faces.labels):8,d}{cells}")
    return "\n".join(lines)


# config.eval.tta
VIEW_WORDS = {
    "none": "single view",
    "flip": "image and mirror averaged",
    "ten_crop": "five crops of 44 pixels and their mirrors averaged",
}
TWIN_WORDS = (
    "Clean: without the images that have a pixel-identical twin in train. Without near twins: nor\n"
    "those of which train has the same photograph, cropped, scaled or lit otherwise (correlation\n"
    "of the pixels at least 0.9)."
)


def twin_free_rows(result) -> list[tuple[str, dict]]:
    """(name, scores) of the rows without twins of eval.json; one of before 2026-11-26 has fewer."""
    rows = [(f"{name}, clean", s) for name, s in result["clean"].items()]
    near = result.get("no_near_twins", {})
    return rows + [(f"{name}, without near twins", s) for name, s in near.items()]


def score_table(result, workdir) -> str:
    """eval.json as a table, the majority-class baseline next to each accuracy."""
    view = VIEW_WORDS[result["tta"]]
    lines = [
        f"scores of {result['weights']} (epoch {result['epoch']}) on {result['data']}, {view} "
        f"({workdir}/eval.json)",
        f"{'split':30s}{'n':>8s}{'accuracy':>10s}{'95 % interval':>17s}{'majority':>10s}"
        f"{'recall':>9s}{'F1':>8s}{'top 2':>8s}{'NLL':>8s}{'ECE':>8s}{'ECE/T':>8s}",
    ]
    rows = list(result["splits"].items())
    rows += twin_free_rows(result)
    for name, s in rows:
        low, high = s["ci95"]
        lines.append(
            f"{name:30s}{s['n']:8,d}{s['accuracy']:10.4f}   {low:.4f}-{high:.4f}"
            f"{s['majority']:9.4f}{s['macro_recall']:10.4f}{s['macro_f1']:8.4f}{s['top2']:8.4f}"
            f"{s['nll']:8.4f}{s['ece']:8.4f}{s['calibrated']['ece']:8.4f}"
        )
    lines.append(
        f"{TWIN_WORDS}\n"
        "majority: accuracy of always answering the most frequent class of train. recall, F1: means"
        "\nover the classes. ECE/T: calibration error at the temperature fitted on valid, "
        f"{result['temperature']:.3f}."
    )
    return "\n".join(lines)


def coverage_table(result) -> str:
    """Share of each split kept, and right, if answers below a calibrated probability do not count.

    The whole train split is left out: it was trained on.
    """
    splits = {name: s["coverage"] for name, s in result["splits"].items() if name != "train"}
    lines = [f"{'probability':>11s}" + "".join(f"{name + ': kept, right':>26s}" for name in splits)]
    for rows in zip(*splits.values(), strict=True):
        line = f"{'at least ' + format(rows[0]['threshold'], '.2f'):>11s}"
        for row in rows:
            right = "-" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
            line += f"{row['kept']:18.4f}{right:>8s}"
        lines.append(line)
    return "\n".join(lines)


def draw_confusion(workdir: Path, scores, data_name, classes):
    """figures/confusion.png: for each split but train, unless there is no other; in % of the true
    class, with counts."""
    use_letters(classes)
    names = [name for name in scores if name != "train"] or ["train"]
    figure = new_figure(6 * len(names), 5.6)
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        confusion = np.array(scores[name]["confusion"])
        share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*confusion.shape):
            axes.text(
                column,
                row,
                f"{100 * share[row, column]:.0f} %\n{confusion[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=45, ha="right")
        axes.set_yticks(ticks, classes)
        s = scores[name]
        axes.set(
            xlabel="predicted", ylabel="true", title=f"{name}: {s['accuracy']:.1%} of {s['n']:,}"
        )
    figure.suptitle(f"{workdir.name} on {data_name}")
    save_figure(figure, workdir / "figures" / "confusion.png")
