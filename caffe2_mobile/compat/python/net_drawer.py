"""caffe2.python.net_drawer: a net as a graph of pydot's, which is looked for when a graph is asked for."""

import json
import logging
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2

logger = logging.getLogger(__name__)

try:
    import pydot  # type: ignore[import-not-found]
except ImportError:
    pydot = None
    print("net_drawer will not run correctly. Please install the correct dependencies.")

OP_STYLE = {"shape": "box", "color": "#0F9D58", "style": "filled", "fontcolor": "#FFFFFF"}
BLOB_STYLE = {"shape": "octagon"}

MAX_PARALLEL_STEPS = 3


def _pydot() -> Any:
    if pydot is None:
        raise ImportError("net_drawer needs pydot: pip install pydot, and Graphviz to make pictures")
    return pydot


def _rectify_operator_and_name(operators_or_net: Any, name: str | None) -> tuple[Iterable[Any], str]:
    """(operators, name) of a net, of what has one, or of bare operators."""
    net = operators_or_net.Proto() if hasattr(operators_or_net, "Proto") else operators_or_net
    if isinstance(net, caffe2_pb2.NetDef):
        return net.op, net.name if name is None else name
    if net is not operators_or_net:
        raise RuntimeError(f"Expecting NetDef, but got {type(net)}")
    return net, "unnamed" if name is None else name


def _escape_label(name: str) -> str:
    return json.dumps(name)


def GetOpNodeProducer(append_output: bool, **kwargs: Any) -> Callable:
    """What makes an operator's node, with its outputs' names where wanted."""

    def ReallyGetOpNode(op: Any, op_id: int) -> Any:
        label = f"{op.name}/{op.type} (op#{op_id})" if op.name else f"{op.type} (op#{op_id})"
        return _pydot().Node("\n".join([label, *(op.output if append_output else ())]), **kwargs)

    return ReallyGetOpNode


def GetBlobNodeProducer(**kwargs: Any) -> Callable:
    """What makes a blob's node."""

    def ReallyGetBlobNode(node_name: str, label: str) -> Any:
        return _pydot().Node(node_name, label=label, **kwargs)

    return ReallyGetBlobNode


def GetPydotGraph(
    operators_or_net: Any,
    name: str | None = None,
    rankdir: str = "LR",
    op_node_producer: Callable | None = None,
    blob_node_producer: Callable | None = None,
) -> Any:
    """Operators and blobs; a blob that is written again is another node."""
    op_node_producer = op_node_producer or GetOpNodeProducer(False, **OP_STYLE)
    blob_node_producer = blob_node_producer or GetBlobNodeProducer(**BLOB_STYLE)
    operators, name = _rectify_operator_and_name(operators_or_net, name)
    graph = _pydot().Dot(name, rankdir=rankdir)
    nodes: dict[str, Any] = {}
    versions: dict[str, int] = defaultdict(int)

    def blob_node(blob: str) -> Any:
        return blob_node_producer(_escape_label(f"{blob}{versions[blob]}"), label=_escape_label(blob))

    for op_id, op in enumerate(operators):
        op_node = op_node_producer(op, op_id)
        graph.add_node(op_node)
        for blob in op.input:
            if blob not in nodes:
                nodes[blob] = blob_node(blob)
            graph.add_node(nodes[blob])
            graph.add_edge(_pydot().Edge(nodes[blob], op_node))
        for blob in op.output:
            if blob in nodes:
                versions[blob] += 1
            nodes[blob] = blob_node(blob)
            graph.add_node(nodes[blob])
            graph.add_edge(_pydot().Edge(op_node, nodes[blob]))
    return graph


def GetPydotGraphMinimal(
    operators_or_net: Any,
    name: str | None = None,
    rankdir: str = "LR",
    minimal_dependency: bool = False,
    op_node_producer: Callable | None = None,
) -> Any:
    """Operators only; with minimal_dependency without the edges that follow from others."""
    op_node_producer = op_node_producer or GetOpNodeProducer(False, **OP_STYLE)
    operators, name = _rectify_operator_and_name(operators_or_net, name)
    graph = _pydot().Dot(name, rankdir=rankdir)
    writers: dict[str, Any] = {}
    ancestors: dict[Any, set[Any]] = {}
    for op_id, op in enumerate(operators):
        op_node = op_node_producer(op, op_id)
        graph.add_node(op_node)
        parents = [writers[blob] for blob in op.input if blob in writers]
        ancestors[op_node] = set(parents).union(*(ancestors[parent] for parent in parents))
        for parent in parents:
            implied = any(parent in ancestors[other] for other in parents)
            if not (minimal_dependency and implied):
                graph.add_edge(_pydot().Edge(parent, op_node))
        writers.update(dict.fromkeys(op.output, op_node))
    return graph


