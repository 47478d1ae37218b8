"""caffe2.python.helpers.conv: convolutions. Weights are [out, in / group, kernel...], or with order NHWC
[out, kernel..., in / group]; a transposed one's begin with [in, out]."""

from typing import Any

from caffe2_mobile.compat.python.helpers.parameters import (
    XAVIER,
    ZEROS,
    filled,
    filled_weight_and_bias,
    output_name,
    parameter,
    with_search,
)
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterTags


def _convolution(
    model: Any,
    kernels: list[int],
    kernel_arguments: dict[str, Any],
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    weight_init: Any = None,
    bias_init: Any = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    group: int = 1,
    transform_inputs: Any = None,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    float16_compute: bool = False,
    no_bias: bool = False,
    **kwargs: Any,
) -> Any:
    engine = kwargs.get("engine")
    if engine is not None and use_cudnn != (engine == "CUDNN"):
        only = '"CUDNN"' if use_cudnn else '""'
        raise ValueError(f"When use_cudnn={use_cudnn}, the only engine you can specify is {only}")
    kwargs = with_search(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    blob_out = output_name(model, blob_out)
    depth = dim_in // group
    shape = [dim_out, depth, *kernels] if order == "NCHW" else [dim_out, *kernels, depth]
    inputs = [
        blob_in,
        parameter(model, blob_out + "_w", shape, ParameterTags.WEIGHT, WeightInitializer, weight_init, XAVIER),
    ]
    if not no_bias:
        bias = parameter(model, blob_out + "_b", [dim_out], ParameterTags.BIAS, BiasInitializer, bias_init, ZEROS)
        inputs.append(bias)
    if transform_inputs is not None:
        transform_inputs(model, blob_out, inputs)
    if float16_compute:
        kwargs["float16_compute"] = True
    if group != 1:
        kwargs["group"] = group
    return model.net.Conv(inputs, blob_out, order=order, **kernel_arguments, **kwargs)


def conv(
    model: Any, blob_in: Any, blob_out: Any, dim_in: int, dim_out: int, kernel: Any, *args: Any, **kwargs: Any
) -> Any:
    """In two dimensions; kernel is a number or [height, width]."""
    if not isinstance(kernel, list):
        return _convolution(
            model, [kernel] * 2, {"kernel": kernel}, blob_in, blob_out, dim_in, dim_out, *args, **kwargs
        )
    assert len(kernel) == 2, "Conv support only a 2D kernel."
    sides = {"kernel_h": kernel[0], "kernel_w": kernel[1]}
    return _convolution(model, kernel, sides, blob_in, blob_out, dim_in, dim_out, *args, **kwargs)


def conv_nd(
    model: Any, blob_in: Any, blob_out: Any, dim_in: int, dim_out: int, kernel: Any, *args: Any, **kwargs: Any
) -> Any:
    """In as many dimensions as kernel has; NCHW only."""
    assert kwargs.get("order", "NCHW") == "NCHW", "ConvNd only supported for NCHW storage."
    kernels = kernel if isinstance(kernel, list) else [kernel]
    return _convolution(model, kernels, {"kernels": kernels}, blob_in, blob_out, dim_in, dim_out, *args, **kwargs)


def group_conv(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: Any,
    weight_init: Any = None,
    bias_init: Any = None,
    group: int = 1,
    **kwargs: Any,
) -> Any:
    """conv with its argument group."""
    inits = {"weight_init": weight_init, "bias_init": bias_init}
    return conv(model, blob_in, blob_out, dim_in, dim_out, kernel, group=group, **inits, **kwargs)


def conv_transpose(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: int,
    weight_init: Any = None,
    bias_init: Any = None,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    **kwargs: Any,
) -> Any:
    blob_out = output_name(model, blob_out)
    shape = [dim_in, dim_out, kernel, kernel] if order == "NCHW" else [dim_in, kernel, kernel, dim_out]
    parameters = filled_weight_and_bias(model, blob_out, shape, [dim_out], weight_init or XAVIER, bias_init or ZEROS)
    kwargs = with_search(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    return model.net.ConvTranspose([blob_in, *parameters], blob_out, kernel=kernel, order=order, **kwargs)


def group_conv_deprecated(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: int,
    weight_init: Any = None,
    bias_init: Any = None,
    group: int = 1,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    no_bias: bool = False,
    **kwargs: Any,
) -> Any:
    """A group convolution as a split, convolutions and a concatenation."""
    if dim_out % group:
        raise ValueError("dim_out should be divisible by group.")
    kwargs = with_search(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    depth, width = dim_in // group, dim_out // group
    shape = [width, depth, kernel, kernel] if order == "NCHW" else [width, kernel, kernel, depth]
    parts = model.net.DepthSplit(
        blob_in,
        [f"_{blob_out}_gconv_split_{i}" for i in range(group)],
        dimensions=[depth] * group,
        order=order,
    )
    results = []
    for i, part in enumerate(parts):
        name = f"{blob_out}_gconv_{i}"
        parameters = [filled(model, f"{name}_w", shape, weight_init or XAVIER)]
        model.AddParameter(parameters[0], ParameterTags.WEIGHT)
        if not no_bias:
            parameters.append(filled(model, f"{name}_b", [width], bias_init or ZEROS))
            model.AddParameter(parameters[1], ParameterTags.BIAS)
        results.append(part.Conv(parameters, name, kernel=kernel, order=order, **kwargs))
    return model.net.Concat(results, [blob_out, "_" + blob_out + "_concat_dims"], order=order)[0]
