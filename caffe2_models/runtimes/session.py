"""The one interface of all runtimes."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.net import Net, listing, peak_bytes
from caffe2_models.tensors import Int8Tensor, TensorType, Value

MAX_LIVE_BYTES = 4 << 30


class Session:
    """A net made ready to run. Subclasses implement `_run`."""

    backend: str

    def __init__(self, net: Net, threads: int | None = None):
        self.net = net
        self.threads = threads
        self._checked: set[tuple] = set()  # types of feeds that were found to fit

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
            raise ModelError(f"no value for {listing(missing)}, neither fed nor in the init net")
        names = list(self.net.outputs if outputs is None else outputs)
        unknown = [name for name in names if name not in self._blobs and name not in values]
        if unknown:
            raise ModelError(f"no blob {listing(unknown)} in the net")
        if (key := type_key(values)) not in self._checked:
            self.check(values, names)
            self._checked.add(key)
        return self._run(values, names) if names else {}

    def check(self, feeds: dict[str, Value], outputs: list[str]) -> None:
        """Raises ModelError for what cannot be computed, or not in reasonable memory, before anything is."""
        peak = peak_bytes(list(self.net.walk(input_types(feeds))), outputs, with_workspace=True)
        if peak > MAX_LIVE_BYTES:
            raise ModelError(f"its blobs would take more than {MAX_LIVE_BYTES >> 20} MiB at a time")

    @functools.cached_property
    def _blobs(self) -> set[str]:
        written = {name for node in self.net.operators for name in node.outputs}
        return written | set(self.net.parameter_types)

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
    if array.dtype.kind not in "fiub":
        raise ModelError(f"a value of type {array.dtype}; numbers are expected")
    return array.astype(np.float32) if array.dtype == np.float64 else array
