"""A larger seq_attention.

python launch.py --config=configs/seq_attention_large.py --config.data.path=FOLDER

Not yet run.
"""

from configs import seq_attention


def get_config():
    c = seq_attention.get_config()
    c.data.subwords = 2000
    c.model.embedding = 192
    c.model.encoder_units = 192
    c.model.units = 256
    c.model.dropout = 0.25
    c.train.epochs = 20
    c.schedule.learning_rate = 2e-3
    return c
