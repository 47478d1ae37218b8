"""How two nets' answers are compared."""

import numpy as np
import pytest

from exporters.int8.measurement import Answers
from exporters.int8.report import answer_line, answers_json

RNG = np.random.default_rng(0)


def compared(real: np.ndarray, int8: np.ndarray, labels: np.ndarray | None = None, images: int = 0) -> Answers:
    answers = Answers(labelled=labels is not None)
    answers.add(images or len(real), {"y": real}, {"y": int8}, labels)
    return answers


def test_classes_by_agreement_and_cross_entropy():
    real, labels = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0])
    int8 = np.array([[0.0, 2.0], [0.0, 1.0]])
    answers = compared(real, int8, labels)
    assert (answers.agreement, answers.float_top1, answers.int8_top1, answers.drop) == (50, 50, 0, 50)
    assert answers.cross_entropy_rise == pytest.approx(1.0)  # of two images, one's score is two lower
    p = 1 / (1 + np.exp(-2))
    assert answers.mean_divergence == pytest.approx((p - (1 - p)) * 2 / 2)


def test_probabilities_are_no_scores():
    scores = RNG.normal(size=(5, 7))
    real = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    noisy = scores + 0.1 * RNG.normal(size=scores.shape)
    int8 = np.exp(noisy) / np.exp(noisy).sum(axis=1, keepdims=True)
    assert compared(real, int8).mean_divergence == pytest.approx(compared(scores, noisy).mean_divergence)


def test_maps_by_their_errors_and_by_what_a_threshold_keeps():
    real = np.array([0.9, 0.6, 0.1, 0.2]).reshape(1, 1, 2, 2)
    int8 = np.array([0.8, 0.4, 0.1, 0.5]).reshape(1, 1, 2, 2)
    answers = compared(real, int8, np.array([0]))
    errors = answers.outputs["y"]
    assert not answers.classifies and not answers.labelled
    assert errors.largest == pytest.approx(0.3)
    assert errors.kept == (2, 2, 1) and errors.score_channels == (1, 1)
    assert answers.drop == pytest.approx(100 * 0.14 / 1.22)
    assert "same class" not in (line := answer_line("images", answers))
    assert "1 of 2 scores from 0.5 on kept and 1 more" in line
    assert answers_json(answers)["agreement"] is None


@pytest.mark.parametrize("shape", [(2, 5, 60), (2, 60, 5), (2, 5, 6, 10)])
def test_scores_among_boxes(shape):
    """In one output: of five channels three are scores, wherever the channels are."""
    axis = 2 if shape[1] == 60 else 1
    real = RNG.uniform(size=shape)
    boxes = tuple(slice(0, 2) if i == axis else slice(None) for i in range(len(shape)))
    real[boxes] *= 640
    int8 = np.where(real < 0.1, 0.9, real)  # what is below a tenth rises
    scores = real.take([2, 3, 4], axis)
    answers = compared(real[:1], int8[:1], images=1)
    answers.add(1, {"y": real[1:]}, {"y": int8[1:]}, None)
    high, low = int((scores >= 0.5).sum()), int((scores < 0.1).sum())
    errors = answers.outputs["y"]
    assert errors.kept == (high, high + low, high) and errors.score_channels == (3, 5)
    assert f"in 3 of 5 channels {high} of {high} scores from 0.5 on kept and {low} more" in answer_line("x", answers)
    assert answers_json(answers)["outputs"]["y"]["kept_both"] == high


def test_detections_of_each_net_in_its_own_number_are_not_compared():
    answers = compared(np.zeros((3, 4)), np.zeros((2, 4)), images=1)
    assert not answers.outputs and not answers.classifies
