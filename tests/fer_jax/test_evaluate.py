"""A tiny run from end to end through fer_jax.modes, and what it leaves in its workdir.

The faces are easy (a bright square whose place is the class), so that the loss falls; the config
calls the epoch with the highest val_loss the best one, so that the best is not the last.
"""

import json
import shutil
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import optimize

from configs import fer_base
from fer_jax import data, evaluate, modes, task, weights
from fer_jax.data import CLASSES, Dataset, Faces
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.log import read_csv

pytestmark = pytest.mark.usefixtures("optax_types")
SCORES = {
    "n", "accuracy", "ci95", "macro_recall", "macro_f1", "top2", "nll", "ece", "recall",
    "confusion", "majority", "calibrated", "coverage",
}  # fmt: skip
COLUMNS = "epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds,images/s"
TWINS = 3  # of training images, in PublicTest


def easy_faces(counts, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(7), counts)).astype(np.int32)
    images = rng.integers(0, 60, (len(labels), 48, 48), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(label, 3)
        image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 190
    return Faces(images, labels)


def make_config(**fields):
    c = fer_base.get_config()
    c.data.valid_fraction = 0.2
    c.model.features = (2, 4)
    c.model.dense = 16
    c.augment.zoom = 0.0
    c.train.epochs = 3
    c.train.batch_size = 16
    c.train.eval_batch_size = 16
    c.train.ema_decay = 0.3
    c.schedule.learning_rate = 1e-2
    c.checkpoint.monitor = "val_loss"
    c.checkpoint.mode = "max"
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


def make_dataset():
    train = easy_faces([8, 8, 8, 16, 8, 8, 8], seed=0)
    kept, valid = data.split_validation(train, fraction=0.2, seed=0)
    fresh = easy_faces([3] * 7, seed=1)
    twins = [kept.images[:TWINS], valid.images[:1]]  # one of a validation image: not in train
    images = np.concatenate([fresh.images, *twins])
    labels = np.concatenate([fresh.labels, kept.labels[:TWINS], valid.labels[:1]])
    splits = {"train": train, "PublicTest": Faces(images, labels)}
    return Dataset("fer2013", splits, "faces.zip", "ab" * 32, notice="")


def evaluate_run(config, workdir):
    modes.evaluate(config, workdir, weights=None)


@pytest.fixture(scope="module")
def run(tmp_path_factory, optax_types):
    """A finished run. Tests that write into its workdir copy it first."""
    workdir = tmp_path_factory.mktemp("evaluate") / "run"
    dataset = make_dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda path, *_: dataset)
        modes.train(make_config(), workdir)
        yield SimpleNamespace(
            workdir=workdir,
            dataset=dataset,
            splits=task.load_splits(make_config())[1],
            history=read_csv(workdir / "metrics.csv"),
            eval=json.loads((workdir / "eval.json").read_text()),
        )


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run.workdir, tmp_path / "run")


@pytest.fixture(scope="module")
def network(run):
    """(model, variables) of the checkpoint that was evaluated."""
    config = make_config()
    model = task.build_model(config)
    made = task.make_task(config, model, run.dataset, run.splits)
    checkpoints = Checkpoints(run.workdir / "checkpoints", mode="max")
    variables = checkpoints.load_variables(checkpoints.best(), made.init, ema=True)
    return model, variables


def log_probabilities(model, variables, images):
    x = images[..., None].astype(np.float32) / np.float32(255)
    logits = np.asarray(model.apply(variables, x, train=False), np.float64)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


# what a run leaves


def test_files(run):
    for name in ("config.json", "metrics.csv", "eval.json"):
        assert (run.workdir / name).stat().st_size > 0
    for name in ("history", "confusion"):
        assert (run.workdir / "figures" / f"{name}.png").read_bytes()[1:4] == b"PNG"
    if find_spec("tensorboardX"):
        assert list((run.workdir / "tb").glob("events.out.tfevents.*"))
    assert len(list((run.workdir / "checkpoints").glob("*/manifest.json"))) == 2  # best and newest


