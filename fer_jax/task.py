"""Facial expressions as a task: from a config to training, and from a checkpoint to scores."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import data as fer_data
from fer_jax import report
from fer_jax.augment import augment, mixup, smooth_labels
from fer_jax.data import CLASSES
from fer_jax.models import make_model
from train_jax import loop, metrics
from train_jax.checkpoint import Checkpoints, write_atomically
from train_jax.errors import UserError
from train_jax.task import Task
from train_jax.writer import lock_workdir, write_config


def train(config, workdir: Path):
    """Trains what the config says into `workdir`, then scores the best epoch and draws figures."""
    dataset, splits = load_splits(config)
    model = build_model(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        write_config(workdir, config.to_dict(), task.identity)
        print(report.describe(dataset, splits))
        print(report.model_table(model, task.init))
        history = loop.fit(task, workdir=workdir, **fit_settings(config, dataset))
        report.draw_history(workdir, history, config.checkpoint.monitor, dataset.name)
        score(config, workdir, model, task, dataset, splits)


def evaluate(config, workdir: Path):
    """Scores the best checkpoint of `workdir` on every split that is there, into eval.json."""
    if not (workdir / "config.json").exists():
        raise UserError(
            f"{workdir} holds no run (there is no config.json in it): train first with "
            "--mode=train, or point --workdir at a run"
        )
    dataset, splits = load_splits(config)
    model = build_model(config)
    task = make_task(config, model, dataset, splits)
    with lock_workdir(workdir):
        score(config, workdir, model, task, dataset, splits)


def load_splits(config):
    """(Dataset, {split: Faces}): 'train' is the part to train on, 'valid' is taken from train."""
    c = config.data
    dataset = fer_data.load(c.path)
    if dataset.notice:
        print(dataset.notice)
    splits = dict(dataset.splits)
    if "train" not in splits:
        raise UserError(
            f"{dataset.source} has no training images (only {', '.join(splits)}): training needs "
            "train/<class>/Training_*.jpg, or CSV rows with Usage 'Training'"
        )
    try:
        splits["train"], valid = fer_data.split_validation(
            splits["train"], fraction=c.valid_fraction, seed=c.split_seed
        )
        splits["train"] = fer_data.take_fraction(
            splits["train"], fraction=c.train_fraction, seed=c.split_seed
        )
    except ValueError as error:
        raise UserError(f"config: data: {error}") from error
    rest = {name: faces for name, faces in splits.items() if name != "train"}
    return dataset, {"train": splits["train"], "valid": valid} | rest


def build_model(config):
    """The flax module of `config.model`."""
    settings = config.model.to_dict()
    dtype = jnp.bfloat16 if settings.pop("bfloat16") else jnp.float32
    try:
        return make_model(num_classes=len(CLASSES), dtype=dtype, **settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"config: model: {error}") from error


def make_task(config, model, dataset, splits) -> Task:
    """Binds model, loss and data of a config for the training loop."""
    c = config.loss.to_dict()
    augmentation = config.augment.to_dict()
    alpha = augmentation.pop("mixup")
    class_weights = jnp.asarray(
        balanced_class_weights(splits["train"].labels) if c["balanced"] else np.ones(len(CLASSES)),
        jnp.float32,
    )

    def init(key):
        return model.init(key, jnp.zeros((1, 48, 48, 1)), train=False)

    def loss(params, batch_stats, batch, key):
        augment_key, mixup_key, dropout_key = jax.random.split(key, 3)
        targets = smooth_labels(
            jax.nn.one_hot(batch["label"], len(CLASSES)), smoothing=c["label_smoothing"]
        )
        images = augment(augment_key, preprocess(batch["image"]), **augmentation)
        images, targets = mixup(mixup_key, images, targets, alpha=alpha)
        logits, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        weights = batch["mask"] * class_weights[batch["label"]]
        entropy = metrics.masked_mean(optax.softmax_cross_entropy(logits, targets), weights)
        value = metrics.safe_divide(entropy) + l2_penalty(params, c)
        sums = {
            "loss": metrics.Mean(value * batch["mask"].sum(), batch["mask"].sum()),
            "accuracy": metrics.masked_mean(hits(logits, batch["label"]), batch["mask"]),
        }
        return value, (sums, new.get("batch_stats", {}))

    def evaluate(variables, batch):
        logits = model.apply(variables, preprocess(batch["image"]), train=False)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        entropy = entropy + l2_penalty(variables["params"], c)
        return {
            "loss": metrics.masked_mean(entropy, batch["mask"]),
            "accuracy": metrics.masked_mean(hits(logits, batch["label"]), batch["mask"]),
        }

    return Task(
        init=init,
        loss=loss,
        evaluate=evaluate,
        train=arrays(splits["train"]),
        valid=arrays(splits["valid"]),
        identity={"data": dataset.name, "sha256": dataset.sha256, "classes": list(CLASSES)},
        unit="images",
    )


def preprocess(images):
    """u8[B, 48, 48] -> f32[B, 48, 48, 1] in [0, 1]; the same for training and prediction."""
    return images[..., None].astype(jnp.float32) / 255


def hits(logits, labels):
    """f32[B]: 1 where the most likely class is the label."""
    return (logits.argmax(-1) == labels).astype(jnp.float32)


def l2_penalty(params, loss_config):
    """l2 * sum of squares over the kernels named in the config: Keras's kernel_regularizer."""
    kernels = [params[layer]["kernel"] for layer in loss_config["l2_layers"]]
    return loss_config["l2"] * sum((jnp.square(k).sum() for k in kernels), jnp.zeros(()))


