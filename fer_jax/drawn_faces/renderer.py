"""Draws small grey faces from numbers: the pixels of fer_jax/drawn_faces.

A face is painted the way a person would do it, back to front: background, neck, hair, head, nose,
mouth, eyes, brows, fringe, glasses; then the light falls on it and the camera blurs it and adds
noise. Each layer is one function: it turns distances into a soft mask in [0, 1] and lays a tone
over the canvas there (`paint`). Nothing is drawn at a higher resolution and shrunk: a mask that
ramps over one pixel is already smooth.

Letters: N images, S = 48 pixels per side. x, y f32[N, S, S] are coordinates of the pixel centres in
units of half the image, x to the right, y DOWN. Every parameter is f32[N, 1, 1], a length in those
units or a tone in [0, 1] (0 black, 1 white).
"""

from typing import Any, NamedTuple

import numpy as np

S = 48  # pixels per side
PIXEL = 2.0 / S  # its width in our units
EYE_X, EYE_Y, MOUTH_Y = 0.33, -0.14, 0.50  # where the features of a face at rest are


class Expression(NamedTuple):
    """What the muscles do. Rows of EXPRESSIONS hold floats, a drawn batch holds f32[N, 1, 1]."""

    brow_inner: float  # how far the inner end of the brow is raised (FACS units AU1, AU4)
    brow_outer: float  # the same for the outer end (AU2)
    brow_arch: float  # height of the bow between the two
    eye_upper: float  # upper lid above the middle of the eye (AU5 raises it)
    eye_lower: float  # lower lid below the middle of the eye (AU7 raises it: a smaller number)
    pupil: float  # radius of iris and pupil
    mouth_width: float  # half width (AU20 stretches it)
    mouth_curve: float  # corners above the middle, as a parabola: + smiles, - droops (AU12, AU15)
    mouth_open: float  # half opening in the middle (AU26)
    upper_lip: float  # how far the middle of the upper lip is pulled up (AU10)
    teeth: float  # share of the open mouth that the upper teeth fill
    lip_corner: float  # lift of the very corners alone
    nose_wrinkle: float  # strength of the lines on the bridge and next to the nose (AU9)


# fmt: off
EXPRESSIONS = {  # in the order of the class ids; the columns are the fields above
    #                      brows ........... eyes ........... mouth ......................... nose
    "angry":    Expression(-.15,  .08, .00, .080, .05, .07, .26, -.07, .045, .00, .90, -.02,  .35),
    "disgust":  Expression(-.09, -.04, .00, .050, .03, .06, .28, -.10, .035, .09, .50, -.03, 1.00),
    "fear":     Expression( .14, -.01, .00, .165, .10, .06, .33, -.06, .100, .00, .45, -.04,  .00),
    "happy":    Expression( .02,  .03, .03, .085, .03, .07, .40,  .17, .075, .00, .85,  .04,  .00),
    "sad":      Expression( .13, -.10, .00, .065, .06, .07, .27, -.13, .000, .00, .00, -.02,  .00),
    "surprise": Expression( .13,  .14, .07, .165, .11, .07, .19,  .00, .200, .00, .10,  .00,  .00),
    "neutral":  Expression( .00,  .00, .03, .100, .07, .08, .29,  .01, .000, .00, .00,  .00,  .00),
}
# fmt: on
# Half-range of the jitter of each parameter: people differ, and neighbouring classes overlap a bit.
JITTER = Expression(
    0.030, 0.030, 0.020, 0.020, 0.015, 0.010, 0.045, 0.025, 0.012, 0.012, 0.25, 0.015, 0.15
)
INTENSITY = (0.45, 1.15)  # an expression is neutral + intensity * (its row - neutral)


