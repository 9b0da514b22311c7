"""Feature maps, Grad-CAM and occlusion against nets and faces whose answer is known."""

import importlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fer_jax import models
from fer_jax.data import CLASSES
from fer_jax.explain import figures
from fer_jax.explain import maps as lib
from fer_jax.task import build_model, preprocess
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("fer_*.py"))


def random_face(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 48)).astype(np.uint8)


def small_model(config):
    """The model of a config with few features, and random variables."""
    if config.model.name == "best":
        with config.unlocked():
            config.model.features = ((3,), (4, 4), (5, 5))
    elif config.model.name == "simple":
        config.model.features, config.model.dense = (3, 20), 6
    model = build_model(config)
    image = jnp.zeros((1, 48, 48, 1))
    return model, model.init(jax.random.key(1), image, train=False)


# feature maps


@pytest.mark.parametrize("name", [c for c in CONFIGS if c != "fer_lobo"])  # it has no small form
def test_feature_maps_are_the_outputs_of_every_layer(name):
    """Against flax's own capture_intermediates."""
    model, variables = small_model(importlib.import_module(f"configs.{name}").get_config())
    image = preprocess(random_face()[None])
    maps = lib.feature_maps(model, variables, image)
    logits, captured = model.apply(
        variables, image, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    expected = {k: v["__call__"][0] for k, v in captured["intermediates"].items() if k[0] != "_"}
    assert set(maps) == set(expected)
    for layer, output in expected.items():
        np.testing.assert_array_equal(maps[layer], output, layer)
    np.testing.assert_array_equal(list(maps.values())[-1], logits)


def test_feature_maps_come_in_order_and_name_pooling_and_relu():
    model = models.SimpleCNN(num_classes=7, features=(2, 3), dense=4, batch_norm=True, dropout=0.5)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 48, 48, 1)), train=False)
    maps = lib.feature_maps(model, variables, preprocess(random_face()[None]))
    assert {name: maps[name].shape[1:] for name in maps} == {
        "Conv_0": (48, 48, 2), "ReLU_0": (48, 48, 2), "MaxPool_0": (24, 24, 2),
        "BatchNorm_0": (24, 24, 2), "Dropout_0": (24, 24, 2),
        "Conv_1": (24, 24, 3), "ReLU_1": (24, 24, 3), "MaxPool_1": (12, 12, 3),
        "BatchNorm_1": (12, 12, 3), "Dropout_1": (12, 12, 3),
        "Dense_0": (4,), "ReLU_2": (4,), "BatchNorm_2": (4,), "Dropout_2": (4,), "Dense_1": (7,),
    }  # fmt: skip
    order = [name for name in maps if name[-1] == "0"]
    assert order == ["Conv_0", "ReLU_0", "MaxPool_0", "BatchNorm_0", "Dropout_0", "Dense_0"]
    np.testing.assert_array_equal(maps["ReLU_0"], np.maximum(maps["Conv_0"], 0))
    assert lib.last_convolution(maps) == "ReLU_1"


# Grad-CAM


class TwoMaps(nn.Module):
    """Two feature maps f32[2, 2], weighed pixel by pixel: logit k = sum over H, W, C of w_k * A."""

    weights: tuple  # [K, H, W, C]
    maps: tuple  # [H, W, C], before the ReLU

    @nn.compact
    def __call__(self, x, *, train: bool):
        maps = models.ReLU()(jnp.asarray(self.maps, jnp.float32)[None] + 0 * x.sum())
        return (maps[:, None] * jnp.asarray(self.weights, jnp.float32)[None]).sum((2, 3, 4))


