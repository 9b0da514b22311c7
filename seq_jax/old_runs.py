"""What older versions of this program wrote: fields with a language in their names, or without
what came later."""

DATA = {
    "english_words": "source_words",
    "max_english_words": "max_source_words",
    "max_kannada_words": "max_target_words",
    "english_letters_only": "source_script",
    "kannada_script": "target_script",
    "kannada_top_k": "target_top_k",
    "english_min_count": "source_min_count",
    "kannada_min_count": "target_min_count",
    "english_max_words": "source_vocabulary_words",
    "kannada_max_words": "target_vocabulary_words",
}
SCRIPTS = {"english_letters_only": "ASCII", "kannada_script": "Kannada"}  # they were bool
LATER = {"bfloat16": False}  # fields of a model, with what there was before them
LATER_DATA = {"bpe_dropout": 0.0}
IDENTITY = {"english_sha256": "source_sha256", "kannada_sha256": "target_sha256"}


def updated(record: dict) -> dict:
    """The record of config.json (see train_jax/run/workdir.py) with the fields of today, which mean
    the same; one that has them already stays as it is."""
    config = dict(record["config"])
    if isinstance(data := config.get("data"), dict):
        scripts = {name: SCRIPTS[name] * (data[name] is True) for name in SCRIPTS if name in data}
        renamed = {DATA.get(k, k): scripts.get(k, value) for k, value in data.items()}
        config["data"] = LATER_DATA | renamed
    if isinstance(model := config.get("model"), dict):
        config["model"] = LATER | model
    identity = {IDENTITY.get(name, name): value for name, value in record["identity"].items()}
    return record | {"config": config, "identity": identity}
