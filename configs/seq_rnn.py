"""The original study's SimpleRNN: Embedding 64, SimpleRNN 256, Dense 1024, dropout 0.2, 50 epochs.

python launch.py --config=configs/seq_rnn.py

Seed 0, 404 real pairs in 5 folds (--mode=cross_validate --config.data.folds=5): token accuracy
0.256 [0.237, 0.276], chrF++ 17.6 [16.1, 19.2]. On the phrasebook (test n 146): 0.326, 22.5.
A dictionary made by counting beats all of these networks in chrF++: see README.md.
"""

from configs import seq_base


def get_config():
    c = seq_base.get_config()
    c.model.embedding = 64
    c.model.cell = "simple_rnn"
    c.model.units = 256
    c.train.epochs = 50
    return c
