"""Runtimes that compile: a net in stages, each compiled for the exact types of what it reads.

A stage is as many operators in a row as the runtime can compile together. Between two stages may stand one that it
cannot compile: its outputs' sizes only a run tells, it runs nets of its own, or the runtime has no word for it. That
one is computed as `reference` does, and the nets of an `If` are run in stages again. Most nets are one stage.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from caffe2_models.net import Net, Part, peak_bytes
from caffe2_models.operators.node import Node, Step, defined, read_by, update, walk
from caffe2_models.runtimes.session import Bound, Session, input_types, type_key
from caffe2_models.tensors import Value, check_live


class Compiled(Protocol):
    """A stage ready to run: the blobs that it reads to those that it is asked for."""

    def run(self, feeds: dict[str, Value]) -> dict[str, Value]: ...


@dataclass(frozen=True)
class Stage:
    """Operators up to `stop` (not included); `compiled` is None where nothing is asked of them.

    then_alone: whether the operator at `stop` is one that cannot be compiled.
    """

    stop: int
    then_alone: bool
    reads: list[str]
    compiled: Compiled | None


class StagedSession(Session):
    """Subclasses say what they can compile, and compile it."""

    max_stages: int  # remembered, for blobs of different types

    def __init__(self, net: Net, threads: int | None = None):
        super().__init__(net, threads)
        self._stages: dict[tuple, Stage] = {}
        self._reads: dict[tuple[int, int], frozenset[str]] = {}  # by operators, which live as long as the net does

    def can_compile(self, step: Step) -> bool:
        """Of an operator whose inputs and outputs have exact sizes."""
        raise NotImplementedError

    def compile(self, part: Part, feeds: dict[str, Value], outputs: list[str]) -> Compiled:
        """A stage for feeds of these types."""
        raise NotImplementedError

    def find_apart(self, steps: list[Step], feeds: dict[str, Value], needed: Callable[[int], Set[str]]) -> range | None:
        """The first of these operators, which can be compiled, in a row that are better compiled apart; None: none are.

        needed(i): the blobs that what follows the first i of them reads, or that are asked for.
        """
        return None

    def compile_apart(self, part: Part, feeds: dict[str, Value], outputs: list[str]) -> Compiled:
        """A stage of what `find_apart` found, for feeds of these types."""
        raise NotImplementedError

    def _run(self, feeds, outputs):
        blobs = dict(feeds)
        self._run_nodes(self.net.operators, blobs, frozenset(outputs))
        return {name: self._value(name, blobs) for name in outputs}

    def bind(self, feeds, outputs):
        """Of a net that is one stage, the stage."""
        nodes, blobs, kept = self.net.operators, dict(feeds), frozenset(outputs)
        stage = self._stage(nodes, 0, blobs, kept)
        is_whole = stage.stop == len(nodes) and kept <= {name for node in nodes for name in node.outputs}
        if stage.compiled is None or not is_whole or len(stage.reads) < len(feeds):
            return super().bind(feeds, outputs)
        return self._bind_stage(stage.compiled)

    def _bind_stage(self, compiled: Compiled) -> Bound:
        return compiled.run

    def _value(self, name: str, blobs: dict[str, Value]) -> Value:
        return blobs[name] if name in blobs else defined(self.net.parameters, name)

    def _run_nodes(self, nodes: Sequence[Node], blobs: dict[str, Value], kept: frozenset[str]) -> None:
        """Run operators among blobs, which grow by what they write and lose what neither they nor `kept` need."""
        position = 0
        while True:
            stage = self._stage(nodes, position, blobs, kept)
            if stage.compiled is not None:
                blobs.update(stage.compiled.run({name: blobs[name] for name in stage.reads}))
            if stage.stop == len(nodes):
                return
            position = stage.stop + stage.then_alone
            needed = kept | self._read_from(nodes, position)
            if stage.then_alone:
                self._run_alone(nodes[stage.stop], blobs, needed)
            for name in [name for name in blobs if name not in needed]:
                del blobs[name]
            if position == len(nodes):
                return

    def _run_alone(self, node: Node, blobs: dict[str, Value], kept: frozenset[str]) -> None:
        with node.context():
            values = [self._value(name, blobs) for name in node.inputs]
        if node.operator.shares_workspace:
            if node.operator.loops:  # the next round reads what this one leaves
                kept = kept.union(*(body.reads for body in node.bodies.values()), node.inputs[:1])
            with node.context():
                for body in node.operator.sequence(lambda: self._value(node.inputs[0], blobs)):
                    self._run_nodes(body.nodes, blobs, kept)
            return
        written = node.check(values)
        check_live(sum(value.nbytes for value in blobs.values()) + sum(t.nbytes for t in written))
        update(blobs, node.outputs, node.compute(values))

    def _stage(self, nodes: Sequence[Node], start: int, blobs: dict[str, Value], kept: frozenset[str]) -> Stage:
        reads = self._read_from(nodes, start)
        feeds = {name: value for name, value in blobs.items() if name in reads}
        key = (id(nodes), start, type_key(feeds), kept)
        if key not in self._stages:
            if len(self._stages) == self.max_stages:
                self._stages.pop(next(iter(self._stages)))
            self._stages[key] = self._make_stage(nodes, start, feeds, kept)
        return self._stages[key]

    def _read_from(self, nodes: Sequence[Node], start: int) -> frozenset[str]:
        """The blobs that operators read, from this one on."""
        if (id(nodes), start) not in self._reads:
            self._reads[id(nodes), start] = read_by(nodes[start:])
        return self._reads[id(nodes), start]

    def _make_stage(self, nodes: Sequence[Node], start: int, feeds: dict[str, Value], kept: frozenset[str]) -> Stage:
        types = {**self.net.parameter_types, **input_types(feeds)}
        steps: list[Step] = []
        for step in walk(nodes[start:], types):
            if not step.is_exact or not self.can_compile(step):
                break
            steps.append(step)
        apart = self.find_apart(steps, feeds, lambda count: kept | read_by(nodes[start + count :]))
        is_apart = apart is not None and apart.start == 0
        count = len(steps) if apart is None else apart.stop if is_apart else apart.start
        stop, then_alone = start + count, count == len(steps) and start + count < len(nodes)
        del steps[count:]
        part = Part(self.net, nodes[start:stop])
        wanted = kept | read_by(nodes[stop:])
        outputs = [name for name in part.writes if name in wanted]
        reads = [name for name in part.reads if name in feeds]
        check_live(peak_bytes(steps, outputs, with_workspace=True))
        read = {name: feeds[name] for name in reads}
        compiler = self.compile_apart if is_apart else self.compile
        return Stage(stop, then_alone, reads, compiler(part, read, outputs) if outputs else None)
