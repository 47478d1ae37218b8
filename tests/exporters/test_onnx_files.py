"""ONNX files made by others: every way to store weights, and files that must not be trusted."""

import numpy as np
import onnx
import onnx.parser
import pytest
from conversion_cases import CASES, build, feeds, is_old_onnxruntime
from onnx import numpy_helper

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import load_net
from caffe2_models.build import add_operator
from caffe2_models.proto import caffe2_pb2
from exporters.onnx_files import load_onnx, save_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.verification import Comparison, Sample, run_onnx


@pytest.fixture
def model():
    return build(CASES["conv_bias_bn_relu"])


def outputs(model):
    """What the converted net computes, and what ONNX Runtime computes from the same model."""
    inputs = feeds(model, {"N": 2})
    return convert(model).session("reference").run(inputs), run_onnx(model, [Sample("random", inputs)])[0]


def assert_equal(model, tolerance=2e-5):
    got, want = outputs(model)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=tolerance, atol=tolerance)


def save_external(model, folder, location="weights.bin"):
    """Write the model with its weights in a file beside it, 64 bytes into it."""
    content = bytearray(64)
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        entries = {"location": location, "offset": len(content), "length": len(raw)}
        content += raw
        for field in ("float_data", "raw_data"):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    (folder / "weights.bin").write_bytes(content)
    save_onnx(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_external_data(model, tmp_path):
    expected, _ = outputs(model)
    loaded = load_onnx(save_external(model, tmp_path))
    np.testing.assert_array_equal(outputs(loaded)[0]["y"], expected["y"])


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/../../weights.bin", "", "link.bin"])
def test_external_data_stays_in_its_folder(model, tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"secret" * 1000)
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = save_external(model, folder, location)
    with pytest.raises(ModelError, match="is not inside the model's folder"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("offset", "100000", "ends before the tensor does"),
        ("offset", "-4", "is no number"),
        ("length", "12", "external data of 12 bytes, its shape needs 432"),
        ("length", "many", "is no number"),
        ("location", "other.bin", "cannot be read"),
    ],
)
def test_broken_external_data(model, tmp_path, key, value, message):
    path = save_external(model, tmp_path)
    broken = onnx.load(path, load_external_data=False)
    next(entry for entry in broken.graph.initializer[0].external_data if entry.key == key).value = value
    save_onnx(broken, path)
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


def test_absurd_external_tensor_is_not_allocated(model, tmp_path):
    path = save_external(model, tmp_path)
    broken = onnx.load(path, load_external_data=False)
    broken.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    save_onnx(broken, path)
    with pytest.raises(ModelError, match="impossible shape"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"\x08\x07not a model", "truncated or not an ONNX model"),
        (None, "no such file"),
    ],
)
def test_what_is_no_model(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


@pytest.mark.parametrize("suffix", [".pb", ".pbtxt"])
def test_a_caffe2_net_is_named_with_what_takes_it(tmp_path, suffix):
    net = caffe2_pb2.NetDef(name="n")
    add_operator(net, "Relu", ["x"], ["y"])
    path = tmp_path / f"predict_net{suffix}"
    path.write_bytes(str(net).encode() if suffix == ".pbtxt" else net.SerializeToString())
    with pytest.raises(ModelError, match=r"predict_net\.pb.*: a Caffe2 net, .*quantize .*to-onnx"):
        load_onnx(path)


def test_truncated_model(model, tmp_path):
    path = tmp_path / "model.onnx"
    save_onnx(model, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="truncated"):
        load_onnx(path)


def test_weights_listed_as_inputs(model):
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert convert(model).inputs == ["x"]


def test_weights_as_constant_nodes(model):
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    expected, _ = outputs(model)
    del model.graph.initializer[:]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    np.testing.assert_array_equal(outputs(model)[0]["y"], expected["y"])


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16])
def test_weights_of_another_float_type_with_casts(model, kind):
    """Half-precision weights, widened in the graph: computed in float32 like the original."""
    for tensor in model.graph.initializer:
        stored = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(stored, f"{name}_stored"))
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}_stored"], [name], to=onnx.TensorProto.FLOAT))
    assert_equal(model)


