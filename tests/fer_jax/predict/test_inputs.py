"""Names become files, and nothing is left out without a word."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_jax.kinds import kind_of
from fer_jax.predict import inputs
from train_jax.run.errors import UserError


def picture(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path, **options)
    return str(path)


def test_separated_by_commas(tmp_path, monkeypatch):
    assert inputs.split("a.jpg,b c.png") == ["a.jpg", "b c.png"]
    assert inputs.split('"a,b.jpg",webcam:0') == ["a,b.jpg", "webcam:0"]
    with pytest.raises(UserError, match="separate names by commas"):
        inputs.split("a.jpg\nb.jpg")
    picture(tmp_path / "a,b.jpg")
    monkeypatch.chdir(tmp_path)
    assert inputs.split("a,b.jpg") == ["a,b.jpg"]  # it is there
    assert inputs.split("a.jpg,, b.png,") == ["a.jpg", " b.png"]
    assert inputs.split("") == inputs.split(", ,") == []


def test_a_pattern(tmp_path):
    names = [picture(tmp_path / name) for name in ("a.jpg", "b.png", "deep/c.jpg", "d [1].jpg")]
    a, b, c, d = names
    assert inputs.find([f"{tmp_path}/*.jpg"]).files == [a, d]
    assert inputs.find([f"{tmp_path}/**/*.jpg"]).files == [a, d, c]
    assert inputs.find([f"{tmp_path}/?.*"]).files == [a, b]
    assert inputs.find([d]).files == [d]  # a file of that very name
    assert inputs.find([f"{tmp_path}/*.gif"]).files == [f"{tmp_path}/*.gif"]  # no such file


def test_a_list(tmp_path):
    a = picture(tmp_path / "ಮುಖ, 1.jpg")
    (tmp_path / "names.txt").write_text(f"{a}\n\n  {tmp_path}/*.jpg \nwebcam:0\n", "utf-8-sig")
    assert inputs.find([f"@{tmp_path}/names.txt"]).files == [a, a, "webcam:0"]
    with pytest.raises(UserError, match="@no.txt: the list cannot be read: No such file"):
        inputs.find(["@no.txt"])
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        inputs.find([f"@{tmp_path}/names.txt"])
    (tmp_path / "names.txt").write_text("\n \n")
    with pytest.raises(UserError, match="names.txt: the list is empty"):
        inputs.find([f"@{tmp_path}/names.txt"])


def test_a_list_that_names_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.txt").write_text("@two.txt")
    (tmp_path / "two.txt").write_text("@one.txt")
    with pytest.raises(UserError, match="@one.txt in @two.txt in @one.txt: a list names itself"):
        inputs.find(["@one.txt"])
    (tmp_path / "two.txt").write_text("a.jpg")
    assert inputs.find(["@one.txt", "@one.txt"]).files == ["a.jpg", "a.jpg"]  # twice is no circle


@pytest.mark.parametrize("name", ["https://example.com/a.jpg", "file:///a.jpg"])
def test_an_address_is_no_file(name):
    with pytest.raises(UserError, match=f"{name}: expected a file; download it first"):
        inputs.find([name])


def test_results_of_before_are_no_inputs(tmp_path):
    """Of --inputs=photos --workdir=photos/out, called twice."""
    kept = [picture(tmp_path / "a.jpg"), picture(tmp_path / "out" / "mine.jpg")]
    results = (tmp_path / "out" / "annotated", tmp_path / "out" / "contact_sheet.png")
    assert inputs.find([str(tmp_path)], results) == (kept, [])
    for name in ("annotated/1-a.jpg", "annotated/2-b.jpg", "contact_sheet.png"):
        picture(tmp_path / "out" / name)
    files, (said,) = inputs.find([str(tmp_path)], results)
    assert files == kept and "left out 3 of the results that were written here before" in said
    assert len(inputs.find([str(results[0])], ()).files) == 2


def test_a_folder_is_read_by_content_and_the_rest_is_counted(tmp_path):
    kept = [
        picture(tmp_path / "a", format="png"),
        picture(tmp_path / "deep" / "b.WebP", format="webp"),
    ]
    kept += [picture(tmp_path / f"c.{e}") for e in ("avif", "tif", "jpg")]
    writer = cv2.VideoWriter(str(tmp_path / "v.wmv"), cv2.VideoWriter_fourcc(*"WMV2"), 5, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    (tmp_path / "v.wmv").rename(tmp_path / "v.dat")
    kept.append(str(tmp_path / "v.dat"))
    for name in ("empty.jpg", "phone.heic"):  # expected to be pictures: rows with a reason
        (tmp_path / name).write_bytes(b"")
        kept.append(str(tmp_path / name))
    for name in ("notes.txt", "more.TXT", "table.csv", "Makefile", "free.md", "a.jpg:Zone.Id"):
        (tmp_path / name).write_text("But free as a text: free, MOOV moov G")
    for name in (".git/x.png", "@eaDir/a.jpg", ".hidden.png", "Thumbs.db"):
        picture(tmp_path / name, format="png")
    found = inputs.find([str(tmp_path)])
    assert found.files == sorted(kept)
    assert found.left_out[0].startswith(f"{tmp_path}: left out 6 no pictures or videos (")
    assert "2 .txt" in found.left_out[0] and found.left_out[0].endswith("; 4 hidden")


def test_links_are_followed_without_loops(tmp_path):
    a = picture(tmp_path / "album" / "a.jpg")
    picture(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "album" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "self").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "dead.jpg").symlink_to(tmp_path / "nothing.jpg")
    os.mkfifo(tmp_path / "album" / "pipe")
    found = inputs.find([str(tmp_path / "album")])
    assert found.files == [a, f"{tmp_path}/album/dead.jpg", f"{tmp_path}/album/linked/b.jpg"]


def test_an_empty_folder_is_named(tmp_path):
    assert inputs.find([str(tmp_path)]) == ([str(tmp_path)], [])


def test_webcam_names():
    assert inputs.webcam_number("webcam:12") == 12
    for name in ("webcam:", "webcam:x", "webcam:-1"):
        with pytest.raises(UserError, match=name):
            inputs.find([name])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "picture"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx ", "camera raw (CR3)"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\1", "video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video"),
        (b"\0\0\0\0G" + b"\0" * 191 + b"G" + b"\0" * 191 + b"G", "video"),  # M2TS
        (b"G" + b"\0" * 187 + b"G", "video"),
        (b"G" + b"\0" * 300, ""),
        (b"%PDF-1.7", "PDF"),
        (b"GIF89a", "picture"),
        (b"the free text", ""),
        (b"BMW is a car", ""),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0", "picture"),
        (b"", ""),
    ],
)
def test_kinds(head, kind):
    assert kind_of(head) == kind
