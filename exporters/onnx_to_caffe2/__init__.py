"""ONNX to Caffe2: one small function per ONNX operator, then rewrites to the form of the published nets."""

from collections.abc import Mapping

import numpy as np
import onnx

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.sizes import Dims, Size
from caffe2_models import Net
from caffe2_models.preprocessing import set_input_dims
from exporters.layers import Blob, Graph, Unsupported, rewrite, write_net
from exporters.layers.naming import layer_name
from exporters.layers.rules import RULES
from exporters.onnx_files import get_onnx_preprocessing, input_dims
from exporters.onnx_to_caffe2 import operators  # noqa: F401  fills CONVERSIONS
from exporters.onnx_to_caffe2.missing import lack
from exporters.onnx_to_caffe2.registry import CONVERSIONS, Node, convert_node
from exporters.onnx_to_caffe2.repetition import repeated_row
from exporters.onnx_to_caffe2.source import Source, SourceNode, read_source


def convert(model: onnx.ModelProto, size: Size | None = None, shapes: Mapping[str, Dims] | None = None) -> Net:
    """The Caffe2 net (float32, NCHW) that computes what an ONNX model computes.

    `size` fixes the input's height and width where the model leaves them free, `shapes` whatever it says of inputs
    by name (None: as the model has it); without them they stay free, as far as the model's operators can be
    expressed so. What is fixed is recorded in the net. The batch stays free where the model leaves it
    free, and usually where it does not. Raises UnsupportedError, with all nodes that cannot be converted,
    or ModelError.
    """
    graph = read_layers(model, size, shapes)
    del model  # its weights need not stay in memory twice, where the caller does not keep it either
    rewrite(graph, RULES)
    net = write_net(graph, release=True)
    _record_batch(net, graph)
    return net


def read_layers(model: onnx.ModelProto, size: Size | None = None, shapes: Mapping[str, Dims] | None = None) -> Graph:
    """The layers that a model's nodes become, before any rewrite; see `convert`."""
    preprocessing = get_onnx_preprocessing(model)
    try:
        graph = _convert_nodes(read_source(model, size, shapes))
    except ModelError as error:
        raise type(error)(f"{_free_sizes(input_dims(model, size, shapes))}{error}") from None
    graph.preprocessing = preprocessing.replace(size=size) if preprocessing is not None else None
    graph.input_dims = {blob.name: _recorded(blob) for blob in graph.inputs}
    return graph


def _free_sizes(dims: Mapping[str, Dims]) -> str:
    """What an error begins with where inputs that are no images have free sizes, which may be why it came to it."""
    named = {name: "x".join("?" if dim is None else str(dim) for dim in own) for name, own in dims.items()}
    free = [f"{name}={named[name]}" for name, own in dims.items() if len(own) != 4 and None in own[1:]]
    return f"with free sizes ({', '.join(free)}; --shape NAME=... fixes them): " if free else ""


def _recorded(blob: Blob) -> Dims:
    """The input's shape, with None for what is free; the batch always is, as far as anyone can tell."""
    rest = tuple(dim if blob.is_fixed(axis) else None for axis, dim in enumerate(blob.shape))
    return (None, *rest[1:]) if blob.rank == 4 else rest


def _record_batch(net: Net, graph: Graph) -> None:
    """Record the model's batch where the net has become one for no other."""
    images = [blob for blob in graph.inputs if blob.rank == 4 and blob.is_fixed(0)]
    if all(blob.shape[0] == 1 for blob in images):
        return
    try:
        net.infer_shapes({blob.name: (1, *blob.shape[1:]) if blob in images else blob.shape for blob in graph.inputs})
    except ModelError:
        fixed = {blob.name: (blob.shape[0], *graph.input_dims[blob.name][1:]) for blob in images}
        set_input_dims(net.predict, {**graph.input_dims, **fixed})


