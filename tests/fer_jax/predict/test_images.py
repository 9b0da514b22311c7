"""Pictures and videos as they come: each is read as a person sees it, or has a reason."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_jax.predict import images
from fer_jax.predict.inputs import find
from tests.fer_jax.predict.odd_inputs import png_header

LIMITS = {"max_pixels": 1_000_000, "every": 1, "max_frames": 0}


def read(*names, **changes):
    return list(images.read(find([str(n) for n in names]).files, **LIMITS | changes))


def read_one(path, **changes):
    (picture,) = read(path, **changes)
    assert picture.file == str(path) and picture.frame == 0
    assert (picture.pixels is None) == bool(picture.reason)
    return picture


def colours(height=20, width=30):
    """Four fields of clear colours, so that JPEG and turning can be told apart."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 220, 30, 30
    pixels[: height // 2, width // 2 :] = 30, 200, 40
    pixels[height // 2 :, : width // 2] = 40, 40, 210
    pixels[height // 2 :, width // 2 :] = 200, 200, 200
    return pixels


def close(a, b, most=12):
    assert a.shape == b.shape and a.dtype == np.uint8
    assert abs(a.astype(int) - b).mean() < most


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg", "gif", "webp", "avif", "tif"])
def test_formats(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(colours()).save(path)
    picture = read_one(path)
    close(picture.pixels, colours())
    assert not picture.moving and picture.shown
    if ending in ("png", "bmp", "tif"):
        np.testing.assert_array_equal(picture.pixels, colours())


def test_the_content_counts_not_the_name(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_one(tmp_path / "a.jpg").pixels, colours())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    """The picture is stored turned, and the EXIF tag says how to turn it back."""
    upright = colours()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright[:, ::-1], -1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    close(read_one(path).pixels, upright)


def test_grey_and_palette(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        read_one(tmp_path / "grey.png").pixels, grey[..., None].repeat(3, 2)
    )
    Image.fromarray(colours()).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    close(read_one(tmp_path / "p.png").pixels, colours(), 2)
    Image.fromarray(grey > 100).save(tmp_path / "one_bit.png")
    np.testing.assert_array_equal(
        read_one(tmp_path / "one_bit.png").pixels[..., 1], np.uint8(255) * (grey > 100)
    )


def test_16_bits_keep_the_high_byte(tmp_path):
    grey = np.random.default_rng(0).integers(0, 65536, (9, 7)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        read_one(tmp_path / "deep.png").pixels, (grey >> 8).astype(np.uint8)[..., None].repeat(3, 2)
    )
    deep = np.random.default_rng(1).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep_rgb.png"), deep[..., ::-1])
    found = read_one(tmp_path / "deep_rgb.png").pixels.astype(int)
    assert abs(found - (deep >> 8)).max() <= 1


def test_transparency_lies_on_white(tmp_path):
    rgba = np.dstack([colours(), np.full((20, 30), 255, np.uint8)])
    rgba[5:9, 4:20, 3] = 0
    rgba[12:14, 4:20, 3] = 51
    Image.fromarray(rgba).save(tmp_path / "a.png")
    share = rgba[..., 3:].astype(float) / 255
    expected = share * rgba[..., :3] + (1 - share) * 255
    found = read_one(tmp_path / "a.png").pixels
    assert abs(found - expected).max() <= 1
    Image.fromarray(rgba).convert("LA").save(tmp_path / "la.png")
    assert (read_one(tmp_path / "la.png").pixels[5:9, 4:20] == 255).all()


def test_cmyk(tmp_path):
    Image.fromarray(colours()).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    close(read_one(tmp_path / "print.jpg").pixels, colours(), 15)


def test_the_first_frame_of_a_gif(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), c, np.uint8)) for c in (10, 200, 90)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    close(read_one(tmp_path / "a.gif").pixels, np.full((8, 8, 3), 10, np.uint8), 3)


@pytest.mark.parametrize("name", ["ಮುಖ 顔 é.png", "a b'c\"d.png", "no_ending", "A.PNG"])
def test_names(tmp_path, name):
    Image.fromarray(colours()).save(tmp_path / name, format="png")
    np.testing.assert_array_equal(read_one(tmp_path / name).pixels, colours())


def jpeg():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(
        file, format="jpeg"
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "an empty file"),
        (
            "text.jpg",
            b"To be, or not to be\n" * 50,
            "not a JPEG, PNG, BMP, GIF, WEBP, AVIF, TIFF file",
        ),
        ("cut.jpg", jpeg()[:3000], "damaged or cut off"),
        ("cut_early.jpg", jpeg()[:20], "not a JPEG|damaged"),
        (
            "bomb.png",
            png_header(20_000, 20_000),
            "too large: 20000x20000 pixels; at most 1,000,000",
        ),
        ("large.png", png_header(1200, 1000), "too large: 1200x1000"),
        ("flat.png", png_header(40_000, 1), "too large: 40000x1"),
        ("hollow.png", png_header(50, 50), "damaged or cut off"),
        ("hollow.tif", b"II*\0" + b"\0" * 100, "not a JPEG, PNG|damaged"),
        (
            "phone.heic",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99,
            "HEIC: convert it to JPEG",
        ),
        (
            "heic.jpg",
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 99,
            "HEIC: convert it to JPEG",
        ),
        (
            "canon.cr2",
            b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 99,
            "camera raw (CR2): convert it to JPEG",
        ),
        ("a.jxl", b"\xff\x0a" + b"\0" * 99, "JPEG XL: convert it to JPEG"),
        ("a.psd", b"8BPS" + b"\0" * 99, "Photoshop: convert it to JPEG"),
        ("text.mp4", b"To be, or not to be\n" * 50, "not a video that OpenCV can open"),
        ("empty.avi", b"", "not a video that OpenCV can open"),
    ],
)
def test_what_cannot_be_read_has_a_reason(tmp_path, name, content, reason, capfd):
    (tmp_path / name).write_bytes(content)
    picture = read_one(tmp_path / name)
    assert picture.pixels is None
    assert any(words in picture.reason for words in reason.split("|")), picture.reason
    assert capfd.readouterr() == ("", "")  # nothing of libjpeg, FFmpeg or OpenCV


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg", "gif", "webp", "avif", "tif"])
def test_damaged_bytes_never_raise(tmp_path, ending):
    rng = np.random.default_rng(0)
    Image.fromarray(colours()).save(tmp_path / f"whole.{ending}")
    whole = (tmp_path / f"whole.{ending}").read_bytes()
    outcomes = set()
    for number in range(150):
        broken = bytearray(whole)
        # the header in most cases: there stand the sizes, the depths and the tables
        for place in rng.integers(0, len(whole) if number % 3 == 0 else 60, 3):
            broken[place] = rng.integers(256)
        (tmp_path / f"a.{ending}").write_bytes(broken)
        picture = read_one(tmp_path / f"a.{ending}")  # checks that it has pixels or a reason
        if picture.pixels is not None:
            assert picture.pixels.size <= 3_000_000 and picture.pixels.dtype == np.uint8
        outcomes.add(picture.reason.split(":")[0])
    assert len(outcomes) > 1


