"""Random damage to checkpoints and exported weights: all of it must be noticed and named.

python -m tests.reliability.corrupt --n=2000     # two minutes

Each trial damages one file, or adds or deletes one, in a copy of a workdir with two checkpoints (of
which the newest is damaged) or of an exported folder. A checkpoint must be moved away with a line
that names the file, and the state must come back from the older one bit for bit; weights must be
refused with a line that names the file, or, where the damage is to README.md or to another file
than the arrays and their card, come back bit for bit. One trial in 20 damages nothing, and nothing
may be said.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from configs import seq_attention
from seq_jax import attention_task, models, subwords
from seq_jax import weights as seq_weights
from train_jax import early_stop, loop, parallel, plateau
from train_jax import state as state_lib
from train_jax.metrics import TotalAndCount
from train_jax.run import weights
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.files import MANIFEST


def flip(folder, path, rng):
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    if not data:
        return grow(folder, path, rng)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(folder, path, rng):
    """A file that ends too early."""
    size = path.stat().st_size
    if not size:
        return grow(folder, path, rng)
    os.truncate(path, rng.choice([0, size - 1, rng.randrange(size)]))


def grow(folder, path, rng):
    """Bytes after the end; blanks leave JSON what it was."""
    with open(path, "ab") as file:
        file.write(rng.choice([b"\n", b" ", b"\0", rng.randbytes(rng.randrange(1, 5000))]))


def zero(folder, path, rng):
    """A sector of zeros, as a file system leaves it after a loss of power."""
    data = bytearray(path.read_bytes())
    if not any(data):
        return grow(folder, path, rng)
    at = rng.choice([place for place, byte in enumerate(data) if byte]) // 512 * 512
    end = min(at + 512, len(data))
    data[at:end] = bytes(end - at)
    path.write_bytes(data)


def delete(folder, path, rng):
    """A file that is gone."""
    path.unlink()


def delete_folder(folder, path, rng):
    """The whole folder that the file lay in, but not the checkpoint itself. Returns it."""
    if path.parent == folder:
        path.unlink()
        return path
    shutil.rmtree(path.parent)
    return path.parent


def rename(folder, path, rng):
    """A file under another name."""
    path.rename(path.with_name(rng.choice(["x", "." + path.name, path.name + ".tmp"])))


def add(folder, path, rng):
    """A file, an empty folder, a pipe or a link that was not there. Returns it."""
    names = ["x", ".x", MANIFEST + ".tmp", "manifest (copy).json", "ಕ", "a b", "record.json~"]
    if path.parent != folder:
        names += [MANIFEST, "record.json"]
    new = path.parent / rng.choice(names)
    kind = rng.randrange(6)
    if kind == 0:
        new.mkdir()
    elif kind == 1:
        os.mkfifo(new)
    elif kind == 2:
        new.symlink_to(rng.choice(["nowhere", path.name, folder]))
    elif kind == 3:
        shutil.copy(path, new)
    else:
        new.write_bytes(rng.randbytes(rng.randrange(100)))
    return new


def retype_json(folder, path, rng):
    """JSON that stays valid: another number, word or key, another order, other blanks."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return flip(folder, path, rng)
    before = path.read_bytes()
    kind = rng.randrange(4)
    if kind == 0:
        text = json.dumps(content, indent=rng.choice([None, 2, 3]))
    elif kind == 1 and isinstance(content, dict):
        text = json.dumps(dict(reversed(content.items())) | {"more": 1}, indent=1)
    elif kind == 2 and isinstance(content, dict) and content:
        key = rng.choice(list(content))  # the same key twice: a reader takes the last one
        text = (
            json.dumps(content, indent=1)[:-1] + f",{json.dumps(key)}: {json.dumps(content[key])}}}"
        )
    else:
        text = json.dumps(_other(content, rng), indent=1)
    if text.encode() == before:
        text += "\n"
    path.write_text(text)


