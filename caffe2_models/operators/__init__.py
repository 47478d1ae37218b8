"""All operators, one file per family; importing this package fills the registry."""

from caffe2_models.operators import (  # noqa: F401
    arithmetic,
    casts,
    comparison,
    control,
    convolution,
    distances,
    elementwise,
    fills,
    int8_elementwise,
    int8_layers,
    int8_shaping,
    matrix,
    normalization,
    pooling,
    reductions,
    resizing,
    shaping,
    style,
)
from caffe2_models.operators.registry import OPERATORS, Operator, operator

__all__ = ["OPERATORS", "Operator", "operator"]
