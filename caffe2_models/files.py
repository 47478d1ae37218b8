"""Reading and writing files: nets in binary or text form, and writes that are whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from caffe2_models.errors import ModelError
from caffe2_models.proto import caffe2_pb2
from caffe2_models.wire import write_message

MAX_FILE_BYTES = 1 << 30

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
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, which no mobile net is")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise ModelError(f"{path}: is empty; a Caffe2 net was expected")
    net = caffe2_pb2.NetDef()
    try:
        if path.suffix in (".pbtxt", ".prototxt"):
            text_format.Parse(content.decode(), net)
        else:
            net.ParseFromString(content)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: truncated or not a Caffe2 net ({reason})") from None
    return net


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
