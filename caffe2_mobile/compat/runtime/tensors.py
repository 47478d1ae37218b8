"""A blob's tensor as Caffe2 shows it to Python: TensorCPU."""

from collections.abc import Sequence

import numpy as np

from caffe2_mobile.compat.runtime.blob import Blob, to_content
from caffe2_mobile.compat.runtime.serialization import DTYPES


class TensorCPU:
    """A view of a blob that holds a tensor, or will. What is an output may be written to, through `data`."""

    def __init__(self, blob: Blob, is_output: bool = False):
        self._blob = blob
        self._is_output = is_output
        self._own: np.ndarray | None = None  # an array that nobody else has

    @property
    def data(self) -> np.ndarray:
        """The array: of an output, one that may be filled; else one that may only be read."""
        array = self._array()
        if not self._is_output:
            view = array.view()
            view.flags.writeable = False
            return view
        if array is not self._own:
            self._own = array.copy()
            self._blob.set(self._own)
        return self._own

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array().shape

    def fetch(self) -> np.ndarray:
        return self._array().copy()

    def feed(self, array: np.ndarray, device_option: object = None) -> None:
        self._blob.set(to_content(array))

    def init(self, dims: Sequence[int], caffe2_type: int) -> None:
        """Make it a tensor of this shape and data type."""
        self._blob.set(np.zeros(tuple(dims), DTYPES[caffe2_type]))

    def reshape(self, dims: Sequence[int]) -> None:
        """Give it this shape; the content stays where the size does, and is float32 where there was none."""
        array, shape = self._array(), tuple(int(dim) for dim in dims)
        fits = array.size == np.prod(shape)
        self._blob.set(array.reshape(shape) if fits else np.zeros(shape, array.dtype))

    def _array(self) -> np.ndarray:
        content = self._blob.content
        return content if isinstance(content, np.ndarray) else np.zeros(0, np.float32)
