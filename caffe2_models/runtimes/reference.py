"""The reference runtime: numpy, operator by operator. It is the definition of what a net computes."""

from collections.abc import Iterable

from caffe2_models.net import Node
from caffe2_models.runtimes.session import Session, input_types, type_key
from caffe2_models.tensors import Value


class ReferenceSession(Session):
    """Int8 equal to Caffe2 with QNNPACK byte for byte; float32 to rounding."""

    backend = "reference"

    def __init__(self, net, threads=None):
        super().__init__(net, threads)
        self._checked = set()

    def _run(self, feeds, outputs):
        if (key := type_key(feeds)) not in self._checked:
            for _ in self.net.walk(input_types(feeds)):  # what cannot be computed is said before anything is
                pass
            self._checked.add(key)
        blobs: dict[str, Value] = {**self.net.parameters, **feeds}
        dead_after = last_uses(self.net.operators, outputs)
        for node in self.net.operators:
            blobs.update(zip(node.outputs, node.compute([blobs[name] for name in node.inputs]), strict=True))
            for name in dead_after[node.index]:
                blobs.pop(name, None)
        return {name: blobs[name] for name in outputs}


def last_uses(nodes: list[Node], kept: Iterable[str]) -> list[list[str]]:
    """For each operator, the blobs that nobody needs once it has run."""
    seen = set(kept)
    dead: list[list[str]] = [[] for _ in nodes]
    for node in reversed(nodes):
        names = dict.fromkeys([*node.inputs, *node.outputs])
        dead[node.index] = [name for name in names if name not in seen]
        seen.update(names)
    return dead
