"""At most 1M parameters, trained on two CPU cores: 8 convolutions, small images first.

python launch.py --config=configs/fer_small.py --config.data.path=archive.zip --workdir=runs/small
python launch.py --config=configs/fer_small_tuned.py --config.data.path=a.zip --init=runs/small

841,959 parameters, seed 0, bfloat16. The first command ends at valid 0.6490 (n 2,872): the net saw
48 pixels for 7 of 24 epochs, at a low rate. The second, 7 epochs at 48 pixels, makes it 0.6657, and
PublicTest 0.6751 [0.660, 0.690] (n 3,589, single view), 0.6807 with its mirror, computed in
float32; it is weights/fer_small. 42 and 17 minutes of a 2-core Xeon with AMX that up to ten others
used; docs/results-faces.md has the rest.
"""

from configs import fer_best


def get_config():
    c = fer_best.get_config()
    c.model.features = ((32, 32), (64, 64), (128, 128), (192, 192))
    c.augment.shift = 0.1
    c.augment.sizes = ((24, 0.25), (36, 0.7))
    c.train.epochs = 24
    return c
