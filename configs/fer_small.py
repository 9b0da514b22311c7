"""At most 1M parameters, trained on two CPU cores: 8 convolutions, small images first.

python launch.py --config=configs/fer_small.py --config.data.path=archive.zip

Not yet run to its end: 12 of 32 epochs, seed 0, gave valid 0.546 (n 2,872) while it trained at 36
pixels; see docs/results-faces.md.
"""

from configs import fer_base


def get_config():
    c = fer_base.get_config()
    with c.unlocked():
        c.model = {
            "name": "best",
            "features": ((32, 32), (64, 64), (128, 128), (192, 192)),  # channels, block by block
            "standardize": True,  # takes out the lighting of each image
            "dropout": 0.3,
            "block_dropout": 0.1,
            "bfloat16": False,
        }
    c.loss.label_smoothing = 0.1
    c.augment.flip = 0.5
    c.augment.rotation = 10.0
    c.augment.zoom = 0.2
    c.augment.shift = 0.15
    c.augment.affine_probability = 0.5
    c.augment.sizes = ((24, 0.25), (36, 0.7))
    c.train.epochs = 32
    c.train.batch_size = 64
    c.train.ema_decay = 0.999
    c.optimizer.name = "sgd"
    c.optimizer.weight_decay = 5e-4
    c.schedule.name = "cosine"
    c.schedule.learning_rate = 0.1
    c.schedule.warmup_epochs = 1.0
    c.plateau.enabled = False
    c.early_stop.enabled = False
    c.checkpoint.select = "last"
    c.checkpoint.monitor = "val_accuracy"
    c.checkpoint.mode = "max"
    return c
