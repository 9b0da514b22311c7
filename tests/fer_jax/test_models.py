"""The networks: sizes counted by hand, values against the layer lists of the study in numpy.

The numpy forward passes are written from the lists, with none of the code under test: a
convolution is a matrix product over windows, max pooling picks every second row and column.
"""

import functools
import importlib
import inspect
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.task import build_model, init_model
from train_jax.dropout import Dropout

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("fer_*.py"))

SIMPLE = {
    "Conv_0": 3 * 3 * 1 * 32 + 32,
    "Conv_1": 3 * 3 * 32 * 64 + 64,
    "Dense_0": 12 * 12 * 64 * 128 + 128,  # 48 pixels, pooled twice
    "Dense_1": 128 * 7 + 7,
}
BATCHNORM = SIMPLE | {"BatchNorm_0": 2 * 32, "BatchNorm_1": 2 * 64, "BatchNorm_2": 2 * 128}
LOBO = {
    "Conv_0": 3 * 3 * 1 * 32 + 32,
    "Conv_1": 3 * 3 * 32 * 64 + 64,
    "BatchNorm_0": 2 * 64,
    "Conv_2": 3 * 3 * 64 * 128 + 128,
    "Conv_3": 3 * 3 * 128 * 256 + 256,
    "BatchNorm_1": 2 * 256,
    "Dense_0": 11 * 11 * 256 * 1024 + 1024,  # 48 -> 24 -> 22, the fourth one is 'valid' -> 11
    "Dense_1": 1024 * 7 + 7,
}


def vgg(*widths):
    """Two convolutions of each width, without biases, since batch norm follows."""
    outputs = [width for width in widths for _ in range(2)]
    inputs = [1, *outputs]
    return {
        **{f"Conv_{i}": 3 * 3 * inputs[i] * n for i, n in enumerate(outputs)},
        **{f"BatchNorm_{i}": 2 * n for i, n in enumerate(outputs)},
        "Dense_0": widths[-1] * 7 + 7,
    }


BEST, FER_SMALL = vgg(48, 96, 160, 256), vgg(32, 64, 128, 192)
COUNTS = {  # config: (parameters of each layer, all of them, all batch statistics)
    "fer_base": (SIMPLE, 1_199_495, 0),
    "fer_simple": (SIMPLE, 1_199_495, 0),
    "fer_batchnorm": (BATCHNORM, 1_199_943, 448),
    "fer_dropout": (BATCHNORM, 1_199_943, 448),
    "fer_lobo": (LOBO, 32_116_103, 640),
    "fer_best": (BEST, 1_476_727, 2_240),
    "fer_small": (FER_SMALL, 841_959, 1_664),
    "fer_small_tuned": (FER_SMALL, 841_959, 1_664),
}

simple = functools.partial(
    models.SimpleCNN, num_classes=7, features=(3, 5), dense=6, batch_norm=True, dropout=0.0
)
best = functools.partial(
    models.BestCNN, num_classes=7, features=((3,), (4, 4), (6, 5, 5)), standardize=False,
    dropout=0.3,
)  # fmt: skip
SMALL = {
    "model 1": functools.partial(simple, batch_norm=False),
    "model 2": simple,
    "model 3": functools.partial(simple, dropout=0.7),
    "best": best,
}


def of_config(name):
    return build_model(importlib.import_module(f"configs.{name}").get_config())


