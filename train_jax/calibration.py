"""How far a probability can be believed: temperature, and accuracy against coverage.

N = examples, K = classes.
"""

import math

import numpy as np

BOUNDS = 2.0**-6, 2.0**6  # of the temperature
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def fit_temperature(logits, labels) -> float:
    """The T in BOUNDS for which softmax(logits / T) has the least negative log-likelihood.

    Guo et al. 2017, section 4.2. The likelihood is convex in 1/T, so its slope there, the mean of
    E[logit] - logit of the true class, has one sign change: bisection on log T finds it.

    Args:
      logits: f32[N, K], N >= 1, of examples that were not trained on.
      labels: i32[N].
    """
    logits = np.asarray(logits, np.float64)
    mean_true = logits[np.arange(len(logits)), labels].mean()
    low, high = BOUNDS
    for _ in range(60):
        middle = math.sqrt(low * high)
        slope = (softmax(logits, middle) * logits).sum(1).mean() - mean_true
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.sqrt(low * high)


def softmax(logits, temperature: float = 1.0) -> np.ndarray:
    """f64[N, K]: probabilities of logits f[N, K] / temperature."""
    logits = np.asarray(logits, np.float64) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def coverage(probabilities, labels) -> list[dict]:
    """Accuracy against coverage: what is left, and how good it is, if only answers of at least a
    probability count.

    Args:
      probabilities: f[N, K].
      labels: i32[N].

    Returns:
      For each threshold {"threshold", "kept": share of N, "accuracy": of those, None if none}.
    """
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    rows = []
    for threshold in THRESHOLDS:
        keep = confidence >= threshold
        accuracy = float(hits[keep].mean()) if keep.any() else None
        rows.append({"threshold": threshold, "kept": float(keep.mean()), "accuracy": accuracy})
    return rows
