"""Files of other formats, opened beside Caffe2 nets: ONNX for ONNX Runtime, TensorFlow Lite for LiteRT.

A name's ending tells what a file is. Whatever its own layout and type, images go in as Caffe2 nets take them, float32
N, C, H, W, and real values come out, laid out as the file has them.
"""

import abc
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Dims, Size, pair_of
from caffe2_models.net import Net
from caffe2_models.operators.node import listing
from caffe2_models.origin import recorded_net
from caffe2_models.profiling import NetCost

MAX_BYTES = 1 << 31

# ONNX operators that tell a quantized model
QUANTIZED = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"}

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class ModelFile(abc.ABC):
    """A file that a runtime of its own runs.

    form: onnx, onnx-int8, tflite or tflite-int8; backend: what runs it. inputs, outputs: shapes as Caffe2 nets have
    them, None for a dimension that is free. preprocessing: what the file tells of it; labels: of the first output.
    probabilities: whether a softmax makes the first output. record: of the Caffe2 net that it was made from.
    """

    format: str
    form: str
    backend: str
    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    parameter_count: int
    probabilities: bool
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    record: bytes | None = None

    def __init__(self, path: str | os.PathLike[str], content: bytes | None = None):
        """content: what the file will hold, where it is not written yet."""
        self.path = Path(path)
        self.name = self.path.stem
        self.is_written = content is None
        if content is None and self.path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{self.path}: is larger than {MAX_BYTES >> 30} GiB, which no mobile net is")
        self.content = self.path.read_bytes() if content is None else content

    @property
    def takes_floats(self) -> bool:
        """Whether real values may be fed."""
        return True

    def describe(self, name: str) -> str:
        """An input's type, in errors."""
        return f"of shape {list(self.inputs[name])}"

    @abc.abstractmethod
    def session(self, threads: int | None = 1) -> Run:
        """A function for the use of one thread at a time. It raises ModelError for feeds that do not fit."""

    @abc.abstractmethod
    def cost(self, shapes: Mapping[str, tuple[int, ...]]) -> NetCost:
        """Its operators, as the file has them, on inputs of these shapes."""

    def input_shapes(
        self, size: Size | None = None, batch: int = 1, given: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """As Net's. Raises ModelError where neither the file nor these tell, and for one given of no input."""
        given = given or {}
        for name in given:
            if name not in self.inputs:
                raise ModelError(f"{self.path}: {name} is no input; the inputs are {listing(list(self.inputs))}")
        return {
            name: tuple(given[name]) if name in given else self._input_shape(name, dims, size, batch)
            for name, dims in self.inputs.items()
        }

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises ModelError where the file does not take inputs of these shapes."""
        for name, dims in self.inputs.items():
            shape = shapes.get(name)
            fits = shape is not None and len(shape) == len(dims)
            if shape is None or not fits or any(own not in (None, size) for own, size in zip(dims, shape, strict=True)):
                given = "none" if shape is None else f"{list(shape)}"
                wanted = ["any" if dim is None else dim for dim in dims]
                raise ModelError(f"{self.path}: input {name} is of shape {wanted}, not {given}")

    def origin(self) -> Net:
        """The Caffe2 net that it was made from, without its weights. Raises ModelError where the file tells of none."""
        if self.record is None:
            raise ModelError(f"{self.path}: does not record the Caffe2 net that it was made from")
        with naming(self.path):
            return recorded_net(self.record)

    def _input_shape(self, name: str, dims: Dims, size: Size | None, batch: int) -> tuple[int, ...]:
        recorded = size if size is not None or self.preprocessing is None else self.preprocessing.size
        sides: list[int | None] = [batch, None, None, None]
        if recorded is not None:
            sides[2:] = pair_of(recorded)
        if len(dims) != 4:
            sides = [batch, *[None] * (len(dims) - 1)]
        asked = {0: batch if batch > 1 else None} | dict(
            zip((2, 3), sides[2:], strict=False) if size is not None else ()
        )
        shape = [asked.get(i) or own or sides[i] for i, own in enumerate(dims)]
        if None in shape:
            raise ModelError(f"{self.path}: leaves the size of input {name} free; give its shape, or an image size")
        return tuple(side for side in shape if side is not None)


def is_model_file(place: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a file of another format."""
    return Path(place).suffix in (".onnx", ".tflite")


def open_model_file(path: str | os.PathLike[str], kernels: str | None = None) -> ModelFile:
    """An .onnx or .tflite file; kernels: LiteRT's set. Raises ModelError, in one line, for a file that is none."""
    if not Path(path).is_file():
        raise ModelError(f"{os.fspath(path)}: no such file")
    if Path(path).suffix == ".tflite":
        from caffe2_models.model_files.tflite import TfliteFile
        from caffe2_models.runtimes import DEFAULT_KERNELS

        return TfliteFile(path, kernels or DEFAULT_KERNELS)
    if kernels is not None:
        raise ModelError(f"{os.fspath(path)}: has no choice of kernels, which LiteRT's .tflite files have")
    from caffe2_models.model_files.onnx import OnnxFile

    return OnnxFile(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """A block in which a ModelError names the file."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
