"""--mode=explain from pictures to figures, with small random weights."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from configs import fer_base
from fer_jax import drawn_faces, modes, task, weights
from fer_jax.data import CLASSES
from fer_jax.predict.faces import has_cascades
from tests.fer_jax.random_weights import export_random
from train_jax.run.errors import UserError


def make_config(**fields):
    c = fer_base.get_config()
    c.model.features = (2, 3)
    c.model.dense = 4
    c.predict.detector = "none"
    c.explain.occlusion_size = c.explain.occlusion_stride = 24
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / "weights"
    return export_random(folder, make_config(), seed=0, temperature={"none": 1.5, "flip": 1.0})


@pytest.fixture
def face(tmp_path):
    pixels = drawn_faces.draw(1, seed=3)[0][0]
    Image.fromarray(pixels).save(tmp_path / "face.png")
    return tmp_path / "face.png", pixels


def test_explain_writes_figures_and_what_they_show(folder, face, tmp_path, capsys):
    path, pixels = face
    (tmp_path / "text.jpg").write_text("not a picture")
    workdir = tmp_path / "out"
    inputs = f"{tmp_path / 'text.jpg'},{path}"
    assert modes.explain(make_config(), workdir, weights=str(folder), inputs=inputs) == 0
    bad, good = json.loads((workdir / "explain.json").read_text())
    assert "text.jpg" in bad["file"] and "not a" in bad["reason"]
    classifier = weights.load(folder)
    logits = classifier.model.apply(
        classifier.variables, task.preprocess(pixels[None]), train=False
    )[0] / np.float32(1.5)
    expected = np.asarray(jax.nn.softmax(logits))
    assert list(good["probabilities"]) == list(CLASSES)
    np.testing.assert_allclose(list(good["probabilities"].values()), expected, rtol=1e-4)
    assert good["class"] == good["explained"] == CLASSES[expected.argmax()]
    assert good["box"] == {"x": 0, "y": 0, "width": 48, "height": 48}
    names = {"figures/filters.png", *good["figures"].values()}
    assert names == {f"figures/{p.name}" for p in (workdir / "figures").iterdir()}
    for name in names:
        with Image.open(workdir / name) as picture:
            assert len(picture.convert("L").getcolors()) > 10
    assert "text.jpg: not a" in capsys.readouterr().out

    # another class; and what the first call drew is gone
    config = make_config(explain__label="disgust")
    (workdir / "figures" / "009-old.png-heat.png").touch()
    assert modes.explain(config, workdir, weights=str(folder), inputs=str(path)) == 0
    (row,) = json.loads((workdir / "explain.json").read_text())
    assert row["explained"] == "disgust" and row["class"] == good["class"]
    assert not (workdir / "figures" / "009-old.png-heat.png").exists()


@pytest.mark.skipif(not has_cascades(), reason="OpenCV 5 has no Haar cascades")
def test_without_a_face_the_exit_code_is_1(folder, tmp_path, capsys):
    Image.new("L", (200, 200), 128).save(tmp_path / "grey.png")
    config = make_config(predict__detector="haar")
    code = modes.explain(
        config, tmp_path / "out", weights=str(folder), inputs=str(tmp_path / "grey.png")
    )
    assert code == 1
    captured = capsys.readouterr()
    assert "no face found" in captured.out and "no face to explain" in captured.err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"explain__faces": 0}, "explain.faces must be at least 1, got 0"),
        ({"explain__occlusion_size": 50}, "occlusion_size <= 48"),
        ({"predict__detector": "cnn"}, "predict.detector"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_read(folder, tmp_path, fields, words):
    with pytest.raises(UserError, match=words):
        modes.explain(make_config(**fields), tmp_path / "out", weights="nowhere", inputs="x.png")
    assert not (tmp_path / "out").exists()


def test_a_label_that_the_weights_do_not_know_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="explain.label must be .*neutral, got 'joy'"):
        modes.explain(make_config(explain__label="joy"), tmp_path / "out", weights=str(folder),
                      inputs="x.png")  # fmt: skip