def _other(value, rng):
    """`value` with one leaf changed."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return value | {key: _other(value[key], rng)}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        return [*value[:at], _other(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + rng.choice([1, -1, 0.5])
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        return value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
    return 1


def swap(folder, path, rng):
    """The file of that name of another checkpoint or export, or another file of the same folder."""
    other = folder.parent / ("1" if folder.name == "2" else "other") / path.relative_to(folder)
    others = [other] if other.exists() else []
    others += [p for p in files_of(folder) if p != path]
    data = rng.choice(others).read_bytes()
    if data == path.read_bytes():
        return flip(folder, path, rng)
    path.write_bytes(data)


DAMAGES = [flip, flip, flip, truncate, grow, zero, delete, delete_folder, rename, add, add,
           retype_json, retype_json, swap]  # fmt: skip


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


PLATEAU = plateau.Settings(
    base_lr=1.0, mode="min", factor=0.5, patience=1, min_delta=0.0, cooldown=0, min_lr=0.0
)
EARLY_STOP = early_stop.Settings(
    mode="min", patience=1, min_delta=0.0, baseline=None, start_from_epoch=0
)


def make_state(seed):
    """A small TrainState with random numbers in it."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return state_lib.create(
        variables={"params": {"Dense_0": {"kernel": array(5, 7), "bias": array(7)}}},
        optimizer=optax.adam(0.1),
        plateau=plateau.init(PLATEAU),
        early_stop=early_stop.init(EARLY_STOP),
        metrics={"loss": TotalAndCount(array(), array())},
        ema_decay=0.9,
        key=jax.random.key(seed, impl="rbg"),
    )


def make_originals(folder: Path):
    """checkpoints/1, the best, checkpoints/2, the newest; export/w and export/other."""
    checkpoints = Checkpoints(folder / "checkpoints", mode="min")
    for label, metric in ((1, 0.3), (2, 0.5)):
        record = {
            "history": [{"epoch": e + 1, "loss": 1 / 3} for e in range(label)],
            "elapsed": 0.5,
        }
        checkpoints.save(label, make_state(label), record=record, metric=metric)
    for seed, name in enumerate(("w", "other")):
        card = {"classes": ["a", "b"], "temperature": {"none": 1.25 + seed}, "note": "ಕನ್ನಡ"}
        variables = {"params": make_state(seed).params}
        weights.export(folder / "export" / name, variables, card, readme=lambda card: f"# {card}\n")


def damage(folder: Path, rng) -> tuple[str, str]:
    """Damages a folder: (what was done, the path relative to it that has to be named)."""
    path = rng.choice(files_of(folder))
    how = rng.choice(DAMAGES)
    path = how(folder, path, rng) or path
    return how.__name__, str(path.relative_to(folder))


def resumes_from(workdir: Path) -> tuple[list[int], str]:
    """(The epochs behind the state that `fit` would continue, what it prints.) The state itself is
    compared with the one that was saved."""
    said = io.StringIO()
    mesh = parallel.make_mesh(1)
    with contextlib.redirect_stdout(said):
        checkpoints = Checkpoints(workdir / "checkpoints", mode="min")
        state, history, _ = loop._resume(checkpoints, make_state(0), mesh)
    saved = make_state(len(history))
    for found, expected in zip(jax.tree.leaves(state), jax.tree.leaves(saved), strict=True):
        if jax.dtypes.issubdtype(found.dtype, jax.dtypes.prng_key):
            found, expected = jax.random.key_data(found), jax.random.key_data(expected)
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
    return len(history), said.getvalue()


def try_checkpoint(original: Path, folder: Path, rng) -> str:
    """Damages the newest of two checkpoints; what was done. AssertionError if it goes unnoticed."""
    shutil.copytree(original / "checkpoints", folder / "checkpoints")
    if rng.random() < 0.05:
        assert resumes_from(folder) == (2, "continuing after epoch 2, step 0\n")
        return "checkpoint: nothing"
    how, name = damage(folder / "checkpoints" / "2", rng)
    epochs, said = resumes_from(folder)
    assert epochs == 1, f"{how} of {name}: continues after epoch {epochs}: {said}"
    damaged, continues = said.splitlines()
    assert f"{folder}/checkpoints/2 is damaged and moved to {folder}/damaged/2: " in damaged, said
    assert name in damaged, f"{how} of {name} is not named: {damaged}"
    assert continues == "continuing after epoch 1, step 0"
    return f"checkpoint: {how}"


