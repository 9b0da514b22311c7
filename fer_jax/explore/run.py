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
from fer_jax.explore import figures
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
    print(describe_counts(counts))
    print(describe_duplicates(duplicates))
    print(describe_near_twins(near_twins, dataset.splits))
    print(describe_auc(result, title, c, pair, original, others))

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


def describe_counts(counts) -> str:
    """Images of each class by split, with their share of the split."""
    names = list(next(iter(counts.values())))
    width = max(10, 1 + max(map(len, names)))
    lines = [f"{'class':{width}s}" + "".join(f"{name:>20s}" for name in counts)]
    totals = {name: sum(row.values()) for name, row in counts.items()}
    for name in names:
        cells = [f"{row[name]:12,d} {row[name] / totals[s]:6.1%}" for s, row in counts.items()]
        lines.append(f"{name:{width}s}" + "".join(f"{cell:>20s}" for cell in cells))
    return "\n".join(
        [*lines, f"{'all':{width}s}" + "".join(f"{n:12,d}{'':8s}" for n in totals.values())]
    )


def describe_duplicates(d) -> str:
    """What `find_duplicates` found, in words."""
    lines = ["\npixel-identical images"]
    for name, row in d["splits"].items():
        lines.append(
            f"{name}: {row['with_twin']:,} of {row['images']:,} equal another one; "
            f"{row['copies']:,} are copies, the first of each kind not counted"
        )
    for pair, count in d["shared"].items():
        a, b = pair.split(", ")
        lines.append(f"{b}: {count:,} have a twin in {a}")
    lines.append(
        f"over all splits: {d['groups']:,} groups of identical images; the labels differ in "
        f"{d['conflicting_groups']:,} of them ({d['conflicting_images']:,} images)"
    )
    lines += [f"{count:6d}  {pair}" for pair, count in d["conflicting_labels"].items()]
    return "\n".join(lines)


def describe_near_twins(near_twins, splits) -> str:
    """How many images of a split are the same photograph as one of an earlier split."""
    lines = [f"\nnear twins: the correlation of the pixels is {fer_data.NEAR} or more"]
    for pair, count in near_twins.items():
        a, b = pair.split(", ")
        share = count / max(len(splits[b].labels), 1)
        lines.append(f"{b}: {count:,} ({share:.1%}) have one in {a}, identical ones included")
    return "\n".join(lines)


def describe_auc(result: AucMap, title, c, pair, original, others) -> str:
    """The areas with their intervals; next to the original's where there are some to compare."""
    lines = [
        f"\nAUC by pixel: {title}",
        f"images shrunk to {c.grid}x{c.grid} ({c.resampling}); above 0.5 the pixel is brighter in "
        f"{pair[1]}; {c.bootstrap} bootstrap resamples",
    ]
    if c.grid > 8:
        row, column = np.unravel_index(np.abs(result.auc - 0.5).argmax(), result.auc.shape)
        lines.append(
            f"from {result.auc.min():.3f} to {result.auc.max():.3f}; farthest from 0.5 is "
            f"{result.auc[row, column]:.3f} in row {row + 1}, column {column + 1}; all are in "
            "explore.json"
        )
        return "\n".join(lines)
    header = f"{'pixel':16s}{'AUC':>7s}" + f"{'95 % interval':>18s}" * bool(c.bootstrap)
    lines.append(header + f"{'original':>12s}{'difference':>12s}" * (original is not None))
    for row, column in np.ndindex(result.auc.shape):
        at = row, column
        line = f"{pixel_name(row, column, c.grid):16s}{result.auc[at]:7.3f}"
        if c.bootstrap:
            line += f"{'':7s}{result.low[at]:.3f}-{result.high[at]:.3f}"
        if original is not None:
            line += f"{original[at]:12.3f}{result.auc[at] - original[at]:+12.4f}"
        lines.append(line)
    if others:
        lines.append("largest difference from the original, by resampling")
        for name, areas in others.items():
            # the original's are all above 0.5: which class is the positive one is not told
            areas = np.maximum(areas, 1 - areas)
            lines.append(f"{name:16s}{np.abs(areas - original).max():7.4f}")
    return "\n".join(lines)


def pixel_name(row, column, grid) -> str:
    """'middle_left' in a 3x3 grid, else 'row 2, column 1'."""
    if grid == 3:
        return f"{('top', 'middle', 'bottom')[row]}_{('left', 'center', 'right')[column]}"
    return f"row {row + 1}, column {column + 1}"
