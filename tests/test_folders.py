"""A folder may be given as a str or as a Path to what programs call; tests/*/test_modes.py do."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    ROOT / name
    for name in (
        "fer_jax/modes.py", "fer_jax/net.py", "fer_jax/weights.py", "fer_jax/folds.py",
        "seq_jax/modes.py", "seq_jax/weights.py", "train_jax/loop.py",
        "train_jax/report/run.py", "train_jax/report/write.py",
        "train_jax/run/checkpoint.py", "train_jax/run/files.py", "train_jax/run/weights.py",
        "train_jax/run/workdir.py",
    )
]  # fmt: skip
NAMES = {"workdir", "folder"}


def needs_a_path(function) -> list[str]:
    """Where a parameter that names a folder is used as only a Path can be: `x / y`, `x.mkdir()`."""
    arguments = function.args
    given = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for statement in function.body:  # `workdir = Path(workdir)`
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            made = getattr(statement.value.func, "id", "") == "Path"
            given -= {t.id for t in statement.targets if made and isinstance(t, ast.Name)}
    used = [
        node.left if isinstance(node, ast.BinOp) else node.value
        for node in ast.walk(function)
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
        or isinstance(node, ast.Attribute)
    ]
    return [u.id for u in used if isinstance(u, ast.Name) and u.id in given & NAMES]


def public_functions(tree, prefix=""):
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            if not node.name.startswith("_") or node.name == "__init__":
                yield prefix + node.name, node


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_folders_are_taken_as_str(path):
    functions = public_functions(ast.parse(path.read_text("utf-8")))
    wrong = {name: found for name, node in functions if (found := needs_a_path(node))}
    assert not wrong, "make a Path of it first"
