"""Model 1 of the original study: two convolutions with max pooling, two dense layers.

python launch.py --config=configs/fer_simple.py --config.data.path=archive.zip

Not yet run.
"""

from configs import fer_base


def get_config():
    return fer_base.get_config()
