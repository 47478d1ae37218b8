"""Reading and writing files: nets in binary or text form, and writes that are whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from caffe2_models.errors import ModelError
from caffe2_models.proto import caffe2_pb2
from caffe2_models.wire import (
    LENGTH_DELIMITED,
    field_at,
    fields,
    length_delimited,
    pack_floats,
    write_message,
)

MAX_FILE_BYTES = 1 << 30
MAX_OPERATORS = 100_000

TEXT_SUFFIXES = (".pbtxt", ".prototxt")

OPERATOR_FIELD = caffe2_pb2.NetDef.OP_FIELD_NUMBER
ARGUMENT_FIELD = caffe2_pb2.OperatorDef.ARG_FIELD_NUMBER
FLOATS_FIELD = caffe2_pb2.Argument.FLOATS_FIELD_NUMBER
MAX_FIELD_HEAD = 20  # bytes of a tag and a length, or of a tag and a number
UNPACKED_BYTES = 1 << 12  # arguments from this size on are worth packing

# File names of (predict, init) in a model folder; a star stands for any common prefix.
PAIRS = [
    ("model.pb", "model_init.pb"),
    ("predict_net.pb", "init_net.pb"),
    ("predict.pb", "init.pb"),
    ("model.pbtxt", "model_init.pbtxt"),
    ("predict_net.pbtxt", "init_net.pbtxt"),
    ("*.predict.pb", "*.init.pb"),
    ("*.predict.pbtxt", "*.init.pbtxt"),
]


def read_net(path: str | os.PathLike) -> caffe2_pb2.NetDef:
    """Read a NetDef, text form where the name ends in .pbtxt, else binary.

    Raises ModelError for a file that is missing, too large, truncated or no net at all.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ModelError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, which no mobile net is")
            if size == 0:
                raise ModelError(f"{path}: is empty; a Caffe2 net was expected")
            if path.suffix in TEXT_SUFFIXES:
                return text_format.Parse(file.read().decode(), caffe2_pb2.NetDef())
            return _read_binary(file, size)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: truncated or not a Caffe2 net ({reason})") from None


def _read_binary(file: BinaryIO, size: int) -> caffe2_pb2.NetDef:
    """A net read operator by operator, so that its weights are not in memory twice.

    Raises DecodeError, before memory is taken, where a length exceeds the file.
    """
    net, rest, position = caffe2_pb2.NetDef(), [], 0
    while position < size:
        file.seek(position)
        field = field_at(file.read(MAX_FIELD_HEAD), 0, size - position)
        file.seek(position)
        content = memoryview(file.read(field.end))
        position += field.end
        if field.number != OPERATOR_FIELD or field.wire_type != LENGTH_DELIMITED:
            rest.append(content)
        elif len(net.op) == MAX_OPERATORS:
            raise DecodeError(f"more than {MAX_OPERATORS} operators")
        else:
            net.op.add().ParseFromString(_with_packed_floats(content[field.content :]))
    net.MergeFromString(b"".join(rest))
    return net


def _with_packed_floats(operator: memoryview) -> bytes:
    """A serialized operator with long lists of floats packed: parsed one by one they take double the room."""
    pieces, copied = [], 0
    for field in fields(operator):
        long = field.end - field.content > UNPACKED_BYTES
        if long and (field.number, field.wire_type) == (ARGUMENT_FIELD, LENGTH_DELIMITED):
            packed = pack_floats(operator[field.content : field.end], FLOATS_FIELD)
            head = length_delimited(ARGUMENT_FIELD, sum(map(len, packed)))
            pieces += [operator[copied : field.start], head, *packed]
            copied = field.end
    return b"".join([*pieces, operator[copied:]])


def find_pair(folder: Path) -> tuple[Path, Path | None]:
    """The (predict, init) files of a model folder; init is None where the folder has only the graph."""
    lone = []
    for predict_pattern, init_pattern in PAIRS:
        for predict in sorted(folder.glob(predict_pattern)):
            prefix = (
                predict.name[: len(predict.name) - len(predict_pattern) + 1] if "*" in predict_pattern else ""
            )
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


def write_atomically(path: str | os.PathLike, content: bytes | str) -> None:
    """Write a file under a temporary name in its own folder, then rename it: whole or not at all.

    Missing folders are made.
    """
    with open_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike):
    """A binary file that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
