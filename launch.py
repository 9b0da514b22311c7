"""Trains, evaluates, predicts: parses the flags, looks up the task, makes one call.

python launch.py --config=configs/fer_best.py
python launch.py --config=configs/fer_best.py --config.train.seed=1 --workdir=runs/seed1
python launch.py --config=configs/fer_best.py --workdir=runs/seed1 --mode=eval
python launch.py --mode=predict --inputs=photo.jpg,folder/,clip.mp4
python launch.py --mode=translate --inputs="in front of her house"
python launch.py --config=configs/seq_lstm.py --mode=translate --inputs=sentences.txt
python launch.py --mode=report --workdir=runs/seed0,runs/seed1
"""

import contextlib
import difflib
import errno
import importlib
import json
import os
import re
import signal
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

# config.task -> its module, and --mode -> (function of that module, the flags that are its own)
TASKS = {
    "fer": (
        "fer_jax.modes",
        {
            "train": ("train", ()),
            "eval": ("evaluate", ("weights",)),
            "cross_validate": ("cross_validate", ()),
            "export": ("export", ("weights",)),
            "explore": ("explore", ()),
            "predict": ("predict", ("weights", "inputs")),
            "explain": ("explain", ("weights", "inputs")),
            "report": ("write_report", ()),
        },
    ),
    "seq": (
        "seq_jax.modes",
        {
            "train": ("train", ()),
            "eval": ("evaluate", ("inputs",)),
            "score": ("score_pairs", ("weights", "inputs")),
            "explain": ("explain", ("weights", "inputs")),
            "translate": ("translate", ("weights", "inputs")),
            "explore": ("explore_corpus", ()),
            "cross_validate": ("cross_validate", ()),
            "report": ("write_report", ()),
        },
    ),
}
ON_WEIGHTS = {"weights", "inputs"}  # modes with both run on exported weights ...
SHIPPED = {"fer": "configs/fer_best.py", "seq": "configs/seq_best.py"}  # ... in weights/ by default
OWN_FOLDER = {"predict", "explain"}  # modes that write, and not into a run
INPUTS_OPTIONAL = {"eval"}  # without them it scores the splits of the run
REPORTED = {"train", "eval", "report"}  # modes that end with a report
STOPS = signal.SIGINT, signal.SIGTERM
# What no other code would mend: a full disk, a quota, a limit; no permission; a disk that fails
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "configs/NAME.py. --config.a.b=value sets a field.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run, or for what the mode writes. The default is runs/NAME, or "
    "runs/MODE without a run. A run that exists is continued. report: of several, with commas.",
)
MODE = flags.DEFINE_string(
    "mode", "train", "; ".join(f"{t}: {', '.join(modes)}" for t, (_, modes) in TASKS.items())
)
WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "eval, predict, explain, translate, score: exported weights, such as weights/fer_best.",
)
INPUTS = flags.DEFINE_string(
    "inputs", None, "predict, explain: pictures, folders, videos, webcam:0, with commas. "
    "translate: a sentence, a file with a sentence a line, or - for stdin. "
    "eval (of sentences), score: a file or folder of pairs."
)  # fmt: skip


def use_huge_pages():
    """Starts this process anew with 2 MB pages for malloc, which glibc only reads at the start.

    XLA allocates its buffers anew at every step. In pages of 4 KB that is 39,000 page faults in a
    step of fer_best: 211 ms; with huge pages 490 faults and 173 ms (2 cores, batch 64). With four
    arenas in place of 16 memory does not grow over the epochs: at most 1.24 GB in place of 1.35.
    Signals that come in between wait: they would end the new process without a word.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        os.execv(sys.executable, sys.orig_argv)


def use_eigen_convolutions():
    """Convolutions on a CPU by Eigen, not by YNNPACK, which jaxlib 0.10 takes unless told so.

    A step of fer_best 144 ms in place of 205, of fer_lobo 204 in place of 343 (benchmarks/NOTES.md,
    which has the rates of each layer). XLA refuses flags that it does not know.
    """
    if "ynn_fusion_type" not in os.environ.get("XLA_FLAGS", ""):
        _add_xla_flag("--xla_cpu_experimental_ynn_fusion_type=-individual_convolution")


def cache_compilations():
    """Keeps what XLA compiles in the user's cache folder, unless jax's own variable says where.

    From the start to the first finished step of fer_best: 11.2 s, from then on 4.9 s (2 cores,
    benchmarks/startup.py). An entry that is damaged is compiled anew, with a warning.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "fer_seq_jax" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def make_deterministic():
    """The same bits in every run on one GPU: no kernel that adds in a changing order, and none that
    is chosen by its time, which the flag turns off with it. XLA reads it with the first array."""
    _add_xla_flag("--xla_gpu_deterministic_ops=true")  # known to builds for the CPU too


