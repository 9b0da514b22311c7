"""Our nets and steps: the compiled functions that launch.py runs, without augmentation."""

import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from launch import cache_compilations, use_eigen_convolutions, use_huge_pages  # noqa: E402

use_huge_pages()
use_eigen_convolutions()
cache_compilations()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import timing  # noqa: E402

from configs import fer_best, fer_lobo, seq_gru, seq_lstm, seq_rnn  # noqa: E402
from data.fer2013 import cache  # noqa: E402
from data.fer2013 import source as fer2013  # noqa: E402
from fer_jax import task as fer_task  # noqa: E402
from fer_jax.data import Faces  # noqa: E402
from fer_jax.evaluate import make_predict  # noqa: E402
from seq_jax import models, recurrent  # noqa: E402, F401
from seq_jax.task import make_sums  # noqa: E402
from seq_jax.text import build_vocabulary  # noqa: E402
from train_jax import loop, metrics, parallel  # noqa: E402
from train_jax.epoch import epoch_order  # noqa: E402
from train_jax.task import Task  # noqa: E402


def make(case):
    if case.kind == "recurrent":
        return recurrent_epoch(case)
    if case.kind in ("load", "prepare"):
        return data_work(case)
    config = {"lobo": fer_lobo, "best": fer_best}[case.net].get_config()
    for name in config.augment:  # the peers get their images as they are, too
        config.augment[name] *= 0
    model = fer_task.build_model(config)
    if case.kind == "infer":
        return infer(model, case)
    images, labels = timing.faces(case.batch)
    faces = Faces((images[..., 0] * 255).astype(np.uint8), labels)

    class Dataset:
        name = "noise"

    task = fer_task.make_task(config, model, Dataset, {"train": faces, "valid": faces})
    settings = fer_task.fit_settings(config, Dataset)
    return training(task, settings | {"batch_size": case.batch})


def data_work(case):
    """Reads the prepared arrays onto the device; or prepares them anew each time."""
    source, mesh = fer2013.find(timing.jpegs()), parallel.make_mesh(0)
    folder = tempfile.TemporaryDirectory()
    numbers = itertools.count()

    def work():
        part = str(next(numbers)) if case.kind == "prepare" else "prepared"
        splits, _ = cache.load(source, Path(folder.name) / part)
        images, labels = splits["train"]
        rows = parallel.shard_rows({"image": images, "label": labels}, mesh)
        jax.block_until_ready(rows)
        return folder  # alive as long as the step is

    return work


def infer(model, case):
    images = (timing.faces(case.batch)[0][..., 0] * 255).astype(np.uint8)
    variables = jax.jit(lambda: fer_task.init_model(model, jax.random.key(0)))()
    predict = make_predict(model)
    return lambda: np.asarray(predict(variables, images))


def recurrent_epoch(case):
    config = {"simple_rnn": seq_rnn, "gru": seq_gru, "lstm": seq_lstm}[case.net].get_config()
    english, kannada = timing.VOCABULARIES
    model = models.make_model(
        source_vocabulary=english, target_vocabulary=kannada, **config.model.to_dict()
    )
    vocabulary = build_vocabulary([str(n) for n in range(kannada - 4)])
    assert len(vocabulary.words) == kannada
    sums = make_sums(vocabulary, count_pad=False)

    def loss(params, batch_stats, batch, key):
        logits = model.apply({"params": params}, batch["source"], train=True, rngs={"dropout": key})
        scores = sums(logits, batch)
        return metrics.safe_divide(scores["loss"]), (scores, batch_stats)

    source, target = timing.sentences(case.sentences, case.length)
    data = {"source": source, "target": target}
    task = Task(
        init=lambda key: model.init(key, source[:1], train=False), loss=loss, evaluate=None,
        train=data, valid=data, identity={}, unit="sentences",
    )  # fmt: skip
    names = ("optimizer", "schedule", "plateau", "early_stop")
    settings = config.train.to_dict() | {name: config[name].to_dict() for name in names}
    return training(task, settings | {"batch_size": case.batch})


def training(task, settings):
    """One epoch of a task by the compiled step of the training loop; one step if it is a batch."""
    mesh = parallel.make_mesh(0)
    size, data = len(next(iter(task.train.values()))), parallel.shard_rows(task.train, mesh)
    steps = -(-size // settings["batch_size"])
    names = ("seed", "prng", "epochs", "batch_size", "ema_decay", "optimizer", "schedule",
             "plateau", "early_stop")  # fmt: skip
    program, state = loop.build(task, mesh, steps=steps, **{name: settings[name] for name in names})
    state = parallel.replicate(state, mesh)
    calls = min(settings["steps_per_call"] or 1, steps)  # as on a CPU
    index, mask = epoch_order(size, settings["batch_size"], seed=0, epoch=0)

    def epoch():
        nonlocal state
        for first in range(0, steps, calls):
            rows = slice(first, first + calls)
            state, token = program.train_step(state, data, index[rows], mask[rows])
        return int(token)

    return epoch


if __name__ == "__main__":
    timing.report(make, f"jax {jax.__version__}")
