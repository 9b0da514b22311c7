"""Records what PyTorch computes of an encoder-decoder with attention: attention_torch.npz.

    pip install torch==2.13.0
    python tests/golden/make_attention_golden.py

Run once; the tests read the records and do not need it. The encoder is torch.nn.LSTM on packed
sequences, the decoder torch.nn.LSTMCell, the loss torch.nn.functional.cross_entropy with label
smoothing; all float64. For each case of CASES the file holds
    CASE/params/PATH   the parameters, named and laid out as in seq_jax/encoder_decoder.py
    CASE/grads/PATH    the derivatives of the loss by them
    CASE/loss          the mean over real target tokens
    CASE/logits        [B, T - 1, V]
and `source` [B, S], `target` [B, T], in which 0 is <PAD>.
"""

import pathlib

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, S, T, D, E, H, V, W = 3, 5, 6, 4, 3, 5, 11, 9  # V target, W source vocabulary
SMOOTHING = 0.1
CASES = {
    "luong": {"attention": "luong", "layers": 1, "lexical": False, "feed": True},
    "bahdanau, two layers, lexical": {
        "attention": "bahdanau", "layers": 2, "lexical": True, "feed": True,
    },
    "luong, no feeding": {"attention": "luong", "layers": 1, "lexical": False, "feed": False},
    "none": {"attention": "none", "layers": 1, "lexical": False, "feed": True},
}  # fmt: skip
SOURCE = np.array([[2, 5, 6, 7, 3], [2, 8, 4, 3, 0], [2, 6, 3, 0, 0]])
TARGET = np.array([[2, 9, 4, 8, 10, 3], [2, 7, 3, 0, 0, 0], [2, 5, 6, 3, 0, 0]])


def draw(settings, rng):
    """{path: array}: random parameters."""
    M = 2 * E
    shapes = {
        "source_embed/embedding": (W, D),
        "target_embed/embedding": (V, D),
        "logit_bias": (V,),
        "bridge/kernel": (M, 2 * H * settings["layers"]),
        "bridge/bias": (2 * H * settings["layers"],),
        "decoder/readout": (H + M * (settings["attention"] != "none"), D),
    }
    for side in ("forward", "backward"):
        shapes |= {
            f"encoder_0/{side}/kernel": (D, 4 * E),
            f"encoder_0/{side}/bias": (4 * E,),
            f"encoder_0/{side}/recurrent_kernel": (E, 4 * E),
        }
    for i in range(settings["layers"]):
        width = H if i else D * (1 + settings["feed"])
        shapes |= {
            f"decoder/layer_{i}/kernel": (width, 4 * H),
            f"decoder/layer_{i}/bias": (4 * H,),
            f"decoder/layer_{i}/recurrent_kernel": (H, 4 * H),
        }
    if settings["attention"] != "none":
        shapes["decoder/attention/key_kernel"] = (M, H)
    if settings["attention"] == "bahdanau":
        shapes |= {
            "decoder/attention/query_kernel": (H, H),
            "decoder/attention/bias": (H,),
            "decoder/attention/score": (H,),
        }
    if settings["lexical"]:
        shapes |= {"lexical_dense/kernel": (D, D), "lexical_embed": (V, D)}
    return {k: torch.tensor(rng.normal(0, 0.5, s), requires_grad=True) for k, s in shapes.items()}


def weights_of(params, prefix, suffix=""):
    """{name: tensor} of a layer of PyTorch, functions of ours so that gradients flow."""
    kernel, recurrent = params[f"{prefix}/kernel"], params[f"{prefix}/recurrent_kernel"]
    bias = params[f"{prefix}/bias"]
    return {
        f"weight_ih{suffix}": kernel.T,
        f"weight_hh{suffix}": recurrent.T,
        f"bias_ih{suffix}": bias,
        f"bias_hh{suffix}": torch.zeros_like(bias),
    }


def run(settings, params):
    """(loss, logits)."""
    source, target = torch.tensor(SOURCE), torch.tensor(TARGET)
    words = params["source_embed/embedding"][source]
    lengths = (source != 0).sum(1)
    lstm = torch.nn.LSTM(D, E, batch_first=True, bidirectional=True).double()
    weights = weights_of(params, "encoder_0/forward", "_l0")
    weights |= weights_of(params, "encoder_0/backward", "_l0_reverse")
    packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
    outputs, (last, _) = torch.func.functional_call(lstm, weights, (packed,))
    memory, _ = pad_packed_sequence(outputs, batch_first=True, total_length=S)
    last = torch.cat([last[0], last[1]], -1)
    start = torch.tanh(last @ params["bridge/kernel"] + params["bridge/bias"]).split(H, -1)
    # ours is c, then h
    states = [(start[2 * i + 1], start[2 * i]) for i in range(settings["layers"])]
    cells = [
        torch.nn.LSTMCell(params[f"decoder/layer_{i}/kernel"].shape[0], H).double()
        for i in range(settings["layers"])
    ]
    feed, logits = torch.zeros(B, D, dtype=torch.double), []
    for t in range(T - 1):
        x = params["target_embed/embedding"][target[:, t]]
        x = torch.cat([x, feed], -1) if settings["feed"] else x
        for i, cell in enumerate(cells):
            states[i] = torch.func.functional_call(
                cell, weights_of(params, f"decoder/layer_{i}"), (x, states[i])
            )
            x = states[i][0]
        lexical = 0
        if settings["attention"] != "none":
            a = {k.split("/")[-1]: v for k, v in params.items() if "/attention/" in k}
            if settings["attention"] == "luong":
                scores = torch.einsum("bh,mh,bsm->bs", x, a["key_kernel"], memory) / H**0.5
            else:
                inside = (x @ a["query_kernel"])[:, None] + memory @ a["key_kernel"] + a["bias"]
                scores = torch.tanh(inside) @ a["score"]
            attention = scores.masked_fill(source == 0, -torch.inf).softmax(-1)
            x = torch.cat([x, torch.einsum("bs,bsm->bm", attention, memory)], -1)
            if settings["lexical"]:
                f = torch.tanh(torch.einsum("bs,bsd->bd", attention, words))
                f = torch.tanh(f @ params["lexical_dense/kernel"]) + f
                lexical = f @ params["lexical_embed"].T
        feed = torch.tanh(x @ params["decoder/readout"])
        tied = feed @ params["target_embed/embedding"].T
        logits.append(tied + lexical + params["logit_bias"])
    logits = torch.stack(logits, 1)
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, V), target[:, 1:].reshape(-1), ignore_index=0, label_smoothing=SMOOTHING
    )
    return loss, logits


def main():
    record = {"source": SOURCE, "target": TARGET}
    for number, (case, settings) in enumerate(CASES.items()):
        params = draw(settings, np.random.default_rng(number))
        loss, logits = run(settings, params)
        grads = torch.autograd.grad(loss, list(params.values()))
        record |= {f"{case}/params/{k}": v.detach().numpy() for k, v in params.items()}
        record |= {f"{case}/grads/{k}": g.numpy() for k, g in zip(params, grads, strict=True)}
        record |= {f"{case}/loss": loss.item(), f"{case}/logits": logits.detach().numpy()}
    np.savez_compressed(pathlib.Path(__file__).with_name("attention_torch.npz"), **record)


if __name__ == "__main__":
    main()
