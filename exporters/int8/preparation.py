"""Rewrites of the float graph to the layers that QNNPACK has, computing the same.

Each rule looks for a pattern, checks that the rewrite is exact, and applies it once; `prepare` repeats them until none
applies.
"""

import math
from collections.abc import Mapping

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Net
from exporters.int8.graph import Graph, Layer, joins_channels, read_graph

IDENTITIES = {"Dropout", "Copy", "EnsureCPUOutput", "StopGradient", "Alias"}

# Layers whose output can be clamped as it is made: by requantization, or by the operator's ...Relu twin.
CLAMPABLE = {"Sum", "AveragePool"}  # besides the weighted layers

# A clamp of one of these is the clamp of its inputs: maxima and moved values.
TRANSPARENT = {"MaxPool", "Concat", "ChannelShuffle", "ResizeNearest"}

CLAMPS = {
    "Relu": lambda layer: (0.0, math.inf),
    "ReluN": lambda layer: (0.0, layer.arguments.get("n", 6.0)),
    "Clip": lambda layer: (layer.arguments.get("min", -math.inf), layer.arguments.get("max", math.inf)),
}


def prepare(net: Net, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The net's graph with constants folded and clamps fused; raises ModelError as read_graph does."""
    graph = read_graph(net, input_shapes)
    for layer in graph.layers:
        _free_batch(graph, layer)
    _require_batch(graph)
    _rewrite(graph)
    for layer in graph.layers:
        if layer.type == "Affine" and len(graph.shapes[layer.output]) == 4:
            _affine_to_convolution(layer)
    _rewrite(graph)
    for layer in [layer for layer in graph.layers if layer.type == "Affine"]:
        _affine_to_arithmetic(graph, layer)
    written = {name for layer in graph.layers for name in layer.outputs}
    graph.shapes = {name: shape for name, shape in graph.shapes.items() if name in written or name in graph.inputs}
    return graph


def _rewrite(graph: Graph) -> None:
    while any(rule(graph) for rule in RULES):
        pass


def drop_identity(graph: Graph) -> bool:
    for layer in filter(_is_identity, graph.layers):
        if layer.output not in graph.outputs:
            _remove(graph, layer, layer.inputs[0])
            return True
        if layer.inputs[0] not in (*graph.inputs, *graph.outputs):
            _remove(graph, layer, layer.inputs[0], keep=layer.output)
            return True
    return False


def split_to_slices(graph: Graph) -> bool:
    """Split is one Slice for each part."""
    for index, layer in enumerate(graph.layers):
        if layer.type != "Split":
            continue
        shape = graph.shapes[layer.inputs[0]]
        axis = layer.operator.axis % len(shape)
        slices, start = [], 0
        for output in layer.outputs:
            end = start + graph.shapes[output][axis]
            bounds = {"starts": [0] * len(shape), "ends": [-1] * len(shape)}
            bounds["starts"][axis], bounds["ends"][axis] = start, end if end < shape[axis] else -1
            slices.append(Layer("Slice", layer.inputs[:1], [output], bounds))
            start = end
        graph.layers[index : index + 1] = slices
        return True
    return False


def sum_in_pairs(graph: Graph) -> bool:
    """Add of two activations of one shape is a Sum; a Sum of more than two is a chain of Sums of two."""
    for index, layer in enumerate(graph.layers):
        if layer.type == "Add" and _are_alike(graph, layer):
            layer.type, layer.arguments = "Sum", {}
            return True
        if layer.type == "Sum" and len(layer.inputs) > 2 and _are_alike(graph, layer):
            partial = f"{layer.output}/of_first_two"
            graph.shapes[partial] = graph.shapes[layer.output]
            graph.layers.insert(index, Layer("Sum", layer.inputs[:2], [partial]))
            layer.inputs = [partial, *layer.inputs[2:]]
            return True
    return False


def fuse_swish(graph: Graph) -> bool:
    """x * Sigmoid(x) is Swish(x)."""
    producers = graph.producers()
    for layer in graph.layers:
        for x, gate in (layer.inputs, layer.inputs[::-1]) if layer.type == "Mul" else ():
            source = producers.get(gate)
            if source is not None and source.type == "Sigmoid" and source.inputs == [x]:
                layer.type, layer.inputs, layer.arguments = "Swish", [x], {}
                _remove_unread(graph)
                return True
    return False


def fold_hard_sigmoid(graph: Graph) -> bool:
    """A hard sigmoid of what one layer with weights makes is a straight line, which the layer takes in, and a clamp."""
    producers, consumers = graph.producers(), graph.consumers()
    for layer in graph.layers:
        before = producers.get(layer.inputs[0]) if layer.type == "HardSigmoid" else None
        if before is None or not before.is_weighted or before.is_clamped or len(consumers[before.output]) > 1:
            continue
        alpha, beta = layer.operator.alpha, layer.operator.beta
        _scale_outputs(before, np.full(len(before.bias), alpha), np.full(len(before.bias), beta))
        before.low, before.high = 0.0, 1.0
        _remove(graph, layer, layer.inputs[0], keep=layer.output)
        return True
    return False


def drop_pool_pads(graph: Graph) -> bool:
    """An average over all of the image and pads that do not count is global pooling."""
    for layer in graph.layers:
        if layer.type != "AveragePool" or layer.operator.count_include_pad or layer.operator.window.global_pooling:
            continue
        size = graph.shapes[layer.inputs[0]][2:]
        fit = layer.operator.window.fit(*size)
        covers = all(kernel - pad >= s for kernel, pad, s in zip(fit.kernel, fit.pads[:2], size, strict=True))
        if fit.output == (1, 1) and covers and any(fit.pads):
            layer.arguments = {"global_pooling": 1}
            return True
    return False


def merge_split_convolution(graph: Graph) -> bool:
    """Slices of all channels in equal parts, a Conv of each, their Concat: one Conv with groups."""
    producers, consumers = graph.producers(), graph.consumers()
    for layer in graph.layers:
        if not joins_channels(layer):
            continue
        parts = [producers.get(name) for name in layer.inputs]
        if any(part is None or part.type != "Conv" or len(consumers[part.output]) > 1 for part in parts):
            continue
        slices = [producers.get(part.inputs[0]) for part in parts]
        if any(cut is None or cut.type != "Slice" or len(cut.inputs) > 1 for cut in slices):
            continue
        alike = len({(part.weight.shape, repr(part.arguments), part.low, part.high) for part in parts}) == 1
        if not alike or not _cover(graph, slices):
            continue
        first = parts[0]
        merged = Layer(
            "Conv",
            slices[0].inputs[:1],
            layer.outputs[:1],
            {**first.arguments, "group": first.group * len(parts)},
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.bias for part in parts]),
            first.low,
            first.high,
        )
        graph.layers[graph.layers.index(layer)] = merged
        _remove_unread(graph)
        return True
    return False


