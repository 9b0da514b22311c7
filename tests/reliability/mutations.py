"""Breaks the code on purpose, one line at a time, and runs the tests of that file.

python -m tests.reliability.mutations [words of the file names]

Works on a copy. A breakage that no test notices is a survivor.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class Mutation(NamedTuple):
    file: str
    old: str  # once in the file
    new: str


TESTS = {
    "seq_jax/cells.py": ["tests/seq_jax/test_cells.py", "tests/seq_jax/test_recurrent.py"],
    "seq_jax/recurrent.py": ["tests/seq_jax/test_rnn_golden.py", "tests/seq_jax/test_recurrent.py"],
    "seq_jax/data.py": ["tests/seq_jax/test_data.py"],
    "train_jax/plateau.py": ["tests/train_jax/test_plateau.py"],
    "train_jax/early_stop.py": ["tests/train_jax/test_early_stop.py"],
    "train_jax/metrics.py": ["tests/train_jax/test_metrics.py"],
    "train_jax/step.py": ["tests/train_jax/test_step.py"],
    "train_jax/dropout.py": ["tests/train_jax/test_dropout.py"],
    "fer_jax/convolution.py": ["tests/fer_jax/test_convolution.py"],
    "fer_jax/winograd.py": ["tests/fer_jax/test_convolution.py"],
    "fer_jax/cpu_convolution.py": ["tests/fer_jax/test_convolution.py"],
    "fer_jax/batch_norm.py": ["tests/fer_jax/test_batch_norm.py"],
    "train_jax/bfloat16.py": ["tests/train_jax/test_bfloat16.py"],
    "train_jax/run/saver.py": ["tests/train_jax/run/test_saver.py"],
    "train_jax/compiler.py": ["tests/train_jax/test_compiler.py"],
    "train_jax/epoch.py": ["tests/train_jax/test_epoch.py"],
    "fer_jax/augment.py": ["tests/fer_jax/test_augment.py"],
    "fer_jax/data.py": ["tests/fer_jax/test_data.py", "tests/fer_jax/test_folds.py"],
}
CELLS, PLATEAU, STOP = "seq_jax/cells.py", "train_jax/plateau.py", "train_jax/early_stop.py"
METRICS, AUGMENT, DATA = "train_jax/metrics.py", "fer_jax/augment.py", "fer_jax/data.py"
DROPOUT, CONVOLUTION = "train_jax/dropout.py", "fer_jax/convolution.py"
WINOGRAD, CHOICE = "fer_jax/winograd.py", "fer_jax/cpu_convolution.py"
BATCH_NORM, BFLOAT16 = "fer_jax/batch_norm.py", "train_jax/bfloat16.py"
SAVER, COMPILER = "train_jax/run/saver.py", "train_jax/compiler.py"
STEP, EPOCH, RECURRENT = "train_jax/step.py", "train_jax/epoch.py", "seq_jax/recurrent.py"

MUTATIONS = [
    Mutation(CELLS, "    i, f, g, o = jnp.split", "    i, f, o, g = jnp.split"),
    Mutation(CELLS, "c = f * carry.c + i * g", "c = i * carry.c + f * g"),
    Mutation(CELLS, "h=o * jnp.tanh(c))", "h=o * c)"),
    Mutation(CELLS, "n = jnp.tanh(x_n + r * h_n)", "n = jnp.tanh(r * (x_n + h_n))"),
    Mutation(CELLS, "    x_z, x_r, x_n = jnp.split", "    x_r, x_z, x_n = jnp.split"),
    Mutation(CELLS, "jnp.tanh(x_n + times(r * h, u_n))", "jnp.tanh(x_n + r * times(h, u_n))"),
    Mutation(CELLS, "jnp.tanh(projected + recurrent)", "jnp.tanh(projected)"),
    Mutation(CELLS, '+ params["bias"][1:]', ""),
    Mutation(CELLS, "two_biases=False, forget_gate=1", "two_biases=False, forget_gate=0"),
    Mutation(CELLS, "return h if drop is None else h * drop", "return h"),
    Mutation(RECURRENT, "jnp.where(mask, new.h, 0)", "new.h"),
    Mutation(RECURRENT, "*inputs, reverse=reverse, unroll", "*inputs, unroll"),
    Mutation(RECURRENT, "jnp.where(mask, new, old), new, carry", "new, new, carry"),
    Mutation(
        PLATEAU,
        "improves(value, state.best, settings)",
        "improves(value, state.best, dataclasses.replace(settings, min_delta=0))",
    ),
    Mutation(PLATEAU, "jnp.maximum(state.cooldown - 1, 0)", "state.cooldown"),
    Mutation(PLATEAU, "(wait >= settings.patience)", "(wait > settings.patience)"),
    Mutation(
        PLATEAU,
        "jnp.maximum(state.scale * settings.factor, lowest)",
        "state.scale * settings.factor",
    ),
    Mutation(PLATEAU, "wait=jnp.where(reduce, 0, wait)", "wait=wait"),
    Mutation(PLATEAU, "return value - settings.min_delta > best", "return value > best"),
    Mutation(PLATEAU, "| ~state.started", ""),
    Mutation(STOP, "restart = better & improves", "restart = improves"),
    Mutation(STOP, "(~better & (wait >= settings.patience))", "(wait >= settings.patience)"),
    Mutation(STOP, "epoch >= settings.start_from_epoch", "epoch > settings.start_from_epoch"),
    Mutation(STOP, "stop=state.stop | ", "stop="),
    Mutation(STOP, "best_epoch=jnp.where(better, epoch, state.best_epoch)", "best_epoch=epoch"),
    Mutation(
        METRICS,
        "TotalAndCount((values * mask).sum(), mask.sum())",
        "TotalAndCount(values.sum(), mask.sum())",
    ),
    Mutation(METRICS, "jnp.where(mean.count > 0, mean.count, 1)", "mean.count"),
    Mutation(METRICS, "z * z / (4 * n * n)", "z * z / (4 * n)"),
    Mutation(
        METRICS,
        "np.asarray(labels, np.int64) * num_classes + predictions",
        "np.asarray(predictions, np.int64) * num_classes + labels",
    ),
    Mutation(METRICS, 'kind="stable")[:, :2]', 'kind="stable")[:, :3]'),
    Mutation(METRICS, "recall[present].mean()", "recall.mean()"),
    Mutation(AUGMENT, "where(flip, images[:, :, ::-1]", "where(flip, images[:, ::-1]"),
    Mutation(
        AUGMENT,
        "jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)",
        "jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)",
    ),
    Mutation(AUGMENT, "_uniform(zoom_key, (n, 2)", "_uniform(zoom_key, (n, 1)"),
    Mutation(AUGMENT, "_uniform(shift_key, (n, 2)", "_uniform(zoom_key, (n, 2)"),
    Mutation(AUGMENT, "float(probability), (shape[0], 1))", "float(probability), shape)"),
    Mutation(AUGMENT, "parity == int(odd)", "parity == 1"),
    Mutation(AUGMENT, "0, height - size + 1, jnp.int32)", "0, height - size, jnp.int32)"),
    Mutation(AUGMENT, "jnp.where(chosen, mix, 1)", "jnp.where(chosen, mix, 0)"),
    Mutation(AUGMENT, "(images - mean) * scale + mean + add", "images * scale + add"),
    Mutation(AUGMENT, 'order=1, mode="nearest"', 'order=1, mode="constant"'),
    Mutation(AUGMENT, "images.mean((1, 2), keepdims=True), images)", "0.0, images)"),
    Mutation(AUGMENT, "smoothing / targets.shape[-1]", "smoothing"),
    Mutation(AUGMENT, "mix * targets + (1 - mix) * targets[partner]", "targets"),
    Mutation(AUGMENT, "[[(height - 1) / 2, (width - 1) / 2]]", "[[height / 2, width / 2]]"),
    Mutation(DATA, "if not room.any():", "if not room.all():"),
    Mutation(DATA, "groups.setdefault(image.tobytes(), [])", "groups.setdefault(index, [])"),
    Mutation(
        DATA,
        "for number in np.random.default_rng(seed).permutation(len(groups)):\n        if not",
        "for number in range(len(groups)):\n        if not",
    ),
    Mutation(DATA, "fold[members] = least =", "fold[members[0]] = least ="),
    Mutation(
        DATA, "np.lexsort((counts.sum(1), counts[:, labels[0]]))", "np.lexsort((counts[:, 0],))"
    ),
    Mutation(DATA, "flat -= flat.mean(1, keepdims=True)", ""),
    Mutation(DATA, "np.where(value > best, first + place, index)", "first + place"),
    Mutation(
        DATA,
        "return select(train, ~is_valid), select(train, is_valid)",
        "return select(train, is_valid), select(train, is_valid)",
    ),
    Mutation(
        DATA,
        "members = rng.permutation(np.flatnonzero(faces.labels == label))",
        "members = np.flatnonzero(faces.labels == label)",
    ),
    Mutation(STEP, "u * state.plateau.scale.astype(u.dtype)", "u"),
    Mutation(STEP, "jax.random.fold_in(state.key, state.step)", "state.key"),
    Mutation(STEP, "jnp.where(first_bad, state.step, state.bad_step)", "state.bad_step"),
    Mutation(EPOCH, "np.random.default_rng([seed, epoch])", "np.random.default_rng([seed, 0])"),
    Mutation(EPOCH, "(rows < n).astype(np.float32)", "np.ones(len(rows), np.float32)"),
    Mutation(DROPOUT, ">= dropped", "> dropped"),
    Mutation(DROPOUT, "(LEVELS / (LEVELS - dropped))", "1"),
    Mutation(DROPOUT, "jax.random.bits(key, ", "jax.random.bits(jax.random.key(0), "),
    Mutation(CHOICE, "kernel[i : i + 1, j : j + 1]", "kernel[j : j + 1, i : i + 1]"),
    Mutation(CHOICE, "and x.shape[-1] == 1:", "and True:"),
    Mutation(CHOICE, "half=half, training=True)", "half=half, training=False)"),
    Mutation(CHOICE, "b * (h // 2) * (w // 2) >= MIN_TILES", "b * h * w >= MIN_TILES"),
    Mutation(CHOICE, "isinstance(b, int)", "True"),
    Mutation(CONVOLUTION, "jax.jvp(training, primals", "jax.jvp(forward, primals"),
    Mutation(CONVOLUTION, "cpu=forward, default=by_xla", "default=forward"),
    Mutation(
        BFLOAT16,
        "product_p.bind(x, cotangent, summed=(1 - left, 0))",
        "product_p.bind(x, cotangent, summed=(left, 0))",
    ),
    Mutation(BFLOAT16, ", preferred_element_type=jnp.float32", ""),
    Mutation(BATCH_NORM, "x[(slice(1),) * len(axes)]", "0 * x[(slice(1),) * len(axes)]"),
    Mutation(SAVER, "if w.best and not best", "if False"),
    Mutation(SAVER, "copy(state), metric", "state, metric"),
    Mutation(COMPILER, '"gpu"', '"cpu"'),
    Mutation(WINOGRAD, "c - b, b - d", "b - c, b - d"),
    Mutation(WINOGRAD, "(a - b + c) / 2", "(a + b - c) / 2"),
    Mutation(WINOGRAD, "kernel[i][j]", "kernel[j][i]"),
]


def main(words):
    chosen = [m for m in MUTATIONS if all(word in m.file for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repo"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "raw"))
        for number, mutation in enumerate(chosen, 1):
            caught = is_caught(copy, mutation)
            survivors += [] if caught else [mutation]
            word = "caught" if caught else "SURVIVED"
            print(f"{number}/{len(chosen)} {word}: {mutation.file}: {mutation.old}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")


def is_caught(copy, mutation) -> bool:
    path = copy / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.file} holds {text.count(mutation.old)} times: {mutation.old}")
    path.write_text(text.replace(mutation.old, mutation.new))
    command = [sys.executable, "-m", "pytest", "-q", "-x", *TESTS[mutation.file]]
    done = subprocess.run(command, cwd=copy, capture_output=True)
    path.write_text(text)
    if done.returncode not in (0, 1):  # the tests could not run
        sys.exit(f"{mutation}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.returncode == 1


if __name__ == "__main__":
    main(sys.argv[1:])
