"""The one interface of all runtimes."""

from collections.abc import Mapping, Sequence

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.net import Net
from caffe2_models.tensors import Int8Tensor, TensorType, Value


class Session:
    """A net made ready to run. Subclasses implement `_run`."""

    backend: str

    def __init__(self, net: Net, threads: int | None = None):
        self.net = net
        self.threads = threads

    def run(
        self, feeds: Mapping[str, np.ndarray | Int8Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Run the net once: blob name -> ndarray or Int8Tensor, for `outputs` or the net's own.

        Any blob of the net may be asked for; one that is written several times has its last value. float64
        feeds are taken as float32. Raises ModelError for feeds or outputs that do not fit the net.
        """
        values = {name: _as_value(value) for name, value in feeds.items()}
        missing = [name for name in self.net.inputs if name not in values]
        if missing:
            blobs = ", ".join(missing)
            raise ModelError(f"{self.net.name}: no value for {blobs}, neither fed nor in the init net")
        names = list(self.net.outputs if outputs is None else outputs)
        known = {
            *values,
            *self.net.parameter_types,
            *(name for node in self.net.operators for name in node.outputs),
        }
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ModelError(f"{self.net.name or 'net'}: no blob {', '.join(unknown)}")
        return self._run(values, names) if names else {}

    def _run(self, feeds: dict[str, Value], outputs: list[str]) -> dict[str, Value]:
        raise NotImplementedError


def input_types(feeds: Mapping[str, Value]) -> dict[str, TensorType]:
    """The feeds' types, without their content."""
    return {name: TensorType.of(value).with_shape(value.shape) for name, value in feeds.items()}


def type_key(feeds: Mapping[str, Value]) -> tuple:
    """What a plan made for these feeds depends on."""
    return tuple(
        (
            name,
            value.shape,
            str(value.dtype),
            *((value.scale, value.zero_point) if isinstance(value, Int8Tensor) else ()),
        )
        for name, value in sorted(feeds.items())
    )


def _as_value(value) -> Value:
    if isinstance(value, Int8Tensor):
        return value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array
