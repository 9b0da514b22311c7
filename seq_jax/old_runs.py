"""config.json of runs from before the fields had names without a language in them."""

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
IDENTITY = {"english_sha256": "source_sha256", "kannada_sha256": "target_sha256"}


def renamed(record: dict) -> dict:
    """The record of config.json (see train_jax/run/workdir.py) with the names of today, which mean
    the same; one that has them already stays as it is."""
    config, identity = record["config"], record["identity"]
    data = config.get("data")
    if not isinstance(data, dict) or not DATA.keys() & data.keys():
        return record
    values = {name: SCRIPTS[name] * (data[name] is True) for name in SCRIPTS.keys() & data.keys()}
    data = {DATA.get(name, name): values.get(name, value) for name, value in data.items()}
    identity = {IDENTITY.get(name, name): value for name, value in identity.items()}
    return record | {"config": config | {"data": data}, "identity": identity}
