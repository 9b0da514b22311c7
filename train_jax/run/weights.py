"""A folder of weights that runs no code: model.safetensors, and model.json, which says what it is.

model.json, the card, is for people and programs: what the task put into it (model, classes,
temperature, scores ...), and of every folder "format", "parameters", "batch_statistics", "arrays"
({name: dtype and shape}) and "sha256" of model.safetensors. manifest.json has the SHA-256 of the
card, so that a changed byte of the two is refused; README.md, which says the same in words, and any
other file may change. What the card says of the task, the task checks, by `field`.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from train_jax.run.checkpoint import array_types
from train_jax.run.errors import UserError
from train_jax.run.files import MANIFEST, write_atomically
from train_jax.run.workdir import is_run

FORMAT = 1
ARRAYS, CARD, README = "model.safetensors", "model.json", "README.md"
# Bounds the memory; fer_lobo has 130 MB
MAX_BYTES = {ARRAYS: 4 << 30, CARD: 16 << 20, MANIFEST: 1 << 20}
FIX = "Export the weights again (--mode=train does), or copy the whole folder again."


class Weights(NamedTuple):
    folder: Path
    variables: dict[str, Any]  # {'params': ..., 'batch_stats': ...} of numpy arrays
    card: dict[str, Any]  # model.json


def export(folder: Path | str, variables, card: dict, *, readme: Callable[[dict], str], half=()):
    """Writes `variables`, the JSON values `card` and `readme` of the whole card into `folder`, made
    if it is not there. UserError if the disk is full, say.

    `half`: names of arrays ('params/Conv_0/kernel') that are stored in 16 bits; `load` gives them
    back in 32.
    """
    folder = Path(folder)
    flat = flatten_dict(jax.device_get(variables), sep="/")
    flat |= {name: flat[name].astype(np.float16) for name in half}
    # safetensors writes the memory of an array as it lies there, transposed or not
    data = safetensors.numpy.save({k: np.asarray(a, order="C") for k, a in flat.items()})
    counts = {k: sum(a.size for a in jax.tree.leaves(v)) for k, v in variables.items()}
    card = {
        "format": FORMAT,
        **card,
        "parameters": counts["params"],
        "batch_statistics": counts.get("batch_stats", 0),
        "arrays": {name: f"{a.dtype}{a.shape}" for name, a in flat.items()},
        "sha256": _sha256(data),
    }
    text = json.dumps(card, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ARRAYS, data)
    write_atomically(folder / README, readme(json.loads(text)))
    write_atomically(folder / CARD, text)
    write_atomically(folder / MANIFEST, json.dumps({"sha256": {CARD: _sha256(text.encode())}}))


def halved(arrays):
    """A tree of arrays as `load` gives it back where `export` stored it in 16 bits."""
    return jax.tree.map(lambda a: a.astype(np.float16).astype(np.float32), arrays)


def load(folder: Path | str) -> Weights:
    """The weights of a folder, checked: the SHA-256 of both files, names, shapes, dtypes, and
    that all is finite.

    Raises:
        UserError: something is missing, unreadable, damaged or not what the card says.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: expected a folder with {CARD} and {ARRAYS}")
    card = _read_card(folder)
    path = folder / ARRAYS
    data = _read(path)
    digest = _sha256(data)
    if digest != field(folder, card, "sha256", str):
        raise UserError(
            f"{path}: damaged, or of other weights: its SHA-256 is {digest}, and {CARD} says "
            f"sha256 {card['sha256']:.80}. {FIX}"
        )
    try:
        arrays = safetensors.numpy.load(data)
    except Exception as error:  # its own, and KeyError on a dtype that numpy lacks
        raise UserError(f"{path}: no safetensors file ({error!s:.200}). {FIX}") from None
    expected = field(folder, card, "arrays", dict)
    _check_same(path, {k: f"{a.dtype}{a.shape}" for k, a in arrays.items()}, expected, CARD)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name:.200} holds NaN or infinity. {FIX}")
    arrays = {k: a.astype(np.float32) if a.dtype == np.float16 else a for k, a in arrays.items()}
    variables = {"params": {}, "batch_stats": {}} | unflatten_dict(arrays, sep="/")
    return Weights(folder, variables, card)