def test_config_json(run):
    saved = json.loads((run.workdir / "config.json").read_text())
    assert saved["config"] == json.loads(json.dumps(make_config().to_dict()))
    trained = {name: run.splits[name] for name in ("train", "valid")}
    assert saved["identity"]["train_valid_sha256"] == data.sha256(trained)
    assert saved["identity"]["classes"] == list(CLASSES)
    assert saved["versions"]["jax"] == jax.__version__


def test_metrics_csv(run):
    lines = (run.workdir / "metrics.csv").read_text().splitlines()
    assert lines[0] == COLUMNS
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert all(row["seconds"] > 0 and row["images/s"] > 0 for row in run.history)
    assert all(row["lr"] == pytest.approx(1e-2) for row in run.history)


def test_eval_json_has_the_keys_of_the_issue(run):
    assert set(run.eval) == {
        "data", "sha256", "split_sha256", "classes", "weights", "epoch", "tta", "temperature",
        "splits", "clean", "no_near_twins", "reliability",
    }  # fmt: skip
    assert run.eval["data"] == "fer2013" and run.eval["tta"] == "none"
    assert run.eval["sha256"] == run.dataset.sha256
    hashes = run.eval["split_sha256"]
    assert list(hashes) == list(run.eval["splits"]) and len({*hashes.values()}) == 3
    assert list(run.eval["splits"]) == ["train", "valid", "PublicTest"]
    assert list(run.eval["clean"]) == ["valid", "PublicTest"]
    parts = [run.eval[name] for name in ("splits", "clean", "no_near_twins")]
    for scores in [scores for part in parts for scores in part.values()]:
        assert set(scores) == SCORES
        assert list(scores["recall"]) == list(CLASSES)
        confusion = np.array(scores["confusion"])
        assert confusion.shape == (7, 7) and confusion.sum() == scores["n"]
        assert scores["accuracy"] == pytest.approx(np.trace(confusion) / scores["n"])
        low, high = scores["ci95"]
        assert low <= scores["accuracy"] <= high


def test_eval_json_by_hand(run, network):
    """Every split, its ragged last batch included, in the order of its labels."""
    for name, faces in run.splits.items():
        scores = run.eval["splits"][name]
        logp = log_probabilities(*network, faces.images)
        n = len(faces.labels)
        assert n % 16 != 0 and scores["n"] == n
        confusion = np.zeros((7, 7), int)
        np.add.at(confusion, (faces.labels, logp.argmax(1)), 1)
        assert scores["confusion"] == confusion.tolist()
        assert scores["nll"] == pytest.approx(-logp[np.arange(n), faces.labels].mean(), rel=1e-5)


def test_majority_is_the_class_that_is_most_frequent_in_train(run):
    assert np.bincount(run.splits["train"].labels).argmax() == CLASSES.index("happy")
    for name, faces in run.splits.items():
        assert run.eval["splits"][name]["majority"] == np.mean(faces.labels == 3)


def test_clean_drops_exactly_the_twins(run, network):
    test, train = run.splits["PublicTest"], run.splits["train"]
    twin = np.array([any((i == t).all() for t in train.images) for i in test.images])
    assert twin.sum() == TWINS
    clean = run.eval["clean"]
    assert clean["PublicTest"]["n"] == len(test.labels) - TWINS
    assert clean["valid"] == run.eval["splits"]["valid"]  # no twins there, ever
    logp = log_probabilities(*network, test.images[~twin])
    nll = -logp[np.arange(len(logp)), test.labels[~twin]].mean()
    assert clean["PublicTest"]["nll"] == pytest.approx(nll, rel=1e-5)