class Look(NamedTuple):
    """All but the expression: a range here; in a batch a uniform draw from it, f32[N, 1, 1].

    What is not on every face (glasses, beard, hair) is there where its number is positive.
    """

    shift_x: Any = (-0.15, 0.15)  # pose: where the head's middle is
    shift_y: Any = (-0.14, 0.14)
    angle: Any = (-0.26, 0.26)  # in-plane rotation, radians
    scale: Any = (0.90, 1.24)
    yaw: Any = (-0.18, 0.18)  # the head turns: one half is squeezed, the features move
    pitch: Any = (-0.06, 0.06)  # the head nods: the features move up or down
    head_width: Any = (0.64, 0.80)
    head_height: Any = (0.84, 0.98)
    jaw: Any = (0.02, 0.26)  # how much the head narrows downwards
    eye_gap: Any = (-0.03, 0.03)  # added to EYE_X
    brow_lift: Any = (-0.025, 0.025)  # a person's own brow height, shared by both ends
    brow_thick: Any = (0.022, 0.05)
    nose_length: Any = (-0.05, 0.05)
    lip_thick: Any = (0.015, 0.06)
    gaze: Any = (-0.05, 0.05)  # iris to the left or right
    skin: Any = (0.30, 0.95)  # tones
    brow: Any = (0.10, 0.50)  # tone of the brows as a share of the skin's
    lip: Any = (0.50, 1.10)
    hair: Any = (0.02, 0.85)
    background: Any = (0.0, 1.0)
    hair_amount: Any = (-0.2, 1.0)
    hair_length: Any = (-0.4, 1.3)  # the y at which it ends
    fringe: Any = (-0.08, 0.14)  # how far it comes down the forehead
    parting: Any = (-0.3, 0.3)  # slope of the fringe
    beard: Any = (-1.2, 0.6)
    glasses: Any = (-1.5, 0.6)
    light_x: Any = (-0.40, 0.40)  # change of brightness from one side to the other
    light_y: Any = (-0.25, 0.25)
    gain: Any = (0.70, 1.25)
    contrast: Any = (0.70, 1.15)
    noise: Any = (0.0, 0.030)  # standard deviation
    blur: Any = (0.0, 0.18)  # share of a pixel that leaks to each neighbour


def sample(rng: np.random.Generator, labels: np.ndarray, nuisance: float):
    """Expression and Look of N faces: two NamedTuples of f32[N, 1, 1]; labels i32[N]."""
    n = len(labels)

    def uniform(low, high):
        u = rng.uniform(-0.5, 0.5, size=(n, 1, 1)) * nuisance
        return ((low + high) / 2 + (high - low) * u).astype(np.float32)

    rows = np.array(list(EXPRESSIONS.values()), np.float32)[:, :, None, None]  # [7, fields, 1, 1]
    rest = rows[list(EXPRESSIONS).index("neutral")]
    intensity = uniform(*INTENSITY)
    face = Expression(
        *(
            rest[k] + intensity * (rows[labels, k] - rest[k]) + uniform(-jitter, jitter)
            for k, jitter in enumerate(JITTER)
        )
    )
    return face, Look(*(uniform(*bounds) for bounds in Look()))


def inside(distance, ramp=1.2 * PIXEL):
    """Mask in [0, 1] of a signed distance (negative inside); it ramps over about one pixel."""
    return np.clip(0.5 - distance / np.float32(ramp), 0, 1)


def between(y, top, bottom):
    """Mask of the band top < y < bottom."""
    return inside(np.maximum(top - y, y - bottom))


def ellipse(x, y, width, height):
    """Signed distance (near the edge) to an ellipse with these half axes."""
    return (np.sqrt((x / width) ** 2 + (y / height) ** 2) - 1) * width


def paint(canvas, mask, tone):
    """Lay a tone over the canvas where the mask is 1."""
    canvas += mask * (tone - canvas)


def pose(look: Look):
    """Coordinates of the head, f32[N, S, S] each: the pixel grid, moved the opposite way.

    To draw a head that is turned left, turn the paper right.
    """
    axis = ((np.arange(S, dtype=np.float32) + 0.5) * PIXEL - 1)[None]
    px, py = axis[:, None, :] - look.shift_x, axis[:, :, None] - look.shift_y
    c, s = np.cos(look.angle) / look.scale, np.sin(look.angle) / look.scale
    x, y = c * px + s * py, c * py - s * px
    return x * (1 + look.yaw * np.clip(x, -1.2, 1.2)), y  # yaw: stretch one side, squeeze the other


def head_shape(x, y, look: Look, grow=1.0):
    """Signed distance to the outline of the head: an ellipse that narrows towards the chin."""
    narrow = 1 - look.jaw * np.clip(y, -0.2, 1)
    return ellipse(x / narrow, y, look.head_width * grow, look.head_height * grow)


