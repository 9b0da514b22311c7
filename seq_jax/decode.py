"""From logits to the numbers of a sentence.

Letters: B sentences, T tokens with <start> and <end> where they are used, V words.
"""

import jax.numpy as jnp

from seq_jax.text import END, PAD, START, UNK, Vocabulary


def markers(vocabulary: Vocabulary) -> dict[str, int | None]:
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
