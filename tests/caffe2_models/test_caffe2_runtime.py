"""The real Caffe2 as a runtime, and as the judge of the others."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import CASES, Case, flip, normal
from random_nets import random_net

from caffe2_models import Int8Tensor, ModelError, Net
from caffe2_models.build import add_operator
from caffe2_models.kernels import is_available
from caffe2_models.operators import OPERATORS
from caffe2_models.proto import caffe2_pb2

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("caffe2_python")]

EXACT = ["reference", *(["exact"] if is_available() else [])]


@pytest.mark.parametrize("kind", [kind for kind in OPERATORS if kind != "AsyncIf"])  # Caffe2 has that one on no CPU
def test_operators(kind):
    for seed in range(10):
        case = CASES[kind](np.random.default_rng([seed, 1, *kind.encode()]))
        want = case.net().session("caffe2", threads=1).run(case.feeds, case.output_names)
        in_onnx = OPERATORS[kind].is_in_onnx() and case.has_exact_sizes
        for backend in [*EXACT, *(["onnxruntime"] if in_onnx else [])]:
            got = case.net().session(backend, threads=1).run(case.feeds, case.output_names)
            for name in case.output_names:
                assert_close(got[name], want[name], 2e-5, only_shape=case.is_random)


@settings(max_examples=320, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 16))
def test_random_nets(seed, steps):
    """Every blob of every net, in every runtime; quantized ones byte for byte."""
    net, feeds, blobs = random_net(np.random.default_rng(seed), steps, wild=True)
    want = net.session("caffe2", threads=1).run(feeds, blobs)
    for backend in [*EXACT, "onnxruntime"]:
        got = net.session(backend, threads=1).run(feeds, blobs)
        for name in blobs:
            assert_close(got[name], want[name], 1e-3)  # a dozen layers add up their rounding


def computed(backend: str, kind: str, inputs: list, outputs: int = 1, **arguments) -> list | None:
    """The outputs of one operator; None where it is refused."""
    case = Case(kind, inputs, arguments, outputs=outputs, fed=len(inputs))
    try:
        results = case.net().session(backend, threads=1).run(case.feeds, case.output_names)
    except ModelError:
        return None
    return [results[name] for name in case.output_names]


def assert_equal(kind: str, inputs: list, outputs: int = 1, **arguments) -> None:
    """As Caffe2 says, to the last bit, or refused as by Caffe2."""
    want = computed("caffe2", kind, inputs, outputs, **arguments)
    for backend in EXACT:
        got = computed(backend, kind, inputs, outputs, **arguments)
        assert (got is None) == (want is None)
        for have, expected in zip(got or (), want or (), strict=True):
            assert have.dtype == expected.dtype
            np.testing.assert_array_equal(have, expected)


def with_odd_values(rng, *shape: int) -> np.ndarray:
    """Normal values, some of which are no numbers, and sometimes some infinite."""
    x = normal(rng, *shape)
    x[rng.random(shape) < rng.choice([0.02, 0.3, 0.8])] = np.nan
    x[rng.random(shape) < rng.choice([0, 0, 0.2])] = rng.choice([-np.inf, np.inf])
    return x


@settings(max_examples=200, derandomize=True, deadline=None)
@given(dims=st.integers(1, 3), order=st.sampled_from(["NCHW", "NHWC"]), is_global=st.booleans(),
       seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_largest_of_what_is_no_number(dims, order, is_global, seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 12 if dims < 3 else 7, dims)
    kernel = [int(rng.integers(1, min(extent, 9) + 1)) for extent in size]
    window = {"kernels": kernel, "strides": rng.integers(1, 4, dims).tolist()}
    if flip(rng):
        window["pads"] = [int(rng.integers(0, extent)) for extent in kernel * 2]
    x = with_odd_values(rng, *rng.integers(1, 5, 2), *size)
    x = np.moveaxis(x, 1, -1).copy() if order == "NHWC" else x
    assert_equal("MaxPool", [x], order=order, **({"global_pooling": 1} if is_global else window))


@pytest.mark.parametrize("kind", [kind for kind in OPERATORS if "RowwiseQuantized" in kind and not
                                  kind.startswith("Fused")] + ["FloatToRowwiseQuantized8Bits"])  # fmt: skip
def test_rows_with_what_is_no_number(kind):
    rng = np.random.default_rng([*kind.encode()])
    for _ in range(40):
        x = with_odd_values(rng, int(rng.integers(1, 6)), 4 * int(rng.integers(1, 25)))
        x *= np.float32(rng.choice([0.01, 1, 50]))
        outputs = 2 if kind == "FloatToRowwiseQuantized8Bits" else 1
        assert_equal(kind, [x.astype(np.float16) if kind.startswith("Half") else x], outputs)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_members_of_another_type(dtype):
    x = np.array([0, 1, 2, 3, 300]).astype(dtype)
    for value in ([1, 3], [0], [2**32 + 1], []):
        for code in ({}, {"dtype": 1}, {"dtype": 2}, {"dtype": 5}, {"dtype": 10}):
            assert_equal("IsMemberOf", [x], **({"value": value} if value else {}), **code)


def test_scatter_by_fewer_indices():
    rng = np.random.default_rng(0)
    data = normal(rng, 3, 4, 5)
    for axis in range(3):
        for shape in ((3, 4, 5), (2, 4, 5), (3, 2, 5), (3, 4, 1), (1, 2, 3), (1, 1, 1)):
            where = np.argsort(rng.random(shape), axis=axis)
            assert_equal("Scatter", [data, where, normal(rng, *shape)], axis=axis)


@pytest.mark.parametrize("lengths", [[2, 3], [2, 5], [-1, 7], [7, -1], [0, 0], []])
@pytest.mark.parametrize("kind", ["LengthsSum", "LengthsMean", "LengthsMax", "LengthsWeightedSum", "SparseLengthsSum",
                                  "SparseLengthsMean", "SparseLengthsWeightedSum"])  # fmt: skip
def test_lengths_that_do_not_add_up(kind, lengths):
    data, weights, indices = np.ones((6, 2), np.float32), np.ones(6, np.float32), np.arange(6)
    inputs = [data, *[weights] * ("Weighted" in kind), *[indices] * kind.startswith("Sparse")]
    assert_equal(kind, [*inputs, np.array(lengths, np.int32)])


def assert_close(got, want, tolerance, only_shape=False):
    if isinstance(want, Int8Tensor):
        assert np.float32(got.scale) == np.float32(want.scale) and got.zero_point == want.zero_point
        assert got.data.dtype == want.data.dtype and np.array_equal(got.data, want.data)
    else:
        assert got.shape == want.shape and got.dtype == want.dtype
        finite = want[np.isfinite(want)].astype(np.float64)
        largest = max(1.0, np.abs(finite).max(initial=0))
        assert only_shape or np.allclose(got, want, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def test_every_input_byte_of_the_tables():
    """Int8Sigmoid, Int8LeakyRelu and Int8Softmax over many scales: how the C library rounds matters."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        scale, zero_point = float(np.float32(np.exp(rng.uniform(-9, 2)))), int(rng.integers(0, 256))
        x = Int8Tensor(np.arange(256, dtype=np.uint8).reshape(2, 128), scale, zero_point)
        probability = {"Y_scale": 1 / 256, "Y_zero_point": 0}
        slope = {"alpha": float(rng.uniform(0.001, 1)), "Y_scale": scale * float(rng.uniform(0.01, 100))}
        for kind, arguments in [
            ("Int8Sigmoid", probability),
            ("Int8Softmax", probability),
            ("Int8LeakyRelu", {**slope, "Y_zero_point": int(rng.integers(0, 256))}),
        ]:
            case = Case(kind, [x], arguments)
            want = case.net().session("caffe2", threads=1).run(case.feeds)["y0"]
            got = case.net().session("reference").run(case.feeds)["y0"]
            assert np.array_equal(got.data, want.data), (kind, scale, zero_point, arguments)