def test_the_third_row_drops_the_same_photograph_lit_otherwise_too(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 34).astype(np.int32)
    images = rng.integers(0, 256, (34, 48, 48), dtype=np.uint8)
    train, test = Faces(images[:20], labels[:20]), Faces(images[20:], labels[20:])
    test.images[0] = train.images[3]
    test.images[1] = train.images[4] // 2 + 30
    logits = {n: rng.normal(size=(n, 7)) for n in (20, 14)}
    about = {"data": "drawn_faces", "sha256": "", "epoch": 1, "tta": "none", "weights": "x"}
    result = evaluate.score(
        tmp_path, lambda images: logits[len(images)], {"train": train, "PublicTest": test},
        classes=CLASSES, temperature=1.3, majority=3, about=about,
    )  # fmt: skip
    assert result["no_near_twins"].keys() == {"PublicTest"} == result["clean"].keys()
    for name, first in (("splits", 0), ("clean", 1), ("no_near_twins", 2)):
        found, n = result[name]["PublicTest"], 14 - first
        logp = logits[14][first:] - np.log(np.exp(logits[14][first:]).sum(1, keepdims=True))
        assert found["n"] == n
        assert found["accuracy"] == np.mean(logp.argmax(1) == test.labels[first:])
        assert found["nll"] == pytest.approx(nll(logp, test.labels[first:]), rel=1e-5)
        assert found["calibrated"]["nll"] != found["nll"]


def test_the_best_epoch_is_evaluated_not_the_last(run):
    losses = [row["val_loss"] for row in run.history]
    best = int(np.argmax(losses))  # checkpoint.mode is 'max' here
    assert best < 2 and losses[best] - losses[-1] > 1e-3  # or this test would show nothing
    assert run.eval["epoch"] == best + 1
    # the moving average of the weights was validated, and is what is evaluated
    assert run.eval["splits"]["valid"]["nll"] == pytest.approx(losses[best], rel=1e-5)
    accuracy = run.eval["splits"]["valid"]["accuracy"]
    assert accuracy == pytest.approx(run.history[best]["val_accuracy"], rel=1e-6)


def nll(logp, labels, temperature=1.0):
    logp = logp / temperature
    logp = logp - np.log(np.exp(logp).sum(1, keepdims=True))
    return -logp[np.arange(len(labels)), labels].mean()


def test_the_temperature_is_the_best_one_on_validation(run, network):
    valid = run.splits["valid"]
    logp = log_probabilities(*network, valid.images)
    best = optimize.minimize_scalar(
        lambda t: nll(logp, valid.labels, np.exp(t)),
        bounds=(-4, 4),
        method="bounded",
        options={"xatol": 1e-7},
    )
    assert abs(best.x) > 0.01  # or this would show nothing
    assert run.eval["temperature"] == pytest.approx(np.exp(best.x), rel=1e-4)
    for name, faces in run.splits.items():
        logp = log_probabilities(*network, faces.images)
        calibrated = run.eval["splits"][name]["calibrated"]
        expected = nll(logp, faces.labels, run.eval["temperature"])
        assert calibrated["nll"] == pytest.approx(expected, rel=1e-5)
        assert calibrated["ece"] != run.eval["splits"][name]["ece"]


def test_coverage_is_of_the_calibrated_probabilities(run, network):
    faces = run.splits["PublicTest"]
    logp = log_probabilities(*network, faces.images) / run.eval["temperature"]
    p = np.exp(logp) / np.exp(logp).sum(1, keepdims=True)
    for row in run.eval["splits"]["PublicTest"]["coverage"]:
        keep = p.max(1) >= row["threshold"]
        assert row["kept"] == pytest.approx(keep.mean())
        if keep.any():
            right = p.argmax(1)[keep] == faces.labels[keep]
            assert row["accuracy"] == pytest.approx(right.mean())
        else:
            assert row["accuracy"] is None


# --mode=eval, and the same command again


def test_eval_again_gives_the_same_file(run, copy):
    (copy / "eval.json").unlink()
    modes.evaluate(make_config(), copy, weights=None)
    assert (copy / "eval.json").read_bytes() == (run.workdir / "eval.json").read_bytes()


