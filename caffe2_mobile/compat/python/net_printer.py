"""caffe2.python.net_printer: nets as the Python that would write them."""

from collections.abc import Iterator
from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import utils

MAX_TEXT = 100  # of one value


def to_string(obj: Any) -> str:
    """A net's operators, a line each; of plans and steps also their names."""
    return "\n".join(_lines(obj.Proto() if hasattr(obj, "Proto") else obj))


def debug_net(net: Any) -> str:
    return to_string(net)


def _lines(proto: Any) -> Iterator[str]:
    if isinstance(proto, caffe2_pb2.NetDef):
        yield f"{proto.name} = core.Net({proto.name!r})"
        yield from (f"{proto.name}.{_operator(op)}" for op in proto.op)
    elif isinstance(proto, caffe2_pb2.OperatorDef):
        yield _operator(proto)
    elif isinstance(proto, caffe2_pb2.PlanDef):
        for part in [*proto.network, *proto.execution_step]:
            yield from _lines(part)
    elif isinstance(proto, caffe2_pb2.ExecutionStep):
        yield f"step {proto.name}: {', '.join(proto.network)}"
        for step in proto.substep:
            yield from (f"    {line}" for line in _lines(step))
    else:
        raise TypeError(f"Printer: unsupported object type: {type(proto)}")


def _operator(op: Any) -> str:
    arguments = {name: _value(value) for name, value in utils.ArgsToDict(op.arg).items()}
    if op.HasField("device_option"):
        option = op.device_option
        arguments["device_option"] = f"DeviceOption({option.device_type}, {option.device_id}, {option.node_name!r})"
    given = [f"{list(op.input)}", f"{list(op.output)}", *(f"{name}={value}" for name, value in arguments.items())]
    return f"{op.type}({', '.join(given)})"


def _value(value: Any) -> str:
    if value is None:
        value = []
    elif isinstance(value, bytes):
        value = value.decode(errors="replace")
    elif hasattr(value, "__len__"):
        value = list(value)
    text = repr(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
