"""ONNX operators that ONNX itself defines by others: their bodies, with the names of the node that they stand for."""

from collections.abc import Callable, Sequence

import onnx


def expand_node(
    node: onnx.NodeProto, schema: onnx.defs.OpSchema, types: Sequence[onnx.TypeProto], opset: int
) -> list[onnx.NodeProto] | None:
    """The nodes that compute what `node` does, or None for an operator that ONNX does not define by others.

    types: of the node's inputs that are there.
    """
    body = _body(node, schema, types, opset)
    if body is None:
        return None
    prefix = node.name or next(filter(None, node.output))
    names = {"": "", **dict.fromkeys(body.input, ""), **dict.fromkeys(body.output, "")}
    names.update(zip(body.input, node.input, strict=False))
    names.update((inner, outer or f"{prefix}/{inner}") for inner, outer in zip(body.output, node.output, strict=False))
    attributes = {attribute.name: attribute for attribute in schema_defaults(schema)}
    attributes |= {attribute.name: attribute for attribute in body.attribute_proto}
    attributes |= {attribute.name: attribute for attribute in node.attribute}

    def rename(name: str) -> str:
        if name not in names or (name in body.output and not names[name]):
            names[name] = f"{prefix}/{name}"
        return names[name]

    return [rename_node(inner, rename, attributes) for inner in body.node]


def schema_defaults(schema: onnx.defs.OpSchema) -> list[onnx.AttributeProto]:
    """The attributes that an operator has though a node does not say so."""
    return [
        a.default_value for a in schema.attributes.values() if a.default_value.type != onnx.AttributeProto.UNDEFINED
    ]


def _body(node, schema, types, opset: int) -> onnx.FunctionProto | None:
    if schema.has_function:
        content = schema.get_function_with_opset_version(_newest(schema.function_opset_versions, opset))
    elif schema.has_context_dependent_function:
        version = _newest(schema.context_dependent_function_opset_versions, opset)
        content = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), [known.SerializeToString() for known in types]
        )
    else:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(content)
    return body if body.node else None


def _newest(versions: Sequence[int], opset: int) -> int:
    """The newest of a function's versions that an opset may use; the oldest where all are newer."""
    return max((version for version in versions if version <= opset), default=min(versions))


def rename_node(
    inner: onnx.NodeProto, rename: Callable[[str], str], attributes: dict[str, onnx.AttributeProto]
) -> onnx.NodeProto:
    """A node, and the graphs in it, with other names, and with attributes that it refers to in their places."""
    node = onnx.NodeProto()
    node.CopyFrom(inner)
    node.input[:] = [name and rename(name) for name in inner.input]
    node.output[:] = [name and rename(name) for name in inner.output]
    node.name = next(filter(None, node.output), "")
    del node.attribute[:]
    for attribute in inner.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in attributes:
                given = node.attribute.add()
                given.CopyFrom(attributes[attribute.ref_attr_name])
                given.name = attribute.name
            continue
        own = node.attribute.add()
        own.CopyFrom(attribute)
        if own.HasField("g"):
            _rename_graph(own.g, rename, attributes)
    return node


def _rename_graph(graph: onnx.GraphProto, rename: Callable[[str], str], attributes: dict) -> None:
    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)
    for value in [*graph.input, *graph.output]:
        value.name = rename(value.name)
    nodes = [rename_node(node, rename, attributes) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