def quantized_input(scale: float) -> Int8Tensor:
    return Int8Tensor(np.arange(64, dtype=np.uint8).reshape(1, 4, 4, 4), scale, 100)


def layer(x_scale: float, w_scale: float, y_scale: float) -> Case:
    weight = Int8Tensor(np.arange(128, dtype=np.uint8).reshape(2, 64), w_scale, 60)
    bias = Int8Tensor(np.array([5, -5], np.int32), 1.0, 0)
    return Case("Int8FC", [quantized_input(x_scale), weight, bias], {"Y_scale": y_scale, "Y_zero_point": 7})


def addition(scale: float) -> Case:
    output = {"Y_scale": 1.0, "Y_zero_point": 9}
    return Case("Int8Add", [quantized_input(1.0), quantized_input(scale)], output, fed=2)


def average(scale: float) -> Case:
    return Case("Int8AveragePool", [quantized_input(scale)], {"kernel": 2, "order": "NHWC", "Y_scale": 1.0})


def below(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(0)))


@pytest.mark.parametrize(
    ("make", "taken", "refused"),
    [
        (lambda s: layer(1.0, s, 1.0), [below(1.0), 2.0**-20], [1.0, 1.5]),
        (addition, [2.0**-14, below(2.0**8)], [below(2.0**-14), 2.0**8]),
        (average, [2.0**-8, below(2.0**8)], [below(2.0**-8), 2.0**8]),
    ],
)
def test_refusals_begin_where_qnnpacks_do(make, taken, refused):
    for scale in taken:
        case = make(scale)
        want = case.net().session("caffe2", threads=1).run(case.feeds)["y0"]
        assert np.array_equal(case.net().session("reference").run(case.feeds)["y0"].data, want.data)
    for scale in refused:
        case = make(scale)
        with pytest.raises(ModelError, match=r"Caffe2: .*QNNPACK"):
            case.net().session("caffe2", threads=1).run(case.feeds)
        with pytest.raises(ModelError, match="which QNNPACK refuses"):
            case.net().session("reference").run(case.feeds)


