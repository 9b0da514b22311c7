"""Trains and evaluates: parses the flags, looks up the task, makes one call.

    python launch.py --config=configs/fer_best.py
    python launch.py --config=configs/fer_best.py --config.train.seed=1 --workdir=runs/seed1
    python launch.py --config=configs/fer_best.py --workdir=runs/seed1 --mode=eval
"""

import difflib
import importlib
import re
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

TASKS = {"fer": "fer_jax.task"}
MODES = {"train": "train", "eval": "evaluate"}  # mode -> function of the task module

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "configs/NAME.py; --config.a.b=value overrides a field.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives. Default: runs/NAME.")
MODE = flags.DEFINE_enum("mode", "train", list(MODES), "What to do.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if CONFIG.value is None:
        raise app.UsageError("--config=configs/NAME.py is missing")
    config = CONFIG.value
    name = Path(config_flags.get_config_filename(FLAGS["config"])).stem
    workdir = Path(WORKDIR.value or Path("runs") / name)
    task = importlib.import_module(TASKS[config.task])
    from train_jax.errors import UserError
    from train_jax.interrupt import Interrupted

    try:
        getattr(task, MODES[MODE.value])(config, workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return interrupted.exit_code


if __name__ == "__main__":
    app.run(main)