def test_tta_averages_the_log_probabilities_of_both_views(run, copy, network, capsys):
    modes.evaluate(make_config(eval__tta="flip"), copy, weights=None)
    result = json.loads((copy / "eval.json").read_text())
    assert result["tta"] == "flip"
    assert "image and mirror" in capsys.readouterr().out
    faces = run.splits["PublicTest"]
    views = [log_probabilities(*network, i) for i in (faces.images, faces.images[:, :, ::-1])]
    assert abs(views[0] - views[1]).max() > 1e-3
    logp = (views[0] + views[1]) / 2
    logp -= np.log(np.exp(logp).sum(1, keepdims=True))
    nll = -logp[np.arange(len(logp)), faces.labels].mean()
    scores = result["splits"]["PublicTest"]
    assert scores["nll"] == pytest.approx(nll, rel=1e-5)
    assert scores["nll"] != pytest.approx(run.eval["splits"]["PublicTest"]["nll"], rel=1e-5)
    assert scores["accuracy"] == np.mean(logp.argmax(1) == faces.labels)


def test_a_finished_run_is_not_trained_again(run, copy, monkeypatch):
    (copy / "eval.json").unlink()
    shutil.rmtree(copy / "figures")
    monkeypatch.setattr("train_jax.loop.train_epoch", None)  # no step may be taken
    modes.train(make_config(), copy)
    for name in ("metrics.csv", "eval.json", "config.json"):
        assert (copy / name).read_bytes() == (run.workdir / name).read_bytes()
    assert (copy / "figures" / "history.png").exists()
    assert (copy / "figures" / "confusion.png").exists()


@pytest.mark.parametrize("mode", [modes.train, evaluate_run])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer__momentum": 0.5}, "config.optimizer.momentum: 0.9 -> 0.5"),
        ({"model__features": (2, 5)}, r"config.model.features: \[2, 4\] -> \[2, 5\]"),
        ({"data__split_seed": 1}, "config.data.split_seed: 0 -> 1"),
    ],
)
def test_a_changed_config_is_refused(copy, mode, fields, message):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=message):
        mode(make_config(**fields), copy)
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("mode", [modes.train, evaluate_run])
def test_other_data_is_refused(run, copy, monkeypatch, mode):
    """Such as drawn faces, where the path was forgotten."""
    other = run.dataset._replace(name="drawn_faces", sha256="cd" * 32)
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    with pytest.raises(UserError, match="identity.data: 'fer2013' -> 'drawn_faces'"):
        mode(make_config(), copy)


@pytest.mark.parametrize("mode", [modes.train, evaluate_run])
def test_a_changed_training_image_is_refused(run, copy, monkeypatch, mode):
    images = run.dataset.splits["train"].images.copy()
    images[0, 0, 0] ^= 1
    train = run.dataset.splits["train"]._replace(images=images)
    other = run.dataset._replace(splits=run.dataset.splits | {"train": train})
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    with pytest.raises(UserError, match="identity.train_valid_sha256: "):
        mode(make_config(), copy)


def test_a_run_may_be_scored_on_a_source_that_gained_a_test_split(run, copy, monkeypatch):
    """PrivateTest, published after the run was trained: the training images are the same."""
    splits = run.dataset.splits | {"PrivateTest": easy_faces([2] * 7, seed=5)}
    more = run.dataset._replace(splits=splits, sha256="ef" * 32)
    monkeypatch.setattr(data, "load", lambda path, *_: more)
    modes.evaluate(make_config(), copy, weights=None)
    result = json.loads((copy / "eval.json").read_text())
    assert result["splits"]["PrivateTest"]["n"] == 14
    assert result["splits"]["PublicTest"] == run.eval["splits"]["PublicTest"]


def test_eval_without_a_run_is_refused_and_leaves_nothing(run, tmp_path):
    with pytest.raises(UserError, match="nothing-here holds no run.*--mode=train"):
        modes.evaluate(make_config(), tmp_path / "nothing-here", weights=None)
    assert not (tmp_path / "nothing-here").exists()


