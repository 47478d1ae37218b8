"""Recurrent nets: the units of LSTM and GRU, and the operator that runs a step net over a sequence."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import LaterError, ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.checks import check_rank
from caffe2_models.operators.elementwise import sigmoid
from caffe2_models.operators.node import Body
from caffe2_models.operators.recurrent_in_onnx import Held, Whole, begin_state
from caffe2_models.operators.registry import ANY, FLOAT32, INT32, InputDtypes, Operator, operator
from caffe2_models.tensors import TensorType

MAX_INT64 = np.iinfo(np.int64).max  # an end that is the last there is


@dataclass(frozen=True)
class Unit(Operator):
    """Base: one step of a batch of sequences, from [1, N, D] states and [1, N, gates * D] gates.

    A sequence that is over (its length, int32, is not above the timestep) keeps its states, or gets zeros with
    drop_states. Without sequence_lengths there are no lengths among the inputs, and none is over.
    """

    sequence_lengths: bool = True
    drop_states: bool = False

    dtypes: ClassVar[InputDtypes] = (FLOAT32, FLOAT32, INT32)  # the states, the gates, numbers
    states = 1
    gates = 3

    @classmethod
    def arity(cls):
        return cls.states + 2, cls.states + 3

    def check_inputs(self, *inputs):
        super().check_inputs(*inputs)
        expected = self.states + 2 + self.sequence_lengths
        if len(inputs) != expected:
            raise ModelError(f"{len(inputs)} inputs; {expected} are expected, as sequence_lengths says")

    def infer(self, *inputs):
        states, gates, lengths, step = self._roles(inputs)
        first = states[0]
        check_rank(first, 3, "a state")
        _, count, width = first.shape
        if first.shape[0] != 1 or any(state.shape != first.shape for state in states):
            raise ModelError(f"states {', '.join(str(list(state.shape)) for state in states)}")
        if gates.shape != (1, count, self.gates * width):
            raise ModelError(f"gates {list(gates.shape)} for states {list(first.shape)}")
        if step.size != 1 or (lengths is not None and lengths.shape != (count,)):
            raise ModelError(f"a timestep of {step}, lengths of {lengths}")
        return tuple(first.with_shape(first.shape) for _ in states)

    def compute(self, *inputs):
        states, gates, lengths, step = self._roles(inputs)
        new = self.step(states, np.split(gates, self.gates, axis=2))
        if lengths is None:
            return new
        runs = (step.ravel()[0] < lengths)[:, None]
        kept = [np.zeros_like(state) if self.drop_states else state for state in states]
        return tuple(np.where(runs, value, old) for value, old in zip(new, kept, strict=True))

    def lower(self, graph, *inputs):
        states, gates, lengths, step = self._roles(inputs)
        width = states[0].shape[2]
        each = graph.add("Split", gates, graph.ints([width] * self.gates), axis=2, outputs=self.gates)
        new = self.lower_step(graph, states, each)
        if lengths is None:
            return new
        runs = graph.add("Less", graph.add("Reshape", step, graph.ints([1])), lengths)
        runs = graph.add("Reshape", runs, graph.ints([-1, 1]))
        zeros = graph.constant(np.zeros(states[0].shape, np.float32))
        kept = [zeros if self.drop_states else state for state in states]
        return tuple(graph.add("Where", runs, value, old) for value, old in zip(new, kept, strict=True))

    def macs(self, *inputs):
        return inputs[0].size * self.gates

    def step(self, states, gates) -> tuple[np.ndarray, ...]:
        """The new states."""
        raise NotImplementedError

    def lower_step(self, graph, states, gates) -> tuple[str, ...]:
        raise NotImplementedError

    def _roles(self, inputs):
        """(states, gates, lengths or None, timestep)"""
        lengths = inputs[self.states + 1] if self.sequence_lengths else None
        return inputs[: self.states], inputs[self.states], lengths, inputs[self.states + 1 + self.sequence_lengths]


@operator("LSTMUnit")
@dataclass(frozen=True)
class LSTMUnit(Unit):
    """Hidden and cell state; the gates are input, forget, output and the new content."""

    forget_bias: float = 0.0

    dtypes = (FLOAT32, FLOAT32, FLOAT32, INT32)
    states = 2
    gates = 4

    def step(self, states, gates):
        i, f, o, g = gates
        cell = sigmoid(f + np.float32(self.forget_bias)) * states[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    def lower_step(self, graph, states, gates):
        i, f, o, g = gates
        if self.forget_bias:
            f = graph.add("Add", f, graph.constant(np.float32(self.forget_bias)))
        kept = graph.add("Mul", graph.add("Sigmoid", f), states[1])
        cell = graph.add("Add", kept, graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g)))
        return graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", cell)), cell


@operator("GRUUnit")
@dataclass(frozen=True)
class GRUUnit(Unit):
    """The hidden state; the gates are reset (used before it gets here), update and output."""

    def step(self, states, gates):
        update = sigmoid(gates[1])
        return (states[0] * update + np.tanh(gates[2]) * (np.float32(1) - update),)

    def lower_step(self, graph, states, gates):
        update = graph.add("Sigmoid", gates[1])
        rest = graph.add("Sub", graph.constant(np.float32(1)), update)
        return (
            graph.add("Add", graph.add("Mul", states[0], update), graph.add("Mul", graph.add("Tanh", gates[2]), rest)),
        )


@dataclass(frozen=True)
class Link:
    """At step t the step net's blob `internal` is the steps t + offset ... t + offset + window of `external`."""

    internal: str
    external: str
    offset: int
    window: int

    def part(self, step: int) -> slice:
        return slice(step + self.offset, step + self.offset + self.window)


