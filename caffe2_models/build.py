"""Writing nets: operators and parameters added to a NetDef from Python values."""

from collections.abc import Iterable, Mapping

import numpy as np

from caffe2_common.errors import UnsupportedError
from caffe2_models.arguments import set_floats
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor, Value

FILLS = {
    "float32": "GivenTensorFill",
    "int16": "GivenTensorInt16Fill",
    "int32": "GivenTensorIntFill",
    "int64": "GivenTensorInt64Fill",
    "bool": "GivenTensorBoolFill",
    "uint8": "GivenTensorByteStringToUInt8Fill",
}  # by numpy dtype; there is no exact one for float64, whose values are held as float32

INT8_FILLS = {"uint8": "Int8GivenTensorFill", "int32": "Int8GivenIntTensorFill"}


def add_operator(
    net: caffe2_pb2.NetDef,
    kind: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    name: str = "",
    **arguments,
) -> caffe2_pb2.OperatorDef:
    """Append an operator; arguments whose value is None are left out (see set_argument for the rest)."""
    op = net.op.add(type=kind, input=inputs, output=outputs)
    if name:
        op.name = name
    for key, value in arguments.items():
        if value is not None:
            set_argument(op.arg.add(name=key), value)
    return op


def set_argument(argument: caffe2_pb2.Argument, value) -> None:
    """Store a value in the field that its type asks for.

    bool and int -> i, float -> f, str and bytes -> s, a NetDef -> n, a sequence or an array -> ints, floats or
    strings.
    """
    if isinstance(value, caffe2_pb2.NetDef):
        argument.n.CopyFrom(value)
    elif isinstance(value, str | bytes):
        argument.s = value.encode() if isinstance(value, str) else value
    elif isinstance(value, bool | int | np.bool_ | np.integer):
        argument.i = int(value)
    elif isinstance(value, float | np.floating):
        argument.f = float(value)
    elif len(value) and isinstance(value[0], str | bytes):
        argument.strings.extend(item.encode() if isinstance(item, str) else item for item in value)
    elif (array := np.asarray(value)).dtype.kind == "f":
        set_floats(argument, array)
    else:
        argument.ints.extend(array.astype(np.int64).ravel().tolist())


def add_fill(init: caffe2_pb2.NetDef, name: str, value: Value) -> caffe2_pb2.OperatorDef:
    """Append the operator that fills the parameter `name`: an array, or an Int8Tensor (uint8, or int32).

    Raises UnsupportedError for a dtype that Caffe2's fills do not make.
    """
    array, fills = (value.data, INT8_FILLS) if isinstance(value, Int8Tensor) else (value, FILLS)
    if array.dtype.name not in fills:
        raise UnsupportedError(f"{name}: a parameter of {array.dtype.name}, which Caffe2's init nets do not hold")
    op = add_operator(init, fills[array.dtype.name], [], [name], shape=np.array(array.shape, np.int64))
    argument = op.arg.add(name="values")
    if array.dtype != np.uint8:
        set_argument(argument, array.ravel())
    elif isinstance(value, Int8Tensor):
        argument.s = array.tobytes()
    else:
        argument.strings.append(array.tobytes())
    if isinstance(value, Int8Tensor):
        set_argument(op.arg.add(name="Y_scale"), float(value.scale))
        set_argument(op.arg.add(name="Y_zero_point"), int(value.zero_point))
    return op


def make_init(parameters: Mapping[str, Value], name: str = "") -> caffe2_pb2.NetDef:
    """An init net that fills these parameters, in this order."""
    init = caffe2_pb2.NetDef(name=name)
    for blob, value in parameters.items():
        add_fill(init, blob, value)
    init.external_output.extend(parameters)
    return init
