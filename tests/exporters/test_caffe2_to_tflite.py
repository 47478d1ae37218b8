"""Caffe2 nets as TensorFlow Lite files: LiteRT computes them, in its reference kernels to the byte."""

import io
import subprocess
import sys
import zipfile

import flatbuffers
import numpy as np
import pytest
from flatbuffers.table import Table

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra `litert`)")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from google.protobuf import text_format
from operator_cases import CASES
from random_nets import random_net

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.preprocessing import Preprocessing
from caffe2_models import Int8Tensor, Net, int8, load_net
from caffe2_models.build import add_operator, make_init
from caffe2_models.operators import OPERATORS
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import publication, published_net
from exporters.caffe2_to_tflite.conversion import to_tflite
from exporters.caffe2_to_tflite.metadata import with_labels
from exporters.caffe2_to_tflite.requantization import find_addition, find_scales, litert_requantize
from exporters.litert import TfliteRun, compare_bytes, compare_float
from exporters.verification import Sample, make_samples

REFERENCE = "reference"


def assert_same(net: Net, feeds: dict, kind: str, kernels: str = REFERENCE) -> None:
    """All blobs: bytes equal, real values to the rounding of float32 sums."""
    converted = to_tflite(net, {name: array.shape for name, array in feeds.items()}, kind)
    blobs = [name for name in converted.blobs if name not in converted.outputs and name not in net.inputs]
    blobs = [name for name in blobs if not name.endswith("_side")]
    want = net.session("reference").run(feeds, [*converted.outputs, *blobs])
    (got,) = TfliteRun(converted, kernels, tuple(blobs))([Sample("", feeds)])
    for name, value in want.items():
        if isinstance(value, Int8Tensor):
            assert np.array_equal(got[name], value.data), name
        else:
            largest = np.abs(value, where=np.isfinite(value), out=np.zeros_like(value)).max(initial=0)
            np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-4 * max(largest, 1e-6), err_msg=name)


def random_nets(quantized: bool, count: int):
    """(net, feeds) of nets with or without Int8 operators, as the seeds give them."""
    rng = np.random.default_rng(int(quantized))
    while count:
        net, feeds, _ = random_net(rng, 8)
        if net.is_quantized == quantized:
            count -= 1
            yield net, feeds


def test_random_float_nets():
    for net, feeds in random_nets(False, 25):
        assert_same(net, feeds, "float")


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_random_int8_nets(kind):
    for net, feeds in random_nets(True, 30):
        assert_same(net, feeds, kind)


@pytest.mark.parametrize(
    "kind", [kind for kind in OPERATORS if kind.startswith("Int8") and OPERATORS[kind].is_in_onnx()]
)
def test_int8_operators_in_uint8(kind):
    for seed in range(4):
        case = CASES[kind](np.random.default_rng(seed))
        if all(isinstance(value, np.ndarray) for value in case.feeds.values()):
            assert_same(case.net(), case.feeds, "uint8")


FLOAT = ["Conv", "ConvTranspose", "FC", "MaxPool", "AveragePool", "SpatialBN", "Softmax", "LRN", "Concat", "Split",
         "Swish", "Clip", "PRelu", "LeakyRelu", "ChannelShuffle", "ResizeNearest", "UpsampleBilinear", "PadImage",
         "Slice", "InstanceNorm", "Gelu", "Mul", "Transpose", "ReduceMean", "BatchMatMul"]  # fmt: skip


@pytest.mark.parametrize("kind", FLOAT)
def test_float_operators(kind):
    for seed in range(4):
        case = CASES[kind](np.random.default_rng(seed))
        if all(value.dtype == np.float32 for value in case.feeds.values()):
            assert_same(case.net(), case.feeds, "float")


@pytest.mark.parametrize("name", ["FBNet-96/int8", "ChamNet-F/int8"])
def test_published_graphs_are_equal_in_the_reference_kernels(name):
    net, size = published_net(name), publication(name).size
    converted = to_tflite(net, {"data": (1, 3, size, size)}, "uint8")
    assert not converted.inexact
    data = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    reports = compare_bytes(net, converted, [Sample("random", {"data": data})])
    assert reports[0].equal and reports[0].values > 100_000
    assert all(report.step <= 255 and 0 < report.differing < report.values for report in reports[1:])


def real_crops(shared) -> np.ndarray:
    expected = np.load(shared / "models" / "mobilenet_v1_0.25_128_quant" / "expected.npz")
    crops = next(array for array in expected.values() if array.ndim == 4)
    return ((crops.transpose(0, 3, 1, 2).astype(np.float32) / 255) - 0.5) / 0.5


