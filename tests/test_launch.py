"""launch.py as a user runs it, in a process of its own and in a copy of the project.

The copy holds no data and no cache, whatever lies in data/raw here. Where jax is not needed, it is
blocked: a mistake in a flag must be reported before jax is imported, let alone data read.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import find, of_run
from fer_jax.predict.faces import has_cascades
from train_jax import process

ROOT = Path(__file__).parents[1]
SIMPLE = "--config=configs/fer_simple.py"
LSTM = "--config=configs/seq_lstm.py"
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets", "matplotlib", "PIL")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The product code alone, and in `blocked/` modules that refuse to be imported."""
    folder = tmp_path_factory.mktemp("launch") / "project"
    folder.mkdir()
    shutil.copy(ROOT / "launch.py", folder)
    for room in ("configs", "data", "fer_jax", "seq_jax", "train_jax"):
        if (ROOT / room).exists():
            ignore = shutil.ignore_patterns("raw", "cache", "__pycache__")
            shutil.copytree(ROOT / room, folder / room, ignore=ignore)
    (folder / "blocked").mkdir()
    for name in HEAVY:
        text = f"raise SystemExit('{name} was imported')\n"
        (folder / "blocked" / f"{name}.py").write_text(text)
    return folder


def command(arguments):
    return [sys.executable, "launch.py", *map(str, arguments)]


def environment(project, *, blocked):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return env | {"JAX_PLATFORMS": "cpu"} | ({"PYTHONPATH": project / "blocked"} if blocked else {})


