"""Values and their static types."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.int8 import check_quantization

MAX_BLOB_BYTES = 1 << 30

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class Int8Tensor:
    """A quantized tensor: real value = scale * (data - zero_point).

    data is uint8 (activations NHWC, weights [out, kh, kw, in / group]) or int32 (a bias).
    """

    data: np.ndarray
    scale: float
    zero_point: int

    def dequantize(self) -> np.ndarray:
        """The real values, float32."""
        return np.float32(self.scale) * (self.data.astype(np.int32) - self.zero_point).astype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype


Value = np.ndarray | Int8Tensor


@dataclass(frozen=True, eq=False)
class TensorType:
    """What is known of a blob before anything runs.

    scale and zero_point are set for quantized blobs only; value where the content is known
    (a parameter, or what follows from shapes alone). Raises ModelError for dimensions, scales or zero points
    that cannot be, and for blobs above MAX_BLOB_BYTES.
    """

    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT32
    scale: float | None = None
    zero_point: int | None = None
    value: Value | None = None

    def __post_init__(self):
        shape = tuple(int(dim) for dim in self.shape)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if any(dim < 0 for dim in shape):
            raise ModelError(f"a shape with a negative dimension: {list(shape)}")
        if math.prod(shape) * self.dtype.itemsize > MAX_BLOB_BYTES:
            raise ModelError(f"a blob of shape {list(shape)} would take more than {MAX_BLOB_BYTES >> 20} MiB")
        if self.scale is not None and self.dtype == np.uint8:
            check_quantization(self.scale, self.zero_point)

    def __str__(self):
        return f"{self.dtype}{list(self.shape)}"

    @property
    def is_quantized(self) -> bool:
        return self.scale is not None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> "TensorType":
        """The same type, another shape, content unknown."""
        return TensorType(shape, self.dtype, self.scale, self.zero_point)

    @classmethod
    def of(cls, value: Value) -> "TensorType":
        """The type of a value, the value with it."""
        if isinstance(value, Int8Tensor):
            return cls(value.data.shape, value.data.dtype, value.scale, value.zero_point, value)
        return cls(value.shape, value.dtype, value=value)
