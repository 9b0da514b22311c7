"""What ships in weights/seq_best: seq_attention_large on all pairs but validation.

python launch.py --config=configs/seq_best.py --config.data.path=FOLDER

2,436,048 parameters, 25,291 pairs, seed 0, beam 5. So far 12 of its 20 epochs: valid n 1,331, on
which the epoch was chosen, chrF++ 45.5 [44.2, 46.8], BLEU 15.1 [13.3, 16.7]; the dictionary 35.1
and 1.3, the nearest training sentence 29.8 and 8.9. Of at least 10 words (n 149) 33.9 and 6.0,
below the dictionary's 36.1 and the nearest sentence's 10.6.
"""

from configs import seq_attention_large


def get_config():
    c = seq_attention_large.get_config()
    c.data.test_fraction = 0.0
    c.decode.no_repeat = 2  # pieces; chosen on valid, with alpha
    return c
