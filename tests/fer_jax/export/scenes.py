"""Pictures with several drawn faces, for what must find and judge them as --mode=predict does."""

import cv2
import numpy as np

from fer_jax import drawn_faces


def scene(seed) -> np.ndarray:
    """u8[H, W, 3]: three to five drawn faces of 70 to 190 pixels, some turned, on a soft ground."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(420, 700), rng.integers(760, 1100)
    ground = cv2.resize(
        rng.integers(60, 200, (5, 7, 3), dtype=np.uint8), (int(width), int(height)),
        interpolation=cv2.INTER_CUBIC,
    )  # fmt: skip
    faces, _ = drawn_faces.draw(int(rng.integers(3, 6)), seed=seed, nuisance=0.4)
    column = width // len(faces)
    for number, face in enumerate(faces):
        side = int(rng.integers(90, min(column, 190)))
        middle = (23.5, 23.5)
        turn = cv2.getRotationMatrix2D(middle, float(rng.uniform(-12, 12)), 1.0)
        face = cv2.warpAffine(face, turn, (48, 48), borderMode=cv2.BORDER_REPLICATE)
        face = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        left = number * column + int(rng.integers(0, column - side + 1))
        top = int(rng.integers(0, height - side + 1))
        tint = rng.uniform(0.85, 1.15, 3)
        ground[top : top + side, left : left + side] = np.clip(face[..., None] * tint, 0, 255)
    return ground
