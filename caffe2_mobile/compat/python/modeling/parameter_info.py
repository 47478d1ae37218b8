"""caffe2.python.modeling.parameter_info: what a model knows of a parameter."""

from typing import Any

import numpy as np

from caffe2_mobile.compat.python import core


class ParameterTags:
    BIAS = "BIAS"
    WEIGHT = "WEIGHT"
    COMPUTED_PARAM = "COMPUTED_PARAM"


class ParameterInfo:
    """A parameter's blob, shape and, in other precisions, copies (data type -> blob)."""

    def __init__(
        self,
        param_id: int | None,
        param: core.BlobReference,
        key: Any = None,
        shape: Any = None,
        length: int | None = None,
        grad: Any = None,
        blob_copy: dict[int, Any] | None = None,
    ):
        assert isinstance(param, core.BlobReference)
        self.param_id = param_id
        self.name = str(param)
        self.blob = param
        self.key = key
        self.shape = shape
        self.size = None if shape is None else np.prod(shape)
        self.length = max(1, length if length is not None else 1)
        self.grad = grad
        self.blob_copy = blob_copy
        self.optimizer: Any = None
        self.regularizer: Any = None

    @property
    def parameter(self) -> core.BlobReference:
        return self.blob

    def __str__(self) -> str:
        return self.name