def strands(x, y, look: Look):
    """Tone of the hair: its own, with light and dark strands that run from the crown."""
    return look.hair * (1 + 0.12 * np.sin(24 * x / np.maximum(1.3 + y, 0.2) + 9 * look.parting))


def draw_behind(canvas, x, y, look: Look):
    """Background with a slope, neck, shoulders, ears, and the hair behind the head."""
    canvas += look.background + 0.1 * look.parting * y
    paint(canvas, inside(np.abs(x) - 0.36) * inside(0.5 - y), look.skin * 0.75)  # neck
    paint(canvas, inside(ellipse(x, y - 1.75, 1.1, 0.65)), 1 - look.background)  # shoulders
    hair = inside(head_shape(x, y + 0.06, look, grow=1.13)) * inside(y - look.hair_length, 0.15)
    paint(canvas, hair * (look.hair_amount > 0), look.hair * 0.8)
    paint(canvas, inside(ellipse(np.abs(x) - look.head_width, y, 0.08, 0.15)), look.skin * 0.85)


def draw_head(canvas, x, y, look: Look):
    """Skin, darker towards the edge as on a ball, and perhaps a beard along the jaw."""
    distance = head_shape(x, y, look)
    ball = 1 - 0.35 * np.clip(1 + distance / look.head_width, 0, 1) ** 3
    mask = inside(distance)
    paint(canvas, mask, look.skin * ball)
    jaw = inside(0.30 + 0.25 * (1 - np.abs(x) / look.head_width) - y, 0.2)
    paint(canvas, mask * jaw * np.clip(look.beard, 0, 0.5), look.hair)


def draw_nose(canvas, x, y, face: Expression, look: Look):
    """A shaded side, two nostrils, wrinkles on the bridge and folds from nose to mouth."""
    tip = 0.20 + look.nose_length
    side = inside(np.abs(x - 0.09 * np.clip((y + 0.1) / 0.3, 0, 1)) - 0.02, 0.08)
    paint(canvas, 0.4 * side * between(y, -0.10, tip), look.skin * 0.55)
    paint(canvas, 0.8 * inside(ellipse(np.abs(x) - 0.075, y - tip, 0.045, 0.03)), look.skin * 0.3)
    wrinkle = np.clip(face.nose_wrinkle, 0, 1) * look.skin * 0.35  # depth of the dark lines
    lines = between((y + 0.5 * np.abs(x) + 0.03) % 0.11, 0.0, 0.035)
    bridge = lines * inside(ellipse(x, y + 0.02, 0.13, 0.15))
    fold = inside(np.abs(np.abs(x) - 0.16 - 0.45 * (y - 0.12)) - 0.025) * between(y, 0.12, 0.42)
    canvas -= wrinkle * np.maximum(bridge, fold)


def draw_mouth(canvas, x, y, face: Expression, look: Look):
    """Lips, the dark opening and the upper teeth, between two curves that meet at the corners."""
    u = x / face.mouth_width  # -1 and 1 at the corners
    u2 = np.minimum(u * u, 1.0)
    bow, oval = 1 - u2, np.sqrt(1 - u2)
    middle = MOUTH_Y + face.mouth_curve * (0.4 - u2) - face.lip_corner * u2 * u2
    opening = np.maximum(face.mouth_open, 0.0)
    top = middle - 0.6 * opening * oval - face.upper_lip * bow - 0.012
    bottom = middle + 1.2 * opening * oval - 0.3 * face.upper_lip * bow + 0.012
    across = inside((np.abs(u) - 1) * face.mouth_width)
    lips = across * between(y, top - look.lip_thick * bow, bottom + 1.3 * look.lip_thick * bow)
    paint(canvas, 0.8 * lips, look.skin * look.lip)
    paint(canvas, across * between(y, top, bottom), 0.06)
    gum = top + np.clip(face.teeth, 0, 1) * (bottom - top)
    teeth = across * between(y, top + 0.01, gum) * np.clip(bow * opening / 0.03, 0, 1)
    paint(canvas, teeth * (face.teeth > 0.05), 0.92)


