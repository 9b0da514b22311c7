"""A bidirectional LSTM for all pairs of up to 7 words a side: 19,993 of ../shared/data/en_kn.

python launch.py --config=configs/seq_bilstm_large.py --config.data.path=FOLDER

Not yet run.
"""

from configs import seq_base


def get_config():
    c = seq_base.get_config()
    c.data.english_words = 0
    c.data.max_english_words = 7
    c.data.max_kannada_words = 7
    c.data.english_letters_only = False
    c.data.kannada_top_k = 0
    c.data.max_tokens = 9
    c.data.english_min_count = 2  # the others are <unk>, so that it is learned
    c.data.kannada_max_words = 8000  # of 15,970; the output layer is what takes the time
    c.data.test_fraction = 0.1
    c.model.embedding = 256
    c.model.units = 256
    c.model.bidirectional = True
    c.model.dense = 512
    c.model.dropout = 0.5
    c.train.epochs = 20
    c.train.steps_per_call = 50
    return c
