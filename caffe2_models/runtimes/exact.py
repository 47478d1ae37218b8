"""The exact runtime: the same bytes as `reference`, through fused kernels in C++.

For each set of feeds' types the net becomes a plan: its operators as calls of kernels over shared memory, those that no
kernel covers as calls of their own `compute`, in between.
"""

import os
import threading
from dataclasses import dataclass, field

import numpy as np

from caffe2_models import kernels
from caffe2_models.errors import ModelError
from caffe2_models.kernels import steps
from caffe2_models.net import Net, Node, Step
from caffe2_models.runtimes.session import Session, input_types, type_key
from caffe2_models.tensors import Int8Tensor, TensorType, Value

MAX_PLANS = 8  # of a session, for feeds of different types
ALIGNMENT = 64


class ExactSession(Session):
    """Raises ModelError where the kernels were not built."""

    backend = "exact"

    def __init__(self, net: Net, threads: int | None = None):
        super().__init__(net, threads)
        if not kernels.is_available():
            raise ModelError(
                "the exact runtime needs the package's C++ extension, which was not built or is switched off; "
                "install with a C++20 compiler at hand, or use --backend reference"
            )
        self.instruction_set = kernels.chosen_instruction_set()
        self._pool = kernels.ThreadPool(threads or len(os.sched_getaffinity(0)))
        self._plans: dict[tuple, Plan] = {}
        self._lock = threading.Lock()

    def _run(self, feeds, outputs):
        key = (type_key(feeds), tuple(outputs))
        with self._lock:
            if key not in self._plans:
                if len(self._plans) == MAX_PLANS:
                    self._plans.pop(next(iter(self._plans)))
                self._plans[key] = Plan(
                    self.net, input_types(feeds), outputs, self.instruction_set, self._pool
                )
            return self._plans[key].run(feeds)


@dataclass(eq=False)
class Buffer:
    """Bytes in the arena, from the instruction that writes them to the last that reads them."""

    nbytes: int
    first: int
    last: int
    offset: int = 0
    number: int = -1  # in the program


@dataclass(eq=False)
class Blob:
    """One value of a blob: a name that is written twice makes two. Constants are known; buffer is for kernels' use."""

    name: str
    type: TensorType
    constant: Value | None = None
    buffer: Buffer | None = None
    readers: list["Instruction"] = field(default_factory=list)
    writer: "Instruction | None" = None
    external: int = -1  # a number in the program, for float32 arrays that kernels read where they are


@dataclass(eq=False)
class Instruction:
    """One operator in its place; kernel is None where its own `compute` runs."""

    node: Node
    inputs: list[Blob]
    outputs: list[Blob]
    kernel: steps.Kernel | None
    workspace: Buffer | None = None

    @property
    def reads(self) -> list[Blob]:
        """The inputs that its kernel reads from buffers."""
        return [self.inputs[i] for i in self.kernel.reads]


