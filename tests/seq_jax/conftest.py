"""What tests share that train from end to end."""

import pytest


@pytest.fixture(scope="module")
def quick_scores(optax_types):
    """Intervals from 20 resamples; and optax may train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train_jax.metrics.RESAMPLES", 20)
        yield
