"""caffe2.python.predictor.mobile_exporter: a net and its parameters as the two nets that a phone loads."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import core, utils

_FILLS = {
    "float32": "GivenTensorFill",
    "int32": "GivenTensorIntFill",
    "int64": "GivenTensorInt64Fill",
    "uint8": "GivenTensorByteStringToUInt8Fill",
    "object": "GivenTensorStringFill",
}


def add_tensor(net: Any, name: str, blob: np.ndarray) -> None:
    """Add the operator that fills a blob; uint8 stands as one string. Raises KeyError for other types."""
    values = [blob.tobytes()] if blob.dtype == np.uint8 else blob
    if blob.dtype == object:
        assert all(isinstance(item, bytes) for item in blob.flat)
    arguments = [utils.MakeArgument("shape", blob.shape), utils.MakeArgument("values", values)]
    net.op.append(core.CreateOperator(_FILLS[blob.dtype.name], [], [name], arg=arguments))


def Export(workspace: Any, net: Any, params: Iterable[Any]) -> tuple[Any, Any]:
    """(init net, predict net): the parameters from the workspace, and a stand-in of shape [1, 1] for each input."""
    proto = net if isinstance(net, caffe2_pb2.NetDef) else net.Proto()
    names = [str(param) for param in params]
    ssa, versions = core.get_ssa(net)
    read = {name for inputs, _ in ssa for name, _ in inputs}
    inputs = [name for name, version in versions.items() if version == 0 and name not in names]
    init_net, predict_net = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
    for name in names:
        add_tensor(init_net, name, workspace.FetchBlob(name))
    for name in inputs:
        arguments = [utils.MakeArgument("shape", [1, 1]), utils.MakeArgument("values", [0.0])]
        init_net.op.append(core.CreateOperator("GivenTensorFill", [], [name], arg=arguments))
    predict_net.CopyFrom(proto)
    predict_net.external_input[:] = dict.fromkeys([*inputs, *proto.external_input])
    predict_net.external_output[:] = [name for name, version in versions.items() if version and name not in read]
    return init_net, predict_net
