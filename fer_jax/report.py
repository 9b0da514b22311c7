"""Tables on the console and figures in `workdir/figures`."""

from pathlib import Path

import jax
import numpy as np

from fer_jax.data import CLASSES


def model_table(model, init) -> str:
    """Layer by layer, the number of parameters and of batch statistics."""
    variables = jax.eval_shape(init, jax.random.key(0))
    lines, totals = [f"{type(model).__name__:28s} {'shape':>18s} {'parameters':>12s}"], {}
    for collection, tree in variables.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = "/".join(p.key for p in path)
            if collection == "params":
                lines.append(f"{name:28s} {str(leaf.shape):>18s} {leaf.size:12,d}")
            totals[collection] = totals.get(collection, 0) + leaf.size
    lines.append(f"{'trainable':28s} {'':18s} {totals['params']:12,d}")
    lines.append(f"{'batch statistics':28s} {'':18s} {totals.get('batch_stats', 0):12,d}")
    return "\n".join(lines)
def score_table(result, workdir): return str({k:(v['n'],v['accuracy'],v['ci95']) for k,v in result['splits'].items()})
def draw_history(*a): pass
def draw_confusion(*a): pass
def describe(dataset, splits): return dataset.name+' '+str({k:len(v.labels) for k,v in splits.items()})
