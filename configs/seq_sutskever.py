"""seq_attention without attention and input feeding: what the decoder knows of the source is one
vector (Sutskever et al. 2014, arXiv 1409.3215), so that a student sees what attention gives.

python launch.py --config=configs/seq_sutskever.py --config.data.path=FOLDER

Not yet run.
"""

from configs import seq_attention


def get_config():
    c = seq_attention.get_config()
    c.model.attention = "none"
    c.model.input_feeding = False
    c.model.lexical = False
    return c
