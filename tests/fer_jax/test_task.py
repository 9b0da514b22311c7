"""The loss by hand, its masks, and the way from a config to the arguments of the loop."""

import dataclasses
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fer_base, fer_best
from fer_jax import augment as augment_lib
from fer_jax import data, task
from fer_jax.data import CLASSES, Dataset, Faces
from fer_jax.models import BestCNN
from train_jax import loop, parallel
from train_jax.run.errors import UserError

KEY = jax.random.key(0)


def random_faces(counts, seed=0):
    """Faces with counts[label] distinct random images of each class, shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    return Faces(rng.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels)


TRAIN = random_faces([4, 1, 3, 9, 5, 2, 6])
DATASET = Dataset("fer2013", {"train": TRAIN}, "faces.zip", "ab" * 32, notice="")


def config_of(**fields):
    """fer_base with a tiny model and no augmentation; {'loss__l2': 0.1} sets config.loss.l2."""
    c = fer_base.get_config()
    c.model.features = (2, 3)
    c.model.dense = 16
    c.augment.flip = 0.0
    c.augment.zoom = 0.0
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


def make(config, model=None):
    """(Task, params, batch_stats), with random parameters."""
    model = model or task.build_model(config)
    made = task.make_task(config, model, DATASET, {"train": TRAIN, "valid": TRAIN})
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(made.init, KEY)
    variables = jax.tree.map(
        lambda a: jnp.asarray(rng.uniform(0.5, 2, a.shape), jnp.float32), shapes
    )
    variables["params"] = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(0, 0.2, a.shape), jnp.float32), shapes["params"]
    )
    return made, variables["params"], variables.get("batch_stats", {})


def batch_of(n, mask=None, seed=3):
    """Images of large squares: to a small network all fine noise looks the same."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (n, 4, 4), dtype=np.uint8)
    return {
        "image": squares.repeat(12, 1).repeat(12, 2),
        "label": rng.integers(0, 7, n).astype(np.int32),
        "mask": np.ones(n, np.float32) if mask is None else np.array(mask, np.float32),
    }


def log_probabilities(model, params, images):
    x = jnp.asarray(images[..., None] / np.float32(255), jnp.float32)
    logits = np.asarray(model.apply({"params": params}, x, train=False), np.float64)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


# preprocess


def test_preprocess_divides_by_255_and_adds_a_channel():
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    images[0, 0, :2] = 0, 255
    out = task.preprocess(jnp.asarray(images))
    assert (out.shape, out.dtype) == ((3, 48, 48, 1), jnp.float32)
    np.testing.assert_allclose(out[..., 0], images / 255, rtol=1e-6)
    assert out.min() == 0 and out.max() == 1


# the loss


@pytest.mark.parametrize("balanced", [False, True])
def test_loss_by_hand(balanced):
    layers = ("Conv_1", "Dense_0")
    config = config_of(
        loss__label_smoothing=0.2, loss__balanced=balanced, loss__l2=0.03, loss__l2_layers=layers
    )
    model = task.build_model(config)
    made, params, stats = make(config, model)
    batch = batch_of(10, mask=[1, 1, 0, 1, 1, 1, 0, 1, 1, 1])

    logp = log_probabilities(model, params, batch["image"])
    targets = 0.8 * np.eye(7)[batch["label"]] + 0.2 / 7
    entropy = -(targets * logp).sum(1)
    weights = batch["mask"].astype(float)
    if balanced:  # 30 images, 7 classes
        weights *= (30 / (7 * np.array([4, 1, 3, 9, 5, 2, 6])))[batch["label"]]
    penalty = 0.03 * sum((np.asarray(params[la]["kernel"], float) ** 2).sum() for la in layers)
    expected = (weights * entropy).sum() / weights.sum() + penalty
    hits = (logp.argmax(1) == batch["label"]) * batch["mask"]

    value, (sums, new_stats) = made.loss(params, stats, batch, KEY)
    assert value == pytest.approx(expected, rel=1e-5)
    assert sums["loss"].total == pytest.approx(8 * expected, rel=1e-5)
    assert sums["loss"].count == 8
    assert sums["accuracy"] == (hits.sum(), 8)
    assert new_stats == {}


