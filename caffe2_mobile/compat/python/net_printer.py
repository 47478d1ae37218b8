"""caffe2.python.net_printer: nets, plans and operators as text for people."""

from collections.abc import Iterator
from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import utils

MAX_VALUES = 10  # of a list


def to_string(obj: Any) -> str:
    """An operator a line: outputs = Type(inputs, argument=value); nets and steps indented below their names."""
    return "\n".join(_lines(obj.Proto() if hasattr(obj, "Proto") else obj)) + "\n"


def debug_net(net: Any) -> str:
    return to_string(net)


def _lines(proto: Any) -> Iterator[str]:
    if isinstance(proto, caffe2_pb2.OperatorDef):
        yield _operator(proto)
        return
    yield f"{type(proto).__name__} {proto.name}:"
    parts: list[Any] = []
    if isinstance(proto, caffe2_pb2.NetDef):
        parts = list(proto.op)
    elif isinstance(proto, caffe2_pb2.PlanDef):
        parts = [*proto.network, *proto.execution_step]
    elif isinstance(proto, caffe2_pb2.ExecutionStep):
        parts = list(proto.substep)
        yield from (f"    run {name}" for name in proto.network)
    for part in parts:
        yield from (f"    {line}" for line in _lines(part))


def _operator(op: Any) -> str:
    arguments = [f"{name}={_value(value)}" for name, value in utils.ArgsToDict(op.arg).items()]
    outputs = f"{', '.join(op.output)} = " if op.output else ""
    return f"{outputs}{op.type}({', '.join([*op.input, *arguments])})"


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace")) if len(value) < 100 else f"{len(value)} bytes"
    if hasattr(value, "__len__"):
        shown = ", ".join(str(item) for item in value[:MAX_VALUES])
        return f"[{shown}{', ...' if len(value) > MAX_VALUES else ''}]"
    return str(value)
