"""caffe2.python.onnx.backend_rep: a net that is ready to run."""

from typing import Any

from onnx.backend.base import BackendRep, namedtupledict

from caffe2_mobile.compat.python import workspace as current
from caffe2_mobile.compat.python.onnx.workspace import Workspace


class Caffe2Rep(BackendRep):
    """init_net, predict_net, and the workspace that they run in. uninitialized: the inputs to feed, in order."""

    def __init__(self, init_net: Any, predict_net: Any, workspace: Workspace, uninitialized: list[str]):
        super().__init__()
        self.init_net = init_net
        self.predict_net = predict_net
        self.workspace = workspace
        self.uninitialized = uninitialized
        self.nets_created = False
        self.ran_init_net = False

    def run(self, inputs: Any, **kwargs: Any) -> Any:
        """The outputs, as a named tuple. inputs: a dict by name, a list in order, or one array.

        Raises RuntimeError for another number of inputs than the net has.
        """
        with self.workspace as ws:
            for name, value in self._named(inputs).items():
                ws.FeedBlob(name, value)
            if not self.nets_created:
                ws.CreateNet(self.init_net)
                ws.CreateNet(self.predict_net)
                self.nets_created = True
            if not self.ran_init_net:
                ws.RunNet(self.init_net.name)
                self.ran_init_net = True
            ws.RunNet(self.predict_net.name)
            names = list(self.predict_net.external_output)
            return namedtupledict("Outputs", names)(*map(_fetch, names))

    def _named(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, dict):
            return inputs
        if not isinstance(inputs, list | tuple):
            return {self.uninitialized[0]: inputs}
        if len(inputs) != len(self.uninitialized):
            raise RuntimeError(
                f"Expected {len(self.uninitialized)} values for uninitialized graph inputs "
                f"({', '.join(self.uninitialized)}), but got {len(inputs)}."
            )
        return dict(zip(self.uninitialized, inputs, strict=True))


def _fetch(name: str) -> Any:
    value = current.C.fetch_blob(name)
    return current.Int8Tensor(*value) if isinstance(value, tuple) else value