def shapes(model):
    return jax.eval_shape(functools.partial(init_model, model), jax.random.key(0))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_variables(model, seed=0):
    """Every array random, the biases and batch statistics too, which start as 0 and 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            values = rng.standard_normal(leaf.shape, np.float32)
            values /= np.sqrt(np.prod(leaf.shape[:-1]))
        elif kind in ("bias", "mean"):
            values = rng.normal(0, 0.2, leaf.shape)
        elif kind == "scale":  # of either sign, or batch norm and max pooling would commute
            values = rng.uniform(0.5, 2, leaf.shape) * rng.choice([-1, 1], leaf.shape)
        else:
            assert kind == "var"
            values = rng.uniform(0.5, 2, leaf.shape)
        return np.asarray(values, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(model))


def random_images(n, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (n, 48, 48, 1)).astype(np.float32)


class Reference:
    """A plain numpy forward pass, layer by layer. `train` normalises by the batch."""

    def __init__(self, variables, *, train=False):
        self.params = variables["params"]
        self.stats = variables.get("batch_stats", {})
        self.new_stats = {}
        self.train = train
        self.used = {"Conv": 0, "Dense": 0, "BatchNorm": 0}

    def _next(self, kind):
        name = f"{kind}_{self.used[kind]}"
        self.used[kind] += 1
        return name, self.params[name]

    def conv(self, x, *, same=True):
        _, p = self._next("Conv")
        if same:
            x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        return np.einsum("bhwcij,ijcf->bhwf", windows, p["kernel"], optimize=True) + p.get(
            "bias", 0
        )

    def dense(self, x):
        _, p = self._next("Dense")
        return x @ p["kernel"] + p["bias"]

    def batch_norm(self, x):
        name, p = self._next("BatchNorm")
        mean, var = self.stats[name]["mean"], self.stats[name]["var"]
        if self.train:
            axes = tuple(range(x.ndim - 1))
            m, v = x.mean(axes), x.var(axes)
            self.new_stats[name] = {"mean": 0.99 * mean + 0.01 * m, "var": 0.99 * var + 0.01 * v}
            mean, var = m, v
        return (x - mean) / np.sqrt(var + 1e-3) * p["scale"] + p["bias"]

    @staticmethod
    def relu(x):
        return np.maximum(x, 0)

    @staticmethod
    def pool(x):
        h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        x = x[:, :h, :w]
        corners = x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]
        return np.maximum.reduce(corners)

    def simple(self, x, *, batch_norm):
        after = self.batch_norm if batch_norm else lambda x: x
        x = after(self.pool(self.relu(self.conv(x))))
        x = after(self.pool(self.relu(self.conv(x))))
        x = after(self.relu(self.dense(x.reshape(len(x), -1))))
        return self.dense(x)

    def lobo(self, x):
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x))
        x = self.pool(self.batch_norm(x))
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x, same=False))
        x = self.pool(self.batch_norm(x))
        x = self.relu(self.dense(x.reshape(len(x), -1)))
        return self.dense(x)

    def best_small(self, x):
        """features=((3,), (4, 4), (6, 5, 5))."""
        x = self.relu(self.batch_norm(self.pool(self.conv(x))))  # 3
        x = self.relu(self.batch_norm(self.conv(x)))  # 4
        x = self.relu(self.batch_norm(self.pool(self.conv(x) + x)))  # 4, a shortcut
        x = self.relu(self.batch_norm(self.conv(x)))  # 6
        x = self.relu(self.batch_norm(self.conv(x)))  # 5: another width, so no shortcut
        x = self.relu(self.batch_norm(self.conv(x) + x))  # 5, the last block does not pool
        return self.dense(x.mean((1, 2)))


# sizes


@pytest.mark.parametrize("name", CONFIGS)
def test_parameter_counts(name):
    assert name in COUNTS, "a new config: count its parameters by hand"
    layers, total, stats = COUNTS[name]
    variables = shapes(of_config(name))
    assert {layer: size(leaves) for layer, leaves in variables["params"].items()} == layers
    assert size(variables["params"]) == total == sum(layers.values())
    assert size(variables.get("batch_stats", {})) == stats
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_no_count_is_left_over():
    assert set(COUNTS) == set(CONFIGS)


def test_lobo_has_the_size_of_the_study():
    variables = shapes(of_config("fer_lobo"))
    assert size(variables["params"]) == 32_116_103
    assert size(variables) == 32_116_743


def test_best_stays_below_two_million():
    assert size(shapes(of_config("fer_best"))["params"]) <= 2_000_000


# values


@pytest.mark.parametrize("name", ["model 1", "model 2", "model 3"])
def test_simple_equals_the_layer_list(name):
    model = SMALL[name]()
    variables, images = random_variables(model), random_images(3)
    expected = Reference(variables).simple(images, batch_norm=name != "model 1")
    # 1e-5: f32 sums in another order
    np.testing.assert_allclose(
        model.apply(variables, images, train=False), expected, rtol=1e-5, atol=1e-5
    )


def test_best_equals_its_layer_list():
    model = best()
    variables, images = random_variables(model), random_images(3)
    expected = Reference(variables).best_small(images)
    actual = model.apply(variables, images, train=False)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_standardised_images_equal_the_definition():
    images = random_images(3)
    images = images * np.float32([0.01, 0.3, 1])[:, None, None, None] + np.float32(0.2)
    expected = [(x - x.mean()) / (x.std() + 0.05) for x in np.asarray(images, np.float64)]
    np.testing.assert_allclose(models.standardize(images), expected, rtol=1e-4, atol=1e-5)
    flat = models.standardize(jnp.full((1, 48, 48, 1), 0.7))
    np.testing.assert_allclose(flat, np.zeros((1, 48, 48, 1)), atol=1e-3)  # float32 mean


def test_a_standardising_net_ignores_light_and_contrast():
    model, images = best(standardize=True), random_images(3)
    variables = random_variables(model)
    logits = model.apply(variables, images, train=False)
    plain = best().apply(variables, models.standardize(images), train=False)
    np.testing.assert_allclose(logits, plain, rtol=1e-5, atol=1e-5)
    brighter = model.apply(variables, images + 0.3, train=False)
    np.testing.assert_allclose(logits, brighter, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def lobo():
    model = models.LoboCNN(num_classes=7)
    return model, random_variables(model)


def test_lobo_equals_the_layer_list(lobo):
    model, variables = lobo
    images = random_images(1)
    expected = Reference(variables).lobo(images)
    # 1e-4: sums of 31 thousand f32
    np.testing.assert_allclose(
        model.apply(variables, images, train=False), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["simple", "best_small"])
def test_training_normalises_by_the_batch_and_moves_the_statistics(kind):
    model = simple() if kind == "simple" else best(dropout=0.0)
    variables, images = random_variables(model), random_images(4)
    reference = Reference(variables, train=True)
    settings = {"batch_norm": True} if kind == "simple" else {}
    expected = getattr(reference, kind)(images, **settings)
    logits, new = model.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    assert set(new["batch_stats"]) == set(reference.new_stats)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        dict(new["batch_stats"]),
        reference.new_stats,
    )


def test_best_halves_the_picture_after_every_block_but_the_last():
    model = best(features=((3,), (4, 4), (6, 6), (8, 8)))
    images = jnp.zeros((2, 48, 48, 1))
    variables = random_variables(model)
    _, captured = jax.eval_shape(
        lambda: model.apply(
            variables, images, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
    )
    layers = captured["intermediates"]
    convolutions = [layers[f"Conv_{i}"]["__call__"][0].shape for i in range(7)]
    norms = [layers[f"BatchNorm_{i}"]["__call__"][0].shape for i in range(7)]
    assert convolutions == [
        (2, 48, 48, 3), (2, 24, 24, 4), (2, 24, 24, 4), (2, 12, 12, 6), (2, 12, 12, 6),
        (2, 6, 6, 8), (2, 6, 6, 8),
    ]  # fmt: skip
    assert norms == [
        (2, 24, 24, 3), (2, 24, 24, 4), (2, 12, 12, 4), (2, 12, 12, 6), (2, 6, 6, 6),
        (2, 6, 6, 8), (2, 6, 6, 8),
    ]  # fmt: skip
    assert layers["Dense_0"]["__call__"][0].shape == (2, 7)


# interface


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_output_is_float32_whatever_the_computation(name, dtype):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.model.bfloat16 = dtype == "bfloat16"
    model = build_model(config)
    variables = shapes(model)
    logits, captured = jax.eval_shape(
        lambda v, x: model.apply(
            v, x, train=False, capture_intermediates=True, mutable=["intermediates"]
        ),
        variables,
        jax.ShapeDtypeStruct((5, 48, 48, 1), jnp.float32),
    )
    assert (logits.shape, logits.dtype) == ((5, 7), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    layers = captured["intermediates"]
    computed = {layers[n]["__call__"][0].dtype for n in layers if n.startswith(("Conv", "Batch"))}
    assert computed == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    "make", [*SMALL.values(), functools.partial(models.LoboCNN, num_classes=7)]
)
def test_train_has_to_be_said(make):
    parameter = inspect.signature(type(make()).__call__).parameters["train"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is inspect.Parameter.empty


@pytest.mark.parametrize("name", ["model 3", "best"])
def test_dropout_draws_in_training_only(name):
    model = SMALL[name]()
    variables, images = random_variables(model), random_images(2)

    def train(seed):
        rngs = {"dropout": jax.random.key(seed, impl="rbg")}
        return model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert np.array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1))
    assert np.isfinite(model.apply(variables, images, train=False)).all()  # asks for no key


def dropped(model, variables, images):
    """[(rate, share of the inputs that were set to 0, factor on the others)] of each dropout."""
    calls = []

    def record(next_call, args, kwargs, context):
        out = next_call(*args, **kwargs)
        if isinstance(context.module, Dropout):
            x, y = np.asarray(args[0]), np.asarray(out)
            alive, kept = x != 0, (x != 0) & (y != 0)
            calls.append((context.module.rate, 1 - kept.sum() / alive.sum(), (y / x)[kept].mean()))
        return out

    with nn.intercept_methods(record), np.errstate(all="ignore"):
        rngs = {"dropout": jax.random.key(0, impl="rbg")}
        model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
    return calls


def test_lobo_drops_what_the_study_drops(lobo):
    calls = dropped(*lobo, random_images(1))
    assert [rate for rate, _, _ in calls] == [0.25, 0.25, 0.5]
    for rate, share, factor in calls:  # of at least 300 activations
        assert abs(share - rate) < 0.1
        assert factor == pytest.approx(1 / (1 - rate), rel=1e-5)


def test_model_3_drops_after_every_layer_but_the_last():
    model = simple(features=(8, 8), dense=400, dropout=0.7)
    calls = dropped(model, random_variables(model), random_images(2))
    assert len(calls) == 3
    for _, share, factor in calls:
        assert abs(share - 0.7) < 0.1
        assert factor == pytest.approx(1 / (1 - 179 / 256), rel=1e-5)  # the nearest 256th


def test_the_block_net_drops_after_each_block_but_the_last_and_before_the_last_layer():
    model = best(features=((8,), (8, 8), (16,)), block_dropout=0.25, dropout=0.5)
    calls = dropped(model, random_variables(model), random_images(8))
    assert [rate for rate, _, _ in calls] == [0.25, 0.25, 0.5]
    for (rate, share, factor), error in zip(calls, (0.02, 0.02, 0.15), strict=True):
        assert abs(share - rate) < error
        assert factor == pytest.approx(1 / (1 - rate), rel=1e-5)


def test_an_unknown_model_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="simple.*lobo.*best.*got 'vgg'"):
        models.make_model("vgg", num_classes=7)


# max_pool


@pytest.mark.equivalence("models.max_pool", "flax.linen.max_pool", "the same bits, gradients too")
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 9, 2), (2, 6, 5, 1), (1, 2, 3, 2)])
def test_max_pool_equals_flax(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(-1, 1, shape), jnp.float32)  # mostly negative: a 0 would show
    flax = functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2), padding="VALID")
    expected, backward = jax.vjp(flax, x)
    actual, our_backward = jax.vjp(models.max_pool, x)
    assert actual.shape == expected.shape == (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    np.testing.assert_array_equal(actual, expected)
    cotangent = jnp.asarray(rng.standard_normal(expected.shape), jnp.float32)
    np.testing.assert_array_equal(our_backward(cotangent)[0], backward(cotangent)[0])


@pytest.mark.parametrize("shape", [(1, 1, 4, 2), (1, 4, 1, 2)])
def test_max_pool_leaves_no_empty_image(shape):
    with pytest.raises(ValueError, match=f"{shape[1]}x{shape[2]} pixels cannot be halved"):
        models.max_pool(jnp.ones(shape))