def test_masked_rows_change_neither_loss_nor_gradient():
    config = config_of(loss__balanced=True, loss__label_smoothing=0.1)
    made, params, stats = make(config)
    loss = jax.jit(jax.value_and_grad(made.loss, has_aux=True))
    mask = [1, 0, 1, 1, 0, 1]
    one, other = batch_of(6, mask), batch_of(6, mask)
    for name in ("image", "label"):
        other[name][[1, 4]] = batch_of(6, seed=9)[name][[1, 4]]
    assert (one["image"] != other["image"]).any()
    (value, (sums, _)), gradient = loss(params, stats, one, KEY)
    (value2, (sums2, _)), gradient2 = loss(params, stats, other, KEY)
    assert value == value2 and sums == sums2
    jax.tree.map(np.testing.assert_array_equal, gradient, gradient2)

    short = {name: array[np.array(mask, bool)] for name, array in one.items()}
    (value3, (sums3, _)), gradient3 = made_value_and_grad(made, params, stats, short)
    assert value == pytest.approx(float(value3), rel=1e-6)
    assert sums["loss"].count == sums3["loss"].count == 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, gradient3)


def made_value_and_grad(made, params, stats, batch):
    return jax.jit(jax.value_and_grad(made.loss, has_aux=True))(params, stats, batch, KEY)


def test_a_wholly_masked_batch_has_the_penalty_as_loss():
    config = config_of(loss__balanced=True, loss__l2=0.5, loss__l2_layers=("Conv_0",))
    made, params, stats = make(config)
    (value, (sums, _)), gradient = made_value_and_grad(made, params, stats, batch_of(4, [0] * 4))
    kernel = np.asarray(params["Conv_0"]["kernel"])
    assert value == pytest.approx(0.5 * float((kernel.astype(float) ** 2).sum()), rel=1e-6)
    assert sums["loss"] == (0, 0) and sums["accuracy"] == (0, 0)
    np.testing.assert_allclose(gradient["Conv_0"].pop("kernel"), kernel, rtol=1e-6)  # 2 * 0.5 * w
    assert all((g == 0).all() for g in jax.tree.leaves(gradient))


def test_a_wholly_masked_batch_has_no_gradient_with_batch_norm_and_mixup():
    config = config_of(augment__mixup=0.4, augment__flip=0.5, augment__rotation=5.0)
    model = BestCNN(num_classes=7, features=((2,), (2, 2)), standardize=True, dropout=0.3)
    made, params, stats = make(config, model)
    (value, (_, new)), gradient = made_value_and_grad(made, params, stats, batch_of(4, [0] * 4))
    assert value == 0 and all((g == 0).all() for g in jax.tree.leaves(gradient))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(new))


class Net64(nn.Module):
    """A network in float64 with the layers that the penalty names; ours answer in float32."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Conv(2, (5, 5), strides=(4, 4), param_dtype=jnp.float64, dtype=jnp.float64)(x)
        x = nn.tanh(x).reshape(len(x), -1)
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(7, param_dtype=jnp.float64, dtype=jnp.float64)(x)


LOSSES = {
    "plain": {},
    "all": {
        "loss__label_smoothing": 0.1, "loss__l2": 0.05, "loss__l2_layers": ("Conv_0", "Dense_0"),
        "loss__balanced": True, "augment__mixup": 0.4,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_the_loss_equals_finite_differences(name):
    """Along random directions, in float64: (f(p + eps v) - f(p - eps v)) / 2 eps = <grad f(p), v>.

    The error of the formula is of the order of eps^2 + 1e-16 / eps: about 1e-10 at eps = 1e-6.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        made, _, _ = make(config_of(**LOSSES[name]), Net64())
        params = jax.jit(made.init)(KEY)["params"]
        batch = jax.tree.map(jnp.asarray, batch_of(6, mask=[1, 0, 1, 1, 1, 0]))
        loss = jax.jit(lambda params: made.loss(params, {}, batch, KEY)[0])
        assert loss(params).dtype == jnp.float64
        check_finite_differences(loss, params)


