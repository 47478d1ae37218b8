"""float32 sums in order: kernels and numpy agree to the bit, and both with the sums written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2_models import kernels
from caffe2_models.operators import products
from caffe2_models.operators.convolution import correlate
from caffe2_models.operators.node import Node
from caffe2_models.operators.products import convolve, multiply, precise_product, winograd_depthwise
from caffe2_models.operators.window import Fit, Window
from caffe2_models.proto import caffe2_pb2

needs_kernels = pytest.mark.skipif(not kernels.is_available(), reason="the kernels are not built")


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_numpy(monkeypatch):
    monkeypatch.setattr(products.kernels, "find", lambda function: None)


def written_out(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Products of the matrices weight [rows, K] and x [K, pixels], added up one after another."""
    total = np.zeros((len(weight), x.shape[1]), np.float32)
    for k in range(len(x)):
        total += weight[:, k : k + 1] * x[k]
    return total


WINDOWS = st.builds(
    lambda kernel, stride, dilation, pad: Window(kernel, stride, dilation, (pad, 0, 0, pad)),
    *[st.tuples(st.integers(1, 3), st.integers(1, 3))] * 3,
    st.integers(0, 2),
)


@needs_kernels
@given(WINDOWS, st.sampled_from([(1, 3, 5), (2, 2, 1), (3, 1, 7)]), st.integers(1, 3), st.booleans())
def test_kernel_convolves_as_numpy_does(window, channels, count, fused):
    group, per_group, rows = channels
    fit = window.fit(9, 8)
    x, weight = random(0, count, group * per_group, 9, 8), random(1, group * rows, per_group, *window.kernel)
    with pytest.MonkeyPatch.context() as patch:
        got = convolve(x, weight, fit, group, fused)
        in_numpy(patch)
        np.testing.assert_array_equal(got, convolve(x, weight, fit, group, fused))


@given(WINDOWS, st.sampled_from([(1, 3, 5), (2, 2, 1), (3, 1, 7)]))
def test_convolution_is_that_of_whole_numbers(window, channels):
    group, per_group, rows = channels
    fit = window.fit(9, 8)
    x = np.round(random(0, 2, group * per_group, 9, 8) * 9)
    weight = np.round(random(1, group * rows, per_group, *window.kernel) * 9)
    np.testing.assert_array_equal(convolve(x, weight, fit, group), correlate(x, weight, fit, group))


@pytest.mark.parametrize("with_kernels", [True, False])
def test_convolution_of_no_image_is_none(with_kernels, monkeypatch):
    """As regions that a detector does not find are."""
    if not with_kernels:
        in_numpy(monkeypatch)
    fit = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)).fit(5, 4)
    assert convolve(random(0, 0, 4, 5, 4), random(1, 6, 2, 3, 3), fit, 2).shape == (0, 6, 5, 4)
    assert multiply(random(1, 2, 6, 4), random(0, 0, 2, 4, 5)).shape == (0, 2, 6, 5)


@pytest.mark.parametrize("pixels", [1, 31, 32, 100])
@pytest.mark.parametrize("rows", [1, 5, 6, 13])
def test_sums_are_in_order(rows, pixels):
    weight, x = random(0, 2, rows, 300), random(1, 3, 2, 300, pixels)
    got = multiply(weight, x)
    for n, group in np.ndindex(3, 2):
        np.testing.assert_array_equal(got[n, group], written_out(x[n, group], weight[group]))


def test_fused_sums_round_once_a_step():
    """(1 + e)^2 - (1 + 2e) is e^2, which a rounded product loses."""
    small = np.float32(2**-13)
    x = np.array([1, 1 + small], np.float32).reshape(1, 2, 1, 1)
    weight = np.array([-(1 + 2 * small), 1 + small], np.float32).reshape(1, 2, 1, 1)
    fit = Fit((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1))
    assert convolve(x, weight, fit, fused=True).item() == small**2
    assert convolve(x, weight, fit, fused=False).item() == 0


@pytest.mark.parametrize("size", [(3, 5), (8, 6), (7, 3)])
@pytest.mark.parametrize("pad", [0, 1, 2])
def test_winograd_is_the_convolution_of_whole_numbers(size, pad):
    """Its transforms are exact there: halves and quarters of small numbers."""
    fit = Window((3, 3), (1, 1), (1, 1), (pad,) * 4).fit(*size)
    x, weight = np.round(random(0, 2, 5, *size) * 9), np.round(random(1, 5, 1, 3, 3) * 9)
    bias = np.arange(5, dtype=np.float32)
    expected = correlate(x, weight, fit, 5) + bias[:, None, None]
    np.testing.assert_array_equal(winograd_depthwise(x, weight, bias, fit), expected)


@needs_kernels
def test_winograd_kernel_computes_as_numpy_does(monkeypatch):
    fit = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)).fit(9, 12)
    x, weight, bias = random(0, 2, 7, 9, 12), random(1, 7, 1, 3, 3), random(2, 7)
    got = winograd_depthwise(x, weight, bias, fit)
    in_numpy(monkeypatch)
    np.testing.assert_array_equal(got, winograd_depthwise(x, weight, bias, fit))


def test_precise_product_is_float64_rounded(monkeypatch):
    monkeypatch.setattr(products, "BLOCK", 500)
    a, b = random(0, 9, 200), random(1, 200, 11)
    np.testing.assert_array_equal(precise_product(a, b), (a.astype(np.float64) @ b).astype(np.float32))
    assert precise_product(a, b[:, :0]).shape == (9, 0)


def convolution(engine: str, kernel: int, stride: int, group: int) -> np.ndarray:
    op = caffe2_pb2.OperatorDef(type="Conv", input=["x", "w"], output=["y"], engine=engine)
    for name, value in {"kernel": kernel, "stride": stride, "group": group}.items():
        op.arg.add(name=name, i=value)
    return Node(op, 0).compute([random(0, 1, 8, 9, 9), random(1, 8, 8 // group, kernel, kernel)])[0]


@pytest.mark.parametrize(
    ("engine", "kernel", "stride", "group", "differs"),
    [
        ("NNPACK", 1, 1, 1, True),
        ("MOBILE,NNPACK", 3, 2, 1, True),
        ("NNPACK", 3, 1, 1, False),
        ("DEPTHWISE_3x3", 3, 1, 8, True),
        ("DEPTHWISE_3x3", 3, 2, 8, False),
        ("DEPTHWISE_3x3", 3, 1, 1, False),
        ("CUDNN", 1, 1, 1, False),
    ],
)
def test_engine_of_a_file_counts(engine, kernel, stride, group, differs):
    plain, other = (convolution(name, kernel, stride, group) for name in ("", engine))
    assert np.array_equal(plain, other) != differs
    np.testing.assert_allclose(plain, other, rtol=1e-4, atol=1e-5)  # other roundings of sums of 72 products
