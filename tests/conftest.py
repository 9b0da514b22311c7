"""Strict JAX for every test: no implicit promotion of dtypes or ranks (equinox's habit)."""

import launch

launch.cache_compilations()  # a run of the suite compiles much twice, in half of its time

import jax  # noqa: E402, it reads the variables that the line before sets

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_platforms", "cpu")
