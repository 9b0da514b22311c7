"""fer_small from its own weights, at 48 pixels throughout: see configs/fer_small.py.

python launch.py --config=fer_small_tuned --init=runs/small --config.data.path=archive.zip
"""

from configs import fer_small


def get_config():
    c = fer_small.get_config()
    c.augment.sizes = ()
    c.train.epochs = 7
    c.schedule.learning_rate = 1.5e-3
    c.schedule.warmup_epochs = 0.5
    return c