def test_eval_before_the_first_epoch_is_refused(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="no whole checkpoint of a finished epoch"):
        modes.evaluate(make_config(), copy, weights=None)


@pytest.mark.parametrize("mode", [modes.train, evaluate_run])
def test_an_unknown_tta_is_refused_before_training(run, copy, monkeypatch, mode):
    monkeypatch.setattr("train_jax.loop.fit", None)
    with pytest.raises(UserError, match="eval.tta must be one of 'none', 'flip' for.*got 'flop'"):
        mode(make_config(eval__tta="flop"), copy)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"train__batch_size": 0}, "batch_size"),
        ({"train__eval_batch_size": 0}, "batch_size"),
        ({"train__steps_per_call": -1}, "steps_per_call"),
        ({"train__epochs": 0}, "epochs"),
        ({"train__seed": -1}, "seed"),
        ({"train__prng": "mersenne"}, "mersenne"),
        ({"checkpoint__mode": "best"}, "mode"),
        ({"checkpoint__monitor": "val_los"}, "monitor"),
        ({"plateau__factor": 1.5}, "factor"),
        ({"optimizer__name": "lion"}, "lion"),
        ({"schedule__name": "step"}, "step"),
        ({"augment__zoom": 2.0}, "zoom"),
    ],
)
def test_a_wrong_value_is_a_user_error_before_the_first_step(
    run, tmp_path, monkeypatch, fields, name
):
    monkeypatch.setattr("train_jax.loop.train_epoch", None)
    with pytest.raises(UserError, match=name):
        modes.train(make_config(**fields), tmp_path / "run")


# export/ and --mode=eval --weights=


def test_the_export_is_what_was_evaluated(run, network):
    classifier = weights.load(run.workdir / "export")
    jax.tree.map(np.testing.assert_array_equal, classifier.variables, network[1])
    assert classifier.model == network[0]
    assert classifier.temperature["none"] == run.eval["temperature"]
    assert classifier.temperature["flip"] != run.eval["temperature"]
    card = classifier.card
    assert card["config"] == json.loads(json.dumps(make_config().to_dict()))
    assert card["scores"]["splits"] == run.eval["splits"]
    assert card["trained_on"]["counts"]["happy"] == (run.splits["train"].labels == 3).sum()
    assert card["trained_on"]["sha256"] == run.dataset.sha256
    text = (run.workdir / "export" / "README.md").read_text()
    assert card["sha256"] in text and "expression is not an emotion" in text
    assert f"{run.eval['splits']['PublicTest']['accuracy']:.4f}" in text


def test_trained_in_bfloat16_it_is_scored_and_exported_in_float32(run, tmp_path):
    modes.train(make_config(model__bfloat16=True, train__epochs=1), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "eval.json").read_text())
    classifier = weights.load(tmp_path / "run" / "export")
    assert classifier.model == task.build_model(make_config())
    faces = run.splits["PublicTest"]
    logp = log_probabilities(classifier.model, classifier.variables, faces.images)
    expected = -logp[np.arange(len(faces.labels)), faces.labels].mean()
    assert result["splits"]["PublicTest"]["nll"] == pytest.approx(expected, rel=1e-5)


def test_weights_score_as_the_run_did(run, tmp_path):
    folder = run.workdir / "export"
    modes.evaluate(make_config(), tmp_path / "new", weights=str(folder))
    result = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert result == run.eval | {"weights": str(folder)}


def test_the_split_is_that_of_the_weights_not_of_the_config(run, tmp_path):
    config = make_config(data__split_seed=5, data__valid_fraction=0.4)
    modes.evaluate(config, tmp_path / "new", weights=str(run.workdir / "export"))
    result = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert result["splits"]["valid"] == run.eval["splits"]["valid"]


