"""An encoder-decoder with attention beside the same net in PyTorch, in turn: one table.

.venv-bench/bin/python benchmarks/attention.py --rounds=3 --seconds=8

The net is that of configs/seq_attention_large.py without its lexical term and with other widths,
2,000 pieces a side (2,436,048 parameters; in PyTorch 2,560 more, the second biases of its LSTMs),
in float32; bfloat16 is ours with config.model.bfloat16. A training step: 64 pairs of 16 tokens a
side, dropout, label smoothing, clipping, Adam, moving average. Decoding: 64 sentences of 16 tokens
by beam search, 5 hypotheses, 28 tokens each (<end> is out of reach, so that both go all the way).
Each round runs both once, in a process of its own. A time is the median over the rounds of the
median; below 1 we are faster. On a machine that others use --cpu pins each process to one core and
counts its CPU seconds, not those of the clock. PyTorch gets what is easiest for it: no <PAD>, so no
packing.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).parents[1]
PIECES, EMBEDDING, ENCODER, UNITS = 2000, 192, 192, 256
BATCH, TOKENS, STEPS, BEAM, LONGEST = 64, 16, 4, 5, 28
DROPOUT = 0.25
PEERS, CASES = ("jax", "torch", "bfloat16"), ("train", "decode")
START, END = 2, 3


def numbers(rows):
    """(source i32[rows, TOKENS], target likewise): <start>, noise, <end>."""
    rng = np.random.default_rng(0)
    found = rng.integers(4, PIECES, (2, rows, TOKENS)).astype(np.int32)
    found[..., 0], found[..., -1] = START, END
    return found


def make_jax(case, *, bfloat16=False):
    """A function that does the work of the case once, and how many steps that are."""
    sys.path.insert(0, str(ROOT))
    from train_jax import process

    process.use_huge_pages(__file__)
    process.use_eigen_convolutions()
    import jax
    import nets

    from configs import seq_attention_large
    from seq_jax import attention_task, models, translator
    from seq_jax.filter import Pairs
    from seq_jax.text import build_vocabulary

    config = seq_attention_large.get_config()
    config.data.lengths = (TOKENS,)
    config.model.update(
        embedding=EMBEDDING, encoder_units=ENCODER, units=UNITS, lexical=False, dropout=DROPOUT,
        bfloat16=bfloat16,
    )  # fmt: skip
    words = [f"w{number:04}" for number in range(4, PIECES)]  # in the order of their numbers
    vocabulary = build_vocabulary(words)
    model = models.make_model(
        source_vocabulary=PIECES, target_vocabulary=PIECES, **config.model.to_dict()
    )
    source, target = numbers(BATCH * STEPS)
    if case == "train":
        sides = ([" ".join(words[n - 4] for n in row[1:-1]) for row in a] for a in (source, target))
        pairs = Pairs(*sides)
        dataset = type("Dataset", (), {"name": "noise", "sha256": ""})
        splits = {"train": pairs, "valid": Pairs(*(side[:1] for side in pairs))}
        task = attention_task.make_task(config, model, dataset, splits, (vocabulary, vocabulary))
        np.testing.assert_array_equal(task.train["source"], source)
        return nets.training(task, config), STEPS
    params = jax.jit(lambda key: attention_task.init_model(model, key))(jax.random.key(0))["params"]
    params["logit_bias"] = params["logit_bias"].at[END].set(-1e4)
    search = translator.Search(beam=BEAM, alpha=1.0, no_repeat=0)
    run = translator.make_search(model, vocabulary, max_tokens=LONGEST, search=search)

    def decode():
        found = jax.device_get(run({"params": params}, source[:BATCH]))
        assert (found.lengths == LONGEST).all()

    return decode, 1


def make_torch(case):
    """As `make_jax`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.source = nn.Embedding(PIECES, EMBEDDING)
            self.target = nn.Embedding(PIECES, EMBEDDING)
            self.encoder = nn.LSTM(EMBEDDING, ENCODER, batch_first=True, bidirectional=True)
            self.bridge = nn.Linear(2 * ENCODER, 2 * UNITS)
            self.cell = nn.LSTMCell(2 * EMBEDDING, UNITS)
            self.key = nn.Linear(2 * ENCODER, UNITS, bias=False)
            self.readout = nn.Linear(UNITS + 2 * ENCODER, EMBEDDING, bias=False)
            self.bias = nn.Parameter(torch.zeros(PIECES))
            for embedding in (self.source, self.target):
                nn.init.normal_(embedding.weight, std=EMBEDDING**-0.5)

        def dropped(self, x, shape):
            if not self.training:
                return x
            return x * F.dropout(torch.ones(shape), DROPOUT)

        def encode(self, source):
            x = self.source(source)
            x = self.dropped(x, (len(x), 1, EMBEDDING))
            memory, (h, _) = self.encoder(x)
            c, h = torch.tanh(self.bridge(torch.cat([h[0], h[1]], -1))).chunk(2, -1)
            feed = torch.zeros(len(source), EMBEDDING)
            return memory, self.key(memory), source == 0, (h, c, feed)

        def step(self, memory, keys, mask, state, x):
            h, c, feed = state
            h, c = self.cell(torch.cat([x, feed], -1), (h, c))
            scores = torch.bmm(keys, h[:, :, None])[:, :, 0] * UNITS**-0.5
            weights = scores.masked_fill(mask, -1e9).softmax(-1)
            context = torch.bmm(weights[:, None], memory)[:, 0]
            return h, c, torch.tanh(self.readout(torch.cat([h, context], -1)))

        def logits(self, readout):
            return readout @ self.target.weight.T + self.bias

        def forward(self, source, target):
            *memory, state = self.encode(source)
            x = self.target(target)
            x = self.dropped(x, (len(x), 1, EMBEDDING))
            readouts = []
            for t in range(target.shape[1]):
                state = self.step(*memory, state, x[:, t])
                readouts.append(state[2])
            readouts = torch.stack(readouts, 1)
            return self.logits(self.dropped(readouts, (len(x), 1, EMBEDDING)))

    net = Net()
    second_biases = 2 * 4 * ENCODER + 4 * UNITS
    assert sum(p.numel() for p in net.parameters()) == 2_436_048 + second_biases
    source, target = (torch.tensor(a, dtype=torch.long) for a in numbers(BATCH * STEPS))
    if case == "train":
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        average = [p.detach().clone() for p in net.parameters()]

        def words_dropped(tokens):
            drop = (torch.rand(tokens.shape) < 0.1) & (tokens > END)
            return tokens.masked_fill(drop, 1)

        def train():
            for rows in torch.arange(BATCH * STEPS).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                given = words_dropped(target[rows][:, :-1])
                logits = net(words_dropped(source[rows]), given)
                loss = F.cross_entropy(
                    logits.flatten(0, 1), target[rows][:, 1:].flatten(), ignore_index=0,
                    label_smoothing=0.1,
                )  # fmt: skip
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                torch._foreach_lerp_(average, [p.detach() for p in net.parameters()], 0.001)
            return loss.item()

        return train, STEPS
    net.eval()
    with torch.no_grad():
        net.bias[END] = -1e4

    @torch.inference_mode()
    def decode():
        memory, keys, mask, state = net.encode(source[:BATCH])
        memory, keys, mask = (a.repeat_interleave(BEAM, 0) for a in (memory, keys, mask))
        state = tuple(a.repeat_interleave(BEAM, 0) for a in state)
        tokens = torch.full((BATCH * BEAM, 1), START)
        total = torch.full((BATCH, BEAM), -1e9)
        total[:, 0] = 0
        first = (torch.arange(BATCH) * BEAM)[:, None]
        for _ in range(LONGEST):
            state = net.step(memory, keys, mask, state, net.target(tokens[:, -1]))
            log_p = net.logits(state[2]).log_softmax(-1)
            log_p[:, :3] = -1e9  # <PAD>, <unk>, <start>
            both = total[:, :, None] + log_p.view(BATCH, BEAM, -1)
            total, best = both.flatten(1).topk(BEAM)
            parent = (first + best // PIECES).flatten()
            state = tuple(a[parent] for a in state)
            tokens = torch.cat([tokens[parent], (best % PIECES).view(-1, 1)], 1)
        return tokens.numpy(), (total / LONGEST).numpy()

    return decode, 1


def measure(peer, case, seconds, cpu):
    """Prints the seconds of each step; `cpu`: those of the processor, of one core."""
    if cpu:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    clock = time.process_time if cpu else time.perf_counter
    bfloat16 = functools.partial(make_jax, bfloat16=True)
    work, steps = {"jax": make_jax, "torch": make_torch, "bfloat16": bfloat16}[peer](case)
    for _ in range(2):
        work()
    times, end = [], clock() + seconds
    while clock() < end or len(times) < 2:
        begin = clock()
        work()
        times.append((clock() - begin) / steps)
    print(json.dumps(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of one core")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure, options.seconds, options.cpu)
        return
    print("| | jax, ms | torch, ms | bfloat16, ms | jax / torch, of each round | bfloat16 / jax |\n"
          "|---|---|---|---|---|---|", flush=True)  # fmt: skip
    for case in CASES:
        found = {peer: [] for peer in PEERS}
        for _ in range(options.rounds):
            for peer in PEERS:
                command = [sys.executable, __file__, f"--seconds={options.seconds}"]
                command += ["--cpu"] * options.cpu
                done = subprocess.run(
                    [*command, "--measure", peer, case], stdout=subprocess.PIPE, check=True,
                    env=os.environ | {"JAX_COMPILATION_CACHE_DIR": "/tmp/attention_benchmark"},
                )  # fmt: skip
                found[peer].append(1e3 * median(json.loads(done.stdout.splitlines()[-1])))
        cells = [f"{median(times):.1f}" for times in found.values()]
        for ours, theirs in (("jax", "torch"), ("bfloat16", "jax")):
            ratios = [a / b for a, b in zip(found[ours], found[theirs], strict=True)]
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            cells.append(f"**{median(ratios):.2f}** ({each})")
        print(f"| {case} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