def check_finite_differences(loss, params, eps=1e-6):
    gradient = jax.grad(loss)(params)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        along = jax.tree.map(lambda a: rng.normal(size=a.shape), params)  # noqa: B023
        plus, minus = (
            loss(jax.tree.map(lambda a, v: a + sign * eps * v, params, along))  # noqa: B023
            for sign in (1, -1)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, v: (g * v).sum(), gradient, along)))
        assert abs(slope) > 1e-3
        np.testing.assert_allclose((plus - minus) / (2 * eps), slope, rtol=1e-6)


def test_a_light_class_alone_in_a_batch_is_divided_by_its_weight():
    """A weighted mean over images of one class is their mean, however small the weight is."""
    batch = batch_of(1)
    batch["label"][:] = 3  # happy: 9 of 30, weight 30 / 63 = 0.48
    plain, params, stats = make(config_of())
    balanced, _, _ = make(config_of(loss__balanced=True))
    expected = plain.loss(params, stats, batch, KEY)[0]
    actual = balanced.loss(params, stats, batch, KEY)[0]
    assert actual == pytest.approx(float(expected), rel=1e-6)


def test_training_images_are_augmented_and_validation_images_are_not():
    mirrored, params, stats = make(config_of(augment__flip=1.0))
    plain, _, _ = make(config_of())
    batch = batch_of(5)
    mirror = batch | {"image": np.ascontiguousarray(batch["image"][:, :, ::-1])}
    loss = mirrored.loss(params, stats, batch, KEY)[0]
    assert loss == pytest.approx(float(plain.loss(params, stats, mirror, KEY)[0]), rel=1e-6)
    assert loss != pytest.approx(float(plain.loss(params, stats, batch, KEY)[0]), rel=1e-3)
    variables = {"params": params, "batch_stats": stats}
    assert mirrored.evaluate(variables, batch) == plain.evaluate(variables, batch)


def test_every_augmentation_setting_arrives(monkeypatch):
    given = {
        "flip": 0.25, "rotation": 7.0, "zoom": 0.125, "shift": 0.0625, "affine_probability": 0.5,
        "crop": 48, "brightness": 0.2, "contrast": 0.1, "cutout": 9, "cutout_probability": 0.75,
    }  # fmt: skip
    config = config_of(
        **{f"augment__{k}": v for k, v in given.items()},
        augment__mixup=0.3,
        augment__mixup_probability=0.4,
    )
    made, params, stats = make(config)
    batch = batch_of(4)
    mismatch = batch | {"label": batch["label"][::-1].copy()}
    expected, wrong = (  # before `mixup` is replaced, and without it
        float(make(config_of())[0].loss(params, stats, b, KEY)[0]) for b in (batch, mismatch)
    )
    assert expected != pytest.approx(wrong, rel=1e-3)
    seen = {}

    def augment(key, images, **settings):
        seen["augment"] = (key, settings)
        return images

    def mixup(key, images, targets, **settings):
        seen["mixup"] = (key, settings)
        return images[::-1], targets[::-1]

    monkeypatch.setattr(task, "augment", augment)
    monkeypatch.setattr(task, "mixup", mixup)
    value = made.loss(params, stats, batch, KEY)[0]
    own = inspect.signature(augment_lib.augment).parameters
    assert seen["augment"][1] == {k: v for k, v in config.augment.items() if k in own}
    assert given.items() <= seen["augment"][1].items()
    assert seen["mixup"][1] == {"alpha": 0.3, "probability": 0.4}
    keys = [jax.random.key_data(seen[part][0]) for part in ("augment", "mixup")]
    assert (keys[0] != keys[1]).any()
    # the mixed targets belong to the mixed images
    assert value == pytest.approx(expected, rel=1e-6)


