"""The same nets and steps in Keras 3 on TensorFlow, through train_on_batch, fit and a call."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
import timing  # noqa: E402
from keras import layers, ops  # noqa: E402

keras.utils.set_random_seed(0)


def lobo():
    l2 = keras.regularizers.L2(0.01)

    def conv(features, padding="same", **more):
        return layers.Conv2D(features, 3, padding=padding, activation="relu", **more)

    return keras.Sequential([
        keras.Input((48, 48, 1)),
        conv(32), conv(64),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.Dropout(0.25),
        conv(128, kernel_regularizer=l2), conv(256, "valid", kernel_regularizer=l2),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.Dropout(0.25),
        layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dropout(0.5),
        layers.Dense(7),
    ])  # fmt: skip


def best():
    x = inputs = keras.Input((48, 48, 1))
    x = x - ops.mean(x, (1, 2, 3), keepdims=True)
    x = x / (ops.sqrt(ops.mean(ops.square(x), (1, 2, 3), keepdims=True)) + 0.05)
    for number, block in enumerate(timing.FEATURES):
        for unit, features in enumerate(block):
            y = layers.Conv2D(features, 3, padding="same", use_bias=False)(x)
            y = layers.Add()([y, x]) if unit > 0 else y
            last = unit == len(block) - 1 and number < len(timing.FEATURES) - 1
            y = layers.MaxPooling2D()(y) if last else y
            x = layers.ReLU()(layers.BatchNormalization()(y))
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(7)(x))


def many_to_many(cell, length):
    embedding, units = (128, 64) if cell == "lstm" else (64, 256)
    kinds = {"simple_rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
    return keras.Sequential([
        keras.Input((length,), dtype="int32"),
        layers.Embedding(timing.VOCABULARIES[0], embedding),
        kinds[cell](units, return_sequences=True),
        layers.Dense(1024, activation="relu"), layers.Dropout(0.2),
        layers.Dense(timing.VOCABULARIES[1]),
    ])  # fmt: skip


def load(case):
    def work():
        batches = keras.utils.image_dataset_from_directory(
            timing.jpegs() / "train", color_mode="grayscale", image_size=(48, 48),
            batch_size=case.batch, verbose=False,
        )  # fmt: skip
        return sum(len(images) for images, _ in batches)

    return work


def make(case):
    if case.kind == "load":
        return load(case)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if case.kind == "recurrent":
        net = many_to_many(case.net, case.length)
        net.compile(keras.optimizers.Adam(1e-3), entropy)
        data = timing.sentences(case.sentences, case.length)
        return lambda: net.fit(*data, batch_size=case.batch, verbose=0)
    images, labels = timing.faces(case.batch)
    net = lobo() if case.net == "lobo" else best()
    if case.kind == "infer":
        call, images = tf.function(lambda x: net(x, training=False)), tf.constant(images)
        return lambda: call(images).numpy()
    if case.net == "lobo":
        net.compile(keras.optimizers.Adam(1e-4), entropy)
        return lambda: net.train_on_batch(images, labels)
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    net.compile(
        keras.optimizers.AdamW(
            2e-3, weight_decay=0.1, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
        ),
        smooth,
    )
    targets = keras.utils.to_categorical(labels, 7)
    return lambda: net.train_on_batch(images, targets)


if __name__ == "__main__":
    timing.report(make, f"keras {keras.__version__} on tensorflow {tf.__version__}")
