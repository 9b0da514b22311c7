"""Follows faces from frame to frame and smooths their probabilities over time.

K = classes. A box is (x, y, width, height) in pixels.
"""

from typing import NamedTuple

import numpy as np

from fer_jax.predict.faces import shared

SAME = 0.3  # two boxes of one face share at least this part of their union
PATIENCE = 5  # frames that a face may be lost for


class Track(NamedTuple):
    box: tuple[int, int, int, int]
    probabilities: np.ndarray  # f64[K], smoothed
    missed: int  # frames since it was seen
    number: int  # from 1, of the face in its video


class Tracks(NamedTuple):
    tracks: tuple[Track, ...] = ()
    seen: int = 0  # faces so far


def follow(state: Tracks, boxes, probabilities, *, keep: float):
    """One frame further: an exponential moving average of the probabilities of each face.

    Args:
      state: of the frame before; Tracks() at the start.
      boxes: of the faces of this frame.
      probabilities: f64[N, K], of the same faces.
      keep: weight of the past, in [0, 1).

    Returns:
      (Tracks, smoothed f64[N, K], numbers: of the track of each face).
    """
    tracks = state.tracks
    pairs = [
        (_overlap(track.box, box), t, b)
        for t, track in enumerate(tracks)
        for b, box in enumerate(boxes)
    ]
    smoothed = np.array(probabilities)
    taken: dict[int, int] = {}
    for overlap, t, b in sorted(pairs, reverse=True):
        if overlap >= SAME and t not in taken and b not in taken.values():
            taken[t] = b
            smoothed[b] = keep * tracks[t].probabilities + (1 - keep) * probabilities[b]
    lost = [
        track._replace(missed=track.missed + 1)
        for t, track in enumerate(tracks)
        if t not in taken and track.missed < PATIENCE
    ]
    known = {b: tracks[t].number for t, b in taken.items()}
    for b in range(len(boxes)):
        known.setdefault(b, state.seen + 1 + b - sum(other < b for other in taken.values()))
    numbers = [known[b] for b in range(len(boxes))]
    found = [Track(*one) for one in zip(boxes, smoothed, [0] * len(boxes), numbers, strict=True)]
    seen = max([state.seen, *numbers])
    return Tracks((*found, *lost), seen), smoothed, numbers


def _overlap(a, b) -> float:
    """Intersection over union."""
    both = shared(a, b)
    return both / (a[2] * a[3] + b[2] * b[3] - both)
