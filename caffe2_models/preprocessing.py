"""What a Caffe2 net's file records of its inputs, as arguments of its NetDef: preprocessing, shapes, element types."""

import json
from collections.abc import Mapping

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import Dims
from caffe2_models.proto import caffe2_pb2

INPUT_DIMS = "input_dims"  # the name of the NetDef argument: {"data": [null, 3, 48, 320]}

INPUT_DTYPES = "input_dtypes"  # likewise, of those that are not float32: {"ids": "int64"}
DTYPES = {name: np.dtype(name) for name in ("float32", "int32", "int64", "uint8", "int8", "uint16", "int16", "bool")}


def get_preprocessing(net: caffe2_pb2.NetDef) -> Preprocessing | None:
    """What the net's file says of its input, or None where it says nothing."""
    for argument in net.arg:
        if argument.name == KEY:
            return Preprocessing.from_json(argument.s)
    return None


def set_preprocessing(net: caffe2_pb2.NetDef, preprocessing: Preprocessing) -> None:
    """Record the preprocessing in the net, in place of what it said before."""
    _record(net, KEY, preprocessing.to_json())


def get_input_dims(net: caffe2_pb2.NetDef) -> dict[str, Dims]:
    """The shapes of the inputs that the net's file tells, free dimensions as None."""
    for argument in net.arg:
        if argument.name == INPUT_DIMS:
            try:
                return {name: _dims(shape) for name, shape in json.loads(argument.s).items()}
            except (ValueError, TypeError, AttributeError):
                raise ModelError(f"the shapes recorded in the file are unreadable: {str(argument.s)[:80]}") from None
    return {}


def set_input_dims(net: caffe2_pb2.NetDef, dims: Mapping[str, Dims]) -> None:
    """Record the inputs' shapes in the net, in place of what it said before."""
    _record(net, INPUT_DIMS, json.dumps(dims))


def get_input_dtypes(net: caffe2_pb2.NetDef) -> dict[str, np.dtype]:
    """The element types of the inputs that are not float32, as far as the net's file tells them."""
    for argument in net.arg:
        if argument.name == INPUT_DTYPES:
            try:
                return {name: DTYPES[kind] for name, kind in json.loads(argument.s).items()}
            except (ValueError, TypeError, AttributeError, KeyError):
                raise ModelError(f"the types recorded in the file are unreadable: {str(argument.s)[:80]}") from None
    return {}


def set_input_dtypes(net: caffe2_pb2.NetDef, dtypes: Mapping[str, np.dtype]) -> None:
    """Record the element types of inputs that are not float32, in place of what the net said before."""
    _record(net, INPUT_DTYPES, json.dumps({name: dtype.name for name, dtype in dtypes.items()}))


def _dims(shape: list[int | None]) -> Dims:
    if not all(dim is None or (isinstance(dim, int) and dim >= 0) for dim in shape):
        raise ValueError(shape)
    return tuple(shape)


def _record(net: caffe2_pb2.NetDef, key: str, text: str) -> None:
    kept = [argument for argument in net.arg if argument.name != key]
    del net.arg[:]
    net.arg.extend(kept)
    net.arg.add(name=key, s=text.encode())
