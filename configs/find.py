"""Which config a command line means."""

import csv
import difflib
import glob
import io
import os
import re
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
OF_RUN = FOLDER / "of_run.py"


def with_config(
    arguments: list[str], shipped: dict[str, str], needs_none: Callable[[str, str], bool]
) -> list[str]:
    """The arguments with --config=PATH first, where there is one: the one given, found; else that
    of the run in --workdir; else that of the shipped weights, where the mode needs no config; else
    that of --weights.

    Args:
      arguments: without the program's name.
      shipped: {task: name of a config}.
      needs_none: (task, mode) -> whether the mode runs on exported weights.

    Raises:
      FileNotFoundError: there is no such config.
    """
    given: dict[str, str | None] = dict.fromkeys(("config", "workdir", "mode", "weights"))
    rest, left = [], iter(arguments)
    for argument in left:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name in given:
            given[name] = value if equals else next(left, "")
        if name != "config" or not argument.startswith("-"):
            rest.append(argument if equals or name not in given else f"--{name}={given[name]}")
    if given["config"] is not None:
        return [f"--config={find(given['config'])}", *rest]
    workdir = (workdirs(given["workdir"] or "") or [""])[0]
    if workdir and (Path(workdir) / "config.json").exists():
        return [f"--config={OF_RUN}:{workdir}", *rest]
    mode = given["mode"] or "train"
    names = [name for task, name in shipped.items() if needs_none(task, mode)]
    if mode == "report":  # it tells itself that there is no run
        names = [*shipped.values()]
    weights = (split_commas(given["weights"] or "") or [""])[0]
    if not names and (Path(weights).expanduser() / "model.json").is_file():
        return [f"--config={OF_RUN}:{weights}", *rest]
    return [*(f"--config={find(name)}" for name in names[:1]), *rest]


def find(name: str) -> str:
    """The path of a config by its path, here or next to launch.py, or by its name in configs/."""
    given, colon, argument = name.partition(":")
    path = Path(given).expanduser()
    for place in (path, FOLDER.parent / path, FOLDER / path, FOLDER / f"{path}.py"):
        if place.is_file():
            here = Path.cwd()  # the path stands in the command that records and cards name
            shown = place.relative_to(here) if place.is_relative_to(here) else place
            return f"{shown}{colon}{argument}"
    close = difflib.get_close_matches(path.stem, names(), 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise FileNotFoundError(f"{name}: no such file. {choices()}.{hint}")


def names() -> list[str]:
    """Those in configs/ that can be trained."""
    stems = {path.stem for path in FOLDER.glob("*.py")}
    return sorted(n for n in stems if n.startswith(("fer_", "seq_")) and not n.endswith("_base"))


def choices() -> str:
    return f"In {FOLDER}: {', '.join(names())}"


def unknown_field(error: Exception, arguments: list[str]) -> str:
    """What to tell of the AttributeError or KeyError of ml_collections, which knows the nearest."""
    hint = re.search("Did you mean .*[?]", str(error))
    wrong = (re.findall(r"\w+", str(error)) or [""])[0]
    given = " ".join(a for a in arguments if a.startswith("--config.") and wrong in a)
    return f"no such config field: {given}. {hint[0] if hint else ''}"


def workdirs(text: str) -> list[str]:
    """Those of a --workdir with commas and patterns: 'runs/*' is every run in runs/, sorted."""
    found = []
    for part in split_commas(text):
        path = str(Path(part).expanduser())
        runs = [p for p in sorted(glob.glob(path)) if (Path(p) / "config.json").exists()]
        found += runs if glob.has_magic(path) and runs else [path]
    return found


def split_commas(text: str) -> list[str]:
    """'a,"b,c"' -> ['a', 'b,c']."""
    return next(csv.reader([text]), [])


def with_names(text: str, names: list[str]) -> str:
    """The --inputs `text` with more of them behind it. A file with a comma in its name is one."""
    parts = [text] if os.path.exists(text) else split_commas(text)
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*parts, *names])
    return line.getvalue()
