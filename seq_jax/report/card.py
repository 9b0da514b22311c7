"""The README.md of an exported translator, made from its model.json: nothing is typed by hand."""

from seq_jax.columns import name_of
from seq_jax.report import tables
from train_jax.report.table import as_markdown

TEXT = """\
# {language} to {other}: a translator, trained on {pairs:,} pairs

`model.safetensors` holds {parameters:,} parameters (float16, computed with in {dtype}), SHA-256
`{sha256}`. `source.model` and `target.model` are the subwords (sentencepiece, {source:,} and
{target:,} pieces), made from the training pairs alone. `model.json` holds what belongs to them:
network, lengths, search, scores, config, versions. None of them runs code; all are checked on load.
This file was made from `model.json`.

    python launch.py --mode=translate --weights=FOLDER --inputs="in front of her house"
    python -c "import seq_jax; print(seq_jax.load('FOLDER').translate(['in front of her house']))"

- **Input**: {language} sentences of up to {longest} subwords; case is ignored, punctuation dropped.
- **Output**: {other} without punctuation, by beam search: {search} (what these are:
  `config.decode` in configs/seq_base.py).
- **Made by**: `{command}`, commit `{commit}`; {scored}, the best by chrF++ on validation.
- **Data**: {data}, SHA-256 `{data_sha256}`; pairs: {splits}.

## Figures

Of the weights in this folder, rounded to float16. The epoch was chosen on `valid`, which is
therefore no test. Signatures of sacrebleu: {signatures}.

{table}

{verdict}

## Use and limits

- For study. Everyday sentences of about 3 to 15 words, as those that it was trained on; it does not
  know most names, numbers, idioms or technical terms, and makes up something fluent instead.
- It does not say when it is wrong. Check what matters with a person who reads both languages.
- The training pairs carry the views of those who wrote them, on gender and rank of address as well.
"""


def text(card: dict) -> str:
    """README.md of the folder with the model.json `card`."""
    data, origin, result = card["trained_on"], card["origin"], card["scores"]
    scores = result["splits"][list(result["splits"])[-1]]
    return TEXT.format(
        language=name_of(card["languages"][0]),
        other=name_of(card["languages"][1]),
        pairs=data["pairs"]["train"],
        parameters=card["parameters"],
        sha256=card["sha256"],
        source=card["vocabularies"]["source"]["size"],
        target=card["vocabularies"]["target"]["size"],
        longest=card["lengths"][-1] - 2,
        dtype="bfloat16" if card["model"]["bfloat16"] else "float32",
        search=", ".join(f"{name} {value:g}" for name, value in card["decode"].items() if value),
        command=origin["command"],
        commit=origin["git_commit"],
        scored=result["scored"],
        data=data["name"],
        data_sha256=data["sha256"],
        splits=", ".join(f"{split} {count:,}" for split, count in data["pairs"].items()),
        signatures="; ".join(scores["signatures"].values()),
        table=as_markdown(tables.scores(result)),
        verdict=result["verdict"],
    )
