"""The layers against what Keras 3.15 and PyTorch 2.13 computed: golden/make_rnn_golden.py.

The weights come through convert.py, so the converters are tested here too. Tolerances as in
test_cells.py.
"""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from seq_jax import cells, convert, recurrent

# Compiling is most of the time of these tests. What the compiler does by default is in
# test_recurrent.py.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
B, T, D, H = 3, 5, 3, 4


def load(name):
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


KERAS, TORCH = load("rnn_keras.npz"), load("rnn_torch.npz")
KERAS_CASES, TORCH_CASES = (json.loads(str(record["cases"])) for record in (KERAS, TORCH))


def weights_of(record, kind):
    """{name: array} of the bidirectional layer of this kind, as the framework has it."""
    return {k.removeprefix(kind + "/"): v for k, v in record.items() if k.startswith(kind + "/")}


@functools.cache
def compiled(kind, *, sequences=True, reverse=False, merge=None):
    """Compiles (params, x, initial carry, mask, weights) -> values, final carry, all gradients.

    One program serves all cases of a kind of layer: no mask is a mask of ones, no initial carry is
    one of zeros. (test_cells.py leaves them out.)
    """

    def loss(params, x, carry, mask, weights):
        module = recurrent.Recurrent(
            cell=kind.partition("_reset")[0],
            units=H,
            reset_after=kind != "gru_reset_before",
            return_sequences=sequences,
            reverse=reverse,
        )
        module = recurrent.Bidirectional(module, merge=merge) if merge else module
        carry, outputs = module.apply(
            {"params": params}, x, train=False, mask=mask, initial_carry=carry
        )
        products = jax.tree.map(lambda a, w: (a * w).sum(), (outputs, carry), weights)
        return sum(jax.tree.leaves(products)), (outputs, carry)

    gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    return jax.jit(gradients, compiler_options=QUICK_COMPILE)


def run(record, kind, params, settings, mask, to_carry, dtype):
    """What the record of a case holds, computed here: outputs, carry, d_params, d_x, d_carry."""
    merge, sequences = settings.get("merge"), settings.get("sequences", True)
    initial = record["initial"] if settings.get("initial") else np.zeros_like(record["initial"])
    width = 2 * H if merge == "concat" else H
    weights = record["out_weights"][..., :width]
    if settings.get("backwards"):
        weights = weights[:, ::-1]
    if settings.get("zero") is False:
        weights = weights * mask[:, :, None]
    weights = weights if sequences else weights[:, 0]
    arrays = (params, record["x"], to_carry(initial), mask)
    arrays = (*arrays, (weights, to_carry(record["carry_weights"])))
    call = compiled(
        kind, sequences=sequences, reverse=settings.get("backwards", False), merge=merge
    )
    (_, values), gradients = call(*jax.tree.map(lambda a: a.astype(dtype), arrays))
    return jax.tree.map(np.asarray, (*values, *gradients))


