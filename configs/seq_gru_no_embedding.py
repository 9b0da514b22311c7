"""The original study's GRU without embedding: the token's number is the one input feature.

python launch.py --config=configs/seq_gru_no_embedding.py

Not yet run. It cannot do well: numbers say how frequent a word is, and numbers in the hundreds
saturate the gates.
"""

from configs import seq_gru


def get_config():
    c = seq_gru.get_config()
    c.model.embedding = 0
    return c