class Plan:
    """A net compiled for feeds of given types and the outputs asked for."""

    def __init__(
        self, net: Net, types: dict[str, TensorType], outputs: list[str], instruction_set: str, pool
    ):
        self.feeds, instructions, last = trace(net, types)
        self.outputs = {name: last[name] for name in outputs}
        instructions = fuse_input(needed(instructions, self.outputs.values()), self.outputs.values())
        self.instructions = instructions
        arena_bytes = place(instructions, self.feeds.values(), self.outputs.values())
        self.program = kernels.Program(instruction_set, pool, arena_bytes)
        self.segments = self._compile()

    def run(self, feeds: dict[str, Value]) -> dict[str, Value]:
        """The outputs, as arrays of their own."""
        values: dict[Blob, Value] = {}
        for name, blob in self.feeds.items():
            self._set(values, blob, feeds[name])
        for segment in self.segments:
            if isinstance(segment, range):
                self.program.run(segment.start, segment.stop)
                continue
            results = segment.node.compute([self._get(values, blob) for blob in segment.inputs])
            for blob, value in zip(segment.outputs, results, strict=True):
                self._set(values, blob, value)
        return {name: self._get(values, blob) for name, blob in self.outputs.items()}

    def _get(self, values: dict[Blob, Value], blob: Blob) -> Value:
        if blob.constant is not None:
            return blob.constant
        if blob in values:
            return values[blob]
        data = self.program.array(blob.buffer.number)[: blob.type.nbytes].copy()
        return as_value(data.view(blob.type.dtype).reshape(blob.type.shape), blob.type)

    def _set(self, values: dict[Blob, Value], blob: Blob, value: Value) -> None:
        values[blob] = value
        if blob.external >= 0:
            values[blob] = np.ascontiguousarray(value)
            self.program.bind(blob.external, values[blob])
        elif blob.buffer is not None:
            data = value.data if isinstance(value, Int8Tensor) else value
            self.program.array(blob.buffer.number)[: data.nbytes] = (
                np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            )

    def _compile(self) -> list["range | Instruction"]:
        """Emit all kernels' steps; the parts of a run: ranges of steps, and instructions without kernels."""
        buffers: dict[Buffer, int] = {}

        def number(blob: Blob) -> int:
            if blob.external >= 0:
                return blob.external
            return place_in_program(blob.buffer)

        def place_in_program(buffer: Buffer) -> int:
            if buffer not in buffers:
                buffers[buffer] = buffer.number = self.program.buffer(buffer.offset, buffer.nbytes)
            return buffers[buffer]

        segments: list[range | Instruction] = []
        kept = {*self.feeds.values(), *(blob for i in self.instructions for blob in i.outputs)}
        for blob in kept:
            if blob.buffer is not None:
                place_in_program(blob.buffer)
            elif any(reader.kernel is not None and blob in reader.reads for reader in blob.readers):
                blob.external = self.program.external(blob.type.nbytes)
        for instruction in self.instructions:
            kernel = instruction.kernel
            if kernel is None:
                segments.append(instruction)
                continue
            start = len(self.program)
            if kernel.emit is not None:
                workspace = place_in_program(instruction.workspace) if instruction.workspace else -1
                reads = [number(blob) for blob in instruction.reads]
                kernel.emit(self.program, reads, [number(blob) for blob in instruction.outputs], workspace)
            if segments and isinstance(segments[-1], range):
                segments[-1] = range(segments[-1].start, len(self.program))
            else:
                segments.append(range(start, len(self.program)))
        return segments


def as_value(data: np.ndarray, type: TensorType) -> Value:
    return Int8Tensor(data, type.scale, type.zero_point) if type.is_quantized else data


def trace(
    net: Net, types: dict[str, TensorType]
) -> tuple[dict[str, Blob], list[Instruction], dict[str, Blob]]:
    """(blobs of the feeds, all instructions in order, each name's last blob)."""
    feeds = {name: Blob(name, given) for name, given in types.items()}
    current = {
        name: Blob(name, TensorType.of(value), constant=value) for name, value in net.parameters.items()
    }
    current.update(feeds)
    instructions = []
    for step in net.walk(types):
        inputs = [current[name] for name in step.operator.inputs]
        outputs = [Blob(name, t) for name, t in zip(step.operator.outputs, step.outputs, strict=True)]
        instruction = Instruction(step.operator, inputs, outputs, find_kernel(step, inputs))
        for blob in inputs:
            blob.readers.append(instruction)
        for blob in outputs:
            blob.writer = instruction
        current.update(zip(step.operator.outputs, outputs, strict=True))
        instructions.append(instruction)
    return feeds, instructions, current


def find_kernel(step: Step, inputs: list[Blob]):
    """The kernel for an operator, or None; a kernel reads only blobs that a run computes."""
    kernel = steps.find_kernel(step, [blob.constant for blob in inputs])
    if kernel is not None and any(inputs[i].constant is not None for i in kernel.reads):
        return None
    return kernel


