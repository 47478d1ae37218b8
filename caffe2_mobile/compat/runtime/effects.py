"""Operators that reach outside the net: databases, random numbers, text, Python functions, the workspace itself."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from caffe2_mobile.compat.runtime.blob import Blob, kind_of
from caffe2_mobile.compat.runtime.database import Database, open_database, require_readable, write_records
from caffe2_mobile.compat.runtime.serialization import deserialize, serialize
from caffe2_mobile.compat.runtime.tensors import TensorCPU
from caffe2_models.arguments import Arguments
from caffe2_models.net import Node
from caffe2_models.operators import OPERATORS
from caffe2_models.operators.fills import RandomFill
from caffe2_models.proto.caffe2_pb2 import OperatorDef
from caffe2_models.tensors import TensorType

logger = logging.getLogger(__name__)


class Surroundings(Protocol):
    """What an operator may touch of its workspace."""

    root_folder: str
    random: np.random.Generator
    functions: dict[str, tuple[Callable, bool]]

    def create_blob(self, name: str) -> Blob: ...

    def find_blob(self, name: str) -> Blob | None: ...

    def has_blob(self, name: str) -> bool: ...

    def blob_names(self) -> list[str]: ...


Effect = Callable[[Surroundings, OperatorDef, list[Blob], list[Blob]], None]

EFFECTS: dict[str, Effect] = {}


def effect(*types: str) -> Callable[[Effect], Effect]:
    """Register a function under operators' names."""

    def register(function: Effect) -> Effect:
        EFFECTS.update(dict.fromkeys(types, function))
        return function

    return register


# ------------------------------------------------------------------------------------------- databases


