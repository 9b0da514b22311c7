"""OpenCV's cascades as the JSON that faces.mjs reads, and their notices."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np

NAMES = {"face": "haarcascade_frontalface_default.xml", "eye": "haarcascade_eye.xml"}


def read(name: str) -> tuple[dict, str]:
    """(cascade, notice) of a file of NAMES.

    The cascade is {'window': pixels, 'stages': [{'threshold', 'stumps': [[threshold, left, right,
    [x, y, width, height, weight], ...], ...]}]}. ValueError unless it is one of stumps.
    """
    text = (Path(cv2.data.haarcascades) / NAMES[name]).read_text()
    cascade = ET.fromstring(text).find("cascade")
    window = int(cascade.findtext("width"))
    features = [
        [_numbers(rect.text) for rect in feature.find("rects")]
        for feature in cascade.find("features")
    ]
    if window != int(cascade.findtext("height")) or cascade.find(".//tilted") is not None:
        raise ValueError(f"{NAMES[name]}: expected square windows and upright rectangles")
    stages = []
    for stage in cascade.find("stages"):
        stumps = []
        for weak in stage.find("weakClassifiers"):
            node, leaves = _numbers(weak.findtext("internalNodes")), weak.findtext("leafValues")
            if len(node) != 4:
                raise ValueError(f"{NAMES[name]}: expected stumps, not trees")
            rects = [[*map(int, rect[:4]), rect[4]] for rect in features[int(node[2])]]
            stumps.append([node[3], *_numbers(leaves), *rects])
        (threshold,) = _numbers(stage.findtext("stageThreshold"))
        stages.append({"threshold": threshold, "stumps": stumps})
    notice = re.search("<!--(.*?)-->", text, re.DOTALL)[1]
    return {"window": window, "stages": stages}, notice.strip()


def _numbers(text) -> list[float]:
    """In the fewest digits that give the same float32, in which they are computed with."""
    return [float(str(np.float32(word))) for word in text.split()]
