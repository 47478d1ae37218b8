"""caffe2.python.utils: arguments of operators, tensors as protocol buffers, and smaller helpers."""

import copy
import functools
import pdb
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_models.arguments import set_floats

OPTIMIZER_ITERATION_NAME = "optimizer_iteration"
ITERATION_MUTEX_NAME = "iteration_mutex"

_Type = caffe2_pb2.TensorProto

# Data type of TensorProto -> the field that holds it, and numpy's type.
_TENSOR_FIELDS = {
    _Type.FLOAT: ("float_data", np.float32),
    _Type.DOUBLE: ("double_data", np.float64),
    _Type.INT64: ("int64_data", np.int64),
    _Type.INT32: ("int32_data", np.int64),  # Caffe2 gives numpy's int here
    _Type.INT16: ("int32_data", np.int16),
    _Type.UINT16: ("int32_data", np.uint16),
    _Type.INT8: ("int32_data", np.int8),
    _Type.UINT8: ("int32_data", np.uint8),
}

_TENSOR_TYPES = {
    "float32": _Type.FLOAT,
    "float64": _Type.DOUBLE,
    "int64": _Type.INT64,
    "int32": _Type.INT32,
    "int16": _Type.INT16,
    "uint16": _Type.UINT16,
    "int8": _Type.INT8,
    "uint8": _Type.UINT8,
}


def OpAlmostEqual(op_a: Any, op_b: Any, ignore_fields: str | list[str] | None = None) -> bool:
    """Whether two operators are the same but for these fields."""
    ignored = [ignore_fields] if isinstance(ignore_fields, str) else ignore_fields or []

    def cleaned(op: Any) -> Any:
        op = copy.deepcopy(op)
        for field in ignored:
            op.ClearField(field)
        return op

    return cleaned(op_a) == cleaned(op_b)


def CaffeBlobToNumpyArray(blob: Any) -> np.ndarray:
    """The float32 array of a blob of Caffe's, in its old form (num, channels, height, width) or its new one."""
    old = (blob.num, blob.channels, blob.height, blob.width)
    return np.asarray(blob.data, np.float32).reshape(old if blob.num != 0 else tuple(blob.shape.dim))


def Caffe2TensorToNumpyArray(tensor: Any) -> np.ndarray:
    """Raises RuntimeError for data types that Caffe2 does not turn into arrays."""
    if tensor.data_type not in _TENSOR_FIELDS:
        raise RuntimeError(f"Tensor data type not supported yet: {tensor.data_type}")
    field, dtype = _TENSOR_FIELDS[tensor.data_type]
    return np.asarray(getattr(tensor, field), dtype=dtype).reshape(tuple(tensor.dims))


def NumpyArrayToCaffe2Tensor(arr: np.ndarray, name: str | None = None) -> Any:
    """Raises RuntimeError for types of arrays that Caffe2 does not turn into tensors."""
    if arr.dtype.name not in _TENSOR_TYPES:
        raise RuntimeError(f"Numpy data type not supported yet: {arr.dtype}")
    tensor = caffe2_pb2.TensorProto(dims=arr.shape, data_type=_TENSOR_TYPES[arr.dtype.name])
    if name:
        tensor.name = name
    getattr(tensor, _TENSOR_FIELDS[tensor.data_type][0]).extend(arr.reshape(-1).tolist())
    return tensor


def MakeArgument(key: str, value: Any) -> Any:
    """An operator's argument, in the field that the value's type asks for.

    Raises ValueError for types that no field holds, and for lists of mixed types: [1, 2.0] is neither ints nor
    floats.
    """
    argument = caffe2_pb2.Argument(name=key)
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        set_floats(argument, value)
        return argument
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if not _set_single(argument, value) and not _set_list(argument, value):
        kind = f"{type(value)}[{ {type(item) for item in value} }]" if isinstance(value, Iterable) else str(type(value))
        unknown = "iterable argument" if isinstance(value, Iterable) else "argument"
        raise ValueError(f"Unknown {unknown} type: key={key} value={value}, value type={kind}")
    return argument


def _set_single(argument: Any, value: Any) -> bool:
    """Whether the value is a single one, which is then set."""
    if isinstance(value, caffe2_pb2.NetDef):
        argument.n.CopyFrom(value)
    elif isinstance(value, Message):
        argument.s = value.SerializeToString()
    elif type(value) is float:
        argument.f = value
    elif type(value) in (int, bool):
        argument.i = int(value)
    elif isinstance(value, bytes | str):
        argument.s = value.encode() if isinstance(value, str) else value
    else:
        return False
    return True


