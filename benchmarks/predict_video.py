"""Seconds a frame and peak memory of --mode=predict on synthetic videos of one and ten minutes.

python -m benchmarks.predict_video FOLDER

640x360 pixels, 10 frames per second; two drawn faces wander over a grey wall.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from fer_jax import drawn_faces

RATE, SIZE = 10, (640, 360)  # frames per second; width, height
FACES = (25, 9)  # of the drawn faces, two that the detector takes for faces
SIDE = 150  # pixels of a face


def make(path: Path, minutes: float):
    """Writes the video."""
    pictures = drawn_faces.draw(28, seed=1, nuisance=0.5)[0]
    faces = [cv2.resize(pictures[n], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for n in FACES]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, SIZE)
    for frame in range(round(60 * RATE * minutes)):
        wall = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
        for number, face in enumerate(faces):
            left = 60 + 320 * number + round(40 * np.sin(frame / 31))
            top = 100 + round(60 * np.cos(frame / (47 + 10 * number)))
            wall[top : top + SIDE, left : left + SIDE] = face[..., None]
        writer.write(wall)
    writer.release()


def main(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for minutes in (1, 10):  # the longer one last: ru_maxrss is that of the largest child so far
        clip = folder / f"{minutes}min.mp4"
        make(clip, minutes)
        start = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "launch.py", "--mode=predict", f"--inputs={clip}",
             f"--workdir={folder}/out{minutes}", "--config.predict.smoothing=0.7"],
            check=True,
        )  # fmt: skip
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter() - start[0]
        cpu = usage.ru_utime + usage.ru_stime - start[1].ru_utime - start[1].ru_stime
        frames = 60 * RATE * minutes
        print(
            f"{minutes} min, {frames} frames: {wall / frames:.3f} s a frame ({cpu / frames:.3f} s "
            f"of one core), start included; peak memory {usage.ru_maxrss / 1024:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
