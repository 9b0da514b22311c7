"""fer_small from its own weights: at 48 pixels, on all of train, for soft labels.

python launch.py --config=configs/fer_small_tuned.py --config.data.path=archive.zip \
  --init=runs/small --config.data.soft_labels=runs/folds/out_of_fold --config.loss.soft_weight=0.5

There is no validation: the temperature is that of the folds. From the 24 epochs named in
configs/fer_small.py: PublicTest 0.6771 [0.662, 0.692] (n 3,589, single view), 0.6840 with its
mirror; 37 minutes of one core. On validation soft labels gave nothing: docs/results-faces.md.
"""

from configs import fer_small


def get_config():
    c = fer_small.get_config()
    c.data.valid_fraction = 0.0
    c.augment.sizes = ()
    c.train.epochs = 12
    c.schedule.learning_rate = 2e-3
    c.schedule.warmup_epochs = 0.5
    return c
