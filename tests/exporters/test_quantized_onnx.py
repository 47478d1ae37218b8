"""Quantized ONNX models become int8 nets at their own scales, in whichever form they are."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime_quantizer import quantize_by_onnxruntime
from random_nets import random_net

from caffe2_common.errors import UnsupportedError
from caffe2_mobile.api.convert import ConvertOptions, convert
from caffe2_mobile.commands.convert import main
from caffe2_models import Int8Tensor, load_net
from exporters.caffe2_to_onnx import to_onnx
from exporters.quantized_onnx import convert_quantized, is_quantized
from exporters.quantized_onnx.qdq import to_qdq, without_quantization
from exporters.verification import make_samples, run_net, run_onnx

SHAPE = (1, 3, 16, 16)

FLOAT_NET = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,16,16] x) => (float[N,5] y) {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1, b1)
    b = Relu(a)
    c = Conv<pads=[1,1,1,1], group=8>(b, w2, b2)
    d = Clip(c, zero, six)
    e = Conv(d, w3, b3)
    f = Add(e, b)
    g = MaxPool<kernel_shape=[2,2], strides=[2,2]>(f)
    h = Sigmoid(g)
    i = Mul(g, h)
    j = Concat<axis=1>(i, g)
    k = GlobalAveragePool(j)
    l = Flatten(k)
    y = Gemm<transB=1>(l, w4, b4)
}
"""


def float_net() -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(FLOAT_NET)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (5, 16)}
    for name, shape in shapes.items():
        weight = rng.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:])) * (1 + np.arange(shape[0])[0])
        model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        bias = rng.standard_normal(shape[0]).astype(np.float32) / 4
        model.graph.initializer.append(numpy_helper.from_array(bias, f"b{name[1]}"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(6), "six"))
    return model


@pytest.fixture(scope="module")
def quantized_by_onnxruntime(tmp_path_factory):
    """(form, per_channel, types) -> the model that ONNX Runtime's quantize_static makes."""
    made = {}

    def quantize(form: str, per_channel: bool, types: str) -> onnx.ModelProto:
        key = (form, per_channel, types)
        if key not in made:
            activation, weight = types.split()
            kinds = {"quant_format": form, "activation_type": activation, "weight_type": weight}
            folder = tmp_path_factory.mktemp("quantized")
            made[key] = quantize_by_onnxruntime(float_net(), SHAPE, folder, per_channel=per_channel, **kinds)
        return made[key]

    return quantize


FORMS = [
    ("QDQ", False, "QUInt8 QInt8"),
    ("QDQ", True, "QInt8 QInt8"),
    ("QOperator", False, "QUInt8 QUInt8"),
    ("QOperator", True, "QUInt8 QInt8"),
]


@pytest.mark.parametrize(("form", "per_channel", "types"), FORMS)
def test_models_of_onnx_runtime(quantized_by_onnxruntime, form, per_channel, types):
    model = quantized_by_onnxruntime(form, per_channel, types)
    assert is_quantized(model) and not is_quantized(float_net())
    conversion = convert_quantized(model)
    kinds = {node.type for node in conversion.net.operators}
    assert {"Int8Conv", "Int8Sum", "Int8MaxPool", "Int8AveragePool", "Int8FC"} <= kinds and "Conv" not in kinds
    assert any(island.startswith("Mul") for island in conversion.islands)  # QNNPACK has none
    assert all(cost.is_exact for cost in conversion.weights) is not per_channel
    assert all(cost.snr > 30 for cost in conversion.weights)
    samples = [sample for seed in range(5, 9) for sample in make_samples({"x": SHAPE}, None, seed)]
    want, got = run_onnx(model, samples), run_net(conversion.net, samples)
    step = max(node.arguments.get_float("Y_scale", 0) for node in conversion.net.operators if node.type == "Int8FC")
    gaps = [np.abs(a["y"] - b["y"]).max() / step for a, b in zip(want, got, strict=True)]
    assert max(gaps) <= (24 if per_channel else 3)  # steps of the output's own scale, each a rounding on the way


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_weights_of_one_scale_keep_their_integers(quantized_by_onnxruntime, form):
    model = quantized_by_onnxruntime(form, False, "QUInt8 QInt8" if form == "QDQ" else "QUInt8 QUInt8")
    integers = {
        np.sort(numpy_helper.to_array(tensor).astype(np.int32).ravel() + (tensor.data_type == TensorProto.INT8) * 128)
        .astype(np.uint8)
        .tobytes()
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.INT8, TensorProto.UINT8) and len(tensor.dims) > 1
    }
    net = convert_quantized(model).net
    weights = [value for value in net.parameters.values() if isinstance(value, Int8Tensor) and value.dtype == np.uint8]
    assert len(weights) == 4 and {np.sort(weight.data.ravel()).tobytes() for weight in weights} == integers


