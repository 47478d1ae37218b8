"""Instructions that become one kernel together: an image's quantization, and islands of float as tables.

Between Int8Dequantize and Int8Quantize a net computes in float32. Where all operators there go element by
element from one quantized blob, the island is a function of a byte, and so a table of 256 entries that the
operators themselves fill. With a gate (squeeze-and-excite: one value for each image and channel) it is a
function of two bytes, a table of 65,536.
"""

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.kernels import steps
from caffe2_models.kernels.graph import Blob, Graph, Instruction
from caffe2_models.tensors import Int8Tensor, Value

BYTES = np.arange(256, dtype=np.uint8)


def fuse(graph: Graph) -> None:
    """Make fewer instructions of the graph's, with the same outputs."""
    for instruction in graph.instructions:
        if instruction.node.type == "Int8Quantize" and instruction.kernel is not None:
            _ = fuse_image(instruction) or fuse_quantization(instruction)
    graph.drop_unneeded()
    for instruction in reversed(graph.instructions):
        if instruction.kernel is None and instruction.node.operator.elementwise:
            fuse_function(instruction)
    graph.drop_unneeded()


def fuse_image(quantize: Instruction) -> bool:
    """NCHW2NHWC, then Int8Quantize: both in one pass over the image."""
    turn = quantize.inputs[0].writer
    if turn is None or turn.node.type != "NCHW2NHWC" or turn.inputs[0].constant is not None:
        return False
    (image,) = turn.inputs
    quantize.replace([image], steps.quantize_planes(image.type, quantize.outputs[0].type))
    return True


def fuse_quantization(quantize: Instruction) -> bool:
    """Int8Quantize of a function of bytes: from the bytes themselves."""
    (y,) = quantize.outputs
    sources = byte_sources(quantize.inputs[0])
    try:
        if len(sources) == 1 and sources[0].type.shape == y.type.shape:
            table = tabulate(y, {sources[0]: along_last_axis(y)})
            quantize.replace(sources, steps.look_up(y.type.size, content(table).reshape(256)))
            return True
        if len(sources) == 2 and (pair := image_and_gate(sources, y)):
            x, gate = pair
            grid = np.broadcast_to(BYTES.reshape(1, 256, *[1] * (len(y.type.shape) - 2)), pairs_shape(y))
            table = tabulate(y, {x: np.ascontiguousarray(grid), gate: along_last_axis(y)})
            by_gate = np.ascontiguousarray(content(table).reshape(256, 256).T)
            quantize.replace([x, gate], steps.look_up_gated(y.type.shape, by_gate))
            return True
    except ModelError:  # an operator that takes these shapes but not a table's
        pass
    return False


def fuse_function(instruction: Instruction) -> None:
    """A float32 function of one byte, for readers that need it in float32."""
    y = instruction.outputs[0]
    sources = byte_sources(y)
    if len(sources) == 1 and sources[0].type.shape == y.type.shape and y.type.dtype == np.float32:
        try:
            table = tabulate(y, {sources[0]: along_last_axis(y)})
        except ModelError:
            return
        instruction.replace(sources, steps.look_up_floats(y.type.size, content(table).reshape(256)))


def content(value: Value) -> np.ndarray:
    """The array of a value, bytes where it is quantized."""
    return value.data if isinstance(value, Int8Tensor) else value


def byte_sources(blob: Blob) -> list[Blob]:
    """The quantized blobs that alone decide a float blob, element by element; none where there are others."""
    sources: dict[Blob, None] = {}
    pending, seen = [blob], set()
    while pending:
        current = pending.pop()
        if current in seen or (current.constant is not None and current.type.size == 1):
            continue
        seen.add(current)
        writer = current.writer
        if writer is None or current.constant is not None:
            return []
        if writer.node.type == "Int8Dequantize" and writer.inputs[0].constant is None:
            sources[writer.inputs[0]] = None
        elif writer.node.operator.elementwise:
            pending.extend(writer.inputs)
        else:
            return []
    return list(sources)


def image_and_gate(sources: list[Blob], y: Blob) -> tuple[Blob, Blob] | None:
    """(the source in the shape of y, the one with a value for each image and channel), where they are so."""
    shape = y.type.shape
    gate_shape = (shape[0], *[1] * (len(shape) - 2), shape[-1])
    if len(shape) < 3 or gate_shape == shape:
        return None
    for x, gate in (sources, sources[::-1]):
        if x.type.shape == shape and gate.type.shape == gate_shape:
            return x, gate
    return None


def along_last_axis(y: Blob) -> np.ndarray:
    """Every byte once, in a shape of as many dimensions as y has."""
    return BYTES.reshape(*[1] * (len(y.type.shape) - 1), 256)


def pairs_shape(y: Blob) -> tuple[int, ...]:
    return (1, 256, *[1] * (len(y.type.shape) - 3), 256)


def tabulate(y: Blob, sources: dict[Blob, np.ndarray]) -> Value:
    """y for these bytes of its sources, by the operators' own computation."""
    known: dict[Blob, Value] = {blob: blob.type.tensor(data) for blob, data in sources.items()}

    def value(blob: Blob) -> Value:
        if blob.constant is not None:
            return blob.constant
        if blob not in known:
            assert blob.writer is not None  # a source, or a constant, would be known
            computed = blob.writer.node.compute([value(i) for i in blob.writer.inputs])[0]
            assert computed is not None
            known[blob] = computed
        return known[blob]

    return value(y)
