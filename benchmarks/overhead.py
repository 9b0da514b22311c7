"""What the training loop costs outside its steps, and whether memory grows over epochs.

python benchmarks/overhead.py CONFIG EPOCHS [field=value ..., such as data.path=archive.zip]

Times every call into the compiled functions from inside: a step counts from the moment the one
before it is finished. What is left of an epoch is the loop: order, checkpoint, metrics.csv.
"""

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from train_jax.process import use_eigen_convolutions, use_huge_pages  # noqa: E402

use_huge_pages(__file__)
use_eigen_convolutions()

import importlib  # noqa: E402

import jax  # noqa: E402
from timing import memory_mb  # noqa: E402

from fer_jax.task import build_model, load_splits, make_task, settings_of  # noqa: E402
from train_jax import loop  # noqa: E402

SECONDS = {"train_step": [], "eval_step": []}  # of each call
MEMORY = {"train_step": [], "eval_step": []}  # MB after it


def timed(name, function):
    """`function`, waited for, with its seconds noted."""

    def call(*arguments):
        begin = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        SECONDS[name].append(time.perf_counter() - begin)
        MEMORY[name].append(memory_mb("VmRSS"))
        return result

    return call


def main(name, epochs, *overrides):
    config = importlib.import_module(f"configs.{name}").get_config()
    for override in overrides:
        field, value = override.split("=")
        config.update_from_flattened_dict({field: _like(config, field, value)})
    dataset, splits = load_splits(config)
    task = make_task(config, build_model(config), dataset, splits)
    build = loop.build

    def build_timed(*arguments, **settings):
        program, state = build(*arguments, **settings)
        timed_program = program._replace(
            train_step_at=lambda epoch: timed("train_step", program.train_step_at(epoch)),
            eval_step=timed("eval_step", program.eval_step),
        )
        return timed_program, state

    loop.build = build_timed
    settings = dataclasses.replace(settings_of(config, dataset), epochs=int(epochs))
    with tempfile.TemporaryDirectory() as folder:
        rows = loop.fit(task, settings, workdir=Path(folder))
    steps = len(SECONDS["train_step"]) // len(rows)
    evals = len(SECONDS["eval_step"]) // len(rows)
    for i, row in enumerate(rows):
        inside = [
            sum(SECONDS[n][i * k : (i + 1) * k])
            for n, k in (("train_step", steps), ("eval_step", evals))
        ]
        rest = row["seconds"] - sum(inside)
        print(
            f"epoch {i + 1}: {row['seconds']:.2f} s, training steps {inside[0]:.2f}, validation "
            f"{inside[1]:.2f}, the rest {rest:.2f} s = {100 * rest / row['seconds']:.1f} %; "
            f"{MEMORY['train_step'][(i + 1) * steps - 1]:.0f} MB"
        )
    print(f"peak {memory_mb():.0f} MB, at the end {memory_mb('VmRSS'):.0f} MB")


def _like(config, field, value):
    """`value` in the type that the field has now."""
    for part in field.split("."):
        config = config[part]
    return type(config)(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
