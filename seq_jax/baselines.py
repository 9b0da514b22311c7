"""Translations that need no network: what a model has to beat. All are fit on train alone."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from seq_jax.filter import Pairs
from seq_jax.text import END, PAD, Vocabulary, encode

Translate = Callable[[str], str]


def fit(train: Pairs) -> dict[str, Translate]:
    """{name: source sentence -> target sentence}, tokens with one space between them."""
    return {
        "pad_only": lambda sentence: "",
        "most_frequent_per_position": _most_frequent_per_position(train),
        "dictionary": _dictionary(train),
        "nearest_neighbour": _nearest_neighbour(train),
    }


def _most_frequent_per_position(train: Pairs) -> Translate:
    """The same for every sentence: at each place the word that stands there most often, up to the
    place where most sentences that came so far end."""
    places: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for sentence in train.target:
        for place, word in enumerate([*sentence.split(), END]):
            places[place][word] += 1
    words = []
    for place in range(len(places)):
        word = min(places[place], key=lambda word: (-places[place][word], word))
        if word == END:
            break
        words.append(word)
    translation = " ".join(words)
    return lambda sentence: translation


def _dictionary(train: Pairs) -> Translate:
    """Word by word in the source's order, each word its partner of the highest Dice
    coefficient, 2 n(s, t) / (n(s) + n(t)) over sentences (Dice 1945; for bilingual lexicons
    Smadja, McKeown and Hatzivassiloglou 1996). Of equal ones the pair seen more often, then the
    first in code points. Words that train lacks are left out."""
    sources: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    together: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for source, target in zip(*train, strict=True):
        words = set(target.split())
        targets.update(words)
        for word in set(source.split()):
            sources[word] += 1
            together[word].update(words)
    partner = {
        s: min(seen, key=lambda t: (-2 * seen[t] / (sources[s] + targets[t]), -seen[t], t))
        for s, seen in together.items()
    }
    return lambda sentence: " ".join(partner[s] for s in sentence.split() if s in partner)


def _nearest_neighbour(train: Pairs) -> Translate:
    """The translation of the train sentence whose set of words has the highest Jaccard similarity,
    of equal ones the first; also where there is no word in common with any."""
    similarity = _similarity(train)
    return lambda sentence: train.target[int(np.argmax(similarity(sentence)))]


def likeness(train: Pairs, sentences: Sequence[str]) -> np.ndarray:
    """f64[N] in [0, 1]: the Jaccard similarity of each sentence to the nearest of train."""
    similarity = _similarity(train)
    return np.array([similarity(sentence).max() for sentence in sentences])


def _similarity(train: Pairs) -> Callable[[str], np.ndarray]:
    """sentence -> its Jaccard similarity to each source sentence of train, as sets of words."""
    lines: defaultdict[str, list[int]] = defaultdict(list)  # word -> the sentences that have it
    sizes = np.zeros(len(train.source), np.int64)
    for number, sentence in enumerate(train.source):
        words = set(sentence.split())
        sizes[number] = len(words)
        for word in words:
            lines[word].append(number)
    index = {word: np.array(numbers) for word, numbers in lines.items()}

    def similarity(sentence: str) -> np.ndarray:
        words = set(sentence.split())
        common = np.zeros(len(sizes), np.int64)
        for word in words & index.keys():
            common[index[word]] += 1
        return common / (sizes + len(words) - common)

    return similarity


def translate(train: Pairs, part: Pairs) -> dict[str, list[str]]:
    """{name: the translations of the part's sentences} of every baseline, fit on `train`."""
    return {name: [f(sentence) for sentence in part.source] for name, f in fit(train).items()}


def numbers(hypotheses: list[str], vocabulary: Vocabulary, tokens: int) -> np.ndarray:
    """i32[N, T] of N translations, for scores.token_scores; longer ones are cut at T."""
    predicted = np.full((len(hypotheses), tokens), vocabulary.index[PAD], np.int32)
    for row, hypothesis in zip(predicted, hypotheses, strict=True):
        # Nothing but <PAD> stands for the empty translation, not even <start> and <end>.
        said = encode(vocabulary, hypothesis)[:tokens] if hypothesis else []
        row[: len(said)] = said
    return predicted
