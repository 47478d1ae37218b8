"""An operator's arguments as Python values."""

import math

from caffe2_models.errors import ModelError
from caffe2_models.proto import caffe2_pb2

MAX_ARGUMENTS = 1000


class Arguments:
    """The arguments of one OperatorDef, read by name and type with a default.

    Raises ModelError for an argument that is given twice with different values, or as another type than is read.
    """

    def __init__(self, op: caffe2_pb2.OperatorDef):
        self.output_count = len(op.output)
        self._protos: dict[str, caffe2_pb2.Argument] = {}
        if len(op.arg) > MAX_ARGUMENTS:
            raise ModelError(f"{len(op.arg)} arguments, more than any operator has")
        for proto in op.arg:
            if self._protos.setdefault(proto.name, proto) != proto:
                raise ModelError(f"argument {proto.name} is given twice, with different values")

    def __contains__(self, name: str) -> bool:
        return name in self._protos

    def __iter__(self):
        return iter(self._protos)

    def proto(self, name: str) -> caffe2_pb2.Argument | None:
        return self._protos.get(name)

    def get_int(self, name: str, default: int | None = None) -> int | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        if proto.HasField("i"):
            return proto.i
        if proto.HasField("f") and math.isfinite(proto.f) and proto.f == int(proto.f):
            return int(proto.f)
        raise ModelError(f"argument {name} is not an integer")

    def get_bool(self, name: str, default: bool | None = None) -> bool | None:
        value = self.get_int(name)
        return default if value is None else bool(value)

    def get_float(self, name: str, default: float | None = None) -> float | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        if proto.HasField("f"):
            return proto.f
        if proto.HasField("i"):
            return float(proto.i)
        raise ModelError(f"argument {name} is not a number")

    def get_str(self, name: str, default: str | None = None) -> str | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        if not proto.HasField("s"):
            raise ModelError(f"argument {name} is not a string")
        return proto.s.decode(errors="replace")

    def get_bytes(self, name: str, default: bytes | None = None) -> bytes | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        if not proto.HasField("s"):
            raise ModelError(f"argument {name} is not a string of bytes")
        return proto.s

    def get_ints(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        return (proto.i,) if proto.HasField("i") else tuple(proto.ints)

    def get_floats(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...] | None:
        proto = self._protos.get(name)
        if proto is None:
            return default
        return (proto.f,) if proto.HasField("f") else tuple(proto.floats)
