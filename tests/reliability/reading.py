"""The same files read a second time, by the plainest code there is: what a reader's answer must be.

None stands for bytes that no reader may accept.
"""

import io
import json
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

CLASSES = "angry disgust fear happy sad surprise neutral".split()
USAGES = {"Training": "train", "PublicTest": "PublicTest", "PrivateTest": "PrivateTest"}
Rows = list[tuple[str, int, bytes]]  # (split, label, 2304 pixels), sorted


def rows_of(splits) -> Rows:
    """What source.read gave."""
    return sorted(
        (split, int(label), image.tobytes())
        for split, (images, labels) in splits.items()
        for image, label in zip(images, labels, strict=True)
    )


def csv_rows(data: bytes) -> Rows | None:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    header, *records = [record for record in csv_records(text) if record != [""]] or [[]]
    names = [name.strip().lower() for name in header]
    found = []
    for record in records:
        cells = dict(zip(names, (cell.strip() for cell in record), strict=False))
        pixels = cells.get("pixels", "").split()
        if (
            sorted(names) != sorted(set(names))
            or not {"emotion", "pixels", "usage"} <= set(names)
            or len(record) != len(header)
            or cells["emotion"] not in set("0123456")
            or cells["usage"] not in USAGES
            or len(pixels) != 2304
            or any(len(p) > 3 or not p.isascii() or not p.isdigit() for p in pixels)
            or any(str(int(p)) != p or int(p) > 255 for p in pixels)
        ):
            return None
        found.append((USAGES[cells["usage"]], int(cells["emotion"]), bytes(map(int, pixels))))
    return sorted(found)


def csv_records(text: str) -> list[list[str]]:
    """RFC 4180, character by character; any of \\r, \\n, \\r\\n ends a record."""
    records, cells, cell, quoted = [], [], "", False
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if '"' not in text:  # as good, and 20 times as fast
        return [line.split(",") for line in text.split("\n")]
    for place, character in enumerate(text + "\n" * (not text.endswith("\n"))):
        if character == '"' and (quoted or not cell):
            quoted = not quoted
            if quoted and place and text[place - 1] == '"':
                cell += '"'
        elif character == "," and not quoted:
            cells.append(cell)
            cell = ""
        elif character == "\n" and not quoted:
            records.append([*cells, cell])
            cells, cell = [], ""
        else:
            cell += character
    return records


def face(data: bytes) -> bytes | None:
    """2,304 grey pixels of an encoded image, by OpenCV; by Pillow's shortest way of a GIF, which
    OpenCV cannot always read, and of a BMP, where they guess differently what damage meant."""
    if not data:
        return None
    if data.startswith((b"GIF", b"BM")):
        try:
            image = np.asarray(Image.open(io.BytesIO(data), formats=["GIF", "BMP"]).convert("RGB"))
        except Exception:
            return None
        return face(cv2.imencode(".png", image)[1].tobytes())
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or image.shape[:2] != (48, 48):
        return None
    if image.ndim == 3 and image.shape[2] in (3, 4) and (image == image[..., :1]).all():
        image = image[..., 0]
    return image.tobytes() if image.ndim == 2 else None


def tree_rows(files: dict[str, bytes]) -> Rows | None:
    """Of {train/<class>/name: content} and test/..."""
    found = []
    for path, data in files.items():
        parts = path.split("/")
        if any(part.startswith(".") for part in parts) or len(parts) == 1:
            continue
        name = parts[-1].lower()
        test = [s for s in ("PublicTest", "PrivateTest") if name.startswith(s.lower())]
        good = len(parts) == 3 and parts[1] in CLASSES and face(data)
        if not good or parts[0] not in ("train", "test") or bool(test) != (parts[0] == "test"):
            return None
        found.append(((test or ["train"])[0], CLASSES.index(parts[1]), face(data)))
    return sorted(found)


