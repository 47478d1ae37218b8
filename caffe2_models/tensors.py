"""Values and their static types."""

import dataclasses
import enum
import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.int8 import check_quantization

MAX_BLOB_BYTES = 1 << 30
MAX_LIVE_BYTES = 4 << 30  # of all blobs at a time

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
        """That of `data`."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        """That of `data`: uint8 or int32."""
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of `data`."""
        return self.data.nbytes


Value = np.ndarray | Int8Tensor


class Sizes(enum.Enum):
    """What is known of a blob's dimensions before anything runs."""

    EXACT = "exact"
    UP_TO = "up to"  # each is at most what the shape says
    UNKNOWN = "unknown"  # not even how many: the shape is empty


@dataclass(frozen=True, eq=False)
class TensorType:
    """What is known of a blob before anything runs.

    sizes says whether the shape is what it will be, or an upper bound, or not known until the net runs.

    scale and zero_point are set for quantized blobs only; value where the content is known
    (a parameter, or what follows from shapes alone). Raises ModelError for dimensions, scales or zero points
    that cannot be, and for blobs above MAX_BLOB_BYTES.
    """

    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT32
    scale: float | None = None
    zero_point: int | None = None
    value: Value | None = None
    sizes: Sizes = Sizes.EXACT

    def __post_init__(self):
        shape = tuple(map(int, self.shape))
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if min(shape, default=0) < 0:
            raise ModelError(f"a shape with a negative dimension: {list(shape)}")
        if math.prod(shape) * self.dtype.itemsize > MAX_BLOB_BYTES:
            raise ModelError(f"a blob of shape {list(shape)} would take more than {MAX_BLOB_BYTES >> 20} MiB")
        if self.scale is not None and self.dtype == np.uint8:
            check_quantization(self.scale, self.zero_point)

    def __str__(self):
        if self.sizes is Sizes.UNKNOWN:
            return "a blob of unknown size"
        return f"{self.dtype}{list(self.shape)}" if self.is_exact else f"{self.dtype} up to {list(self.shape)}"

    @property
    def is_exact(self) -> bool:
        return self.sizes is Sizes.EXACT

    @property
    def is_unknown(self) -> bool:
        return self.sizes is Sizes.UNKNOWN

    @property
    def is_quantized(self) -> bool:
        return self.scale is not None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def content(self) -> np.ndarray | None:
        """The value, where it is known and not quantized."""
        return self.value if isinstance(self.value, np.ndarray) else None

    def quantization(self) -> tuple[float, int]:
        """(scale, zero_point) of a quantized blob."""
        assert self.scale is not None and self.zero_point is not None, f"{self} is not quantized"
        return self.scale, self.zero_point

    def tensor(self, data: np.ndarray) -> Value:
        """The data as a value of this type: an Int8Tensor where it is quantized."""
        return Int8Tensor(data, *self.quantization()) if self.is_quantized else data

    def with_shape(self, shape: tuple[int, ...]) -> "TensorType":
        """The same type, another shape, content unknown."""
        return TensorType(shape, self.dtype, self.scale, self.zero_point)

    @classmethod
    def up_to(cls, shape: tuple[int, ...], dtype: np.dtype | type = FLOAT32) -> "TensorType":
        """Of a shape that only a run tells, each dimension at most that."""
        return cls(shape, np.dtype(dtype), sizes=Sizes.UP_TO)

    @classmethod
    def unknown(cls) -> "TensorType":
        """Of a shape and type that only a run tells."""
        return cls((), sizes=Sizes.UNKNOWN)

    def loosened(self) -> "TensorType":
        """The same as an upper bound, its content forgotten."""
        sizes = Sizes.UP_TO if self.is_exact else self.sizes
        return dataclasses.replace(self, value=None, sizes=sizes)

    @classmethod
    def of(cls, value: Value) -> "TensorType":
        """The type of a value, the value with it."""
        if isinstance(value, Int8Tensor):
            return cls(value.data.shape, value.data.dtype, value.scale, value.zero_point, value)
        return cls(value.shape, value.dtype, value=value)


def form_of(value: Value) -> tuple:
    """All that the type of a value says without its content, to compare."""
    if isinstance(value, Int8Tensor):
        return value.shape, value.dtype, value.scale, value.zero_point
    return value.shape, value.dtype


def check_live(nbytes: int) -> None:
    """Raises ModelError for more bytes of blobs at a time than is reasonable."""
    if nbytes > MAX_LIVE_BYTES:
        raise ModelError(f"its blobs would take more than {MAX_LIVE_BYTES >> 20} MiB at a time")
