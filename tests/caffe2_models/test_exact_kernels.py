"""The int8 kernels, on every instruction set of this machine, give the bytes of `reference`."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffe2_models import Int8Tensor, Net, int8, kernels
from caffe2_models.build import add_operator, make_init
from caffe2_models.proto import caffe2_pb2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("instruction_set"),
    pytest.mark.skipif(not kernels.is_available(), reason="the kernels were not built"),
]

ZERO_POINTS = st.one_of(st.sampled_from([0, 128, 255]), st.integers(0, 255))
SCALES = st.floats(2.0**-20, 1 - 2.0**-10, width=32)  # from accumulator to output; near 1 nearly all outputs saturate
SEEDS = st.integers(0, 2**32 - 1)


def examples(count):
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, suppress_health_check=quiet)


def operator_net(kind, inputs, parameters, **arguments) -> Net:
    """A net of one operator, whose output is y."""
    predict = caffe2_pb2.NetDef(name=kind, external_input=[*inputs, *parameters], external_output=["y"])
    add_operator(predict, kind, [*inputs, *parameters], ["y"], **arguments)
    return Net(predict, make_init(parameters))


def assert_equal(net, feeds, threads=1):
    """exact equals reference, and a kernel computed it."""
    want = net.session("reference").run(feeds)["y"]
    session = net.session("exact", threads=threads)
    have = session.run(feeds)["y"]
    (stage,) = session._stages.values()
    assert all(isinstance(segment, range) for segment in stage.compiled.segments)
    if isinstance(want, Int8Tensor):
        assert (have.scale, have.zero_point) == (want.scale, want.zero_point)
        want, have = want.data, have.data
    assert have.dtype == want.dtype
    np.testing.assert_array_equal(have, want)


def random_bytes(rng, shape):
    """Uniform bytes, or extremes."""
    if rng.random() < 0.3:
        return rng.choice(np.array([0, 255], np.uint8), shape)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def tensor(rng, shape, zero_point, scale=0.5):
    return Int8Tensor(random_bytes(rng, shape), scale, zero_point)


@st.composite
def convolutions(draw):
    """(channels, out channels, group, height, width, arguments) of a convolution that has an output."""
    form = draw(st.sampled_from(["pointwise", "depthwise", "grouped", "general"]))
    group, channels, out_channels = 1, draw(st.integers(1, 70)), draw(st.integers(1, 140))
    if form == "depthwise":
        group = out_channels = channels
    elif form == "grouped":
        group = draw(st.integers(1, 4))
        channels, out_channels = group * draw(st.integers(1, 9)), group * draw(st.integers(1, 20))
    kernel = (1, 1) if form == "pointwise" else draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (3, 2)]))
    pads = draw(st.tuples(*[st.integers(0, 4)] * 4)) if form != "pointwise" or draw(st.booleans()) else (0,) * 4
    least = [max(1, d * (k - 1) + 1 - a - b)
             for d, k, a, b in zip(dilation, kernel, pads[:2], pads[2:], strict=True)]  # fmt: skip
    height, width = draw(st.integers(least[0], least[0] + 14)), draw(st.integers(least[1], least[1] + 14))
    arguments = dict(kernels=kernel, strides=stride, dilations=dilation, pads=pads, group=group, order="NHWC")
    return channels, out_channels, group, height, width, arguments


@examples(120)
@given(convolutions(), st.integers(1, 2), ZERO_POINTS, ZERO_POINTS, ZERO_POINTS, SCALES, st.booleans(), SEEDS)
def test_convolution(shape, images, x_zero, w_zero, y_zero, scale, relu, seed):
    channels, out_channels, group, height, width, arguments = shape
    rng = np.random.default_rng(seed)
    weight = tensor(rng, (out_channels, *arguments["kernels"], channels // group), w_zero)
    bias = Int8Tensor(rng.integers(-(2**15), 2**15, out_channels).astype(np.int32), 0.25, 0)
    kind = "Int8ConvRelu" if relu else "Int8Conv"
    arguments |= dict(Y_scale=float(np.float32(0.25 / scale)), Y_zero_point=y_zero)
    net = operator_net(kind, ["x"], {"w": weight, "b": bias}, **arguments)
    assert_equal(net, {"x": tensor(rng, (images, height, width, channels), x_zero)}, threads=1 + seed % 2)


@st.composite
def transposed_convolutions(draw):
    """(channels, out channels, height, width, arguments) of a transposed convolution that has an output."""
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, stride = draw(pair), draw(pair)
    adj = tuple(draw(st.integers(0, s - 1)) for s in stride)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    full = [(n - 1) * s + k + a for n, s, k, a in zip(size, stride, kernel, adj, strict=True)]
    pads = [draw(st.integers(0, min(k, (f - 1) // 2))) for k, f in zip(kernel, full, strict=True)]
    arguments = dict(kernels=kernel, strides=stride, pads=[*pads, *pads], adjs=adj, order="NHWC")
    return draw(st.integers(1, 40)), draw(st.integers(1, 40)), *size, arguments


@examples(120)
@given(transposed_convolutions(), st.integers(1, 2), ZERO_POINTS, ZERO_POINTS, ZERO_POINTS, SCALES, SEEDS)
def test_transposed_convolution(shape, images, x_zero, w_zero, y_zero, scale, seed):
    channels, out_channels, height, width, arguments = shape
    rng = np.random.default_rng(seed)
    weight = tensor(rng, (channels, *arguments["kernels"], out_channels), w_zero)
    bias = Int8Tensor(rng.integers(-(2**15), 2**15, out_channels).astype(np.int32), 0.25, 0)
    arguments |= dict(Y_scale=float(np.float32(0.25 / scale)), Y_zero_point=y_zero)
    net = operator_net("Int8ConvTranspose", ["x"], {"w": weight, "b": bias}, **arguments)
    assert_equal(net, {"x": tensor(rng, (images, height, width, channels), x_zero)}, threads=1 + seed % 2)


@examples(40)
@given(st.integers(1, 40), st.integers(1, 130), st.integers(1, 90), ZERO_POINTS, ZERO_POINTS, SCALES, SEEDS)
def test_fully_connected(rows, inner, outputs, x_zero, w_zero, scale, seed):
    rng = np.random.default_rng(seed)
    bias = Int8Tensor(rng.integers(-(2**20), 2**20, outputs).astype(np.int32), 0.25, 0)
    net = operator_net("Int8FC", ["x"], {"w": tensor(rng, (outputs, inner), w_zero), "b": bias},
                       Y_scale=float(np.float32(0.25 / scale)), Y_zero_point=seed % 256)  # fmt: skip
    assert_equal(net, {"x": tensor(rng, (rows, inner), x_zero)})


@examples(60)
@given(st.floats(2.0**-30, 1 - 2.0**-10, width=32), ZERO_POINTS, st.booleans())
def test_requantization_around_every_step(scale, y_zero, relu):
    """Accumulators (as biases of zero weights) at, before and behind each step of the output, and far off."""
    steps = ((np.arange(-1, 258) - y_zero - 0.5) / np.float64(scale))[:, None] + np.arange(-3, 4)
    far = [-(2**31) + 1, 2**31 - 1, -(2**24) - 1, 2**24 + 1, -1, 0, 1]
    acc = np.unique(np.clip(np.append(steps.ravel(), far), -(2**31) + 1, 2**31 - 1).astype(np.int64)).astype(np.int32)
    weight = Int8Tensor(np.full((len(acc), 1, 1, 1), 128, np.uint8), 0.5, 128)
    kind, parameters = "Int8ConvRelu" if relu else "Int8Conv", {"w": weight, "b": Int8Tensor(acc, 0.25, 0)}
    y_scale = float(np.float32(0.25) / np.float32(scale))
    net = operator_net(kind, ["x"], parameters, kernel=1, order="NHWC", Y_scale=y_scale, Y_zero_point=y_zero)
    assert_equal(net, {"x": Int8Tensor(np.zeros((1, 1, 1, 1), np.uint8), 0.5, 0)})


@examples(60)
@given(st.floats(2.0**-30, 1 - 2.0**-10, width=32), ZERO_POINTS, st.booleans())
def test_plan_time_requantization_is_the_definition(scale, y_zero, relu):
    acc = np.unique(np.round(np.geomspace(1, 2.0**31 - 1, 4000)).astype(np.int64))
    acc = np.concatenate([-acc, [0], acc]).astype(np.int32)
    scale = np.float32(scale)
    have = kernels._int8.Requantization(scale, y_zero, y_zero if relu else 0)(acc)
    np.testing.assert_array_equal(have, int8.requantize(acc, scale, y_zero, relu))


RATIOS = st.floats(2.0**-14, 200, width=32)


@examples(25)
@given(RATIOS, RATIOS, ZERO_POINTS, ZERO_POINTS, st.integers(0, 254), st.booleans())
def test_addition_of_all_pairs_of_bytes(a_ratio, b_ratio, a_zero, b_zero, y_zero, relu):
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    net = operator_net("Int8SumRelu" if relu else "Int8Add", ["a", "b"], {}, Y_scale=1.0, Y_zero_point=y_zero)
    feeds = {"a": Int8Tensor(a, float(a_ratio), a_zero), "b": Int8Tensor(b, float(b_ratio), b_zero)}
    assert_equal(net, feeds)


@examples(40)
@given(
    st.sampled_from(["Int8AveragePool", "Int8AveragePoolRelu", "Int8MaxPool", "Int8MaxPoolRelu"]),
    st.tuples(st.integers(1, 5), st.integers(2, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 1),
    st.integers(1, 70),
    st.tuples(st.integers(5, 14), st.integers(5, 14)),
    st.floats(0.25, 4, width=32),
    ZERO_POINTS,
    ZERO_POINTS,
    SEEDS,
)
def test_pooling(kind, kernel, stride, pad, channels, size, ratio, x_zero, y_zero, seed):
    if kind.startswith("Int8Max"):
        ratio, y_zero = 1.0, x_zero
    pads = (min(pad, kernel[0] - 1), min(pad, kernel[1] - 1)) * 2
    net = operator_net(kind, ["x"], {}, kernels=kernel, strides=stride, pads=pads, order="NHWC",
                       Y_scale=float(np.float32(0.5) / np.float32(ratio)), Y_zero_point=y_zero)  # fmt: skip
    rng = np.random.default_rng(seed)
    assert_equal(net, {"x": tensor(rng, (2, *size, channels), x_zero)}, threads=1 + seed % 2)


def test_global_average_pool():
    net = operator_net("Int8AveragePool", ["x"], {}, global_pooling=1, order="NHWC", Y_scale=0.4, Y_zero_point=9)
    assert_equal(net, {"x": tensor(np.random.default_rng(0), (3, 7, 5, 133), 17)})


SPECIALS = [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 127.5, -128.5]


@examples(40)
@given(st.floats(2.0**-10, 2.0**10, width=32), ZERO_POINTS, st.integers(1, 5), SEEDS)
def test_quantize_and_dequantize(scale, zero_point, channels, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(0, 100, (2, channels, 3, 37)) * scale).astype(np.float32)
    with np.errstate(over="ignore"):
        x.flat[: len(SPECIALS)] = np.array(SPECIALS, np.float32) * np.float32(scale)
    quantized = dict(Y_scale=float(np.float32(scale)), Y_zero_point=zero_point)
    assert_equal(operator_net("Int8Quantize", ["x"], {}, **quantized), {"x": x})

    predict = caffe2_pb2.NetDef(external_input=["x"], external_output=["y"])
    add_operator(predict, "NCHW2NHWC", ["x"], ["nhwc"])
    add_operator(predict, "Int8Quantize", ["nhwc"], ["y"], **quantized)
    assert_equal(Net(predict), {"x": x})

    every_byte = Int8Tensor(np.arange(256, dtype=np.uint8).reshape(2, 128), float(np.float32(scale)), zero_point)
    assert_equal(operator_net("Int8Dequantize", ["x"], {}), {"x": every_byte})


ALIKE = dict(Y_scale=0.1, Y_zero_point=77)


@pytest.mark.parametrize(
    "kind, arguments",
    [
        ("Int8Relu", ALIKE),
        ("Int8LeakyRelu", dict(Y_scale=0.3, Y_zero_point=5, alpha=0.2)),
        ("Int8Sigmoid", dict(Y_scale=1 / 256, Y_zero_point=0)),
        ("Int8Flatten", ALIKE),
        ("Int8Reshape", dict(shape=(4, -1), **ALIKE)),
        ("Int8ChannelShuffle", dict(group=3, order="NHWC", **ALIKE)),
        ("Int8Transpose", dict(axes=(0, 3, 1, 2), **ALIKE)),
        ("Int8Transpose", dict(axes=(0, 2, 1, 3), **ALIKE)),
        ("Int8ResizeNearest", dict(height_scale=2.0, width_scale=1.5, **ALIKE)),
        ("Int8Slice", dict(starts=(0, 0, 0, 3), ends=(-1, -1, -1, 40), **ALIKE)),
        ("Int8Slice", dict(starts=(0, 1, 0, 0), ends=(-1, 3, -1, -1), **ALIKE)),
    ],
)
def test_functions_and_moves_of_bytes(kind, arguments):
    x = tensor(np.random.default_rng(1), (2, 4, 5, 66), 77, float(np.float32(0.1)))
    assert_equal(operator_net(kind, ["x"], {}, **arguments), {"x": x}, threads=2)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_concat(axis):
    rng = np.random.default_rng(2)
    shapes = [[2, 3, 4, 5] for _ in range(3)]
    for i, shape in enumerate(shapes):
        shape[axis] += i
    net = operator_net("Int8Concat", ["a", "b", "c"], {}, axis=axis, Y_scale=0.5, Y_zero_point=3)
    feeds = {name: tensor(rng, shape, 3) for name, shape in zip("abc", shapes, strict=True)}
    assert_equal(net, feeds)


def island_net(operators, inputs: dict[str, Int8Tensor], scale: float, zero_point: int) -> Net:
    """Inputs dequantized as X_real; operators (type, inputs, output, arguments); the last one's output quantized."""
    predict = caffe2_pb2.NetDef(name="island", external_input=list(inputs), external_output=["y"])
    for name in inputs:
        add_operator(predict, "Int8Dequantize", [name], [f"{name}_real"])
    for kind, names, output, arguments in operators:
        add_operator(predict, kind, names, [output], **arguments)
    add_operator(predict, "Int8Quantize", [operators[-1][2]], ["y"], Y_scale=scale, Y_zero_point=zero_point)
    return Net(predict, make_init({}))


