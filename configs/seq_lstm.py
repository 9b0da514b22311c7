"""The original study's LSTM: Embedding 128, LSTM 64, Dense 1024, dropout 0.2, 150 epochs.

python launch.py --config=configs/seq_lstm.py

Not yet run.
"""

from configs import seq_base


def get_config():
    return seq_base.get_config()
