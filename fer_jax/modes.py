"""What `launch.py --mode=` does for facial expressions, one function per mode."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import data as fer_data
from fer_jax import folds
from fer_jax import weights as weights_lib
from fer_jax.batch_norm import MOMENTUM
from fer_jax.evaluate import (
    data_of,
    divided,
    make_logits_of,
    score_run,
    score_weights,
)
from fer_jax.explore import run as explore_lib
from fer_jax.inference import check_view, views_of
from fer_jax.report import page as report_html
from fer_jax.report import tables as report
from fer_jax.task import (
    build_model,
    check_settings,
    load_splits,
    make_task,
    settings_of,
)
from train_jax import loop, parallel
from train_jax.epoch import size_of
from train_jax.report import write as report_write
from train_jax.report.tables import count_parameters, draw_history, write_model_table
from train_jax.run.checkpoint import load_selected
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
        task = begin_with(task, Path(init), {"classes": task.identity["classes"]})
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
        variables, temperature, result = score_run(config, workdir, model, task, dataset, splits)
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
        score_weights(config, workdir, weights)
        return
    read_config(workdir)  # refuses a workdir without a run before the data is read
    dataset, splits, model = _load(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        check_config(workdir, config.to_dict(), task.identity, base=base)
        score_run(config, workdir, model, task, dataset, splits)


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
            settings = settings_of(config, dataset)
            loop.fit(task, settings, workdir=workdir)
            variables, _ = load_selected(workdir, settings, task.init)
            logits_of = make_logits_of(config, model.clone(dtype=jnp.float32), variables)
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
    splits = divided(data_of(config, classifier.card), classifier.card, weights)
    images = np.concatenate([f.images for name, f in splits.items() if name != "train"])

    def answers(variables):
        logits_of = make_logits_of(config, classifier.model, variables)
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
