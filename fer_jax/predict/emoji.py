"""Emoji in colour, drawn with Pillow: no font is needed, and no licence but that of the code.

Coordinates are in a square of 100 units, y down; angles as Pillow's: 0 at 3 o'clock, clockwise.
"""

import functools

from PIL import Image, ImageDraw

NOT_SURE = "not sure"
SKIN = {  # face and rim
    "angry": ("#f2703f", "#c8431c"),
    "disgust": ("#a9c94f", "#7b9a2a"),
    "fear": ("#a9c8ee", "#7199cc"),
    NOT_SURE: ("#d3d8df", "#9aa3b0"),
}
YELLOW = ("#ffd34d", "#e0a020")
PLAIN = ("#8fb6dd", "#4f7fae")  # of classes that have no emoji
INK = "#54320c"
SHARPNESS = 4  # drawn that many times larger, then shrunk: Pillow's shapes have hard edges


@functools.lru_cache(maxsize=64)
def emoji(name: str, size: int) -> Image.Image:
    """RGBA picture, size x size, of a class name or NOT_SURE; a plain disc for any other name."""
    scale = size * SHARPNESS / 100
    image = Image.new("RGBA", (size * SHARPNESS, size * SHARPNESS), (0, 0, 0, 0))
    pen = Pen(ImageDraw.Draw(image), scale)
    face, rim = SKIN.get(name, YELLOW if name in FEATURES else PLAIN)
    pen.oval(50, 50, 47, 47, rim)
    pen.oval(50, 50, 44, 44, face)
    FEATURES.get(name, _plain)(pen)
    return image.resize((size, size), Image.Resampling.LANCZOS)


class Pen:
    """Pillow's ImageDraw in units of the square."""

    def __init__(self, draw, scale):
        self._draw, self._scale = draw, scale

    def oval(self, x, y, across, down, colour):
        """Filled, with these half axes."""
        box = [self._scale * v for v in (x - across, y - down, x + across, y + down)]
        self._draw.ellipse(box, fill=colour)

    def arc(self, x, y, across, down, start, end, width=5, colour=INK):
        box = [self._scale * v for v in (x - across, y - down, x + across, y + down)]
        self._draw.arc(box, start, end, fill=colour, width=round(self._scale * width))

    def chord(self, x, y, across, down, start, end, colour):
        box = [self._scale * v for v in (x - across, y - down, x + across, y + down)]
        self._draw.chord(box, start, end, fill=colour)

    def line(self, *points, width=5, colour=INK):
        """Through (x, y) points, with round ends."""
        scaled = [(self._scale * x, self._scale * y) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(self._scale * width), joint="curve")
        for x, y in (points[0], points[-1]):
            self.oval(x, y, width / 2, width / 2, colour)

    def eyes(self, across=5, down=7, y=42):
        for x in (33, 67):
            self.oval(x, y, across, down, INK)

    def wide_eyes(self, pupil, y=42):
        for x in (33, 67):
            self.oval(x, y, 10, 12, "white")
            self.oval(x, y, pupil, pupil, INK)


def _angry(pen):
    pen.eyes(y=48)
    pen.line((20, 30), (43, 41))
    pen.line((80, 30), (57, 41))
    pen.arc(50, 82, 19, 15, 200, 340, width=6)


def _disgust(pen):
    for x, lean in ((33, 1), (67, -1)):  # eyes pressed shut: > <
        pen.line((x - 8 * lean, 34), (x + 7 * lean, 41), (x - 8 * lean, 48), width=4)
    pen.line((28, 70), (39, 64), (50, 70), (61, 64), (72, 70))
    pen.chord(56, 70, 11, 20, 0, 180, "#e0607e")  # the tongue
    pen.line((56, 71), (56, 82), width=2, colour="#a83a58")
    pen.line((43, 67), (50, 70), (61, 65), (72, 70))


def _fear(pen):
    pen.chord(50, 50, 44, 44, 180, 360, "#7fa9e0")  # a cold forehead
    pen.wide_eyes(4, y=45)
    pen.line((20, 30), (38, 22), width=4)
    pen.line((80, 30), (62, 22), width=4)
    pen.oval(50, 77, 17, 10, INK)
    pen.line((38, 73), (44, 76), (50, 73), (56, 76), (62, 73), width=3, colour="white")


def _happy(pen):
    pen.arc(33, 45, 9, 11, 190, 350)  # smiling eyes
    pen.arc(67, 45, 9, 11, 190, 350)
    pen.chord(50, 57, 28, 27, 0, 180, INK)
    pen.chord(50, 58, 24, 8, 0, 180, "white")
    pen.oval(50, 78, 12, 5, "#e0607e")


def _sad(pen):
    pen.eyes(y=46)
    pen.line((20, 36), (40, 27), width=4)
    pen.line((80, 36), (60, 27), width=4)
    pen.arc(50, 83, 18, 15, 205, 335)
    pen.oval(72, 66, 6, 8, "#4d9be6")  # a tear
    pen.line((72, 55), (72, 62), width=5, colour="#4d9be6")


def _surprise(pen):
    pen.wide_eyes(5)
    pen.arc(33, 27, 11, 8, 200, 340, width=4)
    pen.arc(67, 27, 11, 8, 200, 340, width=4)
    pen.oval(50, 75, 12, 15, INK)


def _neutral(pen):
    pen.eyes()
    pen.line((32, 70), (68, 70))


def _not_sure(pen):
    pen.eyes(y=46)
    pen.line((22, 36), (42, 36), width=4)
    pen.arc(67, 33, 11, 9, 200, 340, width=4)
    pen.line((34, 74), (52, 72), (66, 66))
    pen.arc(83, 17, 10, 10, 180, 430, width=6, colour="#2f6fd0")  # a question mark
    pen.line((84, 27), (84, 33), width=6, colour="#2f6fd0")
    pen.oval(84, 42, 4, 4, "#2f6fd0")


def _plain(pen):
    pen.oval(50, 50, 12, 12, "#ffffff")


FEATURES = {
    "angry": _angry,
    "disgust": _disgust,
    "fear": _fear,
    "happy": _happy,
    "sad": _sad,
    "surprise": _surprise,
    "neutral": _neutral,
    NOT_SURE: _not_sure,
}
