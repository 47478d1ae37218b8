"""The conversions, by family; importing this package registers all of them."""

from exporters.onnx_to_caffe2.operators import (  # noqa: F401
    activation,
    arithmetic,
    convolution,
    einsum,
    indexing,
    layout,
    linear,
    logic,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    sampling,
    spectral,
    training,
)
