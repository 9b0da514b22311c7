"""Finds the faces of a picture and crops them as FER-2013 is cropped: 48x48, grey, upright.

H, W = height and width of the picture in pixels. Boxes are (x, y, width, height) in pixels.
"""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 48  # pixels of a crop
DETECTORS = ("haar", "none")
WINDOW = 24  # pixels, side of the smallest face that the frontal cascade sees
DETECTION_SIDE = 1280  # pixels: a longer picture may be shrunk for the detector, not for the crop
DETECTION_PIXELS = 16_000_000  # it is shrunk to that at most: 5 s of a core, 0.6 GB
TURNED_SIDE = 640  # pixels: longer pictures are shrunk where turned faces are looked for
TURNS = (30, -30, 60, -60, 90, -90)  # degrees: the cascade finds what is turned by 15 at most
EYE_SIDE = 160  # pixels: width at which eyes are looked for
MAX_TURN = 30.0  # degrees: a larger angle between the "eyes" is a wrong detection


class Face(NamedTuple):
    box: tuple[int, int, int, int]  # what the detector found; the whole picture without one
    crop: np.ndarray  # u8[48, 48]
    pose: str = "frontal"  # or 'profile', or 'turned 60' by so many degrees, clockwise


def find_faces(pixels, *, detector, min_face, margin, align, turned) -> list[Face]:
    """The faces of a picture, the largest first.

    Args:
      pixels: u8[H, W, 3] RGB.
      detector: 'haar', OpenCV's frontal face cascade (Viola and Jones 2001), or 'none': the picture
        is one face already.
      min_face: side of the smallest box, in pixels of the picture.
      margin: added to each side of the box, as a share of it, before the square is cut out. With 0
        the crop is that of FER-2013: in 381 of 500 of its training images, enlarged, the detector
        finds the face, and the median box has 0.98 of their side (quartiles 0.90 and 1.03) and
        their middle.
      align: turn the crop so that the eyes, where both are found, are level.
      turned: where there is no upright frontal face, look for turned ones, then for profiles.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if detector == "none":
        height, width = grey.shape
        box = (0, 0, width, height)
        return [Face(box, crop_square(grey, box, side=max(width, height), angle=0.0))]
    faces = []
    for box in detect(grey, min_face=min_face):
        angle = eye_angle(grey, box) if align else 0.0
        faces.append(Face(box, _crop(grey, box, margin, angle)))
    if faces or not turned:
        return faces
    return [
        Face(box, _crop(grey, box, margin, angle), pose)
        for box, angle, pose in detect_turned(grey, min_face=min_face)
    ]


def why_no_face(shape, shrunk, settings) -> str:
    """The reason for a picture of shape (H, W, ...) without a face: what was looked for in it."""
    least = shrunk * smallest_face(shape[:2], settings["min_face"])
    reason = f"no face found: frontal of {least} pixels or more"
    if settings["turned"]:
        scale = _turned_scale(shape[:2])
        least = max(least, shrunk * math.ceil(WINDOW / scale))
        reason += f", turned or in profile of {least}"
    return reason


def _crop(grey, box, margin, angle):
    return crop_square(grey, box, side=round(box[2] * (1 + 2 * margin)), angle=angle)


def detect(grey, *, min_face) -> list[tuple[int, int, int, int]]:
    """Boxes of frontal faces in grey u8[H, W], the largest first, none inside or across another.

    The detector sees the picture in the scale of `detection_scale`: 0.33 s of a core and 40 MB for
    each million of its pixels there.
    """
    scale = detection_scale(grey.shape, min_face)
    boxes, votes = _search(
        "frontalface_default", _shrink(grey, scale), max(WINDOW, round(min_face * scale))
    )
    boxes = [tuple(round(value / scale) for value in box) for box in boxes]
    kept = suppress(boxes, votes)
    return sorted(kept, key=lambda box: -box[2] * box[3])


def detection_scale(shape, min_face) -> float:
    """In which a picture of `shape` is looked through: a face of `min_face` pixels is WINDOW there,
    or more, unless the picture would have more than DETECTION_PIXELS."""
    wanted = max(WINDOW / min_face, DETECTION_SIDE / max(shape))
    return min(1.0, wanted, math.sqrt(DETECTION_PIXELS / math.prod(shape)))


def smallest_face(shape, min_face) -> int:
    """Side in pixels of the smallest face that is looked for in a picture of `shape`."""
    return max(min_face, math.ceil(WINDOW / detection_scale(shape, min_face)))


def detect_turned(grey, *, min_face) -> list[tuple[tuple, float, str]]:
    """(box, degrees clockwise, pose) of faces that `detect` misses, the largest first: frontal ones
    that are turned by 30 to 90 degrees, or else profiles, which stay as they are.

    Looked for in a picture of at most TURNED_SIDE: 0.6 s of a core. A photograph that lies on its
    side has all faces alike, so those are kept that are within 30 degrees of the clearest one.
    """
    scale = _turned_scale(grey.shape)
    small = _shrink(grey, scale)
    smallest = max(WINDOW, round(min_face * scale))
    found = []  # box in `small`, votes, degrees, pose
    for turn in TURNS:
        upright, back = _turn(small, turn)
        boxes, votes = _search("frontalface_default", upright, smallest, neighbours=8)
        for (x, y, side, _), count in zip(boxes, votes, strict=True):
            middle = back @ (x + side / 2, y + side / 2, 1)
            corner = (round(value - side / 2) for value in middle)
            found.append(((*corner, side, side), count, turn, f"turned {turn}"))
    clearest = max(found, key=lambda one: one[1])[2] if found else 0
    found = [one for one in found if abs(one[2] - clearest) <= 30]
    if not found:
        width = small.shape[1]
        for mirrored in (False, True):  # the cascade knows those that look to one side
            picture = np.ascontiguousarray(small[:, ::-1]) if mirrored else small
            boxes, votes = _search("profileface", picture, smallest)
            for (x, y, side, _), count in zip(boxes, votes, strict=True):
                left = width - x - side if mirrored else x
                found.append(((left, y, side, side), count, 0, "profile"))
    kept = suppress([box for box, *_ in found], [count for _, count, *_ in found])
    faces = [one for one in found if one[0] in kept]
    faces.sort(key=lambda one: -one[0][2])
    return [
        (tuple(round(v / scale) for v in box), float(turn), pose) for box, _, turn, pose in faces
    ]


def _turned_scale(shape) -> float:
    return min(1.0, TURNED_SIDE / max(shape))


def _turn(grey, degrees):
    """(u8, f64[2, 3]): what is turned clockwise by `degrees` made upright, on a canvas that holds
    all of it; and the map of its points (x, y, 1) back into the picture."""
    height, width = grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = round(width * cosine + height * sine), round(width * sine + height * cosine)
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    ground = int(grey.mean())
    upright = cv2.warpAffine(grey, turn, size, borderMode=cv2.BORDER_CONSTANT, borderValue=ground)
    return upright, cv2.invertAffineTransform(turn)


def _search(cascade, grey, smallest, neighbours=6) -> tuple[list, list[int]]:
    """(boxes, votes): what a cascade of OpenCV finds in grey u8[H, W] from `smallest` pixels on,
    and how many windows agreed on each."""
    if min(grey.shape) < smallest:
        return [], []
    boxes, votes = _cascade(cascade).detectMultiScale2(
        grey, scaleFactor=1.1, minNeighbors=neighbours, minSize=(smallest, smallest)
    )
    return np.array(boxes).tolist(), list(map(int, votes))


def _shrink(grey, scale):
    """Grey u8[H, W] in `scale` of its size, by areas."""
    if scale >= 1:
        return grey
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def suppress(boxes, scores) -> list:
    """Non-maximum suppression: of boxes that share 30 % of the smaller one, the best remains."""
    kept: list = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(shared(boxes[i], other) < 0.3 * _smaller(boxes[i], other) for other in kept):
            kept.append(boxes[i])
    return kept


def shared(a, b) -> float:
    """The area that two boxes share, in pixels."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _smaller(a, b) -> float:
    return min(a[2] * a[3], b[2] * b[3])


