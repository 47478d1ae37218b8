"""Caffe2 nets back to ONNX: float nets, int8 nets to the byte or near, the batch free where it can be."""

import numpy as np
import onnx
import onnx.parser
import pytest
from google.protobuf import text_format
from onnx import numpy_helper

from caffe2_common.preprocessing import Preprocessing
from caffe2_models import Int8Tensor, Net, load_net
from caffe2_models.build import add_fill, add_operator
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.proto import caffe2_pb2
from exporters.caffe2_to_onnx import compare_onnx, to_onnx
from exporters.onnx_files import get_onnx_preprocessing
from exporters.onnx_to_caffe2 import convert
from exporters.verification import Sample, make_samples, run_net, run_onnx


def net_of(text):
    return Net(text_format.Parse(text, caffe2_pb2.NetDef()))


def dims(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def assert_equal_at(net, model, shape):
    """The ONNX model computes what the net does, to the rounding of float32 sums."""
    samples = make_samples({net.inputs[0]: shape}, None)
    for want, got in zip(run_net(net, samples), run_onnx(model, samples), strict=True):
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-4 * np.abs(want[name]).max())


def test_real_net_keeps_its_blob_names_and_gets_a_free_batch(shared):
    net = load_net(shared / "models" / "squeezenet_trafficlight")
    set_preprocessing(net.predict, Preprocessing(size=227, channel_order="BGR"))
    model = to_onnx(net, net.input_shapes())
    onnx.checker.check_model(model, full_check=True)
    assert dims(model.graph.input[0]) == ["batch", 3, 227, 227]
    assert [value.name for value in model.graph.output] == net.outputs
    assert get_onnx_preprocessing(model) == Preprocessing(size=227, channel_order="BGR")
    assert_equal_at(net, model, (2, 3, 227, 227))


RESHAPES = """
op { type: "Reshape" input: "data" output: "a" output: "s"
     arg { name: "shape" ints: 0 ints: 2 ints: 3 ints: 16 } }
op { type: "Slice" input: "a" output: "b"
     arg { name: "starts" ints: 0 ints: 1 ints: 0 ints: 0 }
     arg { name: "ends" ints: -1 ints: -1 ints: -1 ints: -1 } }
op { type: "FlattenToVec" input: "b" output: "out" }
external_input: "data"
external_output: "out"
"""


def test_reshapes_and_slices_leave_the_batch_free():
    net = net_of(RESHAPES)
    model = to_onnx(net, {"data": (1, 6, 4, 4)})
    assert dims(model.graph.input[0]) == ["batch", 6, 4, 4]
    for batch in (1, 2, 5):
        assert_equal_at(net, model, (batch, 6, 4, 4))


def test_what_is_made_for_one_batch_keeps_it():
    net = net_of(RESHAPES.replace("ints: 0 ints: 2 ints: 3", "ints: 4 ints: 3 ints: 2"))
    model = to_onnx(net, {"data": (4, 6, 4, 4)})
    assert dims(model.graph.input[0]) == [4, 6, 4, 4]
    assert_equal_at(net, model, (4, 6, 4, 4))


@pytest.mark.parametrize(("start", "end"), [(0, 2), (1, -1), (0, -3), (-3, -1), (-4, -2)])
def test_slices_of_the_batch(start, end):
    """Bounds are counted from where the net counts them, whatever the batch (-1 is the end in Caffe2)."""
    net = net_of(f"""
        op {{ type: "Slice" input: "data" output: "out"
             arg {{ name: "starts" ints: {start} ints: 0 }} arg {{ name: "ends" ints: {end} ints: -1 }} }}
        external_input: "data" external_output: "out"
    """)
    model = to_onnx(net, {"data": (4, 3)})
    assert dims(model.graph.input[0]) == ["batch", 3]
    for batch in (4, 9):
        assert_equal_at(net, model, (batch, 3))


def test_inputs_of_different_batches_keep_them():
    net = net_of("""
        op { type: "Add" input: "a" input: "b" output: "out" }
        external_input: "a" external_input: "b" external_output: "out"
    """)
    model = to_onnx(net, {"a": (4, 3), "b": (1, 3)})
    assert [dims(value) for value in model.graph.input] == [[4, 3], [1, 3]]


