"""caffe2.python.onnx.helper: nets run, timed, read and written in one call."""

import logging
import time
from typing import Any

from onnx.backend.base import namedtupledict

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python.onnx.workspace import Workspace

log = logging.getLogger(__name__)


def c2_native_run_op(op_def: Any, inputs: Any) -> tuple[Workspace, Any]:
    """(workspace, outputs) of one operator; inputs are a dict by name, or a list in order."""
    ws = Workspace()
    named = inputs if isinstance(inputs, dict) else dict(zip(op_def.input, inputs, strict=True))
    for name, value in named.items():
        ws.FeedBlob(name, value)
    ws.RunOperatorOnce(op_def)
    return ws, _outputs(ws, op_def.output)


def c2_native_run_net(init_net: Any, predict_net: Any, inputs: Any, debug_arg: Any = None) -> tuple[Workspace, Any]:
    """(workspace, outputs) of a net; a list feeds what init_net leaves empty or, where that is none, the first."""
    ws = Workspace()
    if init_net:
        ws.RunNetOnce(init_net)
    if not isinstance(inputs, dict):
        empty = [name for name in predict_net.external_input if not ws.HasBlob(name)]
        names = empty if len(empty) == len(inputs) else list(predict_net.external_input)
        assert len(inputs) <= len(names), f"{len(inputs)} inputs for a net that has {len(names)}"
        inputs = dict(zip(names, inputs, strict=False))
    for name, value in inputs.items():
        ws.FeedBlob(name, value)
    ws.RunNetOnce(predict_net)
    return ws, _outputs(ws, predict_net.external_output)


def _outputs(ws: Workspace, names: Any) -> Any:
    return namedtupledict("Outputs", list(names))(*(ws.FetchBlob(name) for name in names))


def load_caffe2_net(file: str) -> Any:
    with open(file, "rb") as stream:
        return caffe2_pb2.NetDef.FromString(stream.read())


def save_caffe2_net(net: Any, file: str, output_txt: bool = False) -> None:
    """Write a net, and with output_txt its text to the same name with `txt` behind it."""
    with open(file, "wb") as stream:
        stream.write(net.SerializeToString())
    if output_txt:
        with open(file + "txt", "w", encoding="utf-8") as stream:
            stream.write(str(net))


def benchmark_caffe2_model(
    init_net: Any, predict_net: Any, warmup_iters: int = 3, main_iters: int = 10, layer_details: bool = True
) -> float:
    """Milliseconds of a run."""
    ws = Workspace()
    if init_net:
        ws.RunNetOnce(init_net)
    ws.CreateNet(predict_net)
    return ws.BenchmarkNet(predict_net.name, warmup_iters, main_iters, layer_details)[0]


def benchmark_pytorch_model(
    model: Any, inputs: Any, training: bool = False, warmup_iters: int = 3, main_iters: int = 10, verbose: bool = False
) -> float:
    """Milliseconds of a call of any function of these inputs."""
    for _ in range(warmup_iters):
        model(*inputs)
    start = time.time()
    for _ in range(main_iters):
        model(*inputs)
    return 1000 * (time.time() - start) / main_iters
