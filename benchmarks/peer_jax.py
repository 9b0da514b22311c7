"""Our nets and steps: the compiled functions that launch.py runs, without augmentation."""

import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from train_jax.process import cache_compilations, use_eigen_convolutions, use_huge_pages  # noqa: E402

use_huge_pages(__file__)
use_eigen_convolutions()
cache_compilations()

import jax  # noqa: E402
import nets  # noqa: E402
import numpy as np  # noqa: E402
import timing  # noqa: E402

from fer_jax import task as fer_task  # noqa: E402
from fer_jax.fer2013 import cache  # noqa: E402
from fer_jax.fer2013 import source as fer2013  # noqa: E402
from fer_jax.inference import make_predict  # noqa: E402
from train_jax import parallel  # noqa: E402

CONFIGS = {"simple_rnn": "seq_rnn", "gru": "seq_gru", "lstm": "seq_lstm"}


def make(case):
    if case.kind in ("load", "prepare"):
        return data_work(case)
    config = nets.config_of(CONFIGS.get(case.net, f"fer_{case.net}"))
    config.train.batch_size = case.batch
    if case.kind == "recurrent":
        task = nets.sentences_task(config, *timing.sentences(case.sentences, case.length))
        return nets.training(task, config)
    nets.switch_off_augmentation(config)
    images, labels = timing.faces(case.batch)
    images = (images[..., 0] * 255).astype(np.uint8)
    if case.kind == "infer":
        return infer(fer_task.build_model(config), images)
    return nets.training(nets.faces_task(config, images, labels), config)


def data_work(case):
    """Reads the prepared arrays onto the device; or prepares them again each time."""
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


def infer(model, images):
    variables = jax.jit(lambda: fer_task.init_model(model, jax.random.key(0)))()
    predict = make_predict(model)
    return lambda: np.asarray(predict(variables, images))


if __name__ == "__main__":
    timing.report(make, f"jax {jax.__version__}")
