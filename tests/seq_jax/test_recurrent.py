"""The flax modules: options, initialisers, counts, dropout, and what the compiler is given."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq_jax import cells, recurrent
from seq_jax.recurrent import Bidirectional, Recurrent

B, T, D, H = 3, 5, 4, 6
MASK = np.array([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]], np.float32)


def random_input(shape=(B, T, D)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@functools.cache
def initialised(kind):
    return Recurrent(kind, H).init(jax.random.key(1), random_input(), train=False)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def random_carry(kind):
    cell = cells.make_cell(kind)
    return cell.carry(*(random_input((B, H)) + i for i in range(len(cell.carry._fields))))


@pytest.mark.parametrize(
    ("kind", "features", "units", "count"),
    [
        ("simple_rnn", 64, 256, (64 + 256 + 1) * 256),
        ("gru", 64, 256, 3 * (64 + 256 + 2) * 256),
        ("gru_reset_before", 64, 256, 3 * (64 + 256 + 1) * 256),
        ("gru", 1, 256, 3 * (1 + 256 + 2) * 256),
        ("lstm", 128, 64, 4 * (128 + 64 + 1) * 64),
    ],
)
def test_parameter_counts_are_those_of_keras(kind, features, units, count):
    x = jax.ShapeDtypeStruct((2, 3, features), jnp.float32)
    layer = Recurrent(kind, units)
    for module, times in ((layer, 1), (Bidirectional(layer), 2)):
        init = functools.partial(module.init, train=False)
        leaves = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0), x))
        assert sum(math.prod(a.shape) for a in leaves) == times * count


@pytest.mark.parametrize("kind", cells.CELLS)
def test_initial_parameters(kind):
    params = initialised(kind)["params"]
    columns = params["kernel"].shape[1]
    limit = math.sqrt(6 / (D + columns))
    assert 0.9 * limit < abs(params["kernel"]).max() <= limit
    for gate in jnp.split(params["recurrent_kernel"], columns // H, axis=1):
        close(gate @ gate.T, np.eye(H))
    bias = np.zeros_like(params["bias"])
    forget = cells.CELLS[kind].forget_gate
    if forget is not None:
        bias[forget * H : (forget + 1) * H] = 1
    np.testing.assert_array_equal(params["bias"], bias)


def test_gates_start_differently_and_the_keras_form_is_one_matrix():
    u = initialised("lstm")["params"]["recurrent_kernel"]
    assert abs(u[:, :H] - u[:, H : 2 * H]).max() > 0.1
    layer = Recurrent("lstm", H, recurrent_init="kernel")
    u = layer.init(jax.random.key(1), random_input(), train=False)["params"]["recurrent_kernel"]
    close(u @ u.T, np.eye(H))
    assert abs(u[:, :H] @ u[:, :H].T - np.eye(H)).max() > 0.1


@pytest.mark.parametrize("kind", cells.CELLS)
def test_a_stream_continues_where_the_carry_says(kind):
    layer, variables, x = Recurrent(kind, H), initialised(kind), random_input()
    start = random_carry(kind)
    final, outputs = layer.apply(variables, x, train=False, mask=MASK, initial_carry=start)
    carry, first = layer.apply(
        variables, x[:, :2], train=False, mask=MASK[:, :2], initial_carry=start
    )
    carry, second = layer.apply(
        variables, x[:, 2:], train=False, mask=MASK[:, 2:], initial_carry=carry
    )
    close(jnp.concatenate([first, second], axis=1), outputs)
    jax.tree.map(close, carry, final)


@pytest.mark.parametrize("reverse", [False, True])
def test_options_do_not_change_the_numbers(reverse):
    layer, variables, x = Recurrent("gru", H, reverse=reverse), initialised("gru"), random_input()
    final, outputs = layer.apply(variables, x, train=False, mask=MASK)
    for mask in (MASK.astype(bool), 3 * MASK):
        jax.tree.map(close, layer.apply(variables, x, train=False, mask=mask), (final, outputs))
    ones = layer.apply(variables, x, train=False, mask=np.ones_like(MASK))
    jax.tree.map(close, layer.apply(variables, x, train=False), ones)
    unrolled = layer.clone(unroll=2)
    jax.tree.map(close, unrolled.apply(variables, x, train=False, mask=MASK), (final, outputs))
    last = layer.clone(return_sequences=False)
    carry, output = last.apply(variables, x, train=False, mask=MASK)
    jax.tree.map(close, carry, final)
    close(output, final.h)
    # The last real step: of row 0 at 1, of row 1 at 3; read backwards, at 0 and 1.
    where = [0, 1, 0] if reverse else [1, 3, 4]
    close(output, outputs[np.arange(B), where])


def test_what_is_masked_has_no_influence():
    layer, variables, x = Recurrent("lstm", H), initialised("lstm"), random_input()

    def total(x):
        carry, outputs = layer.apply(variables, x, train=False, mask=MASK)
        return outputs.sum() + carry.c.sum()

    real = MASK[:, :, None]
    close(total(x), total(np.where(real > 0, x, np.float32(1e3))))
    gradient = jax.grad(total)(x)
    assert not (gradient * (1 - real)).any()
    assert (abs(gradient).max(-1) > 1e-4)[MASK > 0].all()


@pytest.mark.parametrize("kind", cells.CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_under_the_mask_reaches_no_gradient(kind, reverse, bad):
    layer = Recurrent(kind, H, reverse=reverse)
    weights = random_input((B, T, H))

    @jax.jit
    def gradients(variables, x):
        def loss(variables, x):
            carry, outputs = layer.apply(variables, x, train=False, mask=MASK)
            return (outputs * weights).sum() + sum(c.sum() for c in carry)

        return jax.grad(loss, argnums=(0, 1))(variables, x)

    x = random_input()
    broken = np.where(MASK[:, :, None] > 0, x, np.float32(bad))
    expected = gradients(initialised(kind), x)
    jax.tree.map(np.testing.assert_array_equal, gradients(initialised(kind), broken), expected)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(expected))


def test_a_stream_keeps_what_is_not_finite_under_the_mask_out():
    params, mask = initialised("lstm")["params"], MASK[:, 2]

    def loss(x):
        carry, output = recurrent.step(cells.LSTM, params, random_carry("lstm"), x, mask)
        return output.sum() + carry.c.sum()

    x = random_input()[:, 2]
    broken = np.where(mask[:, None] > 0, x, np.float32(np.nan))
    np.testing.assert_array_equal(jax.grad(loss)(broken), jax.grad(loss)(x))


def test_bidirectional_is_two_layers():
    x = random_input()
    layer = Recurrent("gru", H)
    both = Bidirectional(layer)
    variables = both.init(jax.random.key(0), x, train=False)
    params = variables["params"]
    assert set(params) == {"forward", "backward"}
    assert abs(params["forward"]["kernel"] - params["backward"]["kernel"]).max() > 0.1
    start = recurrent.BidirectionalCarry(random_carry("gru"), random_carry("gru"))
    settings = {"train": False, "mask": MASK}
    ahead, y = layer.apply(
        {"params": params["forward"]}, x, **settings, initial_carry=start.forward
    )
    back, z = layer.clone(reverse=True).apply(
        {"params": params["backward"]}, x, **settings, initial_carry=start.backward
    )
    carry, outputs = both.apply(variables, x, **settings, initial_carry=start)
    close(outputs, jnp.concatenate([y, z], axis=2))
    jax.tree.map(close, carry, recurrent.BidirectionalCarry(ahead, back))
    _, outputs = both.clone(merge="sum").apply(variables, x, **settings, initial_carry=start)
    close(outputs, y + z)


def test_layers_stack_and_compute_in_bfloat16():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            _, x = Bidirectional(Recurrent("lstm", H))(x, train=False, mask=MASK)
            return Recurrent("gru", H, bfloat16=True)(x, train=False, mask=MASK)

    (carry, outputs), variables = Stack().init_with_output(jax.random.key(0), random_input())
    assert outputs.dtype == carry.h.dtype == jnp.float32
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(variables))


@pytest.mark.parametrize("kind", cells.CELLS)
def test_in_bfloat16_only_the_products_are(kind):
    """Over 30 steps the carry does not lose digits: within 2 % of float32, as the first step is."""
    layer = Recurrent(kind, 16)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 30, 8)).astype(np.float32))
    variables = layer.init(jax.random.key(0), x, train=False)

    def loss(layer, variables):
        return jnp.square(layer.apply(variables, x, train=False)[1]).mean()

    half, full = (
        jax.jit(jax.value_and_grad(functools.partial(loss, f)))(variables)
        for f in (layer.clone(bfloat16=True), layer)
    )
    for found, expected in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
        assert found.dtype == jnp.float32
        assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    text = jax.jit(functools.partial(layer.clone(bfloat16=True).apply, train=False)).trace(
        variables, x).lower(lowering_platforms=("cuda",)).as_text()  # fmt: skip
    dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert dots and all(line.count("bf16>") == 2 for line in dots)


def masks_drawn(layer, key):
    """The dropout masks that a training call draws, in order, and its outputs."""
    drawn = []

    def record(function, args, kwargs, context):
        result = function(*args, **kwargs)
        if context.method_name == "dropout_mask":
            drawn.append(result)
        return result

    with nn.intercept_methods(record):
        _, outputs = layer.apply(
            initialised("lstm"), random_input(), train=True, mask=MASK, rngs={"dropout": key}
        )
    return drawn, outputs


def test_dropout_uses_one_mask_a_sequence():
    layer = Recurrent("lstm", H, dropout=0.25, recurrent_dropout=0.5)
    key = jax.random.key(3)
    (inputs, drop), outputs = masks_drawn(layer, key)
    assert inputs.shape == (B, 1, D) and drop.shape == (B, H)
    close(np.unique(inputs), [0, 4 / 3])
    close(np.unique(drop), [0, 2])
    params, x = initialised("lstm")["params"], random_input()
    _, expected = recurrent.scan(cells.LSTM, params, x * inputs, mask=MASK, drop=drop)
    close(outputs, expected)

    assert (masks_drawn(layer, key)[0][1] == drop).all()
    assert (masks_drawn(layer, jax.random.key(4))[0][1] != drop).any()
    _, plain = Recurrent("lstm", H).apply({"params": params}, x, train=False, mask=MASK)
    _, evaluated = layer.apply({"params": params}, x, train=False, mask=MASK)
    np.testing.assert_array_equal(evaluated, plain)


def test_dropout_keeps_the_mean_and_differs_between_directions():
    layer = Recurrent("simple_rnn", 50, recurrent_dropout=0.2)
    drawn = []

    def record(function, args, kwargs, context):
        result = function(*args, **kwargs)
        drawn.extend([result] if context.method_name == "dropout_mask" else [])
        return result

    x = random_input((200, 1, 1))
    with nn.intercept_methods(record):
        Bidirectional(layer).init(
            {"params": jax.random.key(0), "dropout": jax.random.key(1)}, x, train=True
        )
    assert (drawn[0] != drawn[1]).any()
    # 10,000 draws of standard deviation 0.5: 0.02 is four standard errors.
    assert abs(drawn[0].mean() - 1) < 0.02


def count(jaxpr, names):
    """How often primitives occur in a jaxpr, with what it calls but without the bodies of scans."""
    total = 0
    for equation in jaxpr.eqns:
        total += equation.primitive.name in names
        if equation.primitive.name != "scan":
            total += sum(count(inner, names) for inner in inner_jaxprs(equation))
    return total


def inner_jaxprs(equation):
    found = [getattr(value, "jaxpr", value) for value in equation.params.values()]
    return [jaxpr for jaxpr in found if hasattr(jaxpr, "eqns")]


def scans(jaxpr):
    """The bodies of all scans of a jaxpr."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["jaxpr"].jaxpr
        else:
            for inner in inner_jaxprs(equation):
                yield from scans(inner)


