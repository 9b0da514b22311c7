"""What --mode=export wrote beside JAX: differences, accuracy and times, for docs/export.md.

python launch.py --mode=export --config.data.path=archive.zip
python benchmarks/export.py --data=archive.zip [--folder=runs/export] [--weights=weights/fer_best]
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import jax
import jax.export
import numpy as np

from fer_jax import data, drawn_faces
from fer_jax import weights as weights_lib
from fer_jax.export.run import session
from fer_jax.inference import make_predict
from train_jax.compiler import forward_options


def runners(folder: Path, classifier) -> dict:
    """{name: images u8[N, 48, 48] -> logits f32[N, K]}, jax first."""
    predict = make_predict(classifier.model)

    def of_onnx(path):
        runner = session(path.read_bytes())
        return lambda images: runner.run(["logits"], {"images": images})[0]

    program = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    same_options = forward_options(jax.default_backend())  # as `make_predict` is compiled
    plain, alike = jax.jit(program.call), jax.jit(program.call, compiler_options=same_options)
    return {
        "jax": lambda images: np.asarray(predict(classifier.variables, images)),
        **{path.name: of_onnx(path) for path in sorted(folder.glob("*.onnx"))},
        "model.stablehlo": lambda images: np.asarray(plain(images)["logits"]),
        "model.stablehlo, compiled as JAX's": lambda images: np.asarray(alike(images)["logits"]),
    }


def by_batches(run, images, size=64):
    return np.concatenate([run(part) for part in np.split(images, range(size, len(images), size))])


def milliseconds(run, images, repeats=30) -> str:
    """Medians: on the clock, and of all cores together, which other work disturbs less."""
    run(images)
    wall, cores = [], []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        run(images)
        wall.append(1e3 * (time.perf_counter() - began[0]))
        cores.append(1e3 * (time.process_time() - began[1]))
    return f"{statistics.median(wall):.1f} ({statistics.median(cores):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/export"))
    parser.add_argument("--weights", type=Path, default=weights_lib.SHIPPED)
    args = parser.parse_args()
    classifier = weights_lib.load(args.weights)
    faces = data.load(args.data).splits["PublicTest"]
    real = faces.images[np.random.default_rng(1).permutation(len(faces.images))[:500]]
    drawn, _ = drawn_faces.draw(64, seed=1)
    sets = {"500 real": real, "64 drawn": drawn, **{f"batch {n}": real[:n] for n in (1, 7, 64)}}
    found = runners(args.folder, classifier)
    jax_of = {name: by_batches(found["jax"], images) for name, images in sets.items()}
    everything = by_batches(found["jax"], faces.images)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"| file | {' | '.join(sets)} | same answers | accuracy | ms (of all cores), "
        "batch 1 | batch 64 |"
    )
    print("|---" * (len(sets) + 5) + "|")
    for name, run in found.items():
        apart = [f"{abs(run(i) - jax_of[s]).max():.1e}" for s, i in sets.items()]
        logits = by_batches(run, faces.images)
        same = (logits.argmax(1) == everything.argmax(1)).mean()
        right = (logits.argmax(1) == faces.labels).mean()
        times = [milliseconds(run, real[:n]) for n in (1, 64)]
        print("|", " | ".join([name, *apart, f"{same:.2%}", f"{right:.4f}", *times]), "|")


if __name__ == "__main__":
    main()
