"""Reading and writing nets, in binary or text form."""

import io
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from caffe2_models.arguments import set_floats
from caffe2_models.proto import caffe2_pb2
from caffe2_models.wire import LENGTH_DELIMITED, field_at, fields, length_delimited, split_floats, write_message

MAX_FILE_BYTES = 1 << 30
MAX_OPERATORS = 100_000

TEXT_SUFFIXES = (".pbtxt", ".prototxt")

OPERATOR_FIELD = caffe2_pb2.NetDef.OP_FIELD_NUMBER
ARGUMENT_FIELD = caffe2_pb2.OperatorDef.ARG_FIELD_NUMBER
FLOATS_FIELD = caffe2_pb2.Argument.FLOATS_FIELD_NUMBER
MAX_FIELD_HEAD = 20  # bytes of a tag and a length, or of a tag and a number
LONG_BYTES = 1 << 12  # arguments from this size on have their floats read apart

# File names of (predict, init) in a model folder; a star stands for any common prefix.
PAIRS = [
    ("model.pb", "model_init.pb"),
    ("predict_net.pb", "init_net.pb"),
    ("predict.pb", "init.pb"),
    ("model.pbtxt", "model_init.pbtxt"),
    ("predict_net.pbtxt", "init_net.pbtxt"),
    ("predict.pbtxt", "init.pbtxt"),
    ("*.predict.pb", "*.init.pb"),
    ("*_predict_net.pb", "*_init_net.pb"),
    ("*_predict.pb", "*_init.pb"),
    ("*.predict.pbtxt", "*.init.pbtxt"),
    ("*_predict_net.pbtxt", "*_init_net.pbtxt"),
]

# What files that are no nets begin with, what they are, and the remedy.
ONNX = "an ONNX model (caffe2-mobile convert makes a net of it)"
STRANGERS = [
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself (`git lfs pull` fetches it)"),
    (re.compile(rb"\x08[\x01-\x20](\x12|\x1a|\x22|\x3a|\x42)", re.DOTALL), ONNX),
    (re.compile(rb".{4}TFL3", re.DOTALL), "a TFLite model"),
    (re.compile(rb"PK\x03\x04"), "a zip archive, as PyTorch writes (caffe2-mobile export reads PyTorch models)"),
]


# Of each operator and argument, by index: a long list of floats. It stands beside the net, whose argument has none.
Floats = dict[tuple[int, int], np.ndarray]


def read_net(path: str | os.PathLike) -> caffe2_pb2.NetDef:
    """Read a NetDef, text form where the name ends in .pbtxt, else binary.

    Raises ModelError for a file that is missing, too large, truncated or no net at all.
    """
    net, floats = _read(path)
    return attach(net, floats)


def read_init(path: str | os.PathLike) -> tuple[caffe2_pb2.NetDef, dict[int, np.ndarray]]:
    """Read an init net as (net, weights): the values of its larger GivenTensorFills, by operator, stand apart.

    So they are in memory once, as the arrays that become parameters. Raises ModelError as read_net does.
    """
    net, floats = _read(path)
    weights = {}
    for index, position in list(floats):
        names = [argument.name for argument in net.op[index].arg]
        if net.op[index].type == "GivenTensorFill" and names[position] == "values" and names.count("values") == 1:
            weights[index] = floats.pop((index, position))
    return attach(net, floats), weights


def attach(net: caffe2_pb2.NetDef, floats: Floats) -> caffe2_pb2.NetDef:
    """The net with the floats in their arguments."""
    for (index, position), values in floats.items():
        set_floats(net.op[index].arg[position], values)
    return net


def with_weights(net: caffe2_pb2.NetDef, weights: Mapping[int, np.ndarray]) -> caffe2_pb2.NetDef:
    """A copy of the net that read_init split the weights from, whole."""
    whole = caffe2_pb2.NetDef()
    whole.CopyFrom(net)
    for index, values in weights.items():
        set_floats(next(argument for argument in whole.op[index].arg if argument.name == "values"), values)
    return whole


