"""Smoothing over time, face by face."""

import numpy as np
import pytest

from fer_jax.predict import tracks

LEFT, RIGHT = (0, 0, 50, 50), (200, 0, 50, 50)


def moved(box, by):
    return (box[0] + by, *box[1:])


def test_an_exponential_moving_average_of_each_face():
    rng = np.random.default_rng(0)
    frames = rng.dirichlet(np.ones(7), (5, 2))  # frame, face
    state, expected = tracks.Tracks(), None
    for number, frame in enumerate(frames):
        order = [1, 0] if number % 2 else [0, 1]  # the detector's order is not that of the faces
        boxes = [moved(LEFT, 3 * number), moved(RIGHT, -3 * number)]
        state, smoothed, numbers = tracks.follow(
            state, [boxes[i] for i in order], frame[order], keep=0.75
        )
        expected = frame if expected is None else 0.75 * expected + 0.25 * frame
        np.testing.assert_allclose(smoothed, expected[order])
        np.testing.assert_allclose(smoothed.sum(1), 1)
        assert numbers == [1 + i for i in order]  # each keeps its own


def test_a_face_elsewhere_is_another_face():
    one, other = np.eye(7)[[0]], np.eye(7)[[3]]
    state, *_ = tracks.follow(tracks.Tracks(), [LEFT], one, keep=0.9)
    state, smoothed, numbers = tracks.follow(state, [RIGHT], other, keep=0.9)
    np.testing.assert_array_equal(smoothed, other)
    assert numbers == [2]
    _, smoothed, _ = tracks.follow(state, [LEFT], other, keep=0.9)
    np.testing.assert_allclose(smoothed, 0.9 * one + 0.1 * other)  # it is remembered


@pytest.mark.parametrize(("missed", "remembered"), [(5, True), (6, False)])
def test_a_lost_face_is_forgotten_after_five_frames(missed, remembered):
    one, other = np.eye(7)[[0]], np.eye(7)[[3]]
    state, *_ = tracks.follow(tracks.Tracks(), [LEFT], one, keep=0.5)
    for _ in range(missed):
        state, *_ = tracks.follow(state, [], np.zeros((0, 7)), keep=0.5)
    assert len(state.tracks) == remembered
    _, smoothed, numbers = tracks.follow(state, [LEFT], other, keep=0.5)
    assert numbers == [1 if remembered else 2]  # a number is not given twice
    np.testing.assert_allclose(smoothed, (one + other) / 2 if remembered else other)


def test_the_closer_face_takes_the_track():
    probabilities = np.eye(7)[[0, 1]]
    state, *_ = tracks.follow(tracks.Tracks(), [LEFT], np.eye(7)[[6]], keep=0.5)
    boxes = [moved(LEFT, 20), moved(LEFT, 2)]
    _, smoothed, numbers = tracks.follow(state, boxes, probabilities, keep=0.5)
    assert numbers == [2, 1]
    np.testing.assert_allclose(smoothed[0], probabilities[0])
    np.testing.assert_allclose(smoothed[1], (probabilities[1] + np.eye(7)[6]) / 2)
