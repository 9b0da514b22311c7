"""The pins cover what is imported, and agree with one another."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"launch", "configs", "data", "fer_jax", "seq_jax", "train_jax", "tests", "benchmarks"}
# Scripts with an environment of their own: Keras, PyTorch.
APART = ("tests/golden/make_", "benchmarks/")
# Tools; what tensorflow-datasets stores its files with; a font, looked up by its path; what tests
# ask for by importorskip.
NOT_IMPORTED = {"ruff", "mypy", "pytest-xdist", "array-record", "manimgx-fonts", "playwright"}


def pins(name):
    """{package: version} of a requirements file; every line is a comment, an option or a pin."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line and not line.startswith("-"):
            pin = re.fullmatch(
                r"([A-Za-z0-9._-]+(?:\[[a-z0-9,]+\])?)==([0-9][A-Za-z0-9.+!]*)", line
            )
            assert pin, f"{name}: {line!r} is not NAME==VERSION"
            package = normal(pin[1])
            assert package not in found, f"{name}: {package} stands there twice"
            found[package] = pin[2]
    return found


def normal(package):
    return re.sub(r"[-_.]+", "-", package).lower()


def sources():
    rooms = sorted(OURS - {"launch", "benchmarks"})
    paths = [
        ROOT / "launch.py",
        *(p for room in rooms for p in sorted((ROOT / room).rglob("*.py"))),
    ]
    return [p for p in paths if not str(p.relative_to(ROOT)).startswith(APART)]


def imported():
    """{top-level module: a file that imports it}, of everything outside the standard library."""
    found = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], path.relative_to(ROOT))
    return {m: p for m, p in found.items() if m not in sys.stdlib_module_names | OURS}


def test_every_import_is_pinned_and_every_pin_is_used():
    packages = importlib.metadata.packages_distributions()
    required, used = pins("requirements.txt") | pins("requirements-export.txt"), set()
    for module, path in imported().items():
        candidates = {normal(p) for p in packages.get(module, [module])} & set(required)
        assert candidates, f"{path} imports {module}, which no requirements name"
        used |= candidates
    assert {"jax", "flax", "optax", "orbax-checkpoint", "pillow"} <= used  # the search finds things
    assert set(required) - used == NOT_IMPORTED & set(required)


def test_the_constraints_agree_with_the_requirements():
    constraints = pins("constraints.txt")
    for package, version in pins("requirements.txt").items():
        assert constraints.get(package) == version, package


def test_the_requirements_are_held_by_the_constraints():
    assert "-c constraints.txt" in (ROOT / "requirements.txt").read_text().splitlines()


def test_export_adds_packages_that_the_others_do_not_pin_otherwise():
    lines = (ROOT / "requirements-export.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("-")] == ["-r requirements.txt"]
    assert not set(pins("requirements-export.txt")) & set(pins("requirements.txt"))


def test_cuda_adds_only_jax_with_cuda_at_the_same_version():
    lines = (ROOT / "requirements-cuda.txt").read_text().splitlines()
    options = [line for line in lines if line.startswith("-")]
    assert options == ["-r requirements.txt", "-c constraints-cuda.txt"]
    jax = pins("requirements.txt")["jax"]
    assert pins("requirements-cuda.txt") == {"jax[cuda13]": jax}
    constraints = pins("constraints-cuda.txt")
    assert constraints["jax-cuda13-plugin"] == constraints["jax-cuda13-pjrt"] == jax
    assert {"nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-nccl-cu13"} <= set(constraints)
    assert not set(constraints) & set(pins("constraints.txt"))  # each package has one place


def test_the_environment_is_the_pinned_one():
    """Or the other tests speak of other versions than a user gets. Another jax is no accident: the
    code runs under newer ones, too."""
    if importlib.metadata.version("jax") != pins("requirements.txt")["jax"]:
        pytest.skip("this is not meant to be the pinned environment")
    for package, version in pins("requirements.txt").items():
        assert importlib.metadata.version(package) == version, package
