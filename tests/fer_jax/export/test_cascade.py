"""What JavaScript finds and crops is what OpenCV finds and crops."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fer_jax.predict import faces
from tests.fer_jax.export.scenes import scene

HERE = Path(__file__).parent
MODULE = HERE.parents[2] / "fer_jax" / "export" / "faces.mjs"
SETTINGS = {"min_face": 40, "margin": 0.0, "align": True}

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
    pytest.mark.skipif(not faces.has_cascades(), reason="OpenCV 5 has no Haar cascades"),
]


def find(pictures, folder, **settings):
    """What faces.mjs finds in RGB pictures: [[{'box', 'crop'}, ...], ...]."""
    from fer_jax.export import cascade

    known = {name: cascade.read(name)[0] for name in cascade.NAMES}
    listed = []
    for number, pixels in enumerate(pictures):
        height, width, _ = pixels.shape
        file = folder / f"{number}.rgba"
        opaque = np.full((height, width, 1), 255, np.uint8)
        file.write_bytes(np.concatenate([pixels, opaque], 2).tobytes())
        listed.append({"file": str(file), "width": width, "height": height})
    (folder / "settings.json").write_text(json.dumps(known | SETTINGS | settings))
    (folder / "pictures.json").write_text(json.dumps(listed))
    done = subprocess.run(
        ["node", HERE / "find.mjs", MODULE, folder / "settings.json", folder / "pictures.json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("settings", [{}, {"min_face": 100, "margin": 0.2, "align": False}])
def test_boxes_and_crops_are_those_of_opencv(tmp_path, settings):
    """Of scenes and of a larger one that is shrunk first, with faces that the edge cuts."""
    pictures = [scene(seed) for seed in range(4)]
    pictures += [scene(4)[:, 60:], np.repeat(np.repeat(scene(5), 2, 0), 2, 1)]
    count = 0
    for pixels, found in zip(pictures, find(pictures, tmp_path, **settings), strict=True):
        expected = faces.find_faces(pixels, detector="haar", turned=False, **(SETTINGS | settings))
        assert [tuple(face["box"]) for face in found] == [face.box for face in expected]
        for ours, theirs in zip(found, expected, strict=True):
            difference = np.int32(ours["crop"]) - theirs.crop.ravel()
            assert abs(difference).max() <= 1 and (difference != 0).mean() < 0.1
        count += len(found)
    assert count > 8


def test_noise_and_tiny_pictures_have_no_face(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((1, 1), (30, 500), (200, 90))
    ]
    assert find(pictures, tmp_path) == [[], [], []]
