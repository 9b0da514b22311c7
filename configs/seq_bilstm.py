"""seq_lstm reading in both directions: each target token sees the whole source. The same budget.

python launch.py --config=configs/seq_bilstm.py

Two LSTM of 32 units in place of one of 64: 526,040 parameters where seq_lstm has 534,232.

Not yet run.
"""

from configs import seq_base


def get_config():
    c = seq_base.get_config()
    c.model.units = 32
    c.model.bidirectional = True
    return c