def check_fit(weights: Weights, like):
    """Raises UserError unless the weights have the names, shapes and dtypes of `like`, a model's
    variables (or their `jax.eval_shape`)."""
    found = array_types(weights.variables)
    path = weights.folder / ARRAYS
    _check_same(path, found, array_types(like), f"the model of {CARD}")
    parameters = sum(math.prod(a.shape) for a in jax.tree.leaves(like["params"]))
    if field(weights.folder, weights.card, "parameters", int) != parameters:
        raise UserError(
            f"{weights.folder / CARD}: parameters is {weights.card['parameters']}, and the arrays "
            f"hold {parameters}. {FIX}"
        )


def shipped(package: str, name: str) -> Path:
    """weights/NAME of the repository that the file `package` lies in; once it is installed, the
    folder "shipped" next to it (see pyproject.toml)."""
    here = Path(package).resolve().parent
    installed = here / "shipped"
    return installed if installed.is_dir() else here.parent / "weights" / name


def of_run(folder: Path | str) -> Path:
    """What a run exported; `folder` itself where it is no run. UserError if it exported nothing."""
    folder = Path(folder)
    if not is_run(folder):
        return folder
    if not (folder / "export").exists():
        raise UserError(
            f"{folder} holds a run without export/: training is not over, or its net is of a kind "
            "that is not exported. Run --mode=train to its end, or name other weights"
        )
    return folder / "export"


def begin_with(task, folder: Path | str, expected: dict):
    """`task` with the weights of `folder` in place of its first parameters: fine-tuning.

    Args:
      task: a train_jax.task.Task.
      folder: exported weights, or a run.
      expected: {field of model.json: its value}: what else has to be the same, such as the classes.

    Raises:
      UserError: the folder is damaged, or its arrays or fields are not those of the task.
    """
    weights = load(of_run(folder))
    for name, value in expected.items():
        found = weights.card.get(name)
        if found != value:
            raise UserError(
                f"--init={folder}: {name} of {CARD} is {found!r:.200}, and of this run "
                f"{value!r:.200}: they must be the same"
            )
    like = jax.eval_shape(task.init, jax.random.key(0))
    check_fit(weights, like)
    return task._replace(init=lambda key: {name: weights.variables[name] for name in like})


def check_task(folder: Path | str, card: dict, task: str):
    """UserError if the weights are not of this task."""
    found = field(folder, card, "task", str)
    if found != task:
        raise UserError(
            f"{Path(folder, CARD)}: task is {found!r:.80}, expected {task!r}. Give --weights of a "
            "run of that task."
        )


def field(folder: Path | str, card: dict, name: str, kind: type, of: str = "") -> Any:
    """card[name], or UserError unless it is there and of that kind. `of`: where the card is a part
    of model.json, its name there."""
    value = card.get(name)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        what = "is missing" if name not in card else f"is {value!r:.80}"
        raise UserError(f"{Path(folder, CARD)}: {of}{name} {what}; expected {kind.__name__}. {FIX}")
    return value


def _read_card(folder: Path) -> dict:
    path = folder / CARD
    text, manifest = _read(path), _read(folder / MANIFEST)
    try:
        expected = json.loads(manifest)["sha256"][CARD]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{folder / MANIFEST}: has no SHA-256 of {CARD}. {FIX}") from None
    if _sha256(text) != expected:
        raise UserError(
            f"{path}: damaged: its SHA-256 is {_sha256(text)}, and {MANIFEST} says "
            f"{expected!r:.80}. {FIX}"
        )
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}). {FIX}") from None
    if not isinstance(card, dict):
        raise UserError(f"{path}: expected a JSON object. {FIX}")
    if field(folder, card, "format", int) != FORMAT:
        raise UserError(f"{path}: format is {card['format']}; this program reads {FORMAT}. {FIX}")
    return card


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES[path.name]:
            raise UserError(
                f"{path}: {size:,} bytes, or no regular file; expected a file of at most "
                f"{MAX_BYTES[path.name]:,}. {FIX}"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. {FIX}") from None


def _check_same(path, found: dict, expected: dict, whose: str):
    """UserError naming the first array that is not of the same name, dtype and shape in both."""
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise UserError(
                f"{path}: {name:.200} is {found.get(name, 'absent')!s:.200} in it, and "
                f"{expected.get(name, 'absent')!s:.200} in {whose}. {FIX}"
            )