def _set_list(argument: Any, value: Any) -> bool:
    if not isinstance(value, Iterable):
        return False
    values: list[Any] = [item.item() if isinstance(item, np.float64 | np.int64) else item for item in value]
    kinds = {type(item) for item in values}
    if kinds <= {float}:
        argument.floats.extend(values)
    elif kinds <= {int, bool}:
        argument.ints.extend(map(int, values))
    elif kinds <= {str, bytes}:
        argument.strings.extend(item.encode() if isinstance(item, str) else item for item in values)
    elif all(isinstance(item, caffe2_pb2.NetDef) for item in values):
        argument.nets.extend(values)
    elif all(isinstance(item, Message) for item in values):
        argument.strings.extend(item.SerializeToString() for item in values)
    else:
        return False
    return True


def TryReadProtoWithClass(cls: Any, s: str | bytes) -> Any:
    """A message of this class from its text or binary form. Raises DecodeError where it is neither."""
    message = cls()
    try:
        text_format.Parse(s, message)
    except (text_format.ParseError, UnicodeDecodeError):
        message = cls()
        message.ParseFromString(s if isinstance(s, bytes) else s.encode("latin-1"))
    return message


def GetContentFromProto(obj: Any, function_map: Mapping[Any, Callable]) -> Any:
    """What the function for the message's own class gives; None where there is none."""
    return next((function(obj) for cls, function in function_map.items() if type(obj) is cls), None)


def GetContentFromProtoString(s: str | bytes, function_map: Mapping[Any, Callable]) -> Any:
    """What the function for the first class that the text or bytes are of gives. Raises DecodeError."""
    for cls, function in function_map.items():
        try:
            return function(TryReadProtoWithClass(cls, s))
        except DecodeError:
            continue
    raise DecodeError("Cannot find a fit protobuffer class.")


def ConvertProtoToBinary(proto_class: Any, filename: str, out_filename: str) -> None:
    """Write a message that stands in a file as text in its binary form."""
    with open(filename, encoding="utf-8") as file:
        proto = TryReadProtoWithClass(proto_class, file.read())
    with open(out_filename, "wb") as file:
        file.write(proto.SerializeToString())


def GetGPUMemoryUsageStats() -> dict[str, Any]:
    """Nothing is used of what is not there."""
    none = np.zeros(0, np.int64)
    return {"total_by_gpu": none, "max_by_gpu": none, "total": 0, "max_total": 0}


def ResetBlobs(blobs: Iterable[Any]) -> None:
    """Empty these blobs of the current workspace."""
    from caffe2_mobile.compat.python import core, workspace

    names = list(blobs)
    workspace.RunOperatorOnce(
        core.CreateOperator("Free", names, names, device_option=core.DeviceOption(caffe2_pb2.CPU))
    )


class DebugMode:
    """Runs a function and drops into the debugger where it fails."""

    @classmethod
    def run(cls, func: Callable) -> Any:
        try:
            return func()
        except KeyboardInterrupt:
            raise
        except Exception:
            traceback.print_exc()
            print('Entering interactive debugger. Type "bt" to print the full stacktrace. Type "help" to see commands.')
            pdb.post_mortem()
            sys.exit(1)


def raiseIfNotEqual(a: Any, b: Any, msg: str) -> None:
    if a != b:
        raise Exception(f"{msg}. {a} != {b}")


def debug(f: Callable) -> Callable:
    """A decorator: the function runs in DebugMode."""

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return DebugMode.run(lambda: f(*args, **kwargs))

    return wrapper


def EnumClassKeyVals(cls: type) -> dict[str, str]:
    """Name -> value of a class whose members in capitals are strings, each of its own."""
    values: dict[str, str] = {}
    for name in dir(cls):
        value = getattr(cls, name)
        if name == name.upper() and isinstance(value, str):
            assert value not in values.values(), f"Failed to resolve {cls} as Enum: duplicate entry {name}={value}"
            values[name] = value
    return values


def ArgsToDict(args: Iterable[Any]) -> dict[str, Any]:
    """Name -> value of arguments; None where one has no value."""
    found: dict[str, Any] = {}
    for arg in args:
        if arg.HasField("name"):
            held = [value for field, value in arg.ListFields() if field.name != "name"]
            found[arg.name] = held[0] if held else None
    return found


def NHWC2NCHW(tensor: np.ndarray) -> np.ndarray:
    """A view with the channels second."""
    assert tensor.ndim >= 1
    return np.moveaxis(tensor, -1, 1) if tensor.ndim > 1 else tensor


def NCHW2NHWC(tensor: np.ndarray) -> np.ndarray:
    """A view with the channels last."""
    assert tensor.ndim >= 2
    return np.moveaxis(tensor, 1, -1)
