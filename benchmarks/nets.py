"""Our nets as they are measured: what launch.py compiles, on noise."""

import math
from importlib import import_module

import jax
import numpy as np
import timing

from fer_jax import task as fer_task
from fer_jax.data import Dataset, Faces
from seq_jax import models
from seq_jax.task import make_sums
from seq_jax.text import build_vocabulary
from train_jax import metrics, parallel, program
from train_jax.epoch import default_steps_per_call, epoch_order, size_of
from train_jax.settings import of_config
from train_jax.task import Task

# what the peers have: the fer_best of before 2026-11-26, so that times stay comparable
BLOCKS = {
    "model.dropout": 0.4,
    "model.block_dropout": 0.0,
    "model.bfloat16": False,
    "optimizer.name": "adamw",
    "optimizer.clip_norm": 1.0,
    "schedule.learning_rate": 2e-3,
}
NETS: dict[str, tuple[str, dict]] = {  # name: (its config, what differs)
    "fer_lobo": ("fer_lobo", {}),
    "fer_best": ("fer_best", BLOCKS | {"model.features": timing.FEATURES}),
    "fer_wide": ("fer_best", BLOCKS | {"model.features": timing.WIDE}),
    "seq_lstm": ("seq_lstm", {}),
    "seq_gru": ("seq_gru", {}),
    "seq_rnn": ("seq_rnn", {}),
}


def config_of(net, **model):
    """The config of a net, not locked; `model` are fields of config.model."""
    name, fields = NETS[net]
    config = import_module(f"configs.{name}").get_config().unlock()
    config.update_from_flattened_dict(fields)
    config.model.update(model)
    return config


def switch_off_augmentation(config):
    """The peers get their images as they are."""
    for name, value in config.augment.items():
        config.augment[name] = 48 if name == "crop" else type(value)()  # 0, 0.0, False or ()


def task_of(config, rows, length=7):
    """The Task of a config, with `rows` faces of noise or as many sentences of `length` tokens."""
    if config.task == "seq":
        return sentences_task(config, *timing.sentences(rows, length))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 48, 48), np.uint8)
    return faces_task(config, images, rng.integers(0, 7, rows).astype(np.int32))


def faces_task(config, images, labels):
    """images u8[N, 48, 48], labels i32[N], for training and validation."""
    faces = Faces(images, labels)
    dataset = Dataset("noise", {}, source="", sha256="", notice="")
    model = fer_task.build_model(config)
    return fer_task.make_task(config, model, dataset, {"train": faces, "valid": faces})


def sentences_task(config, source, target):
    """source, target i32[N, T] of the vocabularies in timing.py."""
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

    data = {"source": source, "target": target}
    return Task(
        init=lambda key: model.init(key, source[:1], train=False), loss=loss, evaluate=None,
        train=data, valid=data, identity={}, unit="sentences", steps_per_call_on_cpu=8,
    )  # fmt: skip


def build(task, config, mesh, *, steps):
    """(Program, state) of a task with `steps` steps per epoch."""
    return program.build(task, mesh, of_config(config), steps=steps)


def training(task, config):
    """A function that trains an epoch by the compiled steps of the training loop, and returns the
    state once it is done. Always the same rows in the same order."""
    mesh = parallel.make_mesh(0)
    size, batch = size_of(task.train), config.train.batch_size
    steps = math.ceil(size / batch)
    calls = config.train.steps_per_call or default_steps_per_call(
        steps, platform=mesh.devices.flat[0].platform, on_cpu=task.steps_per_call_on_cpu
    )
    functions, state = build(task, config, mesh, steps=steps)
    step = functions.train_step_at(0)
    state = parallel.replicate(state, mesh)
    data = parallel.shard_rows(task.train, mesh)
    index, mask = epoch_order(size, batch, seed=0, epoch=0)

    def epoch():
        nonlocal state
        for first in range(0, steps, calls):
            rows = slice(first, first + calls)
            state, _ = step(state, data, index[rows], mask[rows])
        return jax.block_until_ready(state)

    return epoch
