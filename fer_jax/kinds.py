"""What a file is, by its first bytes: a picture, a video, or a format that is not read."""

import os

HEAD = 512  # bytes that tell a format
PICTURE, VIDEO = "picture", "video"
SIGNATURES = (  # at a byte, these bytes; what the file is: of a format that is not read, its name
    (0, b"\xff\xd8\xff", PICTURE), (0, b"\x89PNG\r\n\x1a\n", PICTURE),
    (0, b"GIF8", PICTURE), (8, b"WEBP", PICTURE),
    (8, b"CR\2\0", "camera raw (CR2)"), (0, b"FUJIFILMCCD-RAW", "camera raw (RAF)"),
    (0, b"IIU\0", "camera raw (RW2)"), (0, b"IIRO", "camera raw (ORF)"),
    (0, b"II*\0", PICTURE), (0, b"MM\0*", PICTURE),
    (0, b"8BPS", "Photoshop"), (0, b"%PDF", "PDF"), (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"), (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (8, b"AVI ", VIDEO), (0, b"\x1aE\xdf\xa3", VIDEO), (0, b"FLV\1", VIDEO),
    (0, b"0&\xb2u\x8ef\xcf\x11", VIDEO), (0, b"OggS", VIDEO),
    (0, b"\0\0\1\xba", VIDEO), (0, b"\0\0\1\xb3", VIDEO),
)  # fmt: skip
BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # a QuickTime file begins with one
PACKETS = ((0, 188), (4, 192))  # of MPEG transport streams: the first sync byte, and the distance


def kind_of(head: bytes) -> str:
    """PICTURE, VIDEO, the name of a format that is not read, or '' for all else."""
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head[8 : max(12, int.from_bytes(head[:4], "big"))])
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # or a text about a BMW
        return PICTURE
    if head[4:8] in BOXES and head[0] == 0:
        return VIDEO
    for start, distance in PACKETS:
        if len(head) > start + distance and {*head[start::distance]} == {0x47}:
            return VIDEO
    for start, signature, kind in SIGNATURES:
        if head.startswith(signature, start):
            return kind
    return ""


def read_head(path) -> bytes:
    """The first bytes of a file; none of what is no plain file, or cannot be opened."""
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _kind_of_brands(brands: bytes) -> str:
    """Of an ISO media file (ISO/IEC 14496-12), by the brands that it says it fits."""
    if any(brand in brands for brand in (b"avif", b"avis")):
        return PICTURE
    if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"hevc")):
        return "HEIC"
    return "camera raw (CR3)" if brands.startswith(b"crx") else VIDEO
