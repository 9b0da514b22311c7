"""Facial expressions as a task: from a config to training, and from a checkpoint to scores."""

import dataclasses
import functools
import hashlib
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import FlaxError

from fer_jax import data as fer_data
from fer_jax import folds
from fer_jax.augment import alternating_flip, augment, mixup, shrink, smooth_labels
from fer_jax.data import SIDE
from fer_jax.models import make_model, takes_any_size
from train_jax import metrics
from train_jax import settings as settings_lib
from train_jax.run.errors import UserError, named, naming
from train_jax.settings import Settings
from train_jax.task import Task


def check_settings(config):
    """UserError, naming the field and its value, if a setting cannot be: before data is read."""
    settings_lib.check(config)
    with naming("data"):
        valid, train = config.data.valid_fraction, config.data.train_fraction
        if not 0 <= valid < 1:
            raise ValueError(f"valid_fraction must be in [0, 1), got {valid}")
        if not 0 < train <= 1:
            raise ValueError(f"train_fraction must be in (0, 1], got {train}")
    c = config.augment.to_dict()
    sizes, alpha, probability = (c.pop(n) for n in ("sizes", "mixup", "mixup_probability"))
    check_sizes(sizes)
    del c["alternate_flip"]
    key = jax.random.key(0)
    images = jnp.zeros((2, SIDE, SIDE, 1))
    with naming("augment"):
        jax.eval_shape(lambda: augment(key, images, **c))
        if not 0 <= alpha < math.inf:
            raise ValueError(f"mixup must be finite and >= 0, got {alpha}")
        if not 0 <= probability <= 1:
            raise ValueError(f"mixup_probability must be in [0, 1], got {probability}")
    with naming("loss"):
        if not 0 <= config.loss.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1), got {config.loss.label_smoothing}"
            )


def load_splits(config):
    """(Dataset, {split: Faces}): 'train' is the part to train on, 'valid' is taken from train.

    The Dataset has no splits of its own any more: its whole train split is 66 MB.
    """
    dataset = fer_data.load(config.data.path, fer_data.reading_of(config.data))
    if dataset.notice:
        print(dataset.notice)
    if "train" not in dataset.splits:
        raise UserError(
            f"{dataset.source} has no training images (only {', '.join(dataset.splits)}): training "
            "needs train/<class>/<image>, or CSV rows with Usage 'Training'"
        )
    if "valid" in dataset.splits and config.data.folds:
        print("The data's own validation split is not used: data.folds divides train.")
    return dataset._replace(splits={}), divide(dataset.splits, config.data)


def divide(splits, c) -> dict:
    """`splits` with 'valid' taken from 'train', as `c`, the fields of `config.data`, say; or as it
    came with the data."""
    try:
        if c.get("folds", 0):  # which cards of before 2026-11-26 do not name
            train, valid = leave_out(splits["train"], c["folds"], c["fold"], c["split_seed"])
        elif "valid" in splits:
            train, valid = splits["train"], splits["valid"]
        else:
            train, valid = fer_data.split_validation(
                splits["train"], fraction=c["valid_fraction"], seed=c["split_seed"]
            )
        train = fer_data.take_fraction(train, fraction=c["train_fraction"], seed=c["split_seed"])
    except ValueError as error:
        raise UserError(f"config.data: {error}") from error
    rest = {name: faces for name, faces in splits.items() if name not in ("train", "valid")}
    return {"train": train, "valid": valid} | rest


def leave_out(faces, folds, fold, seed):
    """(the other folds, fold number `fold` of `folds`)."""
    if not 0 <= fold < folds:
        raise UserError(f"data.fold must be from 0 to {folds - 1}, got {fold}")
    left_out = fer_data.assign_folds(faces, folds=folds, seed=seed) == fold
    return fer_data.select(faces, ~left_out), fer_data.select(faces, left_out)


