"""From logits to the numbers of a sentence.

Letters: B sentences, T tokens with <start> and <end> where they are used, V words, K hypotheses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seq_jax.text import END, PAD, START, UNK, Vocabulary

FAR = -1e9  # log-probability of what cannot be; finite, so that sums stay numbers


def markers(vocabulary: Vocabulary) -> dict[str, Any]:
    """{'pad', 'unk', 'start', 'end'}: their numbers for `greedy`; None for those not used."""
    index = vocabulary.index
    rest = {"unk": index.get(UNK), "start": index.get(START), "end": index.get(END)}
    return {"pad": index[PAD]} | rest


def greedy(logits, *, pad: int, unk: int | None, start: int | None, end: int | None):
    """The likeliest token at each place, among those that can stand there, as i32[B, T].

    Not <start> after the first place, not <PAD> before <end>, and never <unk>, which is no word
    and counts as wrong everywhere; everything after the first <end> is <PAD>. Where <end> is not
    used, the first <PAD> ends the sentence.

    Args:
        logits: f32[B, T, V].
        pad, unk, start, end: from `markers`; Python numbers, so close over them under jit.
    """
    never = jnp.zeros(logits.shape[1:], bool)
    if end is not None:
        never = never.at[:, pad].set(True)
    if unk is not None:
        never = never.at[:, unk].set(True)
    if start is not None:
        never = never.at[1:, start].set(True)
    tokens = jnp.where(never[None], -jnp.inf, logits).argmax(-1).astype(jnp.int32)
    last = (tokens == (pad if end is None else end)).astype(jnp.int32)
    return jnp.where(last.cumsum(1) > last, pad, tokens)


class Hypotheses(NamedTuple):
    """What `search` found, the best of each sentence first."""

    tokens: jax.Array  # i32[B, K, T], without <start>; <PAD> after <end>
    scores: jax.Array  # f32[B, K], log-probability / length^alpha, <end> included in both
    lengths: jax.Array  # i32[B, K]


class _Beam(NamedTuple):
    """The loop's variables."""

    t: jax.Array  # i32[], tokens so far
    tokens: jax.Array  # i32[B, K, T]
    log_probability: jax.Array  # f32[B, K]; FAR where there is no hypothesis yet
    lengths: jax.Array  # i32[B, K]
    done: jax.Array  # bool[B, K], has an <end>
    state: Any  # of the model, arrays [B, K, ...]