def needed(instructions: list[Instruction], outputs) -> list[Instruction]:
    """Those that the outputs depend on."""
    wanted, kept = set(outputs), []
    for instruction in reversed(instructions):
        if wanted.intersection(instruction.outputs):
            kept.append(instruction)
            wanted.update(instruction.inputs)
        else:
            for blob in instruction.inputs:
                blob.readers.remove(instruction)
    return kept[::-1]


def fuse_input(instructions: list[Instruction], outputs) -> list[Instruction]:
    """NCHW2NHWC whose one reader is Int8Quantize: both in one pass over the image."""
    dropped = set()
    for instruction in instructions:
        if instruction.node.type != "Int8Quantize" or instruction.kernel is None:
            continue
        (nhwc,) = instruction.inputs
        turn = nhwc.writer
        if turn is None or turn.node.type != "NCHW2NHWC" or nhwc.readers != [instruction] or nhwc in outputs:
            continue
        (image,) = turn.inputs
        if image.constant is not None:
            continue
        instruction.inputs = [image]
        instruction.kernel = steps.quantize_planes(image.type, instruction.outputs[0].type)
        image.readers = [instruction if reader is turn else reader for reader in image.readers]
        dropped.add(turn)
    return [instruction for instruction in instructions if instruction not in dropped]


def place(instructions: list[Instruction], feeds, outputs) -> int:
    """Give every blob that kernels touch a place in the arena; those not alive together share. Returns its size.

    float32 blobs that no kernel writes get none: kernels read them where they are.
    """
    buffers: list[Buffer] = []
    end = len(instructions)
    outputs = set(outputs)
    order = {instruction: i for i, instruction in enumerate(instructions)}

    def last_use(blob: Blob) -> int:
        return (
            end
            if blob in outputs
            else max((order[reader] for reader in blob.readers), default=order.get(blob.writer, -1))
        )

    def give(blob: Blob, first: int) -> None:
        blob.buffer = Buffer(blob.type.nbytes, first, last_use(blob))
        buffers.append(blob.buffer)

    for blob in feeds:
        if blob.type.dtype != np.float32 and read_by_kernels(blob):
            give(blob, -1)
    for i, instruction in enumerate(instructions):
        kernel = instruction.kernel
        if kernel is None:
            for blob in instruction.outputs:
                if blob.type.dtype != np.float32 and read_by_kernels(blob):
                    give(blob, i)
            continue
        for blob in instruction.outputs:
            shared = sharable(instruction, i)
            if shared is None:
                give(blob, i)
            else:
                blob.buffer = shared
                shared.last = max(shared.last, last_use(blob))
        if kernel.workspace_bytes:
            instruction.workspace = Buffer(kernel.workspace_bytes, i, i)
            buffers.append(instruction.workspace)
    return assign_offsets(buffers)


def read_by_kernels(blob: Blob) -> bool:
    return any(reader.kernel is not None and blob in reader.reads for reader in blob.readers)


def sharable(instruction: Instruction, index: int) -> Buffer | None:
    """An input's buffer that the output may take over: its own bytes, or bytes that nobody reads later."""
    kernel = instruction.kernel
    for blob in instruction.reads:
        if kernel.moves_nothing or (
            kernel.in_place and blob.buffer is not None and blob.buffer.last == index
        ):
            return blob.buffer
    return None


def assign_offsets(buffers: list[Buffer]) -> int:
    """Offsets such that buffers alive at the same time do not overlap; the largest first, each as low as it goes."""
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.nbytes):
        offset = 0
        for other in sorted(placed, key=lambda other: other.offset):
            if (
                other.first <= buffer.last
                and buffer.first <= other.last
                and offset + buffer.nbytes > other.offset
            ):
                offset = max(offset, aligned(other.offset + other.nbytes))
        buffer.offset = offset
        placed.append(buffer)
    return max((buffer.offset + buffer.nbytes for buffer in buffers), default=0)


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