def test_a_large_picture_is_not_decoded(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png_header(9_000, 9_000))
    monkeypatch.setattr(images, "_to_rgb", None)
    assert "9000x9000" in read_one(tmp_path / "bomb.png").reason
    assert read_one(tmp_path / "bomb.png", max_pixels=81_000_000).pixels is None  # it is tried


def test_what_is_not_there(tmp_path):
    assert read_one(tmp_path / "no.jpg").reason == "no such file"
    assert read_one(tmp_path / "no.mp4").reason == "no such file"
    assert read_one(tmp_path / "*.jpg").reason == "no file fits this pattern"
    assert read_one("/dev/zero").reason == "not a regular file"


def test_folders(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.bmp", ".hidden.png", ".git/x.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = [p.file for p in read(tmp_path)]
    assert found == [str(tmp_path / name) for name in ("a.JPG", "b.png", "deep/er/c.bmp")]
    (tmp_path / "empty").mkdir()
    assert read_one(tmp_path / "empty").reason == "a folder without pictures or videos"


def write_video(path, count, *, rate=5, size=(64, 48), codec="mp4v"):
    """Frames of 10, 20, 30 ... in brightness."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for number in range(count):
        frame = np.full((size[1], size[0], 3), min(10 + 5 * number, 255), np.uint8)
        frame[:, :, 0] = 0  # no blue: BGR and RGB can be told apart
        writer.write(frame)
    writer.release()


def test_video(tmp_path):
    write_video(tmp_path / "a.mp4", 12)
    found = read(tmp_path / "a.mp4")
    assert [p.frame for p in found] == list(range(12))
    assert all(p.moving and not p.reason for p in found)
    for picture in found:
        brightness = 10 + 5 * picture.frame
        close(picture.pixels, np.full((48, 64, 3), [brightness, brightness, 0], np.uint8), 6)
    assert [p.frame for p in read(tmp_path / "a.mp4", every=5)] == [0, 5, 10]
    assert [p.frame for p in read(tmp_path / "a.mp4", every=5, max_frames=2)] == [0, 5]
    assert "too large: 64x48" in read_one(tmp_path / "a.mp4", max_pixels=3000).reason


def test_a_frame_every_ten_seconds_is_shown(tmp_path):
    write_video(tmp_path / "a.avi", 45, rate=2, codec="MJPG")
    assert [p.frame for p in read(tmp_path / "a.avi") if p.shown] == [0, 20, 40]


def test_a_video_that_breaks_off(tmp_path):
    write_video(tmp_path / "a.avi", 40, codec="MJPG")
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    *frames, last = read(tmp_path / "cut.avi")
    assert 5 < len(frames) < 36 and all(p.pixels is not None for p in frames)
    assert last.pixels is None and last.reason.startswith("cut off") and "40" in last.reason


def test_a_video_has_its_own_times(tmp_path):
    write_video(tmp_path / "a.mp4", 12, rate=5)
    found = read(tmp_path / "a.mp4", every=2)
    np.testing.assert_allclose([p.seconds for p in found], np.arange(0, 12, 2) / 5, atol=2e-3)
    assert {p.frames for p in found} == {12}
    assert read_one_still(tmp_path).seconds is None


def read_one_still(folder):
    Image.fromarray(colours()).save(folder / "still.png")
    return read_one(folder / "still.png")


def test_a_changing_rate(tmp_path, monkeypatch):
    """Stamps of the file, not frames by rate: a phone records fewer frames in the dark."""
    write_video(tmp_path / "a.mp4", 4, rate=10)
    stamps = iter([0.0, 100.0, 900.0, 1000.0])

    class Capture:
        def __init__(self, *arguments):
            self.real, self.at = cv2_capture(*arguments), 0.0

        def __getattr__(self, name):
            return getattr(self.real, name)

        def grab(self):
            self.at = next(stamps, 0.0)
            return self.real.grab()

        def get(self, what):
            return self.at if what == cv2.CAP_PROP_POS_MSEC else self.real.get(what)

    cv2_capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert [p.seconds for p in read(tmp_path / "a.mp4")] == [0.0, 0.1, 0.9, 1.0]


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("wmv", "WMV2"), ("flv", "FLV1"), ("3gp", "mp4v"), ("ts", "mpg2"), ("mts", "mpg2"),
     ("webm", "VP80"), ("mkv", "mp4v"), ("mov", "mp4v")],
)  # fmt: skip
def test_videos_are_known_by_content(tmp_path, ending, codec):
    write_video(tmp_path / f"a.{ending}", 6, codec=codec)
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.jpg")
    assert [p.frame for p in read(tmp_path / "a.jpg") if p.moving and not p.reason] == list(
        range(6)
    )


# large ones


def test_a_large_jpeg_is_decoded_in_half(tmp_path):
    """Cameras of 108 and 200 megapixels; here of 4, with a limit of 1 million."""
    large = np.kron(colours(1000, 2000), np.ones((2, 1, 1), np.uint8))
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=90)
    picture = read_one(tmp_path / "a.jpg")
    assert picture.shrunk == 2
    close(picture.pixels, large[::2, ::2])
    Image.fromarray(large).save(tmp_path / "a.png")
    assert "2000x2000 pixels; at most 1,000,000" in read_one(tmp_path / "a.png").reason
    larger = np.zeros((2000, 2100, 3), np.uint8)
    Image.fromarray(larger).save(tmp_path / "b.jpg")
    assert "2100x2000" in read_one(tmp_path / "b.jpg").reason


def test_max_pixels_is_the_only_limit(tmp_path):
    """Pillow refuses what has more than 179 million pixels, whatever max_pixels says."""
    (tmp_path / "a.png").write_bytes(png_header(20_000, 10_000))
    assert "damaged" in read_one(tmp_path / "a.png", max_pixels=300_000_000).reason


# what a photograph is not


def test_a_raw_file_is_not_taken_for_its_preview(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.nef", format="TIFF", tiffinfo={254: 1})
    assert "camera raw" in read_one(tmp_path / "a.nef").reason
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "b.tif")
    assert "floating point" in read_one(tmp_path / "b.tif").reason
