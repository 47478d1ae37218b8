"""The real Caffe2 as a runtime, and as the judge of the others."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import CASES, Case
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
