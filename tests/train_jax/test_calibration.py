"""Temperature and coverage against scipy and against counting by hand."""

import numpy as np
import pytest
from scipy import optimize, special

from train_jax import calibration


def random_logits(seed, *, n=400, scale=3.0, noise=2.0):
    """Logits that know something of their labels, too sure of it by about `scale`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, n)
    logits = np.eye(5)[labels] * 2 + noise * rng.standard_normal((n, 5))
    return (scale * logits).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.05, 1.0, 7.0])
def test_the_temperature_is_that_of_scipy(seed, scale):
    logits, labels = random_logits(seed, scale=scale)

    def nll(log_t):
        log_p = special.log_softmax(logits.astype(np.float64) / np.exp(log_t), axis=1)
        return -log_p[np.arange(len(labels)), labels].mean()

    best = optimize.minimize_scalar(nll, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
    assert calibration.fit_temperature(logits, labels) == pytest.approx(np.exp(best.x), rel=1e-5)


def test_scaled_logits_scale_the_temperature():
    logits, labels = random_logits(0)
    one = calibration.fit_temperature(logits, labels)
    assert calibration.fit_temperature(4 * logits, labels) == pytest.approx(4 * one, rel=1e-5)
    assert calibration.fit_temperature(logits + 100, labels) == pytest.approx(one, rel=1e-4)


def test_the_temperature_stays_within_its_bounds():
    right, wrong = np.eye(3) * 9, np.eye(3)[[1, 2, 0]] * 9
    labels = np.arange(3)
    assert calibration.fit_temperature(right, labels) == pytest.approx(2**-6)
    assert calibration.fit_temperature(wrong, labels) == pytest.approx(2**6)


def test_softmax_is_that_of_scipy_and_does_not_overflow():
    logits, _ = random_logits(1, scale=500)
    expected = special.softmax(logits.astype(np.float64) / 1.7, axis=1)
    np.testing.assert_allclose(calibration.softmax(logits, 1.7), expected, atol=1e-12)


def test_coverage_by_hand():
    p = np.array([[0.50, 0.30, 0.20], [0.10, 0.85, 0.05], [0.34, 0.33, 0.33], [0.92, 0.04, 0.04]])
    rows = {r["threshold"]: r for r in calibration.coverage(p, np.array([0, 0, 1, 0]))}
    assert rows[0.0] == {"threshold": 0.0, "kept": 1.0, "accuracy": 0.5}
    assert rows[0.5] == {"threshold": 0.5, "kept": 0.75, "accuracy": pytest.approx(2 / 3)}
    assert rows[0.6]["kept"] == 0.5 and rows[0.6]["accuracy"] == 0.5
    assert rows[0.9] == {"threshold": 0.9, "kept": 0.25, "accuracy": 1.0}
    assert rows[0.95] == {"threshold": 0.95, "kept": 0.0, "accuracy": None}
