"""Annotated pictures and the contact sheet, with Pillow. Pictures are u8[H, W, 3] RGB."""

import textwrap
from typing import NamedTuple

from PIL import Image, ImageDraw

from fer_jax.predict import letters
from fer_jax.predict.emoji import NOT_SURE, emoji

COLOUR = {
    "angry": "#d94a1e",
    "disgust": "#6d8f1f",
    "fear": "#4f7fc4",
    "happy": "#c98a00",
    "sad": "#3a6ea5",
    "surprise": "#a8479b",
    "neutral": "#5f6b7a",
    NOT_SURE: "#444a54",
}
OTHER = "#4f7fae"  # of classes without an emoji
SIDES = 480, 1600  # pixels: the longer side of an annotated picture is brought into this range
TILE = 180  # pixels, side of a picture on the contact sheet
CAPTION = 62  # pixels below it
COLUMNS = 6
TEXT = 12  # pixels, size of the letters on it


class Answer(NamedTuple):
    box: tuple[int, int, int, int]  # x, y, width, height in pixels of the picture
    name: str  # class, or NOT_SURE
    best: str  # class with the highest probability
    probability: float  # of it
    number: int = 0  # of the face in its picture, or of its track in a video, from 1
    pose: str = "frontal"

    def text(self) -> str:
        """'happy 93 %', or 'not sure (sad 31 %)'; rounded down, so that no 50 % is below 0.5."""
        words = f"{self.best} {int(100 * self.probability)} %"
        words = words if self.name == self.best else f"{self.name} ({words})"
        return words if self.pose == "frontal" else f"{words}, {self.pose}"


def annotate(pixels, answers, *, numbered=False) -> Image.Image:
    """The picture with a box, name, probability and emoji for each answer, and its number."""
    image = Image.fromarray(pixels)
    longer = max(image.size)
    scale = min(max(longer, SIDES[0]), SIDES[1]) / longer
    size = [max(1, round(scale * side)) for side in image.size]
    image = image.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    thick = max(2, max(size) // 200)
    for answer in answers:
        x, y, width, height = (round(scale * value) for value in answer.box)
        colour = COLOUR.get(answer.name, OTHER)
        draw.rectangle([x, y, x + width - 1, y + height - 1], outline=colour, width=thick)
        side = min(max(height // 3, 28), 110, min(size))  # of the emoji
        font = letters.font(letters.FIRST, max(13, round(0.42 * side)))
        text = f"{answer.number}: {answer.text()}" if numbered else answer.text()
        words = int(draw.textlength(text, font)) + side // 4
        left = max(0, min(x, image.width - side - words))
        top = y - side
        if top < 0:  # no room above: below, or within the box
            top = y + height if y + height + side <= image.height else y
        middle = top + side // 2
        half = font.size * 3 // 4
        draw.rectangle(
            [left + side // 2, middle - half, left + side + words, middle + half], fill=colour
        )
        draw.text((left + side + side // 8, middle), text, "white", font, anchor="lm")
        face = emoji(answer.name, side)
        image.paste(face, (left, top), face)
    return image


def tile(picture, lines, name: str = "") -> Image.Image:
    """One field of the contact sheet: a PIL picture, or the first line in its place; the emoji of
    `name`; the lines below."""
    field = Image.new("RGB", (TILE, TILE + CAPTION), "white")
    if picture is not None:
        thumbnail = picture.convert("RGB")
        factor = TILE / max(thumbnail.size)
        size = [max(1, round(factor * side)) for side in thumbnail.size]
        thumbnail = thumbnail.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        field.paste(thumbnail, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    else:
        draw = ImageDraw.Draw(field)
        draw.rectangle([0, 0, TILE - 1, TILE - 1], fill="#eceef1")
        reason, *lines = lines
        for number, line in enumerate(textwrap.wrap(reason, 20)[:8]):
            letters.write(draw, (10, 10 + 20 * number), line, "#444a54", TEXT)
    if name:
        face = emoji(name, 56)
        field.paste(face, (TILE - 60, TILE - 60), face)
    draw = ImageDraw.Draw(field)
    for number, line in enumerate(lines[:3]):
        colour = COLOUR.get(name, OTHER if name else "#444a54") if number == 0 else "#444a54"
        letters.write(draw, (2, TILE + 4 + 19 * number), fit(line), colour, TEXT)
    return field


def sheet(tiles) -> Image.Image:
    """The tiles in rows."""
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    step_x, step_y = TILE + 12, TILE + CAPTION + 12
    image = Image.new("RGB", (columns * step_x + 12, rows * step_y + 12), "white")
    for number, field in enumerate(tiles):
        row, column = divmod(number, columns)
        image.paste(field, (12 + column * step_x, 12 + row * step_y))
    return image


def fit(line: str) -> str:
    """The line, cut in the middle where it is wider than a tile."""
    shown = line
    if len(line) > 60:  # more than fit in any script; a name may have 255
        line = line[:30] + line[-30:]
        shown = line[:30] + "…" + line[30:]
    while letters.width(shown, TEXT) > TILE - 4:
        line = line[: len(line) // 2 - 1] + line[len(line) // 2 + 1 :]
        shown = line[: len(line) // 2] + "…" + line[len(line) // 2 :]
    return shown
