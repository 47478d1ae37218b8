"""An operator's arguments as Python values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.proto import caffe2_pb2
from caffe2_models.wire import length_delimited

if TYPE_CHECKING:
    from caffe2_models.operators.node import Body

MAX_ARGUMENTS = 1000

Default = TypeVar("Default")


class Arguments:
    """The arguments of one OperatorDef, read by name and type with a default, as Caffe2 reads them.

    weights are the floats of its argument `values`, where they stand apart from it; bodies are its arguments that
    are nets.

    Raises ModelError for an argument that is given twice with different values, or as another type than is
    read: an integer does not stand for a float, nor the other way round. A single value is no list of one: it
    is read as an empty list.
    """

    def __init__(
        self,
        op: caffe2_pb2.OperatorDef,
        weights: np.ndarray | None = None,
        bodies: "Mapping[str, Body] | None" = None,
    ):
        self.inputs = tuple(op.input)  # the blobs' names
        self.outputs = tuple(op.output)
        self.engine = op.engine
        self.bodies = bodies or {}
        self.weights = weights
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

    @overload
    def get_int(self, name: str) -> int | None: ...

    @overload
    def get_int(self, name: str, default: Default) -> int | Default: ...

    def get_int(self, name, default=None):
        return self._single(name, "i", "an integer", default)

    def get_bool(self, name: str, default: bool | None = None) -> bool | None:
        value = self.get_int(name)
        return default if value is None else bool(value)

    @overload
    def get_float(self, name: str) -> float | None: ...

    @overload
    def get_float(self, name: str, default: Default) -> float | Default: ...

    def get_float(self, name, default=None):
        return self._single(name, "f", "a float", default)

    def get_str(self, name: str, default: str | None = None) -> str | None:
        value = self._single(name, "s", "a string", None)
        return default if value is None else value.decode(errors="replace")

    @overload
    def get_ints(self, name: str) -> tuple[int, ...] | None: ...

    @overload
    def get_ints(self, name: str, default: Default) -> tuple[int, ...] | Default: ...

    def get_ints(self, name, default=None):
        proto = self._protos.get(name)
        return default if proto is None else tuple(proto.ints)

    def get_floats(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...] | None:
        proto = self._protos.get(name)
        return default if proto is None else tuple(proto.floats)

    def get_body(self, name: str, default: "Body | None" = None) -> "Body | None":
        """A net that the operator holds."""
        if name in self._protos and name not in self.bodies:
            raise ModelError(f"argument {name} is not a net")
        return self.bodies.get(name, default)

    def get_strs(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        proto = self._protos.get(name)
        return default if proto is None else tuple(text.decode(errors="replace") for text in proto.strings)

    def _single(self, name: str, field: str, meaning: str, default):
        proto = self._protos.get(name)
        if proto is None:
            return default
        if not proto.HasField(field):
            raise ModelError(f"argument {name} is not {meaning}")
        return getattr(proto, field)


def floats_of(argument: caffe2_pb2.Argument) -> np.ndarray:
    """Argument.floats as an array, at the speed of a copy.

    They are written without packing: each stands in the wire form as a tag and four bytes.
    """
    if any(argument.HasField(field) for field in ("f", "i", "s")):  # which stand in between
        return np.array(argument.floats, np.float32)
    start = caffe2_pb2.Argument(name=argument.name).ByteSize()
    record = np.dtype([("tag", "u1"), ("value", "<f4")])
    records = np.frombuffer(argument.SerializeToString(), record, len(argument.floats), start)
    return np.ascontiguousarray(records["value"])


def set_floats(argument: caffe2_pb2.Argument, array: np.ndarray) -> None:
    """Set Argument.floats from an array at the speed of a copy, by parsing the field's packed form."""
    content = np.ascontiguousarray(array, "<f4").ravel().view(np.uint8)
    head = length_delimited(caffe2_pb2.Argument.FLOATS_FIELD_NUMBER, content.size)
    argument.MergeFromString(head + content.tobytes())
