"""A larger seq_bilstm for all pairs of up to 7 words per side: 19,993 of ../shared/data/en_kn.

python launch.py --config=configs/seq_bilstm_large.py --config.data.path=FOLDER

Test n 1,999, seed 0: token accuracy 0.300 [0.289, 0.310], chrF++ 22.4 [21.6, 23.2], in 15 epochs
and 10 min 38 s (other work running); valid 0.311 [0.300, 0.320] and 23.2, still rising. The nearest
training sentence: 0.211 [0.202, 0.222] and 27.7 [26.8, 28.6].
"""

from configs import seq_bilstm


def get_config():
    c = seq_bilstm.get_config()
    c.data.source_words = 0
    c.data.max_source_words = 7
    c.data.max_target_words = 7
    c.data.source_script = ""
    c.data.target_top_k = 0
    c.data.max_tokens = 9
    c.data.source_min_count = 2  # the others are <unk>, so that it is learned
    c.data.target_min_count = 2  # 5,872 words of 15,970; the output layer is what takes the time
    c.data.test_fraction = 0.1
    c.model.units = 256
    c.model.dropout = 0.4
    c.train.epochs = 15
    return c
