"""Float images row by row give what `reference` does, on every instruction set of this machine."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from caffe2_models import Net, kernels
from caffe2_models.build import add_operator, make_init
from caffe2_models.net import Part
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("instruction_set"),
    pytest.mark.skipif(not kernels.is_available(), reason="the kernels were not built"),
]

SEEDS = st.integers(0, 2**32 - 1)
EPSILON = 2.0**-24
PIXELS = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess"
BYTES = "BRGNCHWCToPackedInt8BGRAStylizerDeprocess"


def examples(count):
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, suppress_health_check=quiet)


def make_net(operators, parameters, engine="") -> Net:
    """operators: (type, inputs, arguments), each of which writes its place: y0, y1, ..."""
    predict = caffe2_pb2.NetDef(name="rows", external_input=["x", *parameters])
    for i, (kind, read, arguments) in enumerate(operators):
        outputs = [f"y{i}", f"split{i}"] if kind == "Concat" else [f"y{i}"]
        add_operator(predict, kind, read, outputs, **arguments)
        predict.op[i].engine = engine
    predict.external_output.append(f"y{len(operators) - 1}")
    return Net(predict, make_init(parameters))


def run_rows(net, feeds, threads=1, fused=True):
    """The net's output, all of it by rows."""
    from caffe2_models.kernels.rows import RowPlan

    part = Part(net, net.operators)
    pool = kernels.ThreadPool(threads)
    plan = RowPlan(part, input_types(feeds), net.outputs, kernels.chosen_instruction_set(), pool, fused)
    return plan.run(feeds)[net.outputs[0]]


def reference(net, feeds):
    return net.session("reference").run(feeds)[net.outputs[0]]


def assert_near(have, want, magnitude, terms):
    """Each of two sums of `terms` products, whose magnitudes add up to `magnitude`, is off by so much at most."""
    assert have.dtype == want.dtype and have.shape == want.shape
    assert (np.abs(have.astype(float) - want) <= 2 * (terms + 3) * EPSILON * magnitude + 1e-30).all()


@st.composite
def windows(draw, largest_stride=3):
    """(kernel, stride, pads)"""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, largest_stride), st.integers(1, largest_stride)))
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4)) if draw(st.booleans()) else (0, 0, 0, 0)
    return kernel, stride, pads


WIDTHS = st.one_of(st.integers(1, 12), st.integers(13, 120))


@examples(80)
@given(windows(), st.tuples(st.integers(1, 9), WIDTHS), st.integers(1, 2), st.integers(1, 9), st.integers(1, 24),
       st.integers(1, 3), st.sampled_from([(1, 1), (1, 1), (2, 3)]), st.booleans(), SEEDS)  # fmt: skip
def test_convolution(window, size, images, channels, out_channels, group, dilation, has_bias, seed):
    kernel, stride, pads = window
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(s, e - a - b) for s, e, a, b in zip(size, extents, pads[:2], pads[2:], strict=True))
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (2 * group * -(-out_channels // (2 * group)), channels, *kernel)).astype(np.float32)
    assume(len(weight) <= 24)
    bias = rng.normal(0, 1, len(weight)).astype(np.float32)
    parameters = {"w": weight, "b": bias} if has_bias else {"w": weight}
    arguments = dict(kernels=kernel, strides=stride, pads=pads, dilations=dilation, group=group)
    net = make_net([("Conv", ["x", *parameters], arguments)], parameters)
    feeds = {"x": rng.normal(0, 1, (images, channels * group, *size)).astype(np.float32)}
    absolute = make_net([("Conv", ["x", *parameters], arguments)], {k: np.abs(v) for k, v in parameters.items()})
    magnitude = reference(absolute, {"x": np.abs(feeds["x"])})
    assert_near(run_rows(net, feeds), reference(net, feeds), magnitude, weight[0].size)
    np.testing.assert_array_equal(run_rows(net, feeds, fused=False), reference(net, feeds))


@examples(60)
@given(st.tuples(st.integers(1, 4), st.integers(3, 10)), st.tuples(*[st.integers(0, 4)] * 4),
       st.tuples(st.integers(1, 9), WIDTHS), st.integers(1, 9), st.integers(1, 24), SEEDS)  # fmt: skip
def test_convolution_by_winograd(kernel, pads, size, channels, out_channels, seed):
    """Where a net names NNPACK. F(4, 3) makes up to 48 times as much of a rounding, and rounds twelve times more."""
    size = tuple(max(s, k - a - b) for s, k, a, b in zip(size, kernel, pads[:2], pads[2:], strict=True))
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (out_channels, channels, *kernel)).astype(np.float32)
    parameters = {"w": weight, "b": rng.normal(0, 1, out_channels).astype(np.float32)}
    net = make_net([("Conv", ["x", "w", "b"], dict(kernels=kernel, pads=pads))], parameters, engine="NNPACK")
    feeds = {"x": rng.normal(0, 1, (1, channels, *size)).astype(np.float32)}
    terms = weight[0].size
    magnitude = np.abs(weight).sum(axis=(1, 2, 3)).max() * np.abs(feeds["x"]).max() + 3
    assert_near(run_rows(net, feeds), reference(net, feeds), 48 * magnitude, terms + 12)


@examples(80)
@given(windows(4), st.tuples(st.integers(1, 9), WIDTHS), st.integers(1, 2), st.integers(1, 9), st.integers(1, 12),
       st.integers(1, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)), SEEDS)  # fmt: skip
