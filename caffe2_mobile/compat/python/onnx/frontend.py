"""caffe2.python.onnx.frontend: nets as ONNX models. The conversion is the project's own, to a newer operator set."""

import logging
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import numpy_helper

from caffe2_common.errors import ModelError
from caffe2_mobile.compat.python import core
from caffe2_models import Int8Tensor, Net
from caffe2_models.proto import caffe2_pb2
from exporters.caffe2_to_onnx import to_onnx

logger = logging.getLogger(__name__)


class Caffe2Frontend:
    """value_info: name -> (ONNX's data type, shape) of the net's inputs."""

    @classmethod
    def caffe2_net_to_onnx_model(
        cls, predict_net: Any, init_net: Any = None, value_info: Mapping[str, Any] | None = None
    ) -> onnx.ModelProto:
        """Raises RuntimeError for inputs whose shapes are not given, and for what ONNX does not express."""
        if not isinstance(value_info or {}, dict):
            raise ValueError("Please pass value_info as a name -> (type, shape) dictionary")
        given = dict(value_info or {})
        try:
            net = Net(predict_net, cls._without_stand_ins(init_net, given))
            missing = [name for name in net.inputs if name not in given]
            if missing:
                raise RuntimeError(f"Could not find value info of inputs: {', '.join(missing)}")
            model = to_onnx(net, {name: tuple(given[name][1]) for name in net.inputs})
        except ModelError as error:
            raise RuntimeError(str(error)) from error
        model.graph.name = predict_net.name
        onnx.checker.check_model(model)
        return model

    @classmethod
    def caffe2_net_to_onnx_graph(cls, *args: Any, **kwargs: Any) -> onnx.GraphProto:
        return cls.caffe2_net_to_onnx_model(*args, **kwargs).graph

    @classmethod
    def caffe2_init_net_to_initializer(cls, init_net: Any) -> list[onnx.TensorProto]:
        """What an init net fills, as ONNX's tensors."""
        try:
            values = Net(caffe2_pb2.NetDef(), init_net).parameters
        except ModelError as error:
            raise RuntimeError(str(error)) from error
        return [
            numpy_helper.from_array(value.data if isinstance(value, Int8Tensor) else value, name=name)
            for name, value in sorted(values.items())
        ]

    @classmethod
    def _without_stand_ins(cls, init_net: Any, value_info: Mapping[str, Any]) -> Any:
        """The init net without fills of the inputs."""
        init = caffe2_pb2.NetDef()
        if init_net:
            init.CopyFrom(init_net)
            del init.op[:]
            init.op.extend(op for op in init_net.op if not set(op.output) & set(value_info))
        return init

    @classmethod
    def ssa_rewrite(cls, net: Any, init_net: Any, value_info: Any) -> None:
        """Give each version of a blob a name of its own, in place: x, x_1, x_2 ..."""
        ssa, versions = core.get_ssa(net)
        found: dict[str, set[int]] = {}
        for name, version in (each for inputs, outputs in ssa for each in [*inputs, *outputs]):
            found.setdefault(name, set()).add(version)

        def renamed(name: str, version: int) -> str:
            return name if version == 0 or len(found.get(name, ())) <= 1 else f"{name}_{version}"

        for op, (inputs, outputs) in zip(net.op, ssa, strict=True):
            op.input[:] = [renamed(*each) for each in inputs]
            op.output[:] = [renamed(*each) for each in outputs]
        net.external_output[:] = [renamed(name, versions[name]) for name in net.external_output]


caffe2_net_to_onnx_graph = Caffe2Frontend.caffe2_net_to_onnx_graph
caffe2_net_to_onnx_model = Caffe2Frontend.caffe2_net_to_onnx_model
caffe2_init_net_to_initializer = Caffe2Frontend.caffe2_init_net_to_initializer
ssa_rewrite = Caffe2Frontend.ssa_rewrite