@pytest.mark.parametrize(("form", "per_channel", "types"), FORMS)
def test_qdq_form_computes_the_same(quantized_by_onnxruntime, form, per_channel, types):
    model = quantized_by_onnxruntime(form, per_channel, types)
    qdq = to_qdq(model)
    onnx.checker.check_model(qdq)
    assert not any(node.op_type.startswith("QL") or node.domain for node in qdq.graph.node)
    samples = make_samples({"x": SHAPE}, None, 11)
    for want, got in zip(run_onnx(model, samples), run_onnx(qdq, samples), strict=True):
        np.testing.assert_allclose(got["y"], want["y"], atol=0.05 * np.abs(want["y"]).max())


def test_floats_again(quantized_by_onnxruntime):
    """Without its quantization, a model is the float one but for the rounding of the weights."""
    model = without_quantization(quantized_by_onnxruntime("QDQ", True, "QInt8 QInt8"))
    assert not is_quantized(model)
    samples = make_samples({"x": SHAPE}, None, 11)
    for want, got in zip(run_onnx(float_net(), samples), run_onnx(model, samples), strict=True):
        np.testing.assert_allclose(got["y"], want["y"], atol=0.05 * np.abs(want["y"]).max())
    result = convert(model, ConvertOptions(keep_quantization=False))
    assert result.holds and result.quantized is None and not result.net.is_quantized


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_nets_come_back_equal_to_the_byte(shared, form):
    net = load_net(shared / "models" / "mobilenet_v1_0.25_128_quant")
    conversion = convert_quantized(to_onnx(net, {"data": (1, 3, 128, 128)}, form))
    pairs = list(zip(net.parameters.values(), conversion.net.parameters.values(), strict=True))
    for ours, theirs in pairs:
        assert (ours.scale, ours.zero_point) == (np.float32(theirs.scale), theirs.zero_point)
        assert np.array_equal(ours.data, theirs.data)
    assert len(pairs) == 56 and conversion.islands == ("Softmax (prob)",) and not conversion.rescaled
    crops = np.load(shared / "models" / "mobilenet_v1_0.25_128_quant" / "expected.npz")["crops"][:4]
    x = (crops.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128
    assert np.array_equal(net.session().run({"data": x})["prob"], conversion.net.session().run({"data": x})["prob"])


def test_random_int8_nets_come_back():
    """Whatever a net has between its int8 layers: near, for ONNX's float operators round otherwise on ties."""
    rng, tried = np.random.default_rng(8), 0
    while tried < 6:
        net, feeds, _ = random_net(rng, 6)
        if not any(node.type in ("Int8Conv", "Int8ConvRelu", "Int8FC") for node in net.operators):
            continue
        try:
            model = to_onnx(net, {name: array.shape for name, array in feeds.items()}, "qdq")
            back = convert_quantized(model).net
        except UnsupportedError:  # tables of bytes
            continue
        tried += 1
        assert back.is_quantized
        want, got = net.session("reference").run(feeds), back.session("reference").run(feeds)
        for name, value in want.items():
            value = value.dequantize() if isinstance(value, Int8Tensor) else value
            scale = max((node.arguments.get_float("Y_scale", 0) for node in net.operators), default=0)
            assert np.abs(value - got[name]).max(initial=0) <= 4 * scale, name


def quantized(nodes: list, inputs: dict, outputs: dict, constants: dict, opset: int = 13) -> onnx.ModelProto:
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "net",
        *([helper.make_tensor_value_info(n, kinds[np.dtype(t)], s) for n, (t, s) in ends.items()]
          for ends in (inputs, outputs)),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_inputs_and_outputs_of_bytes_become_real_values():
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.5), "z": np.uint8(3), "ws": np.float32(0.25), "wz": np.uint8(120), "ys": np.float32(2),
        "yz": np.uint8(9), "w": rng.integers(0, 256, (4, 3, 1, 1)).astype(np.uint8),
        "b": np.array([1 << 25 | 1, 5, -7, 0], np.int32),
    }  # fmt: skip
    nodes = [("QLinearConv", ["x", "s", "z", "w", "ws", "wz", "ys", "yz", "b"], ["y"])]
    model = quantized(nodes, {"x": (np.uint8, [1, 3, 2, 2])}, {"y": (np.uint8, [1, 4, 2, 2])}, constants)
    net = convert_quantized(model).net
    bias = next(value for value in net.parameters.values() if value.dtype == np.int32)
    assert np.array_equal(bias.data, constants["b"])  # beyond what float32 tells apart
    q = rng.integers(0, 256, (1, 3, 2, 2)).astype(np.uint8)
    (want,) = run_onnx(model, make_samples({"x": (1, 3, 2, 2)}, None, dtypes={"x": np.dtype(np.uint8)})[:1])
    sample = make_samples({"x": (1, 3, 2, 2)}, None, dtypes={"x": np.dtype(np.uint8)})[0].feeds["x"]
    got = net.session("reference").run({"x": (sample.astype(np.float32) - 3) * 0.5})
    assert np.abs(got["y"] / 2 + 9 - want["y"]).max() <= 1 and q.shape == sample.shape