def launch(project, *arguments, blocked=True):
    return subprocess.run(
        command(arguments), cwd=project, env=environment(project, blocked=blocked),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def check_error(result, *words):
    """Exit code 2, and one line on stderr that starts with 'error:' and holds the words."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert result.stdout == ""


# flags


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([SIMPLE, "--config.train.sed=1"], ["train.sed", '"seed"']),
        ([SIMPLE, "--config.trian.seed=1"], ["trian.seed", '"train"']),
        ([SIMPLE, "--config.train.epochs=many"], ["train.epochs", "many"]),
        ([SIMPLE, "--config.train.epochs=1.5"], ["train.epochs", "1.5"]),
        ([SIMPLE, "--config.train=3"], ["config.train", "3"]),
        ([SIMPLE, "--mode=evla"], ["evla", "train, eval", "'eval'"]),
        ([SIMPLE, "--wrokdir=x"], ["wrokdir", "workdir"]),
        ([SIMPLE, "stray"], ["stray"]),
        (["--config=configs/fer_bset.py"], ["configs/fer_bset.py"]),
        (["--mode=train"], ["--config=NAME", "fer_best", "fer_simple"]),
        ([SIMPLE, "--config.task=fre"], ["task", "fre", "fer"]),
        ([SIMPLE, "--mode=translate"], ["translate", "train, eval", "'fer'"]),
        ([LSTM, "--mode=translat"], ["eval, ", "explain, translate", "'translate'"]),
        ([LSTM, "--mode=translate"], ["--mode=translate needs --inputs", "sentence", "stdin"]),
        ([LSTM, "--mode=explore", "--inputs=x"], ["--inputs is not for --mode=explore"]),
        ([SIMPLE, "--weights=x"], ["--weights is not for --mode=train"]),
        ([LSTM, "--mode=explore", "--weights=x"], ["--weights is not for --mode=explore"]),
        (["--mode=score"], ["--mode=score needs --inputs", "file or folder of pairs"]),
        (["--mode=eval"], ["--config=NAME is missing"]),
        (["--mode=predict"], ["--mode=predict needs --inputs", "webcam:0"]),
        (["--mode=predict", "--config.predict.min_fce=9", "--inputs=x"], ["min_fce", "min_face"]),
    ],
    ids=lambda value: value[-1] if value[-1].startswith("-") else "",
)
def test_a_mistake_is_one_line_before_jax_is_imported(project, arguments, words):
    check_error(launch(project, *arguments), *words)
    assert not (project / "runs").exists()


def test_only_the_wrong_one_of_several_fields_is_named(project):
    result = launch(project, SIMPLE, "--config.train.seed=1", "--config.train.sed=1")
    check_error(result, "train.sed=1")
    assert "train.seed=1" not in result.stderr


def test_fields_may_come_before_the_config(project):
    """The one mistake left is the mode."""
    check_error(launch(project, "--config.train.seed=1", "--mode=evla", SIMPLE), "evla")
    check_error(launch(project, "--config.train.sed=1", SIMPLE), '"seed"')


def test_help_is_readable_and_does_not_import_jax(project):
    result = launch(project, "--help")
    assert result.returncode in (0, 1)  # absl exits with 1
    assert result.stderr == ""
    assert "python launch.py --config=configs/fer_best.py" in result.stdout
    for flag in ("--config", "--workdir", "--mode"):
        assert re.search(rf"^ *{flag}: .*[a-z]", result.stdout, re.MULTILINE)
    assert len(result.stdout.splitlines()) < 60


@pytest.mark.parametrize("name", ["fer_simple", "fer_simple.py", "configs/fer_simple.py"])
def test_a_config_is_found_by_name_from_anywhere(project, tmp_path, name):
    """The one mistake left is the mode; `--config NAME` is a form that absl takes too."""
    done = subprocess.run(
        [sys.executable, project / "launch.py", "--mode=evla", "--config", name], cwd=tmp_path,
        env=environment(project, blocked=True), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    check_error(done, "evla")


def test_a_mistyped_config_lists_the_choices_with_the_nearest(project):
    result = launch(project, "--config=fer_smple")
    check_error(result, "fer_smple: no such file", "fer_best, ", "seq_lstm", "'fer_simple'")
    assert "of_run" not in result.stderr and "_base" not in result.stderr
    check_error(launch(project, "--workdir=nowhere"), "nowhere holds no run", "--config=NAME")


@pytest.mark.parametrize(
    "text",
    ['{"config": {"tas', '{"config": {}}', '{"config": {"task": "fer", "train": {"seed": "x"}}}'],
)
def test_a_damaged_record_of_a_run_is_one_line(project, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    result = launch(project, "--mode=eval", f"--workdir={tmp_path}")
    check_error(result, f"{tmp_path}/config.json is not a config that a run wrote")


@pytest.mark.parametrize("name", ["seq_best", "fer_best"])
def test_eval_of_weights_takes_the_config_that_they_were_trained_with(project, name):
    folder = ROOT / "weights" / name
    result = launch(project, "--mode=eval", "--weights", folder, "--config.train.sed=1")
    check_error(result, "train.sed", '"seed"')  # the one mistake
    (config,) = find.with_config([f"--weights={folder}", "--mode=eval"], {}, lambda *_: False)[:1]
    found = of_run.get_config(config.partition(":")[2])
    record = json.loads((folder / "model.json").read_text())["config"]
    assert found.task == record["task"]
    assert found.schedule.learning_rate == record["schedule"]["learning_rate"]
    assert found.data.path == ""  # not where they lay on the machine of the training


def test_no_home_and_no_entry_of_the_user_is_no_traceback(project):
    env = {k: v for k, v in environment(project, blocked=True).items() if k != "HOME"}
    program = (
        "import os, pwd, sys; pwd.getpwuid = lambda uid: {}[uid]\n"
        "from train_jax import process; process.cache_compilations()\n"
        "print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"
    )
    env = {k: v for k, v in env.items() if k not in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=env, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_the_blocking_works(project):
    result = launch(project, SIMPLE, "--workdir=unused")
    assert "was imported" in result.stderr


# data and runs


def test_several_photographs_as_arguments(project, tmp_path):
    """As the shell makes them of --inputs *.jpg; flags may come between. A comma is no separator in
    the name of a file that is there."""
    for name in ("a.png", "b,c.png", "d.png"):
        Image.new("L", (48, 48)).save(project / name)
    result = launch(
        project, "--mode=predict", "--inputs", "b,c.png", "d.png", f"--workdir={tmp_path / 'out'}",
        "a.png", "--config.predict.detector=none", f"--weights={ROOT / 'weights' / 'fer_best'}",
        blocked=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(row)["file"] for row in rows] == ["b,c.png", "d.png", "a.png"]
    check_error(launch(project, "--mode=explore", "a.png"), "unexpected argument 'a.png'")


def test_predict_needs_no_config_and_its_exit_code_is_passed_on(project, tmp_path):
    """The copy has no weights/: they are missed, which shows that they are looked for there."""
    detector = [] if has_cascades() else ["--config.predict.detector=none"]
    arguments = ["--mode=predict", "--inputs=no.jpg", *detector]
    result = launch(project, *arguments, blocked=False)
    check_error(result, f"{project}/weights/fer_best is not there")
    shutil.copytree(ROOT / "weights", project / "weights")
    result = launch(project, *arguments, blocked=False)
    shutil.rmtree(project / "weights")
    assert result.returncode == 1, result.stderr
    assert result.stderr == "error: nothing could be read\n"
    assert "no.jpg: no such file" in result.stdout
    assert (project / "runs" / "predict" / "predictions.csv").exists()
    shutil.rmtree(project / "runs")


def test_a_wrong_path_is_an_error_and_nothing_takes_its_place(project, tmp_path):
    result = launch(
        project, SIMPLE, f"--config.data.path={tmp_path}/no.zip", f"--workdir={tmp_path}/run",
        blocked=False,
    )  # fmt: skip
    check_error(result, f"{tmp_path}/no.zip")  # stdout is empty: no notice of drawn faces
    assert not (tmp_path / "run").exists()


@pytest.fixture
def tiny_csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["emotion,pixels,Usage"]
    for i in range(70):
        pixels = " ".join(map(str, rng.integers(0, 256, 48 * 48)))
        rows.append(f"{i % 7},{pixels},{'Training' if i < 56 else 'PublicTest'}")
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


EPOCHS = 8


def test_sigterm_stops_with_one_line_and_the_same_command_goes_on(project, tiny_csv, tmp_path):
    workdir = tmp_path / "run"
    arguments = [
        SIMPLE, f"--workdir={workdir}", f"--config.data.path={tiny_csv}",
        "--config.model.features=(2,3)", "--config.model.dense=4", "--config.train.batch_size=16",
        f"--config.train.epochs={EPOCHS}", "--config.early_stop.enabled=false",
        "--config.data.valid_fraction=0.2", "--config.augment.zoom=0.0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command(arguments), cwd=project, env=environment(project, blocked=False),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while process.poll() is None and not (workdir / "metrics.csv").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM == 143, errors
    *notices, line = without_absent_packages(errors)
    assert all(notice.startswith("preparing") for notice in notices), errors
    assert re.match(r"interrupted in epoch \d+, after step \d+; all is saved", line)
    assert str(workdir) in line and "run the same command again" in line
    before = list(csv.reader((workdir / "metrics.csv").read_text().splitlines()))
    assert 1 < len(before) < 1 + EPOCHS

    result = launch(project, *arguments, blocked=False)
    assert result.returncode == 0, result.stderr
    assert without_absent_packages(result.stderr) == []
    assert f"continuing after epoch {len(before) - 1}," in result.stdout
    after = list(csv.reader((workdir / "metrics.csv").read_text().splitlines()))
    assert after[: len(before)] == before
    assert [row[0] for row in after[1:]] == [str(e) for e in range(1, EPOCHS + 1)]
    assert (workdir / "eval.json").exists()
    assert f"report: {workdir}/report.html" in result.stdout

    # the run knows its config, and its own overrides
    result = launch(
        project, "--mode=eval", f"--workdir={workdir}", "--config.eval.tta=flip", blocked=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "eval.json").read_text())["tta"] == "flip"
    result = launch(project, f"--workdir={workdir}", "--config.optimizer.name=sgd", blocked=False)
    assert result.returncode == 2 and "holds a run with other settings" in result.stderr
    # more epochs continue it, since no schedule depends on them; --init begins another run
    longer = f"--config.train.epochs={EPOCHS + 1}"
    result = launch(project, f"--workdir={workdir}", longer, blocked=False)
    assert result.returncode == 0, result.stderr
    assert f"config.train.epochs: {EPOCHS} -> {EPOCHS + 1}" in result.stdout
    assert len((workdir / "metrics.csv").read_text().splitlines()) == 1 + EPOCHS + 1
    result = launch(project, *arguments[2:], SIMPLE, f"--workdir={tmp_path / 'tuned'}",
                    f"--init={workdir}", blocked=False)  # fmt: skip
    assert result.returncode == 0, result.stderr
    result = launch(project, *arguments[2:], SIMPLE, f"--workdir={tmp_path / 'other'}",
                    f"--init={workdir}", "--config.model.dense=5", blocked=False)  # fmt: skip
    check_error(result, "Dense_0", "model.safetensors")
    assert not (tmp_path / "other").exists()

    (workdir / "report.html").unlink()
    result = launch(project, "--mode=report", f"--workdir={workdir}", blocked=False)  # no --config
    assert result.returncode == 0, result.stderr
    page = (workdir / "report.html").read_text()
    assert "configs/fer_base.py" in page and "accuracy on PublicTest" in page
    check_error(launch(project, "--mode=report", f"--workdir={tmp_path}/none", blocked=False),
                f"{tmp_path}/none", "holds no run")  # fmt: skip


def without_absent_packages(errors) -> list[str]:
    """The lines, but for those that tell which package is not installed."""
    return [line for line in errors.splitlines() if "No module named" not in line]


@pytest.fixture
def hear_ctrl_c():
    """A shell starts what it puts in the background with SIGINT ignored, which children inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_is_one_line_too(project, tmp_path, hear_ctrl_c, signum):
    """Here in the middle of an import, which takes the first two seconds, in a class statement: an
    exception there becomes a RuntimeError."""
    slow = """
import time
class Slow:
    def __set_name__(self, owner, name):
        print("importing", flush=True)
        time.sleep(60)
class Owner:
    slow = Slow()
"""
    (tmp_path / "jax.py").write_text(slow)
    process = subprocess.Popen(
        command([SIMPLE, f"--workdir={tmp_path / 'run'}"]), cwd=project, text=True,
        env=environment(project, blocked=False) | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    line = "interrupted; run the same command again\n"
    assert (process.returncode, errors) == (128 + signum, line)


def test_starts_again_with_huge_pages_once(monkeypatch):
    class Replaced(Exception):
        pass

    def execv(path, argv):
        assert path == sys.executable and argv == sys.orig_argv
        raise Replaced

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    process.use_huge_pages("launch.py")  # run by another program, such as a notebook
    monkeypatch.setattr(sys, "argv", ["folder/launch.py", "--config=x"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-u", *sys.argv])
    with pytest.raises(Replaced):
        process.use_huge_pages(sys.argv[0])
    # until the new process listens to them
    assert signal.pthread_sigmask(signal.SIG_UNBLOCK, process.STOPS) >= set(process.STOPS)
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"
    process.use_huge_pages(sys.argv[0])  # set by now, or by the user


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_waited_for_the_new_process_is_heard(project, hear_ctrl_c, signum):
    as_execv_leaves_it = """
import os, signal, sys
signum, *command = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, [int(signum)])
os.kill(os.getpid(), int(signum))
os.execv(command[0], command)
"""
    done = subprocess.run(
        [sys.executable, "-c", as_execv_leaves_it, str(int(signum)), *command([SIMPLE])],
        cwd=project, capture_output=True, text=True, timeout=60,
        env=environment(project, blocked=False) | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
    )  # fmt: skip
    line = "interrupted; run the same command again\n"
    assert (done.returncode, done.stderr) == (128 + signum, line)


def test_a_signal_after_the_last_line_changes_nothing(project, hear_ctrl_c):
    """It comes when main has returned, and again when Python takes its handlers back."""
    program = """
import atexit, os, signal, sys, launch
from train_jax import process
for s in process.STOPS:
    signal.signal(s, process.stop)
launch.main = lambda argv: 7
atexit.register(lambda: [os.kill(os.getpid(), s) for s in process.STOPS])
sys.exit(launch.run([]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_convolutions_are_not_of_ynnpack(monkeypatch):
    """And the user's own choice stays."""
    for own in ("", "--xla_force_host_platform_device_count=3"):
        monkeypatch.setenv("XLA_FLAGS", own)
        process.use_eigen_convolutions()
        process.use_eigen_convolutions()
        program = """
import jax, jax.numpy as jnp
conv = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
text = jax.jit(conv).lower(jnp.ones((8, 24, 24, 32)), jnp.ones((3, 3, 32, 64))).compile().as_text()
print(len(jax.devices()), text.count(" convolution("), text.count("ynn_fusion"))
"""
        env = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True)
        assert done.stdout.split() == [b"3" if own else b"1", b"1", b"0"], done.stderr
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=individual_dot")
    process.use_eigen_convolutions()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=individual_dot"


def test_the_flag_for_deterministic_kernels_joins_the_others(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    process.make_deterministic()
    expected = "--xla_force_host_platform_device_count=3 --xla_gpu_deterministic_ops=true"
    assert os.environ["XLA_FLAGS"] == expected
    # and a build for the CPU, which refuses flags that it does not know, takes it
    program = "import jax; print(jax.jit(lambda x: x + 1)(1), len(jax.devices()))"
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("2 3\n", 0), done.stderr


FULL = """
import os, sys
sys.argv = ["launch.py", "--config=configs/fer_simple.py", "--config.data.path=drawn",
            "--config.train.deterministic=True", f"--workdir={sys.argv[1]}"]
import launch
def train(config, workdir, **settings):
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"
    raise ERROR
import fer_jax.modes
fer_jax.modes.train = train
launch.app.run(launch.main, flags_parser=launch.parse_flags)
"""


def test_a_full_disk_is_one_line_whoever_meets_it(project, tmp_path):
    """And other errors of the system, which are those of the program, stay what they are."""

    def run(error):
        return subprocess.run(
            [sys.executable, "-c", FULL.replace("ERROR", error), str(tmp_path)],
            cwd=project,
            env=environment(project, blocked=False) | {"XLA_FLAGS": ""},
            capture_output=True,
            text=True,
        )

    check_error(
        run("OSError(28, 'No space left on device')"),
        str(tmp_path),
        "No space left on device",
        "run the same command again",
    )
    check_error(run("OSError(28, 'No space left on device', 'a/b.png')"), "a/b.png cannot be")
    result = run("FileNotFoundError(2, 'No such file', 'x')")
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_pattern_in_workdir_is_every_run_there(tmp_path):
    for name in ("b", "a", "no run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    runs = [str(tmp_path / "runs" / name) for name in ("a", "b")]
    assert find.workdirs(f"{tmp_path}/runs/*") == runs
    assert find.workdirs(f"{runs[1]},{tmp_path}/runs/[a]") == runs[::-1]
    assert find.workdirs(f"{tmp_path}/nothing/*") == [f"{tmp_path}/nothing/*"]  # told by the mode
    (config, *rest) = find.with_config(
        ["--mode=report", f"--workdir={tmp_path}/runs/*"], {"fer": "fer_best"}, lambda *_: False
    )
    assert config.endswith(f"of_run.py:{runs[0]}")