def test_a_crash_of_caffe2_is_one_error_and_the_next_net_runs():
    other_scale = {"Y_scale": 2.0, "Y_zero_point": 100}
    clash = Case("Int8Concat", [quantized_input(1.0), quantized_input(1.0)], other_scale, fed=2)
    session = clash.net().session("caffe2", threads=1)
    survivor = CASES["Relu"](np.random.default_rng(0))
    other = survivor.net().session("caffe2", threads=1)
    with pytest.raises(ModelError, match="Caffe2 was ended by SIGABRT: "):
        session.run(clash.feeds)
    assert np.array_equal(other.run(survivor.feeds)["y0"], np.maximum(survivor.feeds["x0"], 0))


def test_what_caffe2_refuses_is_one_line():
    net = caffe2_pb2.NetDef(external_input=["x"])
    add_operator(net, "NoSuchOperator", ["x"], ["y"])
    with pytest.raises(ModelError, match=r"^Caffe2: .*NoSuchOperator") as error:
        Net(net).session("caffe2", threads=1)
    assert "\n" not in str(error.value)


def test_benchmark_gives_a_time_for_the_net_and_for_each_operator():
    case = CASES["Relu"](np.random.default_rng(0))
    times = case.net().session("caffe2", threads=1).benchmark(case.feeds, warmup=1, runs=2)
    assert len(times) == 2 and min(times) > 0


def test_a_missing_interpreter_is_bad_input(monkeypatch):
    monkeypatch.setitem(os.environ, "CAFFE2_PYTHON", "/no/such/python")
    with pytest.raises(ModelError, match="/no/such/python: cannot be started"):
        CASES["Relu"](np.random.default_rng(0)).net().session("caffe2", threads=3)
