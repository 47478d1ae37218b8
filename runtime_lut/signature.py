"""What makes two operators the same to a latency table: type, arguments by meaning, input shapes and
dtypes.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from google.protobuf import text_format

from caffe2_common.dtypes import CODE_OF_NUMPY
from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.net import Step
from caffe2_models.operators import traits_of
from caffe2_models.operators.window import Window
from caffe2_models.proto import caffe2_pb2

# Arguments that do not change what the operator costs on a CPU: values of the quantization, hints to cuDNN.
IGNORED = {"Y_scale", "Y_zero_point", "ws_nbytes_limit", "exhaustive_search"}

# All spellings that Window reads.
WINDOW_ARGUMENTS = {
    *("kernel", "kernel_h", "kernel_w", "kernels", "stride", "stride_h", "stride_w", "strides"),
    *("dilation", "dilation_h", "dilation_w", "dilations", "pad", "pad_t", "pad_l", "pad_b", "pad_r", "pads"),
    *("legacy_pad", "global_pooling"),
}

# Caffe2's defaults: said or unsaid, the operator is the same.
DEFAULTS = {"group": 1, "order": "NCHW"}

# An operator type that the table lacks takes the time of another, as the reference does.
SUBSTITUTES = {"Int8Conv": "Int8ConvRelu"}

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Signature:
    """An operator as tables know it. `arguments` is canonical text, see canonical_arguments."""

    op_type: str
    arguments: str
    shapes: Shapes
    dtypes: tuple[int, ...]

    @functools.cached_property
    def key(self) -> bytes:
        """16 bytes that are equal just for equal signatures."""
        return key_of(self.op_type, self.arguments, self.shapes, self.dtypes)

    @property
    def substitute(self) -> "Signature | None":
        """The signature whose time stands in where the table lacks this one, or None."""
        other = SUBSTITUTES.get(self.op_type)
        return None if other is None else Signature(other, self.arguments, self.shapes, self.dtypes)

    @classmethod
    def of_step(cls, step: Step) -> "Signature":
        """Of one operator of a net, at its own moment."""
        return cls(
            step.node.type,
            canonical_arguments(step.node.type, step.node.proto),
            tuple(t.shape for t in step.inputs),
            tuple(CODE_OF_NUMPY.get(t.dtype.name, 0) for t in step.inputs),
        )

    @classmethod
    def of_record(cls, record: dict) -> "Signature":
        """Of a table's record, or of a query in its form (op_type, op_args, input_shapes, input_dtypes).

        Raises ModelError, KeyError, TypeError or ValueError where it is none.
        """
        return cls(
            record["op_type"],
            canonical_texts(record["op_type"], tuple(record["op_args"])),
            tuple(tuple(int(dim) for dim in shape) for shape in record["input_shapes"]),
            tuple(int(code) for code in record["input_dtypes"]),
        )


def key_of(op_type: str, arguments: str, shapes: Iterable[Iterable[int]], dtypes: Iterable[int]) -> bytes:
    """The digest that tables are hashed by."""
    sizes = ";".join([",".join(map(str, shape)) for shape in shapes])
    text = f"{op_type}|{arguments}|{sizes}|{','.join(map(str, dtypes))}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@functools.lru_cache(maxsize=1 << 16)
def canonical_texts(op_type: str, texts: tuple[str, ...]) -> str:
    """canonical_arguments of arguments in protobuf text form, one text each, in any order and spelling."""
    return canonical_arguments(op_type, caffe2_pb2.OperatorDef(arg=[_parse_argument(text) for text in texts]))


def canonical_arguments(op_type: str, op: caffe2_pb2.OperatorDef) -> str:
    """What an operator's arguments mean for its cost, as text that is equal where the meaning is.

    Kernel, stride, pads and dilation are brought to one form whatever their spelling; Caffe2's defaults and
    what has no effect are left out; the rest is sorted by name.
    """
    silent = IGNORED | traits_of(op_type).idle_arguments
    meant = {arg.name: _value(arg) for arg in op.arg if arg.name not in silent}
    window = {name: meant[name] for name in meant.keys() & WINDOW_ARGUMENTS}
    if window:
        try:
            decoded = _window_meaning(Window.decode(Arguments(op)))
        except ModelError:
            decoded = window  # no window that could be: compared as written
        meant = {name: value for name, value in meant.items() if name not in window} | decoded
    words = [f"{name}={json.dumps(meant[name])}" for name in sorted(meant) if DEFAULTS.get(name) != meant[name]]
    return " ".join(word for word in words if word not in silent)


def protobuf_texts(op: caffe2_pb2.OperatorDef) -> list[str]:
    """An operator's arguments as records carry them: protobuf text, sorted by name, without the ignored
    ones.
    """
    return [str(arg) for arg in sorted(op.arg, key=lambda arg: arg.name) if arg.name not in IGNORED]


def operator_of_record(record: dict) -> caffe2_pb2.OperatorDef:
    """The operator that a record is of, with inputs 0, 1... and output y."""
    names = [str(index) for index in range(len(record["input_shapes"]))]
    arguments = [_parse_argument(text) for text in record["op_args"]]
    return caffe2_pb2.OperatorDef(type=record["op_type"], input=names, output=["y"], arg=arguments)


@functools.lru_cache(maxsize=1 << 16)
def _parse_argument(text: str) -> caffe2_pb2.Argument:
    try:
        return text_format.Parse(text, caffe2_pb2.Argument())
    except text_format.ParseError as error:
        raise ModelError(f"argument {text!r} is not in protobuf text form ({error})") from None


def _value(arg: caffe2_pb2.Argument):
    """An argument's value; 1.0 and 1 are the same."""
    for field in ("i", "f", "s"):
        if arg.HasField(field):
            return _number_or_text(getattr(arg, field))
    for field in ("ints", "floats", "strings"):
        if values := getattr(arg, field):
            return [_number_or_text(value) for value in values]
    return []


def _number_or_text(value):
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(np.format_float_positional(np.float32(value), trim="0"))
    return value


def _window_meaning(window: Window) -> dict:
    """The parts of a window that differ from Caffe2's defaults."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(window).items()
        if value != getattr(Window, name)
    }
