"""What `launch.py --mode=` does for English to Kannada, one function a mode."""

import sys
from pathlib import Path

from seq_jax import corpus, explore, filter, report, report_html, subwords
from seq_jax.evaluate import make_predict, pool, predict_split, score, write_scores
from seq_jax.task import (
    Vocabularies,
    build_model,
    build_vocabularies,
    load_splits,
    make_init,
    make_task,
)
from seq_jax.text import check_same, decode, from_json, to_json
from seq_jax.translate import prepare, read_lines
from train_jax import loop, parallel, report_write
from train_jax.checkpoint import Checkpoints
from train_jax.errors import UserError
from train_jax.files import write_atomically
from train_jax.report import draw_history, write_model_table
from train_jax.task import fit_settings
from train_jax.writer import check_config, lock_workdir, read_config, write_config


def train(config, workdir: Path):
    """Trains what the config says into `workdir`, then scores the best epoch and draws figures."""
    train_and_score(config, workdir)


def train_and_score(config, workdir: Path):
    """As `train`; returns {split: Translations}."""
    dataset, splits, vocabularies, model, task = prepare_run(config)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)
        for name, vocabulary in vocabularies._asdict().items():
            write_vocabulary(workdir, name, vocabulary)
        print(report.describe(dataset, splits, vocabularies, task.identity["tokens"]))
        write_model_table(workdir, model, task.init)
        history = loop.fit(task, workdir=workdir, **fit_settings(config))
        if not parallel.is_main():
            return {}
        best_epoch, translations = score(
            config, workdir, model, task, dataset, splits, vocabularies
        )
        draw_history(workdir, history, best_epoch, dataset.name)
    return translations


def evaluate(config, workdir: Path):
    """Scores the best checkpoint of `workdir` on every split, into eval.json."""
    read_config(workdir)  # refuses a workdir without a run before the data is read
    dataset, splits, vocabularies, model, task = prepare_run(config)
    with lock_workdir(workdir):
        check_config(workdir, config.to_dict(), task.identity)  # another model, other data ...
        score(config, workdir, model, task, dataset, splits, vocabularies)


def prepare_run(config):
    """(Dataset, {split: Pairs}, Vocabularies, model, Task) of a config."""
    dataset, splits = load_splits(config)
    vocabularies = build_vocabularies(config, splits["train"])
    model = build_model(config, vocabularies)
    return dataset, splits, vocabularies, model, make_task(
        config, model, dataset, splits, vocabularies
    )  # fmt: skip


def translate(config, workdir: Path, inputs: str):
    """Prints the translation of each sentence of `inputs` by the best checkpoint of `workdir`.

    Needs no data: only what the run left. One line a sentence on stdout; words that the run does
    not know are named on stderr.
    """
    identity = read_identity(workdir)
    check_config(workdir, config.to_dict(), identity)
    vocabularies = read_vocabularies(workdir, identity)
    tokens = identity["tokens"]
    prepared = prepare(
        read_lines(inputs), vocabularies.english, tokens=tokens,
        punctuation=config.data.punctuation,
    )  # fmt: skip
    for line, words in prepared.unknown.items():
        print(f"line {line}: unknown words, read as <unk>: {', '.join(words)}", file=sys.stderr)
    if not prepared.empty:
        return
    model = build_model(config, vocabularies)
    checkpoints = Checkpoints(workdir / "checkpoints", mode=config.checkpoint.mode)
    variables = checkpoints.load_variables(
        checkpoints.best(),
        make_init(model, tokens),
        ema=config.train.ema_decay > 0,
    )
    predict = make_predict(model, vocabularies.kannada)
    predicted = predict_split(predict, variables, prepared.source, config.train.eval_batch_size)
    for row, empty in zip(predicted, prepared.empty, strict=True):
        print("" if empty else decode(vocabularies.kannada, row))


def read_identity(workdir: Path) -> dict:
    """What `make_task` said of the run. UserError if a field that is used here is damaged."""
    identity = read_config(workdir)["identity"]
    for name, kind in {"tokens": int, "english_sha256": str, "kannada_sha256": str}.items():
        value = identity.get(name)
        if type(value) is not kind or (kind is int and not 0 < value <= 10**6):
            raise UserError(
                f"{workdir / 'config.json'}: identity.{name} is {value!r:.40}, expected a "
                f"{kind.__name__} as --mode=train wrote it"
            )
    return identity


def read_vocabularies(workdir: Path, identity: dict) -> Vocabularies:
    """Those that the run wrote. UserError if they are not there, or are those of another run."""
    vocabularies = []
    for name in Vocabularies._fields:
        path, sha256 = vocabulary_path(workdir, name), identity[f"{name}_sha256"]
        model = path.with_suffix(".model")
        try:
            if model.exists():
                vocabularies.append(subwords.load(model.read_bytes(), sha256, str(model)))
                continue
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: the vocabulary of the run cannot be read ({error}). Run the same "
                "command with --mode=train again: it is written anew."
            ) from error
        vocabulary = from_json(text, str(path))
        check_same(vocabulary, sha256, str(path))
        vocabularies.append(vocabulary)
    return Vocabularies(*vocabularies)


def write_vocabulary(workdir: Path, name: str, vocabulary):
    """vocabulary_NAME.json of words, or vocabulary_NAME.model of subwords."""
    path = vocabulary_path(workdir, name)
    if isinstance(vocabulary, subwords.Subwords):
        write_atomically(path.with_suffix(".model"), vocabulary.model)
    else:
        write_atomically(path, to_json(vocabulary))


def vocabulary_path(workdir: Path, name: str) -> Path:
    return workdir / f"vocabulary_{name}.json"


def explore_corpus(config, workdir: Path):
    """Prints what the corpus looks like and what the config's filter keeps of it; draws it."""
    c = config.data
    source = corpus.find(c.path)
    lines = corpus.read(source, skip_empty=c.skip_empty, title="counting words")
    sides = explore.statistics(lines)
    figure = workdir / "figures" / "corpus.png"
    explore.draw(sides, figure, str(source))
    print(f"{source}\n{explore.describe(sides)}\n\npicture: {figure}\n\nthe filter of the config:")
    print(filter.describe(load_splits(config)[0].report))


def cross_validate(config, workdir: Path):
    """Trains every fold into `workdir`/fold0 ... and scores all their test parts together.

    Every pair is translated once, by a model that did not train on it. Continues as `train` does.
    """
    folds = config.data.folds
    if folds < 2:
        raise UserError(
            f"config: data.folds must be at least 2 for --mode=cross_validate, got {folds}; for "
            "example --config.data.folds=5"
        )
    translations = []
    with lock_workdir(workdir):
        for fold in range(folds):
            print(f"fold {fold} of 0 to {folds - 1}")
            one = config.copy_and_resolve_references()
            one.data.fold = fold
            translations.append(train_and_score(one, workdir / f"fold{fold}")["test"])
        dataset = load_splits(config)[0]
        write_scores(workdir, f"all {folds} folds", dataset, {"test": pool(translations)})


def write_report(workdirs: list[Path], base: dict) -> Path:
    """Writes report.html of a run, or comparison.html of several; see train_jax/report_write.py."""
    return report_write.write_report(
        workdirs,
        base=base,
        sections=report_html.sections,
        main_score=report_html.main_score,
        fonts=report_html.fonts(),
    )
