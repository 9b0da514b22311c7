"""What `launch.py --mode=` does for sentences, one function per mode."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seq_jax import corpus, explore, filter
from seq_jax import weights as weights_lib
from seq_jax.attention_task import make_log_probabilities
from seq_jax.columns import name_of
from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.evaluate import pool, score, write_scores
from seq_jax.old_runs import updated
from seq_jax.report import page as report_html
from seq_jax.report import tables as report
from seq_jax.scores import translation_scores
from seq_jax.sources import load_translator, read_pairs, vocabulary_path
from seq_jax.task import (
    build_model,
    build_vocabularies,
    check_settings,
    load_splits,
    make_task,
)
from seq_jax.text import encode, tokenise
from seq_jax.translate import answer, read_chunks, read_lines
from seq_jax.translator import best_texts, static_length
from train_jax import loop, parallel, settings
from train_jax.report import write as report_write
from train_jax.report.tables import count_parameters, draw_history, write_model_table
from train_jax.run.errors import UserError
from train_jax.run.weights import begin_with
from train_jax.run.workdir import (
    check_config,
    lock_workdir,
    origin,
    read_config,
    write_config,
)


def train(config, workdir: Path | str, *, base: dict | None = None, init: str | None = None):
    """Trains what the config says into `workdir`, then scores the best epoch and draws figures.

    `base`: see `write_config`. `init`: exported weights that a new run begins with.
    """
    train_and_score(config, workdir, base=base, init=init)


def train_and_score(config, workdir: Path | str, *, base=None, init=None):
    """As `train`; returns {split: Translations}."""
    workdir = Path(workdir)
    check_settings(config)
    dataset, splits, vocabularies, model, task = prepare_run(config)
    if init:
        task = begin_with(task, Path(init), {"vocabularies": weights_lib.about(vocabularies)})
    with lock_workdir(workdir):
        write_config(
            workdir, config.to_dict(), task.identity, base=base, update=updated,
            parameters=count_parameters(task.init),
        )  # fmt: skip
        for code, vocabulary in zip(config.data.languages, vocabularies, strict=True):
            weights_lib.write_vocabulary(vocabulary_path(workdir, code), vocabulary)
        names = tuple(map(name_of, config.data.languages))
        print(report.describe(dataset, splits, vocabularies, task.identity["tokens"], names))
        write_model_table(workdir, model, task.init)
        history = loop.fit(task, settings.of_config(config), workdir=workdir)
        if not parallel.is_main():
            return {}
        best_epoch, variables, result, translations = score(
            config, workdir, model, task, dataset, splits, vocabularies
        )
        draw_history(workdir, history, best_epoch, dataset.name)
        if isinstance(model, EncoderDecoder):
            weights_lib.export(
                workdir / "export", variables, vocabularies=vocabularies, config=config.to_dict(),
                identity=task.identity, result=result, origin=origin(),
                pairs={name: len(pairs.source) for name, pairs in splits.items()},
            )  # fmt: skip
            print(f"weights: {workdir / 'export'}")
    return translations


def evaluate(
    config,
    workdir: Path | str,
    inputs: str | None = None,
    weights: str | None = None,
    base: dict | None = None,
):
    """Scores the best checkpoint of `workdir` on every split, into eval.json; or that, or the
    exported `weights`, on the pairs of the file or folder `inputs` alone, which writes nothing."""
    workdir = Path(workdir)
    if weights and not inputs:
        raise UserError(
            f"--mode=eval --weights={weights} needs --inputs=PAIRS, a file or folder of pairs: the "
            "weights do not hold the splits of their run"
        )
    if inputs:
        translator = load_translator(config, workdir, weights, base)
        pairs = read_pairs(config, inputs, translator.punctuation)
        hypotheses = best_texts(translator.run(translator.variables, pairs.source))
        print(report.file_scores(inputs, translation_scores(hypotheses, pairs.target)))
        return
    read_config(workdir)  # refuses a workdir without a run before the data is read
    dataset, splits, vocabularies, model, task = prepare_run(config)
    with lock_workdir(workdir):
        # refuses another model, other data ...
        check_config(workdir, config.to_dict(), task.identity, base=base, update=updated)
        score(config, workdir, model, task, dataset, splits, vocabularies)


def prepare_run(config):
    """(Dataset, {split: Pairs}, Vocabularies, model, Task) of a config."""
    dataset, splits = load_splits(config)
    vocabularies = build_vocabularies(config, splits["train"])
    model = build_model(config, vocabularies)
    return dataset, splits, vocabularies, model, make_task(
        config, model, dataset, splits, vocabularies
    )  # fmt: skip


def translate(
    config, workdir: Path | str, inputs: str, weights: str | None = None, base: dict | None = None
) -> int:
    """Prints the translation of each line of `inputs`, see translate.answer.

    By `weights`; else by the best checkpoint of `workdir`; else, where the config is that of the
    shipped ones, by these. Needs no data: only what the run left.
    """
    if config.decode.n_best < 1 or config.decode.n_best > config.decode.beam:
        raise UserError(
            f"config.decode.n_best must be from 1 to decode.beam ({config.decode.beam}), got "
            f"{config.decode.n_best}"
        )
    translator = load_translator(config, workdir, weights, base)
    return answer(
        read_chunks(inputs),
        translator.vocabularies[0],
        lambda sentences: translator.run(translator.variables, sentences),
        punctuation=translator.punctuation,
        longest=translator.lengths[-1],
        n_best=config.decode.n_best,
    )


def score_pairs(
    config, workdir: Path | str, inputs: str, weights: str | None = None, base: dict | None = None
):
    """Prints each pair of the file or folder `inputs` with its log-probability, in nats: LOG P, of
    so many TOKENS, source, target, with tabs between. A pair that is too long has none."""
    translator = load_translator(config, workdir, weights, base)
    if not isinstance(translator.model, EncoderDecoder):
        raise UserError("--mode=score is for an encoder-decoder, such as configs/seq_best.py")
    pairs = read_pairs(config, inputs, translator.punctuation)
    vocabularies, lengths = translator.vocabularies, translator.lengths
    log_p = make_log_probabilities(translator.model, vocabularies[1])
    for source, target in zip(*pairs, strict=True):
        rows = [encode(v, s) for v, s in zip(vocabularies, (source, target), strict=True)]
        length = static_length(max(map(len, rows)), lengths)
        value = ""
        if length:
            batch = [np.array([row + [0] * (length - len(row))], np.int32) for row in rows]
            value = f"{float(log_p(translator.variables, *batch)[0]):.3f}"
        print(f"{value}\t{len(rows[1]) - 1}\t{source}\t{target}")


def export(config, workdir: Path | str, *, weights: str | None):
    """Writes `weights` as StableHLO; see seq_jax/export.py."""
    workdir = Path(workdir)
    try:
        import flatbuffers  # noqa: F401, which jax.export needs
    except ModuleNotFoundError:
        raise UserError(
            "--mode=export needs flatbuffers: pip install -r requirements-export.txt"
        ) from None
    from seq_jax import export as export_lib  # jax.export: 0.1 s that no other mode needs

    export_lib.export(config, workdir, weights=weights)


def explain(
    config, workdir: Path | str, inputs: str, weights: str | None = None, base: dict | None = None
) -> int:
    """Draws the attention over each line of `inputs` into WORKDIR/figures/attention_LINE.png."""
    workdir = Path(workdir)
    from seq_jax import explain as pictures  # matplotlib

    translator = load_translator(config, workdir, weights, base)
    if getattr(translator.model, "attention", "none") == "none":
        raise UserError("--mode=explain is for a net with attention, such as configs/seq_best.py")
    lines = read_lines(inputs)
    sentences = [" ".join(tokenise(line, translator.punctuation)) for line in lines]
    found = translator.run(translator.variables, sentences)
    drawn = 0
    for number, (sentence, best) in enumerate(zip(sentences, found, strict=True), start=1):
        if not sentence or not best or not best[0].text:
            print(f"line {number}: no translation, so no picture", file=sys.stderr)
            continue
        path = workdir / "figures" / f"attention_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        found_in = pictures.attention_of_words(
            translator.model, translator.variables, translator.vocabularies, sentence, best[0].text
        )
        weights_of, source, target = found_in
        pictures.draw(weights_of, source, target, path, config.data.languages)
        print(f"{sentence} -> {best[0].text}: {path}")
        drawn += 1
    return 0 if drawn else 1


def explore_corpus(config, workdir: Path | str):
    """Prints what the corpus looks like and what the config's filter keeps of it; draws it."""
    workdir = Path(workdir)
    c = config.data
    source = corpus.find(c.path, c.languages, c.columns)
    lines = corpus.read(source, skip_empty=c.skip_empty, title="counting words")
    sides = explore.statistics(lines, languages=tuple(map(name_of, c.languages)))
    figure = workdir / "figures" / "corpus.png"
    explore.draw(sides, figure, str(source), c.languages)
    print(f"{source}\n{explore.describe(sides)}\n\npicture: {figure}\n\nthe filter of the config:")
    print(filter.describe(load_splits(config)[0].report))


