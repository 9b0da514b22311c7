"""Records what the recurrent layers of Keras and PyTorch compute: rnn_keras.npz, rnn_torch.npz.

    pip install keras==3.15.0 tensorflow-cpu==2.21.0 torch==2.13.0
    KERAS_BACKEND=tensorflow python tests/golden/make_rnn_golden.py

Run once; the tests read the records and need none of them. All is float64, for which Keras must run
on TensorFlow: on PyTorch its matmul of float64 arrays computes in float32. Each file holds the
inputs that its cases share:

    x [B, T, D]              random
    mask_right, mask_any     f64[B, T]; 'any' has holes anywhere, its last row is masked throughout
    out_weights [B, T, 2H], carry_weights [4, B, H], initial [4, B, H]
    KIND/NAME                the weights of a bidirectional layer of this kind; a layer in one
                             direction has the first half of them
    cases                    JSON: {case: settings}
and for each case one vector, the concatenation of
    outputs, final states, d/dx, d/dinitial states (if any), d/dweights
where the derivatives are of sum(outputs * out_weights) + sum(states * carry_weights), cut to
their shapes; outputs that Keras repeats at masked steps are left out of the sum. The order of
states and weights is that of the framework.
"""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
import torch

B, T, D, H = 3, 5, 3, 4
KERAS_KINDS = {
    "simple_rnn": (keras.layers.SimpleRNN, {}),
    "gru": (keras.layers.GRU, {"reset_after": True}),
    "gru_reset_before": (keras.layers.GRU, {"reset_after": False}),
    "lstm": (keras.layers.LSTM, {}),
}
# zero: zero_output_for_mask, which Bidirectional sets by itself
KERAS_CASES = {
    "plain": {},
    "initial state, right mask": {"initial": True, "mask": "right", "zero": True},
    "any mask, repeated outputs": {"mask": "any", "zero": False},
    "backwards, initial state, any mask": {
        "backwards": True,
        "initial": True,
        "mask": "any",
        "zero": True,
    },
    "last output, right mask": {"sequences": False, "mask": "right"},
    "both, concat, initial state, any mask": {"merge": "concat", "initial": True, "mask": "any"},
    "both, sum, last outputs, right mask": {"merge": "sum", "sequences": False, "mask": "right"},
}
TORCH_KINDS = {"simple_rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
# packed: pack_padded_sequence with the lengths of mask_right
TORCH_CASES = {
    "initial state": {"initial": True},
    "packed": {"packed": True},
    "both, initial state, packed": {"both": True, "initial": True, "packed": True},
}


def shared_inputs(rng):
    lengths = np.array([3, T, 1])
    holes = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0] * T])
    return {
        "x": rng.normal(size=(B, T, D)),
        "mask_right": (np.arange(T) < lengths[:, None]).astype(float),
        "mask_any": holes.astype(float),
        "out_weights": rng.normal(size=(B, T, 2 * H)),
        "carry_weights": rng.normal(size=(4, B, H)),
        "initial": rng.normal(size=(4, B, H)),
    }


def loss_of(shared, outputs, states, counts=1):
    """The sum that is differentiated; of either framework's tensors. `states` are stacked."""
    weights = shared["out_weights"][..., : outputs.shape[-1]]
    weights = weights[:, 0] if len(outputs.shape) == 2 else weights * counts
    carry_weights = shared["carry_weights"][: len(states)]
    if isinstance(outputs, torch.Tensor):
        weights, carry_weights = torch.tensor(weights), torch.tensor(carry_weights)
        return (outputs * weights).sum() + (states * carry_weights).sum()
    return tf.reduce_sum(outputs * weights) + tf.reduce_sum(states * carry_weights)


def flat(arrays):
    """One float64 vector of numpy arrays."""
    assert all(a.dtype == np.float64 for a in arrays)
    return np.concatenate([a.ravel() for a in arrays])


