"""Predictor: a net with a workspace of its own, from arrays to arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffe2_mobile.compat.runtime.blob import Blob, to_content
from caffe2_mobile.compat.runtime.errors import enforce_failed
from caffe2_mobile.compat.runtime.workspace import WORKSPACES
from caffe2_models.proto import caffe2_pb2


class Predictor:
    """Runs `predict` after `init` has filled its parameters. Raises RuntimeError, as Caffe2 does."""

    def __init__(self, init: caffe2_pb2.NetDef, predict: caffe2_pb2.NetDef):
        self._workspace = WORKSPACES.make(parent=WORKSPACES.current)  # whose blobs it sees, and fills
        self._workspace.run_net_once(init)
        for name in predict.external_input:
            self._workspace.create_blob(name)
        if not predict.HasField("name"):
            unnamed, predict = predict, caffe2_pb2.NetDef()
            predict.CopyFrom(unnamed)
            predict.name = "predict"
        self._net = self._workspace.create_net(predict).name
        self._inputs = list(predict.external_input)
        self._outputs = list(predict.external_output)

    def run(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[Any]:
        """The external outputs, in order. A list feeds the external inputs in order, a dict by name."""
        named = inputs if isinstance(inputs, Mapping) else self._in_order(list(inputs))
        for name, value in named.items():
            self._input(name).set(value if _is_tensor(value) else to_content(value), fed=True)
        self._workspace.run_net(self._net)
        return [self._workspace.blob(name).fetch() for name in self._outputs]

    def _in_order(self, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
        if len(inputs) > len(self._inputs):
            raise enforce_failed(
                "predictor.cc:59",
                "inputs.size() <= static_cast<unsigned>(config_.predict_net->external_input_size()). "
                f"{len(inputs)} inputs for a net that has {len(self._inputs)}",
            )
        return dict(zip(self._inputs, inputs, strict=False))

    def _input(self, name: str) -> Blob:
        if not self._workspace.has_blob(name):
            raise enforce_failed("predictor.cc:12", f"blob. Blob does not exist: {name}")
        return self._workspace.blob(name)


def _is_tensor(value: Any) -> bool:
    """Whether it can be used as it is: nothing is read of it after the run."""
    return isinstance(value, np.ndarray) and value.dtype.name in ("float32", "uint8", "int32", "int64")
