"""Several runs of one task next to each other, as one page."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from train_jax.metrics import bootstrap_interval
from train_jax.report.figure import explain_lines, new_figure, svg, tick_whole_numbers
from train_jax.report.page import Picture, Pictures, Section, Text
from train_jax.report.run import Run, Score, best_epoch, parameters
from train_jax.report.table import Table
from train_jax.run.log import duration
from train_jax.run.workdir import differences

# the sum of the outcomes of n examples, see Run.outcomes, and n -> the main score of these
ScoreOf = Callable[[np.ndarray, int], float]


def comparison(runs: list[Run], scores: list[Score | None], score_of: ScoreOf) -> list[Section]:
    """Sections: the scores, how the settings differ, the curves. `scores` are those of `runs`;
    `score_of` see `paired`."""
    table_of_scores = table(runs, scores, score_of)
    return [
        Section("Scores", [*warnings(runs), table_of_scores, *score_picture(runs, scores)]),
        Section("What differs", settings(runs)),
        Section("Training", [trainings(runs, scores)]),
        Section("History", histories(runs)),
    ]


def table(runs, scores, score_of) -> Table:
    """A row for each run, the best score first; the second column is what a phone shows beside the
    name. Differences are from the run that is named first."""
    pairs = [None, *(paired(runs[0], run, score_of) for run in runs[1:])]
    told_apart = [f"minus {runs[0].name} [95 %]", "better", "worse"] if any(pairs) else []
    header = ["run", "score [95 %]", *told_apart, "baseline", "n"]
    rows = []
    for run, score, pair in ranked(runs, scores, pairs):
        cells = [score.text()] if score else ["not scored"]
        if told_apart:
            cells += pair.cells(max(score.digits, 2)) if pair else ["-", "-", "-"]
        cells += [f"{score.baseline:.{score.digits}f}", f"{score.n:,}"] if score else ["-", "-"]
        rows.append([run.name, *cells])
    named = sorted({score.name for score in scores if score})
    note = f"Score: {', '.join(named) or 'none yet'}."
    if told_apart:
        n = next(pair.n for pair in pairs if pair)
        note += (
            f" Minus {runs[0].name}: the difference on the same {n:,} examples, whose interval "
            "(paired bootstrap) is narrower than those of the two scores, and how many examples "
            "score better and worse. An interval that holds 0 tells no difference; each training "
            "with another seed differs, too."
        )
    return Table(header, rows, range(1, len(header)), note)


def ranked(runs, scores, others) -> list[tuple]:
    """(run, score, other) of each run, the best score first, what is not scored last."""
    rows = list(zip(runs, scores, others, strict=True))
    return sorted(rows, key=lambda row: -(row[1].value if row[1] else -1))


def trainings(runs, scores) -> Table:
    """How long each run was trained, and what it is chosen by, in the order of `table`."""
    monitors = sorted({run.config["checkpoint"]["monitor"] for run in runs})
    header = ["run", "parameters", "epochs", "best epoch", *monitors, "time"]
    rows = []
    for run, *_ in ranked(runs, scores, runs):
        best = best_epoch(run)
        row = run.history[best - 1] if best else {}
        values = [f"{row[m]:.4f}" if m in row else "-" for m in monitors]
        seconds = duration(sum(row["seconds"] for row in run.history))
        counts = [parameters(run), str(len(run.history)), str(best or "-")]
        rows.append([run.name, *counts, *values, seconds])
    return Table(header, rows, range(1, len(header)))


class Paired(NamedTuple):
    """b - a, of two scores on the same examples, with its 95 % interval."""

    n: int
    difference: float
    low: float
    high: float
    better: int  # examples on which b alone scores higher
    worse: int

    def cells(self, digits: int) -> list[str]:
        difference, low, high = (f"{x:+.{digits}f}" for x in (self.difference, self.low, self.high))
        return [f"{difference} [{low}, {high}]", f"{self.better:,}", f"{self.worse:,}"]


def paired(a: Run, b: Run, score_of: ScoreOf) -> Paired | None:
    """b - a on the last split; None unless both runs tell what the same examples gave.

    The interval is that of a bootstrap in which both runs are scored on the examples that are drawn
    (Koehn 2004). `score_of`: (the sum of the outcomes of n examples, n) -> their score.
    """
    scored = scored_on(b)
    if scored is None or scored != scored_on(a):
        return None
    split, _ = scored
    if any(split not in run.outcomes for run in (a, b)):
        return None
    rows = [run.outcomes[split].reshape(len(run.outcomes[split]), -1) for run in (a, b)]
    if rows[0].shape != rows[1].shape:
        return None
    both, n = np.stack(rows, 1), len(rows[0])  # [N, 2, K]

    def difference(sums, n=n):
        first, second = sums.reshape(both.shape[1:])
        return float(score_of(second, n) - score_of(first, n))

    low, high = bootstrap_interval(both.reshape(n, -1), difference)
    each = np.array([difference(example, 1) for example in both])
    return Paired(
        n, difference(both.sum(0)), low, high, int((each > 0).sum()), int((each < 0).sum())
    )


def scored_on(run: Run) -> tuple[str, str] | None:
    """The last split, which the main score is of, and the hash of its examples; None where the run
    does not tell: it is not scored, or was before 2026-11-27."""
    if not run.scores or "split_sha256" not in run.scores:
        return None
    return list(run.scores["split_sha256"].items())[-1]


def warnings(runs) -> list[Text]:
    """What makes the scores hard to compare."""
    scored = [run for run in runs if run.scores]
    hashes: set = {scored_on(run) for run in scored}
    if None in hashes:
        hashes = {run.scores["sha256"] for run in scored}
    trained = {
        str({k: v for k, v in run.record["identity"].items() if "sha256" in k}) for run in runs
    }
    texts = []
    if len(hashes) > 1:
        texts.append(Text("Careful: these runs were scored on different data."))
    elif len(trained) > 1:
        texts.append(Text("Careful: these runs were trained on different data or splits."))
    return texts


def score_picture(runs, scores) -> list[Pictures]:
    """Each score with its interval, and its baseline as a cross."""
    shown = [(r, s) for r, s in zip(runs, scores, strict=True) if s]
    if not shown:
        return []
    shown.sort(key=lambda pair: pair[1].value)
    figure = new_figure(6, 0.9 + 0.35 * len(shown))
    axes = figure.subplots()
    for place, (_, s) in enumerate(shown):
        axes.plot([s.low, s.high], [place, place], color="C0", lw=2)
        axes.plot(s.value, place, "o", color="C0")
        axes.plot(s.baseline, place, "x", color="grey")
    axes.set_yticks(range(len(shown)), [run.name for run, _ in shown])
    axes.margins(y=0.15)
    axes.grid(alpha=0.3, axis="x")
    axes.set_title("score with 95 % interval; ×: baseline")
    return [Pictures([Picture(svg(figure))])]


def settings(runs) -> list:
    """A row for each field of the config in which the runs differ."""
    first = runs[0].config
    fields = {d.path for run in runs[1:] for d in differences(first, run.config)}
    rows = [[field, *(_value(run.config, field) for run in runs)] for field in sorted(fields)]
    if not rows:
        return [Text("All settings are the same.")]
    return [Table(["field", *(run.name for run in runs)], rows)]


def _value(config, field) -> str:
    for key in field.split("."):
        if not isinstance(config, dict) or key not in config:
            return "-"
        config = config[key]
    return repr(config)


def histories(runs) -> list:
    """One picture per metric, one colour per run; training dotted."""
    with_rows = [run for run in runs if run.history and "val_loss" in run.history[0]]
    if not with_rows:
        return []
    names = [n for n in with_rows[0].history[0] if f"val_{n}" in with_rows[0].history[0]]
    pictures = []
    for name in names:
        figure = new_figure(5.2, 3.6)
        axes = figure.subplots()
        for number, run in enumerate(with_rows):
            if f"val_{name}" not in run.history[0]:  # of another kind of model
                continue
            epochs = [row["epoch"] for row in run.history]
            color = f"C{number % 10}"
            axes.plot(epochs, [row[name] for row in run.history], ":", color=color)
            axes.plot(
                epochs, [row[f"val_{name}"] for row in run.history], color=color, label=run.name
            )
        axes.set(xlabel="epoch", title=f"{name.replace('_', ' ')}: validation (dotted: training)")
        tick_whole_numbers(axes.xaxis)
        axes.grid(alpha=0.3)
        if name == names[0]:  # once, for all
            explain_lines(axes)
        pictures.append(Picture(svg(figure)))
    return [Pictures(pictures)]