def test_grad_cam_of_a_net_computed_by_hand():
    """A_0 = [[1, 2], [0, 0]], A_1 = [[0, 0], [3, 1]] after the ReLU.

    The gradient of logit k by A_c is w_k[..., c], so alpha is its mean:
    class 0: alpha = (mean(4, 0, 0, 0), mean(-8, 0, 0, 0)) = (1, -2):
      ReLU(A_0 - 2 A_1) = [[1, 2], [0, 0]];
    class 1: alpha = (mean(0, -2, -2, 0), mean(1, 1, 1, 9)) = (-1, 3):
      ReLU(-A_0 + 3 A_1) = [[0, 0], [9, 3]].
    """
    maps = ((1.0, -5.0), (2.0, 0.0)), ((-1.0, 3.0), (0.0, 1.0))
    weights = (
        (((4, -8), (0, 0)), ((0, 0), (0, 0))),
        (((0, 1), (-2, 1)), ((-2, 1), (0, 9))),
    )
    model, image = TwoMaps(weights, maps), jnp.zeros((1, 48, 48, 1))
    for label, expected in ((0, [[1, 2], [0, 0]]), (1, [[0, 0], [9, 3]])):
        cam = lib.grad_cam(model, {}, image, layer="ReLU_0", label=label)
        np.testing.assert_allclose(cam, expected, atol=1e-6)


def test_grad_cam_of_a_real_net_by_finite_differences():
    config = importlib.import_module("configs.fer_batchnorm").get_config()
    model, variables = small_model(config)
    image = preprocess(random_face(3)[None])
    maps = np.asarray(lib.feature_maps(model, variables, image)["ReLU_1"][0])

    def rest(maps):
        """From the last convolution to the logits, written out."""
        p, s = variables["params"], variables["batch_stats"]

        def norm(x, name):
            scale = p[name]["scale"] / np.sqrt(s[name]["var"] + 1e-3)
            return (x - s[name]["mean"]) * scale + p[name]["bias"]

        x = norm(maps.reshape(12, 2, 12, 2, -1).max((1, 3)), "BatchNorm_1").reshape(-1)
        x = norm(np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0), "BatchNorm_2")
        return (x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[2]

    variables = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
    alpha = np.zeros(maps.shape[-1])
    step = 1e-4
    for feature in range(maps.shape[-1]):  # the same step at every pixel: the sum of the gradients
        shifted = maps.astype(np.float64)
        shifted[..., feature] += step
        alpha[feature] = (rest(shifted) - rest(maps.astype(np.float64))) / step / 24**2
    expected = np.maximum((maps * alpha).sum(-1), 0)
    variables = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), variables)
    cam = lib.grad_cam(model, variables, image, layer="ReLU_1", label=2)
    assert expected.max() > 0
    np.testing.assert_allclose(cam, expected, atol=1e-3 * expected.max())


# occlusion


def test_occlusion_finds_the_patch_that_decides():
    face = random_face(5)
    face[20:28, 30:40] = 255

    def probability_of(images):
        return images[:, 20:28, 30:40].mean((1, 2)) / 255

    drops = lib.occlusion_map(probability_of, face, size=6, stride=2)
    assert drops.shape == (48, 48) and drops.dtype == np.float32
    row, column = np.unravel_index(drops.argmax(), drops.shape)
    assert 20 <= row < 28 and 30 <= column < 40
    far = np.ones((48, 48), bool)
    far[20 - 5 : 28 + 5, 30 - 5 : 40 + 5] = False  # no square over these reaches the patch
    assert (drops[far] == 0).all()
    assert drops[20:28, 30:40].min() > 0.01


def test_occlusion_is_the_mean_drop_of_the_squares_over_a_pixel():
    """Written out, with a stride that does not divide: the last square ends at the border."""
    face, size, stride = random_face(6), 10, 7
    weights = np.random.default_rng(0).random((48, 48))

    def probability_of(images):
        return (images * weights).sum((1, 2)) / 1e5

    starts = [0, 7, 14, 21, 28, 35, 38]
    total, count = np.zeros((48, 48)), np.zeros((48, 48))
    for top in starts:
        for left in starts:
            hidden = face.copy()
            hidden[top : top + size, left : left + size] = round(face.mean())
            total[top : top + size, left : left + size] += (
                probability_of(face[None])[0] - probability_of(hidden[None])[0]
            )
            count[top : top + size, left : left + size] += 1
    drops = lib.occlusion_map(probability_of, face, size=size, stride=stride)
    np.testing.assert_allclose(drops, total / count, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (49, 2), (4, 0), (4, 5)])
