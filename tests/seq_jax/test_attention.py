"""Attention against a plain loop in numpy (float64), with masks, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq_jax import attention

B, S, H, M, K = 3, 5, 4, 6, 7


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


PARAMS = {
    "luong": {"key_kernel": draw(M, H)},
    "bahdanau": {
        "key_kernel": draw(M, K, seed=1),
        "query_kernel": draw(H, K, seed=2),
        "bias": draw(K, seed=3),
        "score": draw(K, seed=4),
    },
}
QUERY, MEMORY = draw(B, H, seed=5), draw(B, S, M, seed=6)
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)


def attend(kind, params, query, memory, mask):
    keys = getattr(attention, f"{kind}_keys")(params, memory)
    scores = getattr(attention, f"{kind}_scores")(params, query, keys)
    weights = attention.softmax(scores, mask)
    return attention.context(weights, memory), weights


def by_loops(kind, params, query, memory, mask):
    """The equations of the two papers, one source step after the other."""
    params = {k: np.asarray(v, np.float64) for k, v in params.items()}
    query, memory = np.asarray(query, np.float64), np.asarray(memory, np.float64)
    contexts, rows = [], []
    for q, steps, real in zip(query, memory, mask, strict=True):
        e = np.zeros(S)
        for s in range(S):
            if kind == "luong":
                score = q @ (params["key_kernel"].T @ steps[s]) / np.sqrt(H)
            else:
                inside = q @ params["query_kernel"] + steps[s] @ params["key_kernel"]
                score = params["score"] @ np.tanh(inside + params["bias"])
            e[s] = np.exp(score) if real[s] else 0
        weights = e / e.sum() if real.any() else e
        rows.append(weights)
        contexts.append(sum(w * m for w, m in zip(weights, steps, strict=True)))
    return np.array(contexts), np.array(rows)


@pytest.mark.parametrize("kind", ["luong", "bahdanau"])
def test_against_a_loop(kind):
    found = attend(kind, PARAMS[kind], QUERY, MEMORY, MASK)
    expected = by_loops(kind, PARAMS[kind], QUERY, MEMORY, MASK)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["luong", "bahdanau"])
def test_gradients_against_finite_differences_of_the_loop(kind):
    probe = np.random.default_rng(9).normal(size=(B, M))

    def ours(params, query, memory):
        return (attend(kind, params, query, memory, MASK)[0] * jnp.asarray(probe, "f4")).sum()

    def theirs(params, query, memory):
        return (by_loops(kind, params, query, memory, MASK)[0] * probe).sum()

    arguments = PARAMS[kind], QUERY, MEMORY
    gradients = jax.grad(ours, argnums=(0, 1, 2))(*arguments)
    as_float64 = jax.tree.map(lambda a: np.array(a, np.float64), arguments)
    for gradient, array in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(as_float64), strict=True
    ):
        numeric = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            value, h = array[place], 1e-5
            array[place] = value + h
            above = theirs(*as_float64)
            array[place] = value - h
            numeric[place] = (above - theirs(*as_float64)) / (2 * h)
            array[place] = value
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["luong", "bahdanau"])
def test_a_wholly_masked_row_gives_zeros_and_zero_gradients(kind):
    context, weights = attend(kind, PARAMS[kind], QUERY, MEMORY, MASK)
    assert not context[2].any() and not weights[2].any()

    def last(query, memory):
        context, weights = attend(kind, PARAMS[kind], query, memory, MASK)
        return context[2].sum() + (weights[2] ** 2).sum()

    for gradient in jax.grad(last, argnums=(0, 1))(QUERY, MEMORY):
        assert not gradient.any()  # and not NaN


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e6])
def test_no_weight_where_masked_and_a_sum_of_one_whatever_the_scores(scale):
    weights = attention.softmax(scale * draw(B, S, seed=7), MASK)
    assert not np.asarray(weights)[~MASK].any()
    np.testing.assert_allclose(np.asarray(weights.sum(-1)), [1, 1, 0], rtol=1e-6)


def test_what_was_left_out_and_what_was_seen_twice_against_a_loop():
    total = jnp.array([[1.7, 0.4, 0.0, 9.0], [0.9, 3.0, 1.0, 0.5], [0.2, 2.0, 1.0, 0.5]])
    mask = jnp.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    found = attention.coverage_penalty(total, mask, coverage=0.3, overlap=0.7)
    for row, real, penalty in zip(np.asarray(total), np.asarray(mask), found, strict=True):
        expected = 0.0
        for t in row[real]:
            expected += 0.3 * np.log(max(min(t, 1.0), 0.01)) - 0.7 * max(t - 1.0, 0.0)
        assert penalty == pytest.approx(expected, rel=1e-6)


def test_the_scores_of_masked_steps_do_not_matter():
    scores = draw(B, S, seed=8)
    other = jnp.where(MASK, scores, 1e6)
    np.testing.assert_array_equal(attention.softmax(scores, MASK), attention.softmax(other, MASK))
