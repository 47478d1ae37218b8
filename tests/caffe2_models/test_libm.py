"""Functions of the C library are those of the GNU one, bit for bit, wherever they run."""

import ctypes
import platform

import numpy as np
import pytest

from caffe2_models import kernels
from caffe2_models.libm import expf

NEW_ENOUGH = (2, 28)  # the version that brought this expf


def glibc():
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < NEW_ENOUGH:
        pytest.skip("the C library here is another")
    function = ctypes.CDLL("libm.so.6").expf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return function


def numbers(rng) -> np.ndarray:
    return np.concatenate([rng.uniform(-110, 95, 20000), rng.normal(0, 2, 20000)]).astype(np.float32)


def test_expf():
    x = numbers(np.random.default_rng(0))
    np.testing.assert_array_equal(expf(x), np.array(list(map(glibc(), x.tolist())), np.float32))


def test_expf_of_what_is_no_number_or_beyond_float32():
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0], np.float32)
    np.testing.assert_array_equal(expf(x), np.array([np.nan, np.inf, 0, np.inf, 0, 1], np.float32))


@pytest.mark.skipif(kernels.find("transform_boxes") is None, reason="the C++ extension is not built")
def test_expf_of_the_kernels():
    """Of a box from 0 to 0, its side 1, the deltas' powers are the sides."""
    deltas = np.zeros((20000, 4), np.float32)
    deltas[:, 2:] = np.random.default_rng(1).uniform(-110, 4, (20000, 2))
    boxes = np.zeros_like(deltas)
    info = np.array([[1e6, 1e6, 1]], np.float32)
    boxes[:, :2] = boxes[:, 2:] = 0.5  # centers at 1
    moved = kernels.find("transform_boxes")(
        boxes, deltas, info, np.array([20000]), (1.0,) * 4, True, True, False, None, 1.0
    )
    half = np.float32(0.5) * expf(deltas[:, 2:])
    np.testing.assert_array_equal(moved[:, 2:], np.maximum(np.float32(1) + half - np.float32(1), np.float32(0)))
