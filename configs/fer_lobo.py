"""Model 4 of the original study ("lobo_net"), its best: 32,116,103 trainable parameters.

python launch.py --config=configs/fer_lobo.py --config.data.path=archive.zip

Not yet run.
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