@st.composite
def broadcast_shapes(draw):
    """Shapes of two tensors that broadcast to each other, both or one of them whole."""
    shape = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    narrow = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    first, second = (tuple(1 if one else d for d, one in zip(shape, draw(narrow), strict=True)) for _ in range(2))
    return draw(st.sampled_from([(tuple(shape), second), (first, tuple(shape)), (first, second)]))


@examples(60)
@given(broadcast_shapes(), st.sampled_from(["Mul", "Add", "Sub", "Div"]), ZERO_POINTS, ZERO_POINTS, SEEDS)
def test_islands_of_two_tensors(shapes, kind, x_zero, y_zero, seed):
    """One table for a sigmoid of one and arithmetic with the other, whichever broadcasts."""
    rng = np.random.default_rng(seed)
    feeds = {"x": tensor(rng, shapes[0], x_zero, 0.05), "z": tensor(rng, shapes[1], 128, 0.03)}
    operators = [("Sigmoid", ["z_real"], "gate", {}), (kind, ["x_real", "gate"], "made", {})]
    assert_equal(island_net(operators, feeds, 0.02, y_zero), feeds, threads=1 + seed % 2)


@examples(60)
@given(
    st.sampled_from(["Swish", "Relu", "Alias"]),
    st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.booleans(), st.booleans(),
    st.integers(2, 40), st.tuples(st.integers(5, 20), st.integers(5, 20)), ZERO_POINTS, SEEDS,
)  # fmt: skip
def test_pools_of_islands(kind, kernel, stride, pad, counts, is_global, channels, size, x_zero, seed):
    """Means in float32 of a function of bytes, to the last bit."""
    window = {"global_pooling": 1} if is_global else {"kernel": kernel, "stride": stride, "pad": min(pad, kernel - 1)}
    rng = np.random.default_rng(seed)
    feeds = {"x": tensor(rng, (1 + seed % 2, *size, channels), x_zero, 0.05)}
    pool = {**window, "order": "NHWC", "count_include_pad": int(counts)}
    operators = [(kind, ["x_real"], "made", {}), ("AveragePool", ["made"], "pooled", pool)]
    net = island_net(operators, feeds, 0.02, 99)
    assert_equal(net, feeds, threads=1 + seed % 2)
    want, have = (net.session(backend).run(feeds, ["pooled"])["pooled"] for backend in ("reference", "exact"))
    np.testing.assert_array_equal(have, want)