def eye_angle(grey, box) -> float:
    """Degrees by which the line between the eyes falls to the right; 0 where no pair is found."""
    x, y, width, height = box
    upper = grey[max(y, 0) : y + round(0.6 * height), max(x, 0) : x + width]
    scale = EYE_SIDE / width
    upper = cv2.resize(upper, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    eyes, votes = _cascade("eye").detectMultiScale2(
        upper, scaleFactor=1.1, minNeighbors=4,
        minSize=(EYE_SIDE // 8, EYE_SIDE // 8), maxSize=(EYE_SIDE // 2, EYE_SIDE // 2),
    )  # fmt: skip
    centres = sorted(  # OpenCV's order depends on its threads
        (x + w / 2, y + h / 2, int(n)) for (x, y, w, h), n in zip(eyes, votes, strict=True)
    )
    best, angle = 0, 0.0
    for left in centres:
        for right in centres:
            across, down = right[0] - left[0], right[1] - left[1]
            sides = left[0] < EYE_SIDE / 2 < right[0]
            apart = 0.25 * EYE_SIDE < across < 0.65 * EYE_SIDE
            turn = math.degrees(math.atan2(down, across))
            if sides and apart and abs(turn) < MAX_TURN and left[2] + right[2] > best:
                best, angle = left[2] + right[2], turn
    return angle


def crop_square(grey, box, *, side, angle) -> np.ndarray:
    """u8[48, 48]: the square of `side` pixels around the middle of the box, turned by `angle`
    degrees, so that what falls to the right becomes level. Beyond the picture its edge repeats."""
    side = max(side, 1)
    x, y = box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2
    turn = cv2.getRotationMatrix2D((x, y), angle, 1.0)
    turn[:, 2] += (side - 1) / 2 - np.array([x, y])
    square = cv2.warpAffine(
        grey, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return resize(square)


def resize(square) -> np.ndarray:
    """u8[48, 48]: by areas where it shrinks, so that nothing aliases, else bilinear."""
    shrinks = square.shape[0] > SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(square, (SIDE, SIDE), interpolation=method)


def has_cascades() -> bool:
    """OpenCV 5 has none."""
    return hasattr(cv2, "CascadeClassifier")


@functools.cache
def _cascade(name):
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
