"""Scores of translations on every split, next to those of the baselines: eval.json and the table.

N = sentences of a split, T = tokens per side.
"""

import json
from typing import NamedTuple

import jax
import numpy as np

from seq_jax import analysis
from seq_jax.attention_task import static_lengths
from seq_jax.baselines import numbers
from seq_jax.baselines import translate as translate_by_baselines
from seq_jax.data import encode_pairs, pairs_sha256
from seq_jax.decode import greedy, markers
from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.filter import Pairs
from seq_jax.report import tables as report
from seq_jax.scores import chrf_counts, token_scores, translation_scores
from seq_jax.task import arrays
from seq_jax.text import UNK, Vocabulary, build_vocabulary, decode, encode
from seq_jax.translator import Hypothesis, Search, best_texts, make_translate
from train_jax import settings
from train_jax.epoch import batches
from train_jax.report.run import OUTCOMES
from train_jax.report.table import as_text
from train_jax.run.checkpoint import load_selected
from train_jax.run.errors import UserError
from train_jax.run.files import write_arrays, write_atomically
from train_jax.run.weights import halved


class Translations(NamedTuple):
    """What was made of one split."""

    pairs: Pairs  # with the true translations
    predicted: np.ndarray  # i32[N, T]
    target: np.ndarray  # i32[N, T]
    vocabulary: Vocabulary  # of both
    hypotheses: list[str]
    baselines: dict[str, list[str]]  # name -> hypotheses; {} for train, known to them by heart


def make_run(config, model, vocabularies, tokens):
    """The function (variables, sentences) -> for each its hypotheses, the best first, [] if it is
    too long; and the static lengths of its sources. `tokens`: T of the run."""
    size = config.train.eval_batch_size
    if isinstance(model, EncoderDecoder):
        lengths = static_lengths(config)
        run = make_translate(
            model, vocabularies, lengths=lengths, batch_size=size, search=search_of(config)
        )
        return run, lengths
    predict = make_predict(model, vocabularies[1])

    def run(variables, sentences):
        rows = [encode(vocabularies[0], sentence) for sentence in sentences]
        fit = [row for row in rows if len(row) <= tokens]
        source = np.zeros((len(fit), tokens), np.int32)
        for array, row in zip(source, fit, strict=True):
            array[: len(row)] = row
        predicted = iter(predict_split(predict, variables, source, size) if fit else [])
        return [
            [Hypothesis(decode(vocabularies[1], next(predicted)), 0.0)]
            if len(row) <= tokens
            else []
            for row in rows
        ]

    return run, (tokens,)


def search_of(config) -> Search:
    """The search that `config.decode` asks for. UserError if a field is out of range."""
    c = config.decode
    for name in ("beam", "alpha", "no_repeat", "coverage", "overlap", "repeat_penalty"):
        lowest = int(name == "beam")
        if not lowest <= c[name] < 1000:
            raise UserError(f"config.decode.{name} must be >= {lowest}, got {c[name]}")
    return Search(**{name: c[name] for name in Search._fields})


def make_translate_split(config, model, vocabularies, tokens):
    """The function (variables, Pairs) -> Translations, without those of the baselines.

    `tokens`: T of the run.
    """
    if isinstance(model, EncoderDecoder):
        run, _ = make_run(config, model, vocabularies, tokens)

        def by_search(variables, pairs):
            return translations_of(pairs, best_texts(run(variables, pairs.source)))

        return by_search
    predict = make_predict(model, vocabularies[1])

    def by_greedy(variables, pairs):
        batch = arrays(pairs, vocabularies, tokens)
        predicted = predict_split(predict, variables, batch["source"], config.train.eval_batch_size)
        hypotheses = [decode(vocabularies[1], row) for row in predicted]
        return Translations(
            pairs, predicted, batch["target"], vocabularies[1], hypotheses, baselines={}
        )

    return by_greedy


def translations_of(pairs, hypotheses) -> Translations:
    """Numbered by the words of the references, since subwords have no places to be right in."""
    vocabulary = build_vocabulary(pairs.target)
    tokens = 2 + max(len(s.split()) for s in (*pairs.target, *hypotheses))
    target = encode_pairs(Pairs((), pairs.target), vocabulary, vocabulary, max_tokens=tokens)
    return Translations(
        pairs, numbers(hypotheses, vocabulary, tokens), target["target"], vocabulary, hypotheses,
        baselines={},
    )  # fmt: skip


def make_predict(model, vocabulary):
    """The compiled (variables, source i32[B, T]) -> i32[B, T], numbers of the target tokens."""
    ids = markers(vocabulary)

    def predict(variables, source):
        logits = model.apply({"params": variables["params"]}, source, train=False)
        return greedy(logits, **ids)

    return jax.jit(predict)


