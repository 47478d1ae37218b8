"""Blobs as Caffe2's databases hold them: one BlobProto a string or Int8 tensor, one or more a tensor."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe2_common.dtypes import CODE_OF_NUMPY, NUMPY_OF_CODE
from caffe2_mobile.compat.runtime.blob import kind_of
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor, TensorType

CHUNK_ELEMENTS = 1_000_000  # of a tensor in one record
CHUNK_SEPARATOR = "#%"

TENSOR, STRING, INT8 = "Tensor", "std::string", "Int8TensorCPU"

# By numpy dtype: the field of TensorProto, and the dtype of what stands in it.
FIELDS = {
    "float32": ("float_data", np.float32),
    "float64": ("double_data", np.float64),
    "int32": ("int32_data", np.int32),
    "int64": ("int64_data", np.int64),
    "uint8": ("int32_data", np.int32),
    "int8": ("int32_data", np.int32),
    "uint16": ("int32_data", np.int32),
    "int16": ("int32_data", np.int32),
    "bool": ("int32_data", np.int32),
    "float16": ("int32_data", np.int32),  # its bits
    "object": ("string_data", object),
}

CODES: dict[str, Any] = {**CODE_OF_NUMPY, "object": caffe2_pb2.TensorProto.STRING}
DTYPES = {**NUMPY_OF_CODE, caffe2_pb2.TensorProto.STRING: np.dtype(object)}


def serialize(name: str, content: Any, chunk: int = CHUNK_ELEMENTS) -> Iterator[tuple[str, bytes]]:
    """(key, value) records of a blob. Raises RuntimeError for content that no database holds."""
    if isinstance(content, bytes):
        yield name, caffe2_pb2.BlobProto(name=name, type=STRING, content=content).SerializeToString()
    elif isinstance(content, Int8Tensor):
        yield name, _int8_proto(name, content).SerializeToString()
    elif isinstance(content, np.ndarray):
        for index, begin in enumerate(range(0, max(content.size, 1), chunk)):
            proto = _tensor_proto(name, content, begin, min(begin + chunk, content.size))
            yield f"{name}{CHUNK_SEPARATOR}{index}", proto.SerializeToString()
    else:
        raise RuntimeError(f"blob {name}: no serializer for type {kind_of(content)}")


def serialize_whole(name: str, content: Any) -> bytes:
    """A blob as one record."""
    size = getattr(content, "size", 0)
    return next(value for _, value in serialize(name, content, max(size, 1)))


def deserialize(records: Iterable[bytes]) -> Any:
    """The content of a blob from all of its records, in any order.

    Raises RuntimeError for a record that is truncated or declares what it does not hold, before memory is taken.
    """
    tensor: np.ndarray | None = None
    for record in records:
        try:
            proto = caffe2_pb2.BlobProto.FromString(record)
        except DecodeError as error:
            raise RuntimeError(f"a blob that is truncated or none ({error})") from None
        if proto.type == INT8:
            return _int8_tensor(proto.qtensor)
        if proto.type != TENSOR:
            return proto.content
        if tensor is None:
            tensor = np.zeros(*_declared(proto.tensor))
        values = _values(proto.tensor)
        begin = proto.tensor.segment.begin if proto.tensor.HasField("segment") else 0
        if not 0 <= begin <= begin + len(values) <= tensor.size:
            raise RuntimeError(f"blob {proto.name}: values {begin} to {begin + len(values)} of {tensor.size}")
        tensor.reshape(-1)[begin : begin + len(values)] = values
    return tensor


def _declared(tensor: caffe2_pb2.TensorProto) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype). Raises RuntimeError for a type that is not read, and ModelError for one too large."""
    if tensor.data_type not in DTYPES:
        raise RuntimeError(f"blob {tensor.name}: data type {tensor.data_type} is not read")
    declared = TensorType(tuple(tensor.dims), DTYPES[tensor.data_type])
    return declared.shape, declared.dtype


def _tensor_proto(name: str, array: np.ndarray, begin: int, end: int) -> caffe2_pb2.BlobProto:
    field, held = FIELDS[array.dtype.name]
    proto = caffe2_pb2.BlobProto(name=name, type=TENSOR)
    tensor = proto.tensor
    tensor.dims.extend(array.shape)
    tensor.data_type = CODES[array.dtype.name]
    values = array.reshape(-1)[begin:end]
    if array.dtype == np.float16:
        values = values.view(np.uint16)
    getattr(tensor, field).extend(values.astype(held).tolist())
    tensor.name = name
    tensor.device_detail.device_type = caffe2_pb2.PROTO_CPU
    tensor.segment.begin, tensor.segment.end = begin, end
    return proto


def _values(tensor: caffe2_pb2.TensorProto) -> np.ndarray:
    dtype = DTYPES[tensor.data_type]
    field, held = FIELDS[dtype.name]
    values = np.array(getattr(tensor, field), held)
    if dtype == np.uint8 and tensor.byte_data:
        values = np.frombuffer(tensor.byte_data, np.uint8)
    return values.astype(np.uint16).view(np.float16) if dtype == np.float16 else values.astype(dtype)


def _int8_proto(name: str, tensor: Int8Tensor) -> caffe2_pb2.BlobProto:
    proto = caffe2_pb2.BlobProto(name=name, type=INT8)
    held = proto.qtensor
    held.dims.extend(tensor.data.shape)
    held.precision, held.is_signed = 8, False
    held.scale, held.bias = float(np.float32(tensor.scale)), float(tensor.zero_point)
    held.data.extend(tensor.data.reshape(-1).tolist())
    held.name = name
    held.data_type = CODES[tensor.data.dtype.name]
    return proto


def _int8_tensor(held: caffe2_pb2.QTensorProto) -> Int8Tensor:
    if held.data_type not in DTYPES or math.prod(held.dims) != len(held.data):
        raise RuntimeError(f"blob {held.name}: a quantized tensor whose shape and values do not fit")
    data = np.array(held.data, np.int32).astype(DTYPES[held.data_type]).reshape(tuple(held.dims))
    return Int8Tensor(data, held.scale, int(held.bias))
