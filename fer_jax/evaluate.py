"""Scores of trained weights on every split: eval.json, the tables and the confusion figure."""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from fer_jax import average, folds
from fer_jax import data as fer_data
from fer_jax.average import Average
from fer_jax.inference import check_view, make_predict, predict_split, views_of
from fer_jax.report import tables as report
from fer_jax.report.mistakes import write_mistakes
from fer_jax.task import divide, train_valid_sha256
from train_jax import calibration, metrics, settings
from train_jax.calibration import BOUNDS, fit_temperature
from train_jax.report.run import OUTCOMES
from train_jax.report.table import as_text
from train_jax.run.checkpoint import load_selected
from train_jax.run.errors import UserError
from train_jax.run.files import write_arrays, write_atomically
from train_jax.run.workdir import is_run, lock_workdir


def score(workdir, logits_of, splits, *, classes, temperature, majority, about) -> dict:
    """Writes eval.json, outcomes.npz (1 for each image that is answered rightly), mistakes.json and
    the confusion figure, and prints the tables.

    Args:
      workdir: written into.
      logits_of: images u8[N, 48, 48] -> logits f32[N, K].
      splits: {name: Faces}. Without 'train' there is no telling which images have a twin there.
      classes: K names.
      temperature: the logits are divided by it for "calibrated" and "coverage".
      majority: the most frequent class of train, i32.
      about: what else goes into eval.json: "data", "sha256", "epoch", "tta", "weights".

    Returns:
      What eval.json holds.
    """

    def scores_of(logits, probabilities, labels):
        scores = metrics.classification_scores(logits, labels, classes)
        calibrated = metrics.classification_scores(logits / temperature, labels, classes)
        return scores | {
            "majority": float((labels == majority).mean()),
            "calibrated": {name: calibrated[name] for name in ("nll", "ece")},
            "coverage": calibration.coverage(probabilities, labels),
        }

    scores, reliability, outcomes = {}, {}, {}
    clean: dict[str, dict] = {}
    no_near_twins: dict[str, dict] = {}
    for name, faces in splits.items():
        logits = logits_of(faces.images)
        probabilities = calibration.softmax(logits, temperature)
        scores[name] = scores_of(logits, probabilities, faces.labels)
        outcomes[name] = (logits.argmax(1) == faces.labels).astype(np.float32)
        reliability[name] = {
            "plain": metrics.reliability(calibration.softmax(logits), faces.labels),
            "calibrated": metrics.reliability(probabilities, faces.labels),
        }
        if name != "train" and "train" in splits:
            twin = fer_data.has_twin(faces, splits["train"])
            near = fer_data.has_near_twin(faces, splits["train"])
            for rows, keep in ((clean, ~twin), (no_near_twins, ~(twin | near))):
                if keep.any():
                    rows[name] = scores_of(logits[keep], probabilities[keep], faces.labels[keep])
    result = about | {
        "classes": list(classes),
        "temperature": temperature,
        "split_sha256": {name: fer_data.sha256({name: faces}) for name, faces in splits.items()},
        "splits": scores,
        "clean": clean,
    }
    result |= {"no_near_twins": no_near_twins, "reliability": reliability}
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    write_arrays(workdir / OUTCOMES, **outcomes)
    # of the last split
    write_mistakes(workdir / "mistakes.json", name, faces, probabilities, classes)
    print(
        f"scores of {result['weights']} (epoch {result['epoch']}) on {result['data']}, "
        f"{report.VIEW_WORDS[result['tta']]} ({workdir}/eval.json)"
    )
    print(as_text(report.summary(result)))
    report.save_confusion(workdir, scores, about["data"], classes)
    return result


def score_run(config, workdir, model, task, dataset, splits):
    """(variables, {view: temperature}, eval.json) of the best epoch, scored on every split.

    A net that trains in bfloat16 is scored, and exported, in float32.
    """
    model = model.clone(dtype=jnp.float32)
    variables, epoch = load_selected(workdir, settings.of_config(config), task.init)
    logits_of = make_logits_of(config, model, variables)
    temperature = _temperatures(config, model, logits_of, splits["valid"], dataset.classes)
    about = {"weights": f"{config.checkpoint.select} checkpoint", "epoch": epoch}
    counts = np.bincount(splits["train"].labels, minlength=len(dataset.classes))
    result = _score(config, workdir, logits_of, dataset, splits, temperature, counts, about)
    return variables, temperature, result


