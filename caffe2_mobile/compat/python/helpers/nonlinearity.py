"""caffe2.python.helpers.nonlinearity"""

from typing import Any

from caffe2_mobile.compat.python.helpers.parameters import filled, with_cudnn


def prelu(model: Any, blob_in: Any, blob_out: Any, num_channels: int = 1, slope_init: Any = None, **kwargs: Any) -> Any:
    slope = filled(model, blob_out + "_slope", [num_channels], slope_init or ("ConstantFill", {"value": 0.25}))
    model.AddParameter(slope)
    return model.net.PRelu([blob_in, slope], [blob_out])


def relu(model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any) -> Any:
    return model.net.Relu(blob_in, blob_out, order=order, **with_cudnn(kwargs, use_cudnn))


def tanh(model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any) -> Any:
    return model.net.Tanh(blob_in, blob_out, order=order, **with_cudnn(kwargs, use_cudnn))
