"""Every field of a facial-expression config, with its unit and reason. The others derive from it.

The values are the recipe of the original study's Model 1, which configs/fer_simple.py runs.
"""

import ml_collections

from configs import train_base


def get_config() -> ml_collections.ConfigDict:
    c = train_base.get_config()
    c.task = "fer"

    c.data = ml_collections.ConfigDict()
    # FER-2013 in any form, or your own data, see docs/data.md; "drawn" takes drawn faces; "" takes
    # data/raw/fer2013, or else drawn faces
    c.data.path = ""
    # in the order of their numbers, whatever the case of letters; () takes the names of the folders
    c.data.classes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    # (folder, class) where they are called otherwise, as ("anger", "angry"); (folder, "") leaves
    # it out
    c.data.class_map = ()
    c.data.resize = False  # take images of any size and in colour, and make them 48x48 and grey
    # whose labels: "" those of the data; "ferplus" the majority of FER+, whose fer2013new.csv lies
    # beside fer2013.csv; loss.soft_weight then has their votes for targets
    c.data.labels = ""
    c.data.test_fraction = (
        0.1  # where the data is one folder of classes: kept for the test, as below
    )
    # of train, stratified; identical images stay on one side; 0: none. Data with a validation split
    # of its own keeps that one
    c.data.valid_fraction = 0.1
    c.data.train_fraction = 1.0  # train on a stratified part of what is left, for quick experiments
    c.data.split_seed = 0  # of all parts; not the seed of the run, so that seeds share one split
    c.data.folds = 0  # parts for --mode=cross_validate, each left out once; 0: valid_fraction
    c.data.fold = 0  # which of them is for validation; cross_validate goes through all
    # WORKDIR/out_of_fold of --mode=cross_validate: targets for loss.soft_weight, and the
    # temperature where there is no validation
    c.data.soft_labels = ""

    c.model = ml_collections.ConfigDict()
    c.model.name = "simple"  # simple, lobo or best; the other fields are those of the class
    c.model.features = (32, 64)  # channels of each convolution
    c.model.dense = 128  # units
    c.model.batch_norm = False
    c.model.dropout = 0.0  # share of activations set to 0, rounded to a 256th
    # train in bfloat16; parameters, statistics, logits, losses stay float32, and the net is scored
    # and exported in float32. For GPUs, and CPUs with AMX: a step of fer_best in 0.65 of the time
    c.model.bfloat16 = False

    c.loss = ml_collections.ConfigDict()
    c.loss.label_smoothing = 0.0  # share of the target spread over all classes
    # share of the target that is not the label: data.soft_labels, or else the votes of FER+
    c.loss.soft_weight = 0.0
    c.loss.balanced = False  # weigh classes by N / (K * count)
    c.loss.l2 = 0.0  # times the sum of squares of the kernels in l2_layers, as Keras's l2()
    c.loss.l2_layers = ()  # flax names, e.g. ('Conv_2',)

    c.augment = ml_collections.ConfigDict()
    c.augment.flip = 0.5  # probability of a left-right mirror
    c.augment.alternate_flip = False  # apart from that, mirror each image in every other epoch
    c.augment.rotation = 0.0  # degrees, at most, either way
    c.augment.zoom = 0.3  # rows and columns scaled by 1 +- zoom, independently (Keras)
    c.augment.shift = 0.0  # fraction of height and width, at most
    c.augment.affine_probability = 1.0  # of rotating; of zooming; of shifting: each on its own
    c.augment.brightness = 0.0  # added to the pixels in [0, 1], at most, either way
    c.augment.contrast = 0.0  # distance to the mean times 1 +- contrast
    c.augment.crop = 48  # pixels, side of a square at a random place; 48: the whole image
    c.augment.cutout = 0  # pixels, side of the hidden square
    c.augment.cutout_probability = 1.0  # share of images with a hidden square
    c.augment.mixup = 0.0  # alpha of Beta(alpha, alpha); 0 = off
    c.augment.mixup_probability = 1.0  # share of the batches that are mixed
    # (pixels, until which share of the epochs), in turn, then 48, as at least the last two epochs:
    # ((24, 0.3), (36, 0.7)) costs 0.6 of a training at 48. Validation is always at 48.
    c.augment.sizes = ()

    c.train.epochs = 60  # at most; 8 on faces that are drawn because no FER-2013 is found

    c.eval = ml_collections.ConfigDict()
    # 'flip' averages an image and its mirror; 'ten_crop' the corners and the middle, of 44 pixels
    # each, and their mirrors, for the nets that take any size
    c.eval.tta = "none"

    c.explore = ml_collections.ConfigDict()  # --mode=explore; decides nothing in training
    # two of the AUC map: above 0.5 is brighter in the second; () is ("angry", "surprise"), or else
    # the first two of the data
    c.explore.classes = ()
    c.explore.grid = 3  # rows and columns that a face is shrunk to, 1 to 48
    c.explore.resampling = "lanczos"  # as Pillow names it; this one gives the original's numbers
    c.explore.split = "train"  # of the AUC map, samples and mean faces
    c.explore.bootstrap = 1000  # resamples for the 95 % intervals; 0 = no interval
    c.explore.samples = 10  # faces of each class to show
    c.explore.seed = 0  # of resamples and samples

    c.predict = ml_collections.ConfigDict()  # decides nothing in training
    c.predict.detector = "haar"  # OpenCV's frontal faces; none: each picture is one face already
    # pixels of the picture, side of the smallest face that is looked for; at least 24. A photograph
    # of 12 megapixels takes 1.4 s of a core with 40, 0.6 s with 75, 3.5 s with 24
    c.predict.min_face = 40
    # where there is no upright frontal face, those turned by 30 to 90 degrees and profiles: off,
    # stills, or all (videos too, where a frame without a face then takes 0.6 s of a core)
    c.predict.turned = "stills"
    c.predict.margin = 0.0  # added to each side of the box, as a share of it
    c.predict.align = True  # turn the crop until the eyes are level
    c.predict.threshold = 0.5  # calibrated probability; below it the answer is "not sure"
    c.predict.smoothing = 0.0  # videos: weight of the past in the average of a face; 0 = off
    c.predict.every = 1  # videos: 5 looks at each fifth frame
    c.predict.max_frames = 0  # of a video or webcam, that are looked at; 0 = all
    c.predict.max_pixels = 50_000_000  # of a picture; a larger JPEG is halved, others not decoded
    c.predict.max_pictures = 500  # annotated pictures that are written
    c.predict.window = True  # webcams: show what they see, where there is a display
    c.predict.video = False  # videos: write them again, with the answers drawn in

    c.explain = ml_collections.ConfigDict()  # decides nothing in training; finds faces as predict
    c.explain.label = ""  # the class to explain; "" is the most probable one of each face
    c.explain.faces = 1  # of each picture, the largest
    c.explain.occlusion_size = 8  # pixels of 48, side of the square that hides a part of the face
    c.explain.occlusion_stride = 2  # pixels from square to square

    c.export = ml_collections.ConfigDict()  # decides nothing in training
    c.export.page = True  # index.html, whose runtime npm has to fetch once
    return c.lock()
