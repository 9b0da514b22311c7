"""One HTML file that finds and judges faces in a browser, offline: the net, onnxruntime-web that
runs it, OpenCV's cascades and the page's own script (faces.mjs, page.mjs), all in the file.

The page may make no request: its Content-Security-Policy forbids every connection and every script
but its own.
"""

import base64
import gzip
import hashlib
import io
import json
from pathlib import Path

import jinja2

from fer_jax.export import cascade, runtime
from fer_jax.predict.draw import COLOUR, OTHER
from fer_jax.predict.emoji import NOT_SURE, emoji

HERE = Path(__file__).parent
MAX_BYTES = 10_000_000  # of the page: what a static host and a phone take without thinking
OCCLUSION = {"size": 12, "stride": 6}  # pixels of 48: 49 squares, a compromise with the time
EMOJI_SIDE = 104  # pixels, twice of what is shown


def build(model: bytes, card: dict, name: str, settings: dict) -> str:
    """The page.

    Args:
      model: of model_f16.onnx, say.
      card: model.json of the weights.
      name: of the weights, for people.
      settings: of `config.predict`: threshold, min_face, margin, align.
    """
    script = "\n".join((HERE / file).read_text("utf-8") for file in ("faces.mjs", "page.mjs"))
    licence, third_parties = runtime.notices()
    cascades = {name: cascade.read(name) for name in cascade.NAMES}
    packed = {
        **runtime.load(),
        "model": model,
        "cascades": json.dumps({n: c for n, (c, _) in cascades.items()}).encode(),
        "third_parties": third_parties.encode(),
    }
    notices = [(f"OpenCV, {cascade.NAMES[n]}", text) for n, (_, text) in cascades.items()]
    kept = {name: settings[name] for name in ("threshold", "min_face", "margin", "align")}
    names = [*card["classes"], NOT_SURE]
    data = kept | {
        "classes": card["classes"],
        "colours": {name: COLOUR.get(name, OTHER) for name in names},
        "emoji": {name: _png(emoji(name, EMOJI_SIDE)) for name in names},
        "occlusion": OCCLUSION,
    }
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((HERE / "page.html.j2").read_text("utf-8"))
    return template.render(
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        packed={name: _pack(data) for name, data in packed.items()},
        settings=kept,
        settings_json=json.dumps(data).replace("<", "\\u003c"),
        squares=49,
        notices=[("ONNX Runtime Web " + runtime.VERSION, licence), *notices],
        name=name,
        classes=card["classes"],
        parameters=f"{card['parameters']:,}",
        trained_on=card["trained_on"]["name"],
        drawn=card["trained_on"]["name"] == "drawn_faces",
        sha256=card["sha256"],
        score=_score(card),
    )


def _score(card) -> dict | None:
    """What the card says of the test split, in words."""
    splits = card["scores"]["splits"]
    tests = [name for name in splits if name not in ("train", "valid")]
    if not tests:
        return None
    found = splits[tests[0]]

    clean = card["scores"].get("clean", {}).get(tests[0])

    def percent(value):
        return f"{100 * value:.1f} %"

    return {
        "split": tests[0],
        "n": f"{found['n']:,}",
        "accuracy": percent(found["accuracy"]),
        "low": percent(found["ci95"][0]),
        "high": percent(found["ci95"][1]),
        "majority": percent(found["majority"]),
        "clean": clean and percent(clean["accuracy"]),
    }


def _pack(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _png(image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
