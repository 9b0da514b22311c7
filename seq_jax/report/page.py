"""The sections of report.html that only sentences have."""

from pathlib import Path

from seq_jax.explore import kannada_font
from train_jax.report.page import Font, Section, Table, Text, font_uri
from train_jax.report.run import Run, Score, interval
from train_jax.run.errors import UserError

SAMPLES = 24  # sentences of a report
METRICS = {"token accuracy": ("token_accuracy", 3), "chrF++": ("chrf++", 1), "BLEU": ("bleu", 1),
           "exact match": ("exact_match", 3)}  # fmt: skip


def main_score(result: dict) -> Score:
    """chrF++ on the last split of eval.json, beside the best baseline."""
    name = list(result["splits"])[-1]
    s = result["splits"][name]
    baselines = result["baselines"].get(name, {})
    best = max((b["chrf++"] for b in baselines.values()), default=float("nan"))
    return Score(f"chrF++ on {name}", s["n"], s["chrf++"], *s["chrf++_ci95"], best, 1)


def sections(run: Run) -> list[Section]:
    """Scores beside the baselines of eval.json, and samples of translations.tsv."""
    if not run.scores:
        return [Section("Scores", [Text("Not scored yet: there is no eval.json.")])]
    return [score_section(run.scores), translation_section(run.workdir)]


def score_section(result: dict) -> Section:
    """Every split, and the baselines below it."""
    header = ["split", "n", *(f"{name} [95 %]" for name in METRICS), "PAD counted"]
    rows = []
    for name, scores in result["splits"].items():
        rows.append(_row(name, scores))
        for baseline, other in result["baselines"].get(name, {}).items():
            rows.append(_row(f"{name}: {baseline.replace('_', ' ')}", other))
    note = (
        f"{result['scored'].capitalize()}. Token accuracy: of words and <end>, at their places. "
        "PAD counted: the original study's own metric, over every position. Rows with a colon are "
        "baselines, fit on train alone."
    )
    return Section("Scores", [Text(result["verdict"]),
                              Table(header, rows, range(1, len(header)), note)])  # fmt: skip


def _row(name, s) -> list[str]:
    cells = [interval(s[key], *s[f"{key}_ci95"], digits) for key, digits in METRICS.values()]
    return [name, f"{s['n']:,}", *cells, f"{s['accuracy_pad_counted']:.3f}"]


def translation_section(workdir: Path) -> Section:
    """Sentences of the last split, evenly spaced over it, whether right or wrong."""
    path = workdir / "translations.tsv"
    if not path.exists():
        return Section("Sample translations", [])
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    if header != ["split", "source", "reference", "hypothesis"] or any(len(r) != 4 for r in rows):
        raise UserError(f"{path} is not what a run writes: run --mode=eval again")
    rows = [row for row in rows if row[0] == rows[-1][0]]
    shown = rows[:: -(-len(rows) // SAMPLES)]
    cells = [[*row[1:], "yes" if row[2] == row[3] else ""] for row in shown]
    words = f"{len(shown)} of the {len(rows)} sentences of {rows[-1][0]}, evenly spaced."
    return Section("Sample translations", [Text(words), Table(
        ["English", "reference", "translation", "exact"], cells)])  # fmt: skip


def fonts() -> list[Font]:
    """The letters of Kannada, which few devices outside India bring."""
    with kannada_font() as path:
        letters = "U+0C80-0CFF, U+200C-200D"
        return [Font("Noto Sans Kannada", font_uri(path), letters)] if path else []
