"""Nets with several inputs, or whose input is no image, quantized with examples of their inputs."""

import numpy as np
import onnx
import onnx.parser
import pytest

from caffe2_common.errors import ModelError
from caffe2_mobile import QuantizeOptions, quantize, to_onnx
from caffe2_mobile.commands.quantize import main
from caffe2_models import load_net
from exporters.onnx_to_caffe2 import convert

# Two images and a number, one network for both images; tokens, of which a mask leaves some out.
TWIN = """
<ir_version: 8, opset_import: ["" : 17]>
twin (float[N,3,8,8] a, float[N,3,8,8] b, float[N,1] t) => (float[N,4] y) {
    c = Conv<pads=[1,1,1,1]>(a, w)  d = Relu(c)  e = GlobalAveragePool(d)  f = Flatten(e)
    g = Conv<pads=[1,1,1,1]>(b, w)  h = Relu(g)  i = GlobalAveragePool(h)  j = Flatten(i)
    k = Concat<axis=1>(f, j, t)  y = Gemm(k, v)
}"""
TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
tokens (int64[N,6] ids, int64[N,6] mask) => (float[N,4] y)
<float low = {-inf}, int64 zero = {0}, int64[1] one = {1}> {
    e = Gather(table, ids)  q = MatMul(e, w)  k = MatMul(e, v)  kt = Transpose<perm=[0,2,1]>(k)  s = MatMul(q, kt)
    m = Equal(mask, zero)  n = Unsqueeze(m, one)  r = Where(n, low, s)  p = Softmax<axis=-1>(r)
    x = MatMul(p, q)  c = ReduceMean<axes=[1], keepdims=0>(x)  y = MatMul(c, u)
}"""


def build(text, **shapes):
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(text)
    for name, shape in shapes.items():
        value = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


def twin():
    return build(TWIN, w=(4, 3, 3, 3), v=(9, 4))


def twin_arrays(count=60):
    rng = np.random.default_rng(1)
    shapes = {"a": (3, 8, 8), "b": (3, 8, 8), "t": (1,)}
    return {name: rng.normal(size=(count, *shape)).astype(np.float32) for name, shape in shapes.items()}


def tokens():
    return build(TOKENS, table=(9, 8), w=(8, 8), v=(8, 8), u=(8, 4))


def token_arrays(count=60):
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 2, (count, 6))
    mask[:, 0] = 1
    return {"ids": rng.integers(0, 9, (count, 6)), "mask": mask}


def sqnr_db(want, have):
    return 10 * np.log10(np.square(want).sum() / np.square(want - have).sum())


@pytest.mark.parametrize("recipe", ["best", "fast", "minmax"])
@pytest.mark.parametrize(("model", "arrays"), [(twin, twin_arrays), (tokens, token_arrays)])
def test_int8_answers_as_float(tmp_path, model, arrays, recipe):
    net, examples = convert(model()), arrays()
    np.savez(tmp_path / "examples.npz", **examples)
    result = quantize(net, tmp_path / "examples.npz", QuantizeOptions(recipe=recipe))
    given = [{name: array[i] for name, array in examples.items()} for i in range(60)]
    assert quantize(net, given, QuantizeOptions(recipe=recipe)).net.predict == result.net.predict
    assert {"Int8FC"} & {node.type for node in result.net.operators} and result.net.inputs == net.inputs
    want, have = (each.session("reference").run(examples)["y"] for each in (net, result.net))
    assert sqnr_db(want, have) > 25
    assert to_onnx(result.net).holds


@pytest.mark.parametrize(("target", "suffix"), [("onnx", ".onnx"), ("litert", ".tflite")])
def test_files_for_other_runtimes(tmp_path, target, suffix):
    if target == "litert":
        pytest.importorskip("ai_edge_litert")
    onnx.save(twin(), tmp_path / "twin.onnx")
    (tmp_path / "examples").mkdir()
    np.savez(tmp_path / "examples" / "0.npz", **twin_arrays())
    flags = ["--recipe", "fast", "--calibration-data", str(tmp_path / "examples")]
    assert main([str(tmp_path / "twin.onnx"), "-o", str(tmp_path / f"int8{suffix}"), *flags]) == 0
    assert (tmp_path / f"int8{suffix}").exists()


def test_command(tmp_path, capsys):
    onnx.save(tokens(), tmp_path / "tokens.onnx")
    np.savez(tmp_path / "examples.npz", **token_arrays())
    flags = ["--recipe", "fast", "--calibration-data", str(tmp_path / "examples.npz")]
    assert main([str(tmp_path / "tokens.onnx"), "-o", str(tmp_path / "int8"), *flags]) == 0
    assert "held-out images: 12" in capsys.readouterr().out
    assert load_net(tmp_path / "int8.predict.pb", tmp_path / "int8.init.pb").input_shapes() == {
        "ids": (1, 6),
        "mask": (1, 6),
    }


def test_images_are_no_examples_of_several_inputs():
    with pytest.raises(ModelError, match="inputs a, b, t; images are for a net with one input; of other nets give"):
        quantize(convert(twin()), np.zeros((2, 3, 8, 8), np.float32))
