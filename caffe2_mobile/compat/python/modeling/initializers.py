"""caffe2.python.modeling.initializers: how parameters come to be."""

from typing import Any

from caffe2_mobile.compat.proto.caffe2_pb2 import TensorProto
from caffe2_mobile.compat.python.core import BlobReference, Net, ScopedBlobReference
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterInfo


class Initializer:
    """A fill of the init net."""

    def __init__(self, operator_name: str | None = None, **kwargs: Any):
        self.operator_name = operator_name
        self.operator_kwargs = kwargs

    def update(self, operator_name: str, kwargs: dict[str, Any]) -> None:
        if self.operator_name is not None:
            raise Exception("Operator name overwrites are not allowed")
        self.operator_name, self.operator_kwargs = operator_name, kwargs

    def create_param(self, param_name: Any, init_net: Net, shape: Any) -> ParameterInfo:
        return ParameterInfo(None, self._fill(param_name, init_net, shape), shape=shape)

    def _fill(self, name: Any, init_net: Net, shape: Any) -> BlobReference:
        assert self.operator_name is not None
        return getattr(init_net, self.operator_name)([], name, shape=shape, **self.operator_kwargs)


class ExternalInitializer:
    """Nothing fills it: it is in the workspace."""

    def create_param(self, param_name: Any, init_net: Net, shape: Any) -> ParameterInfo:
        if isinstance(param_name, BlobReference):
            param = BlobReference(str(param_name), init_net)
        elif isinstance(param_name, str):
            param = ScopedBlobReference(param_name, init_net)
        else:
            raise TypeError("Unsupported type for param_name")
        return ParameterInfo(None, param, shape=shape)


class PseudoFP16Initializer(Initializer):
    """A float16 parameter, with a float32 copy."""

    def create_param(self, param_name: Any, init_net: Net, shape: Any) -> ParameterInfo:
        full = self._fill(param_name + "_fp32", init_net, shape)
        half = init_net.FloatToHalf(full, param_name)
        return ParameterInfo(None, half, shape=shape, blob_copy={TensorProto.FLOAT: full})


class ReversePseudoFP16Initializer(Initializer):
    """A float32 parameter, with a float16 copy."""

    def create_param(self, param_name: Any, init_net: Net, shape: Any) -> ParameterInfo:
        full = self._fill(param_name, init_net, shape)
        half = init_net.FloatToHalf(full, param_name + "_fp16")
        return ParameterInfo(None, full, shape=shape, blob_copy={TensorProto.FLOAT16: half})


def update_initializer(
    initializer_class: Any,
    operator_name_and_kwargs: tuple[str, dict[str, Any]] | None,
    default_operator_name_and_kwargs: tuple[str, dict[str, Any]],
) -> Any:
    """An initializer of this class (Initializer by default) for the operator given, or the default one."""
    name, kwargs = operator_name_and_kwargs or default_operator_name_and_kwargs
    return (initializer_class or Initializer)(name, **kwargs)
