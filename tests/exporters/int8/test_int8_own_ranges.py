"""Ranges that are not chosen from a histogram: of pixels, of scores, and of weights that lie on steps already."""

import numpy as np
import pytest
from float_nets import FloatNet

from exporters.int8.calibration import calibrate, find_scores
from exporters.int8.preparation import prepare
from exporters.int8.ranges import log_probabilities, of_pixels, of_scores
from exporters.int8.scales import Quantization, Range
from exporters.int8.weights import native_range, weight_range

RNG = np.random.default_rng(0)


def mean_square(values: np.ndarray, extent: Range) -> float:
    quantization = Quantization.of_range(extent)
    return float(np.square(quantization.dequantize(quantization.quantize(values)) - values).mean())


def divergence(scores: np.ndarray, extent: Range) -> float:
    quantization = Quantization.of_range(extent)
    exact = log_probabilities(scores)
    answers = log_probabilities(quantization.dequantize(quantization.quantize(scores)))
    return float((np.exp(exact) * (exact - answers)).sum())


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0.485, 0.229), (0.0, 1.0)])
def test_pixels_are_not_half_way_between_steps(mean, std):
    pixels = ((RNG.integers(0, 256, 20000) / 255 - mean) / std).astype(np.float32)
    extent = of_pixels(pixels)
    step = 1 / (255 * std)
    assert mean_square(pixels, extent) < 0.11 * step**2  # half way, it would be a quarter
    assert mean_square(pixels, extent) <= mean_square(pixels, Range(float(pixels.min()), float(pixels.max())))


def test_scores_that_cannot_win_give_their_steps_to_those_that_can():
    scores = RNG.normal(0, 1, (60, 50)).astype(np.float32)
    scores[np.arange(60), RNG.integers(1, 50, 60)] += 12
    extent, all_of_them = of_scores(scores), Range(float(scores.min()), float(scores.max()) * (1 + 60**-0.5))
    assert extent.low > 0.95 * scores.min() and extent.high >= 1.1 * scores.max()
    assert divergence(scores, extent) < divergence(scores, all_of_them)
    assert mean_square(scores, extent) < 0.005 * np.square(scores).mean()


def test_scores_that_are_all_alike_keep_their_ends():
    """As an embedding's values, of which each counts."""
    values = RNG.uniform(-1, 1, (60, 50)).astype(np.float32)
    extent = of_scores(values)
    assert extent.low < -0.9 and extent.high > 0.95


@pytest.mark.parametrize("ends", [(0, 255), (3, 250), (100, 120)])
def test_weights_on_steps_stay_on_them(ends):
    """Though the outermost steps may be without a weight."""
    step, zero_point = 0.0137, 110
    q = RNG.integers(*ends, (40, 30), endpoint=True)
    weight = ((q - zero_point) * step).astype(np.float32)
    assert mean_square(weight, native_range(weight)) < 1e-3**2 * step**2 * 100
    assert Quantization.of_range(native_range(weight)).scale == pytest.approx(step, rel=1e-5)


def test_other_weights_have_their_own_range():
    for weight in (RNG.normal(size=(30, 30)), np.zeros((3, 3)), np.ones((2, 2)), np.array([0.1, 0.25, 0.31])):
        assert native_range(weight.astype(np.float32)) == weight_range(weight.astype(np.float32))


def scored(softmax: bool, pooled: bool) -> FloatNet:
    net = FloatNet(3, 8, 8)
    x = net.conv("data", 6, relu=True)
    x = net.add("AveragePool", x, global_pooling=1) if pooled else x
    y = net.fc(x, 5) if pooled else net.conv(x, 5)
    if softmax:
        net.add("Softmax", y)
    return net


def test_scores_are_found_before_their_softmax_and_kept():
    for softmax in (False, True):
        net = scored(softmax, pooled=True)
        graph = prepare(net.net(), {"data": net.input_shape})
        blob = find_scores(graph)
        calibration = calibrate(graph, net.images(8), 8, 1)
        assert blob is not None and graph.producers()[blob].is_weighted
        assert calibration.scores.shape == (8, 5)
        assert (calibration.scores < 0).any()
    assert find_scores(prepare(scored(False, pooled=False).net(), {"data": (1, 3, 8, 8)})) is None
