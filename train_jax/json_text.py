"""JSON from a file that a person may have damaged: a value, or a ValueError and nothing else."""

import json

MAX_DEPTH = 50  # lists and dicts within one another; those of this program have at most 8


def parse(text: str | bytes):
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, is nested too deeply for functions that call themselves, or has
            half a surrogate pair in a string, which no file and no terminal takes.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep") from None
    _check(value, MAX_DEPTH)
    return value


def _check(value, levels):
    if levels < 0:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, dict):
        for pair in value.items():
            for part in pair:
                _check(part, levels - 1)
    elif isinstance(value, list):
        for part in value:
            _check(part, levels - 1)