def test_small_images_first():
    """The loss of an epoch is that of its size, shrunk after augmenting; validation stays at 48."""
    model = BestCNN(num_classes=7, features=((2,), (2, 2)), standardize=True, dropout=0.0)
    sizes = ((24, 0.25), (36, 0.5))
    made, params, stats = make(config_of(train__epochs=8, augment__sizes=sizes), model)
    params = jax.tree.map(lambda a: 5 * a, params)  # or its answers are almost the same
    plain, _, _ = make(config_of(train__epochs=8), model)
    batch = batch_of(5)
    noise = np.random.default_rng(4).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    batch["image"] = noise.repeat(3, 1).repeat(3, 2)

    def value(loss):
        return float(loss(params, stats, batch, KEY)[0])

    losses = [made.loss_at(epoch) for epoch in range(8)]
    assert [losses.index(loss) for loss in losses] == [0, 0, 2, 2, 4, 4, 4, 4]  # functions, shared
    assert losses[7] is made.loss and made.loss_at(0) is made.loss_at(1)
    assert value(made.loss) == value(plain.loss)
    logits, _ = model.apply(
        {"params": params, "batch_stats": stats},
        halves(batch["image"]),
        train=True,
        mutable=["batch_stats"],
    )
    logp = np.asarray(jax.nn.log_softmax(logits))
    expected = -logp[np.arange(5), batch["label"]].mean()
    assert value(losses[0]) == pytest.approx(expected, rel=1e-4)
    assert value(losses[2]) != pytest.approx(expected, rel=1e-4)
    variables = {"params": params, "batch_stats": stats}
    assert made.evaluate(variables, batch) == plain.evaluate(variables, batch)


def halves(images):
    """u8[N, 48, 48] -> f32[N, 24, 24, 1] in [0, 1]: weights 1, 3, 3, 1 over four pixels, as far as
    they lie in the picture."""
    rows = np.zeros((24, 48))
    for i in range(24):
        for j, weight in zip(range(2 * i - 1, 2 * i + 3), (1, 3, 3, 1), strict=True):
            if 0 <= j < 48:
                rows[i, j] = weight
    rows /= rows.sum(1, keepdims=True)
    return (rows @ (images / 255) @ rows.T).astype(np.float32)[..., None]


def test_alternating_flip_goes_by_the_parity_of_the_epoch():
    made, params, stats = make(config_of(augment__alternate_flip=True))
    plain, _, _ = make(config_of())
    batch = batch_of(5)
    batch["image"][:3, 0, 0] ^= 1  # squares of 144 pixels have even sums
    parity = batch["image"].astype(int).sum((1, 2)) % 2
    assert set(parity) == {0, 1}
    for epoch in range(4):
        images = batch["image"].copy()
        turned = parity == epoch % 2
        images[turned] = images[turned][:, :, ::-1]
        expected = plain.loss(params, stats, batch | {"image": images}, KEY)[0]
        found = made.loss_at(epoch)(params, stats, batch, KEY)[0]
        assert found == pytest.approx(float(expected), rel=1e-6)
    assert made.loss_at(0) is made.loss_at(2) and made.loss_at(1) is made.loss_at(3)
    assert plain.loss_at(0) is plain.loss_at(1) is plain.loss


def test_crops_are_trained_on_at_their_own_size():
    model = BestCNN(num_classes=7, features=((2,), (2, 2)), standardize=True, dropout=0.0)
    made, params, stats = make(config_of(augment__crop=44, augment__sizes=((24, 0.5),)), model)
    seen = []

    def apply(variables, images, **rest):
        seen.append(images.shape)
        return type(model).apply(model, variables, images, **rest)

    object.__setattr__(model, "apply", apply)
    batch = batch_of(3)
    for epoch in (0, 59):
        made.loss_at(epoch)(params, stats, batch, KEY)
    made.evaluate({"params": params, "batch_stats": stats}, batch)
    assert seen == [(3, 24, 24, 1), (3, 44, 44, 1), (3, 48, 48, 1)]