def zip_files(data: bytes) -> dict[str, bytes] | None:
    """{name: content}, by the central directory and each entry's CRC."""
    end = data.rfind(b"PK\5\6")
    if end < 0:
        return None
    size, start = struct.unpack_from("<II", data, end + 12)
    shift = end - size - start  # of a zip with something in front of it
    files, place = {}, end - size
    while place < end:
        fields = struct.unpack_from("<4s6H3I5H2I", data, place)
        _, _, _, flags, method, _, _, crc, packed, unpacked, n, extra, comment, *_, at = fields
        name = data[place + 46 : min(place + 46 + n, end)].decode(
            "utf-8" if flags & 0x800 else "cp437"
        )
        place += 46 + n + extra + comment
        at += shift
        at += 30 + sum(struct.unpack_from("<HH", data, at + 26))
        content = data[at : at + packed]
        if method == 8:
            content = zlib.decompressobj(-15).decompress(content)
        content = content[:unpacked]  # what is right has this size and this CRC
        if name in files:
            return None
        if zlib.crc32(content) != crc:
            content = b""  # which no image is; of junk, nobody asks
        if not name.endswith("/"):
            files[name.replace("\\", "/")] = content
    return files


def lines(data: bytes) -> list[str] | None:
    if not data or b"\0" in data:
        return None
    pieces = data.split(b"\n")
    pieces = pieces[:-1] if pieces[-1] == b"" else pieces
    try:
        found = [piece.rstrip(b"\r").decode("utf-8") for piece in pieces]
    except UnicodeDecodeError:
        return None
    return [found[0].removeprefix("\ufeff"), *found[1:]]


def pairs(english: list[str] | None, kannada: list[str] | None):
    """[(line, English, Kannada)]"""
    if english is None or kannada is None or len(english) != len(kannada):
        return None
    found = list(zip(range(1, len(english) + 1), english, kannada, strict=True))
    return None if any(bool(e.strip()) != bool(k.strip()) for _, e, k in found) else found


def tabbed(data: bytes):
    columns = [line.split("\t") for line in lines(data) or []]
    columns = [row if "".join(row).strip() else ["", ""] for row in columns]
    if not columns or any(len(row) not in (2, 3) for row in columns):
        return None
    return pairs([row[0] for row in columns], [row[1] for row in columns])


def corpus(data: bytes, form: str, pack: str):
    """`pairs` of a file of pairs, 'tsv', 'csv' or 'jsonl', packed as '', '.gz' or '.zip'."""
    try:
        data = {"": bytes, ".gz": gzip_text, ".zip": zip_text}[pack](data)
    except (zlib.error, struct.error, UnicodeDecodeError):
        return None
    found = lines(data) if data else None
    if not found:
        return None
    rows = []
    for line in found:
        if not line.strip():
            rows.append(("", ""))
        elif form == "jsonl":
            try:
                value = json.loads(line)
                rows.append(tuple(" ".join(value[key].split()) for key in ("en", "kn")))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                return None
        else:
            # \0 stands for \r, which is no end of a line here; NUL itself was refused
            records = csv_records(line.replace("\r", "\0")) if form == "csv" else [line.split("\t")]
            if len(records) != 1:
                return None
            cells = [cell.replace("\0", "\r") for cell in records[0]]
            if len(cells) == 4 and cells[0].strip().isdecimal() and cells[2].strip().isdecimal():
                cells = cells[1::2]
            if len(cells) not in (2, 3):
                return None
            rows.append(tuple(cells[:2]))
    return pairs(*zip(*rows, strict=True))


def gzip_text(data: bytes) -> bytes | None:
    """All members, one behind the other, and zeros behind the last."""
    text = b""
    while data.strip(b"\0"):
        member = zlib.decompressobj(31)
        text += member.decompress(data) + member.flush()
        if not member.eof:
            return None
        data = member.unused_data.lstrip(b"\0")
    return text


def zip_text(data: bytes) -> bytes | None:
    """Of the only file with both languages."""
    files = zip_files(data) or {}
    texts = [n for n in files if n.endswith((".tsv", ".csv", ".jsonl"))]
    return files[texts[0]] if len(texts) == 1 else None


def safetensors(data: bytes) -> dict[str, np.ndarray]:
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }
