"""What ships in weights/seq_best: seq_attention_large on all pairs but validation.

python launch.py --config=configs/seq_best.py --config.data.path=FOLDER

2,436,048 parameters, 25,291 pairs, seed 0, float32, 20 epochs, the 18th the best. Of the weights in
float16, beam 5, alpha 1, no pair of pieces twice (both chosen on valid), on valid (n 1,331), where
the epoch was chosen, too: chrF++ 46.5 [45.2, 47.8], BLEU 15.2 [13.5, 16.9]; the dictionary 35.1 and
1.3, the nearest training sentence 29.8 and 8.9. Of at least 10 words (n 149) 34.9 and 4.6, below
the dictionary's 36.1 and the nearest sentence's 10.6. 7.2 % of the translations have a word twice
(the references 2.3 %). About 25 CPU minutes in 98, next to up to seven others.
"""

from configs import seq_attention_large


def get_config():
    c = seq_attention_large.get_config()
    c.data.test_fraction = 0.0
    c.decode.no_repeat = 2  # pieces; chosen on valid, with alpha
    return c
