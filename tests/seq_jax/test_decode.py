"""Greedy decoding against a loop over single tokens."""

import jax
import numpy as np
import pytest

from seq_jax.decode import greedy, markers
from seq_jax.text import build_vocabulary, decode

SENTENCES = ["ನಾನು ಮನೆ ಗೆ", "ನಾನು ಮನೆ"]


def one_by_one(logits, pad, unk, start, end):
    """i32[T] of f32[T, V]: the tokens in the order of their logits, until one is allowed."""
    tokens, ended = [], False
    for place, row in enumerate(logits):
        if ended:
            tokens.append(pad)
            continue
        for token in sorted(range(len(row)), key=lambda v: -row[v]):
            if token == unk or token == start and place > 0 or token == pad and end is not None:
                continue
            break
        tokens.append(token)
        ended = token == (pad if end is None else end)
    return tokens


@pytest.mark.parametrize("settings", [{}, {"unk": False}, {"markers": False}])
def test_equals_a_loop_over_single_tokens(settings):
    vocabulary = build_vocabulary(SENTENCES, **settings)
    ids = markers(vocabulary)
    logits = np.random.default_rng(0).normal(size=(200, 7, len(vocabulary.words)))
    logits = logits.astype(np.float32)
    expected = [one_by_one(row, **ids) for row in logits]
    for decoder in (greedy, jax.jit(greedy, static_argnames=("pad", "unk", "start", "end"))):
        tokens = np.asarray(decoder(logits, **ids))
        assert tokens.dtype == np.int32
        np.testing.assert_array_equal(tokens, expected)
    lengths = (tokens != 0).sum(1)
    assert lengths.min() < 3 and lengths.max() == 7  # some end early, some never


def test_markers_of_a_vocabulary():
    assert markers(build_vocabulary(SENTENCES)) == {"pad": 0, "unk": 1, "start": 2, "end": 3}
    assert markers(build_vocabulary(SENTENCES, unk=False)) == {
        "pad": 0,
        "unk": None,
        "start": 1,
        "end": 2,
    }
    bare = build_vocabulary(SENTENCES, markers=False)
    assert markers(bare) == {"pad": 0, "unk": 1, "start": None, "end": None}


def test_a_model_that_is_sure_of_pad_still_gives_a_sentence():
    """What the PAD trap leaves behind: <PAD> is the likeliest everywhere."""
    vocabulary = build_vocabulary(SENTENCES)
    logits = np.zeros((1, 5, len(vocabulary.words)), np.float32)
    logits[0, :, 0] = 9.0
    logits[0, range(5), [2, 4, 5, 3, 4]] = 1.0
    tokens = greedy(logits, **markers(vocabulary))
    assert tokens.tolist() == [[2, 4, 5, 3, 0]]
    assert decode(vocabulary, tokens[0].tolist()) == "ನಾನು ಮನೆ"
