"""Strict JAX for every test: no implicit promotion of dtypes or ranks (equinox's habit).

Tests run on the CPU unless JAX_PLATFORMS says otherwise: JAX_PLATFORMS=cuda,cpu python -m pytest.
A GPU then computes in whole float32 and with the same bits in every run, so that one tolerance
holds on both. What compares bits across programs, or is of the CPU alone, is marked cpu_only.
"""

import os

import pytest

from train_jax import process

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


def pytest_runtest_setup(item):
    if not ON_CPU and item.get_closest_marker("cpu_only"):
        pytest.skip("for the CPU alone")