def cross_validate(config, workdir: Path | str, *, base: dict | None = None):
    """Trains every fold into `workdir`/fold0 ... and scores all their test parts together.

    Every pair is translated once, by a model that did not train on it. Continues as `train` does.
    """
    workdir = Path(workdir)
    folds = config.data.folds
    if folds < 2:
        raise UserError(
            f"config.data.folds must be at least 2 for --mode=cross_validate, got {folds}; for "
            "example --config.data.folds=5"
        )
    translations = []
    with lock_workdir(workdir):
        for fold in range(folds):
            print(f"fold {fold} of 0 to {folds - 1}")
            one = config.copy_and_resolve_references()
            one.data.fold = fold
            translations.append(train_and_score(one, workdir / f"fold{fold}", base=base)["test"])
        dataset = load_splits(config)[0]
        write_scores(workdir, f"all {folds} folds", dataset, {"test": pool(translations)})


def write_report(workdirs: Sequence[Path | str]) -> Path:
    """Writes report.html of a run, or comparison.html of several; see train_jax/report/write.py."""
    return report_write.write_report(
        workdirs,
        task="seq",
        sections=report_html.sections,
        main_score=report_html.main_score,
        score_of=report_html.score_of,
        fonts=report_html.fonts(workdirs),
        update=updated,
    )
