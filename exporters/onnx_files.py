"""ONNX files made by anyone, read without trusting them."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.files import open_atomically, read_whole
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import Dims, Size, pair_of
from caffe2_models.files import read_net
from caffe2_models.model_files import QUANTIZED
from caffe2_models.tensors import MAX_BLOB_BYTES
from caffe2_models.wire import write_message

CAFFE2 = "a Caffe2 net, not an ONNX model (caffe2-mobile quantize makes it int8, caffe2-mobile to-onnx makes it ONNX)"

# Operators that leave an image's channels as they are.
CHANNELWISE = {"Add", "BatchNormalization", "Cast", "Clip", "Div", "Identity", "Mul", "Pad", "Relu", "Sub"}

MAX_FILE_BYTES = 2 << 30  # of one protobuf message


def load_onnx(path: str | os.PathLike) -> onnx.ModelProto:
    """Read an ONNX file, tensors kept in files beside it included.

    Raises ModelError, in one line, for a file that is missing, truncated, no ONNX model, or whose external
    data leaves its folder or is shorter than its tensors.
    """
    path = Path(path)
    content = read_whole(path, MAX_FILE_BYTES, "ONNX")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RecursionError):
        raise ModelError(f"{path}: {_other_file(path) or 'truncated or not an ONNX model'}") from None
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{path}: {_other_file(path) or 'not an ONNX model (it has no graph)'}")
    for tensor in all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load_external(tensor, path)
    return model


def _other_file(path: Path) -> str | None:
    """What a file that is no ONNX model is, and what it goes with; None where nobody knows."""
    try:
        is_net = len(read_net(path).op) > 0
    except ModelError:
        return None
    return CAFFE2 if is_net else None


def in_bytes(model: onnx.ModelProto) -> bool:
    """Whether it computes with quantized values, in whatever form."""
    return any(node.op_type in QUANTIZED for node in model.graph.node)


def save_onnx(model: onnx.ModelProto, path: str | os.PathLike) -> None:
    """Write a model, whole or not at all."""
    with open_atomically(path) as file:
        write_message(file, model, ["graph", "initializer", "raw_data"])


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers, and those in attributes of nodes, subgraphs and functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def opset_version(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set; the newest, where the model names only others.

    Raises ModelError where it names none.
    """
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            return opset.version
    if model.opset_import and all(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return onnx.defs.onnx_opset_version()
    raise ModelError("the ONNX model names no operator set of ONNX")


def get_onnx_preprocessing(model: onnx.ModelProto) -> Preprocessing | None:
    """What the file says of its input, or None where it says nothing."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            return Preprocessing.from_json(prop.value)
    return None


def set_onnx_preprocessing(model: onnx.ModelProto, preprocessing: Preprocessing) -> None:
    """Record the preprocessing in the model, in place of what it said before."""
    kept = [prop for prop in model.metadata_props if prop.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=KEY, value=preprocessing.to_json())


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs a user feeds: those that no initializer fills (older files list initializers too)."""
    filled = {tensor.name for tensor in graph.initializer}
    filled.update(tensor.values.name for tensor in graph.sparse_initializer)
    return [value for value in graph.input if value.name not in filled]


def input_dims(
    model: onnx.ModelProto, size: Size | None = None, shapes: Mapping[str, Dims] | None = None
) -> dict[str, Dims]:
    """Of each input its dimensions, None for those that are free: neither the model, nor size or shapes tell them.

    size: height and width of the inputs that are images, where they are free. The channels of an image that the model
    leaves free are those that the first convolution reads, else 3. Raises ModelError for a size or shape that the
    model does not take.
    """
    shapes = shapes or {}
    inputs = graph_inputs(model.graph)
    if unknown := shapes.keys() - {value.name for value in inputs}:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"{sorted(unknown)[0]} is no input; the model's inputs are {names}")
    return {value.name: _dims_of(model.graph, value, size, shapes.get(value.name)) for value in inputs}


