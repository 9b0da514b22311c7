"""Model 2 of the original study: Model 1 with batch norm after each layer but the last.

python launch.py --config=configs/fer_batchnorm.py --config.data.path=archive.zip

Not yet run.
"""

from configs import fer_base


def get_config():
    c = fer_base.get_config()
    c.model.batch_norm = True
    return c
