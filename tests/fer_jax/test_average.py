"""Several nets as one: the mean of their calibrated probabilities, from --weights to the scores."""

import json

import numpy as np
import pytest
from scipy import optimize

from fer_jax import average, data, modes, task, weights
from tests.fer_jax.test_evaluate import log_probabilities, make_config, make_dataset, nll
from train_jax.run.errors import UserError

pytestmark = pytest.mark.usefixtures("optax_types")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, optax_types):
    """Two exports of runs that differ in their seed and size."""
    place, dataset = tmp_path_factory.mktemp("average"), make_dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda path, *_: dataset)
        for seed, features in enumerate([(2, 4), (3, 3)]):
            config = make_config(train__seed=seed, model__features=features, train__epochs=1)
            modes.train(config, place / str(seed))
        yield [place / str(seed) / "export" for seed in range(2)]


def expected_log_probabilities(folders, images):
    mean = 0
    for folder in folders:
        c = weights.load(folder)
        logp = log_probabilities(c.model, c.variables, images) / c.temperature["none"]
        p = np.exp(logp)
        mean = mean + p / p.sum(1, keepdims=True) / len(folders)
    return np.log(mean)


def test_the_mean_of_the_probabilities_with_its_own_temperature(folders, tmp_path):
    both = ",".join(map(str, folders))
    modes.evaluate(make_config(), tmp_path / "both", weights=both)
    result = json.loads((tmp_path / "both" / "eval.json").read_text())
    assert result["weights"] == both and result["epoch"] == "1, 1"
    _, splits = task.load_splits(make_config())
    for name, faces in splits.items():
        logp = expected_log_probabilities(folders, faces.images)
        assert result["splits"][name]["nll"] == pytest.approx(nll(logp, faces.labels), rel=1e-4)
        assert result["splits"][name]["accuracy"] == np.mean(logp.argmax(1) == faces.labels)
    logp = expected_log_probabilities(folders, splits["valid"].images)
    best = optimize.minimize_scalar(
        lambda t: nll(logp, splits["valid"].labels, np.exp(t)),
        bounds=(-4, 4),
        method="bounded",
        options={"xatol": 1e-7},
    )
    assert abs(best.x) > 0.01
    assert result["temperature"] == pytest.approx(np.exp(best.x), rel=1e-3)


def test_flip_averages_the_views_of_the_average(folders, tmp_path):
    both = ",".join(map(str, folders))
    modes.evaluate(make_config(eval__tta="flip"), tmp_path / "flip", weights=both)
    result = json.loads((tmp_path / "flip" / "eval.json").read_text())
    faces = task.load_splits(make_config())[1]["PublicTest"]
    views = [
        expected_log_probabilities(folders, v) for v in (faces.images, faces.images[:, :, ::-1])
    ]
    logp = sum(views) / 2
    logp -= np.log(np.exp(logp).sum(1, keepdims=True))
    found = result["splits"]["PublicTest"]["nll"]
    assert found == pytest.approx(nll(logp, faces.labels), rel=1e-4)


def test_without_shared_training_images_there_is_no_validation(folders, tmp_path, monkeypatch):
    """A net of another split may have been trained on these validation images."""
    other = make_dataset()
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    modes.train(make_config(data__split_seed=1, train__epochs=1), tmp_path / "other")
    mixed = f"{folders[0]},{tmp_path / 'other' / 'export'}"
    modes.evaluate(make_config(), tmp_path / "mixed", weights=mixed)
    result = json.loads((tmp_path / "mixed" / "eval.json").read_text())
    assert list(result["splits"]) == ["train", "PublicTest"] and result["temperature"] == 1.0


def test_one_folder_is_itself(folders):
    one = average.load(str(folders[0]))
    assert one.model == weights.load(folders[0]).model and one.temperature["none"] != 1.0


def test_explain_shows_one_net(folders, tmp_path):
    config = make_config()
    config.predict.detector = "none"  # OpenCV 5 has no other
    with pytest.raises(UserError, match="one net at a time"):
        modes.explain(config, tmp_path, weights=",".join(map(str, folders)), inputs="a.png")
