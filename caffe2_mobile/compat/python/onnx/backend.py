"""caffe2.python.onnx.backend: ONNX models converted and run. The conversion is the project's own.

Nets come out in the form of the published ones: batch normalizations are folded into convolutions, parameters have
names of their layers. Newer operator sets are read as well.
"""

import zipfile
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, Device, DeviceType

from caffe2_common.errors import ModelError
from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import core, workspace
from caffe2_mobile.compat.python.onnx.backend_rep import Caffe2Rep
from caffe2_mobile.compat.python.onnx.workspace import Workspace
from exporters.onnx_to_caffe2 import convert

MODEL_ENTRY = "__MODEL_PROTO"  # of an archive whose other entries are the weights
ELSEWHERE = b"__EXTERNAL"


def get_device_option(device: Any) -> Any:
    kinds = {DeviceType.CPU: caffe2_pb2.CPU, DeviceType.CUDA: workspace.GpuDeviceType}
    return core.DeviceOption(kinds[device.type], device.device_id)


class Caffe2Backend(Backend):
    """ONNX's interface of backends."""

    _known_opset_version = 9

    @classmethod
    def onnx_graph_to_caffe2_net(
        cls, model: onnx.ModelProto | onnx.GraphProto, device: str = "CPU", opset_version: int = _known_opset_version
    ) -> tuple[Any, Any]:
        """(init net, predict net). Raises RuntimeError that lists all nodes that cannot be converted.

        A graph, which Caffe2 took at first, does not tell its operator set: opset_version does. A model's own holds.
        """
        if isinstance(model, onnx.GraphProto):
            model = onnx.helper.make_model(model, opset_imports=[onnx.helper.make_opsetid("", opset_version)])
        try:
            net = convert(model)
        except ModelError as error:
            raise RuntimeError(f"ONNX conversion failed: {error}") from error
        init_net, predict_net = net.init, net.predict
        init_net.name, predict_net.name = f"{model.graph.name}_init", f"{model.graph.name}_predict"
        for each in (init_net, predict_net):
            each.device_option.CopyFrom(get_device_option(Device(device)))
        return init_net, predict_net

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", raw_values_dict: dict[str, bytes] | None = None, **kwargs: Any
    ) -> Caffe2Rep:
        """The model, ready to run in a workspace of its own, where parameters are filled and inputs are ones."""
        if raw_values_dict:
            _put_weights(model.graph, raw_values_dict)
        if not kwargs.pop("no_check_UNSAFE", False):
            super().prepare(model, device, **kwargs)
        init_net, predict_net = cls.onnx_graph_to_caffe2_net(model, device)
        ws = Workspace()
        ws.RunNetOnce(init_net)
        initialized = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in initialized]
        for value in inputs:
            tensor = value.type.tensor_type
            shape = [dim.dim_value for dim in tensor.shape.dim]
            ws.FeedBlob(value.name, np.ones(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
        return Caffe2Rep(init_net, predict_net, ws, [value.name for value in inputs])

    @classmethod
    def prepare_zip_archive(cls, file: Any, device: str = "CPU", **kwargs: Any) -> Caffe2Rep:
        """The same from an archive, in which the model and each weight are files."""
        with zipfile.ZipFile(file) as archive:
            model = onnx.load_from_string(archive.read(MODEL_ENTRY))
            weights = {name: archive.read(name) for name in archive.namelist() if name != MODEL_ENTRY}
        return cls.prepare(model, device, raw_values_dict=weights, **kwargs)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> Any:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(  # type: ignore[override]  # ONNX's interface has got its own order of arguments since
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        opset_version: int = _known_opset_version,
        outputs_info: Any = None,
    ) -> Any:
        """The outputs of one node; inputs are a list in order, or a dict by name."""
        named = inputs if isinstance(inputs, dict) else dict(zip(node.input, inputs, strict=True))
        arrays = {name: np.asarray(value) for name, value in named.items()}
        known = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in arrays.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
        graph = onnx.helper.make_graph([node], "node", known, outputs)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset_version)])
        return cls.run_model(onnx.shape_inference.infer_shapes(model), arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return Device(device).type == DeviceType.CPU

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        try:
            convert(model)
        except ModelError:
            return False
        return True


def _put_weights(graph: onnx.GraphProto, weights: dict[str, bytes]) -> None:
    """Put weights that stand elsewhere into their tensors. Raises RuntimeError for one that is not there."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    inner = [tensor for attribute in attributes for tensor in [attribute.t, *attribute.tensors]]
    for tensor in [*graph.initializer, *inner]:
        if tensor.raw_data == ELSEWHERE:
            if tensor.name not in weights:
                raise RuntimeError(f"TensorProto for value {tensor.name} referenced raw data but it was not found!")
            tensor.raw_data = weights[tensor.name]


prepare = Caffe2Backend.prepare
prepare_zip_archive = Caffe2Backend.prepare_zip_archive
run_node = Caffe2Backend.run_node
run_model = Caffe2Backend.run_model
supports_device = Caffe2Backend.supports_device
is_compatible = Caffe2Backend.is_compatible
