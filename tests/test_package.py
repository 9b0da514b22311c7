"""pyproject.toml installs every package, and nothing else; what needs no jax is light."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_and_both_shipped_weights_are_installed():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ("train_jax", "fer_jax", "seq_jax")
        for path in (ROOT / room).rglob("__init__.py")
    }
    setuptools = PROJECT["tool"]["setuptools"]
    assert set(setuptools["packages"]) == found | set(setuptools["package-dir"])
    for folder in setuptools["package-dir"].values():
        assert (ROOT / folder / "model.safetensors").exists()


def test_every_file_of_a_package_has_a_suffix_that_is_installed():
    suffixes = {
        name.removeprefix("*") for name in PROJECT["tool"]["setuptools"]["package-data"]["*"]
    } | {".py"}
    rooms = ("train_jax", "fer_jax", "seq_jax", "weights")
    files = [p for room in rooms for p in (ROOT / room).rglob("*") if p.is_file()]
    assert {p.suffix for p in files if "__pycache__" not in p.parts} <= suffixes
