"""Random damage, as programs, disks and people do it. `rng` is a random.Random throughout."""

import codecs

NUMBERS = (
    "", "-1", "7", "8", "255", "256", "-0", "+3", "1e3", "1.5", "nan", "inf", "1_0", "0x1", "007",
    "9" * 30, "9" * 5000, "\u0663", "\uff17", "\u00b2", "1 2", "'1'", "None",
)  # fmt: skip
WORDS = (
    "", " ", "\t", "\x00", "\ufeff", "\u200b", "\u2028", "\x0b", "\x0c", "\x85", "\u00a0", "\xe9",
    "\u0cc6\u0cc2", "\U0001f600", "e\u0301", "<PAD>", "<unk>", "<start>", '"', '""', ",", ";",
    "\\", "..", "a" * 3000, "\u202e", "\r",
)  # fmt: skip


def damage(rng, data: bytes) -> bytes:
    """One to three of the damages below."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(BYTES)(rng, data)
    return data


def flip_bit(rng, data):
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def flip_early(rng, data):
    """In the header, where sizes, depths and tables stand."""
    return flip_bit(rng, data[:64]) + data[64:]


def flip_late(rng, data):
    """At the end, where a zip has its directory."""
    return data[:-400] + flip_bit(rng, data[-400:])


def set_bytes(rng, data):
    start = rng.randrange(len(data) + 1)
    value = rng.choice((b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, rng.randbytes(4)))
    return data[:start] + value + data[start + len(value) :]


def cut(rng, data):
    return data[: rng.randrange(len(data) + 1)]


def cut_front(rng, data):
    return data[rng.randrange(min(len(data), 40) + 1) :]


def insert(rng, data):
    place = rng.randrange(len(data) + 1)
    what = rng.choice((b"\0", b"\0\0\0", codecs.BOM_UTF8, b"\xc3", b"\xe9", rng.randbytes(9)))
    return data[:place] + what + data[place:]


def remove(rng, data):
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randrange(1, 50) :]


def repeat(rng, data):
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + rng.randrange(1, 200)] + data[start:]


def append(rng, data):
    return data + rng.choice((b"\0", b"x", data[:100], data, rng.randbytes(60), b"\n\n", b"\x1a"))


def nothing_left(rng, data):
    return b""


BYTES = (
    flip_bit, flip_bit, flip_bit, flip_early, flip_late, set_bytes, cut, cut_front, insert, remove,
    repeat, append, nothing_left,
)  # fmt: skip


def encode(rng, text: str) -> bytes:
    """The text in UTF-8, or rarely in an encoding that was meant for another program."""
    if rng.random() < 0.8:
        return text.encode()
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "mixed"))
    if encoding == "mixed":
        half = rng.randrange(len(text) + 1)
        return text[:half].encode() + text[half:].encode("cp1252", "replace")
    return text.encode(encoding, "replace")


def line_ends(rng, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\n\n", b"\r", b"\n")))


def rows(rng, table: list[list[str]]) -> list[list[str]]:
    """Lines or columns of a table are lost, doubled, moved, exchanged; a cell is another."""
    table = [list(row) for row in table]
    one, other = rng.randrange(len(table)), rng.randrange(len(table))
    column = rng.randrange(max(1, len(table[one])))
    kind = rng.choice(
        ("lose", "double", "swap", "cell", "cell", "cell", "lose column", "double column",
         "move column", "shift column", "lose cell", "add cell", "exchange cells", "empty")
    )  # fmt: skip
    if kind == "lose":
        del table[one]
    elif kind == "double":
        table.insert(other, table[one])
    elif kind == "swap":
        table[one], table[other] = table[other], table[one]
    elif kind == "cell" and table[one]:
        table[one][column] = rng.choice(NUMBERS + WORDS)
    elif kind == "lose column":
        table = [row[:column] + row[column + 1 :] for row in table]
    elif kind == "double column":
        table = [row[:column] + row[column : column + 1] + row[column:] for row in table]
    elif kind == "move column":
        table = [row[column:] + row[:column] for row in table]
    elif kind == "shift column":  # against the others, below the header
        cells = [row[column] if column < len(row) else "" for row in table[1:]]
        for row, cell in zip(table[1:], cells[1:] + cells[:1], strict=True):
            row[column : column + 1] = [cell]
    elif kind == "lose cell":
        table[one] = table[one][:-1]
    elif kind == "add cell":
        table[one] = [*table[one], rng.choice(WORDS)]
    elif kind == "exchange cells":
        table[one] = table[one][::-1]
    elif kind == "empty":
        table.insert(one, [])
    return table


def json_value(rng, value):
    """A JSON value with one part of it replaced, removed, moved or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        changed = dict(value)
        kind = rng.random()
        if kind < 0.1:
            del changed[name]
        elif kind < 0.15:
            changed[rng.choice(WORDS)] = changed.pop(name)
        else:
            changed[name] = json_value(rng, value[name])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        changed = list(value)
        one, other = rng.randrange(len(value)), rng.randrange(len(value))
        kind = rng.randrange(4)
        if kind == 0:
            changed[one], changed[other] = changed[other], changed[one]
        elif kind == 1:
            del changed[one]
        elif kind == 2:
            changed.insert(one, changed[other])
        else:
            changed[one] = json_value(rng, changed[one])
        return changed
    deep = []
    for _ in range(rng.choice((3, 45, 60, 600))):
        deep = [deep]
    choices = (
        None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**18, 10**400, 0.0, 0.5, -0.5, 1e308,
        float("nan"), float("inf"), "", "x", "\ud800", "x" * 5000, [], {}, [[]], {"a": {}}, deep,
        [0], [-1], [10**9], str(value), [value], {"": value},
    )  # fmt: skip
    return rng.choice(choices)