def fold_affine(graph: Graph) -> bool:
    """BatchNorm, and arithmetic with one constant for each channel: into the weights before, or one Affine."""
    producers, consumers = graph.producers(), graph.consumers()
    for layer in graph.layers:
        affine = _affine(graph, layer)
        if affine is None:
            continue
        scale, shift = affine
        x = graph.activations(layer)[0]
        before = producers.get(x)
        if before is None or len(consumers[x]) > 1 or before.is_clamped:
            before = None
        if before is not None and before.is_weighted:
            _scale_outputs(before, scale, shift)
            _remove(graph, layer, x, keep=layer.output)
            return True
        if before is not None and joins_channels(before):
            _distribute(graph, before, layer, scale, shift)
            return True
        if layer.type != "Affine":
            index = graph.layers.index(layer)
            graph.layers[index] = Layer("Affine", [x], layer.outputs[:1], {}, scale, shift)
            return True
    return False


def fuse_clamp(graph: Graph) -> bool:
    """A ReLU or Clip becomes the clamp of what it follows, through maxima and moved values."""
    producers, consumers = graph.producers(), graph.consumers()
    for layer in graph.layers:
        if layer.type not in CLAMPS:
            continue
        limits = CLAMPS[layer.type](layer)
        targets = _clampable(layer.inputs[0], producers, consumers)
        if targets is None:
            continue
        for target in targets:
            target.low, target.high = max(target.low, limits[0]), min(target.high, limits[1])
        _remove(graph, layer, layer.inputs[0], keep=layer.output)
        return True
    return False


