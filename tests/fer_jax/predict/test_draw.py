"""Emoji in colour without a font, labels inside of the picture, sheets of any size."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw

from fer_jax.data import CLASSES
from fer_jax.predict import draw, letters
from fer_jax.predict.draw import Answer
from fer_jax.predict.emoji import FEATURES, NOT_SURE, emoji

NAMES = (*CLASSES, NOT_SURE)


@pytest.mark.parametrize("name", NAMES)
def test_emoji_are_in_colour_on_a_clear_ground(name):
    picture = np.asarray(emoji(name, 64)).astype(int)
    assert picture.shape == (64, 64, 4)
    assert (picture[[0, -1], 0, 3] == 0).all() and picture[32, 32, 3] == 255  # corners, middle
    visible = picture[picture[..., 3] == 255][:, :3]
    assert np.ptp(visible, axis=1).max() > 80  # in colour
    assert (visible.sum(1) < 250).mean() > 0.03  # with dark features


def test_emoji_differ():
    pictures = [np.asarray(emoji(name, 32)).astype(int) for name in NAMES]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert abs(one - other).mean() > 4
    assert len(set(FEATURES.values())) == len(NAMES)  # not by their colour alone


def test_text():
    assert Answer((0, 0, 9, 9), "happy", "happy", 0.934).text() == "happy 93 %"
    assert Answer((0, 0, 9, 9), NOT_SURE, "sad", 0.4999).text() == "not sure (sad 49 %)"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("box", [(200, 150, 120, 120), (0, 0, 90, 90), (560, 400, 80, 80)])
def test_box_and_label_are_drawn_where_the_face_is(name, box):
    pixels = np.full((480, 640, 3), 255, np.uint8)
    answer = Answer(box, name, "happy", 0.5)
    image = np.asarray(draw.annotate(pixels, [answer])).astype(int)
    assert image.shape == (480, 640, 3)
    changed = (image != 255).any(2)
    x, y, width, height = box
    for row, column in ((y + height - 1, x + width // 2), (y + height // 2, x)):
        assert changed[row, column]  # the lower and the left edge
    assert not changed[y + height // 2 + 25, x + width // 2]  # the face itself is left free
    rows, columns = np.nonzero(changed)
    assert rows.min() >= max(0, y - 60) and rows.max() <= min(479, y + height + 60)
    assert columns.max() - columns.min() < 330
    assert changed.sum() > 2 * (width + height) + 1500  # and a label


def test_boxes_are_scaled_with_the_picture():
    pixels = np.full((2000, 3200, 3), 255, np.uint8)
    image = np.asarray(draw.annotate(pixels, [Answer((1000, 800, 600, 400), "sad", "sad", 0.5)]))
    changed = (image != 255).any(2)
    assert changed.shape == (1000, 1600)
    assert changed[598, 650] and changed[500, 500] and changed[500, 798]  # its edges
    assert not changed[590, 650] and not changed[500, 810]


@pytest.mark.parametrize(
    ("size", "shape"), [((48, 48), (480, 480)), ((1, 9), (53, 480)), ((3000, 2000), (1600, 1067))]
)
def test_the_size_of_an_annotated_picture(size, shape):
    pixels = np.zeros((*size, 3), np.uint8)
    answer = Answer((0, 0, size[1], size[0]), "sad", "sad", 0.5)
    image = draw.annotate(pixels, [answer])
    assert sorted((image.height, image.width)) == sorted(shape)


@pytest.mark.parametrize("count", [1, 5, 7])
def test_sheet(count):
    tiles = [draw.tile(Image.new("RGB", (30, 50), "red"), ["happy 93 %", "a.png"], "happy")] * count
    sheet = np.asarray(draw.sheet(tiles))
    red = (sheet == [255, 0, 0]).all(2)
    assert red.sum() > 0.8 * count * 108 * 180 - count * 56 * 56
    bands = (np.diff(red.any(1).astype(int)) == 1).sum()
    assert bands == -(-count // 6)


@pytest.mark.parametrize("line", ["a" * 500, "ಮುಖ 顔" * 40, "", "short"])
def test_long_lines_are_cut_in_the_middle(line):
    field = np.asarray(draw.tile(None, [line, line, line, line])).astype(int)
    assert field.shape == (180 + 62, 180, 3)
    assert (field[180:, -2:] == 255).all()


def ink(text):
    field = Image.new("L", (400, 30), 255)
    letters.write(ImageDraw.Draw(field), (2, 2), text, 0, 16)
    return np.asarray(field)


def test_kannada_is_written_in_its_letters():
    """It used to be three question marks."""
    pytest.importorskip("manimgx_fonts")
    parts = [(font.getname()[0], part) for font, part in letters.runs("a_ಮುಖ_é.png", 12)]
    assert parts == [
        ("DejaVu Sans", "a_"), ("Noto Sans Kannada", "ಮುಖ"), ("DejaVu Sans", "_é.png")
    ]  # fmt: skip
    assert (ink("ಮುಖ") != ink("ಸಂತ")).any() and (ink("ಮುಖ") < 128).sum() > 30


def test_a_letter_of_the_system_s_fonts(tmp_path, monkeypatch):
    """A font with the one letter 顔, a filled square."""
    builder = FontBuilder(1000, isTTF=True)
    pen = TTGlyphPen(None)
    for call, point in zip(("moveTo", *["lineTo"] * 3), ((0, 0), (0, 900), (900, 900), (900, 0)),
                           strict=True):  # fmt: skip
        getattr(pen, call)(point)
    pen.closePath()
    glyph = pen.glyph()
    builder.setupGlyphOrder([".notdef", "face"])
    builder.setupCharacterMap({0x9854: "face"})
    builder.setupGlyf({".notdef": glyph, "face": glyph})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "face": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=0)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "square.ttf")
    no_font = tmp_path / "no.ttf"
    no_font.write_bytes(b"x")
    monkeypatch.setattr(letters, "paths", lambda: (no_font, tmp_path / "square.ttf"))
    letters._path_of.cache_clear()
    field = ink("顔")
    assert letters.width("顔", 16) == 16
    assert (field[5:15, 4:14] < 128).all()
    letters._path_of.cache_clear()


def test_what_no_font_has_is_its_code_point(monkeypatch):
    monkeypatch.setattr(letters, "paths", lambda: (letters.FIRST,))
    letters._path_of.cache_clear()
    ((_, part),) = letters.runs("a_顔_Ж.png", 12)
    assert part == "a_U+9854_Ж.png"
    letters._path_of.cache_clear()


def test_photographs_on_the_sheet_keep_their_colours(tmp_path):
    rng = np.random.default_rng(0)
    photograph = Image.fromarray(rng.integers(0, 256, (180, 180, 3), dtype=np.uint8))
    draw.sheet([draw.tile(photograph, ["a"])]).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as sheet:
        np.testing.assert_array_equal(np.asarray(sheet)[12:192, 12:192], np.asarray(photograph))


def test_a_cut_line_keeps_its_ends():
    short = draw.fit("beginning" + "x" * 200 + "end.jpg")
    assert short.startswith("begin") and short.endswith("end.jpg") and "…" in short
    assert letters.width(short, draw.TEXT) <= draw.TILE - 4
