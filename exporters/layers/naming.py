"""Readable blob names: a layer's output is called after its module, its parameters after the layer."""

import re

from exporters.layers.graph import Blob, Graph, Layer


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

    def __init__(self, graph: Graph):
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last ones of names that are not enough
        self._names: dict[Blob, str] = {}
        for blob in [*graph.inputs, *graph.outputs]:
            self._names[blob] = blob.name
            self._taken.add(blob.name)
        for layer in reversed(graph.layers):  # the last operator of a module is what the module makes
            for index, blob in enumerate(layer.outputs):
                if blob not in self._names:
                    name = blob.name or (layer.name if index == 0 else f"{layer.name}_{index}")
                    self._names[blob] = self._unique(name, layer.type)

    def of(self, blob: Blob) -> str:
        return self._names[blob]

    def of_parameter(self, layer: Layer, index: int) -> str:
        """A parameter is called after the layer that reads it first, and what it is to it."""
        roles = layer.traits.parameters
        role = roles[index - 1] if 0 < index <= len(roles) else "value"
        return self._unique(f"{layer.name}_{role}", "")

    def _unique(self, name: str, kind: str) -> str:
        """The name, else with its kind, else numbered from 2 on."""
        stem = f"{name}_{kind}" if kind else name
        chosen = name if name not in self._taken else stem
        while chosen in self._taken:
            self._numbers[stem] = self._numbers.get(stem, 1) + 1
            chosen = f"{stem}_{self._numbers[stem]}"
        self._taken.add(chosen)
        return chosen