@pytest.mark.parametrize("fields", [{"augment__crop": 44}, {"augment__sizes": ((24, 0.5),)}])
def test_a_net_of_one_size_gets_no_other(fields):
    with pytest.raises(UserError, match="augment.crop and augment.sizes need .* got 'simple'"):
        task.build_model(config_of(**fields))


SIZES = ((24, 0.3), (36, 0.7))


@pytest.mark.parametrize(
    ("epochs", "sizes", "expected"),
    [
        (10, SIZES, [24] * 3 + [36] * 4 + [48] * 3),
        (10, (), [48] * 10),
        (6, ((24, 1.0),), [24] * 4 + [48] * 2),  # batch norm sees two epochs of 48
        (3, SIZES, [24] + [48] * 2),
        (2, SIZES, [48] * 2),
        (1, SIZES, [48]),
    ],
)
def test_sizes_of_the_epochs(epochs, sizes, expected):
    assert [task.image_size(epoch, epochs, sizes) for epoch in range(epochs)] == expected


@pytest.mark.parametrize("sizes", [((24, 0.7), (36, 0.3)), ((60, 0.5),), ((24, 1.5),), (24, 0.5)])
def test_sizes_that_cannot_be_are_refused(sizes):
    model = BestCNN(num_classes=7, features=((2,), (2, 2)), standardize=True, dropout=0.0)
    with pytest.raises(UserError, match="augment.sizes must be pairs"):
        make(config_of(augment__sizes=sizes), model)


def test_training_moves_batch_statistics_and_drops():
    model = BestCNN(num_classes=7, features=((2,), (2,)), standardize=True, dropout=0.5)
    made, params, stats = make(config_of(), model)
    batch = batch_of(4)
    loss = jax.jit(made.loss)
    value, (_, new) = loss(params, stats, batch, KEY)
    assert jax.tree.structure(new) == jax.tree.structure(stats)
    changed = jax.tree.map(lambda a, b: (a != b).any(), new, stats)
    assert all(jax.tree.leaves(changed))
    assert loss(params, stats, batch, KEY)[0] == value
    assert loss(params, stats, batch, jax.random.key(1))[0] != value


# evaluation


def test_evaluate_by_hand():
    config = config_of(
        loss__label_smoothing=0.2, loss__balanced=True, loss__l2=0.03, loss__l2_layers=("Conv_1",)
    )
    model = task.build_model(config)
    made, params, stats = make(config, model)
    batch = batch_of(6, mask=[1, 1, 0, 1, 1, 0])
    logp = log_probabilities(model, params, batch["image"])
    entropy = -logp[np.arange(6), batch["label"]]  # neither smoothed nor weighted
    penalty = 0.03 * float((np.asarray(params["Conv_1"]["kernel"], float) ** 2).sum())
    sums = made.evaluate({"params": params, "batch_stats": stats}, batch)
    total = (batch["mask"] * (entropy + penalty)).sum()
    assert sums["loss"].total == pytest.approx(total, rel=1e-5)
    assert sums["loss"].count == 4
    hits = ((logp.argmax(1) == batch["label"]) * batch["mask"]).sum()
    assert sums["accuracy"] == (hits, 4)


def test_evaluate_uses_the_running_statistics():
    model = BestCNN(num_classes=7, features=((2,), (2,)), standardize=True, dropout=0.5)
    made, params, stats = make(config_of(), model)
    batch = batch_of(4)
    evaluate = jax.jit(made.evaluate)
    one = evaluate({"params": params, "batch_stats": stats}, batch)["loss"].total
    alone = {name: array[:1] for name, array in batch.items()}
    rest = {name: array[1:] for name, array in batch.items()}
    parts = [
        evaluate({"params": params, "batch_stats": stats}, b)["loss"].total for b in (alone, rest)
    ]
    assert one == pytest.approx(float(sum(parts)), rel=1e-5)  # no image depends on another
    moved = jax.tree.map(lambda a: a + 1, stats)
    assert evaluate({"params": params, "batch_stats": moved}, batch)["loss"].total != one


