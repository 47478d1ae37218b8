"""What is wrong with a net: everything at once, where running it would stop at the first."""

import math
from collections.abc import Mapping

from caffe2_common.errors import ModelError
from caffe2_models.net import Net, Node
from caffe2_models.operators import OPERATORS
from caffe2_models.operators.node import all_nodes
from caffe2_models.tensors import TensorType


def find_problems(net: Net, inputs: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One line for each thing that cannot be, on inputs of these shapes.

    Operators that are not supported, blobs that nothing writes, parameters, shapes and arguments that do not
    fit, scales that QNNPACK refuses. What follows from a problem is not told again; nor are the unknown
    parameters of a graph without its init net.
    """
    problems: list[str] = []
    types = net.input_types(inputs)
    lost = set() if net.init_operators else set(net.predict.external_input) - set(inputs)
    for label, nodes in (("init", net.init_operators), ("predict", net.operators)):
        for node in nodes:
            if label == "init" and types.keys() & set(node.outputs):
                continue  # a stand-in for an input
            problems += [f"{label}: {problem}" for problem in _problems_of(node, types, lost)]
    problems += [f"output {name} is never written" for name in net.outputs if name not in types and name not in lost]
    return problems


def find_idle(net: Net) -> list[str]:
    """Notes on what does no harm: parameters that nobody reads."""
    read = {name for node in net.operators for name in node.inputs} | set(net.outputs)
    read |= {name for node in net.init_operators for name in node.inputs}
    written = dict.fromkeys(name for node in net.init_operators for name in node.outputs)
    return [f"parameter {name} is never read" for name in written if name not in read]


def task_of(net: Net, inputs: Mapping[str, tuple[int, ...]] | None = None) -> str | None:
    """What the net is for, where its operators show it, or its outputs on inputs of these shapes; else None."""
    kinds = {node.type for node in all_nodes(net.operators)}
    if "BoxWithNMSLimit" in kinds:
        found = {name for node in net.operators if node.type == "BoxWithNMSLimit" for name in node.outputs}
        cuts = [node for node in all_nodes(net.operators) if "RoIAlign" in node.type]
        parts = ["boxes"] + ["masks"] * any(found.intersection(node.inputs) for node in cuts)
        if "HeatmapMaxKeypoint" in kinds:
            parts = ["boxes", "keypoints"]
        return f"object detection ({' and '.join(parts)})"
    if kinds & {"GenerateProposals", "GenerateProposalsCPP"}:
        return "region proposals"
    if any("Styliz" in kind for kind in kinds):
        return "style transfer"
    if "RecurrentNetwork" in kinds:
        return "sequences (recurrent)"
    types = net.infer_types(inputs) if inputs is not None else {}
    writers = {name: node.type for node in net.operators for name in node.outputs}
    scores = [types[name] for name in net.outputs if "Softmax" in writers.get(name, "") and name in types]
    if len(scores) != 1 or not scores[0].is_exact or len(scores[0].shape) not in (2, 4):
        return None
    rest = scores[0].shape[1:]
    if len(rest) == 3 and min(rest[1], rest[2]) > 1:
        return f"maps of scores ({'x'.join(map(str, rest))})"
    return f"classification ({math.prod(rest)} classes)"


def _problems_of(node: Node, types: dict[str, TensorType], lost: set[str]) -> list[str]:
    """Of an operator, then of the nets that it holds; those that run among the blobs around it are inferred too."""
    inside: list[str] = []
    for name, body in node.bodies.items():
        if OPERATORS[node.type].shares_workspace:
            found = _problems_of_all(body.nodes, dict(types), set(lost))
        else:
            unknown = [inner for inner in all_nodes(body.nodes) if inner.type not in OPERATORS]
            found = [f"{inner}: operator {inner.type} is not supported" for inner in unknown]
        inside += [f"{node}, {name}: {problem}" for problem in found]
    problem = _step(node, types, lost)
    is_new = problem is not None and not any(found.endswith(problem.partition("): ")[2]) for found in inside)
    return [*([problem] if problem is not None and is_new else []), *inside]


def _problems_of_all(nodes: list[Node], types: dict[str, TensorType], lost: set[str]) -> list[str]:
    return [problem for node in nodes for problem in _problems_of(node, types, lost)]


def _step(node: Node, types: dict[str, TensorType], lost: set[str]) -> str | None:
    """Infer one operator's outputs into `types`; those that cannot be told go into `lost`."""
    undefined = [name for name in node.inputs if name not in types and name not in lost]
    if undefined:
        problem = f"{node}: blob {', '.join(undefined)} is read before anything writes it"
    elif node.type not in OPERATORS:
        problem = f"{node}: operator {node.type} is not supported"
    elif any(name in lost for name in node.inputs):
        problem = None
    else:
        try:
            types.update(zip(node.outputs, node.infer(types)[1], strict=True))
            lost.difference_update(node.outputs)
            return None
        except ModelError as error:
            problem = str(error)
    lost.update(node.outputs, undefined)
    for name in node.outputs:
        types.pop(name, None)
    return problem