@dataclass(frozen=True)
class Alias:
    """The output `target` is `source` from `offset` on, which may count from the end."""

    source: str
    target: str
    offset: int


@dataclass(frozen=True)
class Wiring:
    """How a RecurrentNetwork's step net hangs together with the blobs around it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: dict[str, int]  # name -> which input it begins with
    links: tuple[Link, ...]
    aliases: tuple[Alias, ...]
    timestep: str

    @classmethod
    def decode(cls, arguments: Arguments) -> "Wiring":
        states = arguments.get_strs("recurrent_states") or ()
        initial = arguments.get_ints("initial_recurrent_state_ids") or ()
        links = tuple(arguments.get_strs(f"link_{name}") or () for name in ("internal", "external"))
        offsets = arguments.get_ints("link_offset") or ()
        windows = arguments.get_ints("link_window") or (1,) * len(offsets)
        aliases = tuple(arguments.get_strs(f"alias_{name}") or () for name in ("src", "dst"))
        places = arguments.get_ints("alias_offset") or ()
        for lists in ((states, initial), (*links, offsets, windows), (*aliases, places)):
            if len({len(each) for each in lists}) != 1:
                raise ModelError("states, links or aliases whose lists have different lengths")
        if any(not 0 <= i < len(arguments.inputs) for i in initial) or len(set(states)) != len(states):
            raise ModelError("states that begin with no input, or with the same name")
        return cls(
            inputs=arguments.inputs,
            outputs=arguments.outputs,
            states=dict(zip(states, initial, strict=True)),
            links=tuple(Link(*each) for each in zip(*links, offsets, windows, strict=True)),
            aliases=tuple(Alias(*each) for each in zip(*aliases, places, strict=True)),
            timestep=arguments.get_str("timestep") or "timestep",
        )


EMPTY = TensorType.of(np.zeros(0, np.uint8))  # an output that nothing is written to


@operator("RecurrentNetwork")
@dataclass(frozen=True)
class RecurrentNetwork(Operator):
    """Runs step_net for each step of the first input [steps, N, ...], by links and states that its arguments name.

    A state [steps + initial, N, D] begins with an input ([D], the same for all N; [N, D]; or [initial, N, D]) and
    grows as linked blobs are written. An input that links write is changed for the steps and aliases; around the
    operator it stays. Outputs that no alias names, like Caffe2's workspaces, are empty.
    """

    wiring: Wiring
    step_net: Body

    dtypes = ANY
    nets_as_text = frozenset({"step_net"})

    def infer(self, *inputs):
        external = self._external(inputs)
        for link, new in self._written(external, self._walked(external)):
            wanted = (link.window, *external[link.external].shape[1:])
            if new.size != math.prod(wanted) or new.dtype != external[link.external].dtype:
                raise ModelError(f"{link.internal}, {new}, does not fit {list(wanted)} of {link.external}")
        results = {alias.target: self._aliased(alias, external) for alias in self.wiring.aliases}
        return tuple(results.get(name, EMPTY) for name in self.wiring.outputs)

    def compute(self, *inputs):
        blobs = dict(zip(self.wiring.inputs, inputs, strict=True))
        blobs |= {name: blobs[name].copy() for name in self._changed() if name in blobs}
        types = self._external([TensorType.of(value).with_shape(value.shape) for value in inputs])
        for name, first in self.wiring.states.items():
            blobs[name] = np.zeros(types[name].shape, np.float32)
            blobs[name][: self._initial(inputs[first].shape)] = inputs[first]
        for step in range(inputs[0].shape[0]):
            seen = {**blobs, self.wiring.timestep: np.array([step], np.int32)}
            seen |= {link.internal: blobs[link.external][link.part(step)] for link in self._links()}
            self.step_net.run(seen)
            for link, new in self._written(blobs, seen):
                part = blobs[link.external][link.part(step)]
                part[...] = new.reshape(part.shape)
        results = {}
        for alias in self.wiring.aliases:
            source = blobs[alias.source]
            results[alias.target] = source[self._start(alias, source.shape[0]) :].copy()
        return tuple(results.get(name, np.zeros(0, np.uint8)) for name in self.wiring.outputs)

    def lower(self, graph, *inputs):
        """A Loop, whose rounds are the steps: of any number, unless blobs are handed on whole."""
        types = self._external([symbol.type for symbol in inputs])
        blobs: dict[str, Held] = dict(zip(self.wiring.inputs, (Whole([symbol]) for symbol in inputs), strict=True))
        for name, first in self.wiring.states.items():
            count = self._initial(inputs[first].shape)
            blobs[name] = begin_state(graph, inputs[first], types[name].shape, count, name in self.step_net.reads)
        carried = list(dict.fromkeys([*self.wiring.states, *self._changed()]))

        def renamed(names):
            rest = iter(names)
            return {**blobs, **{name: blobs[name].renamed(rest) for name in carried}}

        def add_round(step, names):
            now = renamed(names)
            for name in carried:
                now[name].begin(graph)
            self._lower_step(graph, step, now, types)
            listed = [symbol for name in carried for symbol in now[name].end(graph)]
            return [part.name for name in carried for part in now[name].parts], listed

        steps = graph.add("Gather", graph.add("Shape", inputs[0]), graph.constant(np.int64(0)), axis=0)
        names, lists = graph.repeat(steps, [part for name in carried for part in blobs[name].parts], add_round)
        lists, after = iter(lists), renamed(names)
        whole = {name: blob.joined(graph, lists) for name, blob in after.items()}
        starts = {alias.target: (whole[alias.source], alias.offset) for alias in self.wiring.aliases}
        return tuple(
            graph.add("Slice", starts[name][0], *(graph.ints([at]) for at in (starts[name][1], MAX_INT64, 0)))
            if name in starts else graph.constant(EMPTY.value)
            for name in self.wiring.outputs
        )  # fmt: skip

    def _lower_step(self, graph, step: str, blobs: dict[str, Held], types: dict[str, TensorType]) -> None:
        """Add the step net's nodes, and let links write to the blobs; step is int64 [1]."""
        seen = {name: blob.parts[0] for name, blob in blobs.items() if isinstance(blob, Whole)}
        seen[self.wiring.timestep] = graph.symbol(graph.cast(step, np.int32), TensorType((1,), np.dtype(np.int32)))
        for link in self._links():
            read = blobs[link.external].read(graph, step, link.part(0))
            seen[link.internal] = graph.symbol(read, self._linked(link, types))
        after = graph.lower_body(self.step_net, seen)
        for link, new in self._written(types, after):
            shape = graph.ints(self._linked(link, types).shape)
            blobs[link.external].write(graph, step, link.part(0), graph.add("Reshape", new, shape))

    def workspace(self, *inputs):
        external = self._external(inputs)
        states = sum(external[name].nbytes for name in {*self.wiring.states, *self._changed()})
        return states + sum(t.nbytes for step in self._steps(external) for t in step.outputs)

    def macs(self, *inputs):
        return inputs[0].shape[0] * sum(step.macs for step in self._steps(self._external(inputs)))

    def _external(self, inputs) -> dict[str, TensorType]:
        """Types of the blobs that links may name: the inputs and the states. ModelError for what cannot be."""
        if len(inputs[0].shape) < 2:
            raise ModelError(f"a sequence of shape {list(inputs[0].shape)}; [steps, N, ...] is expected")
        if any(not x.is_exact for x in inputs):
            raise LaterError("its sizes are known only when the net runs")
        external = dict(zip(self.wiring.inputs, inputs, strict=True))
        steps, count = inputs[0].shape[:2]
        for name, first in self.wiring.states.items():
            shape = inputs[first].shape
            if not 1 <= len(shape) <= 3 or (len(shape) > 1 and shape[-2] != count) or inputs[first].dtype != np.float32:
                raise ModelError(f"a state {name} that begins with {inputs[first]}, of {count} sequences")
            external[name] = TensorType((steps + self._initial(shape), count, shape[-1]))
        for link in self.wiring.links:
            if link.external not in external or link.window < 1 or link.offset < 0:
                raise ModelError(f"a link to {link.external}, offset {link.offset}, window {link.window}")
            shape = external[link.external].shape
            if not shape or steps + link.offset + link.window - 1 > shape[0]:
                raise ModelError(f"a link beyond the end of {link.external}, {external[link.external]}")
        for alias in self.wiring.aliases:
            if alias.source not in external or not external[alias.source].shape:
                raise ModelError(f"an alias of {alias.source}")
            self._start(alias, external[alias.source].shape[0])
        return external

    @staticmethod
    def _initial(shape: tuple[int, ...]) -> int:
        """How many steps of a state such an input gives."""
        return shape[0] if len(shape) == 3 else 1

    @staticmethod
    def _start(alias: Alias, count: int) -> int:
        start = alias.offset if alias.offset >= 0 else count + alias.offset
        if not 0 <= start <= count:
            raise ModelError(f"an alias from {alias.offset} on, of {count} steps")
        return start

    def _aliased(self, alias: Alias, external: dict[str, TensorType]) -> TensorType:
        source = external[alias.source]
        return source.with_shape((source.shape[0] - self._start(alias, source.shape[0]), *source.shape[1:]))

    @staticmethod
    def _linked(link: Link, external: dict[str, TensorType]) -> TensorType:
        """The type of what a link shows of a blob."""
        t = external[link.external]
        return t.with_shape((link.window, *t.shape[1:]))

    def _links(self) -> list[Link]:
        """Links that the step net reads."""
        return [link for link in self.wiring.links if link.internal in self.step_net.reads]

    def _changed(self) -> list[str]:
        """The blobs that links write."""
        return [link.external for link in self.wiring.links if link.internal in self.step_net.writes]

    def _written(self, external, blobs) -> Iterator[tuple[Link, TensorType | np.ndarray]]:
        """(link, what the step net wrote to it) of the links that it writes."""
        for link in self.wiring.links:
            if link.internal in self.step_net.writes:
                yield link, blobs[link.internal]

    def _types_of_step(self, external: dict[str, TensorType]) -> dict[str, TensorType]:
        types = {name: t.with_shape(t.shape) for name, t in external.items()}
        for link in self._links():
            types[link.internal] = self._linked(link, external)
        return types | {self.wiring.timestep: TensorType((1,), np.dtype(np.int32))}

    def _steps(self, external: dict[str, TensorType]) -> list:
        return list(self.step_net.walk(self._types_of_step(external)))

    def _walked(self, external: dict[str, TensorType]) -> dict[str, TensorType]:
        """The types of all that the step net has seen and written after a step."""
        types = self._types_of_step(external)
        for step in self.step_net.walk(types):
            if not step.is_exact:
                raise ModelError(f"{step.node} of a step net: its sizes are known only when it runs")
        return types