def build_model(config, num_classes=7):
    """The flax module of `config.model`. UserError if its fields make no network."""
    model, variables = model_of(config.model.to_dict(), "config.model", num_classes)
    params = variables["params"]
    unknown = [name for name in config.loss.l2_layers if "kernel" not in params.get(name, {})]
    if unknown:
        raise UserError(
            f"config.loss.l2_layers: no layer {unknown[0]!r} with a kernel, only {list(params)}"
        )
    c = config.augment
    if (c.crop != SIDE or c.sizes) and not takes_any_size(model):
        raise UserError(
            f"config.augment.crop and augment.sizes need a model.name that takes any size, such "
            f"as 'best', got {config.model.name!r}"
        )
    return model


def model_of(settings: dict, where: str, num_classes=7):
    """The flax module of the fields of `config.model`, and the shapes of its variables.

    UserError, which begins with `where`, if they make no network.
    """
    settings = dict(settings)
    for name in ("features", "dense"):
        if any(isinstance(n, int) and n < 1 for n in jax.tree.leaves(settings.get(name))):
            raise UserError(f"{where}.{name}: must be numbers of at least 1, got {settings[name]}")
    try:
        dtype = jnp.bfloat16 if settings.pop("bfloat16") else jnp.float32
        model = make_model(num_classes=num_classes, dtype=dtype, **settings)
        variables = jax.eval_shape(functools.partial(init_model, model), jax.random.key(0))
    except (KeyError, TypeError, ValueError, ArithmeticError, FlaxError) as error:
        raise UserError(named(where, error)) from error
    return model, variables


def init_model(model, key):
    """{'params': ..., 'batch_stats': ...} for images of FER-2013's size."""
    return model.init(key, jnp.zeros((1, SIDE, SIDE, 1)), train=False)


def make_task(config, model, dataset, splits) -> Task:
    """Binds model, loss and data of a config for the training loop."""
    c = config.loss.to_dict()
    augmentation = config.augment.to_dict()
    mixing = {"alpha": augmentation.pop("mixup")}
    mixing["probability"] = augmentation.pop("mixup_probability")
    sizes, alternate = augmentation.pop("sizes"), augmentation.pop("alternate_flip")
    check_sizes(sizes)
    epochs = settings_of(config, dataset).epochs
    num_classes, soft_weight = len(dataset.classes), c["soft_weight"]
    soft, identity = {}, {}
    if not 0 <= soft_weight <= 1 or (soft_weight and not config.data.soft_labels):
        raise UserError(
            "config.loss.soft_weight must be in [0, 1], and 0 without data.soft_labels, got "
            f"{soft_weight}"
        )
    if soft_weight:
        soft = {"soft": soft_targets(config, splits["train"], dataset.classes)}
        identity = {"soft_sha256": hashlib.sha256(soft["soft"].tobytes()).hexdigest()}
    class_weights = jnp.asarray(
        balanced_class_weights(splits["train"].labels, num_classes)
        if c["balanced"] else np.ones(num_classes),
        jnp.float32,
    )  # fmt: skip

    def loss(params, batch_stats, batch, key, *, size, odd):
        augment_key, mixup_key, dropout_key = jax.random.split(key, 3)
        targets = jax.nn.one_hot(batch["label"], num_classes)
        if soft_weight:
            targets = (1 - soft_weight) * targets + soft_weight * batch["soft"]
        targets = smooth_labels(targets, smoothing=c["label_smoothing"])
        images = alternating_flip(batch["image"], odd=odd) if alternate else batch["image"]
        images = augment(augment_key, preprocess(images), **augmentation)
        images = shrink(images, size=min(size, images.shape[1]))
        images, targets = mixup(mixup_key, images, targets, **mixing)
        logits, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        weights = batch["mask"] * class_weights[batch["label"]]
        entropy = metrics.masked_total(optax.softmax_cross_entropy(logits, targets), weights)
        value = metrics.safe_divide(entropy) + l2_penalty(params, c)
        sums = {
            "loss": metrics.TotalAndCount(value * batch["mask"].sum(), batch["mask"].sum()),
            "accuracy": metrics.masked_total(hits(logits, batch["label"]), batch["mask"]),
        }
        return value, (sums, new.get("batch_stats", {}))

    @functools.cache  # one function a size and parity, so that each is compiled once
    def loss_of(size, odd):
        return functools.partial(loss, size=size, odd=odd)

    def loss_at(epoch):
        return loss_of(image_size(epoch, epochs, sizes), alternate and epoch % 2 == 1)

    def evaluate(variables, batch):
        logits = model.apply(variables, preprocess(batch["image"]), train=False)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        entropy = entropy + l2_penalty(variables["params"], c)
        return {
            "loss": metrics.masked_total(entropy, batch["mask"]),
            "accuracy": metrics.masked_total(hits(logits, batch["label"]), batch["mask"]),
        }

    return Task(
        init=functools.partial(init_model, model),
        loss=loss_of(SIDE, False),
        evaluate=evaluate,
        train=arrays(splits["train"]) | soft,
        valid=arrays(splits["valid"]),
        identity={
            "data": dataset.name,
            "train_valid_sha256": train_valid_sha256(splits),
            "classes": list(dataset.classes),
        }
        | identity,
        unit="images",
        loss_at=loss_at,
    )


