"""optim.py against formulas that are written out, and optimizers against numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_jax.optim import make_optimizer, make_schedule

pytestmark = pytest.mark.usefixtures("optax_types")
SCHEDULE = {
    "name": "constant",
    "learning_rate": 0.3,
    "warmup_steps": 0,
    "total_steps": 20,
    "decay": 0.05,
    "final_fraction": 0.1,
}
OPTIMIZER = {"name": "adam", "weight_decay": 0.0, "momentum": 0.9, "clip_norm": 0.0}


def constant(t):
    return 0.3


def inverse_time(t):
    """learning_rate * (1. / (1. + decay * iterations)) of keras 2.4's optimizer_v1."""
    return 0.3 / (1 + 0.05 * t)


def cosine(t, length=20):
    t = min(t, length)
    return 0.3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / length)))


@pytest.mark.equivalence("optim.make_schedule", "Keras's and optax's formulas, in float64", "1e-6")
@pytest.mark.parametrize("formula", [constant, inverse_time, cosine])
def test_schedule_without_warm_up(formula):
    schedule = make_schedule(**SCHEDULE | {"name": formula.__name__})
    for step in (0, 1, 7, 19, 20, 25):
        # 1e-6: float32; the step is an i32 in the compiled step and an int in the log
        assert float(schedule(step)) == pytest.approx(formula(step), rel=1e-6), step
        traced = jax.jit(schedule)(jnp.int32(step))
        assert float(traced) == pytest.approx(formula(step), rel=1e-6), step


@pytest.mark.parametrize("name", ["constant", "inverse_time", "cosine"])
def test_warm_up_is_linear_from_0_and_the_schedule_starts_at_its_end(name):
    schedule = make_schedule(**SCHEDULE | {"name": name, "warmup_steps": 6})
    after = {
        "constant": constant,
        "inverse_time": inverse_time,
        "cosine": lambda t: cosine(t, 14),  # the end of the training is where it was
    }[name]
    for step in range(24):
        expected = 0.3 * step / 6 if step < 6 else after(step - 6)
        found = float(schedule(jnp.int32(step)))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-8), step


def test_warm_up_longer_than_the_training():
    schedule = make_schedule(**SCHEDULE | {"name": "cosine", "warmup_steps": 30})
    assert float(schedule(15)) == pytest.approx(0.15, rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.inf, math.nan])
def test_learning_rate_must_be_positive_and_finite(rate):
    with pytest.raises(ValueError, match=f"learning_rate .* got {rate}"):
        make_schedule(**SCHEDULE | {"learning_rate": rate})


def test_unknown_names_print_the_value_and_the_choices():
    with pytest.raises(ValueError, match="constant.*inverse_time.*cosine.*got 'cosin'"):
        make_schedule(**SCHEDULE | {"name": "cosin"})
    with pytest.raises(ValueError, match="adam.*adamw.*sgd.*got 'Adam'"):
        make_optimizer(**OPTIMIZER | {"name": "Adam"}, schedule=constant)


def test_weight_decay_is_refused_where_it_would_be_ignored():
    with pytest.raises(ValueError, match="0.01 with 'adam'"):
        make_optimizer(**OPTIMIZER | {"weight_decay": 0.01}, schedule=constant)


def random_trees(seed, steps):
    """(params, [gradients of each step]): a kernel, a bias and a batch-norm scale."""
    rng = np.random.default_rng(seed)

    def tree():
        shapes = {"kernel": (4, 3), "bias": (3,), "scale": (3,)}
        return {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}

    return tree(), [tree() for _ in range(steps)]


def run(optimizer, params, gradients):
    """The parameters after each step."""
    state, trail = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        trail.append(params)
    return trail


def numpy_adam(params, gradients, rates, decay):
    """Kingma & Ba 2015, algorithm 1, with `decay` of Loshchilov & Hutter 2019, a dict."""
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    m, v = ({k: np.zeros_like(x) for k, x in p.items()} for _ in range(2))
    trail = []
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        for k in p:
            g = np.asarray(gradient[k], np.float64)
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.999 * v[k] + 0.001 * g * g
            step = m[k] / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
            p[k] = p[k] - rate * (step + decay[k] * p[k])
        trail.append({k: x.copy() for k, x in p.items()})
    return trail


def assert_trails(found, expected):
    for a, b in zip(found, expected, strict=True):
        for k in b:
            # float32 against float64 over 5 steps of size 0.3
            np.testing.assert_allclose(a[k], b[k], rtol=2e-5, atol=2e-5, err_msg=k)


def test_adam_equals_numpy_and_follows_the_schedule():
    params, gradients = random_trees(0, 5)
    schedule = make_schedule(**SCHEDULE | {"name": "inverse_time"})
    found = run(make_optimizer(**OPTIMIZER, schedule=schedule), params, gradients)
    no_decay = dict.fromkeys(params, 0.0)
    rates = [inverse_time(t) for t in range(5)]
    assert_trails(found, numpy_adam(params, gradients, rates, no_decay))


def test_adamw_decays_kernels_only_and_by_the_learning_rate():
    params, gradients = random_trees(1, 5)
    schedule = make_schedule(**SCHEDULE | {"name": "cosine"})
    settings = OPTIMIZER | {"name": "adamw", "weight_decay": 0.2}
    found = run(make_optimizer(**settings, schedule=schedule), params, gradients)
    decay = {"kernel": 0.2, "bias": 0.0, "scale": 0.0}
    assert_trails(found, numpy_adam(params, gradients, [cosine(t) for t in range(5)], decay))