def _read(path: str | os.PathLike) -> tuple[caffe2_pb2.NetDef, Floats]:
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ModelError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, which no mobile net is")
            if size == 0:
                raise ModelError(f"{path}: is empty; a Caffe2 net was expected")
            head = file.read(64)
            file.seek(0)
            for beginning, kind in STRANGERS:
                if beginning.match(head):
                    raise ModelError(f"{path}: is {kind}; a Caffe2 net was expected")
            if path.suffix in TEXT_SUFFIXES:
                return text_format.Parse(file.read().decode(), caffe2_pb2.NetDef()), {}
            return _read_binary(file, size)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: truncated or not a Caffe2 net ({reason})") from None


def _read_binary(file: io.BufferedReader, size: int) -> tuple[caffe2_pb2.NetDef, Floats]:
    """A net read operator by operator, so that its weights are not in memory twice.

    Raises DecodeError, before memory is taken, where a length exceeds the file.
    """
    net, rest, position = caffe2_pb2.NetDef(), [], 0
    floats: Floats = {}
    # Pages of the system's own, not malloc's: what is freed there in one large piece makes it serve large requests
    # from its heap from then on, where weights and what ONNX Runtime frees leave gaps of many MiB.
    buffer = memoryview(mmap.mmap(-1, size))
    while position < size:
        file.seek(position)
        field = field_at(file.read(MAX_FIELD_HEAD), 0, size - position)
        file.seek(position)
        content = buffer[: file.readinto(buffer[: field.end])]
        position += field.end
        if field.number != OPERATOR_FIELD or field.wire_type != LENGTH_DELIMITED:
            rest.append(bytes(content))
        elif len(net.op) == MAX_OPERATORS:
            raise DecodeError(f"more than {MAX_OPERATORS} operators")
        else:
            operator, of_arguments = _split_operator(content[field.content :])
            floats.update({(len(net.op), argument): values for argument, values in of_arguments.items()})
            net.op.add().ParseFromString(operator)
    net.MergeFromString(b"".join(rest))
    return net, floats


def _split_operator(operator: memoryview) -> tuple[bytes, dict[int, np.ndarray]]:
    """(a serialized operator without its arguments' long lists of floats, these by argument)."""
    pieces: list[bytes | memoryview] = []
    floats: dict[int, np.ndarray] = {}
    copied = arguments = 0
    for field in fields(operator):
        if (field.number, field.wire_type) != (ARGUMENT_FIELD, LENGTH_DELIMITED):
            continue
        if field.end - field.content > LONG_BYTES:
            rest, values = split_floats(operator[field.content : field.end], FLOATS_FIELD)
            pieces += [operator[copied : field.start], length_delimited(ARGUMENT_FIELD, len(rest)), rest]
            copied = field.end
            if len(values):
                floats[arguments] = values
        arguments += 1
    return b"".join([*pieces, operator[copied:]]), floats


def find_pair(folder: Path) -> tuple[Path, Path | None]:
    """The (predict, init) files of a model folder; init is None where the folder has only the graph."""
    lone = []
    for predict_pattern, init_pattern in PAIRS:
        for predict in sorted(folder.glob(predict_pattern)):
            prefix = predict.name[: len(predict.name) - len(predict_pattern) + 1] if "*" in predict_pattern else ""
            init = folder / init_pattern.replace("*", prefix)
            if init.exists():
                return predict, init
            lone.append(predict)
    if lone:
        return lone[0], None
    known = ", ".join(f"{predict} + {init}" for predict, init in PAIRS)
    raise ModelError(f"{folder}: no Caffe2 net in this folder (looked for {known})")


def write_net(path: str | os.PathLike, net: caffe2_pb2.NetDef) -> None:
    """Write a NetDef in binary form, whole or not at all."""
    with open_atomically(path) as file:
        write_message(file, net, ["op"])
