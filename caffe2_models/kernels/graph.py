"""A net for feeds of given types, as instructions on values: what the exact runtime compiles."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from caffe2_models.kernels import steps
from caffe2_models.net import Net, Node, Part, Step
from caffe2_models.operators.node import read_by
from caffe2_models.tensors import TensorType, Value

FindKernel = Callable[[Step, steps.Constants], Any]


@dataclass(eq=False)
class Buffer:
    """Bytes in the arena, alive from the instruction that writes them to the last that reads them."""

    nbytes: int
    first: int
    last: int
    offset: int = 0


@dataclass(eq=False)
class Blob:
    """One value of a blob: a name that is written twice makes two. `constant` is what is known beforehand."""

    type: TensorType
    constant: Value | None = None
    writer: "Instruction | None" = None
    readers: "list[Instruction]" = field(default_factory=list)
    buffer: Buffer | None = None  # where kernels write or read it

    @property
    def is_read_by_kernels(self) -> bool:
        return any(reader.kernel is not None and self in reader.reads for reader in self.readers)


@dataclass(eq=False)
class Instruction:
    """One operator in its place; its own `compute` runs where kernel is None."""

    node: Node
    inputs: list[Blob]
    outputs: list[Blob]
    kernel: Any  # steps.Kernel, or what find_kernel finds
    workspaces: list[Buffer] = field(default_factory=list)

    @property
    def reads(self) -> list[Blob]:
        """The inputs that its kernel reads from buffers."""
        return [] if self.kernel is None else [self.inputs[position] for position in self.kernel.reads]

    def replace(self, inputs: list[Blob], kernel) -> None:
        """Compute the same output from other inputs."""
        for blob in self.inputs:
            blob.readers.remove(self)
        for blob in inputs:
            blob.readers.append(self)
        self.inputs, self.kernel = inputs, kernel


class Graph:
    """feeds and outputs: name -> Blob. instructions: in order, as many as the outputs asked for need.

    find_kernel: the kernel of an operator at its moment, given those of its inputs that are constant.
    """

    def __init__(
        self,
        net: Net | Part,
        types: dict[str, TensorType],
        outputs: list[str],
        find_kernel: FindKernel = steps.find_kernel,
    ):
        self._find_kernel = find_kernel
        self.feeds = {name: Blob(given) for name, given in types.items()}
        read = read_by(net.operators).union(outputs)
        current = {name: Blob(TensorType.of(value), value) for name, value in net.parameters.items() if name in read}
        current.update(self.feeds)
        self.instructions = [self._trace(step, current) for step in net.walk(types)]
        self.outputs = {name: current[name] for name in outputs}
        self.drop_unneeded()

    def _trace(self, step: Step, current: dict[str, Blob]) -> Instruction:
        node = step.node
        inputs = [current[name] for name in node.inputs]
        outputs = [Blob(known, known.value) for known in step.outputs]
        kernel = self._find_kernel(step, [blob.constant for blob in inputs])
        if kernel is not None:
            reads_constants = any(inputs[position].constant is not None for position in kernel.reads)
            if reads_constants or any(blob.constant is None for blob in outputs[1:]):
                kernel = None
        instruction = Instruction(node, inputs, outputs, kernel)
        for blob in inputs:
            blob.readers.append(instruction)
        for blob in outputs:
            blob.writer = instruction
        current.update(zip(node.outputs, outputs, strict=True))
        return instruction

    def drop_unneeded(self) -> None:
        """Leave out the instructions on which no output depends."""
        wanted, kept = set(self.outputs.values()), []
        for instruction in reversed(self.instructions):
            if wanted.intersection(instruction.outputs):
                kept.append(instruction)
                wanted.update(instruction.inputs)
            else:
                for blob in instruction.inputs:
                    blob.readers.remove(instruction)
        self.instructions = kept[::-1]