def test_sgd_has_nesterov_momentum():
    params, gradients = random_trees(2, 5)
    settings = OPTIMIZER | {"name": "sgd", "momentum": 0.8}
    schedule = make_schedule(**SCHEDULE)
    found = run(make_optimizer(**settings, schedule=schedule), params, gradients)
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    velocity = {k: np.zeros_like(x) for k, x in p.items()}
    trail = []
    for gradient in gradients:  # keras SGD(nesterov=True)
        for k in p:
            g = np.asarray(gradient[k], np.float64)
            velocity[k] = 0.8 * velocity[k] - 0.3 * g
            p[k] = p[k] + 0.8 * velocity[k] - 0.3 * g
        trail.append(dict(p))
    assert_trails(found, trail)


def test_sgd_decays_kernels_only_and_as_pytorch_does():
    """torch.optim.SGD(nesterov=True): the decay goes through the momentum, and the rate of a step
    multiplies what was gathered; clipping comes before it, as clip_grad_norm_ does."""
    params, gradients = random_trees(4, 5)
    settings = {"name": "sgd", "momentum": 0.8, "weight_decay": 0.2, "clip_norm": 1.0}
    schedule = make_schedule(**SCHEDULE | {"name": "cosine"})
    found = run(make_optimizer(**OPTIMIZER | settings, schedule=schedule), params, gradients)
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    gathered = {k: np.zeros_like(x) for k, x in p.items()}
    trail = []
    for t, gradient in enumerate(gradients):
        g = {k: np.asarray(v, np.float64) for k, v in gradient.items()}
        norm = math.sqrt(sum((x**2).sum() for x in g.values()))
        for k in p:
            d = g[k] * min(1, 1 / norm) + (0.2 * p[k] if k == "kernel" else 0)
            gathered[k] = 0.8 * gathered[k] + d
            p[k] = p[k] - cosine(t) * (d + 0.8 * gathered[k])
        trail.append(dict(p))
    assert_trails(found, trail)


def newton_schulz(g):
    """Five steps (Jordan et al. 2024, "Muon") towards U V^T of a matrix g = U S V^T."""
    x = g / np.linalg.norm(g)
    x = x.T if len(g) > len(g[0]) else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x.T if len(g) > len(g[0]) else x


def test_muon_turns_kernels_of_convolutions_and_leaves_the_rest_to_adam():
    rng = np.random.default_rng(5)
    shapes = {"conv": (3, 3, 4, 8), "dense": (6, 5), "bias": (3,)}
    params, gradient = (
        {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
        for _ in range(2)
    )
    settings = OPTIMIZER | {"name": "muon", "weight_decay": 0.2}
    optimizer = make_optimizer(**settings, schedule=make_schedule(**SCHEDULE))
    (found,) = run(optimizer, params, [gradient])
    p, g = (np.asarray(tree["conv"], np.float64).reshape(36, 8) for tree in (params, gradient))
    update = newton_schulz(g)
    singular = np.linalg.svd(update)[1]
    assert 0.6 < singular.min() < singular.max() < 1.3
    expected = p - 0.3 * (0.2 * math.sqrt(36) * update + 0.2 * p)
    np.testing.assert_allclose(found["conv"].reshape(36, 8), expected, rtol=1e-4, atol=1e-5)
    for name in ("dense", "bias"):  # Adam's first step with Nesterov's momentum, as optax has it
        step = 0.3 * (0.9 * 0.1 / (1 - 0.9**2) + 1) * np.sign(gradient[name])
        np.testing.assert_allclose(found[name], params[name] - step, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [0.01, 7.0])
def test_clip_bounds_the_global_norm(size):
    """Over all arrays together, before the optimizer; a small gradient is left alone."""
    params, (gradient, *_) = random_trees(3, 1)
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradient.values()))
    gradient = {k: g * (size / norm) for k, g in gradient.items()}
    settings = OPTIMIZER | {"name": "sgd", "momentum": 0.0, "clip_norm": 0.5}
    optimizer = make_optimizer(**settings, schedule=make_schedule(**SCHEDULE))
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    for k, u in updates.items():
        expected = -0.3 * gradient[k] * min(1, 0.5 / size)
        np.testing.assert_allclose(u, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("bad", [{"clip_norm": -1.0}, {"clip_norm": math.nan}])
def test_a_clip_norm_that_would_turn_the_gradient_around_is_refused(bad):
    with pytest.raises(ValueError, match="clip_norm"):
        make_optimizer(**OPTIMIZER | bad, schedule=constant)


@pytest.mark.parametrize("bad", [{"momentum": 1.5}, {"momentum": -0.5}])
def test_momentum_outside_0_to_1_is_refused(bad):
    with pytest.raises(ValueError, match="momentum"):
        make_optimizer(**OPTIMIZER | {"name": "sgd"} | bad, schedule=constant)


def test_negative_weight_decay_is_refused():
    with pytest.raises(ValueError, match="weight_decay"):
        make_optimizer(**OPTIMIZER | {"name": "adamw", "weight_decay": -0.1}, schedule=constant)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "cosine", "final_fraction": 1.5},
        {"name": "cosine", "final_fraction": -0.1},
        {"name": "inverse_time", "decay": -0.1},
        {"warmup_steps": -3},
    ],
)
def test_schedule_settings_outside_their_range_are_refused(bad):
    with pytest.raises(ValueError, match=[k for k in bad if k != "name"][0].split("_")[0]):
        make_schedule(**SCHEDULE | bad)