def draw_eyes(canvas, x, y, face: Expression, look: Look):
    """White between the lids, iris with a glint, the dark line of the upper lid."""
    side = np.sign(x)
    from_eye = x - side * (EYE_X + look.eye_gap)  # both eyes at once
    bow = 1 - np.minimum((from_eye / 0.17) ** 2, 1.0)
    top = EYE_Y - np.maximum(face.eye_upper, 0.02) * bow
    bottom = EYE_Y + face.eye_lower * bow
    across = inside(np.abs(from_eye) - 0.17)
    white = across * between(y, top, bottom)
    paint(canvas, white, 0.55 + 0.4 * look.skin)
    iris = ellipse(from_eye - look.gaze, y - EYE_Y + 0.01, face.pupil, face.pupil)
    paint(canvas, white * inside(iris), 0.08)
    paint(canvas, across * between(y, top - 0.035, top + 0.005), look.skin * 0.25)
    paint(canvas, 0.4 * across * between(y, bottom, bottom + 0.03), look.skin * 0.5)


def draw_brows(canvas, x, y, face: Expression, look: Look):
    """A stroke over each eye from the inner (t = 0) to the outer (t = 1) end."""
    half = 0.20
    t = (np.abs(x) - (EYE_X + look.eye_gap) + half) / (2 * half)
    lift = face.brow_inner * (1 - t) + face.brow_outer * t + 4 * face.brow_arch * t * (1 - t)
    middle = EYE_Y - 0.23 - look.brow_lift - lift
    thick = look.brow_thick * (1.2 - 0.5 * np.clip(t, 0, 1))
    along = inside((np.abs(t - 0.5) - 0.5) * 2 * half)
    paint(canvas, along * inside(np.abs(y - middle) - thick), look.skin * look.brow)


def draw_hair(canvas, x, y, look: Look):
    """The hair on top of the forehead, down to a slanted line."""
    line = -0.70 + look.fringe + look.parting * x + 0.25 * x * x
    hair = inside(head_shape(x, y + 0.03, look, grow=1.08)) * inside(y - line, 0.08)
    paint(canvas, hair * (look.hair_amount > 0), strands(x, y, look))


def draw_glasses(canvas, x, y, look: Look):
    """Two rings, a bridge and the ear pieces."""
    across = np.abs(x) - (EYE_X + look.eye_gap)
    ring = inside(np.abs(ellipse(across, y - EYE_Y, 0.24, 0.21)) - 0.015)
    bar = between(y, EYE_Y - 0.05, EYE_Y - 0.01) * inside(0.23 - np.abs(across))
    bar *= inside(np.abs(x) - look.head_width)
    paint(canvas, np.maximum(ring, bar) * (look.glasses > 0), 0.5 * look.hair)


def photograph(canvas, look: Look, noise):
    """Light, blur (a 3-tap kernel each way), contrast, noise f32[N, S, S]; u8[N, S, S]."""
    axis = ((np.arange(S, dtype=np.float32) + 0.5) * PIXEL - 1)[None]
    light = 1 + look.light_x * axis[:, None, :] + look.light_y * axis[:, :, None]
    image = canvas * light * look.gain
    for _ in range(2):  # rows, then columns
        padded = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
        image = (1 - 2 * look.blur) * image + look.blur * (padded[:, :-2] + padded[:, 2:])
        image = image.transpose(0, 2, 1)
    image = 0.5 + look.contrast * (image - 0.5) + look.noise * noise
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def render(rng: np.random.Generator, labels: np.ndarray, nuisance: float = 1.0) -> np.ndarray:
    """Draw one face for each label: labels i32[N] -> u8[N, S, S].

    Args:
      rng: consumed; the same state gives the same pictures.
      nuisance: 1 is the data set; 0 draws every class once and for all, straight and clean.
    """
    face, look = sample(rng, labels, nuisance)
    noise = nuisance * rng.standard_normal((len(labels), S, S), dtype=np.float32)
    x, y = pose(look)
    canvas = np.zeros_like(x)
    draw_behind(canvas, x, y, look)
    draw_head(canvas, x, y, look)
    fx, fy = x - 0.35 * look.yaw, y - look.pitch  # the features sit in front of the neck's axis
    draw_nose(canvas, fx, fy, face, look)
    draw_mouth(canvas, fx, fy, face, look)
    draw_eyes(canvas, fx, fy, face, look)
    draw_brows(canvas, fx, fy, face, look)
    draw_hair(canvas, x, y, look)
    draw_glasses(canvas, fx, fy, look)
    return photograph(canvas, look, noise)
