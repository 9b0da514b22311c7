"""FER-2013: its names, in the order that gives them their numbers."""

# The order of the competition's CSV, not the alphabetical one of the folders: mixing the two up
# swaps neutral, sad and surprise silently.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# 'undivided' is divided by us; FER-2013 has one test split, or two
SPLITS = ("train", "valid", "test", "PublicTest", "PrivateTest", "undivided")
