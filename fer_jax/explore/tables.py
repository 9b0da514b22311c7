"""What explore found, in words for the console."""

import numpy as np

from fer_jax.data import NEAR
from fer_jax.explore.auc import AucMap


def counts(images) -> str:
    """Images of each class by split, with their share of the split."""
    names = list(next(iter(images.values())))
    width = max(10, 1 + max(map(len, names)))
    lines = [f"{'class':{width}s}" + "".join(f"{name:>20s}" for name in images)]
    totals = {name: sum(row.values()) for name, row in images.items()}
    for name in names:
        cells = [f"{row[name]:12,d} {row[name] / totals[s]:6.1%}" for s, row in images.items()]
        lines.append(f"{name:{width}s}" + "".join(f"{cell:>20s}" for cell in cells))
    return "\n".join(
        [*lines, f"{'all':{width}s}" + "".join(f"{n:12,d}{'':8s}" for n in totals.values())]
    )


def duplicates(d) -> str:
    """What `run.find_duplicates` found, in words."""
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


def near_twins(shared, splits) -> str:
    """How many images of a split are the same photograph as one of an earlier split."""
    lines = [f"\nnear twins: the correlation of the pixels is {NEAR} or more"]
    for pair, count in shared.items():
        a, b = pair.split(", ")
        share = count / max(len(splits[b].labels), 1)
        lines.append(f"{b}: {count:,} ({share:.1%}) have one in {a}, identical ones included")
    return "\n".join(lines)


def auc(result: AucMap, title, c, pair, original, others) -> str:
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
        line = f"{_pixel_name(row, column, c.grid):16s}{result.auc[at]:7.3f}"
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


def _pixel_name(row, column, grid) -> str:
    """'middle_left' in a 3x3 grid, else 'row 2, column 1'."""
    if grid == 3:
        return f"{('top', 'middle', 'bottom')[row]}_{('left', 'center', 'right')[column]}"
    return f"row {row + 1}, column {column + 1}"
