"""Attention of a decoder over what an encoder has read, as pure functions.

B = batch, S = source steps, H = query, K = key, M = memory features. A masked step (False) has no
weight at all; where every step of a row is masked, the weights and the context are zeros, and so
are their gradients.
"""

import jax
import jax.numpy as jnp

from seq_jax.cells import times

ATTENTIONS = ("luong", "bahdanau", "none")
FAR = -1e9  # finite: -inf - -inf in a wholly masked row would be NaN, also in the gradient


def luong_keys(params, memory):
    """f32[B, S, H]: the part of `luong_scores` that depends on the memory f32[B, S, M] alone."""
    return times(memory, params["key_kernel"])


def luong_scores(params, query, keys):
    """f32[B, S]: the "general" score (Luong et al. 2015, arXiv 1508.04025), q W m / sqrt(H).

    Scaled, as in Vaswani et al. 2017, so that at the start the weights are nearly uniform whatever
    the size of H.
    """
    return (query[:, None] * keys).sum(-1) * query.shape[-1] ** -0.5


def bahdanau_keys(params, memory):
    """f32[B, S, K]: as `luong_keys`, for `bahdanau_scores`."""
    return times(memory, params["key_kernel"]) + params["bias"].reshape(1, 1, -1)


def bahdanau_scores(params, query, keys):
    """f32[B, S]: v tanh(q W + m U + b) (Bahdanau et al. 2015, arXiv 1409.0473)."""
    return jnp.tanh(times(query, params["query_kernel"])[:, None] + keys) @ params["score"]


def softmax(scores, mask):
    """f32[B, S]: the softmax of scores f32[B, S] over the steps where mask bool[B, S] is True."""
    scores = jnp.where(mask, scores, FAR)
    e = jnp.where(mask, jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))), 0)
    return e / jnp.maximum(e.sum(-1, keepdims=True), jnp.finfo(e.dtype).tiny)


def coverage_penalty(total, mask, *, coverage: float, overlap: float):
    """f32[B], <= 0: what a translation left out, and what it looked at twice.

    coverage * sum_s log(min(total_s, 1)) (Wu et al. 2016, arXiv 1609.08144, equation 14; no
    total counts as less than 0.01) - overlap * sum_s max(total_s - 1, 0), over the steps where mask
    bool[B, S] is True, of the attention in `total` f32[B, S], summed over all target steps.
    """
    left_out = jnp.log(jnp.clip(total, 0.01, 1.0))
    return jnp.where(mask, coverage * left_out - overlap * jnp.maximum(total - 1, 0), 0).sum(-1)


def context(weights, memory):
    """f32[B, M]: the mean of the memory f32[B, S, M] under the weights f32[B, S]."""
    return (weights[:, :, None] * memory).sum(1)
