"""How float layers become int8 operators: what is folded, fused and dropped, and which scales go together."""

import numpy as np
import pytest
from float_nets import FloatNet, sqnr_db

from caffe2_common.errors import ModelError
from caffe2_models import kernels
from exporters.int8.preparation import prepare
from exporters.int8.recipe import RECIPES
from exporters.layers import write_net

BEGIN, END = ["NCHW2NHWC", "Int8Quantize"], ["Int8Dequantize", "NHWC2NCHW"]


def normalized(net, x):
    channels = net.shape(x)[1]
    vectors = [np.abs(net.draw(channels)) + 0.5, net.draw(channels), net.draw(channels, scale=0.2)]
    return net.add("SpatialBN", x, *vectors, np.abs(net.draw(channels)) + np.float32(0.5), is_test=1, epsilon=1e-3)


def scaled(net, x):
    """The way old nets spell a BatchNorm's scale and shift."""
    channels = net.shape(x)[1]
    y = net.add("Mul", x, net.draw(channels), broadcast=1, axis=1)
    return net.add("Add", y, net.draw(channels), broadcast=1, axis=1)


def residual(net, x):
    x = net.conv(x, 6, relu=True)
    return net.add("Sum", net.conv(x, 6, kernel=3), x)


def three_branches(net, x):
    return net.add("Relu", net.add("Sum", net.conv(x, 6), net.conv(x, 6), net.conv(x, 6)))


def fire(net, x):
    x = net.conv(x, 4, relu=True)
    x = net.add("Concat", net.conv(x, 6), net.conv(x, 5, kernel=3), outputs=2, axis=1)
    return net.conv(net.add("MaxPool", net.add("Relu", x), kernel=2, stride=2), 5)


def split_convolutions(net, x):
    """Grouped convolution as AlexNet's file spells it."""
    x = net.conv(x, 8)
    left = net.add("Slice", x, starts=[0, 0, 0, 0], ends=[-1, 4, -1, -1])
    right = net.add("Slice", x, starts=[0, 4, 0, 0], ends=[-1, -1, -1, -1])
    return net.add("Concat", net.conv(left, 6, kernel=3), net.conv(right, 6, kernel=3), outputs=2, axis=1)


def gated(net, x, gate="Sigmoid", **arguments):
    """Squeeze and excite."""
    x = net.conv(x, 6, relu=True)
    squeezed = net.conv(net.add("AveragePool", x, global_pooling=1), 3, relu=True)
    return net.add("Mul", x, net.add(gate, net.conv(squeezed, 6), **arguments))


def swish(net, x):
    x = net.conv(x, 5)
    return net.conv(net.add("Mul", x, net.add("Sigmoid", x)), 4)


def classifier(net, x, flatten="Flatten", **arguments):
    x = net.add("Dropout", net.conv(x, 5, kernel=3, stride=2, relu=True), is_test=1)
    outputs = 2 if flatten == "Reshape" else 1
    x = net.add(flatten, x, outputs=outputs, **arguments)
    return net.add("Softmax", net.fc(net.add("Relu", net.fc(x, 7)), 4))


def both_sides_of_a_relu(net, x):
    x = net.conv(x, 5)
    return net.add("Sum", x, net.add("Relu", x))


def relu_of_a_matrix(net, x):
    x = net.add("Flatten", x)
    return net.fc(net.add("Relu", net.add("Add", x, net.draw(1, net.shape(x)[1]))), 4)


