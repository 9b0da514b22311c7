"""What a translator looks at: the attention of each word of a translation, as a picture."""

import jax
import jax.numpy as jnp
import numpy as np

from seq_jax.fonts import use_fonts
from seq_jax.subwords import SPACE
from seq_jax.text import END, START, encode
from train_jax.report.figure import new_figure, save_figure


def attention_of_words(model, variables, vocabularies, source: str, target: str):
    """(weights f32[T, S], source words, target words), <end> included on both sides.

    Of pieces of words, a target word has the mean weights of its pieces, a source word the sum of
    those of its pieces; each row sums to 1, but for what lies on <start>.
    """
    rows = [encode(v, s) for v, s in zip(vocabularies, (source, target), strict=True)]
    weights = _attention(model, variables, *(np.array([row], np.int32) for row in rows))
    words, groups = zip(
        *(_words(v, row) for v, row in zip(vocabularies, rows, strict=True)), strict=True
    )
    by_source = np.stack([weights[:, group].sum(1) for group in groups[0]], axis=1)
    # the weights at step t belong to the token after it
    by_target = [by_source[[t - 1 for t in group]].mean(0) for group in groups[1]]
    return np.stack(by_target), *words


def _attention(model, variables, source, target):
    """f32[T - 1, S] of one pair i32[1, S], i32[1, T]."""
    memory, state = model.apply(variables, source, train=False, method="encode")

    def body(state, token):
        state, _, weights = model.apply(variables, memory, state, token, method="step")
        return state, weights[0]

    return np.asarray(
        jax.jit(lambda tokens: jax.lax.scan(body, state, tokens)[1])(jnp.asarray(target[:, :-1].T))
    )


def _words(vocabulary, numbers):
    """(words, the places of the pieces of each) without <start>."""
    words, places = [], []
    pieces = [vocabulary.words[number] for number in numbers]
    subwords = any(piece.startswith(SPACE) for piece in pieces)
    for place, piece in enumerate(pieces):
        if piece == START:
            continue
        if words and subwords and piece != END and not piece.startswith(SPACE):
            words[-1] += piece
            places[-1].append(place)
        else:
            words.append(piece.replace(SPACE, ""))
            places.append([place])
    return words, places


def draw(weights, source, target, path, languages):
    """A PNG: a row a target word, a column a source word, darker where the weight is larger."""
    use_fonts(languages)
    figure = new_figure(1.5 + 0.8 * len(source), 1.2 + 0.5 * len(target))
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=45, ha="left")
    axes.set_yticks(range(len(target)), target)
    axes.xaxis.tick_top()
    for (row, column), weight in np.ndenumerate(weights):
        if weight >= 0.05:
            colour = "white" if weight > 0.6 else "black"
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color=colour)
    save_figure(figure, path)
