"""Masked sums and counts, divided once; classification scores and their intervals.

B = rows of a batch, N = examples of a split, K = classes.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RESAMPLES = 1000
SEED = 0  # one for all, so that two models on the same examples meet the same resamples


class TotalAndCount(NamedTuple):
    """A mean before the division, so that batches of unequal size add up correctly."""

    total: jax.Array  # f32[], sum over unmasked items
    count: jax.Array  # type: ignore[assignment]  # f32[], number of unmasked items


def masked_total(values, mask) -> TotalAndCount:
    """The sum and count of `values` f32[...] where `mask` f32[...] of the same shape is 1."""
    return TotalAndCount((values * mask).sum(), mask.sum())


def add(a: dict, b: dict) -> dict:
    """Adds two dicts of TotalAndCount."""
    return jax.tree.map(jnp.add, a, b)


def total(batches: list[dict]) -> dict:
    """The sum of dicts of TotalAndCount, in order, as numpy: one transfer from the device, where
    `add` would start four programs per batch."""
    return functools.reduce(functools.partial(jax.tree.map, np.add), jax.device_get(batches))


def safe_divide(mean: TotalAndCount) -> jax.Array:
    """total / count as f32[]; 0 with zero gradient where nothing was counted."""
    return mean.total / jnp.where(mean.count > 0, mean.count, 1)


def compute(metrics: dict) -> dict[str, float]:
    """Divides every TotalAndCount: the one transfer from the device. 'loss' comes first."""
    means = jax.device_get(metrics)
    names = sorted(means, key=lambda name: (name != "loss", name))
    return {name: float(means[name].total / (means[name].count or 1)) for name in names}


def confusion_matrix(labels, predictions, num_classes) -> np.ndarray:
    """i64[K, K], rows the true class, columns the predicted one. `labels`, `predictions` i32[N]."""
    return np.bincount(
        np.asarray(labels, np.int64) * num_classes + predictions, minlength=num_classes**2
    ).reshape(num_classes, num_classes)


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), which stays inside [0, 1] at small n."""
    if n == 0:
        return math.nan, math.nan
    z = 1.959964  # the 0.975 quantile of the normal distribution
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def bootstrap_interval(counts, score: Callable[[np.ndarray], float]) -> list[float]:
    """The 95 % percentile interval of a score over examples (Efron 1979; Koehn 2004 for BLEU).

    Whole examples are drawn: the tokens of a sentence are not independent of each other.

    Args:
      counts: [N, K], what each example adds to the score.
      score: of their sums, [K].
    """
    rng = np.random.default_rng(SEED)
    n = len(counts)
    scores = [
        score(np.bincount(rng.integers(n, size=n), minlength=n) @ counts) for _ in range(RESAMPLES)
    ]
    return np.percentile(scores, [2.5, 97.5]).tolist()


def reliability(probabilities, labels, bins: int = 15) -> list[dict]:
    """Answers by confidence, in equal-width bins: Guo et al. 2017, 15 bins as there.

    Args:
      probabilities: f[N, K].
      labels: i32[N].
      bins: the i-th of them holds confidences in ((i - 1) / bins, i / bins].

    Returns:
      For each bin {"n", "confidence", "accuracy"}; the two means are None for an empty bin.
    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = [np.bincount(which, weights=w, minlength=bins) for w in (confidence, correct)]
    return [
        {"n": int(n), "confidence": c / n, "accuracy": a / n}
        if n
        else {"n": 0, "confidence": None, "accuracy": None}
        for n, c, a in zip(counts, *(s.tolist() for s in sums), strict=True)
    ]


def expected_calibration_error(probabilities, labels, bins: int = 15) -> float:
    """|accuracy - confidence| of the bins of `reliability`, weighted by their share of N."""
    rows = [row for row in reliability(probabilities, labels, bins) if row["n"]]
    return sum(r["n"] * abs(r["accuracy"] - r["confidence"]) for r in rows) / len(labels)


def classification_scores(logits, labels, classes) -> dict:
    """Every score of one split.

    Args:
      logits: f32[N, K] on the host, N >= 1.
      labels: i32[N].
      classes: the K names, in the order of the ids.

    Returns:
      {"n", "accuracy", "ci95", "macro_recall", "macro_f1", "top2", "nll", "ece",
       "recall": {class: r}, "confusion": [[...]], rows true}. "ci95" belongs to the accuracy.
      A class without an example has recall None and does not enter the macro means.
    """
    logits = np.asarray(logits, np.float64)
    labels = np.asarray(labels)
    n, k = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    predictions = logits.argmax(1)
    confusion = confusion_matrix(labels, predictions, k)
    hits = np.diag(confusion)
    present = confusion.sum(1) > 0
    recall = hits / np.maximum(confusion.sum(1), 1)
    f1 = 2 * hits / np.maximum(confusion.sum(1) + confusion.sum(0), 1)
    top2 = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    correct = int(hits.sum())
    return {
        "n": n,
        "accuracy": correct / n,
        "ci95": list(wilson_interval(correct, n)),
        "macro_recall": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "top2": float((top2 == labels[:, None]).any(1).mean()),
        "nll": float(-log_probabilities[np.arange(n), labels].mean()),
        "ece": expected_calibration_error(probabilities, labels),
        "recall": {c: float(recall[i]) if present[i] else None for i, c in enumerate(classes)},
        "confusion": confusion.tolist(),
    }
