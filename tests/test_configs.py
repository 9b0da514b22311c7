"""Every config in configs/: locked, derived from its base, documented, and able to train."""

import ast
import importlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from fer_jax import data, modes
from fer_jax import task as fer_task
from fer_jax.data import Dataset, Faces
from seq_jax import modes as seq_modes
from train_jax.run.log import read_csv

FOLDER = Path(__file__).parents[1] / "configs"
NO_CONFIGS = ("__init__", "of_run", "train_base")
NAMES = sorted(p.stem for p in FOLDER.glob("*_*.py") if p.stem not in NO_CONFIGS)
DERIVED = [name for name in NAMES if not name.endswith("_base")]


def get_config(name):
    return importlib.import_module(f"configs.{name}").get_config()


def base_of(name):
    return name.split("_")[0] + "_base"


def leaves(config, prefix=""):
    """{'train.seed': 0, ...} of everything but the model, whose fields are those of its class."""
    found = {}
    for key, value in config.to_dict().items():
        if not prefix and key == "model":
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= leaves(config[key], f"{name}.")
        else:
            found[name] = value
    return found


def test_the_ladders_are_there():
    faces = {"fer_simple", "fer_batchnorm", "fer_dropout", "fer_lobo", "fer_best"}
    sentences = {"seq_rnn", "seq_gru", "seq_gru_no_embedding", "seq_lstm", "seq_bilstm"}
    sentences |= {"seq_attention", "seq_attention_large", "seq_best", "seq_sutskever"}
    assert set(NAMES) >= faces | sentences | {"fer_base", "seq_base"}


@pytest.mark.parametrize("name", NAMES)
def test_locked_and_a_misspelt_field_raises(name):
    config = get_config(name)
    assert config.is_locked
    for section, field in (("train", "sed"), ("data", "pth"), ("model", "nmae")):
        with pytest.raises((AttributeError, KeyError), match="Did you mean"):
            config[section][field] = 1
        with pytest.raises(AttributeError):
            getattr(config[section], field)
    with pytest.raises((AttributeError, KeyError)):
        config.trian = 1


@pytest.mark.parametrize("name", NAMES)
def test_every_call_makes_a_new_config(name):
    changed = get_config(name)
    changed.train.seed += 1
    assert get_config(name).train.seed == changed.train.seed - 1


@pytest.mark.parametrize("name", DERIVED)
def test_derived_from_the_base(name):
    base, derived = leaves(get_config(base_of(name))), leaves(get_config(name))
    assert set(derived) == set(base)
    for field, value in derived.items():  # or an override of the right type would be refused
        if base[field] is not None:
            assert type(value) is type(base[field]), field


def imports(name):
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", NAMES)
def test_imports_only_ml_collections_and_other_configs(name):
    allowed = {"ml_collections", "configs.train_base"} | {f"configs.{other}" for other in NAMES}
    assert set(imports(name)) <= allowed
    if name in DERIVED:
        assert any(i.startswith("configs.") for i in imports(name))


@pytest.mark.parametrize("name", DERIVED)
def test_docstring_holds_its_command_and_its_result(name):
    title, command, *rest = [
        p for p in importlib.import_module(f"configs.{name}").__doc__.split("\n\n")
    ]
    assert title.strip()
    assert command.strip().startswith(f"python launch.py --config=configs/{name}.py")
    assert any(part.strip() for part in rest), "the result, or 'Not yet run.'"


# the numbers of the study, ../shared/original_study.md, row by row


@pytest.mark.parametrize("name", ["fer_simple", "fer_batchnorm", "fer_dropout", "fer_lobo"])
def test_the_settings_of_the_study(name):
    c = get_config(name)
    assert (c.optimizer.name, c.train.batch_size, c.train.epochs) == ("adam", 32, 60)
    assert 1e-4 <= c.schedule.learning_rate <= 1e-3
    assert (c.early_stop.enabled, c.early_stop.monitor, c.early_stop.patience) == (
        True,
        "val_loss",
        3,
    )
    p = c.plateau
    assert (p.enabled, p.monitor, p.factor, p.patience, p.min_delta) == (
        True, "val_loss", 0.2, 2, 1e-4,
    )  # fmt: skip
    assert (c.augment.zoom, c.augment.flip, c.checkpoint.monitor) == (0.3, 0.5, "val_loss")