def soft_targets(config, train, classes) -> np.ndarray:
    """f32[N, K]: for each image of train, what people voted (FER+), or what data.soft_labels says.

    UserError if there is neither, or loss.soft_weight is out of range.
    """
    weight, folder = config.loss.soft_weight, config.data.soft_labels
    if not 0 <= weight <= 1 or (train.votes is None and not folder):
        raise UserError(
            "config.loss.soft_weight must be in [0, 1], and 0 without data.soft_labels or "
            f"data.labels='ferplus', got {weight}"
        )
    if folder:
        return folds.soft_targets(folds.load(Path(folder), classes), train.images, folder)
    votes = train.votes.astype(np.float32)
    return votes / votes.sum(1, keepdims=True)  # the label has most of the votes, so one at least


def image_size(epoch, epochs, sizes) -> int:
    """The pixels of a side in an epoch, from 0, by `config.augment.sizes`.

    At least the last two epochs have 48, for which batch norm then has the right statistics.
    """
    for pixels, until in sizes:
        if epoch < min(round(until * epochs), epochs - 2):
            return pixels
    return SIDE


def check_sizes(sizes):
    """UserError unless they are (pixels, until which share of the epochs), shares growing."""
    try:
        pixels = [p for p, _ in sizes]
        shares = [0, *(until for _, until in sizes), 1]
        fine = all(isinstance(p, int) and 8 <= p <= SIDE for p in pixels)
        fine = fine and all(a <= b for a, b in zip(shares, shares[1:], strict=False))
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise UserError(
            f"config.augment.sizes must be pairs (pixels from 8 to {SIDE}, share of the epochs "
            f"until which), with growing shares up to 1, got {sizes}"
        )


def train_valid_sha256(splits) -> str:
    """Not of the test splits: a run may be scored on one that came later."""
    return fer_data.sha256({name: splits[name] for name in ("train", "valid")})


# What `preprocess` does, in words: travels with exported weights, which are refused by a program
# that says otherwise. Whoever changes the function changes this.
PREPROCESSING = "grey 48x48 uint8 / 255, as float32[B, 48, 48, 1]"


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


def balanced_class_weights(labels, num_classes) -> np.ndarray:
    """N / (K * count of the class), as scikit-learn's class_weight='balanced'."""
    counts = np.bincount(labels, minlength=num_classes)
    return len(labels) / (num_classes * np.maximum(counts, 1))


def arrays(faces) -> dict[str, np.ndarray]:
    """Faces as a batch: image u8[N, 48, 48], label i32[N]."""
    return {"image": faces.images, "label": faces.labels}


def settings_of(config, dataset) -> Settings:
    """How to train; on drawn faces that nobody asked for, no longer than shows that all works."""
    settings = settings_lib.of_config(config)
    if dataset.name == "drawn_faces" and not config.data.path:
        epochs = min(settings.epochs, fer_data.STAND_IN_EPOCHS)
        return dataclasses.replace(settings, epochs=epochs)
    return settings
