"""Model 1 of the original study: two convolutions with max pooling, two dense layers.

python launch.py --config=configs/fer_simple.py --config.data.path=archive.zip

Seed 0, train_fraction=0.25 of the real train set (6,460 images):
PublicTest 0.4742 [0.458, 0.491] (n 3,589)
after 19 epochs, the best the 16th. On all of it (25,837): 0.5430 [0.527, 0.559] after 26 epochs,
the best the 23rd, 24 min, partly with other work running.
"""

from configs import fer_base


def get_config():
    return fer_base.get_config()
