"""The one interface of all runtimes."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.net import Net, peak_bytes
from caffe2_models.operators.node import Step, listing
from caffe2_models.tensors import Int8Tensor, TensorType, Value, check_live

Bound = Callable[[dict[str, Value]], dict[str, Value]]

MAX_CHECKED = 16  # types of feeds that a session remembers


class Session:
    """A net made ready to run. Subclasses implement `_run`."""

    backend: str

    def __init__(self, net: Net, threads: int | None = None):
        self.net = net
        self.threads = threads
        self._checked: dict[tuple, list[Step]] = {}  # by types of feeds that were found to fit

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
        self.steps(values, names)
        return self._run(values, names) if names else {}

    def bind(self, feeds: Mapping[str, Value], outputs: Sequence[str]) -> Bound:
        """`run` for feeds of these very types and these outputs, without what it looks up and checks each time.

        To be called after a run of such feeds. What it returns may hold more blobs than those asked for.
        """
        return functools.partial(self._run, outputs=list(outputs))

    def steps(self, feeds: dict[str, Value], outputs: list[str]) -> list[Step]:
        """The net's operators at their moments, for feeds of these types.

        Raises ModelError for what cannot be computed, or not in reasonable memory, before anything is. Blobs whose
        sizes only a run tells do not count; when they are reached, `check_live` looks at them.
        """
        key = (type_key(feeds), tuple(outputs))
        if key not in self._checked:
            steps = list(self.net.walk(input_types(feeds)))
            check_live(peak_bytes(steps, outputs, with_workspace=True, only_exact=True))
            if len(self._checked) == MAX_CHECKED:
                self._checked.pop(next(iter(self._checked)))
            self._checked[key] = steps
        return self._checked[key]

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
            value.dtype.str,
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
