"""--mode=export writes what it says, of weights that are whole, and leaves out what is not good."""

import builtins
import shutil

import numpy as np
import pytest

from configs import fer_best
from fer_jax import modes, weights
from fer_jax.data import Faces
from train_jax.run.errors import UserError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from fer_jax.export import int8, onnx, run  # noqa: E402

FILES = {"model.onnx", "model_f16.onnx", "model_int8.onnx", "model.stablehlo", "README.md"}


@pytest.fixture
def config(monkeypatch):
    c = fer_best.get_config()
    c.export.page = False
    rng = np.random.default_rng(0)
    faces = Faces(rng.integers(0, 256, (70, 48, 48), dtype=np.uint8), np.zeros(70, np.int32))
    dataset = run.fer_data.Dataset("fer2013", {"PublicTest": faces}, "test", "ab", "")
    monkeypatch.setattr(run.fer_data, "load", lambda path, *args, **more: dataset)
    return c


def test_all_files_are_written_and_compared(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "MIN_SAME", 0.0)  # the net says of noise what it likes
    modes.export(config, str(tmp_path / "out"), weights=None)
    assert {p.name for p in (tmp_path / "out").iterdir()} >= FILES
    text = (tmp_path / "out" / "README.md").read_text()
    said = capsys.readouterr().out
    for name in FILES - {"README.md"}:
        size = (tmp_path / "out" / name).stat().st_size
        assert f"| {name} | {size:,} |" in text and f"| {name} | {size:,} |" in said
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    logits, _ = session.run(None, {"images": np.zeros((1, 48, 48), np.uint8)})
    assert logits.shape == (1, 7)


def test_8_bits_that_change_answers_are_left_out(config, tmp_path, capsys, monkeypatch):
    other = onnx.build(weights.load(weights.SHIPPED), half=False)
    for array in other.graph.initializer:
        if array.name == "Dense_0.bias":
            array.raw_data = np.float32([9, 0, 0, 0, 0, 0, 0]).tobytes()
    monkeypatch.setattr(int8, "quantise", lambda model, images: other)
    (tmp_path / "model_int8.onnx").write_bytes(b"of another export")
    modes.export(config, tmp_path, weights=None)
    assert not (tmp_path / "model_int8.onnx").exists()
    assert "model_int8.onnx" not in (tmp_path / "README.md").read_text().split("`model_f16")[0]
    assert "left out" in capsys.readouterr().out


def test_a_changed_byte_is_refused_before_anything_is_written(config, tmp_path):
    copy = shutil.copytree(weights.SHIPPED, tmp_path / "copy")
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        modes.export(config, tmp_path / "out", weights=str(copy))
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_written_into(config, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run: give --weights=.* and --workdir=NEW"):
        modes.export(config, tmp_path, weights=None)


def test_what_is_missing_is_named(config, tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **more):
        if name.startswith("fer_jax.export") or name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match="needs onnx: pip install -r requirements-export.txt"):
        modes.export(config, tmp_path, weights=None)