LOOPS = {"scan", "while"}


@pytest.mark.parametrize("kind", ["simple_rnn", "gru", "gru_reset_before", "lstm"])
@pytest.mark.parametrize(("batch", "steps"), [(64, 7), (256, 50)])
def test_one_loop_with_one_recurrent_matmul(kind, batch, steps):
    """The input is projected outside the loop; its gradient needs two matmuls per step more."""
    layer = Recurrent(kind, H, unroll=1)
    x, mask = jnp.ones((batch, steps, D)), jnp.ones((batch, steps))
    matmuls = 2 if kind == "gru_reset_before" else 1

    def loss(variables, x):
        return layer.apply(variables, x, train=False, mask=mask)[1].sum()

    forward = jax.make_jaxpr(loss)(initialised(kind), x).jaxpr
    assert count(forward, LOOPS) == 1
    assert count(forward, {"dot_general"}) == 1
    assert [count(body, {"dot_general"}) for body in scans(forward)] == [matmuls]

    both = jax.make_jaxpr(jax.grad(loss))(initialised(kind), x).jaxpr
    assert count(both, LOOPS) == 2
    assert [count(body, {"dot_general"}) for body in scans(both)] == [matmuls, 2 * matmuls]


@pytest.mark.cpu_only
@pytest.mark.parametrize(("batch", "steps"), [(64, 7), (256, 50)])
def test_a_training_step_compiles_to_one_loop_each_way(batch, steps):
    layer = Recurrent("lstm", H)

    def train_step(variables, x):
        def loss(v):
            return layer.apply(v, x, train=False)[1].sum()

        gradients = jax.grad(loss)(variables)
        return jax.tree.map(lambda p, g: p - 0.1 * g, variables, gradients)

    x = jax.ShapeDtypeStruct((batch, steps, D), jnp.float32)
    text = jax.jit(train_step).lower(initialised("lstm"), x).compile().as_text()
    assert text.count(" while(") == 2  # forward and backward