def parse_flags(argv) -> list[str]:
    """What absl makes of argv, with one line and exit code 2 for every mistake in it."""
    try:
        # --config first: its fields are flags only once it is read (ml_collections asks sys.argv)
        sys.argv[1:] = sorted(
            [*argv[1:], *_default_config(argv)], key=lambda a: not a.startswith("--config=")
        )
        rest = FLAGS(sys.argv)
        if FLAGS.help or FLAGS.helpshort or FLAGS.helpfull:
            return rest
        if len(rest) > 1:
            raise flags.Error(f"unexpected argument {rest[1]!r}: flags are --name=value")
        if FLAGS["config"].value is None:
            choices = ", ".join(sorted(p.name for p in Path("configs").glob("*.py")))
            raise flags.Error(f"--config=configs/NAME.py is missing. In configs/: {choices}")
        _check_choice("--config.task", CONFIG.value.task, TASKS)
        modes = TASKS[CONFIG.value.task][1]
        _check_choice("--mode", MODE.value, modes, f" for configs of task {CONFIG.value.task!r}")
        own = modes[MODE.value][1]
        if INPUTS.value is None and "inputs" in own and MODE.value not in INPUTS_OPTIONAL:
            raise flags.Error(f"--mode={MODE.value} needs --inputs: {FLAGS['inputs'].help}")
        for name in ON_WEIGHTS.difference(own):
            if FLAGS[name].value is not None:
                raise flags.Error(f"--{name} is not for --mode={MODE.value}")
    except (AttributeError, KeyError) as error:  # of ml_collections, which knows the nearest key
        hint = re.search("Did you mean .*[?]", str(error))
        wrong = re.search(r"\w+", str(error))[0]
        given = " ".join(a for a in argv if a.startswith("--config.") and wrong in a)
        sys.exit(_fail(f"error: no such config field: {given}. {hint[0] if hint else ''}"))
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        sys.exit(_fail(f"error: --config cannot be loaded: {reason}"))
    except (flags.Error, ValueError, TypeError) as error:
        sys.exit(_fail(f"error: {error}"))
    return rest


def main(argv):
    del argv
    # orbax and jax report every step they take, and every error, which comes as an exception too
    logging.set_verbosity(logging.FATAL)
    if sys.stdout.errors == "strict":  # a file name need not be Unicode
        sys.stdout.reconfigure(errors="backslashreplace")
    config = CONFIG.value
    if config.train.deterministic:
        make_deterministic()
    name = Path(config_flags.get_config_filename(FLAGS["config"])).stem
    module, modes = TASKS[config.task]
    function, own = modes[MODE.value]
    without_run = WEIGHTS.value is not None or MODE.value in OWN_FOLDER
    workdir = Path(WORKDIR.value or Path("runs") / (MODE.value if without_run else name))
    task = importlib.import_module(module)
    from train_jax import compiler, parallel  # here, or --help would wait for jax
    from train_jax.run.errors import UserError, cannot_write
    from train_jax.run.interrupt import Interrupted

    try:
        code, workdirs = None, [workdir]
        compiler.use_matmul_precision(config.train.matmul_precision)
        if MODE.value == "train":
            places = config.distributed.to_dict()
            del places["devices"]
            parallel.start(**places)
            if not parallel.is_main():
                sys.stdout = open(os.devnull, "w")
        if MODE.value == "report":
            workdirs = [Path(part) for part in str(workdir).split(",")]
        else:
            settings = {name: FLAGS[name].value for name in own}
            code = getattr(task, function)(config, workdir, **settings)
        own_run = WEIGHTS.value is None and (INPUTS.value is None or MODE.value != "eval")
        if MODE.value in REPORTED and own_run and parallel.is_main():
            base = importlib.import_module(f"configs.{config.task}_base").get_config().to_dict()
            print(f"report: {task.write_report(workdirs, base)}")
        return code
    except UserError as error:
        return _fail(f"error: {error}")
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        return _fail(f"error: {cannot_write(error.filename or workdir, error)}")
    except (MemoryError, RuntimeError) as error:  # jax's own is a RuntimeError
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(
            "error: out of memory. Lower the sizes in config.model, or train.batch_size and "
            f"train.eval_batch_size ({str(error).splitlines()[0] if str(error) else 'no room'})"
        )
    except Interrupted as interrupted:
        return _fail(str(interrupted), interrupted.exit_code)


def run(argv) -> int | None:
    """`main`. When all is written, a signal that comes while Python ends is nothing to report."""
    code = main(argv)
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)
    return code


def _default_config(argv) -> list[str]:
    """[--config=...] where argv names none and its mode needs none: it runs on exported weights, or
    reports on runs, which have their own configs."""
    if any(a == "--config" or a.startswith("--config=") for a in argv):
        return []
    for task, (_, modes) in TASKS.items():
        if any(
            f"--mode={mode}" in argv for mode, (_, own) in modes.items() if ON_WEIGHTS == {*own}
        ):
            return [f"--config={SHIPPED[task]}"]
    workdirs = [a.removeprefix("--workdir=") for a in argv if a.startswith("--workdir=")]
    if "--mode=report" not in argv or not workdirs:
        return []
    try:
        path = Path(workdirs[-1].split(",")[0]) / "config.json"
        record = json.loads(path.read_bytes())
        return [f"--config=configs/{record['config']['task']}_base.py"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # told by the mode
        return [f"--config={SHIPPED['fer']}"]


def _check_choice(name, value, choices, where=""):
    if value not in choices:
        close = difflib.get_close_matches(value, choices, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise flags.Error(f"{name}={value}: must be one of {', '.join(choices)}{where}.{hint}")


def _add_xla_flag(flag):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def _fail(message, code=2) -> int:
    print(message, file=sys.stderr, flush=True)
    return code


def _stop(signum, frame):
    """What Ctrl-C and SIGTERM do outside of training, where nothing is in progress to be saved.

    Not by an exception: Python makes another one of it where a class is being defined.
    """
    os.write(2, b"interrupted; run the same command again\n")
    with contextlib.suppress(RuntimeError):  # in the middle of a write
        sys.stdout.flush()
    os._exit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        signal.signal(signal.SIGINT, _stop)
    use_huge_pages()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    use_eigen_convolutions()
    cache_compilations()
    app.run(run, flags_parser=parse_flags)
