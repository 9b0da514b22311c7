"""The original study's GRU with embedding: 50 epochs. Its sizes, not written down, as seq_rnn's.

python launch.py --config=configs/seq_gru.py

Not yet run.
"""

from configs import seq_rnn


def get_config():
    c = seq_rnn.get_config()
    c.model.cell = "gru"
    return c
