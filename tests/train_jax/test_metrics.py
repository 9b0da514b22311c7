"""metrics.py against naive loops and scipy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from train_jax import metrics

CLASSES = ("anger", "disgust", "fear", "joy")


def random_scores(seed, n, k):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * rng.uniform(0.2, 4, size=(n, 1))
    labels = np.where(rng.random(n) < 0.6, logits.argmax(1), rng.integers(0, k, n))
    return logits, labels.astype(np.int32)


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def naive_scores(logits, labels, classes):
    """Every score, one example at a time. Ties go to the class with the lower id."""
    n, k = len(labels), len(classes)
    confusion = [[0] * k for _ in range(k)]
    top2, nll = 0, 0.0
    for row, label in zip(logits, labels, strict=True):
        ranked = sorted(range(k), key=lambda c: (-row[c], c))
        confusion[label][ranked[0]] += 1
        top2 += label in ranked[:2]
        nll -= math.log(softmax(row)[label])
    recall, f1 = {}, []
    for c, name in enumerate(classes):
        true, predicted = sum(confusion[c]), sum(line[c] for line in confusion)
        recall[name] = confusion[c][c] / true if true else None
        if true:
            precision = confusion[c][c] / predicted if predicted else 0.0
            total = precision + recall[name]
            f1.append(2 * precision * recall[name] / total if total else 0.0)
    present = [r for r in recall.values() if r is not None]
    return {
        "n": n,
        "accuracy": sum(confusion[c][c] for c in range(k)) / n,
        "macro_recall": sum(present) / len(present),
        "macro_f1": sum(f1) / len(f1),
        "top2": top2 / n,
        "nll": nll / n,
        "recall": recall,
        "confusion": confusion,
    }


def assert_scores(logits, labels, classes=CLASSES):
    found = metrics.classification_scores(logits, labels, classes)
    for name, expected in naive_scores(logits, labels, classes).items():
        if name == "recall":
            assert [r is None for r in found[name].values()] == [
                r is None for r in expected.values()
            ]
            found_recall = {c: r for c, r in found[name].items() if r is not None}
            assert found_recall == pytest.approx({c: expected[c] for c in found_recall})
        elif name == "confusion":
            assert found[name] == expected
        else:
            # 1e-9: both sides are float64
            assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-12), name
    return found


def test_masked_mean_counts_only_what_the_mask_keeps():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 5)).astype(np.float32)
    mask = (rng.random((3, 5)) < 0.5).astype(np.float32)
    total = count = 0.0
    for i in range(3):
        for j in range(5):
            if mask[i, j]:
                total, count = total + values[i, j], count + 1
    mean = metrics.masked_total(jnp.asarray(values), jnp.asarray(mask))
    assert float(mean.total) == pytest.approx(total, rel=1e-5)  # float32 sums
    assert float(mean.count) == count
    assert float(metrics.safe_divide(mean)) == pytest.approx(total / count, rel=1e-5)


def test_ragged_batches_add_up_to_the_unbatched_mean():
    rng = np.random.default_rng(1)
    n, size = 23, 5
    columns = {name: rng.normal(size=n).astype(np.float32) for name in ("loss", "accuracy")}
    total = None
    for first in range(0, n, size):
        rows = np.arange(first, first + size)
        mask = jnp.asarray((rows < n).astype(np.float32))
        batch = {
            name: metrics.masked_total(jnp.asarray(values[rows % n]), mask)
            for name, values in columns.items()
        }
        total = batch if total is None else metrics.add(total, batch)
    for name, value in metrics.compute(total).items():
        assert value == pytest.approx(float(columns[name].mean()), abs=1e-6)  # float32 sums


def test_compute_puts_the_loss_first_and_sorts_the_rest():
    one = metrics.TotalAndCount(jnp.float32(3), jnp.float32(2))
    found = metrics.compute({"top2": one, "loss": one, "accuracy": one})
    assert list(found) == ["loss", "accuracy", "top2"]
    assert found["loss"] == 1.5 and type(found["loss"]) is float


def test_nothing_counted_is_zero_with_zero_gradient():
    empty = metrics.TotalAndCount(jnp.float32(0), jnp.float32(0))
    assert metrics.compute({"loss": empty}) == {"loss": 0.0}

    def loss(values):
        return metrics.safe_divide(metrics.masked_total(values, jnp.zeros(3)))

    value, gradient = jax.value_and_grad(loss)(jnp.arange(3.0))
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_confusion_rows_are_true_and_columns_predicted():
    labels = np.array([0, 0, 0, 2, 2], np.int32)
    predictions = np.array([1, 1, 0, 1, 2], np.int32)
    found = metrics.confusion_matrix(labels, predictions, 4)
    assert found.tolist() == [[1, 2, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.equivalence("metrics.wilson_interval", "scipy binomtest", "1e-7")
@pytest.mark.parametrize("n", [1, 2, 7, 50, 3589])
def test_wilson_interval_equals_scipy(n):
    for correct in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        found = metrics.wilson_interval(correct, n)
        interval = scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")
        # 1e-7: scipy's quantile has more digits than 1.959964
        assert found == pytest.approx((interval.low, interval.high), abs=1e-7), correct


def test_wilson_interval_stays_inside_0_and_1():
    intervals = [metrics.wilson_interval(k, n) for n in range(1, 200) for k in (0, n)]
    assert min(low for low, _ in intervals) >= 0
    assert max(high for _, high in intervals) <= 1


def test_wilson_interval_of_nothing_is_nan():
    assert all(math.isnan(v) for v in metrics.wilson_interval(0, 0))


@pytest.mark.parametrize("bins", [15, 4])
def test_calibration_error_equals_a_loop_over_bins(bins):
    logits, labels = random_scores(2, 400, 4)
    probabilities = np.array([softmax(row) for row in logits])
    probabilities[:5] = np.eye(4)[[0, 1, 2, 3, 0]]  # confidence 1 belongs to the last bin
    expected = 0.0
    for b in range(bins):
        members = [i for i in range(400) if b / bins < probabilities[i].max() <= (b + 1) / bins]
        if members:
            accuracy = np.mean([probabilities[i].argmax() == labels[i] for i in members])
            confidence = np.mean([probabilities[i].max() for i in members])
            expected += len(members) / 400 * abs(accuracy - confidence)
    found = metrics.expected_calibration_error(probabilities, labels, bins)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found > 0.01


def test_bins_of_confidence_are_open_below_and_closed_above():
    """(0.5, 0.75] and (0.75, 1]; within each the gaps have opposite signs."""
    probabilities = np.array([[0.75, 0.25], [0.6, 0.4], [1.0, 0.0], [0.9, 0.1]])
    found = metrics.expected_calibration_error(probabilities, np.array([1, 0, 1, 0]), 4)
    assert found == pytest.approx((abs(0.4 - 0.75) + abs(0.1 - 1)) / 4)


def test_calibration_error_keeps_over_and_under_confidence_apart():
    """Gaps of opposite sign cancel within a bin, but not between bins."""
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    found = metrics.expected_calibration_error(probabilities, np.array([1, 0]))
    assert found == pytest.approx((0.9 + 0.4) / 2)


def test_scores_equal_naive_loops():
    logits, labels = random_scores(3, 300, 4)
    found = assert_scores(logits, labels)
    correct = sum(found["confusion"][c][c] for c in range(4))
    interval = scipy.stats.binomtest(correct, 300).proportion_ci(method="wilson")
    assert found["ci95"] == pytest.approx([interval.low, interval.high], abs=1e-7)
    probabilities = np.array([softmax(row) for row in logits])
    ece = metrics.expected_calibration_error(probabilities, labels)
    assert found["ece"] == pytest.approx(ece, abs=1e-12)


def test_scores_with_a_class_that_is_predicted_but_has_no_example():
    logits, labels = random_scores(4, 200, 4)
    labels[labels == 2] = 1
    assert (logits.argmax(1) == 2).any()
    found = assert_scores(logits, labels)
    assert found["recall"]["fear"] is None


def test_scores_with_a_class_that_is_never_predicted():
    logits, labels = random_scores(5, 200, 4)
    logits[:, 3] = -50
    labels[:20] = 3
    assert assert_scores(logits, labels)["recall"]["joy"] == 0.0


@pytest.mark.parametrize("n", [1, 5])
def test_scores_with_ties_follow_argmax(n):
    """All logits equal: class 0 is predicted, and 0 and 1 are the two most likely ones."""
    labels = (np.arange(n) % 4).astype(np.int32)
    assert_scores(np.zeros((n, 4)), labels)


def test_scores_with_ties_among_many_classes():
    """np.argsort is not stable for more than 16 values, so top2 may miss the predicted class."""
    logits = np.random.default_rng(6).integers(0, 2, size=(64, 40)).astype(np.float64)
    classes = tuple(f"c{i}" for i in range(40))
    found = assert_scores(logits, logits.argmax(1).astype(np.int32), classes)
    assert found["top2"] == 1.0


@pytest.mark.parametrize("label", [1, 3])
def test_scores_of_one_example(label):
    found = assert_scores(np.array([[0.1, 2.0, -1.0, 0.3]]), np.array([label], np.int32))
    assert found["accuracy"] == float(label == 1)
    assert found["ci95"][0] < found["accuracy"] or found["ci95"][1] > found["accuracy"]


def test_scores_of_huge_logits_are_finite_and_float32_logits_are_taken():
    logits = np.array([[1e4, 0, 0, 0], [0, 1e4, 0, 0]], np.float32)
    found = metrics.classification_scores(logits, np.array([0, 0]), CLASSES)
    assert found["nll"] == pytest.approx(5e3)
    assert found["ece"] == pytest.approx(0.5)