def try_weights(original: Path, folder: Path, rng) -> str:
    """The same for exported weights, of which model.safetensors and model.json count."""
    shutil.copytree(original / "export", folder / "export")
    target = folder / "export" / "w"
    if rng.random() < 0.05:
        weights.load(target)
        return "weights: nothing"
    how, name = damage(target, rng)
    both = (weights.ARRAYS, weights.CARD)
    same = all((target / n).is_file() and not changed(original, target, n) for n in both)
    try:
        found = weights.load(target)
    except UserError as error:
        assert not same or name == MANIFEST, f"{how} of {name} is no damage: {error}"
        assert str(target) in str(error)
        assert name in str(error) or name == MANIFEST, f"{how} of {name}: {error}"
        return f"weights: {how}"
    assert same, f"{how} of {name} is not noticed"
    whole = weights.load(original / "export" / "w")
    assert found.card == whole.card
    jax.tree.map(np.testing.assert_array_equal, found.variables, whole.variables)
    return f"weights: {how}, no damage"


def changed(original: Path, target: Path, name: str) -> bool:
    whole = original / target.parent.name / target.name
    return (whole / name).read_bytes() != (target / name).read_bytes()


def make_translator(folder: Path):
    """translators/w and translators/other: the smallest exported encoder-decoders with subwords."""
    for seed, name in enumerate(("w", "other")):
        sentences = [f"{a} goes {b}" for a in "abcde" for b in ("home", "out", str(seed))]
        vocabularies = [subwords.train(side, size=40, kind="bpe") for side in (sentences,) * 2]
        config = seq_attention.get_config()
        for field in ("embedding", "encoder_units", "units"):
            config.model[field] = 2
        model = models.make_model(
            **config.model.to_dict(), source_vocabulary=len(vocabularies[0].words),
            target_vocabulary=len(vocabularies[1].words),
        )  # fmt: skip
        variables = attention_task.init_model(model, jax.random.key(seed))
        target = folder / "translators" / name
        target.mkdir(parents=True)
        for side, vocabulary in zip(seq_weights.SIDES, vocabularies, strict=True):
            seq_weights.write_vocabulary(target / f"{side}.json", vocabulary)
        card = {
            "task": "seq", "model": config.model.to_dict(), "lengths": [8, 12],
            "vocabularies": seq_weights.about(vocabularies), "punctuation": "strip",
            "decode": {"beam": 2, "alpha": 1.0, "no_repeat": 0, "mbr": False},
        }  # fmt: skip
        weights.export(target, variables, card, readme=lambda card: "# w\n")


def try_translator(original: Path, folder: Path, rng) -> str:
    """The same for a translator, of which the sentencepiece models count, too."""
    shutil.copytree(original / "translators", folder / "translators")
    target = folder / "translators" / "w"
    if rng.random() < 0.05:
        seq_weights.load(target)
        return "translator: nothing"
    how, name = damage(target, rng)
    needed = (weights.ARRAYS, weights.CARD, "source.model", "target.model")
    same = all((target / n).is_file() and not changed(original, target, n) for n in needed)
    try:
        found = seq_weights.load(target)
    except UserError as error:
        assert not same or name == MANIFEST, f"{how} of {name} is no damage: {error}"
        # without its model a side is looked for in words
        named = name in str(error) or name.replace(".model", ".json") in str(error)
        assert str(target) in str(error) and (named or name == MANIFEST), (
            f"{how} of {name}: {error}"
        )
        return f"translator: {how}"
    assert same, f"{how} of {name} is not noticed"
    for side, vocabulary in zip(seq_weights.SIDES, found.vocabularies, strict=True):
        whole = (original / "translators" / "w" / f"{side}.model").read_bytes()
        assert vocabulary.model == whole
    return f"translator: {how}, no damage"


def campaign(n: int, seed: int) -> dict:
    """{kind of damage: number of trials}; AssertionError at the first that goes unnoticed."""
    rng, seen = random.Random(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as original:
        original = Path(original)
        make_originals(original)
        make_translator(original)
        for number in range(n):
            with tempfile.TemporaryDirectory() as folder:
                trial = try_weights if number % 3 == 2 else try_checkpoint
                trial = try_translator if number % 12 == 5 else trial
                seen[trial(original, Path(folder), rng)] += 1
    return dict(sorted(seen.items()))


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)
    for kind, number in campaign(arguments.n, arguments.seed).items():
        print(f"{number:5d}  {kind}")
    print(f"{arguments.n} trials, none unnoticed, none named wrongly")


if __name__ == "__main__":
    main(sys.argv[1:])
