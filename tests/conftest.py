"""Strict JAX for every test: no implicit promotion of dtypes or ranks (equinox's habit).

Tests run on the CPU unless JAX_PLATFORMS says otherwise: JAX_PLATFORMS=cuda,cpu python -m pytest.
A GPU then computes in whole float32 and with the same bits in every run, so that one tolerance
holds on both. What compares bits across programs, or is of the CPU alone, is marked cpu_only.
"""

import collections
import os

import pytest

from train_jax import process
from train_jax.report.table import Table, as_text

os.environ.setdefault("JAX_PLATFORMS", "cpu")
ON_CPU = os.environ["JAX_PLATFORMS"] == "cpu"
if not ON_CPU:
    process.make_deterministic()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # runs of their own share it
process.cache_compilations()  # a run of the suite compiles much twice, in half of its time

import jax  # noqa: E402, it reads the variables that the lines before set

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
if not ON_CPU:
    jax.config.update("jax_default_matmul_precision", "highest")  # not TF32


@pytest.fixture(scope="module")
def optax_types():
    """optax multiplies floats and integers, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def saved(request, monkeypatch):
    """{file: figure} in place of the pictures on the disk that the test's `report` would save."""
    figures = {}
    monkeypatch.setattr(
        request.module.report,
        "save_figure",
        lambda figure, path: figures.update({path.name: figure}),
    )
    return figures


def pytest_runtest_setup(item):
    if not ON_CPU and item.get_closest_marker("cpu_only"):
        pytest.skip("for the CPU alone")


# What trains, or starts launch.py: not in `make check`.
END_TO_END = (
    "test_launch.py", "test_configs.py", "reliability/", "train_jax/test_loop.py",
    "train_jax/test_parallel.py", "fer_jax/test_evaluate.py", "fer_jax/test_folds.py",
    "fer_jax/test_own_data.py", "fer_jax/explain/test_run.py", "fer_jax/explore/test_run.py",
    "fer_jax/export/", "fer_jax/predict/test_run.py", "seq_jax/test_attention_task.py",
    "seq_jax/test_modes.py", "seq_jax/test_shipped.py", "seq_jax/test_export.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    for item in items:
        if any(part in item.path.as_posix() for part in END_TO_END):
            item.add_marker(pytest.mark.end_to_end)
        if marker := item.get_closest_marker("equivalence"):
            item.user_properties.append(("equivalence", marker.args))


def pytest_terminal_summary(terminalreporter, config):
    """With -m equivalence: a table of what equals what, and how closely."""
    if "equivalence" not in config.getoption("-m"):
        return
    tests = collections.Counter()
    for report in terminalreporter.getreports("passed"):
        if report.when == "call":
            tests.update(tuple(a) for name, a in report.user_properties if name == "equivalence")
    if not tests:
        return
    rows = [[*args, str(number)] for args, number in tests.items()]
    terminalreporter.section("ours = theirs, to what")
    table = Table(["ours", "theirs", "to", "tests"], rows, numbers=(3,))
    terminalreporter.write_line(as_text(table))