def _convert_nodes(source: Source) -> Graph:
    blobs = {name: _blob(name, source) for name in source.inputs}
    graph = Graph(source.name, [blob for blob in blobs.values() if not blob.is_constant], [])
    nodes = _live(source)
    needed = {*source.outputs, *(name for node in nodes for name in node.inputs)}
    unknown: dict[str, list[str]] = {}
    problems: list[str] = []
    lost: set[str] = set()  # tensors of unknown type, for their node was not converted
    for node in nodes:
        inputs = [_lookup(blobs, name, source) if name else None for name in node.inputs]
        outputs = [_blob(name, source) if name else Blob() for name in node.outputs]
        results = None
        if node.type not in CONVERSIONS:
            unknown.setdefault(node.type, []).append(node.name or f"-> {node.outputs[0]}")
        elif lost.isdisjoint(node.inputs):  # else, what may be wrong with it is not known yet
            read = [name in needed for name in node.outputs]
            context = Node(graph, node.type, source.opset, _layer(node), outputs, read)
            try:
                results = convert_node(context, inputs, node.attributes)
                if beyond := [name for name in node.outputs[len(results) :] if name in needed]:
                    raise Unsupported(f"its output {beyond[0]} has no counterpart in Caffe2")
                results = [_as_declared(context, *pair) for pair in zip(results, outputs, strict=False)]
            except Unsupported as reason:
                problems.append(f"{node}: {reason}")
                results = None
        if results is None:
            results = outputs
            lost.update(n for n, blob in zip(node.outputs, outputs, strict=True) if n and blob.known_shapes is None)
        for name, typed, result in zip(node.outputs, outputs, results, strict=False):
            if result.known_shapes is None:
                result.known_shapes, result.dtype = typed.known_shapes, typed.dtype
            blobs[name] = result
    _require_all_converted(unknown, problems)
    for name in source.outputs:
        try:
            _add_output(graph, blobs, name, source)
        except Unsupported as reason:
            raise UnsupportedError(f"output {name}: {reason}") from None
    return graph


def _as_declared(node: Node, made: Blob, declared: Blob) -> Blob:
    """The blob in the shape that ONNX says it has: a vector of one, as nets hold numbers, may have to be one.

    Raises Unsupported for any other shape, and for another element type.
    """
    if made.known_shapes is None or declared.known_shapes is None or made.is_constant:
        return made
    if made.shapes != declared.shapes:
        if made.shapes == ((1,), (1,)) and declared.rank == 0:
            return node.add("Squeeze", [made], dims=[0])
        raise Unsupported(f"in Caffe2 its output would be {list(made.shape)}, not {list(declared.shape)}")
    if made.dtype != declared.dtype and made.scale is None:  # bytes are uint8 in Caffe2, whatever they were
        raise Unsupported(f"in Caffe2 its output would be {made.dtype}, not {declared.dtype}")
    return made


def _live(source: Source) -> list[SourceNode]:
    """The nodes that the outputs need."""
    needed, live = set(source.outputs), []
    for node in reversed(source.first.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            live.append(node)
    return live[::-1]


def _require_all_converted(unknown: dict[str, list[str]], problems: list[str]) -> None:
    """One error for all nodes that could not be converted: unknown operators by type, problems by node."""
    messages = []
    if unknown:
        listed = "; ".join(f"{kind} ({', '.join(names)}): {lack(kind)}" for kind, names in sorted(unknown.items()))
        messages.append(f"ONNX operators that are not supported: {listed}")
    if problems:
        messages.append(f"cannot be converted: {'; '.join(problems)}")
    if unknown:
        messages.append(f"Supported are: {', '.join(sorted(CONVERSIONS))}")
    if messages:
        raise UnsupportedError(". ".join(messages))


def _lookup(blobs: dict[str, Blob], name: str, source: Source) -> Blob:
    """The blob of an ONNX tensor; constants become blobs when first read."""
    if name not in blobs:
        blobs[name] = _blob(name, source)
    return blobs[name]


def _blob(name: str, source: Source) -> Blob:
    first, second = source.first.types[name], source.second.types[name]
    if first is None or second is None:
        return Blob(name=name)
    shapes, known = (first.shape, second.shape), (first.content, second.content)
    varies = known[0] is not None and not _same_value(known[0], known[1])
    is_zero = all(content is not None and not content.any() for content in known)
    row = repeated_row(*known) if varies else None
    return Blob(shapes, None if varies else known[0], varies, is_zero, first.dtype, name, row)


def _same_value(first: np.ndarray, second: np.ndarray | None) -> bool:
    return second is not None and np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _layer(node: SourceNode) -> str:
    return layer_name(node.type, node.name, node.scope, node.outputs[0])


def _add_output(graph: Graph, blobs: dict[str, Blob], name: str, source: Source) -> None:
    """Name the output's blob; where it is an input of another name, a constant or another output too, a copy."""
    if name not in source.first.types:
        raise ModelError(f"output {name} is computed by no node")
    blob = _lookup(blobs, name, source)
    is_input = blob in graph.inputs and blob.name == name
    is_made = any(blob in layer.outputs for layer in graph.layers)
    if not (is_made or is_input) or blob in graph.outputs:
        blob = graph.add("Copy", [blob], name, 1, {}).output
    blob.name = name
    graph.outputs.append(blob)
