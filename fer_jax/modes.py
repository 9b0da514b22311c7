"""What `launch.py --mode=` does for facial expressions, one function per mode."""

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from fer_jax import average, folds
from fer_jax import data as fer_data
from fer_jax import weights as weights_lib
from fer_jax.average import Average
from fer_jax.batch_norm import MOMENTUM
from fer_jax.evaluate import check_view, make_predict, predict_split, score, views_of
from fer_jax.explore import run as explore_lib
from fer_jax.report import page as report_html
from fer_jax.report import tables as report
from fer_jax.task import (
    build_model,
    check_settings,
    divide,
    load_splits,
    make_task,
    settings_of,
    train_valid_sha256,
)
from train_jax import loop, parallel
from train_jax.calibration import BOUNDS, fit_temperature
from train_jax.epoch import size_of
from train_jax.report import write as report_write
from train_jax.report.tables import count_parameters, draw_history, write_model_table
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.files import read_arrays, write_arrays, write_atomically
from train_jax.run.weights import begin_with
from train_jax.run.workdir import (
    check_config,
    is_run,
    lock_workdir,
    origin,
    read_config,
    write_config,
)


def train(config, workdir: Path | str, *, base: dict | None = None, init: str | None = None):
    """Trains what the config says into `workdir`; then scores, draws and exports the best epoch.

    `base`: see `write_config`. `init`: exported weights that a new run begins with.
    """
    workdir = Path(workdir)
    check_settings(config)
    dataset, splits, model = _load(config)
    task = make_task(config, model, dataset, splits)
    if init:
        folder = weights_lib.choose(None, Path(init)) if is_run(Path(init)) else Path(init)
        task = begin_with(task, folder, {"classes": task.identity["classes"]})
    with lock_workdir(workdir):
        write_config(
            workdir, config.to_dict(), task.identity, base=base,
            parameters=count_parameters(task.init),
        )  # fmt: skip
        print(report.describe(dataset, splits))
        settings = settings_of(config, dataset)
        note_short_run(task, settings)
        write_model_table(workdir, model, task.init)
        history = loop.fit(task, settings, workdir=workdir)
        if not parallel.is_main():
            return
        variables, temperature, result = _score_run(config, workdir, model, task, dataset, splits)
        draw_history(workdir, history, result["epoch"], dataset.name)
        weights_lib.export(
            workdir / "export", variables, config=config.to_dict(), identity=task.identity,
            splits=splits, temperature=temperature, result=result, origin=origin(),
        )  # fmt: skip
        print(f"weights: {workdir / 'export'}")
        print(f"next: python launch.py --mode=predict --workdir={workdir} --inputs=photo.jpg")


def note_short_run(task, settings):
    """Says so where batch norm will not know its statistics at the end."""
    steps = settings.epochs * math.ceil(size_of(task.train) / settings.batch_size)
    memory = 1 / (1 - MOMENTUM)
    if jax.eval_shape(task.init, jax.random.key(0)).get("batch_stats") and steps < 3 * memory:
        print(
            f"{steps} steps are few for batch norm, whose statistics look back {memory:.0f}: "
            "validation will be worse than the net is"
        )