def drop_flattening(graph: Graph) -> bool:
    """FC flattens its input itself."""
    producers = graph.producers()
    for layer in graph.layers:
        before = producers.get(layer.inputs[0]) if layer.is_weighted and layer.type == "FC" else None
        if before is None or before.type not in ("Flatten", "Reshape", "Squeeze"):
            continue
        old, new = graph.shapes[before.inputs[0]], graph.shapes[before.output]
        if len(new) == 2 and old[0] == new[0] and len(old) in (2, 4):
            layer.inputs = before.inputs[:1]
            _remove_unread(graph)
            return True
    return False


RULES = [
    drop_identity,
    split_to_slices,
    sum_in_pairs,
    fuse_swish,
    fold_affine,
    fold_hard_sigmoid,
    drop_pool_pads,
    fuse_clamp,
    merge_split_convolution,
    drop_flattening,
]


def _free_batch(graph: Graph, layer: Layer) -> None:
    """Make a Reshape that spells out the batch, which is one image here, take any batch."""
    if layer.type != "Reshape" or layer.inputs[0] in graph.constants:
        return
    old, new = graph.shapes[layer.inputs[0]], graph.shapes[layer.output]
    if old[:1] == new[:1] == (1,):
        layer.inputs, layer.arguments = layer.inputs[:1], {"shape": [0, *new[1:]]}


def _require_batch(graph: Graph) -> None:
    """Raises ModelError for a layer that mixes the images of a batch. Of a graph whose clamps are not fused yet."""
    two = {name: (2, *graph.shapes[name][1:]) for name in graph.inputs}
    try:
        for layer, step in zip(graph.layers, graph.to_net().walk(two), strict=True):
            shape = graph.shapes[layer.output]
            if step.outputs[0].shape != (2, *shape[1:]):
                raise ModelError(f"{layer.type} -> {layer.output} makes {list(step.outputs[0].shape)} of two images")
    except ModelError as error:
        raise ModelError(f"{graph.name}: the images of a batch do not stay apart: {error}") from None


def _is_identity(layer: Layer) -> bool:
    return layer.type in IDENTITIES or (layer.type == "ChannelShuffle" and layer.operator.group == 1)


def _affine(graph: Graph, layer: Layer) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, shift), float64 [C], of a layer that computes scale * x + shift for each channel (axis 1)."""
    if layer.type == "Affine":
        return layer.weight, layer.bias
    activations = graph.activations(layer)
    if len(activations) != 1 or len(graph.shapes[activations[0]]) not in (2, 4):
        return None
    values = [graph.constants[name].astype(np.float64) for name in layer.inputs if name in graph.constants]
    if layer.type == "SpatialBN" and layer.inputs[0] == activations[0]:
        scale, bias, mean, variance = values
        factor = scale / np.sqrt(variance + layer.operator.epsilon)
        return factor, bias - factor * mean
    if layer.type == "AffineChannel" and layer.inputs[0] == activations[0]:
        return values[0], values[1]
    if layer.type not in ("Mul", "Add", "Sub", "Div") or layer.inputs[0] != activations[0]:
        return None
    value = _per_channel(layer, values[0], graph.shapes[activations[0]])
    if value is None:
        return None
    one, zero = np.ones_like(value), np.zeros_like(value)
    with np.errstate(divide="ignore"):
        return {"Mul": (value, zero), "Div": (one / value, zero), "Add": (one, value), "Sub": (one, -value)}[layer.type]


def _per_channel(layer: Layer, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The constant operand of an addition or the like as one number for each channel of a blob, or None."""
    aligned = Layer("Add", [], ["sum"], layer.arguments).operator.compute(np.zeros(shape), value)
    first = aligned[:1, :, :1, :1] if len(shape) == 4 else aligned[:1]
    return first.ravel() if aligned.shape == shape and (aligned == first).all() else None


def _scale_outputs(layer: Layer, scale: np.ndarray, shift: np.ndarray) -> None:
    """Make the layer compute scale * y + shift."""
    if layer.type == "Affine":
        layer.weight, layer.bias = layer.weight * scale, layer.bias * scale + shift
        return
    along = [1] * layer.weight.ndim
    along[1 if layer.type == "ConvTranspose" else 0] = len(scale)
    layer.weight = (layer.weight * scale.reshape(along)).astype(np.float32)
    layer.bias = (layer.bias * scale + shift).astype(np.float32)


