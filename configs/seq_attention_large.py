"""A larger seq_attention, in every width: 2,421,072 parameters.

python launch.py --config=configs/seq_attention_large.py --config.data.path=FOLDER

23,956 pairs, seeds 0, 1, 2, beam 5, test n 1,331: chrF++ 52.3, 53.1, 52.3 (each +-1.4), BLEU 21.5,
21.6, 20.9 (+-2.0); the dictionary has 35.0 and 1.2, the nearest training sentence 29.3 and 8.4. Of
at least 10 words (n 149) 42.5, 43.8, 42.1 and 11.0, 11.9, 11.4; the dictionary's chrF++ is 36.1,
the nearest sentence's BLEU 10.0. A word twice: 2.5, 2.6 and 4.0 % (the references 2.3 %). 40
epochs, 30 minutes of one core of a 2-core Xeon with AMX, which two trainings shared.
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