def split(vector, shapes):
    """Cuts a recorded vector into arrays of these shapes; nothing may be left over."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    assert len(vector) == ends[-1]
    pieces = np.split(vector, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def assert_same(name, actual, expected, dtype):
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def keras_carry(cell, both):
    """Our carry from the states [S, B, H] of Keras: h or h, c; forward, then backward."""

    def one(states):
        return cell.carry(**dict(zip(("h", "c"), states, strict=False)))

    def convert_states(states):
        count = len(cell.carry._fields)
        if not both:
            return one(states[:count])
        return recurrent.BidirectionalCarry(one(states[:count]), one(states[count : 2 * count]))

    return convert_states


def keras_states(carry):
    """The inverse of keras_carry."""
    carries = carry if isinstance(carry, recurrent.BidirectionalCarry) else [carry]
    return np.stack([getattr(c, n) for c in carries for n in ("h", "c") if hasattr(c, n)])


# Everything in float64; in float32 the case that holds the most.
KERAS_RUNS = [(case, "float64") for case in KERAS_CASES]
KERAS_RUNS += [(case, "float32") for case, s in KERAS_CASES.items() if s.get("merge") == "concat"]


@pytest.mark.equivalence(
    "recurrent layers", "Keras 3.15 RNN layers, recorded", "1e-10 in float64, 1e-5; gradients too"
)
@pytest.mark.parametrize(("case", "dtype"), KERAS_RUNS)
def test_keras(case, dtype):
    settings = KERAS_CASES[case]
    kind, both, sequences = settings["kind"], "merge" in settings, settings.get("sequences", True)
    cell = cells.CELLS[kind]
    params = convert.from_keras(weights_of(KERAS, kind), cell=cell)
    params = params if both else params["forward"]
    mask = KERAS["mask_" + settings["mask"]] if "mask" in settings else np.ones((B, T))
    with jax.enable_x64(dtype == "float64"):
        outputs, carry, d_params, d_x, d_carry = run(
            KERAS, kind, params, settings, mask, keras_carry(cell, both), dtype
        )
    actual = {"outputs": outputs, "states": keras_states(carry), "d_x": d_x}
    if settings.get("initial"):
        actual["d_initial"] = keras_states(d_carry)
    actual |= {f"d_{k}": v for k, v in convert.to_keras(d_params, cell=cell).items()}

    pieces = split(KERAS[case], [a.shape for a in actual.values()])
    expected = dict(zip(actual, pieces, strict=True))
    if settings.get("backwards"):  # go_backwards returns the outputs as they were computed
        expected["outputs"] = expected["outputs"][:, ::-1]
    if settings.get("zero") is False:
        assert (expected["outputs"] * (1 - mask[:, :, None])).any()  # Keras repeats the output
        expected["outputs"] = expected["outputs"] * mask[:, :, None]
    if sequences and "mask" in settings:
        assert not (outputs * (1 - mask[:, :, None])).any()
    for name, value in actual.items():
        assert_same(name, value, expected[name], dtype)


def torch_carry(cell, both):
    """Our carry from the states [S * directions, B, H] of PyTorch: all of h, then all of c."""

    def convert_states(states):
        count = len(cell.carry._fields)
        if not both:
            return cell.carry(**dict(zip(("h", "c"), states[:count], strict=False)))
        forward, backward = states[: 2 * count : 2], states[1 : 2 * count : 2]
        return recurrent.BidirectionalCarry(
            *(cell.carry(**dict(zip(("h", "c"), s, strict=False))) for s in (forward, backward))
        )

    return convert_states


def torch_states(carry):
    """The inverse of torch_carry."""
    carries = carry if isinstance(carry, recurrent.BidirectionalCarry) else [carry]
    return np.stack([getattr(c, n) for n in ("h", "c") for c in carries if hasattr(c, n)])


def test_the_torch_carry_round_trips():
    states = np.arange(4.0)[:, None, None] * np.ones((B, H))
    carry = torch_carry(cells.LSTM, True)(states)
    assert [c[0, 0] for c in carry.forward] == [2, 0]  # c, h
    np.testing.assert_array_equal(torch_states(carry), states)


TORCH_RUNS = [(case, "float64") for case in TORCH_CASES]
TORCH_RUNS += [(case, "float32") for case, settings in TORCH_CASES.items() if settings.get("both")]


@pytest.mark.equivalence(
    "recurrent layers", "PyTorch 2.13 RNN layers, recorded", "1e-10 in float64, 1e-5; gradients too"
)
@pytest.mark.parametrize(("case", "dtype"), TORCH_RUNS)
def test_torch(case, dtype):
    settings = TORCH_CASES[case]
    kind, both = settings["kind"], settings.get("both", False)
    cell = cells.CELLS[kind]
    weights = weights_of(TORCH, kind)
    if not both:
        weights = {k: v for k, v in weights.items() if not k.endswith("_reverse")}
    params = convert.from_torch(weights, cell=cell)
    mask = TORCH["mask_right"] if settings.get("packed") else np.ones((B, T))
    merge = {"merge": "concat"} if both else {}
    with jax.enable_x64(dtype == "float64"):
        outputs, carry, d_params, d_x, d_carry = run(
            TORCH, kind, params, settings | merge, mask, torch_carry(cell, both), dtype
        )
    actual = {"outputs": outputs, "states": torch_states(carry), "d_x": d_x}
    if settings.get("initial"):
        actual["d_initial"] = torch_states(d_carry)
    d_weights = convert.to_torch(d_params, cell=cell)
    for name in d_weights:
        # Where PyTorch adds two biases the sum's gradient is that of both.
        source = name if cell.two_biases else name.replace("bias_hh", "bias_ih")
        actual["d_" + name] = d_weights[source]

    pieces = split(TORCH[case], [a.shape for a in actual.values()])
    for (name, value), expected in zip(actual.items(), pieces, strict=True):
        assert_same(name, value, expected, dtype)


def test_the_records_are_small_and_of_the_versions_named_above():
    assert str(KERAS["version"]).startswith("keras 3.15.")
    assert str(TORCH["version"]).startswith("torch 2.13.")
    assert sum(p.stat().st_size for p in GOLDEN.glob("rnn_*.npz")) < 300_000
    assert all(np.isfinite(KERAS[case]).all() for case in KERAS_CASES)