def input_dtypes(model: onnx.ModelProto) -> dict[str, np.dtype]:
    """The element type of each input that a user feeds."""
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph_inputs(model.graph)}
    return {name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element)) for name, element in inputs.items()}


def _dims_of(graph: onnx.GraphProto, value: onnx.ValueInfoProto, size: Size | None, given: Dims | None) -> Dims:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value").removesuffix("_type")
        raise UnsupportedError(f"input {value.name} is of the type {kind}; Caffe2 has blobs of tensors only")
    if not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"input {value.name} has no shape in the ONNX file")
    dims = value.type.tensor_type.shape.dim
    fixed: list[int | None] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if len(fixed) == 4 and fixed[0] == 0:
        fixed[0] = None  # the free batch of images in old exporters' files
    fixed = [dim if dim is not None and dim >= 0 else None for dim in fixed]
    if given is not None and len(given) != len(fixed):
        raise ModelError(f"input {value.name} has {len(fixed)} dimensions, not {len(given)}")
    wanted: list[int | None] = list(given) if given is not None else [None] * len(fixed)
    if size is not None and len(fixed) == 4:
        wanted[2:] = [have or side for have, side in zip(wanted[2:], pair_of(size), strict=True)]
    for axis, (have, want) in enumerate(zip(fixed, wanted, strict=True)):
        if None not in (have, want) and have != want:
            raise ModelError(f"input {value.name} is {have} in dimension {axis} in the ONNX file, not {want}")
    known = [have if have is not None else want for have, want in zip(fixed, wanted, strict=True)]
    if len(known) == 4 and known[1] is None:
        known[1] = _channels(graph, value.name)
    return tuple(known)


def _channels(graph: onnx.GraphProto, name: str) -> int:
    """What the first convolution that reads an input, as it is or element by element, takes as channels; else 3."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    reached = {name}
    for node in graph.node:
        if node.input and node.input[0] in reached:
            if node.op_type == "Conv" and node.input[1] in weights:
                group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
                return weights[node.input[1]][1] * group
            if node.op_type in CHANNELWISE:
                reached.update(node.output)
    return 3


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
            yield from _graph_tensors(graph)


def _load_external(tensor: onnx.TensorProto, model_path: Path) -> None:
    """Bring one tensor's bytes into the model. Only files inside the model's own folder are opened."""
    where = f"{model_path}: tensor {tensor.name}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = model_path.parent.resolve()
    data_path = (folder / location).resolve()
    if not location or not data_path.is_relative_to(folder):
        raise ModelError(f"{where}: external data {location!r} is not inside the model's folder")
    wanted = _declared_bytes(tensor, where)
    offset, length = entries.get("offset", "0"), entries.get("length", str(wanted))
    if not (offset.isdecimal() and length.isdecimal()):
        raise ModelError(f"{where}: offset {offset!r} or length {length!r} of its external data is no number")
    if int(length) != wanted:
        raise ModelError(f"{where}: external data of {length} bytes, its shape needs {wanted}")
    try:
        with open(data_path, "rb") as file:
            file.seek(int(offset))
            content = file.read(wanted)
    except OSError as error:
        raise ModelError(f"{where}: external data {location!r} cannot be read ({error.strerror})") from None
    if len(content) != wanted:
        raise ModelError(f"{where}: external data {location!r} ends before the tensor does")
    tensor.raw_data = content
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _declared_bytes(tensor: onnx.TensorProto, where: str) -> int:
    try:
        item_size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (KeyError, TypeError):
        raise ModelError(f"{where}: data type {tensor.data_type} is not known") from None
    size = math.prod(tensor.dims) * item_size
    if any(dim < 0 for dim in tensor.dims) or size > MAX_BLOB_BYTES:
        raise ModelError(f"{where}: impossible shape {list(tensor.dims)}")
    return size
