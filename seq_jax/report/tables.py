"""Tables of translations."""

from seq_jax.filter import describe as describe_filter
from seq_jax.text import unknown_words
from train_jax.report.table import Table

DIGITS = {"chrf++": 1, "bleu": 1, "exact_match": 3, "token_accuracy": 3}
METRICS = ("chrF++", "BLEU", "exact match", "token accuracy")
NOTE = (
    "Token accuracy: of words and <end>, at their places. PAD counted: the original study's own "
    "metric, accuracy over every position, <start> and <PAD> included. Rows with a colon are "
    "baselines, fit on train alone."
)


def shown(scores, key, digits) -> str:
    """'46.5 [45.2, 47.8]'; 'n/a' for BLEU where no reference has four words."""
    if scores[key] is None:
        return "n/a"
    low, high = scores[f"{key}_ci95"]
    return f"{scores[key]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def describe(dataset, splits, vocabularies, tokens, languages=("English", "Kannada")) -> str:
    """What is trained on: source, hash, what the filter did, splits, vocabularies."""
    lines = [f"data: {dataset.name} from {dataset.source}, sha256 {dataset.sha256[:16]}"]
    lines.append(describe_filter(dataset.report))
    lines.append(f"{'split':12s}{'pairs':>8s}  words that train's vocabulary lacks")
    for name, pairs in splits.items():
        lacking = [
            f"{language} {unknown_share(vocabulary, sentences):.1%}"
            for language, vocabulary, sentences in zip(languages, vocabularies, pairs, strict=True)
        ]
        lines.append(f"{name:12s}{len(pairs.source):8,d}  {', '.join(lacking)}")
    sizes = ", ".join(
        f"{language} {len(vocabulary.words):,}"
        for language, vocabulary in zip(languages, vocabularies, strict=True)
    )
    lines.append(f"vocabularies: {sizes}, <PAD> and its like included; {tokens} tokens per side")
    return "\n".join(lines)


def unknown_share(vocabulary, sentences) -> float:
    """Of all words of the sentences, the share that the vocabulary lacks."""
    words = sum(len(s.split()) for s in sentences)
    return sum(len(unknown_words(vocabulary, s)) for s in sentences) / max(words, 1)


def scores(result: dict) -> Table:
    """Every split of eval.json, and the baselines below it."""
    header = ["split", "n", *(f"{name} [95 %]" for name in METRICS), "PAD counted"]
    rows = []
    for name, of_model in result["splits"].items():
        rows.append(_row(name, of_model))
        for baseline, of_baseline in result["baselines"].get(name, {}).items():
            rows.append(_row(f"{name}: {baseline.replace('_', ' ')}", of_baseline))
    return Table(header, rows, range(1, len(header)), NOTE)


def _row(name, s) -> list[str]:
    cells = [shown(s, key, digits) for key, digits in DIGITS.items()]
    return [name, f"{s['n']:,}", *cells, f"{s['accuracy_pad_counted']:.3f}"]


def file_scores(name, s) -> str:
    """The scores of translations of one file, from scores.translation_scores."""
    cells = [
        f"{title} {shown(s, key, digits)}"
        for title, key, digits in (
            ("chrF++", "chrf++", 1),
            ("BLEU", "bleu", 1),
            ("exact match", "exact_match", 3),
        )
    ]
    signatures = "; ".join(s["signatures"].values())
    return f"{name}: n {s['n']:,}, {', '.join(cells)} [95 % interval]; {signatures}"


def analysis_tables(analysis: dict) -> str:
    """What analysis.py found."""

    def short(bleu):
        return "n/a" if bleu is None else f"{bleu:.1f}"

    lines = []
    for kind, title in (("by_words", "words of the source"), ("by_likeness", "nearest in train")):
        lines.append(f"{title:20s}{'n':>6s}  chrF++ (BLEU)")
        for group, scores in analysis[kind].items():
            cells = [
                f"{name.replace('_', ' ')} {s['chrf++']:.1f} ({short(s['bleu'])})"
                for name, s in scores.items()
            ]
            n = next((s["n"] for s in scores.values()), 0)
            lines.append(f"  {group:18s}{n:6d}  " + ", ".join(cells))
    lines.append(f"{'habits':20s}  length ratio  a word twice  copied from train  new words")
    for name, h in analysis["habits"].items():
        lines.append(
            f"  {name.replace('_', ' '):18s}{h['length_ratio']:14.3f}{h['repeated']:14.1%}"
            f"{h['copied']:19.1%}{h['new_words']:11.1%}"
        )
    return "\n".join(lines)


def verdict(result) -> str:
    """Whether the model is any better than the best baseline, which needs no network."""
    name = list(result["splits"])[-1]  # test, or valid where there is none
    model, baselines = result["splits"][name], result["baselines"][name]
    best = max(baselines, key=lambda baseline: baselines[baseline]["chrf++"])
    score, other = model["chrf++"], baselines[best]["chrf++"]
    title = best.replace("_", " ")
    figures = f"chrF++ on {name}: {score:.1f}, of the best baseline, {title}, {other:.1f}"
    if score <= other:
        return (
            f"{figures}. The model does NOT beat the baseline: translating without any network is "
            "as good or better."
        )
    if model["chrf++_ci95"][0] <= baselines[best]["chrf++_ci95"][1]:
        return f"{figures}. The model beats the baseline, but the 95 % intervals overlap."
    return f"{figures}. The model beats the baseline."