@examples(30)
@given(st.integers(1, 3), st.integers(1, 1100), st.floats(2.0**-10, 1, width=32), SEEDS)
def test_softmax(rows, channels, scale, seed):
    net = operator_net("Int8Softmax", ["x"], {}, Y_scale=1 / 256, Y_zero_point=0)
    assert_equal(net, {"x": tensor(np.random.default_rng(seed), (rows, channels), 12, float(np.float32(scale)))})


# ------------------------------------------------------- sizes are checked before memory is touched


def make_program(instruction_set, sizes):
    program = kernels.Program(instruction_set, kernels.ThreadPool(1), sum(sizes))
    offsets = np.cumsum([0, *sizes[:-1]])
    return program, [program.buffer(int(offset), size) for offset, size in zip(offsets, sizes, strict=True)]


def test_buffers_lie_within_the_arena(instruction_set):
    program, _ = make_program(instruction_set, [64])
    for offset, nbytes in [(-1, 4), (0, 65), (64, 1), (2**62, 2**62), (0, -1)]:
        with pytest.raises(ValueError, match="arena"):
            program.buffer(offset, nbytes)
    for nbytes in (-1, 2**62):
        with pytest.raises(ValueError, match="arena"):
            kernels.Program(instruction_set, kernels.ThreadPool(1), nbytes)