PAIRS = {
    "batch norm": (lambda n, x: n.add("Relu", normalized(n, n.conv(x, 6))), ["Int8ConvRelu"]),
    "batch norm of the input": (lambda n, x: n.conv(normalized(n, x), 6), ["Int8Conv", "Int8Conv"]),
    "two batch norms": (lambda n, x: scaled(n, normalized(n, n.conv(x, 6, group=3))), ["Int8Conv"]),
    "batch norm of a join": (
        lambda n, x: n.conv(normalized(n, n.add("Concat", n.conv(x, 2), n.conv(x, 3), outputs=2, axis=1)), 4),
        ["Int8Conv", "Int8Conv", "Int8Concat", "Int8Conv"],
    ),
    "relu6": (lambda n, x: n.add("Clip", n.conv(x, 6, kernel=3), min=0.0, max=6.0), ["Int8ConvRelu"]),
    "clip": (lambda n, x: n.add("Clip", n.conv(x, 6), min=-0.5, max=0.7), ["Int8Conv"]),
    "residual": (residual, ["Int8ConvRelu", "Int8Conv", "Int8Sum"]),
    "residual, relu": (lambda n, x: n.add("Relu", residual(n, x)), ["Int8ConvRelu", "Int8Conv", "Int8SumRelu"]),
    "sum of three": (three_branches, ["Int8Conv", "Int8Conv", "Int8Conv", "Int8Sum", "Int8SumRelu"]),
    "fire": (fire, ["Int8ConvRelu", "Int8ConvRelu", "Int8ConvRelu", "Int8Concat", "Int8MaxPool", "Int8Conv"]),
    "grouped in parts": (split_convolutions, ["Int8Conv", "Int8Conv"]),
    "shuffle": (
        lambda n, x: n.conv(n.add("ChannelShuffle", n.conv(x, 6, group=3), group=3), 6, kernel=3, group=6),
        ["Int8Conv", "Int8ChannelShuffle", "Int8Conv"],
    ),
    "shuffle of one group": (lambda n, x: n.add("ChannelShuffle", n.conv(x, 6), group=1), ["Int8Conv"]),
    "both sides of a relu": (both_sides_of_a_relu, ["Int8Conv", "Int8Relu", "Int8Sum"]),
    "pools": (
        lambda n, x: n.add("AveragePool", n.add("MaxPool", n.conv(x, 6), kernel=3, stride=2, pad=1), kernel=2),
        ["Int8Conv", "Int8MaxPool", "Int8AveragePool"],
    ),
    "pool with a relu": (
        lambda n, x: n.add("Relu", n.add("AveragePool", n.conv(x, 6), kernel=2, stride=2)),
        ["Int8Conv", "Int8AveragePoolRelu"],
    ),
    "pool and its pads": (
        lambda n, x: n.add("AveragePool", n.conv(x, 6), kernel=9, stride=2, pad_t=0, pad_l=0, pad_b=1, pad_r=1),
        ["Int8Conv", "Int8AveragePool"],
    ),
    "classifier": (classifier, ["Int8ConvRelu", "Int8FC", "Int8FC", "Int8Softmax"]),
    "classifier, reshaped": (
        lambda n, x: classifier(n, x, "Reshape", shape=[1, -1]),
        ["Int8ConvRelu", "Int8FC", "Int8FC", "Int8Softmax"],
    ),
    "transposed": (
        lambda n, x: n.add("ConvTranspose", n.conv(x, 4), n.draw(4, 5, 2, 2), n.draw(5), kernel=2, stride=2),
        ["Int8Conv", "Int8ConvTranspose"],
    ),
    "leaky relu": (lambda n, x: n.add("LeakyRelu", n.conv(x, 4), alpha=0.2), ["Int8Conv", "Int8LeakyRelu"]),
    "resize": (
        lambda n, x: n.add("ResizeNearest", n.conv(x, 4), height_scale=2.0, width_scale=2.0),
        ["Int8Conv", "Int8ResizeNearest"],
    ),
}  # name: (what builds the net, the operators between quantizing the input and dequantizing the output)


def joined_functions(net, x):
    """Of which one is pooled; only weights follow."""
    swished, pooled = net.add("Swish", net.conv(x, 4)), net.add("Tanh", net.conv(x, 5))
    pooled = net.add("MaxPool", pooled, kernel=3, stride=1, pad=1)
    return net.conv(net.add("Concat", swished, pooled, outputs=2, axis=1), 4)


def by(net, x, kind, value):
    """Arithmetic with a number."""
    return net.add(kind, x, np.array([value], np.float32))


def clipped_line(net, x):
    return net.add("Clip", by(net, x, "Add", 3), min=0.0, max=6.0)


def gelu(net, x):
    erf = net.add("Erf", by(net, x, "Mul", 0.5**0.5))
    return net.add("Mul", by(net, x, "Mul", 0.5), by(net, erf, "Add", 1))