def test_transposed_convolution(window, size, images, channels, out_channels, group, adj, seed):
    kernel, stride, pads = window
    adj = [min(a, s - 1) for a, s in zip(adj, stride, strict=True)]
    output = [(n - 1) * s + k + a - p - q
              for n, s, k, a, p, q in zip(size, stride, kernel, adj, pads[:2], pads[2:], strict=True)]  # fmt: skip
    assume(min(output) > 0 and (group == 1 or out_channels > 1) and group * out_channels <= 24)
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (channels * group, out_channels, *kernel)).astype(np.float32)
    parameters = {"w": weight, "b": rng.normal(0, 1, out_channels * group).astype(np.float32)}
    arguments = dict(kernels=kernel, strides=stride, pads=pads, group=group, adjs=adj)
    net = make_net([("ConvTranspose", ["x", "w", "b"], arguments)], parameters)
    feeds = {"x": rng.normal(0, 1, (images, channels * group, *size)).astype(np.float32)}
    absolute = make_net([("ConvTranspose", ["x", "w", "b"], arguments)], {k: np.abs(v) for k, v in parameters.items()})
    magnitude = reference(absolute, {"x": np.abs(feeds["x"])})
    assert_near(run_rows(net, feeds), reference(net, feeds), magnitude, channels * kernel[0] * kernel[1])
    np.testing.assert_array_equal(run_rows(net, feeds, fused=False), reference(net, feeds))


@examples(60)
@given(windows(4), st.sampled_from(["AveragePool", "MaxPool"]), st.tuples(st.integers(1, 9), WIDTHS), st.booleans(),
       st.sampled_from([0, 3]), SEEDS)  # fmt: skip
def test_pools(window, kind, size, counts_padding, longer, seed):
    kernel, stride, pads = window
    kernel = (kernel[0], kernel[1] + longer)  # to eight columns, which are added up otherwise
    assume(all(p < k for p, k in zip(pads, kernel * 2, strict=True)))
    size = tuple(max(s, k) for s, k in zip(size, kernel, strict=True))
    rng = np.random.default_rng(seed)
    arguments = dict(kernels=kernel, strides=stride, pads=pads)
    if kind == "AveragePool":
        arguments["count_include_pad"] = int(counts_padding)
    net = make_net([(kind, ["x"], arguments)], {})
    feeds = {"x": rng.normal(0, 1, (2, 3, *size)).astype(np.float32)}
    if kind == "MaxPool":
        assume(kernel[1] < 4)  # wider ones are left to others
        feeds["x"][rng.random(feeds["x"].shape) < rng.choice([0, 0.1, 0.7])] = rng.choice([np.nan, -np.inf])
        np.testing.assert_array_equal(run_rows(net, feeds), reference(net, feeds))
    else:
        magnitude = reference(net, {"x": np.abs(feeds["x"])})
        assert_near(run_rows(net, feeds), reference(net, feeds), magnitude, kernel[0] * kernel[1])
        np.testing.assert_array_equal(run_rows(net, feeds, fused=False), reference(net, feeds))


MOVES = [
    ("PadImage", dict(pad_t=3, pad_l=1, pad_b=0, pad_r=4, mode="reflect")),
    ("PadImage", dict(pad_t=1, pad_l=5, pad_b=2, pad_r=0, mode="edge")),
    ("PadImage", dict(pad_t=2, pad_l=0, pad_b=1, pad_r=7, mode="constant", value=1.5)),
    ("PadImage", dict(pad_t=-1, pad_l=-2, pad_b=3, pad_r=-1, mode="constant")),
    ("ResizeNearest", dict(width_scale=2.0, height_scale=2.0)),
    ("ResizeNearest", dict(width_scale=0.7, height_scale=1.3)),
]


