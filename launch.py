"""Trains, evaluates, predicts: parses the flags, looks up the task, makes one call.

python launch.py --config=configs/fer_best.py
python launch.py --config=fer_best --config.train.seed=1 --workdir=runs/seed1
python launch.py --workdir=runs/seed1 --mode=eval
python launch.py --mode=predict --inputs=photo.jpg,folder/,clip.mp4
python launch.py --mode=translate --inputs="in front of her house"
python launch.py --mode=export
python launch.py --mode=report --workdir=runs/seed0,runs/seed1
"""

import importlib
import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from configs import find
from train_jax import process
from train_jax.run import ending
from train_jax.run.errors import check_choice

# config.task -> its module, and --mode -> (function of that module, the flags that are its own)
TASKS = {
    "fer": (
        "fer_jax.modes",
        {
            "train": ("train", ("init",)),
            "eval": ("evaluate", ("weights",)),
            "cross_validate": ("cross_validate", ()),
            "export": ("export", ("weights",)),
            "shrink": ("shrink", ("weights",)),
            "explore": ("explore", ()),
            "predict": ("predict", ("weights", "inputs")),
            "explain": ("explain", ("weights", "inputs")),
            "report": ("write_report", ()),
        },
    ),
    "seq": (
        "seq_jax.modes",
        {
            "train": ("train", ("init",)),
            "eval": ("evaluate", ("weights", "inputs")),
            "export": ("export", ("weights",)),
            "score": ("score_pairs", ("weights", "inputs")),
            "explain": ("explain", ("weights", "inputs")),
            "translate": ("translate", ("weights", "inputs")),
            "explore": ("explore_corpus", ()),
            "cross_validate": ("cross_validate", ()),
            "report": ("write_report", ()),
        },
    ),
}
SHIPPED = {"fer": "fer_best", "seq": "seq_best"}  # in weights/, and their configs
OWN_FOLDER = {"predict", "explain", "export"}  # modes that write, and not into a run
INPUTS_OPTIONAL = {"eval"}  # without them it scores the splits of the run
REPORTED = {"train", "eval", "report"}  # modes that end with a report
# modes that compare their config with that of a run, whose absent fields are those of the base
NEEDS_BASE = {"train", "eval", "cross_validate", "score", "translate"}

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "NAME, or configs/NAME.py. --config.a.b=value sets a field. A run that exists "
    "knows its own, and so do --weights in eval.", lock_config=True,
)  # fmt: skip
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run, or for what the mode writes. The default is runs/NAME, or "
    "runs/MODE without a run. A run that exists is continued. report: of several, with commas or a "
    "pattern, 'runs/*'.",
)  # fmt: skip
MODE = flags.DEFINE_string(
    "mode", "train", "; ".join(f"{t}: {', '.join(modes)}" for t, (_, modes) in TASKS.items())
)
WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "eval, predict, explain, export, translate, score: weights, such as weights/fer_best.",
)  # fmt: skip
INPUTS = flags.DEFINE_string(
    "inputs", None, "predict, explain: pictures, folders, '*.jpg', @list.txt, videos, webcam:0, "
    "with commas or blanks. "
    "translate: a sentence, a file with a sentence a line, or - for stdin. "
    "eval (of sentences), score: a file or folder of pairs."
)  # fmt: skip
INIT = flags.DEFINE_string(
    "init", None, "train: exported weights, or a run, that a new run begins with (fine-tuning)."
)


def parse_flags(argv) -> list[str]:
    """What absl makes of argv, with one line and exit code 2 for every mistake in it."""
    try:
        # --config first: its fields are flags only once it is read (ml_collections asks sys.argv)
        sys.argv[1:] = find.with_config(argv[1:], SHIPPED, needs_no_config)
        FLAGS.set_gnu_getopt()  # names may come before flags: --inputs *.jpg --workdir=x
        rest = FLAGS(sys.argv)
        if not (FLAGS.help or FLAGS.helpshort or FLAGS.helpfull):
            check_flags(rest[1:])
        return rest
    except (AttributeError, KeyError) as error:
        sys.exit(ending.fail(f"error: {find.unknown_field(error, argv)}"))
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        sys.exit(ending.fail(f"error: --config cannot be loaded: {reason}"))
    except (flags.Error, ValueError, TypeError) as error:
        sys.exit(ending.fail(f"error: {error}"))