def predict_split(predict, variables, source, batch_size) -> np.ndarray:
    """i32[N, T] on the host for source i32[N, T]."""
    predicted = [predict(variables, source[i]) for i, _ in batches(len(source), batch_size)]
    return np.concatenate(predicted)[: len(source)]


def score(config, workdir, model, task, dataset, splits, vocabularies):
    """Translates every split with the best checkpoint; writes eval.json and translations.tsv.

    Returns (the epoch of that checkpoint, its variables, what eval.json holds, {split:
    Translations}). An encoder-decoder is scored as it is exported, rounded to float16.
    """
    variables, epoch = load_selected(workdir, settings.of_config(config), task.init)
    if isinstance(model, EncoderDecoder):
        variables = halved(variables)
    translate = make_translate_split(config, model, vocabularies, task.identity["tokens"])
    translations = {}
    for name, pairs in splits.items():
        if name == "train":
            translations[name] = translate(variables, sample(pairs, config.decode.train_sentences))
        else:
            baselines = translate_by_baselines(splits["train"], pairs)
            translations[name] = translate(variables, pairs)._replace(baselines=baselines)
    train = splits["train"] if isinstance(model, EncoderDecoder) else None
    result = write_scores(workdir, f"epoch {epoch}", dataset, translations, train)
    return epoch, variables, result, translations


def sample(pairs, n) -> Pairs:
    """n of the pairs, evenly spaced; all of them for 0, or if there are no more."""
    step = -(-len(pairs.source) // n) if n else 1
    return Pairs(*(side[::step] for side in pairs))


def write_scores(workdir, what, dataset, translations, train=None):
    """Scores {split: Translations}: writes eval.json, which is returned, outcomes.npz (what each
    sentence adds to chrF++) and translations.tsv, prints the table. With the `train` pairs the last
    split is analysed, see analysis.py.

    `what` says what made them, for the reader.
    """
    result = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "scored": what,
        "split_sha256": {name: pairs_sha256(t.pairs) for name, t in translations.items()},
        "splits": {name: scores_of(t) for name, t in translations.items()},
        "baselines": {name: baseline_scores(t) for name, t in translations.items() if t.baselines},
    }
    result["verdict"] = report.verdict(result)
    if train:
        name = list(translations)[-1]
        t = translations[name]
        best = {n: t.baselines[n] for n in ("dictionary", "nearest_neighbour")}
        result["analysis"] = analysis.analyse(t.pairs, {"model": t.hypotheses, **best}, train)
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    outcomes = {name: chrf_counts(t.hypotheses, t.pairs.target) for name, t in translations.items()}
    write_arrays(workdir / OUTCOMES, **{name: c.astype(np.int32) for name, c in outcomes.items()})
    lines = ["split\tsource\treference\thypothesis"]
    for name, t in translations.items():
        lines += ["\t".join((name, *row)) for row in zip(*t.pairs, t.hypotheses, strict=True)]
    write_atomically(workdir / "translations.tsv", "\n".join(lines) + "\n")
    print(f"scores of {what} on {dataset.name} ({workdir}/eval.json)")
    print(as_text(report.scores(result)))
    print(result["verdict"])
    if train:
        print(f"on {name}:\n{report.analysis_tables(result['analysis'])}")
    return result


def scores_of(t: Translations) -> dict:
    """Every score of the model on one split."""
    tokens = token_scores(t.predicted, t.target, t.vocabulary)
    return tokens | translation_scores(t.hypotheses, t.pairs.target)


def baseline_scores(t: Translations) -> dict[str, dict]:
    """{name: the same scores} of the baselines."""
    length = t.target.shape[1]
    return {
        name: scores_of(t._replace(predicted=numbers(said, t.vocabulary, length), hypotheses=said))
        for name, said in t.baselines.items()
    }


def pool(folds: list[Translations]) -> Translations:
    """The translations of all folds as those of one split.

    Each fold numbers words by the vocabulary of its own training part; here all are numbered by
    one that has every word of the references.
    """
    pairs = Pairs(*(tuple(s for t in folds for s in t.pairs[side]) for side in (0, 1)))
    source, target = (build_vocabulary(side) for side in pairs)
    predicted = []
    for t in folds:
        unk = target.index[UNK]
        renumber = np.array([target.index.get(word, unk) for word in t.vocabulary.words], np.int32)
        predicted.append(renumber[t.predicted])
    tokens = folds[0].target.shape[1]
    return Translations(
        pairs,
        np.concatenate(predicted),
        encode_pairs(pairs, source, target, max_tokens=tokens)["target"],
        target,
        [h for t in folds for h in t.hypotheses],
        {name: [h for t in folds for h in t.baselines[name]] for name in folds[0].baselines},
    )