LSTM = """
op { type: "RecurrentNetwork" input: "data" input: "first" input: "first" input: "w" input: "b"
     output: "all" output: "last"
     arg { name: "recurrent_states" strings: "h" strings: "c" }
     arg { name: "initial_recurrent_state_ids" ints: 1 ints: 2 }
     arg { name: "alias_src" strings: "h" strings: "c" } arg { name: "alias_dst" strings: "all" strings: "last" }
     arg { name: "alias_offset" ints: 1 ints: -1 } arg { name: "link_offset" ints: 0 ints: 1 ints: 0 ints: 1 ints: 0 }
     arg { name: "link_internal" strings: "h_0" strings: "h_1" strings: "c_0" strings: "c_1" strings: "x" }
     arg { name: "link_external" strings: "h" strings: "h" strings: "c" strings: "c" strings: "data" }
     arg { name: "step_net" n {
         op { type: "FC" input: "h_0" input: "w" input: "b" output: "g" arg { name: "axis" i: 2 } }
         op { type: "Sum" input: "g" input: "x" output: "g" }
         op { type: "LSTMUnit" input: "h_0" input: "c_0" input: "g" input: "timestep" output: "h_1" output: "c_1"
              arg { name: "sequence_lengths" i: 0 } } } } }
external_input: "data" external_input: "first" external_input: "w" external_input: "b"
external_output: "all" external_output: "last"
"""


def lstm() -> Net:
    """Sequences [steps, 2, 12], of 3 hidden values."""
    rng, init = np.random.default_rng(0), caffe2_pb2.NetDef()
    for name, shape in {"first": (3,), "w": (12, 3), "b": (12,)}.items():
        add_fill(init, name, rng.normal(size=shape).astype(np.float32))
    return Net(text_format.Parse(LSTM, caffe2_pb2.NetDef()), init)


def test_recurrent_nets_take_any_number_of_steps():
    net = lstm()
    model = to_onnx(net, {"data": (4, 2, 12)})
    assert [dims(value) for value in model.graph.output] == [["batch", 2, 3], [1, 2, 3]]
    for steps in (1, 4, 30):
        assert_equal_at(net, model, (steps, 2, 12))


@pytest.fixture(scope="module")
def int8_net(shared):
    return load_net(shared / "models" / "mobilenet_v1_0.25_128_quant")


def real_crops(shared) -> np.ndarray:
    """The int8 net's input of 20 real images."""
    expected = np.load(shared / "models" / "mobilenet_v1_0.25_128_quant" / "expected.npz")
    crops = next(array for array in expected.values() if array.ndim == 4)
    return ((crops.transpose(0, 3, 1, 2).astype(np.float32) / 255) - 0.5) / 0.5


def test_int8_net_is_equal_to_the_byte(int8_net, shared):
    model = to_onnx(int8_net, {"data": (1, 3, 128, 128)})
    onnx.checker.check_model(model, full_check=True)
    assert dims(model.graph.input[0])[0] == "batch"
    assert {node.domain for node in model.graph.node} == {""}
    report = compare_onnx(int8_net, model, [Sample("crops", {"data": real_crops(shared)})], "exact")
    assert report.equal and report.differing == 0
    assert report.values > 1_000_000 and report.images == 20
    assert "all 9,261,160 quantized values are equal" in str(report)


def test_exact_form_that_is_not_is_told(int8_net, shared):
    """A wrong bias in one layer: the comparison of all blobs sees it."""
    model = to_onnx(int8_net, {"data": (1, 3, 128, 128)})
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("bias"))
    bias.raw_data = (numpy_helper.to_array(bias) + np.float32(200)).tobytes()
    report = compare_onnx(int8_net, model, [Sample("crops", {"data": real_crops(shared)})], "exact")
    assert not report.equal and report.step > 0


@pytest.mark.parametrize(("form", "operators"), [("qdq", {"Conv"}), ("qlinear", {"QLinearConv"})])
def test_int8_net_classifies_as_the_net_does(int8_net, shared, form, operators):
    """On real crops. A quarter-width net's logits are close together: two of twenty may change places."""
    data = real_crops(shared)
    model = to_onnx(int8_net, {"data": (1, 3, 128, 128)}, form)
    onnx.checker.check_model(model, full_check=True)
    assert dims(model.graph.input[0])[0] == "batch"
    kinds = {node.op_type for node in model.graph.node}
    assert kinds & {"Conv", "QLinearConv"} == operators
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert all(numpy_helper.to_array(t).dtype != np.float32 or not t.dims for t in model.graph.initializer)
    report = compare_onnx(int8_net, model, [Sample("crops", {"data": data})], form)
    assert report.images == len(data)
    assert report.agreement >= 0.9
    assert 0 < report.differing < report.values / 2  # near, not equal; and the report says by how much
    assert report.step_alone == 1  # QNNPACK and ONNX Runtime round a value to neighbours at most
    assert report.step >= 1 and report.blob
    assert {"qdq": "QDQ", "qlinear": "QLinear"}[form] + " form against the int8 net" in str(report)
    assert "same top-1 on" in str(report)


