"""The reference runtime: numpy, operator by operator. It is the definition of what a net computes."""

from collections.abc import Iterable

from caffe2_models.net import last_uses
from caffe2_models.operators.node import Node, Step, defined, update
from caffe2_models.runtimes.session import Session
from caffe2_models.tensors import Value, check_live


class ReferenceSession(Session):
    """Int8 equal to Caffe2 with QNNPACK byte for byte; float32 to rounding, in an order that is the same everywhere."""

    backend = "reference"

    def _run(self, feeds, outputs):
        blobs: dict[str, Value] = {**self.net.parameters, **feeds}
        run(self.steps(feeds, outputs), blobs, outputs)
        return {name: defined(blobs, name) for name in outputs}


def run(steps: list[Step], blobs: dict[str, Value], kept: Iterable[str]) -> None:
    """Run operators among blobs, which grow by what they write and lose what nobody reads again, but for `kept`.

    Operators whose sizes only the run tells are checked when they are reached, and their memory with them.
    """
    dead_after = last_uses([step.node for step in steps], kept)
    for step, dead in zip(steps, dead_after, strict=True):
        values = [defined(blobs, name) for name in step.node.inputs]
        if not step.is_exact:
            check_memory(step.node, values, blobs)
        update(blobs, step.node.outputs, step.node.compute(values))
        for name in dead:
            blobs.pop(name, None)


def check_memory(node: Node, values: list[Value], blobs: dict[str, Value]) -> None:
    """Raises ModelError for inputs that do not fit the operator, or where blobs and its outputs would be too much."""
    written = [] if node.operator.shares_workspace else node.check(values)
    check_live(sum(value.nbytes for value in blobs.values()) + sum(t.nbytes for t in written))
