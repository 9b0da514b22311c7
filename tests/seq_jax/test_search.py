"""decode.search against brute force and a plain greedy loop, on small random networks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import seq_attention
from seq_jax import decode
from seq_jax.models import make_model
from seq_jax.text import SPECIALS, Vocabulary
from seq_jax.translator import Hypothesis, Search, by_agreement, by_repeats, make_search, ranked

PAD, START, END = 0, 2, 3
IDS = {"pad": PAD, "unk": 1, "start": START, "end": END}


def network(vocabulary, units=6, seed=0):
    """(step, states f32[B, H] -> log-probabilities of a prefix): a random recurrent network."""
    rng = np.random.default_rng(seed)
    u, e, w = (
        rng.normal(0, 1.2, s) for s in ((units, units), (vocabulary, units), (units, vocabulary))
    )

    def step(state, tokens):
        h = jnp.tanh(state["h"] @ jnp.asarray(u, "f4") + jnp.asarray(e, "f4")[tokens])
        return {"h": h, "count": state["count"] + 1}, h @ jnp.asarray(w, "f4")

    def log_probabilities(h, prefix):
        """f64[V] of the token after START and `prefix`, from the state f64[H]."""
        for token in (START, *prefix):
            h = np.tanh(h @ u + e[token])
        logits = h @ w
        return logits - np.log(np.exp(logits).sum())

    return step, log_probabilities


def states(batch, units=6, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (batch, units)).astype(np.float32)


def search(step, h, beam, *, max_tokens, alpha=0.0, no_repeat=0):
    batch = len(h)
    h = jnp.asarray(h)[:, None].repeat(beam, 1)
    state = {"h": h, "count": jnp.zeros((batch, beam), jnp.int32)}
    run = jax.jit(lambda state: decode.search(
        step, state, batch=batch, beam=beam, max_tokens=max_tokens, alpha=alpha, vocabulary=IDS,
        no_repeat=no_repeat,
    ))  # fmt: skip
    return jax.tree.map(np.asarray, run(state))


def sentence(tokens):
    return tuple(tokens[: list(tokens).index(END)].tolist())


def brute_force(log_probabilities, h, words, max_tokens, alpha):
    """[(score, words)] of every sentence of at most max_tokens - 1 words, the best first."""
    found = []
    for length in range(max_tokens):
        for prefix in itertools.product(words, repeat=length):
            total = sum(
                log_probabilities(h, prefix[:i])[token] for i, token in enumerate((*prefix, END))
            )
            found.append((total / (length + 1) ** alpha, prefix))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
def test_a_wide_beam_is_brute_force_over_a_vocabulary_of_4_words(alpha):
    words = (4, 5, 6, 7)
    step, log_probabilities = network(8)
    h = states(3)
    found = search(step, h, 4**3 + 4**2 + 4 + 1, max_tokens=4, alpha=alpha)
    for i in range(3):
        expected = brute_force(log_probabilities, h[i].astype(np.float64), words, 4, alpha)
        assert [sentence(t) for t in found.tokens[i, :5]] == [p for _, p in expected[:5]]
        np.testing.assert_allclose(found.scores[i, :5], [s for s, _ in expected[:5]], rtol=1e-4)
        lengths = [len(p) + 1 for _, p in expected[:5]]
        assert found.lengths[i, :5].tolist() == lengths


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_a_beam_of_1_is_greedy(alpha):
    step, log_probabilities = network(9, seed=3)
    h = states(8, seed=4)
    found = search(step, h, 1, max_tokens=7, alpha=alpha)
    for i in range(8):
        prefix = []
        while len(prefix) < 6:
            log_p = log_probabilities(h[i].astype(np.float64), prefix)
            log_p[[PAD, 1, START]] = -np.inf
            if log_p.argmax() == END:
                break
            prefix.append(int(log_p.argmax()))
        assert sentence(found.tokens[i, 0]) == tuple(prefix)


def test_the_beam_finds_what_greedy_does_not_and_the_carries_go_with_their_hypotheses():
    """The score is that of the sentence under the network: it is not if carries are mixed up."""
    step, log_probabilities = network(12, seed=5)
    h = states(16, seed=6)
    greedy, beam = (search(step, h, k, max_tokens=8) for k in (1, 4))
    assert (beam.scores[:, 0] >= greedy.scores[:, 0] - 1e-5).mean() > 0.8
    assert (beam.scores[:, 0] > greedy.scores[:, 0] + 1e-3).any()
    for i, k in itertools.product(range(16), range(4)):
        words = sentence(beam.tokens[i, k])
        total = sum(
            log_probabilities(h[i].astype(np.float64), words[:t])[token]
            for t, token in enumerate((*words, END))
        )
        assert beam.scores[i, k] == pytest.approx(total, rel=1e-4)
    assert (np.diff(beam.scores, axis=1) <= 0).all()


def test_sentences_do_not_depend_on_their_neighbours():
    step, _ = network(10, seed=7)
    h = states(6, seed=8)
    together = search(step, h, 3, max_tokens=9, alpha=1.0)
    order = np.array([4, 2, 5, 0, 1, 3])
    turned = search(step, h[order], 3, max_tokens=9, alpha=1.0)
    np.testing.assert_array_equal(turned.tokens, together.tokens[order])
    for i in range(6):
        alone = search(step, h[i : i + 1], 3, max_tokens=9, alpha=1.0)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])


@pytest.mark.parametrize(("size", "k"), [(2003, 5), (200, 4), (41, 1), (40, 7), (90, 3)])
def test_the_k_largest_are_those_of_lax_also_of_equals(size, k):
    a = np.random.default_rng(size).geometric(0.3, (20, 2, size)).astype(np.float32)
    a[0] = decode.FAR
    for found, expected in zip(decode.top_k(a, k), jax.lax.top_k(a, k), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_hypothesis_ends_and_holds_no_marker():
    step, _ = network(6, seed=9)  # two words: the beam is wider than what there is at first
    found = search(step, states(5), 4, max_tokens=5, alpha=1.0)
    for row in found.tokens.reshape(-1, 5):
        words = sentence(row)
        assert not {PAD, 1, START} & set(words)
        assert set(row[len(words) + 1 :]) <= {PAD}


def test_no_sequence_of_n_tokens_comes_twice():
    step, _ = network(7, seed=11)
    h = states(20, seed=12)
    free = search(step, h, 2, max_tokens=14, alpha=3.0)
    for n in (1, 2, 3):

        def most(found, n=n):
            rows = [sentence(row) for row in found.tokens.reshape(-1, 14)]
            counts = [[row[i : i + n] for i in range(len(row) - n + 1)] for row in rows]
            return max((c.count(g) for c in counts for g in c), default=0)

        assert most(free) > 1
        assert most(search(step, h, 2, max_tokens=14, alpha=3.0, no_repeat=n)) == 1


def test_the_hypothesis_most_like_the_others_comes_first():
    said = ["one two three", "six seven eight", "one two four", "one two three four"]
    found = by_agreement([Hypothesis(text, -float(i)) for i, text in enumerate(said)])
    assert found[0].text in ("one two three", "one two three four") and len(found) == 4
    assert found[-1].text == "six seven eight"
    assert sorted(h.text for h in found) == sorted(said)
    assert by_agreement([]) == []


def test_a_word_said_again_costs_its_penalty_each_time():
    said = [("a b b b", -1.0), ("a b a", -1.25), ("a b c", -1.75)]
    said = [Hypothesis(*each) for each in said]
    assert by_repeats(said[::-1], 0.1) == said  # 1.2, 1.35, 1.75
    assert by_repeats(said, 0.3) == [said[i] for i in (1, 0, 2)]  # 1.6, 1.55, 1.75
    assert by_repeats(said, 0.6) == [said[i] for i in (2, 1, 0)]  # 2.2, 1.85, 1.75
    assert by_repeats([], 0.3) == []


def test_the_penalty_does_not_undo_the_agreement():
    texts = ["six six", "one two three", "one two four", "one two three four"]
    said = [Hypothesis(text, -float(i)) for i, text in enumerate(texts)]
    search = Search(beam=4, alpha=1.0, no_repeat=0, repeat_penalty=1.5)
    assert ranked(said, search) == by_repeats(said, 1.5) != said
    assert ranked(said, search._replace(repeat_penalty=0.0)) == said
    assert ranked(said, search._replace(mbr=True)) == by_agreement(said) != by_repeats(said, 1.5)


@pytest.mark.parametrize(("coverage", "overlap"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.8), (0.3, 0.5)])
def test_coverage_ranks_as_brute_force_does_whatever_the_padding(coverage, overlap):
    """Each sentence's own attention, summed over its steps but not over those after its <end>."""
    words = [*SPECIALS, "a", "b", "c"]
    vocabulary = Vocabulary(words, {word: i for i, word in enumerate(words)})
    settings = seq_attention.get_config().model.to_dict() | {
        "embedding": 5, "units": 6, "encoder_units": 4,
    }  # fmt: skip
    model = make_model(**settings, source_vocabulary=9, target_vocabulary=len(words))
    source = np.array([[2, 5, 8, 6, 3], [2, 7, 3, 0, 0]], np.int32)
    params = model.init(jax.random.key(0), source, source, train=False)
    params = jax.tree.map(lambda a: 3 * a, params)  # attention that is far from uniform
    search = Search(beam=40, alpha=0.7, no_repeat=0, coverage=coverage, overlap=overlap)
    run = make_search(model, vocabulary, max_tokens=4, search=search)
    wider = np.pad(source, ((0, 0), (0, 3)))
    found, padded = run(params, source), run(params, wider)
    np.testing.assert_array_equal(found.tokens[:, :10], padded.tokens[:, :10])

    step = jax.jit(functools.partial(model.apply, params, method="step"))
    for row, tokens in zip(source, np.asarray(found.tokens), strict=True):
        real = row[row != PAD][None]
        memory, start = model.apply(params, real, train=False, method="encode")
        ranked = []
        for length in range(4):
            for prefix in itertools.product(range(len(SPECIALS), len(words)), repeat=length):
                state, log_p, total = start, 0.0, np.zeros(real.shape[1])
                for before, token in zip((START, *prefix), (*prefix, END), strict=True):
                    state, logits, weights = step(memory, state, jnp.array([before]))
                    log_p += float(jax.nn.log_softmax(logits)[0, token])
                    total += np.asarray(weights[0])
                missed = np.log(np.clip(total, 0.01, 1)).sum()
                again = np.maximum(total - 1, 0).sum()
                rank = log_p / (length + 1) ** 0.7 + coverage * missed - overlap * again
                ranked.append((rank, prefix))
        ranked.sort(reverse=True)
        assert [sentence(t) for t in tokens[:8]] == [prefix for _, prefix in ranked[:8]]