def test_class_weights_are_those_of_scikit_learn():
    weights = task.balanced_class_weights(np.array([0, 0, 0, 1, 2, 3, 4, 5, 5, 6]), 7)
    np.testing.assert_allclose(weights, 10 / (7 * np.array([3, 1, 1, 1, 1, 2, 1])))
    assert np.isfinite(task.balanced_class_weights(np.array([3, 3]), 7)).all()  # absent classes


def test_the_task_names_its_data():
    made = make(config_of())[0]
    sha256 = data.sha256({"train": TRAIN, "valid": TRAIN})
    assert made.identity == {
        "data": "fer2013",
        "train_valid_sha256": sha256,
        "classes": list(CLASSES),
    }
    assert made.unit == "images"
    np.testing.assert_array_equal(made.train["image"], TRAIN.images)
    np.testing.assert_array_equal(made.train["label"], TRAIN.labels)


# from the config


def test_settings_are_those_of_the_config():
    config = config_of(train__epochs=11, train__seed=5)
    settings = task.settings_of(config, DATASET)
    assert settings.epochs == 11
    assert settings.seed == 5
    assert settings.plateau.factor == 0.2 and settings.plateau.base_lr == 1e-3
    assert dataclasses.asdict(settings.checkpoint) == config.checkpoint.to_dict()


@pytest.mark.parametrize(
    "name, path, epochs, expected",
    [("drawn_faces", "", 60, 8), ("drawn_faces", "", 3, 3), ("drawn_faces", "drawn", 60, 60),
     ("fer2013", "", 60, 60), ("fer2013", "a.zip", 60, 60)],
)  # fmt: skip
def test_faces_drawn_for_want_of_others_are_trained_on_for_few_epochs(name, path, epochs, expected):
    config = config_of(train__epochs=epochs, data__path=path)
    assert task.settings_of(config, DATASET._replace(name=name)).epochs == expected


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model__name": "vgg"}, "model.name must be one of .*, got 'vgg'"),
        ({"model__name": "lobo"}, "model: .*'batch_norm'"),  # which it has not
        ({"model__features": (0,)}, r"model.features: must be .* at least 1, got \(0,\)"),
        ({"model__features": (2, -1)}, r"model.features: must be .* at least 1, got \(2, -1\)"),
        ({"model__dense": 0}, "model.dense: must be numbers of at least 1, got 0"),
        ({"model__features": (2,) * 6}, "model: 1x1 pixels cannot be halved"),  # 48 halves 5 times
        ({"loss__l2_layers": ("Conv_9",)}, "loss.l2_layers: no layer 'Conv_9'"),
    ],
)
def test_a_config_without_a_network_is_refused(fields, message):
    config = config_of(**fields)
    with pytest.raises(UserError, match=f"config.{message}"):
        made, params, stats = make(config)
        made.loss(params, stats, batch_of(2), KEY)


def test_too_many_blocks_are_refused():
    """A mean over the pixels would hide that there are none, and be NaN."""
    settings = fer_best.get_config().model.to_dict()
    task.model_of(settings | {"features": ((2,),) * 6}, "config.model")  # 1x1 in the last
    with pytest.raises(UserError, match="config.model: 1x1 pixels cannot be halved"):
        task.model_of(settings | {"features": ((2,),) * 7}, "config.model")


@pytest.fixture
def loaded(monkeypatch):
    """A source of 10 images per class, and 2 per class in PublicTest."""
    splits = {"train": random_faces([10] * 7), "PublicTest": random_faces([2] * 7, seed=1)}
    dataset = DATASET._replace(splits=splits)
    paths = []
    monkeypatch.setattr(data, "load", lambda path, *_: paths.append(path) or dataset)
    return dataset, paths


