"""From a large corpus into training: seconds and memory of each stage, on made-up pairs.

python -m benchmarks.corpus_training 400000 --folder=/tmp/corpus_training

The pairs are those of corpus_filter.py. The filter streams them and keeps at most data.max_pairs
(500,000, a random choice), which bounds what comes after it: the sentences, subwords trained on
them, their numbers, and 100 steps of configs/seq_attention.py on these.
"""

import argparse
import sys
import time
from pathlib import Path

import jax

from benchmarks.corpus_filter import write
from benchmarks.timing import memory_mb

sys.path.insert(0, str(Path(__file__).parent))
import nets  # noqa: E402

from configs import seq_attention  # noqa: E402
from seq_jax import modes  # noqa: E402
from train_jax import parallel  # noqa: E402
from train_jax.epoch import epoch_order, size_of, steps_of, train_epoch  # noqa: E402

STEPS = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=400_000)
    parser.add_argument("--folder", type=Path, required=True, help="a new one; needs 250 B a pair")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.count)
    config = seq_attention.get_config()
    config.data.path = str(arguments.folder)
    config.data.lengths = (16, 24, 32, 48)
    print(f"| {arguments.count:,} pairs | CPU s | wall s | peak so far, MB |\n|---|---|---|---|")

    def stage(name, work):
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"| {name} | {cpu:.0f} | {wall:.0f} | {memory_mb():.0f} |", flush=True)
        return result, wall

    (dataset, splits), _ = stage("filter, split", lambda: modes.load_splits(config))
    print(f"kept {dataset.report.kept:,}, of which train has {len(splits['train'].source):,}")
    vocabularies, _ = stage("subwords", lambda: modes.build_vocabularies(config, splits["train"]))
    model = modes.build_model(config, vocabularies)
    task, _ = stage(
        "numbers", lambda: modes.make_task(config, model, dataset, splits, vocabularies)
    )
    mesh, batch, length = parallel.make_mesh(0), config.train.batch_size, task.train["length"]
    steps = steps_of(size_of(task.train), batch, length)
    functions, state = nets.build(task, config, mesh, steps=steps)
    state = parallel.replicate(state, mesh)
    data = parallel.shard_rows(task.train, mesh)
    index, mask = epoch_order(size_of(task.train), batch, seed=0, epoch=0, length=length)

    def train():
        found = train_epoch(
            functions.train_step_at(0), state, data, index[:STEPS], mask[:STEPS], done=0,
            steps_per_call=1, after_call=lambda *_: None, length=length,
        )  # fmt: skip
        return jax.block_until_ready(found.step)

    _, wall = stage(f"{STEPS} steps of {batch}, compiled too", train)
    print(f"{STEPS * batch / wall:,.0f} pairs/s on the clock; {steps:,} steps an epoch")


if __name__ == "__main__":
    main()