def run_keras(kind, shared, weights, settings):
    make, options = KERAS_KINDS[kind]
    merge = settings.get("merge")
    layer = make(
        H,
        return_sequences=settings.get("sequences", True),
        return_state=True,
        go_backwards=settings.get("backwards", False),
        zero_output_for_mask=settings.get("zero", False),
        **options,
    )
    layer = keras.layers.Bidirectional(layer, merge_mode=merge) if merge else layer
    layer.build((B, T, D))
    layer.set_weights(list(weights.values())[: len(layer.weights)])
    states = (2 if kind == "lstm" else 1) * (2 if merge else 1)
    x = tf.constant(shared["x"])
    initial = [tf.constant(s) for s in shared["initial"][:states]]
    initial = initial if settings.get("initial") else []
    mask = shared["mask_" + settings["mask"]] if "mask" in settings else None
    counts = mask[..., None] if settings.get("zero") is False else 1
    with tf.GradientTape() as tape:
        tape.watch([x, *initial])
        mask = None if mask is None else tf.constant(mask > 0)
        outputs, *final = layer(x, mask=mask, initial_state=initial or None)
        final = tf.stack(final)
        loss = loss_of(shared, outputs, final, counts)
    inputs = [x, *initial, *(w.value for w in layer.weights)]
    return flat([a.numpy() for a in (outputs, final, *tape.gradient(loss, inputs))])


def run_torch(kind, shared, weights, settings):
    both = settings.get("both", False)
    module = TORCH_KINDS[kind](D, H, batch_first=True, bidirectional=both).double()
    names = list(module.state_dict())
    module.load_state_dict({name: torch.tensor(weights[name]) for name in names})
    x = torch.tensor(shared["x"], requires_grad=True)
    directions = 2 if both else 1
    states = 2 if kind == "lstm" else 1
    starts = np.split(shared["initial"][: states * directions], states)
    initial = [torch.tensor(s, requires_grad=True) for s in starts]
    lengths = torch.tensor(shared["mask_right"].sum(1)).long()
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    outputs, final = module(
        packed if settings.get("packed") else x,
        (tuple(initial) if states == 2 else initial[0]) if settings.get("initial") else None,
    )
    if settings.get("packed"):
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, True, total_length=T)
    final = torch.cat(final if states == 2 else [final])
    initial = initial if settings.get("initial") else []
    gradients = torch.autograd.grad(
        loss_of(shared, outputs, final), [x, *initial, *module.parameters()]
    )
    return flat([a.detach().numpy() for a in (outputs, final, *gradients)])


def keras_weights(kind, rng):
    """{name: array} of a bidirectional layer, in the order of Keras."""
    make, options = KERAS_KINDS[kind]
    layer = keras.layers.Bidirectional(make(H, **options, name=kind), name="both")
    layer.build((B, T, D))
    return {w.path: rng.normal(0, 0.5, size=w.shape) for w in layer.weights}


def torch_weights(kind, rng):
    """{name: array} of a bidirectional module, in the order of PyTorch."""
    module = TORCH_KINDS[kind](D, H, bidirectional=True)
    return {k: rng.normal(0, 0.5, size=v.shape) for k, v in module.state_dict().items()}


def record(name, version, kinds, all_settings, make_weights, run):
    rng = np.random.default_rng(1)
    shared = shared_inputs(rng)
    arrays, cases = dict(shared), {}
    for kind in kinds:
        weights = make_weights(kind, rng)
        arrays |= {f"{kind}/{k}": v for k, v in weights.items()}
        for title, settings in all_settings.items():
            case = f"{kind}: {title}"
            cases[case] = {"kind": kind} | settings
            arrays[case] = run(kind, shared, weights, settings)
    path = pathlib.Path(__file__).with_name(name)
    np.savez_compressed(path, cases=json.dumps(cases), version=version, **arrays)
    print(f"{path}: {path.stat().st_size} bytes, {len(cases)} cases")


if __name__ == "__main__":
    keras.config.set_dtype_policy("float64")
    assert keras.backend.backend() == "tensorflow"
    version = f"keras {keras.__version__}"
    record("rnn_keras.npz", version, KERAS_KINDS, KERAS_CASES, keras_weights, run_keras)
    version = f"torch {torch.__version__}"
    record("rnn_torch.npz", version, TORCH_KINDS, TORCH_CASES, torch_weights, run_torch)
