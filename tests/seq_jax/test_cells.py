"""The cells and their scan against three references that share no code with them.

Each reference runs forward in time only; a test of `reverse` turns its input and its result round.
    loop    a Python loop over recurrent.step: streaming
    plain   numpy, one gate at a time, skipping masked steps with an `if`
    flax    flax.linen's cell and nn.RNN, on each row with its masked steps cut out

Tolerances are absolute and relative. The numbers are of order 1 and sums of some 50 products, so
1e-5 leaves float32 (eps 1.2e-7) a factor of a few for the order of summation, and float64 meets
1e-10 with room; a wrong gate, mask or direction moves them by 0.01 to 1.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq_jax import cells, recurrent

# Compiling is most of the time of these tests. What the compiler does by default is in
# test_recurrent.py.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
B, T, D, H = 4, 6, 3, 5
# of the GRU flax has one form only
FLAX = {"simple_rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
# that `plain` computes, too; a new cell is held to the loop and to finite differences until it does
PLAIN = ("simple_rnn", "gru", "gru_reset_before", "lstm")
MASKS = {
    "none": None,
    "right": [[1, 1, 1, 0, 0, 0], [1] * 6, [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    "any": [[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1], [0] * 6, [0, 0, 0, 0, 0, 1]],
}


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """(dtype, tolerance)."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param, {"float32": 1e-5, "float64": 1e-10}[request.param]


def random_arrays(cell, dtype, seed=0):
    """Parameters, input, initial carry and weights of outputs and carry in the loss, as numpy."""
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return rng.normal(0, scale, shape).astype(dtype)

    params = {
        "kernel": normal(D, cell.gates * H, scale=0.6),
        "recurrent_kernel": normal(H, cell.gates * H, scale=0.6),
        "bias": normal(*(2,) * cell.two_biases, cell.gates * H, scale=0.6),
    }
    carry = cell.carry(*(normal(B, H) for _ in cell.carry._fields))
    weights = (normal(B, T, H), cell.carry(*(normal(B, H) for _ in cell.carry._fields)))
    return params, normal(B, T, D), carry, weights


def random_mask(name, dtype):
    return np.ones((B, T), dtype) if MASKS[name] is None else np.array(MASKS[name], dtype)


@functools.cache
def results(run):
    """Compiles (params, x, carry, mask, weights) -> values, final carry and all gradients.

    `run` is (params, x, carry, mask) -> (carry, outputs).
    """

    def loss(arrays, mask, weights):
        carry, outputs = run(*arrays, mask)
        parts = jax.tree.map(lambda a, w: (a * w).sum(), (outputs, carry), weights)
        return sum(jax.tree.leaves(parts)), (carry, outputs)

    @functools.partial(jax.jit, compiler_options=QUICK_COMPILE)
    def call(params, x, carry, mask, weights):
        (value, (carry, outputs)), gradients = jax.value_and_grad(loss, has_aux=True)(
            (params, x, carry), mask, weights
        )
        named = dict(zip(("d_params", "d_x", "d_carry"), gradients, strict=True))
        return {"loss": value, "outputs": outputs, "carry": carry} | named

    return call


@functools.cache
def scan(cell, reverse=False):
    def run(params, x, carry, mask):
        return recurrent.scan(cell, params, x, carry=carry, mask=mask, reverse=reverse)

    return run


@functools.cache
def loop(cell):
    def run(params, x, carry, mask):
        outputs = []
        for t in range(T):
            carry, output = recurrent.step(cell, params, carry, x[:, t], mask[:, t])
            outputs.append(output)
        return carry, jnp.stack(outputs, axis=1)

    return run