def test_steps_stay_within_their_buffers(instruction_set):
    program, (x, y, _, odd) = make_program(instruction_set, [16, 16, 1, 8])
    table = np.zeros(256, np.uint8)
    for call in [
        lambda: program.look_up(x, y, 17, table),
        lambda: program.look_up(x, 7, 16, table),
        lambda: program.look_up(x, y, 16, table[:255]),
        lambda: program.dequantize(x, y, 5, 1.0, 0),
        lambda: program.quantize(x, y, 5, 1.0, 0),
        lambda: program.quantize_planes(x, y, 1, 5, 1, 1.0, 0),
        lambda: program.add(x, y, y, 17, 1, 0, 1, 0, 20, 0, 0),
        lambda: program.add(x, y, y, 16, 1, 0, 1, 0, 33, 0, 0),
        lambda: program.softmax(x, y, 2, 9, np.zeros(256, np.int64)),
        lambda: program.softmax(x, y, 2, 8, np.full(256, -1, np.int64)),
        lambda: program.softmax(x, y, 2, 8, np.full(256, 2**56, np.int64)),
        lambda: program.look_up_floats(x, odd, 1, np.zeros(256, np.float32)),
        lambda: program.dequantize(x, odd, 1, 1.0, 0),
        lambda: program.quantize(odd, y, 1, 1.0, 0),
        lambda: program.quantize_planes(odd, y, 1, 1, 1, 1.0, 0),
        lambda: program.look_up_floats(x, y, 5, np.zeros(256, np.float32)),
        lambda: program.look_up_floats(x, y, 4, np.zeros(255, np.float32)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 3 + [17, 1, 1], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 3 + [4, 6, 1], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 2 + [2, 8, 15, 2, 8, 2], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 3 + [4, -1, 1], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 3 + [0, 1, 1], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 2 + [4, 1, 1], np.zeros(65536, np.uint8)),
        lambda: program.look_up_pairs(x, x, y, [1, 0, 0] * 3 + [16, 1, 1], np.zeros(65535, np.uint8)),
        lambda: program.average_floats(x, y, window(), 1, True, np.zeros(256, np.float32)),
        lambda: program.average_floats(x, y, window(input=(4, 5), output=(1, 1)), 1, True, np.zeros(256, np.float32)),
        lambda: program.average_floats(x, y, window(output=(1, 1)), 1, True, np.zeros(255, np.float32)),
        lambda: program.average_floats(
            x, y, window(output=(1, 1), dilation=(2, 1)), 1, True, np.zeros(256, np.float32)
        ),
        lambda: program.gather(x, y, 1, [0, -1]),
        lambda: program.gather(x, y, 4, [0, 13]),
        lambda: program.gather(x, y, 4, [0] * 5),
        lambda: program.gather(x, y, 2**62, [0, 0]),
        lambda: program.gather(x, y, 1, []),
        lambda: program.copy(x, y, 2, 8, 1, 8, 0, 8),
        lambda: program.copy(x, y, 2, 8, 0, 8, 0, 2**62),
        lambda: program.copy(x, y, 2, 8, -1, 8, 0, 8),
        lambda: program.run(0, 1),
    ]:
        with pytest.raises(ValueError):
            call()
    assert len(program) == 0


