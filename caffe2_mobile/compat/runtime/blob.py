"""A blob: one named place of a workspace, and what may be fed into it and fetched from it."""

from typing import Any, Protocol

import numpy as np

from caffe2_mobile.compat.runtime.errors import enforce_failed
from caffe2_models.tensors import Int8Tensor, Value

# What Caffe2's tensors hold of numpy's types; strings are arrays of objects.
NUMBERS = {
    np.dtype(name)
    for name in ("float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool")
}


class Pending:
    """Results of a run, which are computed when somebody asks for them."""

    def result(self, name: str) -> Value:
        raise NotImplementedError


class Watcher(Protocol):
    """Who relies on what a blob contains."""

    def changed(self, blob: "Blob") -> None: ...


class Blob:
    """One named place: a tensor (ndarray or Int8Tensor), a string (bytes), an object of Caffe2's, or nothing yet.

    Arrays in blobs are never written to: a run makes new ones, so that what is held elsewhere stays as it was.
    `fed` tells whether the user put the content there, rather than an operator. Watchers are told of the next
    content that is set, once.
    """

    __slots__ = ("_content", "fed", "name", "watchers")

    def __init__(self, name: str):
        self.name = name
        self._content: Any = None
        self.fed = False
        self.watchers: set[Watcher] = set()

    @property
    def content(self) -> Any:
        content = self._content
        return content.result(self.name) if isinstance(content, Pending) else content

    @property
    def is_pending(self) -> bool:
        """Whether a net writes it whenever it runs."""
        return isinstance(self._content, Pending)

    def set(self, content: Any, fed: bool = False) -> None:
        self._content = content
        self.fed = fed
        if self.watchers:
            watchers, self.watchers = self.watchers, set()
            for watcher in watchers:
                watcher.changed(self)

    @property
    def is_tensor(self) -> bool:
        return isinstance(self.content, np.ndarray)

    def tensor(self) -> Value:
        """The content, where it is a tensor. Raises RuntimeError, as Caffe2 does, where it is not."""
        content = self._content
        if type(content) is np.ndarray:
            return content
        content = self.content
        if isinstance(content, np.ndarray | Int8Tensor):
            return content
        raise RuntimeError(
            f"wrong type for the Blob instance. Blob contains {kind_of(content)} while caller expects caffe2::Tensor\n"
            f"  Offending Blob name: {self.name}."
        )

    def feed(self, value: Any) -> bool:
        """Put a copy of an array, or a string, in. Raises RuntimeError for what Caffe2 takes no feed of."""
        self.set(to_content(value), fed=True)
        return True

    def fetch(self) -> Any:
        """A copy of the content: ndarray, bytes, (data, scale, zero_point), or a text that names what it is."""
        content = self.content
        if isinstance(content, np.ndarray):
            return content.copy()
        if isinstance(content, Int8Tensor):
            return content.data.copy(), float(np.float32(content.scale)), int(content.zero_point)
        if isinstance(content, bytes):
            return content
        return f"{self.name}, a C++ native class of type {kind_of(content)}.".encode()


NOT_FED = "Unexpected type of argument - only numpy array or string are supported for feeding"


def to_content(value: Any) -> np.ndarray | bytes:
    """What a blob holds of a value that a user feeds; arrays are copied."""
    if type(value) is np.ndarray and value.dtype in NUMBERS:
        return value.copy()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if type(value).__name__ == "Tensor" and type(value).__module__ == "torch":
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise enforce_failed("pybind_state.cc:271", f". {NOT_FED}")
    if value.dtype.kind in "SU":
        value = value.astype(object)
    if value.dtype == object:
        return np.array([_as_bytes(item) for item in value.flat], object).reshape(value.shape)
    if value.dtype not in NUMBERS:
        raise RuntimeError(f"This numpy data type is not supported: {value.dtype}.")
    return np.array(value, order="C")


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise RuntimeError("Unexpected type of argument - only strings are supported in arrays of objects")


def kind_of(content: Any) -> str:
    """Caffe2's name of what a blob contains."""
    if content is None:
        return "nullptr (uninitialized)"
    if isinstance(content, np.ndarray):
        return "Tensor"
    if isinstance(content, Int8Tensor):
        return "int8::Int8TensorCPU"
    if isinstance(content, bytes):
        return "std::string"
    return getattr(content, "caffe2_name", type(content).__name__)