def test_squares_that_do_not_fit_are_refused(size, stride):
    with pytest.raises(UserError, match=f"stride {stride} and size {size}"):
        lib.occlusion_map(lambda images: images[:, 0, 0], random_face(), size=size, stride=stride)


# all together


def test_explain_speaks_of_the_class_it_is_asked_for():
    config = importlib.import_module("configs.fer_simple").get_config()
    model, variables = small_model(config)
    face = random_face(9)
    settings = dict(temperature=2.0, size=24, stride=24)
    e = lib.explain(model, variables, face, label=None, **settings)
    logits = np.asarray(model.apply(variables, preprocess(face[None]), train=False))[0]
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    np.testing.assert_allclose(e.probabilities, expected, rtol=1e-5)
    assert e.label == logits.argmax()
    assert e.cam.shape == (24, 24) and e.cam_layer == "ReLU_1"
    other = lib.explain(model, variables, face, label=int(logits.argmin()), **settings)
    assert other.label == logits.argmin()
    assert not np.allclose(other.cam, e.cam) and not np.allclose(other.occlusion, e.occlusion)


def test_the_pictures_show_what_they_were_given(tmp_path, monkeypatch):
    config = importlib.import_module("configs.fer_simple").get_config()
    model, variables = small_model(config)
    e = lib.explain(
        model, variables, random_face(), label=None, temperature=1.0, size=16, stride=16
    )
    saved, real_save = {}, figures.save_figure

    def save(figure, path):
        saved[path.stem] = figure
        real_save(figure, path)

    monkeypatch.setattr(figures, "save_figure", save)
    figures.draw_features(e.features, CLASSES, tmp_path / "features.png", "title")
    figures.draw_heat(e, CLASSES, tmp_path / "heat.png", "title")
    kernel = np.asarray(variables["params"]["Conv_0"]["kernel"])
    figures.draw_filters(kernel, tmp_path / "filters.png", "title")
    for name in saved:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors()) > 10, f"{name} is blank"

    (axes,) = saved["features"].axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:2] == ["Conv_0\n48×48, 3", "ReLU_0\n48×48, 3"] and labels[-1] == "Dense_1\n7"
    board = np.asarray(axes.images[0].get_array())
    first = e.features["Conv_0"][..., 1]
    np.testing.assert_allclose(
        board[:48, 51 : 51 + 48], (first - first.min()) / np.ptp(first), rtol=1e-5, atol=1e-6
    )
    assert np.isnan(np.ma.filled(board[:48, 3 * 51 :], np.nan)).all()  # three features, not 16
    row = labels.index("MaxPool_1\n12×12, 16 of 20") * 51
    assert not np.isnan(np.ma.filled(board[row : row + 48, 15 * 51 : 15 * 51 + 48], np.nan)).any()
    texts = [t.get_text() for t in axes.texts]
    logits = e.features["Dense_1"]
    assert texts[-7:] == [f"{c}\n{v:.2g}" for c, v in zip(CLASSES, logits, strict=True)]
    assert len(saved["filters"].axes) == 3
    face, cam, occlusion, _, bars, *_ = saved["heat"].axes
    boxes = [axes.get_window_extent() for axes in (face, cam, occlusion, bars)]
    for box in boxes:  # all of one size, on one line
        assert (box.height, box.y0) == pytest.approx((boxes[0].height, boxes[0].y0))
        assert box.width == pytest.approx(box.height, rel=1e-3)
    bar_of = {axes: axes.child_axes[0].get_xlabel() for axes in (cam, occlusion)}
    assert bar_of[cam] == "share of the maximum" and CLASSES[e.label] in bar_of[occlusion]
    for axes in (cam, occlusion):
        over = axes.images[1]
        least = np.unravel_index(np.abs(np.asarray(over.get_array())).argmin(), over.get_size())
        assert over.get_alpha()[least] < 0.05 and over.get_alpha().max() <= 0.75
