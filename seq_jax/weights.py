"""Exported weights of a translator: what train leaves in WORKDIR/export, and weights/seq_best."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import jax
from flax.traverse_util import flatten_dict

from seq_jax import subwords, text
from seq_jax.attention_task import init_model
from seq_jax.models import make_model
from seq_jax.old_runs import LATER
from seq_jax.report import card as model_card
from seq_jax.text import tokenise
from seq_jax.translator import Hypothesis, Search, Translate, best_texts, make_translate
from train_jax.run import weights as weights_lib
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically
from train_jax.run.weights import CARD, FIX, field

SHIPPED = weights_lib.shipped(__file__, "seq_best")
SIDES = ("source", "target")
BATCH = 64  # sentences that are translated at once
MAX_MODEL = 64 << 20  # bytes of a sentencepiece model; bounds the memory


class Translator(NamedTuple):
    """A trained encoder-decoder with all that it needs."""

    model: Any  # flax module
    variables: dict[str, Any]  # {'params': ...} of numpy arrays, float32
    vocabularies: tuple  # of the source and the target, see text.Vocabulary and subwords.Subwords
    lengths: tuple[int, ...]  # see translator.make_translate
    punctuation: str  # see text.tokenise
    run: Translate  # from make_translate; keeps what is compiled
    card: dict[str, Any]  # model.json

    def hypotheses(self, sentences: Sequence[str]) -> list[list[Hypothesis]]:
        """For each sentence its translations, the best first; [] if it is empty or too long."""
        tokens = [" ".join(tokenise(sentence, self.punctuation)) for sentence in sentences]
        full = [number for number, sentence in enumerate(tokens) if sentence]
        found: list[list[Hypothesis]] = [[] for _ in tokens]
        for number, best in zip(
            full, self.run(self.variables, [tokens[n] for n in full]), strict=True
        ):
            found[number] = best
        return found

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """The translation of each sentence; '' for one that is empty or too long."""
        return best_texts(self.hypotheses(sentences))


def export(folder, variables, *, vocabularies, config, identity, pairs, result, origin):
    """Writes model.safetensors (float16), the vocabularies, model.json, README.md, the manifest.

    Args:
      folder: made if it is not there.
      variables: of the best epoch, the moving average where there is one.
      vocabularies: of both sides.
      config: of the run, as a dict.
      identity: `Task.identity`.
      pairs: {split: number of pairs}.
      result: what eval.json holds, made with the weights that are exported: see
        train_jax.run.weights.halved.
      origin: JSON values of where it was made: command, git_commit, versions.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for side, vocabulary in zip(SIDES, vocabularies, strict=True):
        write_vocabulary(folder / f"{side}.json", vocabulary)
    card = {
        "task": "seq",
        "languages": list(config["data"]["languages"]),
        "model": config["model"],
        "vocabularies": about(vocabularies),
        "lengths": list(config["data"]["lengths"]),
        "punctuation": config["data"]["punctuation"],
        "decode": {name: config["decode"][name] for name in Search._fields},
        "trained_on": {"name": identity["data"], "sha256": identity["sha256"], "pairs": pairs},
        "scores": result,
        "config": config,
        "origin": origin,
    }
    weights_lib.export(
        folder, variables, card, readme=model_card.text,
        half=flatten_dict(variables, sep="/"),
    )  # fmt: skip


def about(vocabularies) -> dict:
    """What model.json says of the vocabularies of both sides."""
    return {
        side: {"sha256": vocabulary.sha256, "size": len(vocabulary.words)}
        for side, vocabulary in zip(SIDES, vocabularies, strict=True)
    }


def load(folder: Path | str = SHIPPED, search: Search | None = None) -> Translator:
    """The translator of a folder, checked against this program.

    `search`: None for that of model.json.

    Raises:
        UserError: the folder is damaged (see train_jax/run/weights.py), or its model is not one of
            models.py with these arrays and vocabularies.
    """
    folder = Path(folder)
    weights = weights_lib.load(folder)
    card = weights.card
    weights_lib.check_task(folder, card, "seq")
    punctuation = field(folder, card, "punctuation", str)
    lengths = field(folder, card, "lengths", list)
    if punctuation not in text.PUNCTUATION or not _rise(lengths):
        raise UserError(
            f"{folder / CARD}: punctuation {punctuation!r:.80} or lengths {lengths!r:.80} cannot "
            f"be. {FIX}"
        )
    about = field(folder, card, "vocabularies", dict)
    vocabularies = []
    for side in SIDES:
        sha256 = field(folder, field(folder, about, side, dict), "sha256", str)
        vocabularies.append(read_vocabulary(folder / f"{side}.json", sha256))
    decode = Search._field_defaults | field(folder, card, "decode", dict)
    kinds = get_type_hints(Search)
    own = Search(**{n: field(folder, decode, n, k, "decode.") for n, k in kinds.items()})
    try:
        model = make_model(
            **(LATER | field(folder, card, "model", dict)),
            source_vocabulary=len(vocabularies[0].words),
            target_vocabulary=len(vocabularies[1].words),
        )
        like = jax.eval_shape(functools.partial(init_model, model), jax.random.key(0))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{folder / CARD}: model: {error!s:.200}. {FIX}") from None
    weights_lib.check_fit(weights, like)
    run = make_translate(
        model, vocabularies, lengths=lengths, batch_size=BATCH, search=search or own
    )
    params = jax.device_put(weights.variables["params"])  # once, not with every batch
    return Translator(
        model, {"params": params}, tuple(vocabularies), tuple(lengths), punctuation, run, card
    )


def _rise(lengths) -> bool:
    whole = all(type(n) is int and 3 <= n <= 10_000 for n in lengths)
    return whole and bool(lengths) and lengths == sorted(set(lengths))


def write_vocabulary(path: Path, vocabulary):
    """NAME.json of words, or NAME.model of subwords."""
    if isinstance(vocabulary, subwords.Subwords):
        write_atomically(path.with_suffix(".model"), vocabulary.model)
    else:
        write_atomically(path, text.to_json(vocabulary))


def read_vocabulary(path: Path, sha256: str):
    """What `write_vocabulary` wrote. UserError if it is not there, or not that of the hash."""
    model = path.with_suffix(".model")
    try:
        if model.exists():
            with open(model, "rb") as file:
                return subwords.load(file.read(MAX_MODEL), sha256, str(model))
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the vocabulary of the run cannot be read ({error}). Run the same "
            "command with --mode=train again: it is written again."
        ) from error
    vocabulary = text.from_json(content, str(path))
    text.check_same(vocabulary, sha256, str(path))
    return vocabulary
