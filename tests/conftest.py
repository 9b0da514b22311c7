"""Strict JAX for every test: no implicit promotion of dtypes or ranks (equinox's habit)."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_platforms", "cpu")
