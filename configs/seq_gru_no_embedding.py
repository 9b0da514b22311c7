"""The original study's GRU without embedding: the token's number is the one input feature.

python launch.py --config=configs/seq_gru_no_embedding.py

Seed 0, 404 real pairs in 5 folds (--mode=cross_validate --config.data.folds=5): token accuracy
0.170 [0.156, 0.186], chrF++ 10.3 [9.5, 11.1]. On the phrasebook (test n 146): 0.223, 15.7.
A dictionary made by counting beats all of these networks in chrF++: see README.md.
It cannot do well: numbers say how frequent a word is, and numbers in the hundreds saturate the
gates.
"""

from configs import seq_gru


def get_config():
    c = seq_gru.get_config()
    c.model.embedding = 0
    return c
