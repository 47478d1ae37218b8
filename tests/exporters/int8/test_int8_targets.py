"""Files for LiteRT and ONNX Runtime: what the quantizer computes is what they hold, and nearly what kernels compute."""

import numpy as np
import onnx
import onnxruntime
import pytest
from float_nets import FloatNet, random_float_net, weighted_layer
from onnx import numpy_helper

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra `litert`)")

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile import QuantizeOptions, quantize
from caffe2_mobile.commands import quantize as command
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.runtimes.onnx_runtime import open_session
from exporters.caffe2_to_tflite.qdq import to_tflite
from exporters.int8 import quantizer
from exporters.int8.onnx_target import to_onnx
from exporters.int8.per_channel import best_scales, round_channels, round_channels_with_compensation, scales_of
from exporters.int8.recipe import RECIPES
from exporters.int8.weights import estimate_covariance, mean_errors, split_inputs
from exporters.litert import TfliteRun
from exporters.verification import Sample


def mobile_net(seed: int = 0) -> FloatNet:
    """All that classifiers are made of: strides with pads, depthwise layers, a sum, a branch, a pool, FC, softmax."""
    net = FloatNet(3, 17, 15, seed=seed)
    x = net.conv("data", 8, 3, relu=True, stride=2)
    y = net.conv(net.conv(x, 8, 3, group=8, relu=True), 12)
    x = net.conv(net.add("Sum", y, net.conv(x, 12)), 16, 3, relu=True, stride=2)
    x = net.add("Concat", x, net.conv(x, 5, 3), axis=1)
    x = net.add("MaxPool", x, kernel=3, stride=1, pad=1)
    net.add("Softmax", net.fc(net.add("AveragePool", x, global_pooling=1), 10))
    return net


def gated_net() -> FloatNet:
    """Squeeze-and-excite and hard-swish: islands of float."""
    net = FloatNet(3, 12, 12, seed=3)
    x = net.conv("data", 8, 3)
    gate = net.add("Sigmoid", net.conv(net.add("AveragePool", x, global_pooling=1), 8))
    x = net.conv(net.add("Mul", x, gate), 8, 3, group=8)
    net.fc(net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)), 4)
    return net


def quantized(net: FloatNet, target: str, recipe: str = "best"):
    shapes = {"data": net.input_shape}
    return quantizer.quantize(net.net(), net.images(), RECIPES[recipe], shapes, 1, target), shapes