def test_weights_on_a_source_that_holds_only_private_test(run, tmp_path, monkeypatch):
    private = easy_faces([0, 2, 3, 1, 2, 2, 2], seed=7)
    other = run.dataset._replace(splits={"PrivateTest": private}, sha256="ef" * 32)
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    modes.evaluate(make_config(), tmp_path / "new", weights=str(run.workdir / "export"))
    result = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert list(result["splits"]) == ["PrivateTest"] and result["clean"] == {}
    assert result["splits"]["PrivateTest"]["n"] == 12
    # happy is the most frequent class of train, and the rarest here
    assert result["splits"]["PrivateTest"]["majority"] == pytest.approx(1 / 12)
    assert result["temperature"] == run.eval["temperature"]  # of the weights, not fitted here


def test_other_training_images_are_not_called_validation(run, tmp_path, monkeypatch, capsys):
    other = run.dataset._replace(splits={"train": easy_faces([4] * 7, seed=9)})
    monkeypatch.setattr(data, "load", lambda path, *_: other)
    modes.evaluate(make_config(), tmp_path / "new", weights=str(run.workdir / "export"))
    result = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert {name: s["n"] for name, s in result["splits"].items()} == {"train": 28}
    assert "not those that" in capsys.readouterr().out


def test_export_in_half_the_bytes_as_far_as_no_answer_changes(run, copy, monkeypatch):
    """A kernel of which the answers depend on the last bits stays as it is."""
    source = weights.load(copy / "export")
    modes.shrink(make_config(), str(copy.parent / "half"), weights=str(copy / "export"))
    small = weights.load(copy.parent / "half")
    assert (small.folder / "README.md").read_text().startswith("# half: ")
    assert "float16" in str(small.card["arrays"]) and small.temperature == source.temperature
    images = run.splits["PublicTest"].images
    answers = [log_probabilities(c.model, c.variables, images).argmax(1) for c in (source, small)]
    np.testing.assert_array_equal(*answers)
    sizes = [(c.folder / "model.safetensors").stat().st_size for c in (source, small)]
    assert sizes[1] < 0.6 * sizes[0]

    for workdir, given in ((copy, str(copy / "export")), (copy.parent / "new", None)):
        with pytest.raises(UserError, match="--workdir=NEW|--weights=FOLDER"):
            modes.shrink(make_config(), workdir, weights=given)

    kept = "params/Dense_0/kernel"  # the largest, which is tried first
    original = weights.flatten_dict(source.variables, sep="/")[kept]
    half = weights.shrink(
        source,
        copy.parent / "kept",
        lambda v: np.array_equal(weights.flatten_dict(v, sep="/")[kept], original),
    )
    assert half and kept not in half
    loaded = weights.flatten_dict(weights.load(copy.parent / "kept").variables, sep="/")
    np.testing.assert_array_equal(loaded[kept], original)
    assert all((loaded[name] == loaded[name].astype(np.float16)).all() for name in half)


def test_a_run_predicts_with_its_own_weights(run, copy, tmp_path, network, capsys):
    faces = run.splits["PublicTest"]
    Image.fromarray(faces.images[0]).save(tmp_path / "face.png")
    config = make_config(predict__detector="none")
    assert modes.predict(config, copy, weights=None, inputs=str(tmp_path / "face.png")) == 0
    assert f"weights: {copy / 'export'}, trained on fer2013" in capsys.readouterr().out
    record = json.loads((copy / "predictions.jsonl").read_text())
    logp = log_probabilities(*network, faces.images[:1]) / run.eval["temperature"]
    expected = np.exp(logp[0]) / np.exp(logp[0]).sum()
    np.testing.assert_allclose([record["probabilities"][c] for c in CLASSES], expected, atol=1e-5)


def test_weights_do_not_overwrite_the_scores_of_another_run(run, copy):
    with pytest.raises(UserError, match="holds a run.*--workdir=NEW"):
        modes.evaluate(make_config(), copy, weights=str(run.workdir / "export"))
    assert (copy / "eval.json").read_bytes() == (run.workdir / "eval.json").read_bytes()
    modes.evaluate(make_config(), copy, weights=str(copy / "export"))  # its own are welcome
