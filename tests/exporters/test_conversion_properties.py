"""Random graphs of what mobile networks are made of: the converted net computes the same."""

import numpy as np
import onnx
import pytest
from conversion_cases import run_onnx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper, shape_inference

from exporters.onnx_to_caffe2 import convert


class Network:
    """A graph that grows by one random layer at a time; values holds the shape of every feature map."""

    def __init__(self, draw, opset):
        self.draw, self.opset = draw, opset
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes, self.weights = [], []
        self.shapes = {"x": (1, draw(st.sampled_from([2, 4, 6])), draw(st.integers(5, 12)), draw(st.integers(5, 12)))}

    def weight(self, *shape, low=-1.0, high=1.0):
        name = f"w{len(self.weights)}"
        array = self.rng.uniform(low, high, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, kind, inputs, **attributes):
        """Append a node; its output's shape is what ONNX infers."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        model = self.model(name)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0]
        self.shapes[name] = tuple(dim.dim_value for dim in inferred.type.tensor_type.shape.dim)
        assume(all(size > 0 for size in self.shapes[name]))
        return name

    def model(self, output):
        infos = [
            helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
            for n, s in [("x", self.shapes["x"]), (output, None)]
        ]
        graph = helper.make_graph(self.nodes, "random", infos[:1], infos[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def conv(net, x):
    _, channels, height, width = net.shapes[x]
    kernel = [net.draw(st.integers(1, min(3, size))) for size in (height, width)]
    group = net.draw(st.sampled_from([1, channels, *([2] if channels % 2 == 0 else [])]))
    outputs = group * net.draw(st.integers(1, 3))
    inputs = [x, net.weight(outputs, channels // group, *kernel)]
    if net.draw(st.booleans()):
        inputs.append(net.weight(outputs))
    pads = [net.draw(st.integers(0, 2)) for _ in range(4)]
    strides = [net.draw(st.integers(1, 2)) for _ in range(2)]
    if net.draw(st.booleans()):
        return net.add(
            "Conv",
            inputs,
            group=group,
            strides=strides,
            auto_pad=net.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])),
        )
    return net.add("Conv", inputs, group=group, strides=strides, pads=pads)


def batch_norm(net, x):
    channels = net.shapes[x][1]
    positive = net.weight(channels, low=0.5, high=2)
    return net.add("BatchNormalization", [x, *(net.weight(channels) for _ in range(3)), positive], epsilon=1e-3)


def scale(net, x):
    channels = net.shapes[x][1]
    shape = net.draw(st.sampled_from([(1,), (channels, 1, 1), (1, channels, 1, 1)]))
    kind = net.draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    return net.add(kind, [x, net.weight(*shape, low=0.5, high=2)])


def activation(net, x):
    if net.draw(st.booleans()):
        return net.add(
            net.draw(st.sampled_from(["Relu", "HardSwish", "Sigmoid", "Elu", "LeakyRelu", "HardSigmoid"])),
            [x],
        )
    return net.add("Mul", [x, net.add("Sigmoid", [x])])


def residual(net, x):
    same = [name for name, shape in net.shapes.items() if shape == net.shapes[x]]
    return net.add("Add", [net.draw(st.sampled_from(same)), x])


def join(net, x):
    beside = [n for n, s in net.shapes.items() if (s[0], *s[2:]) == (net.shapes[x][0], *net.shapes[x][2:])]
    return net.add("Concat", [x, net.draw(st.sampled_from(beside))], axis=1)


def gate(net, x):
    return net.add("Mul", [x, net.add("HardSigmoid", [net.add("GlobalAveragePool", [x])])])


def pool(net, x):
    kernel = [net.draw(st.integers(1, min(3, size))) for size in net.shapes[x][2:]]
    strides = [net.draw(st.integers(1, size)) for size in kernel]
    kind = net.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    return net.add(kind, [x], kernel_shape=kernel, strides=strides, ceil_mode=int(net.draw(st.booleans())))


def pad(net, x):
    sides = [net.draw(st.integers(0, 2)) for _ in range(4)]
    return net.add("Pad", [x, net.ints([0, 0, *sides[:2], 0, 0, *sides[2:]])])


def shuffle(net, x):
    _, channels, height, width = net.shapes[x]
    groups = net.draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    y = net.add("Reshape", [x, net.ints([0, groups, channels // groups, height, width])])
    y = net.add("Transpose", [y], perm=[0, 2, 1, 3, 4])
    return net.add("Reshape", [y, net.ints([0, channels, height, width])])


def cut(net, x):
    channels = net.shapes[x][1]
    start = net.draw(st.integers(0, channels - 1))
    end = net.draw(st.integers(start + 1, channels))
    return net.add("Slice", [x, net.ints([start]), net.ints([end]), net.ints([1])])


LAYERS = [
    conv,
    conv,
    conv,
    batch_norm,
    batch_norm,
    scale,
    activation,
    residual,
    join,
    gate,
    pool,
    pad,
    shuffle,
    cut,
]


def classify(net, x):
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [x])])
    return net.add("Gemm", [flat, net.weight(3, net.shapes[flat][1]), net.weight(3)], transB=1)


@st.composite
def models(draw):
    net = Network(draw, draw(st.sampled_from([14, 17, 21])))
    x = "x"
    for layer in draw(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=8)):
        x = layer(net, x)
    return net.model(classify(net, x) if draw(st.booleans()) else x)


COMMON = {"suppress_health_check": list(HealthCheck), "derandomize": True}


@pytest.mark.slow
@settings(max_examples=120, **COMMON)
@given(models())
def test_random_networks_compute_the_same(model):
    net = assert_computes_the_same(model, "reference")
    if not any(op.type == "Concat" for op in net.predict.op):
        assert_folded(net)


@pytest.mark.oracle
@settings(max_examples=60, **COMMON)
@given(models())
def test_random_networks_compute_the_same_in_the_real_caffe2(caffe2_python, model):
    assert_computes_the_same(model, "caffe2")


def assert_computes_the_same(model, backend):
    (data,) = model.graph.input
    shape = [dim.dim_value for dim in data.type.tensor_type.shape.dim]
    inputs = {"x": np.random.default_rng(0).standard_normal(shape, np.float32)}
    want = run_onnx(model, inputs)
    net = convert(model)
    (got,) = net.session(backend).run(inputs).values()
    assert got.shape == want.shape
    # sums of up to some hundred products through up to eight layers, in another order
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max()))
    return net


def assert_folded(net):
    """No BatchNorm is left directly behind a Conv that nothing else reads."""
    writers = {op.output[0]: op for op in net.predict.op}
    readers = [name for op in net.predict.op for name in op.input] + list(net.predict.external_output)
    for op in net.predict.op:
        before = writers.get(op.input[0])
        if op.type == "SpatialBN" and before is not None and before.type == "Conv":
            assert readers.count(op.input[0]) > 1
