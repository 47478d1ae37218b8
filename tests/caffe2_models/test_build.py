"""Nets written from Python values, read back as nets."""

import numpy as np
import pytest

from caffe2_models import Int8Tensor, Net, UnsupportedError
from caffe2_models.build import add_operator, make_init
from caffe2_models.proto import caffe2_pb2

DTYPES = ["float32", "int16", "int32", "int64", "bool", "uint8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4), (300,), (), (0, 3)])
def test_parameters_come_back_as_they_went_in(dtype, shape):
    value = (np.random.default_rng(0).normal(0, 100, shape)).astype(dtype)
    init = caffe2_pb2.NetDef.FromString(make_init({"w": value}).SerializeToString())
    back = Net(caffe2_pb2.NetDef(), init).parameters["w"]
    assert back.dtype == value.dtype and back.shape == value.shape
    assert np.array_equal(back, value)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_quantized_parameters_come_back_as_they_went_in(dtype):
    value = Int8Tensor(np.arange(24, dtype=dtype).reshape(2, 3, 4), float(np.float32(0.1)), 7)
    back = Net(caffe2_pb2.NetDef(), make_init({"w": value})).parameters["w"]
    assert back.dtype == value.dtype and np.array_equal(back.data, value.data)
    assert (back.scale, back.zero_point) == (value.scale, value.zero_point)


def test_a_type_that_caffe2_does_not_fill_is_refused():
    with pytest.raises(UnsupportedError, match="w: a parameter of complex64"):
        make_init({"w": np.zeros(2, np.complex64)})


def test_arguments_are_read_as_they_were_written():
    net = caffe2_pb2.NetDef()
    values = {
        "i": 3,
        "flag": True,
        "f": 0.5,
        "s": "NHWC",
        "ints": [1, 2],
        "floats": (0.5, 1.0),
        "nothing": None,
    }
    add_operator(net, "Any", ["x"], ["y"], name="layer", **values)
    node = Net(net).operators[0]
    assert (node.type, node.inputs, node.outputs, node.name) == ("Any", ["x"], ["y"], "layer")
    arguments = node.arguments
    assert "nothing" not in arguments
    assert (arguments.get_int("i"), arguments.get_bool("flag"), arguments.get_float("f")) == (3, True, 0.5)
    assert (arguments.get_str("s"), arguments.get_ints("ints"), arguments.get_floats("floats")) == (
        "NHWC",
        (1, 2),
        (0.5, 1.0),
    )
