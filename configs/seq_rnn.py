"""The original study's SimpleRNN: Embedding 64, SimpleRNN 256, Dense 1024, dropout 0.2, 50 epochs.

python launch.py --config=configs/seq_rnn.py

Not yet run.
"""

from configs import seq_base


def get_config():
    c = seq_base.get_config()
    c.model.embedding = 64
    c.model.cell = "simple_rnn"
    c.model.units = 256
    c.train.epochs = 50
    return c