def test_model_in_half_precision(model):
    """Weights, input and arithmetic of float16: the net computes the same in float32, to half precision."""
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    inputs = {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float16)}
    got = convert(model).session("reference").run({"x": inputs["x"].astype(np.float32)})["y"]
    want = run_onnx(model, [Sample("half", inputs)])[0]["y"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=4e-3, atol=4e-3)  # float16 has 11 bits


def test_file_is_what_protobuf_would_write(model, tmp_path):
    model.metadata_props.add(key="preprocessing", value="{}")
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].float_data.extend(np.arange(108))
    save_onnx(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == model.SerializeToString(deterministic=True)


@pytest.mark.skipif(is_old_onnxruntime, reason="ONNX Runtime up to 1.23 writes over such an input")
def test_input_that_is_an_output():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,3,4,4] x) => (float[N,3,4,4] y, float[N,3,4,4] x) { y = Relu(x) }
        """
    )
    assert [op.type for op in convert(model).predict.op] == ["Relu"]
    assert_equal(model)


def test_local_functions():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "local": 1]>
        net (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = local.swish(x) }
        <opset_import: ["": 17], domain: "local">
        swish (a) => (b) { s = Sigmoid(a) b = Mul(a, s) }
        """
    )
    assert [op.type for op in convert(model).predict.op] == ["Swish"]
    assert_equal(model)


def test_all_unsupported_nodes_are_listed_at_once():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "custom": 1]>
        net (float[1,3,4,4] x) => (float y) {
            [first] a = RandomNormalLike(x)
            [second] b = custom.Magic(x)
            [third] c = RandomNormalLike(x)
            [harmless] d = Relu(x)
            y = Sum(a, b, c, d)
        }
        """
    )
    with pytest.raises(UnsupportedError) as error:
        convert(model)
    text = str(error.value)
    assert "RandomNormalLike (first, third)" in text and "custom.Magic (second)" in text and "harmless" not in text
    assert "Supported are:" in text and "Conv, ConvInteger, ConvTranspose" in text


def test_free_sizes_of_lines_are_named_where_they_may_be_why():
    text = """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,S] x, float[2,N] y) => (float[N] z) {
            n = Transpose(y)  z = Concat<axis=1>(x, n)
        }"""
    with pytest.raises(ModelError, match=r"^with free sizes \(x=\?x\?, y=2x\?; --shape NAME=... fixes them\): "):
        convert(onnx.parser.parse_model(text))
    assert convert(onnx.parser.parse_model(text), shapes={"x": (3, 4), "y": (2, 3)}).outputs == ["z"]


def test_unknown_operators_and_unsupported_attributes_are_one_error():
    """What follows from an operator that is not converted is not held against its readers."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "custom": 1]>
        net (float[1,3,8,8] x) => (float y) {
            [first] a = custom.Magic(x)
            [second] b = LRN<size=2>(x)
            [third] c = GlobalAveragePool(a)
            [fourth] d = GlobalAveragePool(b)
            [fifth] e = BitShift<direction="LEFT">(c, c)
            y = Sum(c, d, e)
        }
        """
    )
    with pytest.raises(UnsupportedError) as error:
        convert(model)
    text = str(error.value)
    assert text.startswith(
        "ONNX operators that are not supported: BitShift (fifth): Caffe2 has no BitShift; "
        "custom.Magic (first): Caffe2 has no Magic. "
        "cannot be converted: LRN second: Caffe2's LRN takes no even size. Supported are: Abs, Acos, "
    )


def test_all_nodes_with_unsupported_attributes_are_listed_at_once():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1,3,8,8] x) => (float a, float b) {
            [first] a = LRN<size=2>(x)
            s = Constant<value=float[4]{1,1,2,2}>()
            [second] b = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, , s)
        }
        """
    )
    with pytest.raises(UnsupportedError) as error:
        convert(model)
    assert "LRN first: Caffe2's LRN takes no even size" in str(error.value)
    assert "Resize second: Caffe2 resizes no region that is computed" in str(error.value)


