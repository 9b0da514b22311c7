"""Model 3 of the original study: Model 2 with dropout after each layer, at too high a rate.

python launch.py --config=configs/fer_dropout.py --config.data.path=archive.zip

Seed 0, train_fraction=0.25 of the real train set (6,460 images):
PublicTest 0.3700 [0.354, 0.386] (n 3,589)
after 18 epochs, the best the 15th.
"""

from configs import fer_batchnorm


def get_config():
    c = fer_batchnorm.get_config()
    c.model.dropout = 0.7  # the study says only "too high"
    return c
