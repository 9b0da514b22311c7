"""Model 4 of the original study ("lobo_net"), its best: 32,116,103 trainable parameters.

python launch.py --config=configs/fer_lobo.py --config.data.path=archive.zip

Seed 0, train_fraction=0.25 of the real train set (6,460 images):
PublicTest 0.5344 [0.518, 0.551] (n 3,589)
after 39 epochs and 57 min, the best the 36th.
"""

from configs import fer_base


def get_config():
    c = fer_base.get_config()
    with c.unlocked():
        c.model = {"name": "lobo", "bfloat16": False}
    c.loss.l2 = 0.01
    c.loss.l2_layers = ("Conv_2", "Conv_3")
    c.schedule.name = "inverse_time"
    c.schedule.learning_rate = 1e-4
    c.schedule.decay = 1e-6
    return c