def test_lobo_is_the_one_of_the_study():
    c = get_config("fer_lobo")
    assert (c.schedule.name, c.schedule.learning_rate, c.schedule.decay) == (
        "inverse_time",
        1e-4,
        1e-6,
    )
    assert (c.loss.l2, tuple(c.loss.l2_layers)) == (0.01, ("Conv_2", "Conv_3"))


def test_the_ladder_climbs():
    simple, norm, dropout = (
        get_config(f"fer_{n}").model for n in ("simple", "batchnorm", "dropout")
    )
    assert (simple.batch_norm, simple.dropout) == (False, 0.0)
    assert (norm.batch_norm, norm.dropout) == (True, 0.0)
    assert dropout.batch_norm and dropout.dropout > 0.5


@pytest.mark.parametrize(
    ("name", "cell", "embedding", "units", "epochs"),
    [
        ("seq_rnn", "simple_rnn", 64, 256, 50),
        ("seq_gru", "gru", 64, 256, 50),
        ("seq_gru_no_embedding", "gru", 0, 256, 50),
        ("seq_lstm", "lstm", 128, 64, 150),
    ],
)
def test_the_settings_of_the_study_for_sentences(name, cell, embedding, units, epochs):
    c = get_config(name)
    m = c.model
    assert (m.cell, m.embedding, m.units, m.bidirectional) == (cell, embedding, units, False)
    assert (m.dense, m.dropout, m.recurrent_init) == (1024, 0.2, "kernel")
    assert (c.train.epochs, c.train.batch_size) == (epochs, 64)
    assert (c.optimizer.name, c.schedule.name, c.schedule.learning_rate) == (
        "adam",
        "constant",
        1e-3,
    )
    assert not c.plateau.enabled and not c.early_stop.enabled
    d = c.data
    assert (d.source_words, d.source_script, d.max_tokens) == (5, "ASCII", 7)


# two steps of each


def tiny_faces(path, *_):
    """12 training images, of which 3 go to validation and 9 are two batches of 5."""
    rng = np.random.default_rng(0)

    def draw(counts):
        labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
        return Faces(rng.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels)

    splits = {"train": draw([4, 4, 4]), "PublicTest": draw([1, 1, 1, 1, 1])}
    return Dataset("fer2013", splits, "faces.zip", "ab" * 32, notice="")


def of_task(task):
    """The base runs as the config that changes nothing of it."""
    return [name for name in DERIVED if get_config(name).task == task]


def shrink(model):
    """Widths of at most 4, since compiling and Adam's first steps are all that takes time; the true
    ones go through `test_the_loss_at_its_true_sizes`. (fer_lobo has no such fields.)"""
    for name in ("features", "dense", "embedding", "units", "encoder_units"):
        if name in model:
            model[name] = jax.tree.map(lambda n: min(n, 4), model[name])


@pytest.mark.parametrize("name", DERIVED)
def test_the_loss_at_its_true_sizes(name, monkeypatch):
    """Shapes alone, so that nothing is computed."""
    config = get_config(name)
    config.data.valid_fraction = 0.25
    if config.task == "seq":
        config.data.max_pairs = 20  # of the phrasebook
        task = seq_modes.prepare_run(config)[-1]
    else:
        monkeypatch.setattr(data, "load", tiny_faces)
        dataset, splits = fer_task.load_splits(config)
        model = fer_task.build_model(config, len(dataset.classes))
        task = fer_task.make_task(config, model, dataset, splits)
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    variables = jax.eval_shape(task.init, key)
    arrays = task.train | {"mask": np.ones(1, np.float32)}
    rows = config.train.batch_size
    batch = {k: jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype) for k, a in arrays.items()}
    loss, (metrics, _) = jax.eval_shape(
        task.loss, variables["params"], variables.get("batch_stats", {}), batch, key
    )
    assert loss.shape == metrics["loss"].total.shape == () and loss.dtype == np.float32


