"""At most 1M parameters, trained on two CPU cores: 8 convolutions, small images first.

python launch.py --config=configs/fer_small.py --config.data.path=archive.zip --workdir=runs/small

841,959 parameters, seed 0, bfloat16. Four folds, each trained on three quarters of the 28,709
images, 33 minutes of one core of a 2-core Xeon with AMX: out of fold 0.6592 [0.654, 0.665], 0.6666
with the mirror. configs/fer_small_tuned.py goes on from a run. weights/fer_small began with 24
epochs of before, `augment.sizes=((24, 0.25), (36, 0.7))`: docs/results-faces.md has the rest.
"""

from configs import fer_best


def get_config():
    c = fer_best.get_config()
    c.model.features = ((32, 32), (64, 64), (128, 128), (192, 192))
    c.augment.shift = 0.1
    c.augment.sizes = ((24, 0.25), (36, 0.5))
    c.train.epochs = 16
    return c
