"""Instructions that become one kernel together: an image's quantization, and islands of float as tables.

Between Int8Dequantize and Int8Quantize a net computes in float32. Where all operators there go element by
element from one quantized blob, the island is a function of a byte, and so a table of 256 entries that the
operators themselves fill. With two blobs (a gate, for each channel, each pixel or each element) it is a
function of two bytes, a table of 65,536. A pool reads such a table too.
"""

from typing import cast

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.kernels import steps
from caffe2_models.kernels.graph import Blob, Graph, Instruction
from caffe2_models.operators.pooling import AveragePool
from caffe2_models.tensors import Int8Tensor, Value

BYTES = np.arange(256, dtype=np.uint8)


def fuse(graph: Graph) -> None:
    """Make fewer instructions of the graph's, with the same outputs."""
    for instruction in graph.instructions:
        if instruction.node.type == "Int8Quantize" and instruction.kernel is not None:
            _ = fuse_image(instruction) or fuse_quantization(instruction)
    graph.drop_unneeded()
    for instruction in reversed(graph.instructions):
        if instruction.kernel is None and instruction.node.type == "AveragePool":
            fuse_pool(instruction)
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
    if len(sources) == 1 and sources[0].type.shape == y.type.shape:
        table = tabulate(y, {sources[0]: BYTES})
        kernel = None if table is None else steps.look_up(y.type.size, table)
    elif len(sources) == 2:
        x, gate = sources = sorted(sources, key=lambda source: -source.type.size)
        table = tabulate(y, {x: np.tile(BYTES, 256), gate: np.repeat(BYTES, 256)})
        kernel = None if table is None else steps.look_up_pairs(y.type, x.type, gate.type, table)
    else:
        kernel = None
    if kernel is not None:
        quantize.replace(sources, kernel)
    return kernel is not None


def fuse_function(instruction: Instruction) -> None:
    """A float32 function of one byte, for readers that need it in float32."""
    (y, *_), sources = instruction.outputs, byte_sources(instruction.outputs[0])
    if (table := float_table(y, sources)) is not None:
        instruction.replace(sources, steps.look_up_floats(y.type.size, table))


def fuse_pool(instruction: Instruction) -> None:
    """A mean over windows of a float32 function of one byte.

    numpy sums a single channel in another order than the kernel.
    """
    x, pool = instruction.inputs[0], cast(AveragePool, instruction.node.operator)
    if pool.order != "NHWC" or len(x.type.shape) != 4 or x.type.shape[3] == 1:
        return
    sources = byte_sources(x)
    if (table := float_table(x, sources)) is not None:
        fit = pool.window.fit(*x.type.shape[1:3])
        instruction.replace(sources, steps.average_floats(x.type, fit, pool.count_include_pad, table))


def float_table(y: Blob, sources: list[Blob]) -> np.ndarray | None:
    """The float32 values of y for each byte of its one source, in its own shape."""
    if len(sources) != 1 or sources[0].type.shape != y.type.shape or y.type.dtype != np.float32:
        return None
    return tabulate(y, {sources[0]: BYTES})


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


def tabulate(y: Blob, sources: dict[Blob, np.ndarray]) -> np.ndarray | None:
    """y's elements [n] for these bytes [n] of each of its sources, by the operators' own computation.

    None where an operator that takes y's shape does not take a table's.
    """
    along = (*[1] * (len(y.type.shape) - 1), -1)
    known: dict[Blob, Value] = {blob: blob.type.tensor(data.reshape(along)) for blob, data in sources.items()}

    def value(blob: Blob) -> Value:
        if blob.constant is not None:
            return blob.constant
        if blob not in known:
            assert blob.writer is not None  # a source, or a constant, would be known
            computed = blob.writer.node.compute([value(i) for i in blob.writer.inputs])[0]
            assert computed is not None
            known[blob] = computed
        return known[blob]

    try:
        return content(value(y)).ravel()
    except ModelError:
        return None
