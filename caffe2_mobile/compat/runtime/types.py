"""Shapes and types of blobs before anything runs, as Caffe2 writes them down."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_mobile.compat.runtime.serialization import CODES, DTYPES
from caffe2_models.net import Net
from caffe2_models.operators import OPERATORS
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType


def given(dimensions: Mapping[str, Sequence[int]], data_types: Mapping[str, int]) -> dict[str, TensorType]:
    """Types from dimensions and, where they are not float, data types."""
    float_code = CODES["float32"]
    return {
        name: TensorType(tuple(shape), DTYPES.get(data_types.get(name, float_code), np.dtype(np.float32)))
        for name, shape in dimensions.items()
    }


def infer(nets: Iterable[caffe2_pb2.NetDef], known: Mapping[str, TensorType]) -> caffe2_pb2.TensorShapes:
    """The types of all blobs of nets that run one after the other; what follows from nothing known is unknown."""
    types = dict(known)
    unknown: set[str] = set()
    for net in nets:
        for node in Net(net).operators:
            try:
                if node.type not in OPERATORS:
                    raise ModelError("not in the table")
                found = node.infer(types)[1]
            except ModelError:
                unknown.update(node.outputs)
                continue
            types.update(zip(node.outputs, found, strict=True))
            unknown.difference_update(node.outputs)
    shapes = caffe2_pb2.TensorShapes()
    for name in sorted(types.keys() | unknown):
        if name in unknown:
            shapes.shapes.add(name=name, unknown_shape=True)
        else:
            code = CODES.get(types[name].dtype.name, caffe2_pb2.TensorProto.UNDEFINED)
            shapes.shapes.add(name=name, dims=types[name].shape, data_type=code)
    return shapes
