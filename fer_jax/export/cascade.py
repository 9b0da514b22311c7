"""OpenCV's cascades as the JSON that faces.mjs reads, and their notices."""

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
    text = (Path(cv2.__file__).parent / "data" / NAMES[name]).read_text()
    cascade = _child(ET.fromstring(text), "cascade")
    window = int(_child(cascade, "width").text or 0)
    features = [
        [_numbers(rect.text) for rect in _child(feature, "rects")]
        for feature in _child(cascade, "features")
    ]
    if window != int(_child(cascade, "height").text or 0) or cascade.find(".//tilted") is not None:
        raise ValueError(f"{NAMES[name]}: expected square windows and upright rectangles")
    stages = []
    for stage in _child(cascade, "stages"):
        stumps = []
        for weak in _child(stage, "weakClassifiers"):
            node, leaves = _numbers(weak.findtext("internalNodes")), weak.findtext("leafValues")
            if len(node) != 4:
                raise ValueError(f"{NAMES[name]}: expected stumps, not trees")
            rects = [[*map(int, rect[:4]), rect[4]] for rect in features[int(node[2])]]
            stumps.append([node[3], *_numbers(leaves), *rects])
        (threshold,) = _numbers(stage.findtext("stageThreshold"))
        stages.append({"threshold": threshold, "stumps": stumps})
    notice = text.partition("<!--")[2].partition("-->")[0]
    return {"window": window, "stages": stages}, notice.strip()


def _child(element: ET.Element, name: str) -> ET.Element:
    found = element.find(name)
    if found is None:
        raise ValueError(f"<{element.tag}> has no <{name}>")
    return found


def _numbers(text) -> list[float]:
    """In the fewest digits that give the same float32, in which they are computed with."""
    return [float(str(np.float32(word))) for word in text.split()]
