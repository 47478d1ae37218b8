"""The Caffe2 net that a file of another format was made from, recorded in it: its graph, without its weights.

What a net costs does not hang on what its weights say: stand-ins take their place where it is read back.
"""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.build import add_operator, make_init
from caffe2_models.net import Net
from caffe2_models.preprocessing import set_input_dims
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor, Value

KEY = "caffe2_net"  # of the ONNX metadata property and of TensorFlow Lite's metadata entry

SMALL = 64  # values, up to which a parameter is recorded: shapes, ends of slices
STAND_IN = "StandIn"  # the type, in the record, of what fills any other
MAX_RECORD_BYTES = 1 << 24
MAX_WEIGHT_BYTES = 1 << 30


def record_net(net: Net, shapes: Mapping[str, Sequence[int]]) -> bytes:
    """The net's graph, its parameters' types and its inputs' shapes."""
    predict = caffe2_pb2.NetDef()
    predict.CopyFrom(net.predict)
    set_input_dims(predict, {name: tuple(shape) for name, shape in shapes.items()})
    init = make_init({name: value for name, value in net.parameters.items() if math.prod(value.shape) <= SMALL})
    for name, value in net.parameters.items():
        if math.prod(value.shape) > SMALL:
            arguments: dict[str, Any] = {"shape": np.array(value.shape, np.int64), "dtype": value.dtype.name}
            if isinstance(value, Int8Tensor):
                arguments |= {"Y_scale": float(value.scale), "Y_zero_point": int(value.zero_point)}
            add_operator(init, STAND_IN, [], [name], **arguments)
    plan = caffe2_pb2.PlanDef(name=net.name, network=[predict, init])
    return zlib.compress(plan.SerializeToString(deterministic=True), 9)


def recorded_net(record: bytes) -> Net:
    """What `record_net` recorded, with weights that say nothing. Raises ModelError where it is something else."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(record, MAX_RECORD_BYTES)
        plan = caffe2_pb2.PlanDef.FromString(content)
        predict, init = plan.network
    except (zlib.error, DecodeError, ValueError):
        raise ModelError("the Caffe2 net recorded in the file is unreadable") from None
    stand_ins = {op.output[0]: op for op in init.op if op.type == STAND_IN and op.output}
    kept = [op for op in init.op if op.type != STAND_IN]
    values: dict[str, Value] = {}
    nbytes = 0
    for name, op in stand_ins.items():
        value = _stand_in(op)
        nbytes += value.nbytes
        if nbytes > MAX_WEIGHT_BYTES:
            raise ModelError(f"the Caffe2 net recorded in the file has weights above {MAX_WEIGHT_BYTES >> 20} MiB")
        values[name] = value
    filled = make_init(values)
    filled.op.extend(kept)
    return Net(predict, filled)


def _stand_in(op: caffe2_pb2.OperatorDef) -> Value:
    """Zeros of the recorded type, which take memory only where they are written."""
    arguments = Arguments(op)
    shape, dtype = arguments.get_ints("shape"), arguments.get_str("dtype")
    scale, zero_point = arguments.get_float("Y_scale"), arguments.get_int("Y_zero_point")
    if (
        shape is None
        or dtype not in ("float32", "uint8", "int32", "int64", "bool", "int16")
        or min(shape, default=0) < 0
    ):
        raise ModelError("the Caffe2 net recorded in the file is unreadable")
    if math.prod(shape) * np.dtype(dtype).itemsize > MAX_WEIGHT_BYTES:
        raise ModelError(f"the Caffe2 net recorded in the file has weights above {MAX_WEIGHT_BYTES >> 20} MiB")
    data = np.zeros(shape, dtype)
    return data if scale is None or zero_point is None else Int8Tensor(data, scale, zero_point)


def to_text(record: bytes) -> str:
    """A record where a file holds text only."""
    return base64.b64encode(record).decode()


def from_text(text: str) -> bytes:
    """Raises ModelError for what to_text did not write."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ModelError("the Caffe2 net recorded in the file is unreadable") from None