def evaluate(config, workdir: Path | str, *, weights: str | None, base: dict | None = None):
    """Scores `weights`, or else the selected checkpoint of `workdir`, on every split there is."""
    workdir = Path(workdir)
    if weights:
        _score_weights(config, workdir, weights)
        return
    read_config(workdir)  # refuses a workdir without a run before the data is read
    dataset, splits, model = _load(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        check_config(workdir, config.to_dict(), task.identity, base=base)
        _score_run(config, workdir, model, task, dataset, splits)


def cross_validate(config, workdir: Path | str, *, base: dict | None = None):
    """Trains a net for each fold of train into `workdir`/fold0 ..., scores each on what it left
    out, and keeps what they say in `workdir`/out_of_fold. Continues as `train` does.

    Test splits are not looked at.
    """
    workdir = Path(workdir)
    check_settings(config)
    folds.check_settings(config)
    dataset = fer_data.load(config.data.path, fer_data.reading_of(config.data))
    model = build_model(config, len(dataset.classes))
    parts = []
    with lock_workdir(workdir):
        for fold in range(config.data.folds):
            print(f"fold {fold} of 0 to {config.data.folds - 1}", flush=True)
            one = config.copy_and_resolve_references()
            one.data.fold = fold
            parts.append(_train_fold(one, workdir / f"fold{fold}", model, base))
        train = dataset.splits["train"]
        found = folds.pool(
            parts,
            train,
            fer_data.assign_folds(train, folds=config.data.folds, seed=config.data.split_seed),
            dataset.classes,
        )  # fmt: skip
        folds.save(workdir / "out_of_fold", found)
        result = folds.score(found)
        about = {"config": config.to_dict(), **origin(), "views": result}
        write_atomically(workdir / "cross_validate.json", json.dumps(about, indent=1))
    print(folds.table(result))
    print(f"predictions: {workdir / 'out_of_fold'}, for data.soft_labels")


def _load(config):
    """(Dataset, {split: Faces}, model): `task.load_splits`, and a net for its classes. UserError if
    the config is wrong, first where that can be told without the data."""
    known = len(config.data.classes) or len(fer_data.CLASSES)
    check_view(config.eval.tta, views_of(build_model(config, known)))
    dataset, splits = load_splits(config)
    model = build_model(config, len(dataset.classes))
    return dataset, splits, model


def _train_fold(config, workdir, model, base) -> dict:
    """{view: logits f32[n, K]} of the images that a fold leaves out."""
    dataset, splits = load_splits(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity, base=base)
        path = workdir / folds.ARRAYS
        if not path.exists():
            loop.fit(task, settings_of(config, dataset), workdir=workdir)
            variables, _ = _load_selected(config, workdir, task)
            logits_of = _make_logits_of(config, model, variables)
            images = splits["valid"].images
            write_arrays(path, **{v: logits_of(images, tta=v) for v in folds.VIEWS})
        return read_arrays(path)


def export(config, workdir: Path | str, *, weights: str | None):
    """Writes `weights` as ONNX, StableHLO and one HTML page; see fer_jax/export/run.py."""
    workdir = Path(workdir)
    try:
        from fer_jax.export import run  # packages that nothing else needs
    except ModuleNotFoundError as error:
        raise UserError(
            f"--mode=export needs {error.name}: pip install -r requirements-export.txt"
        ) from None
    run.export(config, workdir, weights=weights)


def shrink(config, workdir: Path | str, *, weights: str | None):
    """Writes `weights` into `workdir` in half the bytes, or as far on the way as no answer on
    validation and test images changes, seen singly and with mirrors."""
    workdir = Path(workdir)
    if not weights:
        raise UserError("--mode=shrink needs --weights=FOLDER, such as RUN/export")
    if is_run(workdir):
        raise UserError(f"{workdir} holds a run: give --workdir=NEW, which the weights fill alone")
    classifier = weights_lib.load(Path(weights))
    splits = _divided(_data_of(config, classifier.card), classifier.card, weights)
    images = np.concatenate([f.images for name, f in splits.items() if name != "train"])

    def answers(variables):
        logits_of = _make_logits_of(config, classifier.model, variables)
        return [logits_of(images, tta=view).argmax(1) for view in ("none", "flip")]

    expected = answers(classifier.variables)
    half = weights_lib.shrink(
        classifier,
        workdir,
        lambda variables: all(map(np.array_equal, answers(variables), expected)),
    )
    print(
        f"weights: {workdir}, in 16 bits: {', '.join(half) or 'none'}; no answer on "
        f"{len(images):,} images changed"
    )


def explore(config, workdir: Path | str):
    """Describes the data in tables and figures; trains nothing."""
    workdir = Path(workdir)
    with lock_workdir(workdir):
        explore_lib.explore(config, workdir)


def explain(config, workdir: Path | str, *, weights: str | None, inputs: str) -> int:
    """Shows what a network makes of the faces of pictures; see fer_jax/explain/run.py."""
    workdir = Path(workdir)
    from fer_jax.explain import run as explain_run  # OpenCV, as below

    return explain_run.run(config, workdir, weights=weights, inputs=inputs)


def write_report(workdirs: Sequence[Path | str]) -> Path:
    """Writes report.html of a run, or comparison.html of several; see train_jax/report/write.py."""
    return report_write.write_report(
        workdirs,
        task="fer",
        sections=report_html.sections,
        main_score=report_html.main_score,
        score_of=report_html.score_of,
    )


def predict(config, workdir: Path | str, *, weights: str | None, inputs: str) -> int:
    """Classifies the faces of pictures and videos into `workdir`; see fer_jax/predict/run.py."""
    workdir = Path(workdir)
    from fer_jax.predict import run  # OpenCV: 0.2 s that no other mode needs

    return run.predict(config, workdir, weights=weights, inputs=inputs)


def _score_run(config, workdir, model, task, dataset, splits):
    """(variables, {view: temperature}, eval.json) of the best epoch, scored on every split."""
    variables, epoch = _load_selected(config, workdir, task)
    logits_of = _make_logits_of(config, model, variables)
    temperature = _temperatures(config, model, logits_of, splits["valid"], dataset.classes)
    about = {"weights": f"{config.checkpoint.select} checkpoint", "epoch": epoch}
    counts = np.bincount(splits["train"].labels, minlength=len(dataset.classes))
    result = _score(config, workdir, logits_of, dataset, splits, temperature, counts, about)
    return variables, temperature, result


def _load_selected(config, workdir, task):
    """(variables, epoch) of the checkpoint that is evaluated."""
    c = config.checkpoint
    checkpoints = Checkpoints(workdir / "checkpoints", mode=c.mode, select=c.select)
    saved = checkpoints.best()
    variables = checkpoints.load_variables(saved, task.init, ema=config.train.ema_decay > 0)
    return variables, len(saved.record["history"])


def _temperatures(config, model, logits_of, valid, classes) -> dict[str, float]:
    """{view: T}, fitted on `valid`; or else those of the folds, where data.soft_labels has some."""
    views = views_of(model)
    if len(valid.labels):
        found = {v: fit_temperature(logits_of(valid.images, tta=v), valid.labels) for v in views}
        if not all(BOUNDS[0] * 1.01 < t < BOUNDS[1] / 1.01 for t in found.values()):
            print(f"The temperature is at its bound ({found['none']:.3g}): no calibration.")
        return found
    if config.data.soft_labels:
        known = folds.load(Path(config.data.soft_labels), classes).temperature
        return {view: known.get(view, known["flip"]) for view in views}
    print("No validation images and no data.soft_labels: the temperature stays 1.")
    return dict.fromkeys(views, 1.0)


def _score_weights(config, workdir, folder):
    """Scores exported weights on whatever splits there are: any of them will do."""
    classifier, tta = average.load(folder), config.eval.tta
    own = (workdir / "export").resolve()
    if is_run(workdir) and Path(folder).resolve() != own:
        raise UserError(
            f"{workdir} holds a run, and its eval.json is not of {folder}: give --workdir=NEW"
        )
    dataset = _data_of(config, classifier.card)
    if dataset.notice:
        print(dataset.notice)
    splits, trained_on = _divided(dataset, classifier.card, folder), classifier.card["trained_on"]
    logits_of = _make_logits_of(config, classifier.model, classifier.variables)
    temperature = classifier.temperature
    fitting = isinstance(classifier.model, Average) or tta not in temperature
    if fitting and "valid" in splits and len(splits["valid"].labels):
        check_view(tta, views_of(classifier.model))
        valid = splits["valid"]
        temperature = {tta: fit_temperature(logits_of(valid.images, tta=tta), valid.labels)}
    check_view(tta, list(temperature))
    about = {"weights": folder, "epoch": classifier.card["epoch"]}
    counts = [trained_on["counts"][name] for name in dataset.classes]
    with lock_workdir(workdir):
        _score(config, workdir, logits_of, dataset, splits, temperature, counts, about)


def _data_of(config, card):
    """The Dataset of a config, with the classes of a card, divided as that one says."""
    own = {name: card["config"]["data"][name] for name in ("test_fraction", "split_seed")
           if name in card["config"]["data"]}  # fmt: skip
    known = {"classes": tuple(card["classes"])} | own
    return fer_data.load(config.data.path, fer_data.reading_of(config.data, **known))


def _divided(dataset, card, folder) -> dict:
    """The splits of `dataset`, as the weights of `card` were trained on them, if they were."""
    if "train" in dataset.splits:
        divided = divide(dataset.splits, card["config"]["data"])
        if train_valid_sha256(divided) == card["trained_on"]["train_valid_sha256"]:
            return divided
        print(f"The training images are not those that {folder} was trained on.")
    return dataset.splits


def _score(config, workdir, logits_of, dataset, splits, temperature, counts, about) -> dict:
    tta, splits = config.eval.tta, {n: faces for n, faces in splits.items() if len(faces.labels)}
    about = {"data": dataset.name, "sha256": dataset.sha256, **about, "tta": tta}
    return score(
        workdir, functools.partial(logits_of, tta=tta), splits, classes=dataset.classes,
        temperature=temperature[tta], majority=int(np.argmax(counts)), about=about,
    )  # fmt: skip


def _make_logits_of(config, model, variables):
    """(images u8[N, 48, 48], tta=) -> logits f32[N, K]."""
    size = config.train.eval_batch_size
    return functools.partial(predict_split, make_predict(model), variables, batch_size=size)