def GetOperatorMapForPlan(plan_def: Any) -> dict[str, Any]:
    """PLAN_NET -> the net's operators."""
    return {
        f"{plan_def.name}_{net.name}" if net.HasField("name") else f"{plan_def.name}_network_{position}": net.op
        for position, net in enumerate(plan_def.network)
    }


def _draw_nets(nets: Iterable[str], graph: Any) -> list[Any]:
    nodes: list[Any] = []
    for net in nets:
        nodes.append(_pydot().Node(_escape_label(net)))
        graph.add_node(nodes[-1])
        if len(nodes) > 1:
            graph.add_edge(_pydot().Edge(nodes[-2], nodes[-1]))
    return nodes


def _step_label(step: Any) -> str:
    lines = [
        step.name + "\n",
        f"Reporter: {step.report_net}" if step.report_net else "",
        f"Stopper: {step.should_stop_blob}" if step.should_stop_blob else "",
        "Concurrent" if step.concurrent_substeps else "",
        "Once" if step.only_once else "",
    ]
    return "\n".join(line for line in lines if line)


def _draw_steps(steps: Iterable[Any], graph: Any, skip_step_edges: bool = False) -> list[Any]:
    def draw_edge(start: Any, end: Any) -> None:
        graph.add_edge(_pydot().Edge(start, end, arrowhead="dot", style="dashed"))

    nodes: list[Any] = []
    for step in steps:
        parallel = step.concurrent_substeps
        nodes.append(_pydot().Node(_escape_label(_step_label(step)), **OP_STYLE))
        graph.add_node(nodes[-1])
        if len(nodes) > 1 and not skip_step_edges:
            graph.add_edge(_pydot().Edge(nodes[-2], nodes[-1]))
        if step.network:
            below = _draw_nets(step.network, graph)
        elif step.substep:
            shown = step.substep[:MAX_PARALLEL_STEPS] if parallel else step.substep
            below = _draw_steps(shown, graph, skip_step_edges=parallel)
        else:
            raise ValueError("invalid step")
        for node in below if parallel else below[:1]:
            draw_edge(nodes[-1], node)
        if parallel and len(step.substep) > MAX_PARALLEL_STEPS:
            more = _pydot().Node(f"{len(step.substep) - MAX_PARALLEL_STEPS} more steps", **OP_STYLE)
            graph.add_node(more)
            draw_edge(nodes[-1], more)
    return nodes


def GetPlanGraph(plan_def: Any, name: str | None = None, rankdir: str = "TB") -> Any:
    """A plan's steps and their nets."""
    graph = _pydot().Dot(name, rankdir=rankdir)
    _draw_steps(plan_def.execution_step, graph)
    return graph


def GetGraphInJson(operators_or_net: Any, output_filepath: str) -> None:
    """Write nodes (id, label, type) and edges (source, target) as JSON."""
    operators, _ = _rectify_operator_and_name(operators_or_net, None)
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, int]] = []
    current: dict[str, int] = {}  # blob -> the node of its last version

    def add_blob(blob: str) -> int:
        current[blob] = len(nodes)
        nodes.append({"id": len(nodes), "label": blob, "type": "blob"})
        return current[blob]

    for op_id, op in enumerate(operators):
        op_node = len(nodes)
        label = f"{op.name}/{op.type}" if op.name else op.type
        nodes.append({"id": op_node, "label": label, "op_id": op_id, "type": "op"})
        for blob in op.input:
            edges.append({"source": current[blob] if blob in current else add_blob(blob), "target": op_node})
        for blob in op.output:
            edges.append({"source": op_node, "target": add_blob(blob)})
    with open(output_filepath, "w", encoding="utf-8") as file:
        json.dump({"nodes": nodes, "edges": edges}, file)


def _empty_png() -> bytes:
    """A picture of one transparent point."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 6, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(5))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def GetGraphPngSafe(func: Callable, *args: Any, **kwargs: Any) -> bytes:
    """The picture of the graph that a function draws; an empty one where that fails."""
    try:
        graph = func(*args, **kwargs)
        if not isinstance(graph, _pydot().Dot):
            raise ValueError("func is expected to return pydot.Dot")
        return graph.create_png()
    except Exception as error:
        logger.error("Failed to draw graph: %s", error)
        return _empty_png()
