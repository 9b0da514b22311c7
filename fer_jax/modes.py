"""What `launch.py --mode=` does for facial expressions, one function a mode."""

import functools
from pathlib import Path

import numpy as np

from fer_jax import data as fer_data
from fer_jax import explore as explore_lib
from fer_jax import report, report_html, weights
from fer_jax.data import CLASSES
from fer_jax.evaluate import VIEWS, check_view, make_predict, predict_split, score
from fer_jax.task import (
    build_model,
    divide,
    fit_settings,
    load_splits,
    make_task,
    train_valid_sha256,
)
from train_jax import loop, parallel, report_write
from train_jax.calibration import fit_temperature
from train_jax.checkpoint import Checkpoints
from train_jax.errors import UserError
from train_jax.report import draw_history, write_model_table
from train_jax.writer import lock_workdir, origin, read_config, write_config


def train(config, workdir: Path):
    """Trains what the config says into `workdir`; then scores, draws and exports the best epoch."""
    model = build_model(config)
    check_view(config.eval.tta)
    dataset, splits = load_splits(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)
        print(report.describe(dataset, splits))
        write_model_table(workdir, model, task.init)
        history = loop.fit(task, workdir=workdir, **fit_settings(config, dataset))
        if not parallel.is_main():
            return
        variables, temperature, result = _score_run(config, workdir, model, task, dataset, splits)
        draw_history(workdir, history, result["epoch"], dataset.name)
        weights.export(
            workdir / "export", variables, config=config.to_dict(), identity=task.identity,
            splits=splits, temperature=temperature, result=result, origin=origin(),
        )  # fmt: skip
        print(f"weights: {workdir / 'export'}")


def evaluate(config, workdir: Path, *, weights: str | None):
    """Scores `weights`, or else the best checkpoint of `workdir`, on every split that is there."""
    check_view(config.eval.tta)
    if weights:
        _score_weights(config, workdir, Path(weights))
        return
    read_config(workdir)  # refuses a workdir without a run before the data is read
    model = build_model(config)
    dataset, splits = load_splits(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)  # refuses another model or data
        _score_run(config, workdir, model, task, dataset, splits)


def explore(config, workdir: Path):
    """Describes the data in tables and figures; trains nothing."""
    with lock_workdir(workdir):
        explore_lib.explore(config, workdir)


def explain(config, workdir: Path, *, weights: str | None, inputs: str) -> int:
    """Shows what a network makes of the faces of pictures; see fer_jax/explain_run.py."""
    from fer_jax import explain_run  # OpenCV, as below

    return explain_run.run(config, workdir, weights=weights, inputs=inputs)


def write_report(workdirs: list[Path], base: dict) -> Path:
    """Writes report.html of a run, or comparison.html of several; see train_jax/report_write.py."""
    return report_write.write_report(
        workdirs, base=base, sections=report_html.sections, main_score=report_html.main_score
    )


def predict(config, workdir: Path, *, weights: str | None, inputs: str) -> int:
    """Classifies the faces of pictures and videos into `workdir`; see fer_jax/predict/run.py."""
    from fer_jax.predict import run  # OpenCV: 0.2 s that no other mode needs

    return run.predict(config, workdir, weights=weights, inputs=inputs)


def _score_run(config, workdir, model, task, dataset, splits):
    """(variables, {view: temperature}, eval.json) of the best epoch, scored on every split."""
    c = config.checkpoint
    checkpoints = Checkpoints(workdir / "checkpoints", mode=c.mode, select=c.select)
    saved = checkpoints.best()
    variables = checkpoints.load_variables(saved, task.init, ema=config.train.ema_decay > 0)
    logits_of = _make_logits_of(config, model, variables)
    valid = splits["valid"]
    temperature = {
        view: fit_temperature(logits_of(valid.images, tta=view), valid.labels)
        if len(valid.labels)
        else 1.0
        for view in VIEWS
    }
    splits = {name: faces for name, faces in splits.items() if len(faces.labels)}
    about = {"weights": f"{c.select} checkpoint", "epoch": len(saved.record["history"])}
    counts = np.bincount(splits["train"].labels)
    result = _score(config, workdir, logits_of, dataset, splits, temperature, counts, about)
    return variables, temperature, result


def _score_weights(config, workdir, folder):
    """Scores exported weights on whatever splits there are: any of them will do."""
    classifier = weights.load(folder)
    if (workdir / "config.json").exists() and folder.resolve() != (workdir / "export").resolve():
        raise UserError(
            f"{workdir} holds a run, and its eval.json is not of {folder}: give --workdir=NEW"
        )
    dataset = fer_data.load(config.data.path)
    if dataset.notice:
        print(dataset.notice)
    splits, trained_on = dataset.splits, classifier.card["trained_on"]
    if "train" in splits:
        divided = divide(splits, classifier.card["config"]["data"])
        if train_valid_sha256(divided) == trained_on["train_valid_sha256"]:
            splits = divided
        else:
            print(f"The training images are not those that {folder} was trained on.")
    logits_of = _make_logits_of(config, classifier.model, classifier.variables)
    about = {"weights": str(folder), "epoch": classifier.card["epoch"]}
    counts = [trained_on["counts"][name] for name in CLASSES]
    with lock_workdir(workdir):
        _score(config, workdir, logits_of, dataset, splits, classifier.temperature, counts, about)


def _score(config, workdir, logits_of, dataset, splits, temperature, counts, about) -> dict:
    tta = config.eval.tta
    about = {"data": dataset.name, "sha256": dataset.sha256, **about, "tta": tta}
    return score(
        workdir, functools.partial(logits_of, tta=tta), splits,
        temperature=temperature[tta], majority=int(np.argmax(counts)), about=about,
    )  # fmt: skip


def _make_logits_of(config, model, variables):
    """(images u8[N, 48, 48], tta=) -> logits f32[N, K]."""
    size = config.train.eval_batch_size
    return functools.partial(predict_split, make_predict(model), variables, batch_size=size)
