"""Imports point one way: launch -> {fer_jax, seq_jax} -> train_jax. Read from the syntax tree; what
nobody may import, ruff knows (banned-api in pyproject.toml). import-linter would do the same, with
seven packages more to pin."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"launch", "configs", "fer_jax", "seq_jax", "train_jax", "benchmarks", "tests"}
MAY_IMPORT = {
    "launch.py": {"fer_jax", "seq_jax", "train_jax", "configs.find"},
    "fer_jax": {"fer_jax", "train_jax"},
    "seq_jax": {"seq_jax", "train_jax"},
    "train_jax": {"train_jax"},
    "configs": {"configs", "seq_jax.old_runs"},
}
FILES = [
    path
    for room in MAY_IMPORT
    for path in ([ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py")))
]


def imports(path):
    """Every module or name imported anywhere in the file, in full: 'a.b' for `from a import b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):  # not relative: ruff's TID252
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, places):
    return any(name == place or name.startswith(place + ".") for place in places)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path):
    room = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        if within(name, OURS):
            assert within(name, MAY_IMPORT[room]), f"{room} must not import {name}"
        elif room == "configs":
            allowed = {"ml_collections", *sys.stdlib_module_names}
            assert within(name, allowed), f"a config must not import {name}"


def test_the_rules_see_the_project():
    """The rules above hold for files that are found and for imports that are read."""
    rooms = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert rooms >= {"launch.py", "fer_jax", "train_jax", "configs"}
    assert "train_jax.parallel" in set(imports(ROOT / "launch.py"))  # inside a function
    assert "absl.flags" in set(imports(ROOT / "launch.py"))


def test_a_start_does_not_wait_for_what_only_some_modes_need():
    code = "import sys, fer_jax.modes, seq_jax.modes; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "jax" in loaded and not loaded & {"matplotlib", "cv2", "tensorflow_datasets"}