HARD_SWISH = ["HardSigmoid", "Mul"]
SPELLINGS = {
    "product divided": (lambda n, x: by(n, n.add("Mul", x, clipped_line(n, x)), "Div", 6), HARD_SWISH),
    "product scaled": (lambda n, x: by(n, n.add("Mul", clipped_line(n, x), x), "Mul", 1 / 6), HARD_SWISH),
    "gate divided": (lambda n, x: n.add("Mul", by(n, clipped_line(n, x), "Div", 6), x), HARD_SWISH),
    "value divided": (lambda n, x: n.add("Mul", by(n, x, "Div", 6), clipped_line(n, x)), HARD_SWISH),
    "clip of a line": (
        lambda n, x: n.add("Mul", x, n.add("Clip", by(n, by(n, x, "Div", 6), "Add", 0.5), min=0.0, max=1.0)),
        HARD_SWISH,
    ),
    "product as it is": (lambda n, x: n.add("Mul", x, clipped_line(n, x)), ["HardSigmoid", "Mul", "Mul"]),
    "gelu": (gelu, ["Mul", "Erf", "Add", "Mul", "Mul"]),
    "quick gelu": (lambda n, x: n.add("Mul", x, n.add("Sigmoid", by(n, x, "Mul", 1.702))), ["Mul", "Sigmoid", "Mul"]),
    "mish": (lambda n, x: n.add("Mul", x, n.add("Tanh", n.add("Softplus", x))), ["Softplus", "Tanh", "Mul"]),
    "swish by exp": (
        lambda n, x: n.add("Div", x, by(n, n.add("Exp", n.add("Negative", x)), "Add", 1)),
        ["Negative", "Exp", "Add", "Div"],
    ),
}  # name: (activation function, its operators in float)


def function_of(spelling):
    return lambda net, x: net.conv(spelling(net, net.conv(x, 5)), 4)


def between(*operators):
    return [*BEGIN, "Int8Conv", "Int8Dequantize", *operators, "Int8Quantize", "Int8Conv", *END]


GATED = [*BEGIN, "Int8ConvRelu", "Int8AveragePool", "Int8ConvRelu"]
FLAT = "Int8Dequantize"

ISLANDS = {
    "sigmoid gate": (gated, [*GATED, "Int8Conv", "Int8Sigmoid", FLAT, FLAT, "Mul", "NHWC2NCHW"]),
    "hard sigmoid gate": (
        lambda n, x: gated(n, x, "HardSigmoid", alpha=1 / 6, beta=0.5),
        [*GATED, "Int8ConvRelu", FLAT, FLAT, "Mul", "NHWC2NCHW"],
    ),
    "swish": (swish, [*BEGIN, "Int8Conv", FLAT, "Swish", "Int8Quantize", "Int8Conv", *END]),
    "clip of the input": (
        lambda n, x: n.conv(n.add("Clip", x, min=-0.5, max=0.7), 6),
        ["NCHW2NHWC", "Clip", "Int8Quantize", "Int8Conv", *END],
    ),
    "relu of a matrix": (relu_of_a_matrix, ["Flatten", "Add", "Relu", "Int8Quantize", "Int8FC", FLAT]),
    "enlarged function": (
        lambda n, x: n.conv(n.add("ResizeNearest", n.add("Swish", n.conv(x, 4)), height_scale=2.0, width_scale=2.0), 4),
        [*BEGIN, "Int8Conv", "Int8ResizeNearest", FLAT, "Swish", "Int8Quantize", "Int8Conv", *END],
    ),
    "joined functions": (
        joined_functions,
        [
            *BEGIN,
            "Int8Conv",
            FLAT,
            "Swish",
            "Int8Conv",
            FLAT,
            "Tanh",
            "Int8Quantize",
            "Int8MaxPool",
            "Int8Quantize",
            "Int8Concat",
            "Int8Conv",
            *END,
        ],
    ),
    "line, sigmoid": (
        lambda n, x: n.conv(by(n, n.add("Sigmoid", by(n, n.conv(x, 4), "Mul", 3)), "Add", 2), 4),
        [*BEGIN, "Int8Conv", "Int8Sigmoid", "Int8Conv", "Int8Conv", *END],
    ),
    **{name: (function_of(spelling), between(*operators)) for name, (spelling, operators) in SPELLINGS.items()},
}  # name: (what builds the net, all operators)


