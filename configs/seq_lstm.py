"""The original study's LSTM: Embedding 128, LSTM 64, Dense 1024, dropout 0.2, 150 epochs.

python launch.py --config=configs/seq_lstm.py

Seed 0, 404 real pairs in 5 folds (--mode=cross_validate --config.data.folds=5): token accuracy
0.268 [0.247, 0.288], chrF++ 18.6 [17.1, 20.1]. On the phrasebook (test n 146): 0.336, 24.5.
A dictionary made by counting beats all of these networks in chrF++: see README.md.
"""

from configs import seq_base


def get_config():
    return seq_base.get_config()
