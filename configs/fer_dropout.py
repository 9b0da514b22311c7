"""Model 3 of the original study: Model 2 with dropout after each layer, at too high a rate.

python launch.py --config=configs/fer_dropout.py --config.data.path=archive.zip

Not yet run.
"""

from configs import fer_batchnorm


def get_config():
    c = fer_batchnorm.get_config()
    c.model.dropout = 0.7  # the study says only "too high"
    return c