@pytest.mark.parametrize("steps, loops", [(7, 0), (100, 2)])
def test_for_a_gpu_short_sequences_have_no_loop(steps, loops):
    layer = Recurrent("lstm", H)

    def gradients(variables, x):
        return jax.grad(lambda v: layer.apply(v, x, train=False)[1].sum())(variables)

    x = jax.ShapeDtypeStruct((4, steps, D), jnp.float32)
    traced = jax.jit(gradients).trace(initialised("lstm"), x)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.while") == loops


def test_bad_settings_are_refused():
    x = random_input()

    def init(module, x=x, **kwargs):
        return module.init(jax.random.key(0), x, train=False, **kwargs)

    for settings, message in [
        ({"cell": "elman"}, "cell must be one of .*'elman'"),
        ({"units": 0}, "units must be >= 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"recurrent_dropout": -0.1}, r"recurrent_dropout must be in \[0, 1\), got -0.1"),
        ({"recurrent_init": "keras"}, "recurrent_init must be one of .*'keras'"),
        ({"unroll": -1}, "unroll must be >= 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            init(Recurrent(**({"cell": "gru", "units": H} | settings)))
    with pytest.raises(ValueError, match="merge must be one of .*'mul'"):
        init(Bidirectional(Recurrent("gru", H), merge="mul"))
    with pytest.raises(ValueError, match="reads forward in a Bidirectional"):
        init(Bidirectional(Recurrent("gru", H, reverse=True)))
    with pytest.raises(ValueError, match=r"mask must be \[B, T\] = \(3, 5\), got \(5, 3\)"):
        init(Recurrent("gru", H), mask=MASK.T)
    with pytest.raises(ValueError, match="carry must be LSTMCarry of .*, got .*GRUCarry"):
        init(Recurrent("lstm", H), initial_carry=random_carry("gru"))
    with pytest.raises(ValueError, match=r"x must be \[B, T, 4\], got \(3, 4\)"):
        recurrent.scan(cells.GRU, initialised("gru")["params"], x[:, 0])


@pytest.mark.parametrize("name", cells.CELLS)
def test_init_params_are_those_of_the_layer(name):
    """Shapes and dtypes of the flax module, and enough to scan with."""
    cell = cells.make_cell(name)
    params = recurrent.init_params(cell, jax.random.key(0), 5, 4)
    layer = recurrent.Recurrent(name, 4)
    like = jax.eval_shape(
        lambda x: layer.init(jax.random.key(1), x, train=False), jnp.ones((2, 3, 5))
    )
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, like["params"])
    carry, y = recurrent.scan(cell, params, jax.random.normal(jax.random.key(2), (2, 3, 5)))
    assert y.shape == (2, 3, 4) and jnp.abs(y).min() > 0
    square = params["recurrent_kernel"][:, :4]
    assert jnp.allclose(square @ square.T, jnp.eye(4), atol=1e-5)


@pytest.mark.parametrize("init", [cells.orthogonal_gates, cells.orthogonal_kernel])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_orthogonal_initialisers_in_16_bits_are_those_of_float32_rounded(init, dtype):
    key = jax.random.key(0)
    found = init(key, (H, 3 * H), dtype)
    assert found.dtype == dtype
    expected = init(key, (H, 3 * H)).astype(dtype)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_mixed_dtypes_are_named():
    cell = cells.make_cell("lstm")
    params = recurrent.init_params(cell, jax.random.key(0), D, H)
    x = jnp.zeros((B, T, D))
    with pytest.raises(ValueError, match="x is bfloat16 and bias is float32|and kernel is float32"):
        recurrent.scan(cell, params, x.astype(jnp.bfloat16))
    half = params | {"recurrent_kernel": params["recurrent_kernel"].astype(jnp.float16)}
    with pytest.raises(ValueError, match="x is float32 and recurrent_kernel is float16"):
        recurrent.scan(cell, half, x)
    carry = cells.zero_carry(cell, B, H, jnp.float32)
    for name in ("c", "h"):
        wrong = carry._replace(**{name: getattr(carry, name).astype(jnp.float16)})
        for call in (
            lambda wrong: recurrent.scan(cell, params, x, carry=wrong),
            lambda wrong: recurrent.step(cell, params, wrong, x[:, 0]),
        ):
            with pytest.raises(ValueError, match=f"{name} of the carry is float16 and x is float3"):
                call(wrong)
    with pytest.raises(ValueError, match="carry must be LSTMCarry of .*got .'LSTMCarry', .., .."):
        recurrent.scan(cell, params, x, carry=cells.LSTMCarry(0.0, 0.0))
    with pytest.raises(ValueError, match="carry must be LSTMCarry of .*GRUCarry"):
        recurrent.step(cell, params, cells.zero_carry(cells.GRU, B, H), x[:, 0])


@pytest.mark.parametrize("name", cells.CELLS)
def test_all_in_bfloat16_is_near_float32(name):
    cell = cells.make_cell(name)
    params = recurrent.init_params(cell, jax.random.key(0), D, H)
    x = jax.random.normal(jax.random.key(1), (B, T, D))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    carry, y = recurrent.scan(cell, *half, mask=MASK)
    expected_carry, expected = recurrent.scan(cell, params, x, mask=MASK)
    assert {a.dtype for a in (y, *carry)} == {jnp.dtype(jnp.bfloat16)}
    for found, other in zip((y, *carry), (expected, *expected_carry), strict=True):
        # 8 bits of mantissa, T steps
        np.testing.assert_allclose(found.astype(jnp.float32), other, atol=0.03)
    assert np.abs(expected).max() > 0.3


def test_a_wrong_carry_of_bidirectional_is_named():
    layer = recurrent.Bidirectional(Recurrent("gru", H))
    x = jnp.zeros((B, T, D))
    variables = layer.init(jax.random.key(0), x, train=False)
    one = cells.zero_carry(cells.make_cell("gru"), B, H, jnp.float32)
    for wrong in (one, (one, one)):
        with pytest.raises(ValueError, match=f"BidirectionalCarry.*got {type(wrong).__name__}"):
            layer.apply(variables, x, train=False, initial_carry=wrong)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_wholly_masked_row_returns_its_initial_carry(reverse):
    cell = cells.make_cell("lstm")
    params = recurrent.init_params(cell, jax.random.key(0), D, H)
    keys = jax.random.split(jax.random.key(1), 3)
    x = jax.random.normal(keys[0], (B, T, D))
    carry = cells.LSTMCarry(*(jax.random.normal(key, (B, H)) for key in keys[1:]))
    mask = np.array(MASK)
    mask[1] = 0
    scan = functools.partial(
        recurrent.scan, cell, params, x, carry=carry, mask=mask, reverse=reverse
    )
    final, last = scan(return_sequences=False)
    np.testing.assert_array_equal(final.c[1], carry.c[1])
    np.testing.assert_array_equal(final.h[1], carry.h[1])
    np.testing.assert_array_equal(last[1], carry.h[1])
    assert not np.allclose(final.h[0], carry.h[0])
    np.testing.assert_array_equal(scan()[1][1], 0)  # the outputs of its steps