def test_every_task_has_its_two_steps():
    assert {*of_task("fer"), *of_task("seq")} == set(DERIVED)


@pytest.mark.parametrize("name", of_task("seq"))
def test_two_steps_on_sentences_and_the_scores(name, tmp_path, monkeypatch):
    monkeypatch.setattr("train_jax.metrics.RESAMPLES", 20)
    # after two steps nearly all tokens are as likely, and half of the digits decide
    monkeypatch.setattr("seq_jax.evaluate.halved", lambda variables: variables)
    config = get_config(name)
    shrink(config.model)
    config.data.max_pairs = 20  # of the phrasebook
    config.data.valid_fraction = 0.25
    config.data.test_fraction = 0.25
    config.train.batch_size = 5
    config.train.eval_batch_size = 4
    config.train.epochs = 1
    config.decode.beam, config.decode.no_repeat = 1, 0  # greedy, as in training
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats and integers
        seq_modes.train(config, tmp_path / "run")
    (row,) = read_csv(tmp_path / "run" / "metrics.csv")
    assert all(np.isfinite(value) for value in row.values())
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("*/manifest.json")
    assert checkpoint.parent.name == "3"  # 2 steps + 1 epoch
    splits = json.loads((tmp_path / "run" / "eval.json").read_text())["splits"]
    assert {k: s["n"] for k, s in splits.items()} == {"train": 10, "valid": 5, "test": 5}
    if config.model.name == "many_to_many":
        assert splits["valid"]["token_accuracy"] == pytest.approx(row["val_accuracy"])
    else:
        assert splits["valid"]["chrf++"] == pytest.approx(row["val_chrf++"])
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", of_task("fer"))
def test_two_steps_of_training_and_the_scores(name, tmp_path, monkeypatch):
    config = get_config(name)
    monkeypatch.setattr(data, "load", tiny_faces)
    shrink(config.model)
    config.data.valid_fraction = 0.25
    config.train.batch_size = 5
    config.train.eval_batch_size = 4
    config.train.epochs = 1
    try:
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats and integers
            modes.train(config, tmp_path / "run")
        (row,) = read_csv(tmp_path / "run" / "metrics.csv")
        result = json.loads((tmp_path / "run" / "eval.json").read_text())
        (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("*/manifest.json")
        assert checkpoint.parent.name == "3"  # 2 steps + 1 epoch
        assert all(np.isfinite(value) for value in row.values())
        assert {k: s["n"] for k, s in result["splits"].items()} == {
            "train": 9,
            "valid": 3,
            "PublicTest": 5,
        }
        assert result["splits"]["valid"]["accuracy"] == pytest.approx(row["val_accuracy"])
        nll = result["splits"]["valid"]["nll"]
        if config.loss.l2:
            assert nll < row["val_loss"]  # which holds the penalty, as Keras reports it
        else:
            # validated as it trains, scored in float32
            rounding = 1e-2 if config.model.bfloat16 else 1e-4
            assert nll == pytest.approx(row["val_loss"], rel=rounding)
    finally:
        shutil.rmtree(tmp_path)  # 400 MB for fer_lobo, which pytest would keep


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize("text, value", [("None", None), ("0.5", 0.5), ("-1", -1)])
def test_the_baseline_of_early_stopping_can_be_said(text, value):
    flag_values = flags.FlagValues()
    path = FOLDER / "fer_base.py"
    argv = ["x", f"--config={path}", f"--config.early_stop.baseline={text}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", argv)  # ml_collections looks there for the fields
        config_flags.DEFINE_config_file("config", flag_values=flag_values, lock_config=True)
        flag_values(argv)
    assert flag_values.config.early_stop.baseline == value
