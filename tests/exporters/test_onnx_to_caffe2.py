"""Every ONNX operator that the converter knows, in the spellings of all opsets."""

import numpy as np
import onnx
import onnx.parser
import onnx.version_converter
import pytest
from conversion_cases import CASES, build, feeds, run_all, run_onnx

from caffe2_models import load_net
from exporters.caffe2_to_onnx import to_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.onnx_to_caffe2.registry import CONVERSIONS

# float32 sums in another order, of values around 1
TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.mark.parametrize("name", CASES)
def test_computes_what_onnx_computes(name):
    model = build(CASES[name])
    net = convert(model)
    assert [op.type for op in net.predict.op] == CASES[name].operators
    assert net.outputs == ["y"]
    for sizes in ({"N": 2, "S": 7, "T": 9}, {"N": 1, "S": 10, "T": 5}):  # free dimensions stay free
        inputs = feeds(model, sizes)
        got = net.session("reference").run(inputs)["y"]
        np.testing.assert_allclose(got, run_onnx(model, inputs), **TOLERANCE)


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_real_caffe2_computes_what_onnx_computes(name, caffe2_python):
    model = build(CASES[name])
    inputs = feeds(model, {"N": 2, "S": 7, "T": 9})
    session = convert(model).session("caffe2")
    got = session.run(inputs)["y"]
    session.close()
    np.testing.assert_allclose(got, run_onnx(model, inputs), **TOLERANCE)


@pytest.mark.parametrize("name", [name for name in CASES if name != "softmax_flattening"])
def test_newest_opset_gives_the_same_net(name):
    """softmax_flattening aside, which onnx itself has to rewrite, since the operator's meaning changed."""
    model = build(CASES[name])
    if model.opset_import[0].version > onnx.defs.onnx_opset_version():
        pytest.skip(f"onnx {onnx.__version__} does not know opset {model.opset_import[0].version} yet")
    newest = onnx.version_converter.convert_version(model, onnx.defs.onnx_opset_version())
    expected, got = convert(model).predict, convert(newest).predict
    assert [(op.type, op.arg) for op in got.op] == [(op.type, op.arg) for op in expected.op]


@pytest.mark.parametrize("name", CASES)
def test_goes_back_to_onnx(name):
    """ONNX -> Caffe2 -> ONNX computes the same."""
    model = build(CASES[name])
    net = convert(model)
    inputs = feeds(model, {"N": 2, "S": 8, "T": 8})
    back = to_onnx(net, {name: value.shape for name, value in inputs.items()})
    onnx.checker.check_model(back, full_check=True)
    np.testing.assert_allclose(run_onnx(back, inputs), run_onnx(model, inputs), **TOLERANCE)


def test_every_conversion_has_a_case():
    """Of ONNX's own set; the others' are in ONNX's node tests."""
    tried = {node.op_type for case in CASES.values() for node in build(case).graph.node}
    assert {name for name in CONVERSIONS if "." not in name} - tried == set()


def test_documentation_names_every_operator(root):
    text = (root / "docs" / "conversion.md").read_text()
    listed = text.partition("<!-- operators -->")[2].partition("<!-- /operators -->")[0]
    assert set(listed.replace("\n", " ").strip().split(", ")) == {
        *CONVERSIONS,
        "Constant",
        "If",
        "Loop",
        "Scan",
        "Shape",
        "Size",
    }


def test_blob_names_are_readable_and_unique():
    model = build(CASES["conv_bias_bn_relu"])
    conv, norm, _ = model.graph.node
    conv.name, norm.name = "/stem/conv/Conv", "/stem/bn/BatchNormalization"
    net = convert(model)
    assert [list(op.input) + list(op.output) for op in net.predict.op] == [
        ["x", "stem.conv_w", "stem.conv_b", "stem.bn"],
        ["stem.bn", "y"],
    ]
    assert list(net.predict.external_input) == ["x", "stem.conv_w", "stem.conv_b"]
    assert list(net.predict.external_output) == ["y"]


def test_weights_shared_by_two_layers_stay_one_parameter():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1,3,4,4] x) => (float[1,3,4,4] y)
        <float[3,3,1,1] w = {1,2,3,4,5,6,7,8,9}>
        { a = Conv(x, w) y = Conv(a, w) }
        """
    )
    net = convert(model)
    assert len(net.parameters) == 1
    assert net.predict.op[0].input[1] == net.predict.op[1].input[1]


def test_net_is_saved_and_read_again(tmp_path):
    model = build(CASES["conv_bias_bn_relu"])
    net = convert(model)
    net.save(tmp_path / "net")
    again = load_net(tmp_path / "net.predict.pb", tmp_path / "net.init.pb")
    inputs = feeds(model, {"N": 2})
    np.testing.assert_array_equal(
        net.session("reference").run(inputs)["y"], again.session("reference").run(inputs)["y"]
    )


@pytest.mark.parametrize("cell, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_in_both_directions(cell, gates):
    """Weights are there once for each direction, however many steps there are; all outputs are right."""
    outputs = "y, h, c" if cell == "LSTM" else "y, h"
    declared = ", ".join(f"float {name}" for name in outputs.split(", "))
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[5,N,3] x, float[2,{4 * gates},3] w, float[2,{4 * gates},4] r, float[2,{8 * gates}] b)
        => ({declared}) {{ {outputs} = {cell}<hidden_size=4, direction="bidirectional">(x, w, r, b) }}
        """
    )
    rng = np.random.default_rng(0)
    for value in list(model.graph.input)[1:]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        content = rng.normal(0, 0.5, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(content, value.name))
        model.graph.input.remove(value)
    inputs = {"x": rng.standard_normal((5, 2, 3), np.float32)}
    net = convert(model)
    got = net.session("reference").run(inputs)
    for name, want in zip(outputs.split(", "), run_all(model, inputs), strict=True):
        np.testing.assert_allclose(got[name], want, **TOLERANCE)
    assert sum(t.size for t in net.parameter_types.values()) <= 2 * 4 * gates * (3 + 4 + 2) + 1