def _distribute(graph: Graph, concat: Layer, layer: Layer, scale: np.ndarray, shift: np.ndarray) -> None:
    """Concat -> Affine is an Affine of each part -> Concat."""
    index, start = graph.layers.index(concat), 0
    for position, name in enumerate(concat.inputs):
        part = f"{layer.output}/of/{position}"
        channels = slice(start, start + graph.shapes[name][1])
        start = channels.stop
        graph.shapes[part] = graph.shapes[name]
        graph.layers.insert(index, Layer("Affine", [name], [part], {}, scale[channels], shift[channels]))
        concat.inputs[position] = part
        index += 1
    _remove(graph, layer, concat.output, keep=layer.output)


def _clampable(name: str, producers: dict, consumers: dict) -> list[Layer] | None:
    """The layers whose clamps clamp this blob, and nothing else."""
    layer = producers.get(name)
    if layer is None or len(consumers[name]) > 1:
        return None
    if layer.is_weighted or layer.type in CLAMPABLE:
        return [layer]
    if layer.type not in TRANSPARENT:
        return None
    found = [_clampable(x, producers, consumers) for x in layer.inputs]
    return None if any(f is None for f in found) else [target for f in found for target in f]


def _are_alike(graph: Graph, layer: Layer) -> bool:
    shapes = [graph.shapes.get(name) for name in layer.inputs if name not in graph.constants]
    return len(shapes) == len(layer.inputs) and len(set(shapes)) == 1


def _cover(graph: Graph, slices: list[Layer]) -> bool:
    """Whether the slices are all channels of one blob, in order."""
    source = slices[0].inputs[0]
    channels, start = graph.shapes[source][1], 0
    for cut in slices:
        starts, ends = cut.arguments["starts"], cut.arguments["ends"]
        whole = all(s == 0 and e == -1 for axis, (s, e) in enumerate(zip(starts, ends, strict=True)) if axis != 1)
        if cut.inputs[0] != source or not whole or len(starts) < 2 or starts[1] != start:
            return False
        start = channels if ends[1] == -1 else ends[1]
    return start == channels


def _remove(graph: Graph, layer: Layer, source: str, keep: str | None = None) -> None:
    """Take a layer out: its readers read `source`, which takes the name `keep` where one is given."""
    graph.layers.remove(layer)
    old, new = (source, keep) if keep is not None else (layer.output, source)
    for other in graph.layers:
        other.inputs = [new if name == old else name for name in other.inputs]
        other.outputs = [new if name == old else name for name in other.outputs]


def _remove_unread(graph: Graph) -> None:
    """Take out layers that nobody needs."""
    needed = set(graph.outputs)
    for layer in reversed(graph.layers[:]):
        if needed.isdisjoint(layer.outputs):
            graph.layers.remove(layer)
        else:
            needed.update(layer.inputs)


def _affine_to_convolution(layer: Layer) -> None:
    """What is left of an Affine on an image is a depthwise 1x1 Conv."""
    channels = len(layer.weight)
    layer.type = "Conv"
    layer.arguments = {"kernel": 1, "group": channels, "stride": 1, "pad": 0, "order": "NCHW"}
    layer.weight = layer.weight.reshape(channels, 1, 1, 1).astype(np.float32)
    layer.bias = layer.bias.astype(np.float32)


def _affine_to_arithmetic(graph: Graph, layer: Layer) -> None:
    """What is left of an Affine on a matrix is Mul and Add."""
    scaled, scale, shift = (f"{layer.output}/{part}" for part in ("scaled", "scale", "shift"))
    graph.constants[scale] = layer.weight.astype(np.float32)
    graph.constants[shift] = layer.bias.astype(np.float32)
    graph.shapes[scaled] = graph.shapes[layer.output]
    index = graph.layers.index(layer)
    graph.layers[index : index + 1] = [
        Layer("Mul", [layer.inputs[0], scale], [scaled]),
        Layer("Add", [scaled, shift], layer.outputs[:1], low=layer.low, high=layer.high),
    ]
