"""Weights of recurrent layers from and to Keras 3 and PyTorch, as dicts of numpy arrays.

Neither framework is needed: a caller hands over arrays. D, H, G as in cells.py, whose layout is
that of Keras. "Ours" is the parameters of a Recurrent, or of a Bidirectional, {'forward': ...,
'backward': ...}.

    gates     simple_rnn  gru      lstm
    ours      one         z, r, n  i, f, g, o
    Keras     one         z, r, n  i, f, c, o     (c is our g)
    PyTorch   one         r, z, n  i, f, g, o     transposed: [G*H, D] and [G*H, H]

PyTorch always has two biases. In RNN and LSTM only their sum matters, and we have the sum; its GRU
needs both, and is our GRU with reset_after=True: h' = z . h + (1 - z) . n in both.
"""

import numpy as np

from seq_jax import cells

NAMES = ("kernel", "recurrent_kernel", "bias")
TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
TORCH_GRU_ORDER = (1, 0, 2)  # z, r, n <-> r, z, n: the same permutation both ways


def from_keras(weights, *, cell) -> dict:
    """Our parameters from those of a SimpleRNN, GRU or LSTM of Keras 3, or of a Bidirectional.

    Args:
      weights: {name: array}. A name ends in kernel, recurrent_kernel or bias, after any path, and
        for a Bidirectional the path contains 'forward' or 'backward':
        `{w.path: w.numpy() for w in layer.weights}` will do. No bias (use_bias=False) means zeros.
      cell: of `cells.make_cell`.

    Raises:
      ValueError: names are missing or unknown, or shapes do not fit the cell.
    """
    layers: dict[str, dict] = {}
    for name, array in weights.items():
        path, _, leaf = name.rpartition("/")
        layers.setdefault(path, {})[leaf] = np.asarray(array)
    if len(layers) == 1:
        return checked(next(iter(layers.values())), cell)
    forward = [p for p in layers if "forward" in p and "backward" not in p]
    backward = [p for p in layers if "backward" in p and "forward" not in p]
    if len(layers) != 2 or len(forward) != 1 or len(backward) != 1:
        raise ValueError(f"expected the weights of one layer, got {sorted(weights)}")
    return {
        "forward": checked(layers[forward[0]], cell),
        "backward": checked(layers[backward[0]], cell),
    }


def to_keras(params, *, cell) -> dict:
    """The inverse of `from_keras`, in the order of Keras.

    `layer.set_weights(list(to_keras(params, cell=cell).values()))` loads them into a built layer.
    The names are kernel, recurrent_kernel and bias; of a Bidirectional, forward/kernel and so on.
    """
    if "forward" not in params:
        return checked(params, cell)
    return {
        f"{direction}/{name}": array
        for direction in ("forward", "backward")
        for name, array in checked(params[direction], cell).items()
    }


def from_torch(state_dict, *, cell, layer=0) -> dict:
    """Our parameters from one layer of a torch.nn.RNN (tanh), GRU or LSTM.

    Args:
      state_dict: {name: array}, `{k: v.numpy() for k, v in module.state_dict().items()}`.
      cell: of `cells.make_cell`.
      layer: which of the stacked layers. With its `_reverse` weights it gives a Bidirectional.

    Raises:
      ValueError: a GRU that resets before the matmul, a projected LSTM, missing weights, or shapes
        that do not fit.
    """
    check_torch_form(cell)
    forward = one_from_torch(state_dict, cell, f"_l{layer}")
    if f"weight_ih_l{layer}_reverse" not in state_dict:
        return forward
    return {"forward": forward, "backward": one_from_torch(state_dict, cell, f"_l{layer}_reverse")}


def to_torch(params, *, cell, layer=0) -> dict:
    """The inverse of `from_torch`: the entries of one layer in a state_dict.

    For RNN and LSTM all of the bias goes to bias_ih and bias_hh is zero. That computes the same;
    trained further in PyTorch both would move, which doubles the learning rate of the bias.
    """
    check_torch_form(cell)
    if "forward" not in params:
        return one_to_torch(params, cell, f"_l{layer}")
    return one_to_torch(params["forward"], cell, f"_l{layer}") | one_to_torch(
        params["backward"], cell, f"_l{layer}_reverse"
    )


def one_from_torch(state_dict, cell, suffix):
    """Our parameters of one direction of one layer."""
    if f"weight_hr{suffix}" in state_dict:
        raise ValueError(f"a projected LSTM (proj_size > 0) is not supported: weight_hr{suffix}")
    missing = [n + suffix for n in TORCH_NAMES[:2] if n + suffix not in state_dict]
    if missing:
        raise ValueError(f"{missing} not in the state_dict, which has {sorted(state_dict)}")
    w, u = (np.asarray(state_dict[name + suffix]) for name in TORCH_NAMES[:2])
    zeros = np.zeros(len(w), w.dtype)  # of a module with bias=False
    b, a = (np.asarray(state_dict.get(name + suffix, zeros)) for name in TORCH_NAMES[2:])
    bias = np.stack([b, a]) if cell.two_biases else b + a
    params = {"kernel": w.T, "recurrent_kernel": u.T, "bias": bias}
    return checked({k: reorder(v, cell) for k, v in params.items()}, cell)


def one_to_torch(params, cell, suffix):
    """The PyTorch weights of one direction of one layer."""
    params = {k: reorder(v, cell) for k, v in checked(params, cell).items()}
    bias = params["bias"]
    b, a = bias if cell.two_biases else (bias, np.zeros_like(bias))
    arrays = (params["kernel"].T, params["recurrent_kernel"].T, b, a)
    return {n + suffix: np.array(v, order="C") for n, v in zip(TORCH_NAMES, arrays, strict=True)}


def reorder(array, cell):
    """Swaps the gate order of the last axis, G*H, between ours and that of PyTorch."""
    if cell.gates != len(TORCH_GRU_ORDER):
        return array
    blocks = np.split(array, cell.gates, axis=-1)
    return np.concatenate([blocks[gate] for gate in TORCH_GRU_ORDER], axis=-1)


def check_torch_form(cell):
    """Raises ValueError for the one cell that PyTorch does not have."""
    if cell == cells.GRU_RESET_BEFORE:
        raise ValueError("PyTorch's GRU resets after the matmul: reset_after=False has no equal")


def checked(params, cell) -> dict:
    """One layer in our layout, as numpy. Raises ValueError if it does not fit the cell."""
    params = {name: np.asarray(array) for name, array in params.items()}
    if not {"kernel", "recurrent_kernel"} <= set(params) <= set(NAMES):
        raise ValueError(f"a layer has {NAMES}, got {sorted(params)}")
    units, features = params["recurrent_kernel"].shape[0], params["kernel"].shape[0]
    columns = cell.gates * units
    bias_shape = (2, columns) if cell.two_biases else (columns,)
    params.setdefault("bias", np.zeros(bias_shape, params["kernel"].dtype))
    wanted = {
        "kernel": (features, columns),
        "recurrent_kernel": (units, columns),
        "bias": bias_shape,
    }
    found = {name: params[name].shape for name in NAMES}
    if found != wanted:
        raise ValueError(f"shapes do not fit a {cell.step.__name__} cell: {found}, not {wanted}")
    return {name: params[name] for name in NAMES}
