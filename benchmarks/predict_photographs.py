"""Photographs a second and peak memory of --mode=predict on photographs of 12 megapixels, and which
part of the time goes where.

python -m benchmarks.predict_photographs FACES FOLDER 30 [--config.predict.min_face=75 ...]

FACES: a folder of .jpg with one face each; they are pasted, 1 to 48 a photograph and 68 to 600
pixels wide, on blurred and noisy grounds.
"""

import cProfile
import pstats
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_jax.predict import faces

HEIGHT, WIDTH = 3000, 4000  # pixels
KINDS = ((1, 600), (2, 400), (4, 250), (8, 150), (48, 68))  # faces of a photograph; their width
PARTS = {  # function -> what it does
    "read_still": "decoding", "detect": "finding frontal faces", "detect_turned": "finding others",
    "eye_angle": "finding eyes", "classify": "classifying", "_draw": "drawing and writing",
}  # fmt: skip


def cut_faces(folder: Path) -> list[np.ndarray]:
    """u8[h, w, 3] of the face of each picture, with a third more at each side."""
    cuts = []
    for path in sorted(folder.glob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        for x, y, side, _ in faces.detect(grey, min_face=40)[:1]:
            more = side // 3
            top, left = max(0, y - more), max(0, x - more)
            cuts.append(pixels[top : y + side + more, left : x + side + more])
    return cuts


def make(path: Path, number: int, cuts):
    """Writes a photograph."""
    rng = np.random.default_rng(number)
    count, side = KINDS[number % len(KINDS)]
    coarse = rng.integers(60, 200, (HEIGHT // 64, WIDTH // 64, 3)).astype(np.uint8)
    pixels = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = rng.integers(-12, 13, (HEIGHT // 2, WIDTH // 2)).astype(np.int16)
    pixels += cv2.resize(noise, (WIDTH, HEIGHT))[..., None]
    pixels = pixels.clip(0, 255).astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count * WIDTH / HEIGHT)))
    rows = -(-count // columns)
    for face in range(count):
        cut = cuts[face % len(cuts)]
        scale = side * 5 / 3 / cut.shape[1]
        cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y = round((face // columns + 0.5) * HEIGHT / rows) - cut.shape[0] // 2
        x = round((face % columns + 0.5) * WIDTH / columns) - cut.shape[1] // 2
        pixels[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
    Image.fromarray(pixels).save(path, quality=90)


def main(source: Path, folder: Path, count: int, *settings: str):
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    cuts = cut_faces(source)
    for number in range(count):
        path = photos / f"{number:04d}.jpg"
        if not path.exists():
            make(path, number, cuts)
    start = time.perf_counter()
    command = ["launch.py", "--mode=predict", f"--inputs={photos}", f"--workdir={folder}/out"]
    subprocess.run([sys.executable, *command, *settings], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    rows = (folder / "out" / "predictions.csv").read_text().splitlines()[1:]
    found = sum("no face found" not in row for row in rows)
    expected = sum(KINDS[number % len(KINDS)][0] for number in range(count))
    print(
        f"{count} photographs, {found} rows with a face of {expected} pasted: {count / wall:.2f} "
        f"photographs a second by the clock; {cpu / count:.2f} s of a core each, start included; "
        f"peak memory {usage.ru_maxrss / 1024:.0f} MiB"
    )


def profile(folder: Path, count: int):
    """Prints the share of each of PARTS of the time of `count` photographs, in this process."""
    from configs import fer_best
    from fer_jax import modes

    names = sorted(map(str, (folder / "photos").iterdir()))[:count]
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(
        modes.predict, fer_best.get_config(), folder / "profile", weights="weights/fer_best",
        inputs=",".join(names),
    )  # fmt: skip
    for (file, _, function), (_, _, _, seconds, _) in pstats.Stats(profiler).stats.items():
        if function in PARTS and "fer_jax" in file:
            print(f"{PARTS[function]}: {seconds / count:.3f} s of the cores a photograph")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
    profile(Path(sys.argv[2]), min(5, int(sys.argv[3])))
