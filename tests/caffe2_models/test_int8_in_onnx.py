"""Int8 nets lowered to ONNX: every quantized blob is the reference's byte for byte, whatever the scales."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_nets import random_net

from caffe2_models import Int8Tensor, Net, int8, load_net
from caffe2_models.build import add_operator, make_init
from caffe2_models.lowering import lower_net
from caffe2_models.operators.registry import OPERATORS
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import NAMES, publication, published_net
from caffe2_models.requantization import Rounding, Steps, find_addition, find_rounding
from caffe2_models.runtimes.onnx_runtime import open_session
from caffe2_models.runtimes.session import input_types


def assert_equal(net: Net, feeds: dict, backend: str = "reference") -> None:
    """All blobs, the quantized ones to the byte."""
    blobs = list(dict.fromkeys(name for node in net.operators for name in node.outputs))
    blobs = [name for name in blobs if not name.endswith("_side")]
    want = net.session(backend).run(feeds, blobs)
    got = net.session("onnxruntime", threads=1).run(feeds, blobs)
    for blob in blobs:
        if isinstance(want[blob], Int8Tensor):
            assert np.array_equal(got[blob].data, want[blob].data), blob
        else:
            np.testing.assert_allclose(got[blob], want[blob], rtol=1e-4, atol=1e-5, err_msg=blob)


@pytest.mark.slow
def test_random_nets():
    rng = np.random.default_rng(320)
    count = 0
    while count < 320:
        net, feeds, _ = random_net(rng, steps=4)
        if net.is_quantized:
            assert_equal(net, feeds)
            count += 1


def test_golden_cases(shared):
    """What Caffe2 1.8.1 computed."""
    folders = sorted(path.parent for path in (shared / "golden").rglob("expected.npz"))
    cases = 0
    for folder in folders:
        if not (folder / "predict.pb").exists() or not folder.name.startswith("int8"):
            continue
        net = load_net(folder / "predict.pb", folder / "init.pb")
        if any(node.type not in OPERATORS or not node.operator.is_in_onnx() for node in net.operators):
            continue
        expected = np.load(folder / "expected.npz")
        names = [key[4:] for key in expected.files if key.startswith("out:")]
        feeds = {key[3:]: expected[key] for key in expected.files if key.startswith("in:")}
        got = net.session("onnxruntime", threads=1).run(feeds, names)
        for name in names:
            value = got[name].data if isinstance(got[name], Int8Tensor) else got[name]
            assert np.array_equal(value, expected[f"out:{name}"]), f"{folder.name}: {name}"
        cases += 1
    assert cases >= 50


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("int8")])
def test_published_graphs(name):
    net, size = published_net(name), publication(name).size
    data = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    assert_equal(net, {"data": data}, "auto")


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v1_0.25_128_quant", 128), ("mobilenet_v1_0.5_160_quant", 160)])
def test_real_nets(shared, name, size):
    net = load_net(shared / "models" / name)
    assert_equal(net, {"data": np.random.default_rng(0).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)}, "auto")


def test_any_optimization_level_and_standard_operators():
    """No runtime's rewriting is needed, and none is harmful."""
    net, feeds, blobs = random_net(np.random.default_rng(8))
    blobs = [name for name in blobs if isinstance(net.session("reference").run(feeds, [name])[name], Int8Tensor)]
    model, names = lower_net(net, input_types(feeds), blobs)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    want = net.session("reference").run(feeds, blobs)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        got = open_session(model.SerializeToString(), options).run([names[blob] for blob in blobs], feeds)
        assert all(np.array_equal(have, want[blob].data) for blob, have in zip(blobs, got, strict=True)), level


def layer_net(kind: str, x_zero_point: int, weight: np.ndarray, bias: np.ndarray, scale: float, **arguments) -> Net:
    """One layer on quantized input at scale 1, weight scale 1 / 1024."""
    predict = caffe2_pb2.NetDef(external_input=["data"], external_output=["y"])
    add_operator(predict, "Int8Quantize", ["data"], ["x"], Y_scale=1.0, Y_zero_point=x_zero_point)
    output = {"Y_scale": 1 / (1024 * scale), "Y_zero_point": 100}
    add_operator(predict, kind, ["x", "w", "b"], ["y"], **output, **arguments)
    parameters = {"w": Int8Tensor(weight, 1 / 1024, 3), "b": Int8Tensor(bias, 1 / 1024, 0)}
    return Net(predict, make_init(parameters))


