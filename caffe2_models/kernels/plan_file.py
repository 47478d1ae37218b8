"""A plan in a file, for programs that run a net without Python (caffe2_plan.h); plan_file.h tells the format.

What the exact runtime tells its program to do is written down instead: buffers, then steps with their operands. The
file knows nothing of the machine that wrote it.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.kernels.fusion import fuse
from caffe2_models.kernels.graph import Graph
from caffe2_models.kernels.plan import Plan
from caffe2_models.net import Net
from caffe2_models.tensors import TensorType

MAGIC = b"CAFFE2PLAN 1\n\0\0\0"

# Of each method of a program: its operands, by the letters of plan_file.h.
OPERANDS = {
    "convolution": "iiiwiiudiir",
    "add": "iiiiiiiiiii",
    "average": "iiwiiiiii",
    "maximum": "iiwii",
    "quantize": "iiifi",
    "quantize_planes": "iiiiifi",
    "dequantize": "iiifi",
    "look_up": "iiiu",
    "look_up_floats": "iiis",
    "look_up_pairs": "iiiqu",
    "average_floats": "iiwiis",
    "softmax": "iiiiq",
    "gather": "iiid",
    "copy": "iiiiiiii",
}
ARRAYS = {"u": "<u1", "d": "<i4", "q": "<i8", "s": "<f4"}


def compile_net(net: Net, types: dict[str, TensorType], outputs: list[str], pixels: np.ndarray | None = None) -> bytes:
    """A plan file's content: the net for feeds of these types.

    pixels: what images' pixels become by the net's recorded preprocessing, float32 [channels, 256]; kept with inputs of
    as many channels. Raises ModelError where an operator has no kernel, or an output is no kernel's.
    """
    graph = Graph(net, types, outputs)
    fuse(graph)
    plan = Plan(graph, Recorder)
    if uncovered := [part.node for part in plan.segments if not isinstance(part, range)]:
        names = ", ".join(f"{node.type} -> {node.outputs[0]}" for node in uncovered[:5])
        raise ModelError(
            f"no plan without Python: {len(uncovered)} operators have no kernel ({names}); ask for outputs before them"
        )
    written = {blob for instruction in graph.instructions for blob in instruction.outputs}
    for name, blob in graph.outputs.items():
        if blob not in written or blob.type.dtype not in (np.float32, np.uint8):
            raise ModelError(f"no plan: the output {name} is no kernel's")
    read = {blob for instruction in graph.instructions for blob in instruction.reads}
    inputs = [
        tensor(name, plan.operand(blob), blob.type, pixels if takes_pixels(blob.type, pixels) else None)
        for name, blob in graph.feeds.items()
        if blob in read
    ]
    results = [tensor(name, plan.operand(blob), blob.type) for name, blob in graph.outputs.items()]
    return file_content(plan.program, inputs, results)


def takes_pixels(known: TensorType, pixels: np.ndarray | None) -> bool:
    return pixels is not None and known.dtype == np.float32 and len(known.shape) == 4 and known.shape[1] == len(pixels)


@dataclass
class Recorder:
    """A program that computes nothing, and remembers what it was told."""

    arena_bytes: int
    buffers: list[tuple[int, int]] = field(default_factory=list)  # (offset, or -1 for the caller's memory; bytes)
    steps: list[bytes] = field(default_factory=list)

    def buffer(self, offset: int, nbytes: int) -> int:
        self.buffers.append((offset, nbytes))
        return len(self.buffers) - 1

    def external(self, nbytes: int) -> int:
        return self.buffer(-1, nbytes)

    def array(self, buffer: int) -> np.ndarray:
        return np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self.steps)

    def __getattr__(self, method: str):
        if method not in OPERANDS:
            raise AttributeError(method)

        def record(*operands) -> None:
            encoded = [encode(*pair) for pair in zip(OPERANDS[method], operands, strict=True)]
            self.steps.append(b"".join([string(method), *encoded]))

        return record


def encode(letter: str, operand) -> bytes:
    """One operand of a step."""
    if letter == "i":
        return integers(operand)
    if letter == "f":
        return real(operand)
    if letter == "w":
        return integers(*operand.parameters)
    if letter == "r":
        scale, zero_point, lowest = operand.parameters
        return real(scale) + integers(zero_point, lowest)
    return array(operand, ARRAYS[letter])


def tensor(name: str, number: int, known: TensorType, pixels: np.ndarray | None = None) -> bytes:
    """An input or an output in a buffer of that number; pixels: its recorded preprocessing, float32 [channels, 256]."""
    is_float = known.dtype == np.float32
    return b"".join(
        [
            string(name),
            integers(number, is_float),
            array(known.shape, "<i8"),
            real(known.scale if known.is_quantized else 0),
            integers(known.zero_point if known.is_quantized else 0),
            array([] if pixels is None else pixels, "<f4"),
        ]
    )


def file_content(program: Recorder, inputs: list[bytes], outputs: list[bytes]) -> bytes:
    """The whole file; inputs and outputs as `tensor` writes them."""
    return b"".join(
        [
            MAGIC,
            integers(program.arena_bytes, len(program.buffers)),
            *(integers(*buffer) for buffer in program.buffers),
            *(integers(len(inputs)), *inputs, integers(len(outputs)), *outputs),
            *(integers(len(program.steps)), *program.steps),
        ]
    )


def integers(*values) -> bytes:
    return struct.pack(f"<{len(values)}q", *map(int, values))


def real(value) -> bytes:
    return struct.pack("<f", value)


def array(values, dtype: str) -> bytes:
    content = np.asarray(values).astype(dtype)
    return integers(content.size) + content.tobytes()


def string(text: str) -> bytes:
    return array(np.frombuffer(text.encode(), np.uint8), "<u1")
