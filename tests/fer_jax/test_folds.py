"""--mode=cross_validate: who judges whom, what is kept of it, and training on it."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import optimize

from fer_jax import data, folds, modes, task, weights
from fer_jax.data import CLASSES, Faces
from tests.fer_jax.test_evaluate import (
    easy_faces,
    evaluate_run,
    log_probabilities,
    make_config,
    make_dataset,
    nll,
)
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError

pytestmark = pytest.mark.usefixtures("optax_types")
FOLDS = 3


def fold_config(**fields):
    return make_config(
        **{
            "data__folds": FOLDS, "train__epochs": 2, "checkpoint__select": "last",
            "early_stop__enabled": False, "plateau__enabled": False,
            "model__bfloat16": True,  # in training alone: what is judged is float32
        } | fields
    )  # fmt: skip


def with_twins():
    """The data set of test_evaluate; some training images occur twice, one with another label."""
    dataset = make_dataset()
    train = dataset.splits["train"]
    images = np.concatenate([train.images, train.images[:6]])
    labels = np.concatenate([train.labels, train.labels[:5], [(train.labels[5] + 1) % 7]])
    splits = dataset.splits | {"train": Faces(images, labels.astype(np.int32))}
    return dataset._replace(splits=splits)


@pytest.fixture(scope="module")
def run(tmp_path_factory, optax_types):
    workdir, dataset = tmp_path_factory.mktemp("folds") / "run", with_twins()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda path, *_: dataset)
        modes.cross_validate(fold_config(), str(workdir))
        yield SimpleNamespace(workdir=workdir, train=dataset.splits["train"], dataset=dataset)


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run.workdir, tmp_path / "run")


# the folds


def test_folds_are_even_in_each_class_and_keep_twins_together():
    train = easy_faces([30, 5, 20, 40, 31, 17, 9], seed=3)
    train = Faces(
        np.concatenate([train.images, train.images[:20]]),
        np.concatenate([train.labels, train.labels[10:20], train.labels[:10]]),
    )
    fold = data.assign_folds(train, folds=5, seed=1)
    counts = np.array([np.bincount(train.labels[fold == k], minlength=7) for k in range(5)])
    assert np.ptp(counts, 0).max() <= 4 and np.ptp(counts.sum(1)) <= 6
    np.testing.assert_array_equal(fold[:20], fold[-20:])
    np.testing.assert_array_equal(fold, data.assign_folds(train, folds=5, seed=1))
    assert (fold != data.assign_folds(train, folds=5, seed=2)).any()


@pytest.mark.parametrize("number", [1, 1000])
def test_a_number_of_folds_that_cannot_be(number):
    with pytest.raises(UserError, match=f"folds must be 2 to 14.*got {number}"):
        data.assign_folds(easy_faces([2] * 7, seed=0), folds=number, seed=0)


def test_a_run_may_be_one_fold(run):
    """`data.fold` of an ordinary run: the folds divide train, and no twin is on both sides."""
    parts = [task.load_splits(fold_config(data__fold=k))[1] for k in range(FOLDS)]
    everything = sorted(image.tobytes() for image in run.train.images)
    assert sorted(i.tobytes() for p in parts for i in p["valid"].images) == everything
    for part in parts:
        assert sorted(i.tobytes() for n in ("train", "valid") for i in part[n].images) == everything
        assert not data.has_twin(part["valid"], part["train"]).any()
    with pytest.raises(UserError, match="data.fold must be from 0 to 2, got 3"):
        task.load_splits(fold_config(data__fold=3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data__folds": 0}, "data.folds must be at least 2 .*got 0.*folds=5"),
        ({"checkpoint__select": "best"}, "checkpoint.select must be last .*got best"),
        ({"early_stop__enabled": True}, "early_stop.enabled must be False"),
        ({"plateau__enabled": True}, "plateau.enabled must be False"),
    ],
)
def test_a_fold_may_choose_nothing_by_its_images(tmp_path, fields, message):
    config = fold_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    with pytest.raises(UserError, match=message):
        modes.cross_validate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# what is kept


def fold_network(workdir, k):
    config = fold_config(data__fold=k, model__bfloat16=False)
    model = task.build_model(config)
    made = task.make_task(config, model, *task.load_splits(config))
    checkpoints = Checkpoints(workdir / f"fold{k}" / "checkpoints", mode="max", select="last")
    assert checkpoints.best().record["history"][-1]["epoch"] == 2
    return model, checkpoints.load_variables(checkpoints.best(), made.init, ema=True)


def test_each_image_is_judged_by_the_net_that_did_not_train_on_it(run):
    found = folds.load(run.workdir / "out_of_fold", CLASSES)
    np.testing.assert_array_equal(found.labels, run.train.labels)
    for k in range(FOLDS):
        rows = found.fold == k
        images = run.train.images[rows]
        network = fold_network(run.workdir, k)
        logp = log_probabilities(*network, images)
        ours = np.asarray(jax.nn.log_softmax(found.logits["none"][rows]))
        np.testing.assert_allclose(ours, logp, atol=1e-5)
        both = (logp + log_probabilities(*network, images[:, :, ::-1])) / 2
        np.testing.assert_allclose(found.logits["flip"][rows], both, atol=1e-5)


def test_scores_over_all_images(run):
    result = json.loads((run.workdir / "cross_validate.json").read_text())["views"]
    found = folds.load(run.workdir / "out_of_fold", CLASSES)
    for view in ("none", "flip"):
        logits, s = found.logits[view].astype(float), result[view]
        logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        assert s["n"] == len(run.train.labels)
        assert s["accuracy"] == np.mean(logp.argmax(1) == run.train.labels)
        assert s["nll"] == pytest.approx(nll(logp, run.train.labels), rel=1e-5)
        best = optimize.minimize_scalar(
            lambda t: nll(logp, run.train.labels, np.exp(t)),  # noqa: B023
            bounds=(-4, 4),
            method="bounded",
            options={"xatol": 1e-7},
        )
        assert s["temperature"] == pytest.approx(np.exp(best.x), rel=1e-3)
        hits = sum(f["n"] * f["accuracy"] for f in s["folds"])
        assert hits == pytest.approx(s["n"] * s["accuracy"])
        assert len(s["folds"]) == FOLDS


def test_test_splits_are_not_looked_at(run):
    text = (run.workdir / "cross_validate.json").read_text()
    assert "PublicTest" not in text
    assert not list(run.workdir.rglob("eval.json"))


def test_folds_continue(run, copy, monkeypatch):
    """One fold is gone, the predictions of another: the former alone is trained."""
    before = {n: (copy / "out_of_fold" / n).read_bytes() for n in (folds.ARRAYS, folds.ABOUT)}
    shutil.rmtree(copy / "out_of_fold")
    shutil.rmtree(copy / "fold2")
    (copy / "fold1" / folds.ARRAYS).unlink()
    fit, trained = modes.loop.fit, []
    monkeypatch.setattr(
        modes.loop,
        "fit",
        lambda task, settings, workdir: (
            trained.append(workdir.name) or fit(task, settings, workdir=workdir)
        ),
    )
    modes.cross_validate(fold_config(), copy)
    assert trained == ["fold1", "fold2"]
    assert {n: (copy / "out_of_fold" / n).read_bytes() for n in before} == before
    with pytest.raises(UserError, match="other settings"):
        modes.cross_validate(fold_config(train__seed=5), copy)


# training on it


def test_the_target_is_mixed_of_label_and_prediction(run):
    config = fold_config(data__folds=0, loss__soft_weight=0.25, loss__label_smoothing=0.2)
    config.data.soft_labels = str(run.workdir / "out_of_fold")
    config.augment.flip = 0.0
    model = task.build_model(config)
    dataset, splits = task.load_splits(config)
    made = task.make_task(config, model, dataset, splits)
    found = folds.load(run.workdir / "out_of_fold", CLASSES)
    whole = [image.tobytes() for image in run.train.images]
    rows = [whole.index(image.tobytes()) for image in splits["train"].images]
    logits = found.logits["flip"][rows] / found.temperature["flip"]
    soft = np.exp(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
    np.testing.assert_allclose(made.train["soft"], soft, atol=1e-6)
    assert "soft" not in made.valid

    batch = {name: array[:9] for name, array in made.train.items()}
    batch["mask"] = np.ones(9, np.float32)
    variables = made.init(jax.random.key(0))
    logp = log_probabilities(model, variables, batch["image"])
    targets = 0.75 * np.eye(7)[batch["label"]] + 0.25 * soft[:9]
    targets = 0.8 * targets + 0.2 / 7
    value, _ = made.loss(variables["params"], {}, batch, jax.random.key(1))
    assert value == pytest.approx(-(targets * logp).sum(1).mean(), rel=1e-5)


def test_soft_labels_of_other_data_are_refused(run, monkeypatch):
    config = fold_config(data__folds=0, loss__soft_weight=0.5)
    config.data.soft_labels = str(run.workdir / "out_of_fold")
    images = run.train.images.copy()
    images[3, 0, 0] ^= 1
    other = run.dataset._replace(splits={"train": run.train._replace(images=images)})
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    with pytest.raises(UserError, match="other data: 1 of the"):
        task.make_task(config, task.build_model(config), *task.load_splits(config))


@pytest.mark.parametrize("damage", ["byte", "classes", "nothing there"])
def test_damaged_soft_labels_are_refused(copy, damage):
    folder = copy / "out_of_fold"
    if damage == "byte":
        raw = bytearray((folder / folds.ARRAYS).read_bytes())
        raw[-200] ^= 1
        (folder / folds.ARRAYS).write_bytes(raw)
    elif damage == "classes":
        about = json.loads((folder / folds.ABOUT).read_text())
        about["classes"].sort()
        (folder / folds.ABOUT).write_text(json.dumps(about))
        folds.write_manifest(folder)
    else:
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="out_of_fold|classes"):
        folds.load(folder, CLASSES)


@pytest.mark.parametrize("weight", [-0.1, 1.5, 0.5])
def test_a_weight_needs_soft_labels_and_a_range(run, weight):
    config = fold_config(data__folds=0, loss__soft_weight=weight)
    with pytest.raises(UserError, match=f"soft_weight .*got {weight}"):
        task.make_task(config, task.build_model(config), *task.load_splits(config))


def test_a_refit_on_all_of_train_takes_its_temperature_from_the_folds(run, tmp_path):
    config = fold_config(data__folds=0, data__valid_fraction=0.0, loss__soft_weight=0.5)
    config.data.soft_labels = str(run.workdir / "out_of_fold")
    modes.train(config, tmp_path / "refit")
    result = json.loads((tmp_path / "refit" / "eval.json").read_text())
    assert {name: s["n"] for name, s in result["splits"].items()} == {
        "train": len(run.train.labels), "PublicTest": 25,
    }  # fmt: skip
    known = folds.load(run.workdir / "out_of_fold", CLASSES).temperature
    assert result["temperature"] == known["none"] != 1.0
    assert weights.load(tmp_path / "refit" / "export").temperature == known
    assert "the last" in (tmp_path / "refit" / "export" / "README.md").read_text()
    again = (tmp_path / "refit" / "eval.json").read_bytes()
    evaluate_run(config, tmp_path / "refit")
    assert (tmp_path / "refit" / "eval.json").read_bytes() == again
