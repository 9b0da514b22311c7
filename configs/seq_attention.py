"""Encoder-decoder with attention on subwords: at most 0.8 million parameters, all lengths.

python launch.py --config=configs/seq_attention.py --config.data.path=FOLDER

794,456 parameters, 23,956 pairs, seeds 0, 1, 2, 30 epochs, beam 5: test n 1,331 chrF++ 46.5, 46.8,
46.4 (each +-1.3), BLEU 16.0, 15.8, 15.5 (+-1.7). On test the dictionary has 35.0 and 1.2, the
nearest training sentence 29.3 and 8.4. Of at least 10 words (n 149) 34.1, 35.8, 34.5 and 4.1, 4.7,
5.1, below the dictionary's 36.1 and the nearest sentence's 10.0; 3.4, 3.2, 2.7 % of the
translations have a word twice, 2.3 % of the references. 12 minutes of one core of a 2-core Xeon
with AMX, which two trainings shared.
"""

from configs import seq_base


def get_config():
    c = seq_base.get_config()
    c.data.source_words = 0
    c.data.source_script = ""
    c.data.target_script = ""  # subwords can write digits and Latin names, too
    c.data.mend_script = True
    c.data.target_top_k = 0
    c.data.max_tokens = 0
    c.data.subwords = 1000
    c.data.valid_fraction = 0.05
    c.data.test_fraction = 0.05
    with c.unlocked():
        c.model = {
            "name": "encoder_decoder",
            "embedding": 112,
            "cell": "lstm",
            "encoder_units": 88,  # in each direction
            "encoder_layers": 1,
            "units": 136,  # of the decoder
            "layers": 1,
            "attention": "luong",  # bahdanau, or none
            "input_feeding": True,
            "lexical": True,
            "reset_after": True,  # gru only
            "recurrent_init": "gates",
            "dropout": 0.2,
            "word_dropout": 0.1,
            "bfloat16": True,  # 0.6 of the time of a step on a CPU with AMX
        }
    c.loss.label_smoothing = 0.1
    # chosen on validation sentences, by the net of seq_best
    c.decode.alpha = 1.3
    c.decode.no_repeat = 2  # pieces
    c.decode.repeat_penalty = 0.1  # by the six nets of this config and seq_attention_large
    c.decode.train_sentences = 1000
    c.train.epochs = 30
    c.train.batch_size = 64
    c.train.steps_per_call = 1  # the lengths of batches change
    c.train.ema_decay = 0.999
    c.optimizer.clip_norm = 1.0
    c.schedule.name = "cosine"
    c.schedule.learning_rate = 3e-3
    c.schedule.warmup_epochs = 0.5
    c.schedule.final_fraction = 0.02
    c.checkpoint.monitor = "val_chrf++"  # of greedy translations
    return c
