"""What ships in weights/seq_best: seq_attention_large on all pairs but validation.

python launch.py --config=configs/seq_best.py --config.data.path=FOLDER

Not yet run.
"""

from configs import seq_attention_large


def get_config():
    c = seq_attention_large.get_config()
    c.data.test_fraction = 0.0
    return c
