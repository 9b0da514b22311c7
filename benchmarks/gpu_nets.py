"""The nets that the GPU measurements run, with made-up data of the real form."""

import contextlib
import inspect
import io
from importlib import import_module

import numpy as np

from fer_jax import task as fer_task
from fer_jax.data import Faces
from seq_jax import modes
from train_jax import program
from train_jax.task import fit_settings

WIDE = ((64, 64), (128, 128), (256, 256), (512, 512))  # 468 million multiplications an image
NETS = {  # name: (its config, channels in place of the config's)
    "fer_lobo": ("fer_lobo", None),
    "fer_best": ("fer_best", None),
    "fer_wide": ("fer_best", WIDE),
    "seq_lstm": ("seq_lstm", None),
    "seq_gru": ("seq_gru", None),
    "seq_rnn": ("seq_rnn", None),
}


def config_of(net, **settings):
    """The unlocked config of a net; `settings` are fields of config.model."""
    name, features = NETS[net]
    config = import_module(f"configs.{name}").get_config().unlock()
    config.model.update(settings | ({"features": features} if features else {}))
    return config


def task_of(config, rows):
    """The Task of a config: `rows` faces of noise, or the pairs of the phrasebook."""
    if config.task == "seq":
        with contextlib.redirect_stdout(io.StringIO()):  # the notice of the phrasebook
            return modes.prepare_run(config)[-1]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 48, 48), np.uint8)
    faces = Faces(images, rng.integers(0, 7, rows).astype(np.int32))
    dataset = type("Dataset", (), {"name": "noise"})
    model = fer_task.build_model(config)
    return fer_task.make_task(config, model, dataset, {"train": faces, "valid": faces})


def build(task, config, mesh, *, steps):
    """(Program, state) of a task; `steps` an epoch."""
    settings = fit_settings(config) | {"steps": steps}
    wanted = inspect.signature(program.build).parameters
    return program.build(task, mesh, **{k: v for k, v in settings.items() if k in wanted})