@pytest.fixture
def int8_layers():
    """Two convolutions, the second with a Relu whose zero is byte 20, and a fully connected layer."""
    rng = np.random.default_rng(3)
    predict, init = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()

    def layer(kind, x, y, shape, scale, zero_point, **arguments):
        weight = Int8Tensor(rng.integers(0, 256, shape, np.uint8), 0.01, 120)
        bias = Int8Tensor(rng.integers(-900, 900, shape[0], np.int32), scales[x] * 0.01, 0)
        add_fill(init, f"{y}_w", weight)
        add_fill(init, f"{y}_b", bias)
        scales[y] = scale
        add_operator(predict, kind, [x, f"{y}_w", f"{y}_b"], [y], Y_scale=scale, Y_zero_point=zero_point, **arguments)

    scales = {"q": 0.02}
    add_operator(predict, "NCHW2NHWC", ["data"], ["n"])
    add_operator(predict, "Int8Quantize", ["n"], ["q"], Y_scale=0.02, Y_zero_point=128)
    layer("Int8Conv", "q", "a", (6, 3, 3, 4), 0.1, 110, kernel=3, pad=1, stride=2, order="NHWC")
    layer("Int8ConvRelu", "a", "b", (6, 1, 1, 6), 0.2, 20, kernel=1, order="NHWC")
    layer("Int8ConvRelu", "b", "c", (6, 3, 3, 1), 0.2, 0, kernel=3, group=6, order="NHWC")
    layer("Int8FC", "c", "d", (5, 24), 0.5, 128)
    add_operator(predict, "Int8Dequantize", ["d"], ["out"])
    predict.external_input.append("data")
    predict.external_output.append("out")
    return Net(predict, init)


def test_qlinear_form_has_no_float_layer_that_it_need_not_have(int8_layers):
    samples = [Sample("random", {"data": np.random.default_rng(0).uniform(-2, 2, (3, 4, 8, 8)).astype(np.float32)})]
    qdq, qlinear = (to_onnx(int8_layers, {"data": (1, 4, 8, 8)}, form) for form in ("qdq", "qlinear"))
    onnx.checker.check_model(qlinear, full_check=True)
    kinds = [node.op_type for node in qlinear.graph.node if node.op_type in ("Conv", "Gemm", "QLinearConv")]
    assert kinds == ["QLinearConv", "Conv", "QLinearConv", "QLinearConv"]  # ONNX clamps bytes at 0 and 255 only
    near, again = (
        compare_onnx(int8_layers, model, samples, form) for model, form in ((qdq, "qdq"), (qlinear, "qlinear"))
    )
    assert max(near.step_alone, again.step_alone) <= 1
    assert again.step <= near.step + 1
    assert again.output <= 2 * 0.5  # two steps of the last layer


def test_float_net_has_one_form_only(shared):
    net = load_net(shared / "models" / "squeezenet_trafficlight")
    models = [to_onnx(net, {"data": (1, 3, 227, 227)}, form) for form in ("exact", "qlinear")]
    assert models[0] == models[1]


def test_inputs_of_integers_come_back(tmp_path):
    """The element type of an input stands in the net: tokens need no flag."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 13]> net (int64[N,4] ids) => (float[N,4,3] y) { y = Gather(table, ids) }'
    )
    table = np.arange(15, dtype=np.float32).reshape(5, 3)
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    net = convert(model)
    net.save(tmp_path / "net")
    back = to_onnx(load_net(tmp_path / "net.predict.pb", tmp_path / "net.init.pb"), {"ids": (2, 4)})
    assert back.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    ids = np.array([[0, 4, 1, 2], [3, 3, 0, 1]])
    (got,) = run_onnx(back, [Sample("tokens", {"ids": ids})])
    assert np.array_equal(got["y"], table[ids])
