"""What `launch.py --mode=` does for facial expressions, one function a mode."""

from pathlib import Path

from fer_jax import explore as explore_lib
from fer_jax import report
from fer_jax.evaluate import make_predict, score
from fer_jax.task import build_model, fit_settings, load_splits, make_task
from train_jax import loop
from train_jax.report import draw_history, model_table
from train_jax.writer import lock_workdir, read_config, write_config


def train(config, workdir: Path):
    """Trains what the config says into `workdir`, then scores the best epoch and draws figures."""
    model = build_model(config)
    predict = make_predict(model, tta=config.eval.tta)
    dataset, splits = load_splits(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)
        print(report.describe(dataset, splits))
        print(model_table(model, task.init))
        history = loop.fit(task, workdir=workdir, **fit_settings(config, dataset))
        best_epoch = score(config, workdir, predict, task, dataset, splits)
        draw_history(workdir, history, best_epoch, dataset.name)


def evaluate(config, workdir: Path):
    """Scores the best checkpoint of `workdir` on every split that is there, into eval.json."""
    read_config(workdir)  # refuses a workdir without a run before the data is read
    model = build_model(config)
    predict = make_predict(model, tta=config.eval.tta)
    dataset, splits = load_splits(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)  # refuses another model or data
        score(config, workdir, predict, task, dataset, splits)


def explore(config, workdir: Path):
    """Describes the data in tables and figures; trains nothing."""
    with lock_workdir(workdir):
        explore_lib.explore(config, workdir)
