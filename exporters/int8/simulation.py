"""The int8 net run as far as it is written, on images held in memory."""

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import make_init
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Value
from exporters.layers import Blob, Graph

LIVE_BYTES = 1 << 30  # of all blobs that are held at one time
BATCH = 8


class Simulation:
    """Values of the blobs of an int8 net that is being written: those that later operators may read.

    The fastest exact runtime computes them, so they are what the phone will compute.
    """

    def __init__(
        self,
        predict: caffe2_pb2.NetDef,
        parameters: dict[str, Value],
        feeds: dict[str, np.ndarray],
        threads: int | None,
        backend: str = "auto",
        batch: int = BATCH,
    ):
        """predict and parameters grow; feeds: input -> [N, ...] of all images. batch: how many run at a time."""
        self.predict, self.parameters, self.threads, self.backend = predict, parameters, threads, backend
        self._values: dict[str, Value] = dict(feeds)
        self._images, self._batch = len(next(iter(feeds.values()))), batch
        self._done = 0

    def __getitem__(self, blob: str) -> Int8Tensor:
        """A quantized blob's value."""
        value = self._values[blob]
        if not isinstance(value, Int8Tensor):
            raise TypeError(f"{blob} is not quantized")
        return value

    def advance(self) -> None:
        """Run the operators that were written since."""
        operators = self.predict.op[self._done :]
        self._done = len(self.predict.op)
        if not operators:
            return
        net = caffe2_pb2.NetDef(op=operators)
        read = dict.fromkeys(name for op in operators for name in op.input)
        written = [name for op in operators for name in op.output]
        fed = [name for name in read if name in self._values]
        parameters = {name: self.parameters[name] for name in read if name in self.parameters}
        net.external_input.extend([*fed, *parameters])
        net.external_output.extend(written)
        session = Net(net, make_init(parameters)).session(
            self.backend, self.threads, approximate=self.backend != "auto"
        )
        parts = []
        for start in range(0, self._images, self._batch):
            parts.append(session.run({name: self._take(self._values[name], start) for name in fed}))
        for name in written:
            self._values[name] = _join([part[name] for part in parts])

    def _take(self, value: Value, start: int) -> Value:
        """Of the images from `start` on those that run together: each has the same share of the first axis."""
        share = value.shape[0] // self._images
        rows = slice(start * share, (start + self._batch) * share)
        if isinstance(value, Int8Tensor):
            return Int8Tensor(value.data[rows], value.scale, value.zero_point)
        return value[rows]

    def forget(self, names: list[str]) -> None:
        """Let go of blobs that nobody will read."""
        for name in names:
            self._values.pop(name, None)


def images_that_fit(graph: Graph, choices: list[bool]) -> int:
    """How many images' blobs take LIVE_BYTES at most, where the graph is widest."""
    last_use = {blob: index for index, layer in enumerate(graph.layers) for blob in layer.inputs}
    sizes: dict[Blob, int] = {}
    widest = 1
    for index, (layer, is_int8) in enumerate(zip(graph.layers, choices, strict=True)):
        sizes[layer.output] = int(np.prod(layer.output.shape)) * (1 if is_int8 else 5)
        widest = max(widest, sum(sizes.values()))
        sizes = {blob: size for blob, size in sizes.items() if last_use.get(blob, -1) > index}
    return max(LIVE_BYTES // widest, 1)


def _join(parts: list[Value]) -> Value:
    first = parts[0]
    joined = np.concatenate([part.data if isinstance(part, Int8Tensor) else part for part in parts])
    return Int8Tensor(joined, first.scale, first.zero_point) if isinstance(first, Int8Tensor) else joined
