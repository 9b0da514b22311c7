"""Faces are found where they are, and cropped as the training images are."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_jax import drawn_faces
from fer_jax.predict import faces

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
SETTINGS = {"detector": "haar", "min_face": 40, "margin": 0.0, "align": True, "turned": False}


needs_cascades = pytest.mark.skipif(
    not faces.has_cascades(), reason="OpenCV 5 has no Haar cascades"
)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


# cropping


def test_a_crop_of_48_pixels_is_a_copy():
    grey = noise(100, 120)
    crop = faces.crop_square(grey, (30, 20, 48, 48), side=48, angle=0.0)
    np.testing.assert_array_equal(crop, grey[20:68, 30:78])


def test_a_larger_crop_is_the_mean_of_its_areas():
    grey = noise(200, 200)
    crop = faces.crop_square(grey, (4, 40, 96, 96), side=96, angle=0.0)
    blocks = grey[40:136, 4:100].reshape(48, 2, 48, 2).mean((1, 3))
    assert abs(crop - blocks).max() <= 0.5


def test_margin_grows_the_square_around_the_same_middle():
    grey = noise(300, 300)
    crop = faces.crop_square(grey, (100, 120, 48, 48), side=96, angle=0.0)
    blocks = grey[96:192, 76:172].reshape(48, 2, 48, 2).mean((1, 3))
    assert abs(crop - blocks).max() <= 0.5


def test_beyond_the_picture_its_edge_repeats():
    grey = noise(60, 60)
    crop = faces.crop_square(grey, (-10, 30, 48, 48), side=48, angle=0.0)
    padded = np.pad(grey, 48, mode="edge")
    np.testing.assert_array_equal(crop, padded[78:126, 38:86])


@pytest.mark.parametrize("angle", [-20.0, 12.0])
def test_a_line_that_falls_by_the_angle_becomes_level(angle):
    grey = np.zeros((200, 200), np.uint8)
    slope = np.tan(np.radians(angle))
    cv2.line(grey, (50, round(100 - 50 * slope)), (150, round(100 + 50 * slope)), 255, 6)
    crop = faces.crop_square(grey, (50, 50, 100, 100), side=100, angle=angle)
    centre = (crop * np.arange(48)[:, None]).sum(0) / crop.sum(0)
    assert np.ptp(centre) < 1 and abs(centre.mean() - 23.5) < 1


def test_whole_pictures():
    """detector='none': 48x48 stays as it is, others are padded to a square."""
    grey = noise(48, 48)
    (face,) = faces.find_faces(grey[..., None].repeat(3, 2), **SETTINGS | {"detector": "none"})
    np.testing.assert_array_equal(face.crop, grey)
    assert face.box == (0, 0, 48, 48)
    grey = noise(24, 48)
    (face,) = faces.find_faces(grey[..., None].repeat(3, 2), **SETTINGS | {"detector": "none"})
    np.testing.assert_array_equal(face.crop, np.pad(grey, ((12, 12), (0, 0)), mode="edge"))
    (face,) = faces.find_faces(np.zeros((1, 1, 3), np.uint8), **SETTINGS | {"detector": "none"})
    assert face.crop.shape == (48, 48)


def test_colour_is_weighed_as_the_eye_does():
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[...] = 200, 100, 50
    (face,) = faces.find_faces(pixels, **SETTINGS | {"detector": "none"})
    expected = Image.fromarray(pixels).convert("L").getpixel((0, 0))  # ITU-R 601, Pillow's
    assert abs(int(face.crop[0, 0]) - expected) <= 1


# finding


def test_suppress_keeps_the_best_of_those_that_overlap():
    inner, outer, apart = (40, 40, 20, 20), (0, 0, 100, 100), (95, 95, 30, 30)
    assert faces.suppress([inner, outer, apart], [3, 9, 5]) == [outer, apart]
    assert faces.suppress([inner, outer, apart], [9, 3, 5]) == [inner, apart]
    assert faces.suppress([], []) == []


@needs_cascades
def test_drawn_faces_are_found_where_they_are():
    """The detector is for photographs; of these drawings it is known to find both."""
    wall = np.full((400, 900), 128, np.uint8)
    places = {25: (60, 50, 192), 9: (600, 150, 240)}
    for number, (x, y, side) in places.items():
        face = drawn_faces.draw(28, seed=1, nuisance=0.5)[0][number]
        wall[y : y + side, x : x + side] = cv2.resize(
            face, (side, side), interpolation=cv2.INTER_CUBIC
        )
    pixels = wall[..., None].repeat(3, 2)
    large, small = faces.find_faces(pixels, **SETTINGS)
    assert large.box[2] > small.box[2]
    for face, (x, y, side) in zip((small, large), places.values(), strict=True):
        middle = face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2
        assert abs(middle[0] - x - side / 2) < side / 6
        assert abs(middle[1] - y - side / 2) < side / 6
        assert 0.5 * side < face.box[2] < 1.2 * side
    least = small.box[2] + 8
    larger = faces.find_faces(pixels, **SETTINGS | {"min_face": least})
    assert larger and all(face.box[2] >= least for face in larger)


@needs_cascades
def test_a_large_picture_is_shrunk_for_the_detector_only(monkeypatch):
    face = drawn_faces.draw(28, seed=1, nuisance=0.5)[0][25]
    wall = np.full((1000, 3000), 128, np.uint8)
    wall[200:776, 1800:2376] = cv2.resize(face, (576, 576), interpolation=cv2.INTER_CUBIC)
    sizes = []
    before = faces.crop_square
    monkeypatch.setattr(
        faces,
        "crop_square",
        lambda grey, *a, **k: sizes.append(grey.shape) or before(grey, *a, **k),
    )
    (found,) = faces.find_faces(wall[..., None].repeat(3, 2), **SETTINGS)
    assert abs(found.box[0] + found.box[2] / 2 - 2088) < 100 and 300 < found.box[2] < 700
    assert sizes == [(1000, 3000)]


@needs_cascades
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (39, 39), (200, 200)])
def test_nothing_is_found_where_nothing_is(shape):
    assert faces.find_faces(np.full((*shape, 3), 128, np.uint8), **SETTINGS) == []


def photograph():
    path = PHOTOS / "happy_astronaut.png"
    if not path.exists():
        pytest.skip("needs ../shared/data/photos")
    return np.asarray(Image.open(path).convert("RGB"))


EYES = (198, 101), (246, 104)  # of the astronaut, by hand, in pixels


@pytest.mark.slow
def test_the_face_of_a_photograph():
    pixels = photograph()
    (face,) = faces.find_faces(pixels, **SETTINGS)
    x, y, width, height = face.box
    for eye in EYES:
        assert x + 0.2 * width < eye[0] < x + 0.8 * width
        assert y + 0.2 * height < eye[1] < y + 0.55 * height


@pytest.mark.slow
def test_min_face():
    pixels = photograph()
    assert faces.find_faces(pixels, **SETTINGS | {"min_face": 250}) == []


@pytest.mark.slow
@pytest.mark.parametrize("angle", [-15, 15])
def test_alignment_undoes_a_turn(angle):
    pixels = photograph()
    turn = cv2.getRotationMatrix2D((222, 110), -angle, 1.0)  # falls to the right by `angle`
    turned = cv2.warpAffine(pixels, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    crops = {}
    for align in (True, False):
        found = faces.find_faces(turned, **SETTINGS | {"align": align})
        crops[align] = found[0].crop.astype(float)
    upright = faces.find_faces(pixels, **SETTINGS)[0].crop.astype(float)

    def alike(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert alike(crops[True], upright) > alike(crops[False], upright) + 0.05


def wide_wall(side):
    """A grey wall of 6400x400 pixels with 10 drawn faces of `side` pixels; their middles."""
    face = drawn_faces.draw(28, seed=1, nuisance=0.5)[0][25]
    face = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    wall = np.full((400, 6400), 128, np.uint8)
    corners = [(70 + 607 * column, 60 + 17 * column) for column in range(10)]
    for x, y in corners:
        wall[y : y + side, x : x + side] = face
    return wall, [(x + side / 2, y + side / 2) for x, y in corners]


def hits(boxes, middles):
    return sum(any(x < a < x + w and y < b < y + h for x, y, w, h in boxes) for a, b in middles)


@needs_cascades
def test_min_face_is_in_pixels_of_the_picture_however_large_it_is():
    """Shrunk to 1280 pixels, where the detector wants 24, it used to lose those below 120 here."""
    wall, middles = wide_wall(88)
    boxes = faces.detect(wall, min_face=32)
    assert hits(boxes, middles) == len(boxes) == 10
    assert all(80 < box[2] < 100 for box in boxes)
    assert faces.detect(wall, min_face=120) == []


def test_the_scale_for_the_detector_is_bounded():
    assert faces.detection_scale((3000, 4000), 40) == 24 / 40
    assert faces.detection_scale((960, 1280), 40) == 1.0  # small pictures stay as they are
    assert faces.detection_scale((1500, 2000), 200) == 1280 / 2000
    scale = faces.detection_scale((6000, 8000), 24)
    assert 8000 * scale * 6000 * scale == pytest.approx(faces.DETECTION_PIXELS)
    assert faces.smallest_face((3000, 4000), 40) == 40
    assert faces.smallest_face((6000, 8000), 24) == 42  # told where none is found


# turned heads and profiles


@needs_cascades
@pytest.mark.parametrize("angle", [45, 90, -60])
def test_a_turned_face_is_found_and_made_upright(angle):
    upright = np.full((500, 500), 128, np.uint8)
    face = drawn_faces.draw(28, seed=1, nuisance=0.5)[0][25]
    upright[90:282, 100:292] = cv2.resize(face, (192, 192), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((250, 250), -angle, 1.0)  # clockwise by `angle`
    turned = cv2.warpAffine(upright, turn, (500, 500), borderValue=128)[..., None].repeat(3, 2)
    assert faces.find_faces(turned, **SETTINGS) == []
    (found,) = faces.find_faces(turned, **SETTINGS | {"turned": True})
    middle = turn @ (196, 186, 1)
    assert abs(found.box[0] + found.box[2] / 2 - middle[0]) < 25
    assert abs(found.box[1] + found.box[3] / 2 - middle[1]) < 25
    degrees = int(found.pose.removeprefix("turned "))
    assert abs(degrees - angle) <= 30 and degrees * angle > 0
    (straight,) = faces.find_faces(upright[..., None].repeat(3, 2), **SETTINGS)
    same = np.corrcoef(found.crop.ravel(), straight.crop.ravel())[0, 1]
    other = np.corrcoef(np.rot90(found.crop).ravel(), straight.crop.ravel())[0, 1]
    assert same > other + 0.3


def test_profiles_to_both_sides(monkeypatch):
    """The cascade knows one side; here a stand-in that finds a spot left of the middle."""

    def search(cascade, grey, smallest, neighbours=6):
        if cascade != "profileface":
            return [], []
        y, x = np.unravel_index(grey.argmax(), grey.shape)
        return ([[int(x), int(y), 60, 60]], [9]) if x < grey.shape[1] / 2 else ([], [])

    monkeypatch.setattr(faces, "_search", search)
    for column, box in ((200, (200, 100, 120, 120)), (1000, (882, 100, 120, 120))):
        grey = np.zeros((400, 1280), np.uint8)  # halved for the search
        grey[100:102, column : column + 2] = 255
        ((found, degrees, pose),) = faces.detect_turned(grey, min_face=40)
        assert (found, degrees, pose) == (box, 0.0, "profile")


def test_what_was_looked_for_is_said():
    settings = {"min_face": 40, "turned": True}
    assert faces.why_no_face((3000, 4000, 3), 1, settings) == (
        "no face found: frontal of 40 pixels or more, turned or in profile of 150"
    )
    halved = faces.why_no_face((6000, 8000, 3), 2, settings | {"min_face": 24, "turned": False})
    assert halved == "no face found: frontal of 84 pixels or more"  # of the photograph


FER = Path(__file__).parents[4] / "shared" / "data" / "fer2013" / "archive.zip"
PROFILES = ("happy/Training_18285567", "neutral/Training_21805972", "sad/Training_46983167")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_of_fer2013(name):
    if not FER.exists():
        pytest.skip("needs ../shared/data/fer2013")
    with zipfile.ZipFile(FER) as archive:
        image = cv2.imdecode(np.frombuffer(archive.read(f"train/{name}.jpg"), np.uint8), 0)
    image = cv2.resize(image, (192, 192), interpolation=cv2.INTER_CUBIC)
    image = cv2.copyMakeBorder(image, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    pixels = image[..., None].repeat(3, 2)
    assert faces.find_faces(pixels, **SETTINGS) == []
    found = faces.find_faces(pixels, **SETTINGS | {"turned": True})
    assert found[0].pose == "profile" and found[0].box[2] > 60
