"""The best net for two CPU cores: 4 blocks, AdamW, warm-up and cosine, moving average of weights.

python launch.py --config=configs/fer_best.py --config.data.path=archive.zip

Not yet run.
"""

from configs import fer_base


def get_config():
    c = fer_base.get_config()
    with c.unlocked():
        c.model = {
            "name": "best",
            "features": ((32,), (64, 64), (128, 128), (256, 256)),  # channels, block by block
            "dropout": 0.4,
            "bfloat16": False,
        }
    c.loss.label_smoothing = 0.1
    c.augment.flip = 0.5
    c.augment.rotation = 15.0
    c.augment.zoom = 0.2
    c.augment.shift = 0.1
    c.augment.cutout = 14
    c.augment.cutout_probability = 0.5
    c.augment.mixup = 0.3
    c.train.epochs = 34
    c.train.batch_size = 64
    c.train.ema_decay = 0.999
    c.optimizer.name = "adamw"
    c.optimizer.weight_decay = 0.1
    c.optimizer.clip_norm = 1.0
    c.schedule.name = "cosine"
    c.schedule.learning_rate = 2e-3
    c.schedule.warmup_epochs = 2.0
    c.plateau.enabled = False
    c.early_stop.enabled = False
    c.checkpoint.monitor = "val_accuracy"
    c.checkpoint.mode = "max"
    return c
