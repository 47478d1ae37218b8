"""caffe2.python.helpers.pooling"""

from typing import Any

from caffe2_mobile.compat.python.helpers.parameters import with_cudnn


def max_pool(
    model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any
) -> Any:
    return model.net.MaxPool(blob_in, blob_out, order=order, **with_cudnn(kwargs, use_cudnn))


def average_pool(
    model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any
) -> Any:
    return model.net.AveragePool(blob_in, blob_out, order=order, **with_cudnn(kwargs, use_cudnn))


def max_pool_with_index(model: Any, blob_in: Any, blob_out: Any, order: str = "NCHW", **kwargs: Any) -> Any:
    return model.net.MaxPoolWithIndex(blob_in, [blob_out, blob_out + "_index"], order=order, **kwargs)[0]
