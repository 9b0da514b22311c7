"""Model 2 of the original study: Model 1 with batch norm after each layer but the last.

python launch.py --config=configs/fer_batchnorm.py --config.data.path=archive.zip

Seed 0, train_fraction=0.25 of the real train set (6,460 images):
PublicTest 0.4940 [0.478, 0.510] (n 3,589)
after 19 epochs, the best the 16th.
"""

from configs import fer_base


def get_config():
    c = fer_base.get_config()
    c.model.batch_norm = True
    return c
