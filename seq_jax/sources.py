"""What a mode starts from: the translator of a run, of exported weights or the shipped one, and the
pairs of a file."""

from pathlib import Path

from seq_jax import corpus, filter
from seq_jax import weights as weights_lib
from seq_jax.columns import name_of
from seq_jax.evaluate import make_run, search_of
from seq_jax.old_runs import LATER, updated
from seq_jax.task import Vocabularies, build_model, make_init
from train_jax import settings
from train_jax.run.checkpoint import load_selected
from train_jax.run.errors import UserError
from train_jax.run.workdir import check_config, is_run, read_config


def read_pairs(config, inputs: str, punctuation: str) -> filter.Pairs:
    """The pairs of a file or a folder, see corpus.py, tokenised as for training; none is removed
    but those with an empty side. UserError if there are none."""
    c = config.data
    lines = corpus.read(corpus.find(inputs, c.languages, c.columns), skip_empty=True)
    pairs, _ = filter.filter_lines(
        lines, punctuation=punctuation, mend_script=c.mend_script, remove_duplicates=False
    )
    if not pairs.source:
        raise UserError(f"--inputs={inputs}: no pair with words on both sides")
    return pairs


def load_translator(
    config, workdir: Path | str, weights: str | None, base: dict | None = None
) -> weights_lib.Translator:
    """See `translate`. UserError if what is there is damaged, or of another config."""
    workdir = Path(workdir)
    search = search_of(config)
    if weights:
        return weights_lib.load(Path(weights), search)
    if not is_run(workdir) and config.model.name == "encoder_decoder":
        shipped = weights_lib.load(weights_lib.SHIPPED, search)
        if LATER | shipped.card["model"] == config.model.to_dict():
            return shipped
    identity = read_identity(workdir)
    check_config(workdir, config.to_dict(), identity, base=base, update=updated)
    vocabularies = read_vocabularies(workdir, identity, config.data.languages)
    model = build_model(config, vocabularies)
    init = make_init(model, identity["tokens"])
    variables, _ = load_selected(workdir, settings.of_config(config), init)
    run, lengths = make_run(config, model, vocabularies, identity["tokens"])
    return weights_lib.Translator(
        model, variables, vocabularies, lengths, config.data.punctuation, run, card={}
    )


def read_identity(workdir: Path | str) -> dict:
    """What `make_task` said of the run. UserError if a field that is used here is damaged."""
    identity = read_config(workdir, updated)["identity"]
    for name, kind in {"tokens": int, "source_sha256": str, "target_sha256": str}.items():
        value = identity.get(name)
        if type(value) is not kind or (isinstance(value, int) and not 0 < value <= 10**6):
            raise UserError(
                f"{Path(workdir, 'config.json')}: identity.{name} is {value!r:.40}, expected a "
                f"{kind.__name__} as --mode=train wrote it"
            )
    return identity


def read_vocabularies(workdir: Path | str, identity: dict, languages) -> Vocabularies:
    """Those that the run wrote. UserError if they are not there, or are those of another run."""
    hashes = (identity[f"{name}_sha256"] for name in Vocabularies._fields)
    return Vocabularies(
        *(
            weights_lib.read_vocabulary(vocabulary_path(workdir, code), sha256)
            for code, sha256 in zip(languages, hashes, strict=True)
        )
    )


def vocabulary_path(workdir: Path | str, code: str) -> Path:
    """vocabulary_english.json of the language en."""
    return Path(workdir, f"vocabulary_{name_of(code).lower()}.json")
