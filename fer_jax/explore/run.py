"""What a set of faces looks like before anything is trained: counts, copies, AUC map, mean faces.

Letters: N images, K classes, G rows and columns of the AUC map.
"""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

from fer_jax import data as fer_data
from fer_jax.data import Dataset, Faces
from fer_jax.explore import figures, tables
from fer_jax.explore.auc import RESAMPLINGS, AucMap, auc_map, shrink
from train_jax.report.figure import use_letters
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically

STUDIED = ("angry", "surprise")  # by the original study, which has this 3x3 map of them
ORIGINAL_AUC = np.array([[0.581, 0.622, 0.563], [0.641, 0.698, 0.618], [0.652, 0.636, 0.645]])


def explore(config, workdir: Path) -> None:
    """Prints the tables, and writes explore.json and figures into `workdir`."""
    c = config.explore
    check_settings(c)
    dataset = fer_data.load(config.data.path, fer_data.reading_of(config.data))
    if dataset.notice:
        print(dataset.notice)
    classes, pair = dataset.classes, chosen_pair(c.classes, dataset.classes)
    faces = chosen_split(c.split, pair, dataset)
    first, second = (faces.images[faces.labels == classes.index(name)] for name in pair)

    def areas(resampling, resamples=0) -> AucMap:
        small = [shrink(x, grid=c.grid, resampling=resampling) for x in (first, second)]
        return auc_map(*small, resamples=resamples, seed=c.seed)

    result = areas(c.resampling, c.bootstrap)
    comparable = c.grid == 3 and pair == STUDIED
    original = ORIGINAL_AUC if comparable and dataset.name == "fer2013" else None
    others = {} if original is None else {name: areas(name).auc for name in RESAMPLINGS}
    duplicates = find_duplicates(dataset.splits, classes)
    near = {
        f"{a}, {b}": fer_data.closest(dataset.splits[b], dataset.splits[a])
        for a, b in combinations(dataset.splits, 2)
    }
    near_twins = {pair: int((r >= fer_data.NEAR).sum()) for pair, (r, _) in near.items()}
    counts = class_counts(dataset.splits, classes)
    title = (
        f"{pair[0]} (n {len(first):,}) against {pair[1]} (n {len(second):,}), "
        f"{dataset.name} {c.split}"
    )
    print(tables.counts(counts))
    print(tables.duplicates(duplicates))
    print(tables.near_twins(near_twins, dataset.splits))
    print(tables.auc(result, title, c, pair, original, others))

    workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(
        workdir / "explore.json",
        json.dumps(
            {
                "data": dataset.name,
                "sha256": dataset.sha256,
                "counts": counts,
                "duplicates": duplicates,
                "near_twins": {"least_correlation": fer_data.NEAR, "shared": near_twins},
                "auc": {
                    "settings": c.to_dict() | {"classes": pair},
                    "n": [len(first), len(second)],
                    "auc": result.auc.tolist(),
                    "ci95": None
                    if not c.bootstrap
                    else [result.low.tolist(), result.high.tolist()],
                },
            },
            indent=1,
        ),
    )
    folder = workdir / "figures"
    use_letters(classes)
    figures.draw_counts(counts, folder / "class_counts.png", dataset.name)
    drawn = sample(faces, len(classes), per_class=c.samples, seed=c.seed)
    figures.draw_samples(drawn, classes, folder / "samples.png", f"{dataset.name} {c.split}")
    for two, (r, index) in near.items():
        a, b = (dataset.splits[name] for name in two.split(", "))
        rows = np.flatnonzero((r >= fer_data.NEAR) & ~fer_data.has_twin(b, a))
        rows = np.random.default_rng(c.seed).permutation(rows)[: c.samples]
        if len(rows):
            figures.draw_pairs(
                b.images[rows], a.images[index[rows]], r[rows],
                folder / f"near_twins_{two.replace(', ', '_')}.png", two.split(", "),
            )  # fmt: skip
    figures.draw_auc(result, pair, folder / "auc.png", title)
    means = mean_faces(faces, len(classes))
    figures.draw_mean_faces(means, classes, folder / "mean_faces.png", f"{dataset.name} {c.split}")
    print(f"figures and explore.json are in {workdir}")