def check_flags(names: list[str]):
    """Raises flags.Error or ValueError unless the flags go together. `names`, arguments of no flag,
    are what the shell made of --inputs *.jpg."""
    mode, config = MODE.value, CONFIG.value
    takes_names = mode in OWN_FOLDER and config and config.task == "fer"
    if names and not takes_names:
        raise flags.Error(f"unexpected argument {names[0]!r}: flags are --name=value")
    if FLAGS["config"].value is None:
        found = f"{WORKDIR.value} holds no run: " if WORKDIR.value else ""
        raise flags.Error(f"{found}--config=NAME is missing. {find.choices()}")
    check_choice("--config.task", config.task, TASKS)
    modes = TASKS[config.task][1]
    check_choice(f"--mode for configs of task {config.task!r}", mode, modes)
    own = modes[mode][1]
    if names:
        FLAGS["inputs"].value = find.with_names(INPUTS.value or "", names)
    if INPUTS.value is None and "inputs" in own and mode not in INPUTS_OPTIONAL:
        raise flags.Error(f"--mode={mode} needs --inputs: {FLAGS['inputs'].help}")
    for name in {"weights", "inputs", "init"}.difference(own):
        if FLAGS[name].value is not None:
            raise flags.Error(f"--{name} is not for --mode={mode}")


def needs_no_config(task: str, mode: str) -> bool:
    """Whether the mode runs on exported weights, by default on the shipped ones of the task."""
    own = {*TASKS[task][1].get(mode, ((), ()))[1]}
    on_weights = own == {"weights", "inputs"} or mode == "export"
    return on_weights and mode not in INPUTS_OPTIONAL


def main(argv):
    del argv
    if os.environ.get("JAX_LOG_COMPILES", "0") in ("0", "false", "False", ""):
        # orbax and jax report every step they take, and every error, which comes as an exception
        logging.set_verbosity(logging.FATAL)
    if sys.stdout.errors == "strict":  # a file name need not be Unicode
        sys.stdout.reconfigure(errors="backslashreplace")
    if CONFIG.value.train.deterministic:
        process.make_deterministic()
    without_run = WEIGHTS.value is not None or MODE.value in OWN_FOLDER
    name = Path(config_flags.get_config_filename(FLAGS["config"]).partition(":")[0]).stem
    folder = WORKDIR.value or Path("runs") / (MODE.value if without_run else name)
    workdir = Path(folder).expanduser()
    return ending.exit_code(lambda: dispatch(CONFIG.value, MODE.value, workdir), workdir)


def dispatch(config, mode, workdir):
    """Calls the function of the mode, and has the report written where that is its end."""
    module, modes = TASKS[config.task]
    task = importlib.import_module(module)
    from train_jax import compiler, parallel  # here, or --help would wait for jax

    compiler.use_matmul_precision(config.train.matmul_precision)
    if mode == "train":
        places = config.distributed.to_dict()
        del places["devices"]
        parallel.start(**places)
        if not parallel.is_main():
            sys.stdout = open(os.devnull, "w")
    code, workdirs = None, [workdir]
    if mode == "report":
        workdirs = [Path(part) for part in find.workdirs(str(workdir))]
    else:
        function, own = modes[mode]
        settings = {name: FLAGS[name].value for name in own}
        for name in {"weights", "init"}.intersection(own):
            settings[name] = settings[name] and os.path.expanduser(settings[name])
        if mode in NEEDS_BASE:
            base = importlib.import_module(f"configs.{config.task}_base").get_config()
            settings["base"] = base.to_dict()
        code = getattr(task, function)(config, workdir, **settings)
    own_run = WEIGHTS.value is None and (INPUTS.value is None or mode != "eval")
    if mode in REPORTED and own_run and parallel.is_main():
        print(f"report: {task.write_report(workdirs)}")
    return code


def run(argv) -> int | None:
    """`main`, and then an end that nothing disturbs."""
    code = main(argv)
    ending.close()
    return code


if __name__ == "__main__":
    process.start(__file__)
    app.run(run, flags_parser=parse_flags)
