"""Every field of a translation config, with its unit and reason. The others derive from it.

The data settings are the original study's filter, with punctuation stripped first; the model and
its training are those of the original's LSTM, which configs/seq_lstm.py runs.
"""

import ml_collections

from configs import train_base


def get_config() -> ml_collections.ConfigDict:
    c = train_base.get_config()
    c.task = "seq"

    c.data = ml_collections.ConfigDict()
    # folder or .zip of train.en + train.kn, or a file of pairs, see seq_jax/corpus.py; "" takes
    # seq_jax/phrasebook
    c.data.path = ""
    c.data.languages = ("en", "kn")  # codes of source and target, in file names and what is printed
    c.data.columns = ()  # two of a TSV, CSV or JSONL file, see seq_jax/columns.py; (): recognised
    c.data.punctuation = "strip"  # or 'keep', which sets each mark apart as a token
    # Filters: a pair that does not pass is removed. Words are counted without punctuation; 0 = off.
    c.data.source_words = 5  # exactly so many, as the study
    c.data.max_source_words = 0  # at most
    # each word is made of letters of this Unicode script; 'ASCII': A to Z alone; "": any
    c.data.source_script = "ASCII"  # ^[A-Za-z\s]*$, as the study
    c.data.max_target_words = 0  # at most
    c.data.target_script = "Kannada"
    c.data.target_top_k = 700  # target words in all, the most common; 404 pairs of shared/data
    c.data.remove_duplicates = True  # of equal pairs only the first is kept
    c.data.max_tokens = 7  # a side, with <start> and <end>: one long pair would pad all others
    c.data.max_pairs = 500_000  # of more a random choice is kept, always the same: memory
    c.data.skip_empty = False  # drop lines with one empty side, in place of an error
    # Vocabularies come from the training part alone. With min_count 1 and no max_words training
    # never meets an <unk>: in the source its vector then stays as it was drawn.
    c.data.unk = True  # False: an unknown word is an error
    c.data.source_min_count = 1  # words that occur less often become <unk>
    c.data.target_min_count = 1
    c.data.source_vocabulary_words = 0  # the most common; others become <unk>; 0 = all are kept
    c.data.target_vocabulary_words = 0
    # Subwords in place of words, for an encoder-decoder: see seq_jax/subwords.py
    c.data.subwords = 0  # pieces per side; 0: words
    c.data.subword_kind = "bpe"  # bpe, unigram, or char: single characters
    c.data.bpe_dropout = 0.0  # share of merges left out, others in each epoch of training; 0 = off
    c.data.mend_script = False  # stray joiners, the digit 0 for anusvara; see text.fix_kannada
    # encoder-decoder: tokens per side to which a batch is padded; longer pairs are left out
    c.data.lengths = (8, 10, 12, 16, 20, 28, 48)
    c.data.valid_fraction = 0.1  # of all pairs; by source sentence, none is on two sides
    c.data.test_fraction = 0.2  # of all pairs; with folds it is 1 / folds
    c.data.folds = 0  # parts for --mode=cross_validate, each the test part once; 0: one split
    c.data.fold = 0  # which of them is the test part; cross_validate goes through all
    c.data.split_seed = 0  # not the seed of the run, so that seeds share one split

    c.model = ml_collections.ConfigDict()  # the fields are those of the class
    c.model.name = "many_to_many"
    c.model.embedding = 128  # numbers per token; 0: the token's number is the one input feature
    c.model.cell = "lstm"  # simple_rnn, gru or lstm
    c.model.units = 64  # in each direction
    c.model.bidirectional = False  # a second layer reads from right to left
    c.model.reset_after = True  # gru only: the form of Keras, cuDNN and PyTorch
    c.model.recurrent_init = "kernel"  # as Keras; 'gates': each gate's matrix orthogonal
    c.model.recurrent_dropout = 0.0  # share of the recurrent input set to 0
    c.model.dense = 1024  # units
    c.model.dropout = 0.2  # share of the dense layer's outputs set to 0, rounded to a 256th
    c.model.bfloat16 = False  # matrix products in bfloat16 with float32 sums; all else is float32

    c.loss = ml_collections.ConfigDict()
    c.loss.count_pad = False  # True: <PAD> is to be predicted too, and counts, as in the study

    c.loss.label_smoothing = 0.0  # encoder-decoder: share of each target spread over all tokens

    c.decode = ml_collections.ConfigDict()  # encoder-decoder: how translations are searched for
    c.decode.beam = 5  # hypotheses per sentence; 1 is greedy
    c.decode.alpha = 1.0  # their log-probability is divided by length^alpha
    c.decode.no_repeat = 0  # no sequence of so many tokens comes twice in a sentence; 0: any may
    # weights of what the attention left out, and of what it saw more than once, in the ranking of
    # hypotheses: see attention.coverage_penalty; nothing without attention
    c.decode.coverage = 0.0
    c.decode.overlap = 0.0
    c.decode.repeat_penalty = 0.0  # off a hypothesis' score for each word it says again
    c.decode.mbr = False  # the hypothesis of the beam that is most like the others comes first
    c.decode.n_best = 1  # of them, to be printed
    c.decode.train_sentences = 0  # of the train split, that are scored, evenly spaced; 0: all

    c.train.epochs = 150  # as the study's LSTM
    c.train.batch_size = 64  # sentences

    c.plateau.enabled = False  # the study used none here, nor EarlyStopping
    c.plateau.monitor, c.plateau.mode = "val_accuracy", "max"
    c.plateau.patience = 5  # epochs without a better value
    c.early_stop.enabled = False
    c.early_stop.monitor, c.early_stop.mode = "val_accuracy", "max"
    c.early_stop.patience = 10  # epochs without a better value

    # Not val_loss: few sentences make a model sure of itself long before it is at its best. On the
    # phrasebook seq_lstm's val_loss is least in epoch 23, with 22 % of tokens right, then 35 %.
    c.checkpoint.monitor = "val_accuracy"  # of tokens, without <PAD> and <start>
    c.checkpoint.mode = "max"
    return c.lock()
