"""What layers share: making their parameters, and naming their outputs."""

from typing import Any

from caffe2_mobile.compat.python import core
from caffe2_mobile.compat.python.modeling import initializers
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterTags

Fill = tuple[str, dict[str, Any]]  # an operator and its arguments

XAVIER: Fill = ("XavierFill", {})
ZEROS: Fill = ("ConstantFill", {})


def output_name(model: Any, blob_out: Any) -> Any:
    return blob_out or model.net.NextName()


def parameter(
    model: Any, name: Any, shape: Any, tags: Any, initializer: Any = None, init: Any = None, default: Any = ZEROS
) -> core.BlobReference:
    """A parameter by create_param: initialized by a class, or (operator, arguments), or the default ones."""
    maker = initializers.update_initializer(initializer, init, default)
    if not model.init_params:
        maker = initializers.ExternalInitializer()
    return model.create_param(param_name=name, shape=shape, initializer=maker, tags=tags)


def filled(model: Any, name: Any, shape: Any, init: Any) -> core.BlobReference:
    """A parameter in the older way: a fill (operator, arguments) of the init net, in the scope as it is."""
    if not model.init_params:
        return core.ScopedBlobReference(name, model.param_init_net)
    operator, arguments = init
    return getattr(model.param_init_net, operator)([], name, shape=shape, **arguments)


def filled_weight_and_bias(
    model: Any, blob_out: Any, weight_shape: Any, bias_shape: Any, weight_init: Any, bias_init: Any
) -> tuple[core.BlobReference, core.BlobReference]:
    weight = filled(model, blob_out + "_w", weight_shape, weight_init)
    bias = filled(model, blob_out + "_b", bias_shape, bias_init)
    model.AddParameter(weight, ParameterTags.WEIGHT)
    model.AddParameter(bias, ParameterTags.BIAS)
    return weight, bias


def with_cudnn(kwargs: dict[str, Any], use_cudnn: bool) -> dict[str, Any]:
    """The operator's arguments, for cuDNN where it is wanted; here it names an engine and means nothing."""
    return {**kwargs, "engine": "CUDNN"} if use_cudnn else kwargs


def with_search(
    kwargs: dict[str, Any], use_cudnn: bool, exhaustive_search: bool, ws_nbytes_limit: int | None
) -> dict[str, Any]:
    """The same, of a convolution."""
    if not use_cudnn:
        return kwargs
    limit = {"ws_nbytes_limit": ws_nbytes_limit} if ws_nbytes_limit else {}
    return {**kwargs, "engine": "CUDNN", "exhaustive_search": exhaustive_search, **limit}