def _temperatures(config, model, logits_of, valid, classes) -> dict[str, float]:
    """{view: T}, fitted on `valid`; or else those of the folds, where data.soft_labels has some."""
    views = views_of(model)
    if len(valid.labels):
        found = {v: fit_temperature(logits_of(valid.images, tta=v), valid.labels) for v in views}
        if not all(BOUNDS[0] * 1.01 < t < BOUNDS[1] / 1.01 for t in found.values()):
            print(f"The temperature is at its bound ({found['none']:.3g}): no calibration.")
        return found
    if config.data.soft_labels:
        known = folds.load(Path(config.data.soft_labels), classes).temperature
        return {view: known.get(view, known["flip"]) for view in views}
    print("No validation images and no data.soft_labels: the temperature stays 1.")
    return dict.fromkeys(views, 1.0)


def score_weights(config, workdir, folder):
    """Scores exported weights on whatever splits there are: any of them will do."""
    classifier, tta = average.load(folder), config.eval.tta
    own = (workdir / "export").resolve()
    if is_run(workdir) and Path(folder).resolve() != own:
        raise UserError(
            f"{workdir} holds a run, and its eval.json is not of {folder}: give --workdir=NEW"
        )
    dataset = data_of(config, classifier.card)
    if dataset.notice:
        print(dataset.notice)
    splits, trained_on = divided(dataset, classifier.card, folder), classifier.card["trained_on"]
    logits_of = make_logits_of(config, classifier.model, classifier.variables)
    temperature = classifier.temperature
    fitting = isinstance(classifier.model, Average) or tta not in temperature
    if fitting and "valid" in splits and len(splits["valid"].labels):
        check_view(tta, views_of(classifier.model))
        valid = splits["valid"]
        temperature = {tta: fit_temperature(logits_of(valid.images, tta=tta), valid.labels)}
    check_view(tta, list(temperature))
    about = {"weights": folder, "epoch": classifier.card["epoch"]}
    counts = [trained_on["counts"][name] for name in dataset.classes]
    with lock_workdir(workdir):
        _score(config, workdir, logits_of, dataset, splits, temperature, counts, about)


def data_of(config, card):
    """The Dataset of a config, with the classes of a card, divided as that one says."""
    own = {name: card["config"]["data"][name] for name in ("test_fraction", "split_seed")
           if name in card["config"]["data"]}  # fmt: skip
    known = {"classes": tuple(card["classes"])} | own
    return fer_data.load(config.data.path, fer_data.reading_of(config.data, **known))


def divided(dataset, card, folder) -> dict:
    """The splits of `dataset`, as the weights of `card` were trained on them, if they were."""
    if "train" in dataset.splits:
        splits = divide(dataset.splits, card["config"]["data"])
        if train_valid_sha256(splits) == card["trained_on"]["train_valid_sha256"]:
            return splits
        print(f"The training images are not those that {folder} was trained on.")
    return dataset.splits


def _score(config, workdir, logits_of, dataset, splits, temperature, counts, about) -> dict:
    tta, splits = config.eval.tta, {n: faces for n, faces in splits.items() if len(faces.labels)}
    about = {"data": dataset.name, "sha256": dataset.sha256, **about, "tta": tta}
    return score(
        workdir, functools.partial(logits_of, tta=tta), splits, classes=dataset.classes,
        temperature=temperature[tta], majority=int(np.argmax(counts)), about=about,
    )  # fmt: skip


def make_logits_of(config, model, variables):
    """(images u8[N, 48, 48], tta=) -> logits f32[N, K]."""
    size = config.train.eval_batch_size
    return functools.partial(predict_split, make_predict(model), variables, batch_size=size)
