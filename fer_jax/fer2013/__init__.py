"""FER-2013: its names, in the order that gives them their numbers."""

# The order of the competition's CSV, not the alphabetical one of the folders: mixing the two up
# swaps neutral, sad and surprise silently.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("train", "PublicTest", "PrivateTest")
