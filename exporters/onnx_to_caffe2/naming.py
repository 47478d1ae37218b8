"""Readable blob names: a layer's output is called after its module, its parameters after the layer."""

import re

# What a parameter is to its operator, by input position.
ROLES = {
    "Conv": {1: "w", 2: "b"},
    "ConvTranspose": {1: "w", 2: "b"},
    "FC": {1: "w", 2: "b"},
    "SpatialBN": {1: "s", 2: "b", 3: "rm", 4: "riv"},
    "PRelu": {1: "slope"},
    "InstanceNorm": {1: "s", 2: "b"},
    "LayerNorm": {1: "s", 2: "b"},
}


def layer_name(kind: str, node_name: str, scope: str, output: str) -> str:
    """A readable name for what a node makes.

    "/blocks/blocks.0/blocks.0.1/conv_dw/Conv" (TorchScript's exporter) and the scopes of torch.export give
    "blocks.0.1.conv_dw"; other exporters' own names are kept.
    """
    if scope:
        modules = [module for module in re.findall(r"'([^']*)'", scope)[:-1] if module]
        return modules[-1] if modules else _clean(output)
    if node_name.startswith("/"):
        *modules, operator = node_name.strip("/").split("/")
        return _join(modules) or operator
    return _clean(output) if not output.isdigit() else f"{kind}_{output}"


def _join(modules: list[str]) -> str:
    """["blocks", "blocks.0", "blocks.0.1", "conv_dw"] -> "blocks.0.1.conv_dw"."""
    joined: list[str] = []
    for module in modules:
        if joined and module.startswith(joined[-1] + "."):
            joined.pop()
        joined.append(module)
    return ".".join(joined)


def _clean(name: str) -> str:
    """A tensor's name without what exporters add to it."""
    name = re.sub(r"(:0|_output_0)$", "", name.removeprefix("onnx::"))
    return name.strip("/").replace("/", ".") or "blob"


class Names:
    """Gives every blob of a graph a name of its own."""

    def __init__(self, graph):
        self._taken: set[str] = set()
        self._names: dict[int, str] = {}
        kept = [*graph.inputs, *graph.outputs]
        for blob in kept:
            self._names[id(blob)] = blob.name
            self._taken.add(blob.name)
        for op in reversed(graph.ops):  # the last operator of a layer is what the layer makes
            for index, blob in enumerate(op.outputs):
                if id(blob) not in self._names:
                    base = blob.name or op.layer
                    self._names[id(blob)] = self._unique(base if index == 0 else f"{base}_{index}", op.type)

    def of(self, blob) -> str:
        return self._names[id(blob)]

    def of_parameter(self, op, index: int) -> str:
        """A parameter is called after the layer that reads it first."""
        role = ROLES.get(op.type, {}).get(index)
        return self._unique(f"{op.layer}_{role or 'value'}", "")

    def _unique(self, name: str, kind: str) -> str:
        candidates = [name, f"{name}_{kind}"] if kind else [name]
        number = 2
        while candidates[0] in self._taken:
            candidates.pop(0)
            if not candidates:
                candidates.append(f"{name}_{kind}_{number}" if kind else f"{name}_{number}")
                number += 1
        self._taken.add(candidates[0])
        return candidates[0]