@functools.cache
def flax_reference(cell):
    """nn.RNN on the real steps only, which a stable sort moves to the front of each row."""
    rnn = nn.RNN(FLAX[cell.step.__name__](H), return_carry=True)

    def run(params, x, carry, mask):
        order = jnp.argsort(mask == 0, axis=1, stable=True)
        length = (mask != 0).sum(1)
        x = jnp.take_along_axis(x, order[:, :, None], axis=1)
        start = tuple(carry) if len(carry) > 1 else carry.h
        variables = {"params": {"cell": flax_params(cell, params)}}
        final, outputs = rnn.apply(variables, x, initial_carry=start, seq_lengths=length)
        final = cell.carry(*final) if len(carry) > 1 else cell.carry(h=final)
        # A row without a real step: nn.RNN would look up step -1.
        final = jax.tree.map(lambda a, b: jnp.where(length[:, None] > 0, a, b), final, carry)
        outputs = jnp.take_along_axis(outputs, jnp.argsort(order, axis=1)[:, :, None], axis=1)
        return final, jnp.where(mask[:, :, None] != 0, outputs, 0)

    return run


def flax_params(cell, params):
    """Our parameters as flax names them."""
    names = {"simple_rnn": [""], "gru": ["z", "r", "n"], "lstm": ["i", "f", "g", "o"]}
    names = names[cell.step.__name__]
    w = jnp.split(params["kernel"], cell.gates, axis=1)
    u = jnp.split(params["recurrent_kernel"], cell.gates, axis=1)
    b = jnp.split(params["bias"], cell.gates, axis=-1)
    tree = {}
    for i, name in enumerate(names):
        tree["i" + name], tree["h" + name] = {"kernel": w[i]}, {"kernel": u[i]}
        if cell is cells.LSTM:
            tree["h" + name]["bias"] = b[i]
        elif cell is cells.GRU:  # flax has the second bias only in n, where it matters
            tree["i" + name]["bias"] = b[i][0] if name == "n" else b[i].sum(0)
        else:
            tree["i" + name]["bias"] = b[i]
    if cell is cells.GRU:
        tree["hn"]["bias"] = b[2][1]
    return tree


def plain(kind, params, x, carry, mask, drop=None):
    """(final carry, outputs) in numpy: one row, one step, one gate at a time."""
    w, u, b = params["kernel"], params["recurrent_kernel"], params["bias"]
    s = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    gate = lambda m, i: m[..., i * H : (i + 1) * H]  # noqa: E731
    outputs = np.zeros((B, T, H), x.dtype)
    final = [np.array(a) for a in carry]
    for row in range(B):
        state = [a[row] for a in carry]
        for t in range(T):
            if not mask[row, t]:
                continue
            old, v = state[-1], x[row, t]
            h = old if drop is None else old * drop[row]
            if kind == "simple_rnn":
                state = [np.tanh(v @ w + h @ u + b)]
            elif kind == "lstm":
                i, f, g, o = (v @ gate(w, k) + h @ gate(u, k) + gate(b, k) for k in range(4))
                c = s(f) * state[0] + s(i) * np.tanh(g)
                state = [c, s(o) * np.tanh(c)]
            elif kind == "gru":
                z = s(v @ gate(w, 0) + gate(b[0], 0) + h @ gate(u, 0) + gate(b[1], 0))
                r = s(v @ gate(w, 1) + gate(b[0], 1) + h @ gate(u, 1) + gate(b[1], 1))
                n = np.tanh(v @ gate(w, 2) + gate(b[0], 2) + r * (h @ gate(u, 2) + gate(b[1], 2)))
                state = [z * old + (1 - z) * n]
            else:
                z = s(v @ gate(w, 0) + h @ gate(u, 0) + gate(b, 0))
                r = s(v @ gate(w, 1) + h @ gate(u, 1) + gate(b, 1))
                n = np.tanh(v @ gate(w, 2) + (r * h) @ gate(u, 2) + gate(b, 2))
                state = [z * old + (1 - z) * n]
            outputs[row, t] = state[-1]
        for a, value in zip(final, state, strict=True):
            a[row] = value
    return type(carry)(*final), outputs


def turned(result):
    """A reference that ran over reversed input, with its results back in the order of time."""
    return result | {name: result[name][:, ::-1] for name in ("outputs", "d_x") if name in result}


