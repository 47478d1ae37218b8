"""All operators, one file per family; importing this package fills the registry."""

from caffe2_models.operators import (  # noqa: F401
    arithmetic,
    casts,
    comparison,
    control,
    convolution,
    dense,
    detection,
    distances,
    elementwise,
    fills,
    indexing,
    int8_elementwise,
    int8_layers,
    int8_shaping,
    lengths,
    masking,
    matrix,
    normalization,
    one_hot,
    padding,
    pooling,
    recurrent,
    reductions,
    regions,
    repeating,
    resizing,
    segments,
    sequences,
    shaping,
    sparse,
    style,
)
from caffe2_models.operators.registry import OPERATORS, Operator, operator

__all__ = ["OPERATORS", "Operator", "operator"]
