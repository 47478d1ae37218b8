"""What calibration records, and which ranges the methods make of it."""

import itertools
import tracemalloc

import numpy as np
import pytest
from float_nets import FloatNet
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exporters.int8.batching import batches
from exporters.int8.calibration import calibrate
from exporters.int8.preparation import prepare
from exporters.int8.ranges import KEPT, METHODS
from exporters.int8.scales import Quantization, Range
from exporters.int8.statistics import MOMENTUM, Histogram, Statistics

FLOATS = st.floats(-1e4, 1e4, width=32)
BATCHES = arrays.arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=FLOATS)


def seen(values: np.ndarray) -> Statistics:
    """Of a batch [N, C, H, W]."""
    statistics = Statistics(values.shape[1])
    statistics.add(values.astype(np.float32))
    return statistics


def sorted_values(histogram: Histogram) -> np.ndarray:
    return np.repeat(histogram.centres, histogram.counts)


def drawn(distribution: str, *arguments, images: int = 20) -> Statistics:
    rng = np.random.default_rng(0)
    return seen(getattr(rng, distribution)(*arguments, size=(images, 4, 40, 40)))


@pytest.mark.slow
@settings(max_examples=60)
@given(BATCHES)
def test_ranges_lie_within_what_was_seen(values):
    blob = seen(values)
    low, high = min(blob.low, 0), max(blob.high, 0)
    for name, method in METHODS.items():
        extent = method(blob)
        slack = 1e-5 * (high - low)  # the moving average rounds
        assert low - slack <= extent.low <= extent.high <= high + slack, name
    assert METHODS["minmax"](blob) == Range(values.min(), values.max())


@settings(max_examples=60)
@given(BATCHES)
def test_images_count_alike_in_whatever_batches_they_come(values):
    together, alone = seen(values), Statistics(values.shape[1])
    for image in values:
        alone.add(image[None])
    np.testing.assert_array_equal(together.channel_low, alone.channel_low)
    np.testing.assert_array_equal(together.channel_high, alone.channel_high)
    np.testing.assert_allclose(together.channel_power, alone.channel_power)
    np.testing.assert_allclose(together.channel_power, (values.astype(np.float64) ** 2).mean(axis=(0, 2, 3)))
    assert (together.average_low, together.average_high) == (alone.average_low, alone.average_high)
    width = together.histogram.edges[1] - together.histogram.edges[0]  # a value between two bins falls into either
    np.testing.assert_allclose(sorted_values(together.histogram), sorted_values(alone.histogram), atol=1.01 * width)


@given(st.lists(arrays.arrays(np.float32, st.integers(1, 50), elements=FLOATS), min_size=1, max_size=6))
def test_histograms_lose_nothing_as_they_grow(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    values = np.concatenate(parts)
    assert histogram.counts.sum() == len(values)
    width = histogram.edges[1] - histogram.edges[0]
    np.testing.assert_allclose(sorted_values(histogram), np.sort(values), atol=0.51 * width)


def test_moving_average_weighs_later_images_more():
    images = np.arange(1, 6, dtype=np.float32).reshape(5, 1, 1, 1)
    blob = seen(np.concatenate([images, -2 * images], axis=3))
    expected = 1.0
    for value in range(2, 6):
        expected = MOMENTUM * expected + (1 - MOMENTUM) * value
    extent = METHODS["moving-average"](blob)
    assert (extent.low, extent.high) == (pytest.approx(-2 * expected), pytest.approx(expected))


def test_percentile_leaves_out_the_rarest():
    values = np.random.default_rng(0).uniform(-1, 1, (20, 4, 40, 40))
    values[0, 0, 0, :3] = 50  # fewer than half of what is left out
    extent = METHODS["percentile"](seen(values))
    inside = np.mean((values >= extent.low) & (values <= extent.high))
    assert inside == pytest.approx(KEPT, abs=5e-4) and extent.high < 1.05


@pytest.mark.parametrize(
    "distribution, clip",
    [("normal", 3.92), ("laplace", 9.89)],  # of 8 bits: Banner et al. 2019, table of ACIQ
)
def test_least_squared_error_is_where_theory_has_it(distribution, clip):
    blob = drawn(distribution, 0.0, 1.0, images=80)
    extent = METHODS["mse"](blob)
    assert extent.high == pytest.approx(min(clip, blob.high), rel=0.12)
    assert extent.low == pytest.approx(max(-clip, blob.low), rel=0.12)


@pytest.mark.parametrize("name", METHODS)
def test_even_values_keep_their_range(name):
    extent = METHODS[name](drawn("uniform", -1.0, 3.0))
    assert -1.02 <= extent.low < -0.9 and 2.8 < extent.high < 3.02


@pytest.mark.parametrize("name", ["percentile", "kl"])
def test_one_far_value_does_not_spoil_the_range(name):
    values = np.random.default_rng(0).normal(size=(20, 4, 40, 40))
    values[3, 2, 1, 0] = 40
    assert METHODS[name](seen(values)).high < 20


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-35, 1e30])
def test_constants_have_a_range(name, value):
    extent = METHODS[name](seen(np.full((2, 3, 4, 4), value)))
    quantization = Quantization.of_range(extent)
    restored = quantization.dequantize(quantization.quantize(np.float32([value, 0])))
    np.testing.assert_allclose(restored, [value, 0], rtol=1e-2, atol=1e-15)


@settings(max_examples=200)
@given(FLOATS, FLOATS)
def test_quantization_covers_its_range_and_holds_zero(a, b):
    extent = Range(min(a, b), max(a, b))
    quantization = Quantization.of_range(extent)
    ends = np.clip([extent.low, extent.high], min(extent.low, 0), None)
    restored = quantization.dequantize(quantization.quantize(np.array([*ends, 0.0])))
    np.testing.assert_allclose(restored, [*ends, 0], atol=0.51 * quantization.scale + 1e-6 * np.abs(ends).max())
    assert restored[2] == 0 and 0 <= quantization.zero_point <= 254


class Counted:
    """So many images, made one by one."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(self.count):
            yield rng.normal(size=(3, 64, 64)).astype(np.float32)


def peak_bytes(count: int, sampled: int) -> int:
    net = FloatNet(3, 64, 64)
    net.conv(net.conv("data", 8, kernel=3, relu=True), 4, kernel=3, stride=2)
    graph = prepare(net.net(), {"data": net.input_shape})
    calibrate(graph, Counted(2), sampled, 1)  # what the first time loads
    tracemalloc.start()
    calibrate(graph, Counted(count), sampled, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_images():
    few, many = peak_bytes(32, 16), peak_bytes(160, 16)
    assert many < few + 0.2 * 128 * 3 * 64 * 64 * 4


def test_images_are_taken_as_they_come():
    taken = []
    endless = (taken.append(index) or np.zeros((1, 2, 2), np.float32) for index in itertools.count())
    assert next(batches(endless, 4)).shape == (4, 1, 2, 2) and len(taken) == 4
    assert [len(batch) for batch in batches(np.zeros((7, 1, 2, 2)), 3)] == [3, 3, 1]