@effect("CreateDB")
def create_db(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    arguments = Arguments(op)
    outputs[0].set(open_database(_text(arguments, "db"), _text(arguments, "db_type", "leveldb")))


@effect("Save")
def save(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """Blobs into a database; their names there may be others, or shorter by strip_prefix."""
    arguments = Arguments(op)
    path, kind = _database_path(workspace, arguments), _text(arguments, "db_type")
    require_readable(kind, str(path))
    names = _strings(arguments, "blob_name_overrides") or [_stripped(name, arguments) for name in op.input]
    if len(names) != len(inputs):
        raise RuntimeError("blob_name_overrides: as many names as there are blobs are expected")
    write_records(path, (record for name, blob in zip(names, inputs, strict=True) for record in _records(name, blob)))


@effect("Load")
def load(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """Blobs out of a database, by name or all of them."""
    arguments = Arguments(op)
    if inputs:
        readers = [blob.content for blob in inputs]
        if not all(isinstance(reader, Database) for reader in readers):
            raise RuntimeError(f"blob {inputs[0].name}: contains {kind_of(readers[0])}, not a DBReader")
    else:
        paths = _strings(arguments, "dbs") or [_text(arguments, "db")]
        kind = _text(arguments, "db_type")
        root = None if arguments.get_bool("absolute_path") else workspace.root_folder
        readers = [open_database(str(Path(root, path) if root else path), kind) for path in paths]
    found = {name: records for reader in readers for name, records in reader.blobs().items()}
    if arguments.get_bool("load_all"):
        prefix = _text(arguments, "add_prefix")
        for name, records in found.items():
            workspace.create_blob(prefix + _stripped(name, arguments)).set(deserialize(records))
        return
    sources = _strings(arguments, "source_blob_names") or [blob.name for blob in outputs]
    missing = [name for name in sources if name not in found]
    if missing and not arguments.get_bool("allow_incomplete"):
        raise RuntimeError(
            f"Expected to load {len(sources)} blobs, got {len(sources) - len(missing)} only. Not found: "
            + ", ".join(missing)
        )
    for name, blob in zip(sources, outputs, strict=True):
        if name in found:
            blob.set(deserialize(found[name]))


@effect("DBExists")
def db_exists(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    arguments = Arguments(op)
    root = "" if arguments.get_bool("absolute_path") else workspace.root_folder
    outputs[0].set(np.array(Path(root, _text(arguments, "db_name")).exists()))


def _database_path(workspace: Surroundings, arguments: Arguments) -> Path:
    path = _text(arguments, "db")
    return Path(path) if arguments.get_bool("absolute_path") else Path(workspace.root_folder, path)


def _records(name: str, blob: Blob):
    if blob.content is None:
        raise RuntimeError(f"blob {blob.name}: has not been initialized, nothing to save")
    return serialize(name, blob.content)


def _stripped(name: str, arguments: Arguments) -> str:
    """The name after the first occurrence of strip_prefix, as Caffe2 takes it."""
    prefix = _text(arguments, "strip_prefix")
    return name[name.find(prefix) + len(prefix) :] if prefix and prefix in name else name


def _text(arguments: Arguments, name: str, default: str = "") -> str:
    return arguments.get_str(name) or default


def _strings(arguments: Arguments, name: str) -> list[str]:
    proto = arguments.proto(name)
    return [item.decode() for item in proto.strings] if proto is not None else []


# -------------------------------------------------------------------------- random numbers, text, time


def random_fill(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """From the operator's seed, where it has one, or from numbers that no other fill has drawn."""
    node = Node(op, 0)
    operator: Any = node.operator
    types = {blob.name: TensorType.of(blob.tensor()) for blob in inputs}
    ((shape,),) = ([found.shape for found in node.infer(types)[1]],)
    seeded = op.device_option.HasField("random_seed")
    random = np.random.default_rng(op.device_option.random_seed) if seeded else workspace.random
    outputs[0].set(operator.draw(random, shape).astype(np.float32))


for name, kind in OPERATORS.items():
    if issubclass(kind, RandomFill):
        effect(name)(random_fill)


@effect("GivenTensorStringFill")
def string_fill(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    arguments = Arguments(op)
    values, shape = arguments.proto("values"), arguments.get_ints("shape", ())
    strings = list(values.strings) if values is not None else []
    outputs[0].set(np.array(strings, object).reshape(shape))


@effect("Print")
def print_blob(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """To the log, as Caffe2 does, which shows it only where the log's level says so."""
    value = inputs[0].fetch()
    shown = np.asarray(value[0] if isinstance(value, tuple) else value)
    text = ",".join(str(item) for item in shown.reshape(-1)[:1000].tolist())
    logger.info("Tensor %s of type %s. Dims: %s: %s", inputs[0].name, shown.dtype, shown.shape, text)


@effect("Summarize")
def summarize(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """(minimum, maximum, mean, unbiased standard deviation), summed in float64; with to_file a line in NAME.summary."""
    values = inputs[0].tensor()
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not values.size:
        raise RuntimeError("Summarize takes float32 values, one or more")
    exact = values.reshape(-1).astype(np.float64)
    mean = np.cumsum(exact / values.size)[-1]
    squares = np.cumsum((exact - mean) ** 2)[-1]
    deviation = np.sqrt(squares / (values.size - 1)) if values.size > 1 else 0.0
    summary = np.array([values.min(), values.max(), mean, deviation], np.float32)
    if Arguments(op).get_bool("to_file"):
        with Path(workspace.root_folder, f"{inputs[0].name}.summary").open("a", encoding="utf-8") as file:
            print(*(f"{value:.6g}" for value in summary), file=file)
    if outputs:
        outputs[0].set(summary)


@effect("WallClockTime")
def wall_clock_time(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    outputs[0].set(np.array(time.time_ns(), np.int64))


# -------------------------------------------------------------------------------------- the workspace


@effect("Free")
def free(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    for blob in inputs:
        blob.set(None)


@effect("GetAllBlobNames")
def all_blob_names(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    outputs[0].set(np.array([name.encode() for name in workspace.blob_names()], object))


@effect("Python")
def python_function(workspace: Surroundings, op: OperatorDef, inputs: list[Blob], outputs: list[Blob]) -> None:
    """A function of the script's own: f(inputs, outputs), and the workspace where it asked for it."""
    token = _text(Arguments(op), "token")
    if token not in workspace.functions:
        raise RuntimeError("Python operator: no function of this process; pickled ones are not run")
    function, pass_workspace = workspace.functions[token]
    arguments: list[Any] = [[TensorCPU(blob) for blob in inputs], [TensorCPU(blob, True) for blob in outputs]]
    function(*arguments, *([workspace] if pass_workspace else []))