def assert_same(actual, expected, tolerance):
    """Compares what `expected` has, and that no dtype was lost on the way."""
    for name, tree in expected.items():
        paths = jax.tree_util.tree_flatten_with_path(tree)[0]
        for (path, e), a in zip(paths, jax.tree.leaves(actual[name]), strict=True):
            assert a.dtype == e.dtype
            np.testing.assert_allclose(
                a, e, rtol=tolerance, atol=tolerance, err_msg=f"{name} {jax.tree_util.keystr(path)}"
            )


@pytest.mark.equivalence(
    "recurrent.scan", "flax.linen.RNN, numpy", "1e-10 in float64, 1e-5; gradients too"
)
@pytest.mark.parametrize("mask_name", MASKS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", cells.CELLS)
def test_the_scan_equals_loop_numpy_and_flax(kind, reverse, mask_name, precision):
    dtype, tolerance = precision
    cell = cells.CELLS[kind]
    params, x, carry, weights = random_arrays(cell, dtype)
    mask = random_mask(mask_name, dtype)
    actual = results(scan(cell, reverse))(params, x, carry, mask, weights)

    if reverse:
        x, mask, weights = x[:, ::-1], mask[:, ::-1], (weights[0][:, ::-1], weights[1])
    references = [results(loop(cell))(params, x, carry, mask, weights)]
    if kind in FLAX:
        references.append(results(flax_reference(cell))(params, x, carry, mask, weights))
    if kind in PLAIN:
        final, outputs = plain(kind, params, x, carry, mask)
        references.append({"outputs": outputs, "carry": final})
    for expected in references:
        assert_same(actual, turned(expected) if reverse else expected, tolerance)


@pytest.mark.parametrize("kind", cells.CELLS)
def test_gradients_equal_finite_differences(kind):
    """Along random directions: (f(a + eps v) - f(a - eps v)) / 2 eps = <grad f(a), v>.

    The error of the formula is of the order of eps^2 + 1e-16 / eps: about 1e-10 at eps = 1e-6.
    """
    with jax.enable_x64(True):
        cell, eps = cells.CELLS[kind], 1e-6
        *arrays, weights = random_arrays(cell, "float64")
        mask = random_mask("any", "float64")
        call = results(scan(cell))
        result = call(*arrays, mask, weights)
        gradients = [result["d_params"], result["d_x"], result["d_carry"]]
        for seed in range(5):
            *along, _ = random_arrays(cell, "float64", seed=1 + seed)
            plus = jax.tree.map(lambda a, v: a + eps * v, arrays, along)
            minus = jax.tree.map(lambda a, v: a - eps * v, arrays, along)
            slope = call(*plus, mask, weights)["loss"] - call(*minus, mask, weights)["loss"]
            products = jax.tree.map(lambda g, v: (g * v).sum(), gradients, along)
            np.testing.assert_allclose(
                slope / (2 * eps), sum(jax.tree.leaves(products)), rtol=1e-7, atol=1e-8
            )


@pytest.mark.parametrize("kind", PLAIN)
def test_drop_multiplies_h_in_the_recurrent_matmul_only(kind):
    cell = cells.CELLS[kind]
    params, x, carry, _ = random_arrays(cell, "float32")
    mask = random_mask("any", "float32")
    drop = np.random.default_rng(5).choice([0.0, 2.0], (B, H)).astype("float32")
    final, outputs = recurrent.scan(cell, params, x, carry=carry, mask=mask, drop=drop)
    expected, expected_outputs = plain(kind, params, x, carry, mask, drop)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(final, expected, rtol=1e-5, atol=1e-5)


def test_unknown_cells_are_refused():
    assert cells.make_cell("gru", reset_after=False) == cells.GRU_RESET_BEFORE
    with pytest.raises(ValueError, match="cell must be one of .*, got 'elman'"):
        cells.make_cell("elman")
    with pytest.raises(ValueError, match="'gru' only, got cell 'lstm'"):
        cells.make_cell("lstm", reset_after=False)
