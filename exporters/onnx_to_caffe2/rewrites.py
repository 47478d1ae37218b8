"""Rewrites of the Caffe2 graph to the form in which the published nets are: one operator per layer.

Each looks for a pattern, checks that the rewrite computes the same, and rewrites in place.
"""

import numpy as np

from exporters.onnx_to_caffe2.graph import Blob, Graph, Op

# Where the output channels are: the axis of the weight, the axis of the output.
CHANNEL_AXIS = {"Conv": (0, 1), "ConvTranspose": (1, 1), "FC": (0, -1)}


def rewrite(graph: Graph) -> None:
    """All rewrites, until none applies."""
    changed = True
    while changed:
        graph.remove_dead()
        changed = any([rule(graph) for rule in RULES])


def fold_padding(graph: Graph) -> bool:
    """PadImage(zeros) -> Conv is a Conv with more padding (SAME padding of TensorFlow models)."""
    changed = False
    for op in graph.ops:
        pad = op.inputs[0].op if op.type == "Conv" else None
        if pad is None or pad.type != "PadImage" or "mode" in pad.arguments or "value" in pad.arguments:
            continue
        sides = [have + more for have, more in zip(_pads(op), _pads(pad), strict=True)]
        op.arguments = _with_pads(op.arguments, sides)
        op.inputs[0] = pad.inputs[0]
        changed = True
    return changed


def fold_affine(graph: Graph) -> bool:
    """Conv, ConvTranspose or FC -> SpatialBN, Mul, Add, Sub or Div by constants per channel: into the layer.

    y = scale * (w x + b) + shift  is  (scale w) x + (scale b + shift), computed in float64.
    """
    uses = graph.uses()
    for op in graph.ops:
        x, affine = _affine(op)
        layer = x.op if x is not None else None
        if layer is None or layer.type not in CHANNEL_AXIS or uses[x] != 1:
            continue
        if not all(blob.is_constant for blob in layer.inputs[1:]) or op.output.shapes != x.shapes:
            continue
        if layer.type == "ConvTranspose" and layer.arguments.get("group", 1) != 1:
            continue
        weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
        out_axis, y_axis = CHANNEL_AXIS[layer.type]
        channels = weight.shape[out_axis]
        scale, shift = (_per_channel(values, x.rank, y_axis % x.rank, channels) for values in affine)
        if scale is None or shift is None:
            continue
        along = [channels if axis == out_axis else 1 for axis in range(weight.rank)]
        old_bias = 0 if bias is None else bias.value.astype(np.float64)
        layer.inputs[1:] = [
            _constant(weight.value * scale.reshape(along)),
            _constant(old_bias * scale + shift),
        ]
        _replace(graph, op.output, x)
        return True
    return False


def move_batch_norm_before_concat(graph: Graph) -> bool:
    """Concat of layers -> SpatialBN: each layer gets its share of the SpatialBN, which then folds."""
    uses = graph.uses()
    for position, op in enumerate(graph.ops):
        join = op.inputs[0].op if op.type == "SpatialBN" else None
        if join is None or join.type != "Concat" or join.arguments["axis"] != 1 or uses[join.output] != 1:
            continue
        branches = [blob.op for blob in join.inputs]
        if not all(branch is not None and branch.type in CHANNEL_AXIS for branch in branches):
            continue
        if any(uses[blob] != 1 for blob in join.inputs) or not all(blob.is_constant for blob in op.inputs[1:]):
            continue
        ends = np.cumsum([blob.shape[1] for blob in join.inputs])
        parts = zip(*(np.split(blob.value, ends[:-1]) for blob in op.inputs[1:]), strict=True)
        normal = [
            _norm_of(branch, [_constant(value) for value in values], op)
            for branch, values in zip(branches, parts, strict=True)
        ]
        graph.ops[position : position + 1] = []
        at = graph.ops.index(join)
        graph.ops[at:at] = normal
        join.inputs = [one.output for one in normal]
        _replace(graph, op.output, join.output)
        return True
    return False


def fuse_swish(graph: Graph) -> bool:
    """x * Sigmoid(x) is Swish(x)."""
    changed = False
    for op in graph.ops:
        if op.type != "Mul":
            continue
        for x, gate in (op.inputs, op.inputs[::-1]):
            if gate.op is not None and gate.op.type == "Sigmoid" and gate.op.inputs[0] is x:
                op.type, op.inputs, changed = "Swish", [x], True
                break
    return changed