def plain(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """As the nodes say, without kernels of bytes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(model.SerializeToString(), options).run(None, {"data": x})


@pytest.mark.parametrize("make", [mobile_net, gated_net])
@pytest.mark.parametrize("recipe", ["best", "minmax"])
def test_an_onnx_file_says_what_was_computed(make, recipe):
    net = make()
    result, shapes = quantized(net, "onnx", recipe)
    model, x = to_onnx(result, shapes), net.images(3)
    want = result.net.session("reference").run({"data": x})
    for got, value in zip(plain(model, x), want.values(), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-5)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    writers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, bias = (writers[name] for name in node.input[1:])
            data, scale, zero_point = (constants[name] for name in weight.input)
            assert data.dtype == np.int8 and scale.shape == (len(data),) and not zero_point.any()
            assert np.abs(data.astype(int)).max() <= 127 and constants[bias.input[0]].dtype == np.int32


@pytest.mark.parametrize("make", [mobile_net, gated_net])
def test_litert_computes_it_in_bytes(make):
    """In XNNPACK but for single steps at ties; the other kernel sets round twice."""
    net = make()
    result, shapes = quantized(net, "litert")
    converted, x = to_tflite(result.net, shapes, result.layers), net.images(4)
    kinds = [kind for kind, _ in converted.graph.live(list(converted.outputs.values()))]
    assert kinds.count("QUANTIZE") == (1 if make is mobile_net else kinds.count("DEQUANTIZE"))
    (name,) = converted.outputs
    want = result.net.session("reference").run({"data": x})[name]
    step = float(np.unique(np.diff(np.unique(want))).min())
    for kernels, steps in (("xnnpack", 1), ("reference", 4), ("built-in", 4)):
        got = TfliteRun(converted, kernels)([Sample("", {"data": image[None]}) for image in x])
        assert np.abs(np.concatenate([each[name] for each in got]) - want).max() <= 1.01 * steps * step, kernels


def test_random_nets_for_litert():
    tried = 0
    for seed in range(12):
        net, shape, rng = random_float_net(seed, 8)
        images = rng.normal(size=(4, *shape[1:])).astype(np.float32)
        try:
            result = quantizer.quantize(net, images, RECIPES["minmax"], {"data": shape}, 1, "litert")
            converted = to_tflite(result.net, {"data": shape}, result.layers)
        except ModelError:  # what LiteRT lacks
            continue
        session = result.net.session("reference")
        want = [session.run({"data": image[None]}) for image in images]
        got = TfliteRun(converted, "xnnpack")([Sample("", {"data": image[None]}) for image in images])
        for name in result.net.outputs:
            value, have = (np.concatenate([each[name] for each in answers]) for answers in (want, got))
            assert np.abs(have - value).mean() <= 0.02 * max(np.abs(value).max(), 1e-3), (seed, name)
        tried += 1
    assert tried >= 5


@pytest.mark.parametrize(
    ("kind", "shape", "group"), [("Conv", (8, 4, 3, 3), 1), ("Conv", (8, 1, 3, 3), 8), ("FC", (6, 40), 1)]
)
def test_compensation_errs_less(kind, shape, group):
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=shape) * np.exp(rng.normal(size=(shape[0], *[1] * (len(shape) - 1))))).astype(np.float32)
    layer = weighted_layer(kind, weight, **({"group": group} if group > 1 else {}))
    size = layer.rows.shape[1]
    mixed = rng.normal(size=(group, 600, size)) @ rng.normal(size=(group, size, size))
    covariance = estimate_covariance(split_inputs(mixed))
    finest = np.zeros(shape[0], np.float32)

    def error(rounded) -> np.ndarray:
        rows = (rounded.values - weight).reshape(group, -1, size)
        return mean_errors(rows, covariance).ravel()

    nearest = round_channels(layer, finest)
    assert np.abs(nearest.values - weight).max() <= scales_of(layer, finest).max() * 0.501
    searched = best_scales(layer, covariance, finest, 1e-9)
    compensated = round_channels_with_compensation(layer, covariance, searched)
    assert error(compensated).sum() < 0.8 * error(nearest).sum()


def test_accuracy_on_real_images(shared):
    torch = pytest.importorskip("torch")
    from caffe2_mobile.api.nets import from_module
    from mobile_cv.model_zoo import create_model

    torch.set_num_threads(1)
    checkpoint = shared / "models" / "tf_mobilenetv1_050.pth"
    net = from_module(create_model("tf_mobilenetv1_050", checkpoint_path=checkpoint).eval(), "mobilenet")
    images = shared / "data" / "imagenet-sample"
    options = QuantizeOptions(
        target="litert", recipe="fast", calibration_images=8, evaluation_data=images, evaluation_images=30
    )
    result = quantize(net, images, options)
    assert result.report.evaluation.agreement >= 75 and result.drop <= 10
    assert result.report.int8_bytes < 0.3 * result.report.float_bytes


def test_command_writes_what_the_name_asks_for(tmp_path, capsys, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    net = mobile_net().net()
    set_preprocessing(net.predict, Preprocessing(size=(17, 15), mean=(0.5,) * 3, std=(0.5,) * 3))
    net.save("net")
    (tmp_path / "images").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    flags = ["--calibration-data", "images", "--threads", "1", "--img-size", "17x15"]
    for name, kinds in (("out.tflite", "5 CONV_2D"), ("out.onnx", "QuantizeLinear")):
        assert command.main(["net", "-o", name, *flags]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{name}:\n") and kinds in said and "latency" not in said
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ModelError, match=r"out\.onnx: --target litert writes a name that ends in \.tflite"):
        command.main(["net", "-o", "out.onnx", "--target", "litert", *flags])
    with pytest.raises(ModelError, match="invalid target 'tpu': expected one of qnnpack, litert, onnx"):
        QuantizeOptions(target="tpu")