def test_scales_that_qnnpack_refuses_are_computed_beside():
    """input scale * weight scale / output scale must be below 1."""
    constants = {
        "s": np.float32(1), "z": np.uint8(0), "ws": np.float32(2), "wz": np.uint8(0), "ys": np.float32(0.5),
        "w": np.full((2, 1, 1, 1), 3, np.uint8),
    }  # fmt: skip
    nodes = [("QLinearConv", ["x", "s", "z", "w", "ws", "wz", "ys", "z"], ["y"])]
    model = quantized(nodes, {"x": (np.uint8, [1, 1, 2, 2])}, {"y": (np.uint8, [1, 2, 2, 2])}, constants)
    conversion = convert_quantized(model)
    assert conversion.rescaled == ("y",) and "coarser scale" in str(conversion)
    got = conversion.net.session("reference").run({"x": np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)})["y"]
    np.testing.assert_allclose(got[0, 0], [[0, 6], [12, 18]], atol=1.0)  # half a step of the coarser scale


@pytest.mark.parametrize("zero_points", [100, [100, 3, 200]])
def test_scales_that_are_computed_are_arithmetic(zero_points):
    """Of a dynamically quantized model: bytes and their products are whole numbers in float32."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.integers(0, 256, (2, 3), np.uint8), "wz": np.asarray(zero_points, np.uint8)}
    nodes = [("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), ("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
             ("Cast", ["i"], ["f"], {"to": TensorProto.FLOAT}), ("Mul", ["f", "s"], ["y"])]  # fmt: skip
    model = quantized(nodes, {"x": (np.float32, [4, 2])}, {"y": (np.float32, [4, 3])}, constants)
    result = convert(model)
    assert not result.net.is_quantized and result.holds
    assert all(agreement.snr > 100 for agreement in result.agreements)  # no value so near the middle of two steps


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamically_quantized_lstm_is_one_of_its_weights(tmp_path, per_channel):
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(0)
    weights = {"w": (2, 12, 4), "r": (2, 12, 3), "b": (2, 24)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    nodes = [("LSTM", ["x", "w", "r", "b"], ["y"], {"hidden_size": 3, "direction": "bidirectional"})]
    ends = {"x": (np.float32, [5, 2, 4])}, {"y": (np.float32, [5, 2, 2, 3])}
    onnx.save(quantized(nodes, *ends, constants), tmp_path / "float.onnx")
    quantization.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", per_channel=per_channel)
    model = onnx.load(tmp_path / "int8.onnx")
    assert [node.op_type for node in model.graph.node] == ["DynamicQuantizeLSTM"]
    result = convert(model)
    assert result.holds and all(agreement.snr > 30 for agreement in result.agreements)


def test_steps_of_16_bits_are_arithmetic():
    """Around a convolution of images, which no rewrite for int8 may take for factors of channels."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[N,2,4,4] x) => (float[N,3,4,4] y)
        <float scale = {0.001}, uint16 middle = {32768}, float[3,2,1,1] weight = {1.0, -2.0, 0.5, 1.0, 3.0, -1.0}> {
            a = QuantizeLinear(x, scale, middle)
            b = DequantizeLinear(a, scale, middle)
            c = Conv(b, weight)
            d = QuantizeLinear(c, scale, middle)
            y = DequantizeLinear(d, scale, middle)
        }""")
    result = convert(model)
    assert result.holds and all(agreement.snr > 60 for agreement in result.agreements)
    assert {"Clip", "Conv"} <= {node.type for node in result.net.operators}


def test_command(tmp_path, capsys, quantized_by_onnxruntime):
    onnx.save(quantized_by_onnxruntime("QDQ", True, "QInt8 QInt8"), tmp_path / "q.onnx")
    assert main([str(tmp_path / "q.onnx"), "-o", str(tmp_path / "net")]) == 0
    printed = capsys.readouterr().out
    assert "converted at its own scales: 0 of 4 weights keep their integers" in printed
    assert "against ONNX Runtime" in printed and "signal over noise" in printed
    assert load_net(tmp_path / "net.predict.pb", tmp_path / "net.init.pb").is_quantized


CLAMPED_NET = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,2,4,4] x) => (float[N,2,4,4] y) {
    a = QuantizeLinear(x, scale, middle)
    b = DequantizeLinear(a, scale, middle)
    c = Conv(b, weight)
    d = QuantizeLinear(c, scale, middle)
    e = DequantizeLinear(d, scale, middle)
    f = Clip(e, low, high)
    g = QuantizeLinear(f, scale, middle)
    y = DequantizeLinear(g, scale, middle)
}
"""


