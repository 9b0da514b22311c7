"""The fields of training, which both tasks share, with unit and reason. fer_base and seq_base add
their own, and set what their studies had otherwise."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Not locked, and no config to train by: it has neither data nor model."""
    c = ml_collections.ConfigDict()

    c.train = ml_collections.ConfigDict()
    c.train.seed = 0  # parameters, order, noise
    c.train.prng = "threefry2x32"  # key type; 'rbg' has its own numbers on each kind of device
    c.train.epochs = 60  # at most
    c.train.batch_size = 32  # examples
    c.train.eval_batch_size = 256  # examples
    # in one compiled call; 0: on a CPU 1, or 8 of sentences, else an epoch, at most 512
    c.train.steps_per_call = 0
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

    c.plateau = ml_collections.ConfigDict()  # ReduceLROnPlateau of Keras
    c.plateau.enabled = True
    c.plateau.monitor = "val_loss"
    c.plateau.mode = "min"
    c.plateau.factor = 0.2
    c.plateau.patience = 2  # epochs without a better value
    c.plateau.min_delta = 1e-4  # absolute
    c.plateau.cooldown = 0  # epochs
    c.plateau.min_lr = 0.0

    c.early_stop = ml_collections.ConfigDict()  # EarlyStopping of Keras
    c.early_stop.enabled = True
    c.early_stop.monitor = "val_loss"
    c.early_stop.mode = "min"
    c.early_stop.patience = 3  # epochs without a better value
    c.early_stop.min_delta = 0.0  # absolute
    c.early_stop.baseline = ml_collections.config_dict.placeholder(object)  # to be beaten, or None
    c.early_stop.start_from_epoch = 0

    c.checkpoint = ml_collections.ConfigDict()  # which epoch is evaluated
    c.checkpoint.select = "best"  # by the monitor; or "last", whatever the monitor says
    c.checkpoint.monitor = "val_loss"
    c.checkpoint.mode = "min"
    # between checkpoints of epochs that are not the best so far; so much a kill may cost
    c.checkpoint.min_seconds = 60.0

    c.distributed = ml_collections.ConfigDict()  # decides nothing but rounding
    c.distributed.devices = 0  # that share each batch; 0: all
    c.distributed.coordinator = ""  # HOST:PORT of process 0; "": as SLURM or Open MPI say, or none
    c.distributed.processes = 1  # of this run, with a coordinator
    c.distributed.process = 0  # the number of this one
    return c