def test_real_net_on_real_images(shared):
    net = load_net(shared / "models" / "mobilenet_v1_0.25_128_quant")
    samples = [Sample("crop", {"data": crop[None]}) for crop in real_crops(shared)]
    converted = to_tflite(net, {"data": (1, 3, 128, 128)}, "uint8")
    reference, builtin, xnnpack = compare_bytes(net, converted, samples)
    assert reference.equal and "quantized values are equal" in str(reference)
    assert builtin.agreement == 1
    assert xnnpack.agreement >= 0.8 and 0 < xnnpack.differing < xnnpack.values / 2
    signed = to_tflite(net, {"data": (1, 3, 128, 128)}, "int8")
    assert compare_bytes(net, signed, samples[:3])[0].equal


@pytest.mark.parametrize(("group", "extra"), [(1, {2}), (4, {2}), (2, {2})])
def test_weights_of_more_than_eight_bits_are_sums_of_two(group, extra):
    """In int8 they have no zero point. Of a depthwise layer only the channels with such weights are computed anew."""
    rng = np.random.default_rng(0)
    predict = caffe2_pb2.NetDef(external_input=["data"], external_output=["y"])
    add_operator(predict, "NCHW2NHWC", ["data"], ["nhwc"])
    add_operator(predict, "Int8Quantize", ["nhwc"], ["x"], Y_scale=0.02, Y_zero_point=120)
    window = {"kernel": 3, "pad": 1, "order": "NHWC", "Y_scale": 0.05, "Y_zero_point": 7}
    add_operator(predict, "Int8Conv", ["x", "w", "b"], ["y"], group=group, **window)
    weight = rng.integers(60, 180, (4, 3, 3, 4 // group), np.uint8)
    weight[list(extra), 1, 1, 0] = 0  # 200 below the zero point
    parameters = {
        "w": Int8Tensor(weight, 0.004, 200),
        "b": Int8Tensor(rng.integers(-900, 900, 4, np.int32), 0.00008, 0),
    }
    net, shape = Net(predict, make_init(parameters)), (2, 4, 9, 7)
    converted = to_tflite(net, {"data": shape}, "int8")
    assert not converted.inexact
    assert any(kind == "GATHER" for kind, _ in converted.graph.live(list(converted.outputs.values())))
    assert_same(net, {"data": rng.standard_normal(shape, np.float32)}, "int8")


def test_real_float_net(shared):
    net = load_net(shared / "models" / "mnist_lenet")
    shapes = {net.inputs[0]: (2, 1, 28, 28)}
    converted = to_tflite(net, shapes)
    assert converted.inputs[net.inputs[0]].stored == (2, 28, 28, 1)
    comparisons = compare_float(net, converted, make_samples(shapes, None))
    assert len(comparisons) == 6 and all(comparison.holds for comparison in comparisons)


def test_images_stay_in_their_order():
    """A chain of layers is transposed nowhere, and Relus are part of the layers."""
    converted = to_tflite(published_net("FBNet-96/fp32"), {"data": (1, 3, 96, 96)})
    kinds = {kind for kind, _ in converted.graph.live(list(converted.outputs.values()))}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= kinds
    assert not kinds & {"TRANSPOSE", "RELU"}


@pytest.mark.parametrize(("net_kind", "kind"), [("int8", "float"), ("fp32", "uint8")])
def test_a_net_is_of_its_own_type(net_kind, kind):
    with pytest.raises(ModelError, match="quantize it first"):
        to_tflite(published_net(f"FBNet-96/{net_kind}"), {"data": (1, 3, 96, 96)}, kind)


def test_what_is_not_supported_is_told_all_at_once():
    net = Net(text_format.Parse("""
        op { type: "Acos" input: "data" output: "a" } op { type: "Relu" input: "a" output: "b" }
        op { type: "Atan" input: "b" output: "c" } external_input: "data" external_output: "c"
    """, caffe2_pb2.NetDef()))  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"operator 0 \(Acos.*operator 2 \(Atan"):
        to_tflite(net, {"data": (1, 2)})


def test_nets_within_nets_have_no_form():
    case = CASES["RecurrentNetwork"](np.random.default_rng(0))
    with pytest.raises(UnsupportedError, match=r"RecurrentNetwork.*a net within the net"):
        to_tflite(case.net(), {name: value.shape for name, value in case.feeds.items()})


def test_scales_are_found_for_usual_layers():
    rng = np.random.default_rng(0)
    for exponent in np.linspace(-11, -1, 30):
        x, weight = (float(np.float32(scale)) for scale in np.exp(rng.uniform(-6, -2, 2)))
        y = float(np.float32(x * weight / 2.0**exponent))
        scale = float(int8.requantization_scale(x, weight, y))
        reach = (-int(400 / scale), int(400 / scale))
        found = find_scales(scale, 100, False, reach, (x, weight, y), True, False)
        assert found.exact
        sums = rng.integers(*reach, 1000)
        multiplier = float(np.float32(x) * np.float32(found.weight)) / found.output
        want = int8.requantize(sums, np.float32(scale), 100)
        assert np.array_equal(litert_requantize(sums, multiplier, 100), want)
        assert abs(found.weight / weight - 1) < 1e-5 and abs(found.output / y - 1) < 1e-5


def test_factors_of_additions_are_found():
    rng = np.random.default_rng(0)
    for _ in range(5):
        scales = [float(np.float32(scale)) for scale in np.exp(rng.uniform(-4, 0, 3))]
        assert find_addition(int8.add_multipliers(*scales), (3, 140), 77, scales[2], False).exact


def test_file_tells_its_preprocessing_and_labels():
    """As TFLite's metadata reads: the model's, its graph's, the input's and the output's fields, by their numbers."""
    net = published_net("FBNet-96/fp32")
    recorded = Preprocessing(size=96, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), channel_order="RGB")
    set_preprocessing(net.predict, recorded)
    labels = [f"class {i}" for i in range(1000)]
    converted = to_tflite(net, {"data": (1, 3, 96, 96)})
    content = converted.to_bytes(labels)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == labels
    Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF).allocate_tensors()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    entries = {entry.name.decode(): bytes(model.buffers[entry.buffer].data) for entry in model.metadata}
    assert Preprocessing.from_json(entries["preprocessing"]) == recorded
    metadata = entries["TFLITE_METADATA"]
    assert metadata[4:8] == b"M001"
    root = Reader(metadata, flatbuffers.encode.Get(flatbuffers.packer.uoffset, metadata, 0))
    (graph,) = root.tables(3)
    (image,), (answer,) = graph.tables(2), graph.tables(3)
    assert image.text(0) == "data" and answer.text(0) == "softmax"
    (unit,) = image.tables(4)
    np.testing.assert_allclose(unit.table(1).floats(0), [127.5, 102, 76.5])
    np.testing.assert_allclose(unit.table(1).floats(1), [51, 63.75, 127.5])
    (file,) = answer.tables(6)
    assert file.text(0) == "labels.txt"
    assert with_labels(b"x", []) == b"x"