def test_load_splits(loaded):
    dataset, paths = loaded
    config = config_of(data__path="a.zip", data__valid_fraction=0.2, data__train_fraction=0.5)
    returned, splits = task.load_splits(config)
    assert returned == dataset._replace(splits={}) and paths == ["a.zip"]
    assert list(splits) == ["train", "valid", "PublicTest"]
    counts = {name: np.bincount(faces.labels).tolist() for name, faces in splits.items()}
    # validation is taken first, so that it is the same whatever the part of train
    assert counts == {"train": [4] * 7, "valid": [2] * 7, "PublicTest": [2] * 7}
    np.testing.assert_array_equal(splits["PublicTest"].images, dataset.splits["PublicTest"].images)
    full = task.load_splits(config_of(data__valid_fraction=0.2))[1]
    np.testing.assert_array_equal(full["valid"].images, splits["valid"].images)
    known = {image.tobytes() for image in dataset.splits["train"].images}
    parts = [{i.tobytes() for i in full[name].images} for name in ("train", "valid")]
    assert parts[0] | parts[1] == known and not parts[0] & parts[1]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"data__valid_fraction": -0.1}, "-0.1"),
        ({"data__valid_fraction": 1.0}, "1.0"),
        ({"data__valid_fraction": 1e-4}, "0.0001"),  # of 70 images
        ({"data__train_fraction": 0.0}, "0.0"),
        ({"data__train_fraction": 1.5}, "1.5"),
        ({"data__train_fraction": -0.5}, "-0.5"),
        ({"data__split_seed": -1}, "seed|negative"),
    ],
)
def test_load_splits_refuses_a_wrong_setting(loaded, fields, value):
    with pytest.raises(UserError, match=value):
        task.load_splits(config_of(**fields))


def test_without_a_validation_fraction_all_is_trained_on(loaded):
    _, splits = task.load_splits(config_of(data__valid_fraction=0.0))
    assert {name: len(faces.labels) for name, faces in splits.items()} == {
        "train": 70,
        "valid": 0,
        "PublicTest": 14,
    }
    assert splits["valid"].images.shape == (0, 48, 48)


def test_load_splits_needs_training_images(monkeypatch):
    dataset = DATASET._replace(splits={"PublicTest": random_faces([2] * 7)})
    monkeypatch.setattr(data, "load", lambda path, *_: dataset)
    with pytest.raises(UserError, match="faces.zip has no training images.*PublicTest"):
        task.load_splits(config_of())


def test_load_splits_prints_the_notice_of_drawn_faces(loaded, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda path, *_: loaded[0]._replace(notice="DRAWN FACES: x"))
    task.load_splits(config_of())
    assert capsys.readouterr().out == "DRAWN FACES: x\n"


def test_for_a_gpu_a_call_is_one_loop_over_steps_with_the_data_as_arguments(loaded):
    """Compiled for CUDA as far as that goes without one: to StableHLO, for platform cuda."""
    config = config_of(train__steps_per_call=4, augment__rotation=10.0, train__prng="rbg")
    dataset, splits = task.load_splits(config)
    made = task.make_task(config, task.build_model(config), dataset, splits)
    settings = task.settings_of(config, dataset)
    mesh = parallel.make_mesh(1)
    with jax.numpy_dtype_promotion("standard"):  # optax
        program, state = loop.build(made, mesh, settings, steps=8)
        rows = config.train.batch_size
        traced = program.train_step_at(0).trace(
            state,
            parallel.shard_rows(made.train, mesh),
            np.zeros((4, rows), np.int32),
            np.ones((4, rows), np.float32),
        )
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.while") == 1  # the steps (mixup draws Beta numbers in loops, too)
    assert "callback" not in text  # nothing asks the host in between
    images = made.train["image"].shape
    assert f"tensor<{images[0]}x48x48xui8>" in text.split("{\n")[1]  # an argument, not a constant