def test_places_of_maxima():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 12]>
        net (float[2,3,8,8] x) => (float[2,3,4,4] y, int64[2,3,4,4] where) {
            y, where = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
        }
        """
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    found = convert(model).session("reference").run({"x": x})
    np.testing.assert_array_equal(x.ravel()[found["where"]], found["y"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "net (float[1,3] x) => (float y) { y = Relu(nothing) }",
            "reads nothing, which nothing before it writes",
        ),
        ("net (float[1,3] x) => (float z) { y = Relu(x) }", "output z is computed by no node"),
        ("net (float[1,3,4,4] x, float[1,5] z) => (float y) { y = MatMul(x, z) }", "invalid inputs"),
        ("net (float[1,3] x) => (float y) { y = Relu<volume=11>(x) }", "volume"),
    ],
)
def test_inconsistent_graphs_are_one_clear_error(text, message):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    with pytest.raises(ModelError, match=message):
        convert(model)


def test_fixed_size_cannot_change(model):
    with pytest.raises(ModelError, match="input x is 8 in dimension 2 in the ONNX file, not 16"):
        convert(model, size=16)


def test_what_the_file_fixes_is_kept_in_the_net(tmp_path):
    """Rectangles, channels that a convolution tells, several inputs by name; the batch stays free."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,12,48,320] image, float[N,T,7] rows) => (float y, float z)
        { a = Conv(image, w) y = GlobalAveragePool(a) z = Relu(rows) }
        """
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 12, 1, 1), np.float32), "w"))
    convert(model, shapes={"rows": (None, 9, 7)}).save(tmp_path / "net")
    net = load_net(tmp_path / "net.predict.pb", tmp_path / "net.init.pb")
    assert net.input_shapes() == {"image": (1, 12, 48, 320), "rows": (1, 9, 7)}
    with pytest.raises(ModelError, match="the shape of input rows is not recorded"):
        convert(model).input_shapes()
    for shapes in ({"rows": (2, 9, 7)}, {"rows": (2, 9, 7), "image": (None, 12, 48, 320)}):
        fixed = convert(model, shapes=shapes)
        assert fixed.input_shapes(batch=3) == {"image": (3, 12, 48, 320), "rows": (2, 9, 7)}
        assert fixed.input_shapes(size=64) == {"image": (1, 12, 64, 64), "rows": (2, 9, 7)}
    for shapes, reason in [({"data": (1, 3)}, "data is no input"), ({"image": (1, 3, 48, 320)}, "12 in dimension 1")]:
        with pytest.raises(ModelError, match=reason):
            convert(model, shapes=shapes)


def test_channels_left_free_are_those_that_the_convolution_reads():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,C,H,W] x) => (float y) { a = Relu(x) y = Conv<group=2>(a, w) }
        """
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 5, 1, 1), np.float32), "w"))
    net = convert(model, size=(6, 9))
    assert net.input_shapes() == {"x": (1, 10, 6, 9)}


def test_content_that_does_not_fit_its_shape(model):
    model.graph.initializer[0].raw_data = b"1234"
    with pytest.raises(ModelError, match="does not fit its shape"):
        convert(model)


def test_constant_of_absurd_size_is_not_computed():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1,3] x) => (float y) {
            s = Constant<value=int64[3]{100000, 100000, 100000}>()
            c = ConstantOfShape(s)
            y = Add(x, c)
        }
        """
    )
    with pytest.raises(ModelError, match=r"absurd size|take more than"):
        convert(model)


@pytest.mark.parametrize("largest, difference, holds", [(8e-4, 1.4e-7, True), (8e-4, 2e-6, False), (9.0, 1e-5, True)])
def test_what_float32_is_off_by_anyway_is_close(largest, difference, holds):
    """A detector's answers may all be near zero."""
    assert Comparison("a against b", "random", difference, largest).holds is holds
