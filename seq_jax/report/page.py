"""The sections of report.html that only sentences have."""

from pathlib import Path

from seq_jax.columns import name_of
from seq_jax.corpus import LANGUAGES
from seq_jax.fonts import FONTS, font_file
from train_jax.report.page import Font, Section, Table, Text, font_uri
from train_jax.report.run import Run, Score, interval
from train_jax.run.errors import UserError
from train_jax.run.workdir import read_config

SAMPLES = 24  # sentences of a report
METRICS = {"token accuracy": ("token_accuracy", 3), "chrF++": ("chrf++", 1), "BLEU": ("bleu", 1),
           "exact match": ("exact_match", 3)}  # fmt: skip


def main_score(result: dict) -> Score:
    """chrF++ on the last split of eval.json, next to the best baseline."""
    name = list(result["splits"])[-1]
    s = result["splits"][name]
    baselines = result["baselines"].get(name, {})
    best = max((b["chrf++"] for b in baselines.values()), default=float("nan"))
    return Score(f"chrF++ on {name}", s["n"], s["chrf++"], *s["chrf++_ci95"], best, 1)


def sections(run: Run) -> list[Section]:
    """Scores next to the baselines of eval.json, and samples of translations.tsv."""
    if not run.scores:
        return [Section("Scores", [Text("Not scored yet: there is no eval.json.")])]
    return [score_section(run.scores), translation_section(run)]


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


def fonts(workdirs: list[Path]) -> list[Font]:
    """Those of the languages of the runs."""
    codes = {code for w in workdirs for code in languages_of(read_config(w)["config"])}
    found = []
    for name, letters in sorted({FONTS[code] for code in codes & FONTS.keys()}):
        with font_file(name) as path:
            if path:
                letters += ", U+200C-200D"
                found.append(Font(f"Noto Sans {name}", font_uri(path), letters))
    return found