def balanced_class_weights(labels) -> np.ndarray:
    """N / (K * count of the class), as scikit-learn's class_weight='balanced'."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    return len(labels) / (len(CLASSES) * np.maximum(counts, 1))


def arrays(faces) -> dict[str, np.ndarray]:
    """Faces as a batch: image u8[N, 48, 48], label i32[N]."""
    return {"image": faces.images, "label": faces.labels}


def fit_settings(config, dataset) -> dict:
    """The arguments of `train_jax.loop.fit` in a config."""
    settings = config.train.to_dict()
    drawn_epochs = settings.pop("epochs_on_drawn_faces")
    if dataset.name == "drawn_faces":
        settings["epochs"] = drawn_epochs
    names = ("optimizer", "schedule", "plateau", "early_stop", "checkpoint")
    return settings | {name: config[name].to_dict() for name in names}


def score(config, workdir, model, task, dataset, splits):
    """Writes eval.json and the confusion figure of the best checkpoint, and prints the table."""
    checkpoints = Checkpoints(workdir / "checkpoints", mode=config.checkpoint.mode)
    saved = checkpoints.best()
    variables = load_variables(config, checkpoints, saved, task)
    checkpoints.close()
    predict = make_predict(model, tta=config.eval.tta)
    scores, clean = {}, {}
    for name, faces in splits.items():
        logits = predict_split(predict, variables, faces.images, config.train.eval_batch_size)
        scores[name] = metrics.classification_scores(logits, faces.labels, CLASSES)
        keep = ~fer_data.has_twin(faces, splits["train"])
        if name != "train" and keep.any():
            clean[name] = metrics.classification_scores(logits[keep], faces.labels[keep], CLASSES)
    epoch = len(saved.record["history"])
    result = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "epoch": epoch,
        "tta": config.eval.tta,
        "splits": scores,
        "clean": clean,
    }
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    print(report.score_table(result, workdir))
    report.draw_confusion(workdir, scores, dataset.name)


def load_variables(config, checkpoints, saved, task) -> dict:
    """What is evaluated: params and batch_stats, the moving average where there is one."""
    variables = jax.jit(task.init)(jax.random.key(0))
    like = variables["params"], variables.get("batch_stats", {})
    if config.train.ema_decay:
        params, batch_stats = checkpoints.load_part(saved, like={"ema": like})["ema"]
    else:
        loaded = checkpoints.load_part(saved, {"params": like[0], "batch_stats": like[1]})
        params, batch_stats = loaded["params"], loaded["batch_stats"]
    return {"params": params, "batch_stats": batch_stats}


def make_predict(model, *, tta):
    """The compiled (variables, images u8[B, 48, 48]) -> logits f32[B, K].

    `tta`: 'none', or 'flip', which averages the log-probabilities of an image and its mirror.
    """
    if tta not in ("none", "flip"):
        raise UserError(f"config: eval.tta must be 'none' or 'flip', got {tta!r}")

    def predict(variables, images):
        images = preprocess(images)
        logits = model.apply(variables, images, train=False)
        if tta == "flip":
            mirrored = model.apply(variables, images[:, :, ::-1], train=False)
            logits = (jax.nn.log_softmax(logits) + jax.nn.log_softmax(mirrored)) / 2
        return logits

    return jax.jit(predict)


def predict_split(predict, variables, images, batch_size) -> np.ndarray:
    """Logits f32[N, K] on the host for images u8[N, 48, 48]."""
    logits = [predict(variables, images[i]) for i, _ in loop.batches(len(images), batch_size)]
    return np.concatenate(logits)[: len(images)]