def built(build) -> FloatNet:
    net = FloatNet(3, 9, 9)
    build(net, "data")
    return net


def types(net) -> list[str]:
    return [op.type for op in net.predict.op]


@pytest.mark.parametrize("name", PAIRS)
def test_operators(name):
    build, expected = PAIRS[name]
    quantized = built(build).quantized().net
    operators = types(quantized)
    assert operators[:2] == BEGIN
    end = END if quantized.predict.op[-1].type == "NHWC2NCHW" else END[:1]
    assert operators[2:] == [*expected, *end]


@pytest.mark.parametrize("name", ISLANDS)
def test_islands(name):
    build, expected = ISLANDS[name]
    assert types(built(build).quantized().net) == expected


@pytest.mark.parametrize("name", [*PAIRS, *ISLANDS])
def test_the_net_computes_what_it_did(name):
    """In float after the rewrites; in int8 as well as 8 bits can."""
    build, _ = {**PAIRS, **ISLANDS}[name]
    net = built(build)
    x = {"data": net.images()}
    session = net.net().session("reference")
    want = np.concatenate([*(y for image in net.images() for y in session.run({"data": image[None]}).values())])
    graph = prepare(net.net(), {"data": net.input_shape})
    (real,) = write_net(graph).session("reference").run(x).values()
    np.testing.assert_allclose(real, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    (int8,) = net.quantized().net.session("reference").run(x).values()
    assert sqnr_db(want, int8) > 20


@pytest.mark.skipif(not kernels.is_available(), reason="the kernels were not built")
@pytest.mark.parametrize("name", SPELLINGS)
def test_an_activation_function_is_one_table(name):
    """However it is spelled: between two convolutions stands one step of the exact runtime's program."""
    net = built(function_of(SPELLINGS[name][0]))
    int8 = net.quantized().net
    session, feeds = int8.session("exact", threads=1), {"data": net.images()}
    (have,), (want,) = (s.run(feeds).values() for s in (session, int8.session("reference")))
    np.testing.assert_array_equal(have, want)
    (stage,) = session._stages.values()
    kinds = [instruction.node.type for instruction in stage.compiled.graph.instructions]
    assert kinds == ["Int8Quantize", "Int8Conv", "Int8Quantize", "Int8Conv", *END]


def quantization(net) -> dict[str, tuple[float, int]]:
    """Blob -> (scale, zero point)."""
    found = {}
    for op in net.predict.op:
        values = {arg.name: arg.f if arg.HasField("f") else arg.i for arg in op.arg}
        if "Y_scale" in values:
            found[op.output[0]] = values["Y_scale"], values["Y_zero_point"]
    return found


def test_relu6_is_the_end_of_the_scale():
    net = FloatNet(3, 8, 8)
    x = net.conv("data", 8, kernel=3)
    x = net.add("Clip", net.add("Mul", x, np.full(8, 20, np.float32), broadcast=1, axis=1), min=0.0, max=6.0)
    net.conv(x, 4)
    int8 = net.quantized().net
    assert quantization(int8)["clip_3_int8"] == (pytest.approx(6 / 255), 0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_room_does_not_open_a_clip(recipe):
    """A layer of its own, behind a slice of what others read too."""
    net = FloatNet(3, 8, 8)
    cut = net.add("Slice", net.conv("data", 6), starts=[0, 0, 0, 0], ends=[-1, 3, -1, -1])
    name = net.add("Clip", cut, min=0.0, max=0.5)
    (scale, zero_point) = quantization(net.quantized(recipe).net)[f"{name}_int8"]
    assert (scale * (255 - zero_point), zero_point) == (pytest.approx(0.5), 0)


def test_a_join_does_not_open_the_clamps_of_its_parts():
    """A shared scale of 100 / 255 would let the clipped part through up to 100."""
    net = FloatNet(3, 8, 8)
    clipped = net.add("Clip", net.add("Mul", net.conv("data", 4), np.full(4, 9, np.float32), broadcast=1, axis=1),
                      min=-1.0, max=2.0)  # fmt: skip
    wide = net.add("Mul", net.conv("data", 4), np.full(4, 40, np.float32), broadcast=1, axis=1)
    joined = net.add("Concat", clipped, wide, outputs=2, axis=1)
    joined = net.add("Concat", joined, net.add("Sigmoid", net.conv("data", 3)), outputs=2, axis=1)
    net.add("Conv", joined, np.eye(11, dtype=np.float32)[:, :, None, None], np.zeros(11, np.float32), kernel=1)
    int8 = net.quantized().net
    x = net.images()
    (got,) = int8.session("reference").run({"data": x}).values()
    (want,) = net.net().session("reference").run({"data": x}).values()
    step = np.abs(want).max() * 2 / 255
    assert got[:, :4].min() >= -1 - step and got[:, :4].max() <= 2 + step
    np.testing.assert_allclose(got, want, atol=2 * step)


def test_parts_of_a_join_and_what_moves_values_share_a_scale():
    int8 = built(fire).quantized().net
    scales = quantization(int8)
    (joined,) = [op for op in int8.predict.op if op.type == "Int8Concat"]
    (pooled,) = [op for op in int8.predict.op if op.type == "Int8MaxPool"]
    assert len({scales[name] for name in [*joined.input, joined.output[0], pooled.output[0]]}) == 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_join_at_the_end_leaves_its_parts_their_ranges(recipe):
    """Boxes in pixels beside scores: as exact as if they were outputs of their own."""
    nets = FloatNet(3, 8, 8), FloatNet(3, 8, 8)
    for joined, net in enumerate(nets):
        x = net.conv("data", 6, kernel=3, relu=True)
        boxes = net.add("Mul", net.conv(x, 4), np.array([200], np.float32))
        scores = net.add("Sigmoid", net.conv(x, 3))
        if joined:
            net.add("Concat", boxes, scores, outputs=2, axis=1)
    apart, together = (net.quantized(recipe).net.session("reference") for net in nets)
    x = nets[0].images()
    parts, whole = apart.run({"data": x}), together.run({"data": x})
    np.testing.assert_array_equal(np.concatenate([*parts.values()], axis=1), next(iter(whole.values())))


def test_probabilities_have_the_scale_that_qnnpack_demands():
    int8 = built(classifier).quantized().net
    assert list(quantization(int8).values())[-1] == (1 / 256, 0)


def test_the_input_is_quantized_once_over_the_range_of_the_images():
    net = built(residual)
    x = net.images()
    scale, zero_point = quantization(net.quantized().net)["data_int8"]
    assert scale == pytest.approx((x.max() - x.min()) / 255) and zero_point == round(-x.min() / scale)


def test_blob_names_written_twice_are_told_apart():
    """As old nets work in place."""
    net = FloatNet(3, 8, 8)
    x = net.add("Relu", net.conv("data", 4), in_place=True)
    y = net.conv(x, 4)
    net.predict.op[-1].output[0] = x  # the second convolution writes over its own input
    net.values[x] = net.values.pop(y)
    net.add("Relu", x, in_place=True)
    net.conv(x, 3)
    real, int8 = net.net(), net.quantized().net
    assert types(int8) == [*BEGIN, "Int8ConvRelu", "Int8ConvRelu", "Int8Conv", *END]
    x = {"data": net.images()}
    (want,), (got,) = (n.session("reference").run(x).values() for n in (real, int8))
    assert sqnr_db(want, got) > 25


def test_dropout_of_what_others_read_too_is_dropped():
    net = FloatNet(3, 8, 8)
    x = net.conv("data", 4)
    output = net.add("Dropout", x, is_test=1)
    net.conv(x, 3)
    int8 = net.quantized().net
    assert int8.outputs[0] == output and types(int8)[2:] == ["Int8Conv", "Int8Conv", *END, *END]


def test_several_outputs_keep_their_names():
    net = FloatNet(3, 8, 8)
    x = net.conv("data", 4, relu=True)
    first, second = net.conv(x, 3), net.fc(net.add("AveragePool", x, global_pooling=1), 5)
    assert net.net().outputs == net.quantized().net.outputs == [first, second]


def test_nets_that_cannot_be_quantized_are_one_line():
    net = built(residual)
    with pytest.raises(ModelError, match="is quantized already"):
        prepare(net.quantized().net, {"data": net.input_shape})
    with pytest.raises(ModelError, match="not finite on the calibration images"):
        net.quantized(calibration=np.full((2, 3, 9, 9), 3e38, np.float32))