def check_settings(c) -> None:
    """UserError for a wrong field of `config.explore`."""
    if not 1 <= c.grid <= 48:
        raise UserError(f"config.explore.grid must be from 1 to 48 (pixels), got {c.grid}")
    if c.resampling not in RESAMPLINGS:
        raise UserError(
            f"config.explore.resampling must be one of {', '.join(RESAMPLINGS)}, got "
            f"{c.resampling!r}"
        )
    for name, least in (("bootstrap", 0), ("seed", 0), ("samples", 1)):
        if c[name] < least:
            raise UserError(f"config.explore.{name} must be at least {least}, got {c[name]}")


def chosen_pair(names, classes) -> tuple[str, str]:
    """The two of `classes` that `config.explore.classes` names, or else those of the study, or the
    first two."""
    if not names:
        return STUDIED if {*STUDIED} <= {*classes} else classes[:2]
    if len(names) != 2 or not {*names} <= {*classes} or names[0] == names[1]:
        raise UserError(
            f"config.explore.classes must be two different ones of {', '.join(classes)}, got "
            f"{tuple(names)}"
        )
    return tuple(names)


def chosen_split(split: str, pair, dataset: Dataset) -> Faces:
    """The split `config.explore.split`, in which both classes must occur."""
    if split not in dataset.splits:
        raise UserError(
            f"config.explore.split must be one of {', '.join(dataset.splits)} in "
            f"{dataset.source}, got {split!r}"
        )
    faces = dataset.splits[split]
    for name in pair:
        if not (faces.labels == dataset.classes.index(name)).any():
            raise UserError(
                f"{dataset.source}: {split} has no image of class {name!r}, which "
                "explore.classes names"
            )
    return faces


def class_counts(splits: dict[str, Faces], classes) -> dict[str, dict[str, int]]:
    """{split: {class: images}}."""
    return {
        name: dict(
            zip(classes, np.bincount(faces.labels, minlength=len(classes)).tolist(), strict=True)
        )  # fmt: skip
        for name, faces in splits.items()
    }


def sample(faces: Faces, num_classes: int, *, per_class: int, seed: int) -> list[np.ndarray]:
    """For each class u8[n, 48, 48], n <= per_class, drawn without replacement."""
    rng = np.random.default_rng(seed)
    drawn = []
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(faces.labels == label))
        drawn.append(faces.images[members[:per_class]])
    return drawn


def mean_faces(faces: Faces, num_classes: int) -> np.ndarray:
    """f64[K, 48, 48]; nan for a class without images."""
    means = np.full((num_classes, 48, 48), np.nan)
    for label in np.unique(faces.labels):
        means[label] = faces.images[faces.labels == label].mean(0)
    return means


def find_duplicates(splits: dict[str, Faces], classes) -> dict:
    """Pixel-identical images, within and between splits, and what their labels say.

    Returns:
      {"splits": {split: {"images", "copies", "with_twin"}}: copies are those beyond the first of
       their kind, with_twin all that another of the split equals, the first included;
       "shared": {"a, b": images of b with a twin in a};
       "groups", "conflicting_groups", "conflicting_images": sets of two or more identical images
       over all splits, those with more than one label, and the images in these;
       "conflicting_labels": {"x, y": conflicting groups that have both labels}, most first}.
    """
    labels_of: dict[bytes, list[int]] = {}
    for faces in splits.values():
        for image, label in zip(faces.images, faces.labels.tolist(), strict=True):
            labels_of.setdefault(image.tobytes(), []).append(label)
    conflicting = [labels for labels in labels_of.values() if len(set(labels)) > 1]
    pairs = Counter(
        f"{classes[x]}, {classes[y]}"
        for labels in conflicting
        for x, y in combinations(sorted(set(labels)), 2)
    )
    kinds = {name: Counter(i.tobytes() for i in faces.images) for name, faces in splits.items()}
    return {
        "splits": {
            name: {
                "images": kind.total(),
                "copies": kind.total() - len(kind),
                "with_twin": sum(n for n in kind.values() if n > 1),
            }
            for name, kind in kinds.items()
        },
        "shared": {
            f"{a}, {b}": int(fer_data.has_twin(splits[b], splits[a]).sum())
            for a, b in combinations(splits, 2)
        },
        "groups": sum(len(labels) > 1 for labels in labels_of.values()),
        "conflicting_groups": len(conflicting),
        "conflicting_images": sum(map(len, conflicting)),
        "conflicting_labels": dict(pairs.most_common()),
    }
