"""--mode=explain: from pictures to figures of what the network makes of their faces."""

import json
import sys
from pathlib import Path

from fer_jax import weights as weights_lib
from fer_jax.explain import figures
from fer_jax.explain.maps import check_square, explain
from fer_jax.predict import images
from fer_jax.predict import inputs as inputs_lib
from fer_jax.predict.faces import find_faces, why_no_face
from fer_jax.predict.run import check, face_settings
from train_jax.report.figure import use_letters
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically
from train_jax.run.workdir import lock_workdir


def run(config, workdir: Path, *, weights: str | None, inputs: str) -> int:
    """Explains the faces of `inputs`, separated by commas, into `workdir`: explain.json, and in
    figures/ the first-layer filters, and feature maps and heat maps of each face.

    Of a video or webcam the first frame. Returns the exit code: 1 if there was no face, else 0.
    """
    names = inputs_lib.split(inputs)
    found, c = check(config.predict, names), check_settings(config.explain)
    folder = weights_lib.choose(weights, workdir)
    if "," in str(weights):
        raise UserError(f"--mode=explain shows one net at a time, got --weights={weights}")
    classifier = weights_lib.load(folder)
    check_label(c["label"], classifier.card["classes"])
    print(f"weights: {folder}, trained on {classifier.card['trained_on']['name']}")
    files, left_out = inputs_lib.find(names, (workdir / "figures",))
    print("".join(f"{line}\n" for line in left_out), end="")
    pictures = images.read(files, max_pixels=found["max_pixels"], every=1, max_frames=1)
    rows = []
    use_letters(classifier.card["classes"])
    with lock_workdir(workdir):
        for old in (workdir / "figures").glob("[0-9]*-*-*.png"):  # of another run of this mode
            old.unlink()
        kernel = classifier.variables["params"]["Conv_0"]["kernel"]
        figures.draw_filters(
            kernel, workdir / "figures" / "filters.png", f"{folder.name}, first layer"
        )
        for picture in pictures:
            faces, reason = [], picture.reason
            if picture.pixels is not None:
                wanted = face_settings(found, picture)
                faces = find_faces(picture.pixels, **wanted)
                reason = reason or why_no_face(picture.pixels.shape, picture.shrunk, wanted)
            if not faces:
                print(f"{picture.file}: {reason}")
                rows.append({"file": picture.file, "reason": reason})
            for face in faces[: c["faces"]]:
                number = sum("class" in row for row in rows) + 1
                rows.append(_explain_face(classifier, face, picture, number, c, workdir))
        write_atomically(workdir / "explain.json", json.dumps(rows, indent=1))
    explained = sum("class" in row for row in rows)
    print(f"{explained} faces explained; see explain.json and figures/ in {workdir}")
    if not explained:
        print("error: no face to explain", file=sys.stderr)
    return 0 if explained else 1


def check_label(label: str, classes) -> None:
    """UserError unless `config.explain.label` is a class of the weights, or ''."""
    if label and label not in classes:
        raise UserError(
            f"config.explain.label must be '' or one of {', '.join(classes)}, got {label!r}"
        )


def check_settings(settings) -> dict:
    """`config.explain` as a dict. UserError on a wrong value."""
    c = settings.to_dict()
    if c["faces"] < 1:
        raise UserError(f"config.explain.faces must be at least 1, got {c['faces']}")
    check_square(c["occlusion_size"], c["occlusion_stride"])
    return c


def _explain_face(classifier, face, picture, number, c, workdir) -> dict:
    """Draws the figures of one face; the entry of explain.json."""
    classes = classifier.card["classes"]
    e = explain(
        classifier.model, classifier.variables, face.crop,
        label=classes.index(c["label"]) if c["label"] else None,
        temperature=classifier.temperature["none"],
        size=c["occlusion_size"], stride=c["occlusion_stride"],
    )  # fmt: skip
    name = "".join(ch if ch.isprintable() else "_" for ch in Path(picture.file).name)[:50]
    best = int(e.probabilities.argmax())
    title = f"{name}: {classes[best]} {e.probabilities[best]:.2f}"
    if best != e.label:
        title += f"; explained: {classes[e.label]} {e.probabilities[e.label]:.2f}"
    paths = {kind: f"figures/{number:03d}-{name}-{kind}.png" for kind in ("features", "heat")}
    figures.draw_features(e.features, classes, workdir / paths["features"],
                          f"{title}. Each map has its own scale")  # fmt: skip
    figures.draw_heat(e, classes, workdir / paths["heat"], title)
    print(f"{picture.file}: {title.removeprefix(name + ': ')}")
    return {
        "file": picture.file,
        "box": dict(zip(("x", "y", "width", "height"), face.box, strict=True)),
        "class": classes[best],
        "explained": classes[e.label],
        "probabilities": dict(zip(classes, e.probabilities.tolist(), strict=True)),
        "figures": paths,
    }