def fuse_channel_shuffle(graph: Graph) -> bool:
    """[N, g, C/g, H, W] -> transpose of g and C/g -> [N, C, H, W] is ChannelShuffle."""
    changed = False
    for op in graph.ops:
        swap = op.inputs[0].op if op.type == "Reshape" else None
        if swap is None or swap.type != "Transpose" or swap.arguments["axes"][:3] != [0, 2, 1]:
            continue
        split = swap.inputs[0].op
        if split is None or split.type != "Reshape" or swap.arguments["axes"] != list(_swapped(swap.inputs[0])):
            continue
        x = split.inputs[0]
        if x.shapes != op.output.shapes or x.rank != 4 or swap.inputs[0].shape[3:] not in (x.shape[2:], _area(x)):
            continue
        group = swap.inputs[0].shape[1]
        op.type, op.inputs, op.arguments = "ChannelShuffle", [x], {"kernel": 1, "group": group}
        changed = True
    return changed


def drop_flattening(graph: Graph) -> bool:
    """FC flattens its input itself."""
    changed = False
    for op in graph.ops:
        before = op.inputs[0].op if op.type == "FC" and "axis" not in op.arguments else None
        if before is None or before.type not in ("Flatten", "Squeeze") or op.inputs[0].rank != 2:
            continue
        if before.inputs[0].shapes is not None and _batch(before.inputs[0]) == _batch(op.inputs[0]):
            op.inputs[0] = before.inputs[0]
            changed = True
    return changed


RULES = [
    fold_padding,
    move_batch_norm_before_concat,
    fold_affine,
    fuse_swish,
    fuse_channel_shuffle,
    drop_flattening,
]


def _affine(op: Op) -> tuple[Blob | None, tuple[np.ndarray, np.ndarray] | None]:
    """(x, (scale, shift)) where op computes scale * x + shift with constants, else (None, None)."""
    if op.type not in ("SpatialBN", "Mul", "Div", "Add", "Sub"):
        return None, None
    x, *constants = op.inputs
    if op.type in ("Mul", "Add") and x.is_constant and len(constants) == 1:
        x, constants = constants[0], [x]
    if not constants or x.is_constant or not all(blob.is_constant for blob in constants):
        return None, None
    values = [blob.value.astype(np.float64) for blob in constants]
    one, zero = np.ones(()), np.zeros(())
    match op.type, values:
        case "SpatialBN", [scale, bias, mean, variance]:
            scale = (scale / np.sqrt(variance + op.arguments["epsilon"])).reshape(-1, 1, 1)
            return x, (scale, bias.reshape(-1, 1, 1) - scale * mean.reshape(-1, 1, 1))
        case "Mul", [value]:
            return x, (value, zero)
        case "Div", [value]:
            return x, (1 / value, zero)
        case "Add", [value]:
            return x, (one, value)
        case "Sub", [value]:
            return x, (one, -value)
    return None, None


def _per_channel(values: np.ndarray, rank: int, axis: int, channels: int) -> np.ndarray | None:
    """Values that broadcast over a blob of this rank, one for each channel, or None."""
    if values.ndim > rank:
        return None
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if full.size != full.shape[axis] or full.size not in (1, channels):
        return None
    return np.broadcast_to(full.ravel(), (channels,))


def _constant(value: np.ndarray) -> Blob:
    value = value.astype(np.float32)
    return Blob((value.shape, value.shape), value)


def _norm_of(layer: Op, parameters: list[Blob], norm: Op) -> Op:
    """A SpatialBN of a layer's output, as norm but with these parameters."""
    output = Blob(layer.output.shapes, name=layer.layer)
    output.op = Op("SpatialBN", [layer.output, *parameters], [output], dict(norm.arguments), layer.layer)
    return output.op


def _replace(graph: Graph, old: Blob, new: Blob) -> None:
    """Let every reader of old read new, which takes old's name."""
    new.name, new.shapes = old.name, old.shapes
    for op in graph.ops:
        op.inputs = [new if blob is old else blob for blob in op.inputs]
    graph.outputs = [new if blob is old else blob for blob in graph.outputs]


def _pads(op: Op) -> list[int]:
    every = op.arguments.get("pad", 0)
    return [op.arguments.get(side, every) for side in ("pad_t", "pad_l", "pad_b", "pad_r")]


def _with_pads(arguments: dict, sides: list[int]) -> dict:
    """The arguments with other padding in its place."""
    new = (
        {"pad": sides[0]}
        if len(set(sides)) == 1
        else dict(zip(("pad_t", "pad_l", "pad_b", "pad_r"), sides, strict=True))
    )
    result = {}
    for key, value in arguments.items():
        if key.startswith("pad"):
            result |= new
        else:
            result[key] = value
    return result


def _swapped(blob: Blob) -> list[int]:
    return [0, 2, 1, *range(3, blob.rank)]


def _area(x: Blob) -> tuple[int, ...]:
    return (x.shape[2] * x.shape[3],)


def _batch(blob: Blob) -> tuple[int, int]:
    return blob.shape[0], blob.shapes[1][0]
