"""The weight converters: round trips and refusals. That the results are right: test_rnn_golden."""

import numpy as np
import pytest

from seq_jax import cells, convert

D, H = 3, 4
TORCH_CELLS = ["simple_rnn", "gru", "lstm"]


def random_params(cell, seed=0):
    rng = np.random.default_rng(seed)
    columns = cell.gates * H
    return {
        "kernel": rng.normal(size=(D, columns)),
        "recurrent_kernel": rng.normal(size=(H, columns)),
        "bias": rng.normal(size=(2, columns) if cell.two_biases else columns),
    }


def assert_equal(a, b):
    assert list(a) == list(b)
    for name in a:
        if isinstance(a[name], dict):
            assert_equal(a[name], b[name])
        else:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


def both_directions(cell):
    return {"forward": random_params(cell, 1), "backward": random_params(cell, 2)}


@pytest.mark.parametrize("kind", cells.CELLS)
def test_keras_round_trip(kind):
    cell = cells.CELLS[kind]
    for params in (random_params(cell), both_directions(cell)):
        weights = convert.to_keras(params, cell=cell)
        assert_equal(convert.from_keras(weights, cell=cell), params)
    assert list(weights) == [
        f"{direction}/{name}"
        for direction in ("forward", "backward")
        for name in ("kernel", "recurrent_kernel", "bias")
    ]


@pytest.mark.parametrize("kind", TORCH_CELLS)
def test_torch_round_trip(kind):
    cell = cells.CELLS[kind]
    for params in (random_params(cell), both_directions(cell)):
        weights = convert.to_torch(params, cell=cell, layer=1)
        assert all(w.flags.c_contiguous for w in weights.values())  # torch.from_numpy needs it not,
        assert_equal(
            convert.from_torch(weights, cell=cell, layer=1), params
        )  # but safetensors does
    assert list(weights) == [
        f"{name}_l1{suffix}"
        for suffix in ("", "_reverse")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def test_torch_biases_are_summed_where_only_the_sum_matters():
    weights = convert.to_torch(random_params(cells.LSTM), cell=cells.LSTM)
    assert not weights["bias_hh_l0"].any()
    weights["bias_hh_l0"] = np.ones(4 * H)
    params = convert.from_torch(weights, cell=cells.LSTM)
    np.testing.assert_array_equal(params["bias"], weights["bias_ih_l0"] + 1)


def test_a_layer_without_bias_gets_zeros():
    params = random_params(cells.GRU) | {"bias": np.zeros((2, 3 * H))}
    weights = {k: v for k, v in params.items() if k != "bias"}
    assert_equal(convert.from_keras(weights, cell=cells.GRU), params)
    weights = convert.to_torch(params, cell=cells.GRU)
    weights = {k: v for k, v in weights.items() if not k.startswith("bias")}
    assert_equal(convert.from_torch(weights, cell=cells.GRU), params)


def test_what_does_not_fit_is_refused():
    lstm, gru = random_params(cells.LSTM), random_params(cells.GRU)
    with pytest.raises(ValueError, match="shapes do not fit a gru cell.*16"):
        convert.from_keras(lstm, cell=cells.GRU)
    with pytest.raises(ValueError, match="shapes do not fit a gru_reset_before cell"):
        convert.to_keras(gru, cell=cells.GRU_RESET_BEFORE)
    with pytest.raises(ValueError, match="a layer has .*, got .*'gamma'"):
        convert.from_keras(lstm | {"gamma": np.ones(3)}, cell=cells.LSTM)
    with pytest.raises(ValueError, match="weights of one layer, got .*lstm_1/kernel"):
        two = {f"{layer}/{k}": v for layer in ("lstm", "lstm_1") for k, v in lstm.items()}
        convert.from_keras(two, cell=cells.LSTM)
    with pytest.raises(ValueError, match="reset_after=False has no equal"):
        convert.to_torch(random_params(cells.GRU_RESET_BEFORE), cell=cells.GRU_RESET_BEFORE)
    weights = convert.to_torch(lstm, cell=cells.LSTM)
    with pytest.raises(ValueError, match="weight_ih_l1.* not in the state_dict"):
        convert.from_torch(weights, cell=cells.LSTM, layer=1)
    with pytest.raises(ValueError, match="proj_size"):
        convert.from_torch(weights | {"weight_hr_l0": np.ones((2, H))}, cell=cells.LSTM)