@pytest.mark.parametrize(
    ("low", "high", "form"),
    [(0.0, 6.0, "Int8ConvRelu"), (-0.5, 0.25, "Clip"), (0.0, 0.25, "Clip"), (-9.0, 9.0, "Int8Conv")],
)
def test_a_clamp_between_bytes_is_the_layers_own_where_that_can_clamp_so(low, high, form):
    model = onnx.parser.parse_model(CLAMPED_NET)
    weight = np.array([[1, -0.5], [0.25, 1]], np.float32).reshape(2, 2, 1, 1)
    values = {"scale": np.float32(1 / 128), "middle": np.uint8(100), "weight": weight}
    for name, value in (values | {"low": np.float32(low), "high": np.float32(high)}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    conversion = convert_quantized(model)
    assert form in [node.type for node in conversion.net.operators]
    assert bool(conversion.islands) == (form == "Clip")
    samples = make_samples({"x": (2, 2, 4, 4)}, None)
    for want, got in zip(run_onnx(model, samples), run_net(conversion.net, samples), strict=True):
        np.testing.assert_allclose(got["y"], want["y"], rtol=0, atol=1.01 / 128)  # weights are in steps of their own


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore")  # of PyTorch, about itself
@pytest.mark.parametrize("engine", ["qnnpack", "x86"])
def test_models_of_pytorch(engine, tmp_path):
    """What torch.ao.quantization quantizes: convolutions fused with batch normalization and ReLU, not with ReLU6."""
    import torch
    from torch import nn
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU6())
            self.pointwise = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))
            self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

        def forward(self, x):
            x = self.stem(x)
            x = x + self.pointwise(self.depthwise(x))
            return self.classifier(torch.flatten(self.pool(x), 1))

    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"this PyTorch has no {engine}")
    torch.manual_seed(0)
    torch.backends.quantized.engine = engine
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    prepared = prepare_fx(Network().eval(), get_default_qconfig_mapping(engine), (images,))
    prepared(images)
    path = tmp_path / "quantized.onnx"
    torch.onnx.export(convert_fx(prepared), (images[:1],), path, dynamo=False, opset_version=17)
    model = onnx.load(path)
    conversion = convert_quantized(model)
    kinds = [node.type for node in conversion.net.operators]
    assert kinds.count("Int8ConvRelu") == 2 and kinds.count("Int8Conv") == 1 and not conversion.islands
    assert all(cost.is_exact for cost in conversion.weights) is (engine == "qnnpack")  # x86 has a scale a channel
    (name,) = conversion.net.inputs
    samples = [sample for seed in range(4) for sample in make_samples({name: (1, 3, 32, 32)}, None, seed)]
    want, got = (
        np.stack([next(iter(values.values())) for values in run(computed, samples)])
        for run, computed in ((run_onnx, model), (run_net, conversion.net))
    )
    assert ((got - want) ** 2).sum() < 1e-3 * (want**2).sum()  # 30 dB: steps of two nets that round