@pytest.mark.parametrize(("kind", "arguments"), MOVES)
@pytest.mark.parametrize("width", [7, 100])
def test_moved_pixels(kind, arguments, width):
    feeds = {"x": np.random.default_rng(0).normal(0, 1, (2, 3, 6, width)).astype(np.float32)}
    net = make_net([(kind, ["x"], arguments)], {})
    np.testing.assert_array_equal(run_rows(net, feeds), reference(net, feeds))


@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "PRelu", "Clip", "ReluN"])
@pytest.mark.parametrize("before", ["Conv", "Add", "MaxPool"])
def test_activations(kind, before):
    """With what is before them, or where that takes none alone; of zeros, infinities and what is no number too."""
    rng = np.random.default_rng(0)
    parameters = {"w": np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1), "slope": rng.normal(0, 1, 5).astype(np.float32)}
    read = {"Conv": ["x", "w"], "Add": ["x", "x"], "MaxPool": ["x"]}[before]
    arguments = {"Clip": dict(min=-0.5, max=0.75), "ReluN": dict(n=1.5), "LeakyRelu": dict(alpha=0.3)}.get(kind, {})
    first = (before, read, {} if before == "Add" else dict(kernel=1))
    net = make_net([first, (kind, ["y0", "slope"] if kind == "PRelu" else ["y0"], arguments)], parameters)
    x = rng.normal(0, 1, (1, 5, 4, 21)).astype(np.float32)
    if before != "Conv":
        x[:, :, 0, :4] = [0, np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(run_rows(net, {"x": x}), reference(net, {"x": x}))


def test_wide_windows_are_left_to_others():
    """Of a largest value: `reference` compares in vectors, which matters where some are no numbers."""
    from caffe2_models.kernels.rows import find_stage

    for width, is_taken in ((3, True), (4, False)):
        net = make_net([("MaxPool", ["x"], dict(kernels=[2, width]))], {})
        [step] = net.walk(input_types({"x": np.zeros((1, 2, 8, 8), np.float32)}))
        assert (find_stage(step, [None]) is not None) == is_taken


def test_branches_that_meet():
    """A batch normalization, and parts of an image that are joined."""
    rng = np.random.default_rng(0)
    parameters = {name: rng.uniform(0.5, 2, 6).astype(np.float32) for name in ("s", "b", "m", "v", "t", "u")}
    parameters["w"] = rng.normal(0, 1, (4, 13, 3, 3)).astype(np.float32)
    operators = [
        ("SpatialBN", ["x", "s", "b", "m", "v"], dict(is_test=1)),
        ("Relu", ["y0"], {}),
        ("MaxPool", ["x"], dict(kernel=3, pad=1)),
        ("AffineChannel", ["y2", "t", "u"], {}),
        ("Conv", ["x", "p"], dict(kernel=1)),
        ("Concat", ["y1", "y4", "y3"], {}),
        ("Conv", ["y5", "w"], dict(kernel=3, pad=1)),
    ]
    parameters["p"] = rng.normal(0, 1, (1, 6, 1, 1)).astype(np.float32)
    net = make_net(operators, parameters)
    feeds = {"x": rng.normal(0, 1, (2, 6, 40, 33)).astype(np.float32)}
    want = reference(net, feeds)
    np.testing.assert_allclose(run_rows(net, feeds, 2), want, rtol=0, atol=117 * EPSILON * 2 * np.abs(want).max())


def image_net(rng, engine="") -> Net:
    """A style transfer net, in small."""

    def normal(*shape):
        return rng.normal(0, 0.4, shape).astype(np.float32)

    parameters = {
        "mean": np.array([100, 110, 120], np.float32),
        "__CAFFE2_STYLIZER_NOISE__": normal(41),
        **{
            "w0": normal(12, 3, 5, 5) / 9,
            "b0": normal(12),
            "s0": normal(12),
            "w1": normal(8, 12, 3, 3),
            "b1": normal(8),
        },
        **{"w2": normal(8, 3, 3, 3), "b2": normal(3), "s2": normal(3)},
    }
    operators = [
        (PIXELS, ["x", "mean"], dict(noise_size=41)),
        ("AveragePool", ["y0"], dict(kernel=4, stride=4)),
        ("PadImage", ["y1"], dict(pad_t=4, pad_l=4, pad_b=3, pad_r=3, mode="reflect")),
        ("Conv", ["y2", "w0", "b0"], dict(kernel=5)),
        ("PRelu", ["y3", "s0"], {}),
        ("Conv", ["y4", "w1", "b1"], dict(kernel=3, pad=1)),
        ("Relu", ["y5"], {}),
        ("Sum", ["y6", "y5"], {}),
        ("ConvTranspose", ["y7", "w2", "b2"], dict(kernel=3, stride=2, adj=1)),
        ("PRelu", ["y8", "s2"], {}),
        (BYTES, ["y9", "mean"], {}),
    ]
    return make_net(operators, parameters, engine)


@pytest.mark.parametrize("engine", ["", "NNPACK,MOBILE"])
def test_image_to_image(engine):
    """From bytes to bytes: none differs by more than the one of a value that is cut off right at a whole number.

    Where products are rounded before they are added, none does.
    """
    net, rng = image_net(np.random.default_rng(0), engine=engine), np.random.default_rng(1)
    image = rng.integers(0, 256, (2, 96, 180, 4)).astype(np.uint8)
    have, want = run_rows(net, {"x": image}), reference(net, {"x": image})
    assert have.dtype == np.uint8 and (want[..., :3] % 255 > 0).any()
    differences = np.abs(have.astype(int) - want)
    assert differences.max() <= 1 and (differences > 0).mean() < 1e-4
    np.testing.assert_array_equal(run_rows(net, {"x": image}, fused=False), want)
    np.testing.assert_array_equal(net.session("exact", threads=2).run({"x": image})["y10"], want)


def test_threads_change_nothing():
    net, rng = image_net(np.random.default_rng(0)), np.random.default_rng(1)
    image = rng.integers(0, 256, (2, 256, 100, 4)).astype(np.uint8)
    alone = run_rows(net, {"x": image})
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(run_rows(net, {"x": image}, threads), alone)


def stages(net, feeds, outputs=None):
    """(outputs, what compiled each stage) of the onnxruntime runtime"""
    session = net.session("onnxruntime", threads=1)
    found = session.run(feeds, outputs)
    assert not any(stage.then_alone for stage in session._stages.values())
    return found, [type(stage.compiled).__name__ for stage in session._stages.values()]


def test_the_runtime_takes_rows_for_few_channels(instruction_set):
    net, rng = image_net(np.random.default_rng(0)), np.random.default_rng(1)
    feeds = {"x": rng.integers(0, 256, (1, 256, 256, 4)).astype(np.uint8)}
    found, compiled = stages(net, feeds)
    assert compiled == (["Plan"] if instruction_set == "portable" else ["RowPlan"])
    want = net.session("reference").run(feeds)
    assert np.abs(found["y10"].astype(int) - want["y10"]).max() <= 1


def test_other_outputs_of_such_a_net():
    net, rng = image_net(np.random.default_rng(0)), np.random.default_rng(1)
    feeds = {"x": rng.integers(0, 256, (1, 256, 256, 4)).astype(np.uint8)}
    names = ["y10", "y4", "y6"]
    found, want = stages(net, feeds, names)[0], net.session("reference").run(feeds, names)
    assert np.abs(found["y10"].astype(int) - want["y10"]).max() <= 1
    for name in names[1:]:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-4, atol=1e-4)


def test_noise_that_is_fed(instruction_set):
    net, rng = image_net(np.random.default_rng(0)), np.random.default_rng(1)
    feeds = {"x": rng.integers(0, 256, (1, 256, 256, 4)).astype(np.uint8)}
    feeds["__CAFFE2_STYLIZER_NOISE__"] = rng.normal(0, 9, 41).astype(np.float32)
    (found, compiled), want = stages(net, feeds), net.session("reference").run(feeds)
    assert compiled == (["Plan"] if instruction_set == "portable" else ["Plan", "RowPlan"])
    assert np.abs(found["y10"].astype(int) - want["y10"]).max() <= 1


def test_many_channels_stay_with_onnx_runtime():
    rng = np.random.default_rng(0)
    parameters = {"w": rng.normal(0, 0.1, (64, 64, 3, 3)).astype(np.float32)}
    net = make_net([("Conv", ["x", "w"], dict(kernel=3)), ("Relu", ["y0"], {})], parameters)
    feeds = {"x": rng.normal(0, 1, (1, 64, 40, 40)).astype(np.float32)}
    assert stages(net, feeds)[1] == ["Plan"]