class Reader:
    """A flatbuffers table, by the numbers of its fields."""

    def __init__(self, content: bytes, position: int):
        self.raw = Table(content, position)

    def place(self, field: int) -> int:
        offset = self.raw.Offset(4 + 2 * field)
        assert offset
        return offset + self.raw.Pos

    def text(self, field: int) -> str:
        return self.raw.String(self.place(field)).decode()

    def table(self, field: int) -> "Reader":
        return Reader(self.raw.Bytes, self.raw.Indirect(self.place(field)))

    def vector(self, field: int) -> range:
        offset = self.raw.Offset(4 + 2 * field)
        start = self.raw.Vector(offset)
        return range(start, start + 4 * self.raw.VectorLen(offset), 4)

    def tables(self, field: int) -> list["Reader"]:
        return [Reader(self.raw.Bytes, self.raw.Indirect(position)) for position in self.vector(field)]

    def floats(self, field: int) -> list[float]:
        return [self.raw.Get(flatbuffers.number_types.Float32Flags, position) for position in self.vector(field)]


def test_command(root, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "caffe2_mobile", "to-tflite", *map(str, arguments)]
        return subprocess.run(command, cwd=root, capture_output=True, text=True)

    published_net("FBNet-96/int8").save(tmp_path / "net")
    done = run(tmp_path / "net", "-o", tmp_path / "net.tflite")
    assert done.returncode == 0, done.stderr
    assert "uint8, " in done.stdout and "LiteRT (reference kernels) against the int8 net, 8 images: all" in done.stdout
    assert (tmp_path / "net.tflite").read_bytes()[4:8] == b"TFL3"
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    wrong = run(tmp_path / "net", "-o", tmp_path / "other.tflite", "--labels", tmp_path / "labels.txt")
    assert wrong.returncode == 2 and "2 labels for softmax, which has 1000 values" in wrong.stderr
    assert not (tmp_path / "other.tflite").exists()
