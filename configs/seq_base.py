"""Every field of a translation config, with its unit and reason. The others derive from it.

The data settings are the original study's filter, with punctuation stripped first; the model and
its training are those of the original's LSTM, which configs/seq_lstm.py runs.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
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
    c.decode.mbr = False  # the hypothesis of the beam that is most like the others comes first
    c.decode.n_best = 1  # of them, to be printed
    c.decode.train_sentences = 0  # of the train split, that are scored, evenly spaced; 0: all

    c.train = ml_collections.ConfigDict()
    c.train.seed = 0  # parameters, order, noise
    c.train.prng = "threefry2x32"  # key type; 'rbg' has its own numbers on each kind of device
    c.train.epochs = 150  # as the study's LSTM
    c.train.batch_size = 64  # sentences
    c.train.eval_batch_size = 256  # sentences
    c.train.steps_per_call = 0  # in one compiled call; 0: 8 on a CPU, else an epoch, at most 512
    c.train.deterministic = False  # GPU: the same bits in every run, slower; a CPU gives them so
    # of float32 products on a GPU: '' or 'default' is TF32, 'highest' float32
    c.train.matmul_precision = ""
    c.train.ema_decay = 0.0  # moving average of the weights, per step; 0 = off

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.name = "adam"  # adam, adamw, sgd (Nesterov) or muon (kernels of convolutions)
    c.optimizer.weight_decay = 0.0  # of kernels; coupled for sgd, as PyTorch's; else decoupled
    c.optimizer.momentum = 0.9  # sgd and muon only
    c.optimizer.clip_norm = 0.0  # global norm of the gradient, at most; 0 = off

    c.schedule = ml_collections.ConfigDict()
    c.schedule.name = "constant"  # constant, inverse_time or cosine
    c.schedule.learning_rate = 1e-3  # the peak
    c.schedule.warmup_epochs = 0.0  # linear, from 0
    c.schedule.decay = 0.0  # inverse_time: lr / (1 + decay * step), as the Keras optimizers of 2021
    c.schedule.final_fraction = 0.0  # cosine: of the peak, at the end

    c.plateau = ml_collections.ConfigDict()  # ReduceLROnPlateau of Keras; the study used none here
    c.plateau.enabled = False
    c.plateau.monitor = "val_accuracy"
    c.plateau.mode = "max"
    c.plateau.factor = 0.2
    c.plateau.patience = 5  # epochs without a better value
    c.plateau.min_delta = 1e-4  # absolute
    c.plateau.cooldown = 0  # epochs
    c.plateau.min_lr = 0.0

    c.early_stop = ml_collections.ConfigDict()  # EarlyStopping of Keras; the study used none here
    c.early_stop.enabled = False
    c.early_stop.monitor = "val_accuracy"
    c.early_stop.mode = "max"
    c.early_stop.patience = 10  # epochs without a better value
    c.early_stop.min_delta = 0.0  # absolute
    c.early_stop.baseline = ml_collections.config_dict.placeholder(float)  # to be beaten, or None
    c.early_stop.start_from_epoch = 0

    c.checkpoint = ml_collections.ConfigDict()  # which epoch is evaluated
    c.checkpoint.select = "best"  # by the monitor; or "last", whatever the monitor says
    # Not val_loss: few sentences make a model sure of itself long before it is at its best. On the
    # phrasebook seq_lstm's val_loss is least in epoch 23, with 22 % of tokens right, then 35 %.
    c.checkpoint.monitor = "val_accuracy"  # of tokens, without <PAD> and <start>
    c.checkpoint.mode = "max"
    # between checkpoints of epochs that are not the best so far; so much a kill may cost
    c.checkpoint.min_seconds = 60.0

    c.distributed = ml_collections.ConfigDict()  # decides nothing but rounding
    c.distributed.devices = 0  # that share each batch; 0: all
    c.distributed.coordinator = ""  # HOST:PORT of process 0; "": as SLURM or Open MPI say, or none
    c.distributed.processes = 1  # of this run, with a coordinator
    c.distributed.process = 0  # the number of this one
    return c.lock()
