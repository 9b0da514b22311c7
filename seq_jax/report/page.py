"""The sections of report.html that only sentences have."""

from collections.abc import Sequence
from pathlib import Path

from seq_jax.columns import name_of
from seq_jax.corpus import LANGUAGES
from seq_jax.fonts import FONTS, font_file
from seq_jax.report import tables
from seq_jax.report.tables import shown
from seq_jax.scores import chrf_of
from train_jax.report.figure import new_figure, svg, tick_whole_numbers
from train_jax.report.page import Font, Picture, Pictures, Section, Text, font_uri
from train_jax.report.run import Run, Score
from train_jax.report.table import Table
from train_jax.run.errors import UserError
from train_jax.run.workdir import read_config

SAMPLES = 24  # sentences of a report


def main_score(result: dict) -> Score:
    """chrF++ on the last split of eval.json, next to the best baseline."""
    name = list(result["splits"])[-1]
    s = result["splits"][name]
    baselines = result["baselines"].get(name, {})
    best = max((b["chrf++"] for b in baselines.values()), default=float("nan"))
    low, high = s["chrf++_ci95"]
    return Score(f"chrF++ on {name}", s["n"], s["chrf++"], low, high, best, 1)


def score_of(sums, n: int) -> float:
    """chrF++ of n sentences from the sum of their outcomes, i[24]."""
    del n
    return chrf_of(sums)


def sections(run: Run) -> list[Section]:
    """Scores next to the baselines of eval.json, what they hide, and samples of translations."""
    if not run.scores:
        return [Section("Scores", [Text("Not scored yet: there is no eval.json.")])]
    said = f"{run.scores['scored'].capitalize()}. {run.scores['verdict']}"
    return [
        Section("Scores", [Text(said), tables.scores(run.scores)]),
        curve_section(run),
        *analysis_sections(run.scores),
        translation_section(run),
    ]


def curve_section(run: Run) -> Section:
    """chrF++ of validation by epoch, with the baselines, where an epoch is judged by it."""
    title = "Learning curve against the baselines"
    baselines = (run.scores or {"baselines": {}})["baselines"].get("valid", {})
    if not run.history or "val_chrf++" not in run.history[0] or not baselines:
        return Section(title, [])
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    epochs = [row["epoch"] for row in run.history]
    axes.plot(epochs, [row["val_chrf++"] for row in run.history], ".-", label="greedy translations")
    for number, (name, scores) in enumerate(baselines.items(), start=1):
        label = f"{name.replace('_', ' ')}: {scores['chrf++']:.1f}"
        axes.axhline(scores["chrf++"], color=f"C{number}", ls="--", lw=1.2, label=label)
    axes.set(xlabel="epoch", title="chrF++ on valid", ylim=(0, None))
    tick_whole_numbers(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    ahead = [row["epoch"] for row in run.history
             if row["val_chrf++"] > max(s["chrf++"] for s in baselines.values())]  # fmt: skip
    when = f"from epoch {ahead[0]:g} on, at first" if ahead else "in no epoch"
    return Section(title, [Text(f"Above all baselines: {when}."), Pictures([Picture(svg(figure))])])


def analysis_sections(result: dict) -> list[Section]:
    """What analysis.py found on the last split; none for a run without it."""
    found = result.get("analysis")
    if not found:
        return []
    split = list(result["splits"])[-1]
    note = f"chrF++ and BLEU on {split} [95 %]; BLEU is n/a where no reference has four words."
    titles = {
        "by_words": ("Scores by length", "words of the source"),
        "by_likeness": ("Scores by likeness to training", "likeness of the nearest train source"),
    }
    sections = []
    for kind, (title, column) in titles.items():
        groups = {group: scores for group, scores in found[kind].items() if scores}
        names = list(dict.fromkeys(name for scores in groups.values() for name in scores))
        header = [
            column,
            "n",
            *(n.replace("_", " ") + m for n in names for m in (", chrF++", ", BLEU")),
        ]
        rows = [
            [group, f"{next(iter(scores.values()))['n']:,}",
             *(shown(scores[name], key, 1) for name in names for key in ("chrf++", "bleu"))]
            for group, scores in groups.items()
        ]  # fmt: skip
        likeness = " Likeness: words in both over words in either." * (kind == "by_likeness")
        table = Table(header, rows, range(1, len(header)), note + likeness)
        sections.append(Section(title, [table]))
    rows = [
        [name.replace("_", " "), f"{h['length_ratio']:.3f}",
         *(f"{h[key]:.1%}" for key in ("repeated", "copied", "new_words"))]
        for name, h in found["habits"].items()
    ]  # fmt: skip
    header = [
        "translations by", "length ratio", "a word twice", "copied from train", "words unseen",
    ]  # fmt: skip
    note = (
        f"On {split}. Length ratio: words over those of the references. Shares of sentences with a "
        "word twice, and of sentences that are the target of a training pair; of words, the share "
        "that no training target has."
    )
    return [*sections, Section("Habits", [Table(header, rows, range(1, 5), note)])]


def translation_section(run: Run) -> Section:
    """Sentences of the last split, evenly spaced over it, whether right or wrong."""
    path = run.workdir / "translations.tsv"
    if not path.exists():
        return Section("Sample translations", [])
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    if header != ["split", "source", "reference", "hypothesis"] or any(len(r) != 4 for r in rows):
        raise UserError(f"{path} is not what a run writes: run --mode=eval again")
    rows = [row for row in rows if row[0] == rows[-1][0]]
    shown = rows[:: -(-len(rows) // SAMPLES)]
    cells = [[*row[1:], "yes" if row[2] == row[3] else ""] for row in shown]
    words = f"{len(shown)} of the {len(rows)} sentences of {rows[-1][0]}, evenly spaced."
    header = [name_of(languages_of(run.config)[0]), "reference", "translation", "exact"]
    return Section("Sample translations", [Text(words), Table(header, cells)])


def languages_of(config: dict) -> tuple[str, str]:
    """The codes of both languages in the config of a run."""
    return tuple(config.get("data", {}).get("languages", LANGUAGES))


def fonts(workdirs: Sequence[Path | str]) -> list[Font]:
    """Those of the languages of the runs."""
    codes = {code for w in workdirs for code in languages_of(read_config(w)["config"])}
    found = []
    for name, letters in sorted({FONTS[code] for code in codes & FONTS.keys()}):
        with font_file(name) as path:
            if path:
                letters += ", U+200C-200D"
                found.append(Font(f"Noto Sans {name}", font_uri(path), letters))
    return found
