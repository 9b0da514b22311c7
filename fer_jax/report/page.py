"""The sections of report.html that only faces have."""

import json
from pathlib import Path

import numpy as np

from fer_jax.report import tables
from fer_jax.report.tables import VIEW_WORDS
from train_jax.metrics import wilson_interval
from train_jax.report.figure import explain_lines, new_figure, svg, use_letters
from train_jax.report.page import Card, Cards, Picture, Pictures, Section, Text, png_uri
from train_jax.report.run import Run, Score


def main_score(result: dict) -> Score:
    """Accuracy on the last split of eval.json: a test split, where there is one."""
    name = list(result["splits"])[-1]
    s = result["splits"][name]
    low, high = s["ci95"]
    return Score(f"accuracy on {name}", s["n"], s["accuracy"], low, high, s["majority"], 4)


def score_of(sums, n: int) -> float:
    """Accuracy on n images from the sum of their outcomes, f[1]."""
    return float(sums[0]) / n


def sections(run: Run) -> list[Section]:
    """Scores, confusion, recall, reliability, mistakes of eval.json and mistakes.json."""
    if not run.scores:
        return [Section("Scores", [Text("Not scored yet: there is no eval.json.")])]
    splits = {name: s for name, s in run.scores["splits"].items() if name != "train"}
    classes = run.record["identity"]["classes"]
    use_letters(classes)
    found = [
        score_section(run.scores),
        Section("Confusion", [Pictures([Picture(svg(confusion(name, s, classes))) for name, s in
                                        splits.items()])]),
        Section("Recall of each class", [Pictures([Picture(svg(recall(name, s, classes)))
                                                   for name, s in splits.items()])]),
    ]  # fmt: skip
    found.append(reliability_section(run.scores))
    return [*found, mistakes(run.workdir)]


def score_section(result: dict) -> Section:
    view = VIEW_WORDS[result["tta"]]
    words = f"Epoch {result['epoch']}, {view}." + (
        " Drawn faces: these numbers say nothing about people."
        if result["data"] == "drawn_faces"
        else ""
    )
    return Section("Scores", [Text(words), tables.scores(result)])


def confusion(name, scores, classes):
    side = min(max(3.6, 1.6 + 0.5 * len(classes)), 10)  # inches
    figure = new_figure(side, side)
    tables.draw_confusion(figure.subplots(), name, scores, classes)
    return figure


def recall(name, scores, classes):
    """Share of each class that is found, with 95 % Wilson intervals, and the counts."""
    matrix = np.array(scores["confusion"])
    hits, counts = np.diag(matrix), matrix.sum(1)
    shares = hits / np.maximum(counts, 1)
    ends = [wilson_interval(int(h), int(n)) for h, n in zip(hits, counts, strict=True)]
    errors = np.nan_to_num(np.abs(np.transpose(ends) - shares))  # nan: no example
    figure = new_figure(5.2, 0.9 + 0.3 * len(classes))
    axes = figure.subplots()
    places = range(len(classes))
    axes.barh(places, shares, 0.75, xerr=errors, error_kw={"lw": 1, "ecolor": "black"})
    axes.set_yticks(places, classes)
    told = axes.twinx()  # shares the bars' places: what was found of how many
    told.set_yticks(places, [f"{h:,} of {n:,}" for h, n in zip(hits, counts, strict=True)])
    for side in (axes, told):
        side.set_ylim(len(classes) - 0.4, -0.6)
        side.tick_params(axis="y", length=0)
        side.spines[["top", "right"]].set_visible(False)
    axes.set(xlim=(0, 1), title=f"{name}: recall, with 95 % intervals")
    axes.grid(alpha=0.3, axis="x")
    return figure


def reliability_section(result: dict) -> Section:
    """Before and after the temperature, and what is gained by not answering when unsure."""
    if "reliability" not in result:
        return Section("Reliability", [])
    name = list(result["splits"])[-1]
    s, bins = result["splits"][name], result["reliability"][name]
    pictures = [
        Picture(svg(reliability(f"{name}: ECE {s['ece']:.3f}", bins["plain"]))),
        Picture(svg(reliability(
            f"temperature {result['temperature']:.2f}: ECE {s['calibrated']['ece']:.3f}",
            bins["calibrated"], legend=False,
        ))),
    ]  # fmt: skip
    words = (
        "Of the answers with a certain confidence, the share that is right. On the diagonal, a "
        "probability can be taken at its word. The temperature is fitted on validation."
    )
    coverage = tables.coverage(result["splits"])
    return Section("Reliability", [Text(words), Pictures(pictures), coverage])


def reliability(title, bins, *, legend=True):
    """Accuracy by confidence, above the share of answers in each bin (Guo et al. 2017)."""
    counts = np.array([b["n"] for b in bins])
    edges = np.arange(len(bins)) / len(bins)
    used = [b for b in bins if b["n"]]
    accuracy = [b["accuracy"] for b in used]
    figure = new_figure(4.2, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], ls="--", color="grey")
    bars = {"width": 1 / len(bins), "align": "edge", "edgecolor": "white"}
    above.bar(edges[counts > 0], accuracy, **bars, label="accuracy")
    above.plot([b["confidence"] for b in used], accuracy, "o", ms=3, color="C3",
               label="at the mean confidence")  # fmt: skip
    above.set(ylim=(0, 1), ylabel="accuracy", title=title)
    if legend:
        explain_lines(above, loc="upper left")
    below.bar(edges, counts / counts.sum(), **bars, color="grey")
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="share")
    return figure


def mistakes(workdir: Path) -> Section:
    """Faces that are given a wrong class with the highest probability, from mistakes.json."""
    path = workdir / "mistakes.json"
    if not path.exists():
        return Section("Most confident mistakes", [])
    found = json.loads(path.read_text(encoding="utf-8"))
    cards = [
        Card(png_uri(m["png"]), [f"{m['predicted']} {m['probability']:.0%}", f"true: {m['true']}"])
        for m in found["mistakes"]
    ]
    words = f"The answers on {found['split']} that are wrong with the highest probability."
    return Section("Most confident mistakes", [Text(words), Cards(cards)] if cards else [])
