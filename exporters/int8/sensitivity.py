"""What rounding does to a net's answers: the float net runs with a part of it on its steps."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from caffe2_models import Net
from caffe2_models.build import add_operator
from exporters.int8.batching import Feed, batches, feeds_of
from exporters.int8.calibration import batch_size, find_scores
from exporters.int8.ranges import divergence_of_scores
from exporters.int8.scales import Part, Quantization
from exporters.layers import Blob, Graph, Layer, write_net


class Sensitivity:
    """What a change of the float net does to its answers on some images: the divergence of the classes' probabilities
    (nats) or, where there are no classes, noise to signal of the outputs.
    """

    def __init__(self, graph: Graph, images: Sequence[Feed], threads: int | None = None):
        self._graph, self._images, self._threads = graph, images, threads
        self._net, self._scores, self._batch = write_net(graph), find_scores(graph), batch_size(graph)
        self._exact = self._answers(self._net)

    def to_rounding(self, blob: Blob, quantization: Quantization) -> float:
        """Of one blob alone."""
        return self._noise(on_steps(self._net, {blob.name: [Part(0.0, quantization)]}))

    def to_weights(self, layer: Layer, weight: np.ndarray, bias: np.ndarray) -> float:
        """In place of the layer's own."""
        changed = self._graph.copy()
        like = changed.layers[self._graph.layers.index(layer)]
        like.weight, like.bias = weight, bias
        return self._noise(write_net(changed))

    def _noise(self, variant: Net) -> float:
        pairs = zip(self._exact, self._answers(variant), strict=True)
        if self._scores is None:
            return sum(_noise_to_signal(*pair) for pair in pairs)
        ((exact, changed),) = pairs
        return divergence_of_scores(*(scores.reshape(len(self._images), -1) for scores in (exact, changed)))

    def _answers(self, net: Net) -> list[np.ndarray]:
        names = net.outputs if self._scores is None else [self._scores.name]
        session = net.session("onnxruntime", self._threads)
        feeds = (feeds_of(net.inputs, batch) for batch in batches(self._images, self._batch))
        parts = [session.run(feed, outputs=names) for feed in feeds]
        return [np.concatenate([part[name] for part in parts]) for name in names]


def _noise_to_signal(exact: np.ndarray, rounded: np.ndarray) -> float:
    if rounded.shape != exact.shape:  # of detections there is another number
        return 1.0
    return float(np.square(rounded - exact).sum() / np.square(exact).sum(initial=1e-30))


def on_steps(net: Net, steps: Mapping[str, Sequence[Part]]) -> Net:
    """The float net in which these blobs are quantized, and dequantized, where they are made: in one part, or in
    several, as scores are.
    """
    predict, init = copy.deepcopy(net.predict), copy.deepcopy(net.init)
    operators = list(predict.op)
    del predict.op[:]
    read = {name: f"{name}/on_steps" for name in net.inputs if name in steps}

    def put_on_steps(source: str, target: str, parts: Sequence[Part]) -> None:
        """Each part of the range, then their sum."""
        rounded = []
        for number, part in enumerate(parts):
            above = source
            if part.edge:
                edge, above = f"{target}/edge_{number}", f"{target}/above_{number}"
                add_operator(init, "GivenTensorFill", [], [edge], shape=[1], values=[part.edge])
                predict.external_input.append(edge)
                add_operator(predict, "Sub", [source, edge], [above], broadcast=1)
            name, chosen = f"{target}/steps_{number}", part.quantization
            add_operator(predict, "Int8Quantize", [above], [name], Y_scale=chosen.scale, Y_zero_point=chosen.zero_point)
            rounded.append(f"{target}/part_{number}")
            add_operator(predict, "Int8Dequantize", [name], [rounded[-1]])
        add_operator(predict, "Sum", rounded, [target])

    for name, target in read.items():
        put_on_steps(name, target, steps[name])
    for operator in operators:
        operator.input[:] = [read.get(name, name) for name in operator.input]
        made = [name for name in operator.output if name in steps]
        operator.output[:] = [f"{name}/off_steps" if name in steps else name for name in operator.output]
        predict.op.add().CopyFrom(operator)
        for name in made:
            put_on_steps(f"{name}/off_steps", name, steps[name])
    return Net(predict, init)
