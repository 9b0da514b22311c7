"""Which classes a source has, in which order: FER-2013's, or those of the user's own data."""

import difflib
from typing import NamedTuple

from fer_jax.fer2013 import CLASSES
from train_jax.run.errors import UserError

MAX_CLASSES = 1000
# What other data sets call the seven; only proposed, never taken for granted.
SYNONYMS = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy",
    "joy": "happy", "sadness": "sad", "surprised": "surprise", "calm": "neutral",
}  # fmt: skip


class Reading(NamedTuple):
    """How a source is to be understood: fields of config.data, which says what they mean."""

    classes: tuple[str, ...] = CLASSES
    class_map: tuple[tuple[str, str], ...] = ()
    resize: bool = False
    labels: str = ""
    test_fraction: float = 0.1
    split_seed: int = 0

    def check(self) -> None:
        """UserError on a value that makes no sense."""
        names, pairs = self.classes, self.class_map
        fine = isinstance(names, tuple) and all(isinstance(n, str) and n.strip() for n in names)
        if not fine or len({n.lower() for n in names}) < len(names) or len(names) == 1:
            raise UserError(
                "config.data.classes must be at least two different names, or () for those of the "
                f"folders, got {names!r}; for example \"('cat', 'dog')\""
            )
        try:
            fine = all(isinstance(a, str) and isinstance(b, str) and a for a, b in pairs)
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise UserError(
                "config.data.class_map must be pairs (name of a folder, class), got "
                f"{pairs!r}; for example \"(('anger', 'angry'), ('contempt', ''))\""
            )
        if self.labels not in ("", "ferplus"):
            raise UserError(f"config.data.labels must be '' or 'ferplus', got {self.labels!r}")
        if not 0 <= self.test_fraction < 1:
            raise UserError(
                f"config.data.test_fraction must be in [0, 1), got {self.test_fraction}"
            )


def number(found, reading: Reading, where) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """(the classes in the order of their numbers, {name in the source: number; None to leave out}).

    Letters' case does not matter. Classes taken from the source are in alphabetical order, unless
    they are the seven of FER-2013, which have their own.

    Args:
      found: the names in the source.
      reading: its classes and class_map.
      where: for messages.

    Raises:
      UserError: a name that is none of `reading.classes`; or fewer than two classes.
    """
    found = sorted(set(found))
    renamed = {a.lower(): b for a, b in reading.class_map}
    wanted = {name: renamed.get(name.lower(), name) for name in found}
    if reading.classes:
        classes = reading.classes
    else:
        spelled = {name.lower(): name for name in reversed(wanted.values()) if name}
        classes = tuple(spelled[key] for key in sorted(spelled))
        classes = CLASSES if {*spelled} == {*CLASSES} else classes
        if not 2 <= len(classes) <= MAX_CLASSES:
            raise UserError(
                f"{where}: expected 2 to {MAX_CLASSES} folders named after classes, found "
                f"{len(classes)}: {', '.join(map(repr, classes[:8])) or 'none'}."
            )
    places = {name.lower(): i for i, name in enumerate(classes)}
    unknown = [name for name, now in wanted.items() if now and now.lower() not in places]
    if unknown:
        raise UserError(f"{where}: {_unknown(unknown, classes)}")
    return classes, {name: places[now.lower()] if now else None for name, now in wanted.items()}


def _unknown(names, classes) -> str:
    lower = [name.lower() for name in classes]
    meant = {name: SYNONYMS.get(name.lower(), "") for name in names[:8]}
    for name, guess in meant.items():
        near = difflib.get_close_matches(name.lower(), lower, n=1)
        meant[name] = guess if guess in lower else near[0] if near else ""
    hint = f" (did you mean {meant[names[0]]!r}?)" if meant[names[0]] else ""
    pairs = tuple(meant.items())
    return (
        f"unknown class folder{'s' * (len(names) > 1)} {', '.join(map(repr, meant))}{hint}. "
        f"Expected one of {', '.join(classes[:20])}. Rename it, or add "
        f"--config.data.class_map=\"{pairs}\" ('' leaves a folder out), or "
        '--config.data.classes="()", which takes the folders for the classes.'
    )
