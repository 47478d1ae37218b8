"""TensorFlow Lite files become ONNX models and, quantized ones, Caffe2 int8 nets; LiteRT is the judge."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra `litert`)")

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_mobile.api.convert import convert
from caffe2_mobile.commands.convert import main
from caffe2_models import Int8Tensor, load_net
from caffe2_models.model_files.tflite_reader import parse_tflite, read_tflite
from exporters.caffe2_to_tflite import int8_operators
from exporters.caffe2_to_tflite.conversion import to_tflite
from exporters.caffe2_to_tflite.graph import Graph, Quantization
from exporters.caffe2_to_tflite.requantization import Scales
from exporters.quantized_onnx import convert_quantized, is_quantized
from exporters.tflite_to_onnx.conversion import to_onnx
from exporters.tflite_to_onnx.interpreter import run_tflite
from exporters.verification import Sample, run_net, run_onnx

MOBILENETS = {"mobilenet_v1_0.25_128_quant": 128, "mobilenet_v1_0.5_160_quant": 160}


@pytest.fixture
def natural_scales(monkeypatch):
    """Files with the scales of the net itself, as their own makers wrote them, not those of its bytes in LiteRT."""

    def own(scale, zero_point, relu, reach, scales, single, pinned):
        return Scales(scales[1], scales[2], True)

    monkeypatch.setattr(int8_operators, "find_scales", own)


@pytest.mark.parametrize(
    ("kind", "name"), [*(("uint8", name) for name in MOBILENETS), ("int8", "mobilenet_v1_0.25_128_quant")]
)
def test_real_nets_come_back_equal_to_the_byte(shared, natural_scales, name, kind):
    size = MOBILENETS[name]
    net = load_net(shared / "models" / name)
    content = to_tflite(net, {"data": (1, 3, size, size)}, kind).to_bytes()
    conversion = convert_quantized(to_onnx(parse_tflite(content)))
    if kind == "uint8":  # int8 has no place for all of a uint8 weight less its zero point: some lose a bit
        pairs = list(zip(net.parameters.values(), conversion.net.parameters.values(), strict=True))
        assert len(pairs) == 56
        for ours, theirs in pairs:
            assert (ours.scale, ours.zero_point) == (np.float32(theirs.scale), theirs.zero_point)
            assert np.array_equal(ours.data, theirs.data)
    crops = np.load(shared / "models" / name / "expected.npz")["crops"][:4]
    x = (crops.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128
    want, got = (
        net.session().run({"data": x})["prob"],
        conversion.net.session().run({conversion.net.inputs[0]: x})["prob"],
    )
    assert np.array_equal(want, got) if kind == "uint8" else np.array_equal(want.argmax(1), got.argmax(1))


def file_of(kind: str, shapes: list, output: tuple, constants: list, dtype=np.float32, quantization=None, **options):
    """A file of one operator; constants stand behind the inputs."""
    graph = Graph()
    inputs = [graph.tensor(f"x{i}", shape, dtype, None, quantization) for i, shape in enumerate(shapes)]
    held = [graph.constant(value, q, f"c{i}") for i, (value, q) in enumerate(constants)]
    y = graph.add(kind, [*inputs, *held], output, options.pop("out", dtype), None, quantization, **options)
    return parse_tflite(graph.pack("net", inputs, [y], {}))


def weights(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU6 = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU6
STEP = {"strideH": 2, "strideW": 2}
CONV = {"table": "Conv2DOptions", "dilationHFactor": 1, "dilationWFactor": 1}
DEPTHWISE = {**CONV, "table": "DepthwiseConv2DOptions", "depthMultiplier": 2, **STEP}
POOL = {"table": "Pool2DOptions", "filterHeight": 3, "filterWidth": 2, **STEP}
IMAGE = (1, 7, 8, 4)

FLOAT_CASES = {
    "conv_same_relu6": ("CONV_2D", [IMAGE], (1, 4, 4, 5), [weights((5, 3, 3, 4)), weights(5)],
                        {**CONV, **STEP, "padding": SAME, "fusedActivationFunction": RELU6}),
    "conv_valid_dilated": ("CONV_2D", [IMAGE], (1, 3, 4, 5), [weights((5, 3, 3, 4)), weights(5)],
                           {**CONV, "strideH": 1, "strideW": 1, "dilationHFactor": 2, "dilationWFactor": 2,
                            "padding": VALID}),
    "depthwise": ("DEPTHWISE_CONV_2D", [IMAGE], (1, 4, 4, 8), [weights((1, 3, 3, 8)), weights(8)],
                  {**DEPTHWISE, "padding": SAME}),
    "average_pool": ("AVERAGE_POOL_2D", [IMAGE], (1, 4, 4, 4), [], {**POOL, "padding": SAME}),
    "max_pool": ("MAX_POOL_2D", [IMAGE], (1, 3, 4, 4), [], {**POOL, "padding": VALID}),
    "fully_connected_of_an_image": ("FULLY_CONNECTED", [(2, 2, 3, 4)], (2, 5), [weights((5, 24)), weights(5)],
                                    {"table": "FullyConnectedOptions"}),
    "add_of_channels": ("ADD", [IMAGE], IMAGE, [weights(4)], {"table": "AddOptions"}),
    "mul_of_images": ("MUL", [IMAGE, (1, 1, 1, 4)], IMAGE, [], {"table": "MulOptions"}),
    "concatenation": ("CONCATENATION", [IMAGE, IMAGE], (1, 7, 16, 4), [], {"table": "ConcatenationOptions", "axis": 2}),
    "reshape": ("RESHAPE", [IMAGE], (1, 56, 4), [np.array([1, 56, 4], np.int32)], {}),
    "softmax": ("SOFTMAX", [IMAGE], IMAGE, [], {"table": "SoftmaxOptions", "beta": 1.0}),
    "logistic": ("LOGISTIC", [IMAGE], IMAGE, [], {}),
    "hard_swish": ("HARD_SWISH", [IMAGE], IMAGE, [], {"table": "HardSwishOptions"}),
    "leaky_relu": ("LEAKY_RELU", [IMAGE], IMAGE, [], {"table": "LeakyReluOptions", "alpha": 0.2}),
    "pad": ("PAD", [IMAGE], (1, 8, 11, 4), [np.array([[0, 0], [1, 0], [1, 2], [0, 0]], np.int32)],
            {"table": "PadOptions"}),
    "mean": ("MEAN", [IMAGE], (1, 4), [np.array([1, 2], np.int32)], {"table": "ReducerOptions", "keepDims": False}),
    "mean_of_rows": ("MEAN", [IMAGE], (1, 7, 1, 4), [np.array([2], np.int32)],
                     {"table": "ReducerOptions", "keepDims": True}),
    "resize_bilinear": ("RESIZE_BILINEAR", [IMAGE], (1, 14, 16, 4), [np.array([14, 16], np.int32)],
                        {"table": "ResizeBilinearOptions", "halfPixelCenters": True}),
    "resize_nearest": ("RESIZE_NEAREST_NEIGHBOR", [IMAGE], (1, 14, 16, 4), [np.array([14, 16], np.int32)],
                       {"table": "ResizeNearestNeighborOptions"}),
    "transpose": ("TRANSPOSE", [IMAGE], (1, 4, 7, 8), [np.array([0, 3, 1, 2], np.int32)],
                  {"table": "TransposeOptions"}),
    "strided_slice": ("STRIDED_SLICE", [IMAGE], (1, 3, 4, 4),
                      [np.array(v, np.int32) for v in ([0, 1, 0, 0], [1, 7, 8, 4], [1, 2, 2, 1])],
                      {"table": "StridedSliceOptions"}),
    "depth_to_space": ("DEPTH_TO_SPACE", [IMAGE], (1, 14, 16, 1), [], {"table": "DepthToSpaceOptions", "blockSize": 2}),
    "transpose_conv": ("TRANSPOSE_CONV", [], (1, 6, 8, 3),
                       [np.array([1, 6, 8, 3], np.int32), weights((3, 3, 3, 4)), weights((1, 3, 4, 4))],
                       {"table": "TransposeConvOptions", **STEP, "padding": SAME}),
}  # fmt: skip


@pytest.mark.parametrize("case", FLOAT_CASES)
def test_float_operators(case):
    kind, shapes, output, constants, options = FLOAT_CASES[case]
    graph_file = file_of(kind, shapes, output, [(value, None) for value in constants], **options)
    model = to_onnx(graph_file)
    rng = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
    samples = [Sample("", feeds)]
    (want,), (got,) = run_tflite(graph_file, samples), run_onnx(model, samples)
    for expected, have in zip(want.values(), got.values(), strict=True):
        np.testing.assert_allclose(have, expected, rtol=1e-5, atol=1e-5)


def stored_as(stored: str, content: bytes) -> bytes:
    """The file with the constant that its first operator reads in another type: float16, or int4, two in a byte."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[0].inputs[0]]
    held = model.buffers[tensor.buffer]
    if stored == "float16":
        tensor.type, held.data = schema.TensorType.FLOAT16, held.data.view(np.float32).astype(np.float16).view(np.uint8)
    if stored == "int4":
        pairs = np.append(held.data, np.uint8(0))[: -(-len(held.data) // 2) * 2].reshape(-1, 2)
        tensor.type, held.data = schema.TensorType.INT4, (pairs[:, 0] & 15) | (pairs[:, 1] << 4)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("stored", ["float16", "int8", "int4"])
def test_weights_that_are_dequantized_are_constants(tmp_path, stored):
    """As files whose weights alone are quantized have them; LiteRT is the judge, of all float files."""
    graph, rng = Graph(), np.random.default_rng(2)
    x, bias = graph.tensor("x", (1, 7, 8, 3)), graph.constant(weights(5))
    if stored == "float16":
        held = graph.constant(weights((5, 3, 3, 3)))
    else:
        steps = 7 if stored == "int4" else 127
        scales = Quantization(tuple(rng.uniform(0.1, 0.2, 5)), axis=0)
        held = graph.constant(rng.integers(-steps, steps, (5, 3, 3, 3), np.int8, endpoint=True), scales)
    weight = graph.add("DEQUANTIZE", [held], (5, 3, 3, 3))
    options = {**CONV, **STEP, "padding": SAME, "fusedActivationFunction": RELU6}
    content = graph.pack("net", [x], [graph.add("CONV_2D", [x, weight, bias], (1, 4, 4, 5), **options)], {})
    (tmp_path / "net.tflite").write_bytes(stored_as(stored, content))
    result = convert(tmp_path / "net.tflite")
    assert result.holds and "against LiteRT" in str(result) and not result.net.is_quantized
    assert all(agreement.snr > 100 for agreement in result.agreements)
    assert [node.type for node in result.net.operators] == ["Conv", "Clip"]


def test_scales_for_each_channel_are_requantized():
    """A modern file: int8, symmetric weights with a scale for each output channel, a bias of int32."""
    rng, x = np.random.default_rng(2), Quantization(0.05, 10)
    scales = tuple(float(np.float32(s)) for s in (0.01, 0.02, 0.004, 0.013))
    constants = [
        (rng.integers(-127, 128, (4, 1, 1, 4)).astype(np.int8), Quantization(scales, 0, 0)),
        (rng.integers(-500, 500, 4).astype(np.int32), Quantization(tuple(s * 0.05 for s in scales), 0, 0)),
    ]
    graph_file = file_of(
        "CONV_2D", [IMAGE], (1, 7, 8, 4), constants, np.int8, x, **CONV, strideH=1, strideW=1, padding=SAME
    )
    model = to_onnx(graph_file)
    assert is_quantized(model)
    conversion = convert_quantized(model)
    assert [node.type for node in conversion.net.operators][:3] == ["NCHW2NHWC", "Int8Quantize", "Int8Conv"]
    (cost,) = conversion.weights
    assert 35 < cost.snr < 60 and "had a scale for each channel" in str(conversion)
    feeds = {"x0": rng.uniform(-6, 6, (1, 4, 7, 8)).astype(np.float32)}
    (want,), (got,) = (
        run(it, [Sample("", feeds)]) for run, it in ((run_tflite, graph_file), (run_net, conversion.net))
    )
    gap = np.abs(next(iter(want.values())) - next(iter(got.values())))
    assert gap.max() <= 3 * 0.05 + 1e-6  # steps


def test_command(shared, tmp_path, capsys, natural_scales):
    net = load_net(shared / "models" / "mobilenet_v1_0.25_128_quant")
    path = tmp_path / "net.tflite"
    path.write_bytes(to_tflite(net, {"data": (1, 3, 128, 128)}, "uint8").to_bytes())
    assert main([str(path), "-o", str(tmp_path / "net")]) == 0
    printed = capsys.readouterr().out
    assert "28 of 28 weights keep their integers" in printed and "against LiteRT" in printed
    back = load_net(tmp_path / "net.predict.pb", tmp_path / "net.init.pb")
    assert sum(isinstance(value, Int8Tensor) for value in back.parameters.values()) == 56


def test_other_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "net.tflite"
    for content, message in ((b"", "not a TensorFlow Lite model"), (b"\0\0\0\0TFL3", "damaged")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            read_tflite(path)
    with pytest.raises(ModelError, match="no such file"):
        convert(tmp_path / "none.tflite")
    graph = Graph()
    x = graph.tensor("x", (1, 4))
    graph.add_to("UNIQUE", [x], [y := graph.tensor("y", (4,))])
    with pytest.raises(UnsupportedError, match="UNIQUE -> y"):
        to_onnx(parse_tflite(graph.pack("net", [x], [y], {})))


def test_damaged_files_are_bad_input(natural_scales):
    """Whatever bytes are changed or missing: a clear error or a model, and no memory for absurd sizes."""
    kind, shapes, output, constants, options = FLOAT_CASES["conv_same_relu6"]
    content = file_of(kind, shapes, output, [(value, None) for value in constants], **options).content
    rng = np.random.default_rng(0)
    damaged = [content[: int(end)] for end in np.linspace(8, len(content) - 1, 60)]
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(8, len(content), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        damaged.append(bytes(changed))
    outcomes = set()
    for one in damaged:
        try:
            to_onnx(parse_tflite(one))
            outcomes.add("read")
        except ModelError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
