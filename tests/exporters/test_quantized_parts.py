"""Depthwise layers in parts of channels with like scales."""

import itertools

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime_quantizer import quantize_by_onnxruntime

from caffe2_mobile.api.convert import convert
from exporters.quantized_onnx.conversion import convert_quantized
from exporters.quantized_onnx.parts import MOST_PARTS, cut, like_channels
from exporters.verification import make_samples, run_net, run_onnx

SHAPE = (1, 3, 12, 12)
LARGEST = np.geomspace(0.01, 20, 16)  # of the channels' weights

FLOAT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,12,12] x) => (float[1,5,6,6] y) {
    a = Conv(x, first)  b = Relu(a)
    c = Conv<group=16, pads=[1,1,1,1], strides=[2,2]>(b, depthwise, bias)  d = Clip(c, low, high)
    y = Conv(d, last)
}"""


def float_net():
    """Its depthwise layer's channels differ much, and the layers around make up for that."""
    rng = np.random.default_rng(3)
    order = rng.permutation(16)
    scale = LARGEST[order]
    weights = {
        "first": rng.normal(size=(16, 3, 1, 1)),
        "depthwise": rng.uniform(-1, 1, (16, 1, 3, 3)) * scale[:, None, None, None],
        "bias": rng.normal(size=16) * 0.1,
        "last": rng.normal(size=(5, 16, 1, 1)) / np.maximum(scale, 0.2)[None, :, None, None],
        "low": np.array(0.0),
        "high": np.array(6.0),
    }
    model = onnx.parser.parse_model(FLOAT)
    for name, value in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    return model


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """The net with a scale for each channel, or for each weight, by ONNX Runtime."""

    def quantize(per_channel: bool) -> onnx.ModelProto:
        kinds = {"activation_type": "QUInt8", "weight_type": "QInt8"}
        folder = tmp_path_factory.mktemp("parts")
        return quantize_by_onnxruntime(float_net(), SHAPE, folder, per_channel=per_channel, **kinds)

    return quantize


def weight_noise_db(net, model):
    """Signal over noise of the net's answers beside the model's."""
    samples = [sample for seed in range(5, 9) for sample in make_samples({"x": SHAPE}, None, seed)]
    pairs = zip(run_onnx(model, samples), run_net(net, samples), strict=True)
    want, have = (np.concatenate(values) for values in zip(*((a["y"], b["y"]) for a, b in pairs), strict=True))
    return 10 * np.log10(np.square(want).sum() / np.square(want - have).sum())


def test_parts_answer_better(quantized):
    model = quantized(per_channel=True)
    whole, parts = convert_quantized(model, in_parts=False), convert_quantized(model)
    (count,) = parts.parts.values()
    kinds = [node.type for node in parts.net.operators]
    assert not whole.parts and 1 < count <= MOST_PARTS
    assert kinds.count("Int8Concat") == 1 and len(kinds) == len(whole.net.operators) + 2 * (count - 1) + 1
    assert f"1 depthwise layers are in {count} parts" in str(parts)
    assert weight_noise_db(parts.net, model) > weight_noise_db(whole.net, model) + 6


def test_latency_stands_beside(quantized):
    result = convert(quantized(per_channel=True))
    parts, whole = result.latencies
    assert parts.ms > whole.ms and f"{whole.ms:.1f} ms with these layers whole" in str(result)


def test_weights_of_one_scale_stay_whole(quantized):
    assert not convert_quantized(quantized(per_channel=False)).parts


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=7), st.integers(1, 4))
def test_cuts_are_the_best(largest, count):
    parts = cut(np.array(largest), count)
    assert len(parts) <= count and sorted(np.concatenate(parts)) == list(range(len(largest)))

    def cost(parts):
        return sum((max(part) / x) ** 2 for part in parts for x in part)

    ordered, size = sorted(largest), len(largest)
    others = [
        [ordered[a:b] for a, b in itertools.pairwise((0, *cuts, size))]
        for cuts in itertools.combinations(range(1, size), min(count, size) - 1)
    ]
    best = min(map(cost, others))
    assert cost([[largest[i] for i in part] for part in parts]) == pytest.approx(best)


def test_as_few_as_leave_little_noise():
    rng = np.random.default_rng(0)
    alike = rng.uniform(-1, 1, (32, 1, 3, 3))
    alike /= np.abs(alike).max(axis=(1, 2, 3), keepdims=True)
    assert len(like_channels(alike)) == 1
    two = alike * np.where(np.arange(32) % 2, 1.0, 100.0)[:, None, None, None]
    assert [sorted(part % 2) for part in like_channels(two)] == [[1] * 16, [0] * 16]
