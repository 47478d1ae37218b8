"""caffe2.python.helpers.normalization: parameters are vectors of one value a channel."""

from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import scope
from caffe2_mobile.compat.python.helpers.parameters import output_name, parameter, with_cudnn
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterTags


def _constant(value: float) -> tuple[str, dict[str, Any]]:
    return "ConstantFill", {"value": value}


def lrn(model: Any, blob_in: Any, blob_out: Any, order: str = "NCHW", use_cudnn: bool = False, **kwargs: Any) -> Any:
    device = kwargs.get("device_option", scope.CurrentDeviceScope())
    on_cpu = device is None or device.device_type == caffe2_pb2.CPU
    if use_cudnn and not on_cpu:
        return model.net.LRN(blob_in, blob_out, order=order, **with_cudnn(kwargs, True))
    return model.net.LRN(blob_in, [blob_out, "_" + blob_out + "_scale"], order=order, **kwargs)[0]


def softmax(model: Any, blob_in: Any, blob_out: Any = None, use_cudnn: bool = False, **kwargs: Any) -> Any:
    return model.net.Softmax(blob_in, blob_out, **with_cudnn(kwargs, use_cudnn))


def instance_norm(model: Any, blob_in: Any, blob_out: Any, dim_in: int, order: str = "NCHW", **kwargs: Any) -> Any:
    blob_out = output_name(model, blob_out)
    scale, bias = (
        model.param_init_net.ConstantFill([], blob_out + name, shape=[dim_in], value=value)
        for name, value in (("_s", 1.0), ("_b", 0.0))
    )
    model.AddParameter(scale, ParameterTags.WEIGHT)
    model.AddParameter(bias, ParameterTags.BIAS)
    if kwargs.get("is_test"):
        return model.net.InstanceNorm([blob_in, scale, bias], [blob_out], order=order, **kwargs)
    outputs = [blob_out, blob_out + "_sm", blob_out + "_siv"]
    return model.net.InstanceNorm([blob_in, scale, bias], outputs, order=order, **kwargs)[0]


def spatial_bn(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    init_scale: float = 1.0,
    init_bias: float = 0.0,
    ScaleInitializer: Any = None,
    BiasInitializer: Any = None,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """Batch normalization, with a running mean and variance."""
    blob_out = output_name(model, blob_out)
    parameters = [
        parameter(model, blob_out + name, [dim_in], tag, initializer, _constant(value))
        for name, tag, initializer, value in (
            ("_s", ParameterTags.WEIGHT, ScaleInitializer, init_scale),
            ("_b", ParameterTags.BIAS, BiasInitializer, init_bias),
            ("_rm", ParameterTags.COMPUTED_PARAM, RunningMeanInitializer, 0.0),
            ("_riv", ParameterTags.COMPUTED_PARAM, RunningVarianceInitializer, 1.0),
        )
    ]
    if kwargs.get("is_test"):
        return model.net.SpatialBN([blob_in, *parameters], [blob_out], order=order, **kwargs)
    _, _, mean, variance = parameters
    outputs = [blob_out, mean, variance, blob_out + "_sm", blob_out + "_siv"]
    return model.net.SpatialBN([blob_in, *parameters], outputs, order=order, **kwargs)[0]


def spatial_gn(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    init_scale: float = 1.0,
    init_bias: float = 0.0,
    ScaleInitializer: Any = None,
    BiasInitializer: Any = None,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """Group normalization."""
    blob_out = output_name(model, blob_out)
    scale = parameter(model, blob_out + "_s", [dim_in], ParameterTags.WEIGHT, ScaleInitializer, _constant(init_scale))
    bias = parameter(model, blob_out + "_b", [dim_in], ParameterTags.BIAS, BiasInitializer, _constant(init_bias))
    outputs = [blob_out, blob_out + "_mean", blob_out + "_std"]
    return model.net.GroupNorm([blob_in, scale, bias], outputs, **kwargs)[0]


def layer_norm(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: Any,
    axis: int = 1,
    epsilon: float = 1e-4,
    initial_scale: float = 1.0,
    initial_bias: float = 0.0,
) -> tuple[Any, Any, Any]:
    """(normalized, mean, standard deviation)"""
    shape = [dim_in] if isinstance(dim_in, int) else dim_in
    scale = parameter(model, f"{blob_out}_scale", shape, ParameterTags.WEIGHT, init=_constant(initial_scale))
    bias = parameter(model, f"{blob_out}_bias", shape, ParameterTags.BIAS, init=_constant(initial_bias))
    outputs = [blob_out, blob_out + "_mean", blob_out + "_std"]
    arguments = {"axis": axis, "epsilon": epsilon, "elementwise_affine": True}
    return model.net.LayerNorm([blob_in, scale, bias], outputs, **arguments)


def moments_with_running_stats(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """(mean, variance) of the batch, with parameters that hold running ones."""
    tag = ParameterTags.COMPUTED_PARAM
    parameter(model, blob_out + "_rm", [dim_in], tag, RunningMeanInitializer, _constant(0.0))
    parameter(model, blob_out + "_riv", [dim_in], tag, RunningVarianceInitializer, _constant(1.0))
    axes = {"NCHW": [0, 2, 3], "NHWC": [0, 1, 2]}[order]
    outputs = [blob_out + "_sm", blob_out + "_sv"]
    return model.net.Moments([blob_in], outputs, axes=axes, order=order, keepdims=False, **kwargs)
