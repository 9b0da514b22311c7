"""A larger seq_attention, in every width.

python launch.py --config=configs/seq_attention_large.py --config.data.path=FOLDER

Not yet run with a test part; seq_best is the same with more pairs to train on.
"""

from configs import seq_attention


def get_config():
    c = seq_attention.get_config()
    c.data.subwords = 2000
    c.model.embedding = 160
    c.model.encoder_units = 176
    c.model.units = 256
    c.model.dropout = 0.3
    c.train.epochs = 40
    return c