@pytest.mark.parametrize(
    ("kind", "weight", "image"),
    [
        ("Int8Conv", (3, 1, 1, 700), (1, 2, 3, 700)),
        ("Int8Conv", (3, 5, 5, 60), (1, 7, 6, 60)),
        ("Int8FC", (3, 2000), (2, 2000)),
        ("Int8ConvTranspose", (700, 2, 2, 3), (1, 2, 3, 700)),
    ],
)
@pytest.mark.parametrize(("scale", "bias"), [(2.0**-14, 10**6), (2.0**-20, 2**31 - 1)])
def test_sums_beyond_float32(kind, weight, image, scale, bias):
    """Integers that float32 does not hold are summed as int32, and wrap as int32 does."""
    rng = np.random.default_rng(0)
    outputs = 3
    weights, biases = rng.integers(128, 256, weight, np.uint8), rng.integers(bias // 2, bias, outputs, dtype=np.int32)
    arguments = {} if kind == "Int8FC" else {"kernels": weight[1:3], "order": "NHWC"}
    net = layer_net(kind, 2, weights, biases, scale, **arguments)
    assert_equal(net, {"data": rng.integers(-2, 254, image).astype(np.float32)})


def test_what_is_no_number_or_beyond_int32_becomes_zero():
    predict = caffe2_pb2.NetDef(external_input=["data"], external_output=["y"])
    add_operator(predict, "Int8Quantize", ["data"], ["y"], Y_scale=0.5, Y_zero_point=7)
    edge = np.float32(2**30)
    values = [np.nan, np.inf, -np.inf, edge, np.nextafter(edge, np.float32(0)), -edge, 0.25, 0.75, -0.25, 3.3e38]
    assert_equal(Net(predict), {"data": np.array(values, np.float32)})


scales = st.floats(2.0**-32, 1, exclude_max=True, width=32)


@pytest.mark.slow
@given(scales, st.integers(0, 255), st.booleans(), st.integers(1, 2**31 - 1), st.data())
@settings(max_examples=25)
def test_requantization_is_proved_at_every_step(scale, zero_point, relu, largest, data):
    def requantize(accumulators):
        return int8.requantize(accumulators, np.float32(scale), zero_point, relu)

    found = find_rounding(Steps(requantize, -largest, largest, 1 / scale, zero_point), largest)
    drawn = data.draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=50))
    accumulators = np.array(drawn, np.int64)
    assert np.array_equal(found(accumulators), requantize(accumulators))


def test_usual_scales_need_one_quantize_linear():
    """A Relu, or a zero point of 0, leaves one sign; then an offset does. The others get it away from zero."""
    for scale in np.exp2(np.linspace(-9, -1, 20)).astype(np.float32):

        def requantize(accumulators, zero_point, relu, scale=scale):
            return int8.requantize(accumulators, scale, zero_point, relu)

        largest = int(400 / scale)
        one_sided = Steps(lambda acc, f=requantize: f(acc, 0, True), -largest, largest, 1 / float(scale), 0)
        both = Steps(lambda acc, f=requantize: f(acc, 120, False), -largest, largest, 1 / float(scale), 120)
        assert isinstance(found := find_rounding(one_sided, largest), Rounding) and found.away is None
        assert isinstance(found := find_rounding(both, largest), Rounding)


@pytest.mark.slow
@given(*[st.floats(2.0**-6, 1, width=32)] * 3, *[st.integers(0, 255)] * 3)
@settings(max_examples=15)
def test_addition_is_proved_on_all_pairs(a_scale, b_scale, y_scale, a_zero_point, b_zero_point, y_zero_point):
    multipliers = int8.add_multipliers(a_scale, b_scale, y_scale)
    found = find_addition(multipliers, (a_zero_point, b_zero_point), y_zero_point)
    a, b = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)
    want = int8.add(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)
    assert np.array_equal(found(a, b), want)


def test_float_weights_between_bytes_stay_float():
    """ONNX Runtime would round them to the steps of the largest, were its optimizer not switched off."""
    predict = caffe2_pb2.NetDef(external_input=["data", "w", "b"], external_output=["y"])
    add_operator(predict, "Int8Quantize", ["data"], ["q"], Y_scale=0.03, Y_zero_point=128)
    add_operator(predict, "Int8Dequantize", ["q"], ["x"])
    add_operator(predict, "Conv", ["x", "w", "b"], ["real"], kernel=1)
    add_operator(predict, "Int8Quantize", ["real"], ["y"], Y_scale=0.02, Y_zero_point=128)
    rng = np.random.default_rng(0)
    spread = np.array([100, 0.3, 0.3, 0.3], np.float32).reshape(4, 1, 1, 1)
    weight = spread * rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    net = Net(predict, make_init({"w": weight, "b": np.zeros(4, np.float32)}))
    x = {"data": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    got = net.session("onnxruntime", approximate=True).run(x)["y"].data.astype(int)
    want = net.session("reference").run(x)["y"].data.astype(int)
    assert np.abs(got - want).max() <= 1
