"""A graph compiled for the kernels: a program over one arena of memory, and the places of blobs in it."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from caffe2_models import kernels
from caffe2_models.kernels.graph import Blob, Buffer, Graph, Instruction
from caffe2_models.tensors import Int8Tensor, Value

ALIGNMENT = 64  # of buffers, bytes: a cache line


class Plan:
    """A graph compiled: a program over an arena, in segments between operators that kernels do not cover.

    make_program: the program for an arena of so many bytes.
    """

    def __init__(self, graph: Graph, make_program: Callable[[int], Any]):
        self.graph = graph
        arena_bytes = place(graph)
        self.program = make_program(arena_bytes)
        self._arena = self.program.array(self.program.buffer(0, arena_bytes))
        self._numbers: dict[Blob | Buffer, int] = {}  # of the program's buffers
        self._external: set[Blob] = set()
        self.segments = self._compile()
        self._dead_after = dead_after(graph)

    def run(self, feeds: dict[str, Value]) -> dict[str, Value]:
        """The outputs, in memory of their own."""
        values: dict[Blob, Value] = {}
        for name, blob in self.graph.feeds.items():
            self._set(values, blob, feeds[name])
        for segment in self.segments:
            if isinstance(segment, range):
                self.program.run(segment.start, segment.stop)
                continue
            results = segment.node.compute([self._get(values, blob) for blob in segment.inputs])
            for blob, value in zip(segment.outputs, results, strict=True):
                assert value is not None  # only operators that hold nets leave an output unwritten
                self._set(values, blob, self._own(value))
            for blob in self._dead_after[segment]:
                values.pop(blob, None)
        return {name: self._own(self._get(values, blob)) for name, blob in self.graph.outputs.items()}

    def _get(self, values: dict[Blob, Value], blob: Blob) -> Value:
        """A blob's value; where a kernel wrote it, a view of the arena."""
        if blob.constant is not None:
            return blob.constant
        if blob in values:
            return values[blob]
        data = self._bytes(blob)[: blob.type.nbytes]
        return blob.type.tensor(data.view(blob.type.dtype).reshape(blob.type.shape))

    def _own(self, value: Value) -> Value:
        """The value, copied where it is a view of the arena: kernels will write there again."""
        data = value.data if isinstance(value, Int8Tensor) else value
        if not np.may_share_memory(data, self._arena):
            return value
        return dataclasses.replace(value, data=data.copy()) if isinstance(value, Int8Tensor) else data.copy()

    def _set(self, values: dict[Blob, Value], blob: Blob, value: Value) -> None:
        values[blob] = value
        if blob in self._external:
            values[blob] = np.require(value, np.float32, ["C", "A"])
            self.program.bind(self._numbers[blob], values[blob])
        elif blob.buffer is not None:
            data = np.ascontiguousarray(value.data if isinstance(value, Int8Tensor) else value)
            self._bytes(blob)[: data.nbytes] = data.reshape(-1).view(np.uint8)

    def _bytes(self, blob: Blob) -> np.ndarray:
        assert blob.buffer is not None
        return self.program.array(self._number(blob.buffer))

    def _compile(self) -> list[range | Instruction]:
        segments: list[range | Instruction] = []
        for instruction in self.graph.instructions:
            kernel = instruction.kernel
            if kernel is None:
                segments.append(instruction)
                continue
            start = len(self.program)
            if kernel.emit is not None:
                reads = [self.operand(blob) for blob in instruction.reads]
                workspaces = [self._number(buffer) for buffer in instruction.workspaces]
                kernel.emit(self.program, reads, [self.operand(instruction.outputs[0])], workspaces)
            if segments and isinstance(last := segments[-1], range):
                start = last.start
                segments.pop()
            segments.append(range(start, len(self.program)))
        return segments

    def operand(self, blob: Blob) -> int:
        """The program's number of a kernel's operand: a buffer, or the caller's own array."""
        if blob.buffer is not None:
            return self._number(blob.buffer)
        if blob not in self._numbers:
            self._external.add(blob)
            self._numbers[blob] = self.program.external(blob.type.nbytes)
        return self._numbers[blob]

    def _number(self, buffer: Buffer) -> int:
        if buffer not in self._numbers:
            self._numbers[buffer] = self.program.buffer(buffer.offset, buffer.nbytes)
        return self._numbers[buffer]


def dead_after(graph: Graph) -> dict[Instruction, list[Blob]]:
    """What nothing reads after each instruction, of what it reads itself."""
    position = {instruction: i for i, instruction in enumerate(graph.instructions)}
    kept = set(graph.outputs.values())
    return {
        instruction: [
            blob
            for blob in instruction.inputs
            if blob not in kept and all(position[reader] <= i for reader in blob.readers)
        ]
        for instruction, i in position.items()
    }


def place(graph: Graph) -> int:
    """Give every blob that kernels touch a place in one arena, shared with those not alive; the arena's size.

    float32 feeds get none: kernels read them where they are.
    """
    position = {instruction: i for i, instruction in enumerate(graph.instructions)}
    kept = set(graph.outputs.values())
    buffers: list[Buffer] = []

    def last_use(blob: Blob, written: int) -> int:
        return len(position) if blob in kept else max([written, *(position[r] for r in blob.readers)])

    def give(blob: Blob, written: int) -> None:
        blob.buffer = Buffer(blob.type.nbytes, written, last_use(blob, written))
        buffers.append(blob.buffer)

    def give_if_copied(blobs: Iterable[Blob], written: int) -> None:
        for blob in blobs:
            if blob.is_read_by_kernels:
                give(blob, written)

    give_if_copied((blob for blob in graph.feeds.values() if blob.type.dtype != np.float32), -1)
    for i, instruction in enumerate(graph.instructions):
        if instruction.kernel is None:
            give_if_copied(instruction.outputs, i)
            continue
        output = instruction.outputs[0]
        output.buffer = buffer_to_take_over(instruction, i)
        if output.buffer is None:
            give(output, i)
        else:
            output.buffer.last = max(output.buffer.last, last_use(output, i))
        instruction.workspaces = [Buffer(nbytes, i, i) for nbytes in instruction.kernel.workspaces]
        buffers += instruction.workspaces
    return assign_offsets(buffers)


def buffer_to_take_over(instruction: Instruction, position: int) -> Buffer | None:
    """An input's buffer that can be the output's: it holds the same bytes, or none that is read later."""
    kernel = instruction.kernel
    assert kernel is not None
    for blob in instruction.reads:
        same_bytes = kernel.emit is None
        if same_bytes or (kernel.in_place and blob.buffer and blob.buffer.last == position):
            return blob.buffer
    return None


def assign_offsets(buffers: list[Buffer]) -> int:
    """Offsets at which no two buffers that are alive together overlap; returns the bytes that all take.

    The largest first, each as low as it goes. Between them lie the bytes that kernels read past a buffer.
    """
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.nbytes):
        for other in placed:
            alive_together = other.first <= buffer.last and buffer.first <= other.last
            if alive_together and buffer.offset + buffer.nbytes + kernels.SLACK > other.offset:
                end = other.offset + other.nbytes + kernels.SLACK
                buffer.offset = max(buffer.offset, -(-end // ALIGNMENT) * ALIGNMENT)
        placed.append(buffer)
        placed.sort(key=lambda other: other.offset)
    return max((buffer.offset + buffer.nbytes for buffer in buffers), default=0)
