"""The README.md of exported weights, made from their model.json: nothing in it is typed by hand."""

import numpy as np

from fer_jax.report import tables
from fer_jax.report.tables import VIEW_WORDS
from train_jax.report.table import as_markdown

TEXT = """\
# {name}: {subject}, {count} classes, trained on {data}

`model.safetensors` holds {parameters:,} parameters and {statistics:,} batch statistics ({dtypes}),
SHA-256 `{sha256}`. `model.json` holds what belongs to them: model, order of the classes,
preprocessing, temperature, scores with confusion matrices, config, versions. Neither runs code.
Both are checked on load. This file was made from `model.json`.

    python launch.py --mode=predict --weights=FOLDER --inputs=photo.jpg
    python launch.py --mode=eval --weights=FOLDER --config.data.path=X

- **Input**: {preprocessing}: one face, upright, cropped from forehead to chin.
- **Output**: logits, in this order: {classes}. Divided by the temperature {temperature:.3f} (with
  the mirror image averaged: {flipped:.3f}), {fitted}, their softmax is a probability.
- **Made by**: `{command}`, commit `{commit}`; epoch {epoch}, {selected}{averaged}.
- **Data**: {data}, SHA-256 `{data_sha256}`; {train:,} images trained on.

## Figures

{view}. {chosen}

{table}

{coverage}

Known confusions, the most frequent: {confusions}.

## Use and limits
{limits}
"""
PEOPLE = """
- For research and play. An expression is not an emotion: a face does not tell what a person feels.
  Decide nothing about a person with it: not hiring, teaching, policing, health or credit."""
FER2013 = """
- The labels of FER-2013 are noisy (people agree with them on about 65 of 100 images) and
  unbalanced; its photographs come from web search. How errors differ between groups of people (age,
  gender, skin, culture) was not measured; expect that they do."""
FERPLUS = """
- The labels are the majority of ten people's votes, and the photographs come from web search. How
  errors differ between groups of people (age, gender, skin, culture) was not measured; expect that
  they do."""
FACES = """
- Faces that are turned, hidden, very small or badly lit, and drawings, are outside of what it was
  trained on. Its probabilities are calibrated for images like those of validation only."""
DRAWN = """
- **Trained on drawn cartoon faces: its answers about people mean nothing.**"""
OWN = """
- **Trained on its maker's own data**, of which this program knows the classes and no more. Who or
  what is in it, where it comes from, who labelled it and for whom it fails: its maker has to say.
- Its probabilities are calibrated for images like those of validation only."""
LIMITS = {
    "fer2013": PEOPLE + FER2013 + FACES,
    "ferplus": PEOPLE + FERPLUS + FACES,
    "drawn_faces": DRAWN + PEOPLE + FACES,
}
NAMES = {
    "fer2013": "FER-2013", "ferplus": "FER-2013 with the labels of FER+",
    "drawn_faces": "drawn faces", "own_data": "own data",
}  # fmt: skip


def text(name: str, card: dict) -> str:
    """README.md of the folder `name` with the model.json `card`."""
    data, origin, scores = card["trained_on"], card["origin"], card["scores"]
    result = scores | {"temperature": card["temperature"][scores["tta"]]}
    test = [s for s in scores["splits"] if s not in ("train", "valid")]
    ema = card["config"]["train"]["ema_decay"]
    last = card["config"]["checkpoint"].get("select") == "last"
    chosen = "the temperature" if last else "the epoch, with the temperature,"
    validated = "valid" in scores["splits"]
    folds = card["config"]["data"].get("soft_labels")
    fitted = (
        "fitted on validation" if validated else "of cross-validation" if folds else "not fitted"
    )
    return TEXT.format(
        name=name,
        subject="image classifier" if data["name"] == "own_data" else "facial expression",
        count=len(card["classes"]),
        data=NAMES.get(data["name"], data["name"]),
        parameters=card["parameters"],
        statistics=card["batch_statistics"],
        sha256=card["sha256"],
        preprocessing=card["preprocessing"],
        classes=", ".join(card["classes"]),
        dtypes=_dtypes(card),
        fitted=fitted,
        chosen=f"`valid` is no test: {chosen} was chosen on it." if validated else "",
        temperature=card["temperature"]["none"],
        flipped=card["temperature"]["flip"],
        command=origin["command"],
        commit=origin["git_commit"],
        epoch=card["epoch"],
        selected="the last" if last else "the best on validation",
        averaged=f" (moving average of the weights, {ema})" if ema else "",
        data_sha256=data["sha256"],
        train=sum(data["counts"].values()),
        view=VIEW_WORDS[scores["tta"]].capitalize(),
        table=as_markdown(tables.scores(result)),
        coverage=as_markdown(tables.coverage({name: scores["splits"][name] for name in test})),
        confusions="; ".join(_confusions(scores["splits"], card["classes"])),
        limits=LIMITS.get(data["name"], PEOPLE + OWN),
    )


def _dtypes(card) -> str:
    half = [name for name, kind in card["arrays"].items() if kind.startswith("float16")]
    return f"float32, {len(half)} kernels of them in float16" if half else "float32"


def _confusions(splits, classes, most=5) -> list[str]:
    """'fear taken for sad (26 %)', of the last split."""
    name, scores = list(splits.items())[-1]
    confusion = np.array(scores["confusion"], float)
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    pairs = np.dstack(np.unravel_index(np.argsort(-share, axis=None), share.shape))[0]
    return [
        f"{classes[true]} taken for {classes[wrong]} ({share[true, wrong]:.0%})"
        for true, wrong in pairs[:most]
        if share[true, wrong]
    ] or [f"none on {name}"]