def window(**changes):
    """A window of 3 by 3 on 4 by 4 pixels, padded, or what changes make of it."""
    sizes = dict(images=1, input=(4, 4), output=(4, 4), kernel=(3, 3))
    return kernels._int8.Window(**(sizes | dict(stride=(1, 1), dilation=(1, 1), pads=(1, 1)) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        dict(output=(1, 2**16), stride=(1, 2**10)),
        dict(output=(2**16, 1), stride=(2**10, 1)),
        dict(kernel=(1, 2**12), dilation=(1, 2**13)),
        dict(kernel=(2**12, 2**12)),
    ],
)
def test_windows_that_span_more_than_any_image(changes):
    with pytest.raises(ValueError, match="of a window"):
        window(**changes)


def add_convolution(program, buffers, window, channels, groups, weights, bias):
    requantization = kernels._int8.Requantization(0.5, 0, 0)
    program.convolution(*buffers, window, channels, groups, weights, bias, 0, 0, requantization)


@pytest.mark.parametrize(
    "changes",
    [
        dict(images=2),
        dict(input=(5, 4)),
        dict(output=(4, 5)),
        dict(kernel=(0, 3)),
        dict(stride=(0, 1)),
        dict(output=(2**23, 2**23)),
        dict(input=(2**23, 2**23)),
        dict(kernel=(2**40, 3)),
        dict(dilation=(1, 2**40)),
        dict(pads=(-1, 0)),
        dict(images=2**62),
    ],
)
def test_convolutions_and_pools_stay_within_their_buffers(instruction_set, changes):
    for channels, groups, per_group in [(3, 1, 3), (3, 3, 1)]:
        program, buffers = make_program(instruction_set, [48, 48, 3 * 36])
        weights, bias = np.zeros((3, 3, 3, per_group), np.uint8), np.zeros(3, np.int32)
        add_convolution(program, buffers, window(), channels, groups, weights, bias)
        program.run(0, len(program))
        with pytest.raises(ValueError):
            add_convolution(program, buffers, window(**changes), channels, groups, weights, bias)
        with pytest.raises(ValueError):
            program.average(*buffers[:2], window(**changes), channels, 0, 1 << 23, 24, 0, 0)


def test_parameters_that_do_not_fit_are_refused(instruction_set):
    program, buffers = make_program(instruction_set, [48, 48, 3 * 36])
    for weights, bias, groups in [(26, 3, 1), (81, 4, 1), (81, 3, 2), (81, 3, 0), (0, 0, 1), (0, 3, 1)]:
        content = np.zeros(weights, np.uint8), np.zeros(bias, np.int32)
        with pytest.raises(ValueError):
            add_convolution(program, buffers, window(), 3, groups, *content)
    for arguments in [(1.0, 0, 0), (0.0, 0, 0), (float("nan"), 0, 0), (0.5, 256, 0), (0.5, 0, -1)]:
        with pytest.raises(ValueError):
            kernels._int8.Requantization(*arguments)
