"""The reference runtime: numpy, operator by operator. It is the definition of what a net computes."""

from caffe2_models.net import last_uses
from caffe2_models.runtimes.session import Session
from caffe2_models.tensors import Value


class ReferenceSession(Session):
    """Int8 equal to Caffe2 with QNNPACK byte for byte; float32 to rounding."""

    backend = "reference"

    def _run(self, feeds, outputs):
        blobs: dict[str, Value] = {**self.net.parameters, **feeds}
        dead_after = last_uses(self.net.operators, outputs)
        for node in self.net.operators:
            blobs.update(zip(node.outputs, node.compute([blobs[name] for name in node.inputs]), strict=True))
            for name in dead_after[node.index]:
                blobs.pop(name, None)
        return {name: blobs[name] for name in outputs}
