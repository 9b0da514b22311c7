"""What a net answers to images: over the views of each, and by which convolutions."""

import re

import jax
import numpy as np
import pytest

from configs import fer_best
from fer_jax import inference, task
from tests.fer_jax.test_evaluate import log_probabilities, make_config


def test_ten_crops():
    """Corners and middle, and their mirrors: the mean of the log-probabilities."""
    model = task.model_of(
        fer_best.get_config().model.to_dict() | {"features": ((2,), (3, 3)), "bfloat16": False},
        "test",
    )[0]
    rng = np.random.default_rng(0)
    variables = task.init_model(model, jax.random.key(0))
    variables = jax.tree.map(
        lambda a: a + 0.3 * rng.uniform(size=a.shape).astype(a.dtype), variables
    )
    images = rng.integers(0, 256, (5, 48, 48), dtype=np.uint8)
    parts = []
    for row, column in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
        crop = images[:, row : row + 44, column : column + 44]
        parts += [log_probabilities(model, variables, v) for v in (crop, crop[:, :, ::-1])]
    found = inference.predict_split(
        inference.make_predict(model), variables, images, batch_size=4, tta="ten_crop"
    )
    np.testing.assert_allclose(found, np.mean(parts, 0), rtol=1e-5, atol=1e-5)
    assert np.ptp(parts, 0).max() > 1e-3
    assert inference.views_of(model) == ("none", "flip", "ten_crop")
    assert inference.views_of(task.build_model(make_config())) == ("none", "flip")


@pytest.mark.cpu_only
def test_no_convolution_is_handed_to_ynnpack():
    """XLA would hand it the last three of fer_best: 1.27 times as long for one face."""
    config = fer_best.get_config()
    config.model.bfloat16 = False
    model = task.build_model(config)
    variables = jax.eval_shape(lambda: task.init_model(model, jax.random.key(0)))
    predict = inference.make_predict(model)
    text = predict.lower(variables, np.zeros((1, 48, 48), np.uint8)).compile().as_text()
    handed = re.findall(r"calls=(%[\w.]+),.*__ynn_fusion", text)
    bodies = [body for body in text.split("\n\n") if body.split(" ")[0] in handed]
    assert len(bodies) == len(handed) and text.count(" convolution(") == 7
    assert not any(" convolution(" in body for body in bodies)