def search(
    step: Callable,
    state,
    *,
    batch: int,
    beam: int,
    max_tokens: int,
    alpha: float,
    vocabulary: dict[str, Any],
    no_repeat: int = 0,
    bonus: Callable | None = None,
) -> Hypotheses:
    """Beam search of a fixed shape; with `beam` 1 it is greedy.

    Hypotheses are ranked by log-probability / length^alpha, plus the bonus. One that is done keeps
    its place in the beam for as long as no other ranks higher; the search ends when all of the beam
    are done. After `max_tokens` - 1 tokens only <end> can follow. Of equals the one found first,
    then the lower token number, ranks higher.

    Args:
        step: (state, tokens i32[B, K]) -> (state, logits f32[B, K, V] of the token after them),
            where the first axes of every array of `state` are B and K.
        state: before the first step, likewise, each sentence `beam` times.
        batch: B, sentences.
        beam: K, hypotheses of each; at most V.
        max_tokens: T, with <end>.
        alpha: 0 favours short sentences, 1 is the mean log-probability of a token.
        vocabulary: from `markers`. <PAD>, <unk> and <start> never come out.
        no_repeat: no sequence of so many tokens comes twice in a sentence; 0: any may.
        bonus: state -> f32[B, K], of all hypotheses that end or go on from it. It may not change
            with the steps after <end>, at which `tokens` are <end> once and then <PAD>.
    """
    pad, unk, start, end = (vocabulary[name] for name in ("pad", "unk", "start", "end"))
    never = jnp.array([number for number in (pad, unk, start) if number is not None])

    def body(b: _Beam) -> _Beam:
        before = jnp.where(b.t > 0, jnp.take(b.tokens, b.t - 1, axis=2), start)
        state, logits = step(b.state, before)
        normaliser = jax.nn.logsumexp(logits, -1, keepdims=True)
        number = jnp.arange(logits.shape[-1])
        cannot = jnp.isin(number, never) | ((number != end) & (b.t == max_tokens - 1))
        logits = jnp.where(cannot[None, None], FAR, logits)
        if no_repeat:
            logits = _without_repeats(logits, b.tokens, b.t, no_repeat)
        # no hypothesis has more children in the beam than there are places
        children = min(beam, logits.shape[-1])  # C
        logits, token = top_k(logits, children)  # [B, K, C]
        # what is done goes on with <PAD> alone, for nothing
        done = b.done[:, :, None]
        first_only = jnp.where(jnp.arange(children) == 0, 0.0, FAR)[None, None]
        log_p = jnp.where(done, first_only, logits - normaliser)
        token = jnp.where(done, pad, token)
        log_p = jnp.maximum(b.log_probability[:, :, None] + log_p, FAR)
        lengths = jnp.where(b.done, b.lengths, b.t + 1)
        rank = log_p / lengths[:, :, None].astype(log_p.dtype) ** alpha
        if bonus:
            rank = rank + bonus(state)[:, :, None]
        _, best = jax.lax.top_k(rank.reshape(batch, -1), beam)
        parent = best // children

        def of_child(a):  # [B, K, C] -> [B, K]
            return jnp.take_along_axis(a.reshape(batch, -1), best, axis=1)

        def of_parent(a):  # [B, K, ...]
            index = parent.reshape(batch, beam, *[1] * (a.ndim - 2))
            return jnp.take_along_axis(a, index, axis=1)

        token = of_child(token)
        tokens = jax.lax.dynamic_update_index_in_dim(of_parent(b.tokens), token, b.t, axis=2)
        return _Beam(
            b.t + 1,
            tokens,
            of_child(log_p),
            of_parent(lengths),
            of_parent(b.done) | (token == end),
            jax.tree.map(of_parent, state),  # the carries go where their hypotheses go
        )

    # one hypothesis per sentence to begin with, or all K would be the same
    first = jnp.where(jnp.arange(beam) == 0, 0.0, FAR)[None]
    b = _Beam(
        t=jnp.array(0, jnp.int32),
        tokens=jnp.full((batch, beam, max_tokens), pad, jnp.int32),
        log_probability=jnp.broadcast_to(first, (batch, beam)),
        lengths=jnp.zeros((batch, beam), jnp.int32),
        done=jnp.zeros((batch, beam), bool),
        state=state,
    )
    b = jax.lax.while_loop(lambda b: (b.t < max_tokens) & ~b.done.all(), body, b)
    scores = b.log_probability / b.lengths.astype(jnp.float32) ** alpha
    return Hypotheses(b.tokens, scores, b.lengths)


def top_k(a, k, block=40):
    """`jax.lax.top_k` of f32[..., V]. That runs on one core of a CPU, so it gets the blocks alone
    that have the k largest maxima."""
    blocks = -(-a.shape[-1] // block)
    if blocks <= k:
        return jax.lax.top_k(a, k)
    widths = [(0, 0)] * (a.ndim - 1) + [(0, blocks * block - a.shape[-1])]
    parts = jnp.pad(a, widths, constant_values=-jnp.inf).reshape(*a.shape[:-1], blocks, block)
    # in their order, so that of equals the first still comes first
    where = jnp.sort(jax.lax.top_k(parts.max(-1), k)[1], axis=-1)
    inside = jnp.take_along_axis(parts, where[..., None], axis=-2)
    values, index = jax.lax.top_k(inside.reshape(*a.shape[:-1], -1), k)
    return values, block * jnp.take_along_axis(where, index // block, axis=-1) + index % block


def _without_repeats(logits, tokens, t, n):
    """f32[B, K, V]: FAR for each token that would end a sequence of n that `tokens` i32[B, K, T]
    has already, of which t are there."""
    length = tokens.shape[2]
    starts = jnp.arange(max(length - n + 1, 0))
    last = jnp.take(tokens, t - n + 1 + jnp.arange(n - 1), axis=2, mode="clip")
    windows = tokens[:, :, starts[:, None] + jnp.arange(n)[None]]  # [B, K, W, n]
    same = (windows[..., :-1] == last[:, :, None]).all(-1) & (starts + n <= t)[None, None]
    rows, columns = jnp.indices(tokens.shape[:2])[..., None]
    return logits.at[rows, columns, windows[..., -1]].min(jnp.where(same, FAR, jnp.inf))
