"""What an ONNX graph computes: its live nodes, the type of every tensor, everything that is constant.

All shapes are made concrete, so that shape arithmetic (Shape, Gather, Concat ... Reshape) folds away whole.
Where the model leaves a dimension free, the graph is traced twice with two different sizes: what differs
between the traces depends on the input's shape. Sizes that only a run tells (how many boxes are kept) are free, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.sizes import Dims, Size
from caffe2_models.preprocessing import DTYPES
from caffe2_models.tensors import MAX_BLOB_BYTES, TensorType
from exporters.onnx_files import graph_inputs, input_dims, opset_version
from exporters.onnx_to_caffe2.functions import expand_node
from exporters.onnx_to_caffe2.missing import MISSING
from exporters.onnx_to_caffe2.registry import CONVERSIONS
from exporters.onnx_to_caffe2.unrolling import MAX_TURNS, Body, Writer, attributes_of, body_of

# Every float type is computed as float32, the only one the mobile runtimes have.
OTHER_FLOATS = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}

# Inputs up to this size are shown to shape inference: shapes, axes, scales, never weights.
MAX_SHAPE_ELEMENTS = 1024

# Their outputs' sizes depend on values, but are never far above the inputs'.
NEVER_LARGER = {"NonZero", "Unique", "Compress"}

# Operators that say by their values how many results there are. Sizes of the first such dimension, and the steps to
# those of the next, at the two variants: few, so that "the first 100 of them" is all of them.
COUNTING = {"NonZero", "Unique", "Compress", "NonMaxSuppression", "Range"}
FIRST_COUNT, NEXT_COUNT = (5, 7), (2, 3)

# Operators that draw numbers, run graphs, or have what is no tensor.
IMPURE = {"Multinomial", "Bernoulli", "Loop", "Scan", "If", "SplitToSequence", "ConcatFromSequence"}

# Two sizes for a free batch, and what is added for the second size of a free height or width.
FREE_BATCH = (2, 3)
FREE_SIZE_STEP = 32
DEFAULT_SIZE = 224

MICROSOFT = "com.microsoft"  # whose operators ONNX Runtime's tools write

Number = np.integer | np.floating

# The version from which the reference evaluator has operators whose earlier versions say the same.
EVALUATED_AS = {"QuantizeLinear": 21, "DequantizeLinear": 21}

INFERENCE_ERRORS = (shape_inference.InferenceError, onnx.checker.ValidationError)

MAX_DEPTH = 32  # of If inside If


@dataclass
class SourceNode:
    """One ONNX node: type (with its domain unless ONNX's own), names, attributes as Python values."""

    type: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, object]
    scope: str  # the module it came from, where the exporter tells

    def __str__(self):
        return f"{self.type} {self.name or '-> ' + self.outputs[0]}"


@dataclass
class Trace:
    """nodes in order, without those that fold; types of all tensors whose type is known (with constants'
    values).
    """

    nodes: list[SourceNode] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    variant: int = 0
    counts: int = 0  # dimensions met so far whose size only a run tells


@dataclass
class Source:
    """An ONNX graph, traced at one or two sizes of its free dimensions."""

    name: str
    opset: int
    inputs: list[str]
    outputs: list[str]
    first: Trace
    second: Trace


def read_source(model: onnx.ModelProto, size: Size | None = None, shapes: Mapping[str, Dims] | None = None) -> Source:
    """Trace a model. `size` fixes the height and width where the model leaves them free, `shapes` any dimension.

    Raises ModelError for a model that is inconsistent.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph, opset = model.graph, opset_version(model)
    inputs = graph_inputs(graph)
    constants = {tensor.name: TensorType.of(to_array(tensor)) for tensor in graph.initializer}
    given = input_dims(model, size, shapes)
    traced = [{name: _filled(dims, variant) for name, dims in given.items()} for variant in (0, 1)]
    traces: list[Trace] = []
    for variant in (0, 1):
        if traces and traced[0] == traced[1] and not traces[0].counts:
            break  # nothing in it is free
        trace = Trace(types=dict(constants), variant=variant)
        for value in inputs:
            trace.types[value.name] = _settled(TensorType(traced[variant][value.name], _input_dtype(value)))
        _Tracer(trace, model, opset).visit(graph.node)
        traces.append(trace)
    first, second = traces[0], traces[-1]
    if [node.outputs for node in first.nodes] != [node.outputs for node in second.nodes]:
        raise ModelError("the ONNX graph computes different things at different input sizes; fix its input size")
    outputs = [value.name for value in graph.output]
    return Source(graph.name, opset, [value.name for value in inputs], outputs, first, second)


def to_array(tensor: onnx.TensorProto) -> np.ndarray:
    """A tensor's content; every float type becomes float32."""
    try:
        return _single(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ModelError(f"tensor {tensor.name}: its content does not fit its shape and type ({reason})") from None


def _single(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16", "float64") else array


class _Tracer:
    """Walks nodes in order, folding what is constant and inferring the types of the rest."""

    def __init__(self, trace: Trace, model: onnx.ModelProto, opset: int):
        self.trace = trace
        self.opset = opset
        self.versions = {entry.domain: entry.version for entry in model.opset_import} | dict.fromkeys(
            ("", "ai.onnx"), opset
        )
        self.ir_version = model.ir_version
        self.opset_imports = list(model.opset_import)

    def visit(self, nodes, depth: int = 0) -> None:
        for proto in map(_with_default, nodes):
            self._check_inputs(proto)
            known = [self.trace.types.get(name) for name in proto.input if name]
            values = [t.content for t in known if t is not None and t.content is not None]
            constant = len(values) == len(known)
            if proto.op_type == "Constant":
                self._set(proto.output[0], _constant(proto))
            elif proto.op_type in ("Shape", "Size") and known[0] is not None:
                self._set(proto.output[0], _shape_of(proto, known[0].shape))
            elif proto.op_type in CONTROL and depth < MAX_DEPTH and CONTROL[proto.op_type](self, proto, depth):
                continue
            elif proto.op_type == "Range" and constant:
                # bounds are numbers or, as ONNX's own functions have them, vectors of one
                self._set(proto.output[0], _range(proto, *(value.reshape(1)[0] for value in values)))
            elif constant and known and self._is_pure(proto):
                self._fold(proto)
            elif (others := self._as_cast(proto) or self._as_gather(proto) or self._as_lstm(proto)) is not None:
                self.visit(others, depth)
            elif depth < MAX_DEPTH and (body := self._function(proto)) is not None:
                self.visit(body, depth + 1)
            else:
                self._infer(proto)
                if any(self._content(name) is None for name in proto.output if name):
                    self.trace.nodes.append(_source_node(proto))

    def _visit_body(self, body: Body, depth: int) -> None:
        for name, tensor in body.constants.items():
            self._set(name, to_array(tensor))
        self.visit(body.nodes, depth + 1)

    def _write(self, writer: Writer, depth: int) -> None:
        for name, value in writer.constants.items():
            self._set(name, value)
        self.visit(writer.nodes, depth + 1)

    def _inline_branch(self, proto: onnx.NodeProto, depth: int) -> bool:
        """An If whose condition is known is the branch that it takes; else one of two results of the same shapes."""
        condition = self.trace.types.get(proto.input[0])
        attributes, prefix = attributes_of(proto), _name_of(proto)
        if condition is not None and condition.content is not None:
            taken = "then_branch" if condition.content.all() else "else_branch"
            body = body_of(attributes[taken], f"{prefix}/{taken}")
            self._visit_body(body, depth)
            writer = Writer(prefix, self.opset)
            for pair in zip(body.outputs, proto.output, strict=True):
                writer.copy(*pair)
            self._write(writer, depth)
            return True
        bodies = [body_of(attributes[name], f"{prefix}/{name}") for name in ("then_branch", "else_branch")]
        for body in bodies:
            self._visit_body(body, depth)
        pairs = list(zip(*(body.outputs for body in bodies), strict=True))
        types = [[self.trace.types.get(name) for name in pair] for pair in pairs]
        if any(a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype) for a, b in types):
            return False
        self.visit(
            [onnx.helper.make_node("Where", [proto.input[0], *pair], [output], name=output)
             for pair, output in zip(pairs, proto.output, strict=True)], depth + 1)  # fmt: skip
        return True

    def _unroll_loop(self, proto: onnx.NodeProto, depth: int) -> bool:
        """Turn after turn, as long as what says that there is another one is known."""
        graph, prefix = attributes_of(proto)["body"], _name_of(proto)
        limit, condition = (self._content(name) for name in (*proto.input[:2], "", "")[:2])
        if (proto.input[0] and limit is None) or (proto.input[1:2] and proto.input[1] and condition is None):
            return False
        turns = MAX_TURNS + 1 if limit is None else int(limit.reshape(()))
        goes_on = condition is None or bool(condition.all())
        state, seen = list(proto.input[2:]), []
        for turn in range(turns):
            if not goes_on:
                break
            if turn == MAX_TURNS:
                return False
            numbered = f"{prefix}/{turn}"
            self._set(f"{numbered}/turn", np.array(turn, np.int64))
            self._set(f"{numbered}/goes_on", np.array(True))
            body = body_of(graph, numbered, [f"{numbered}/turn", f"{numbered}/goes_on", *state])
            self._visit_body(body, depth)
            still = self._content(body.outputs[0])
            if still is None:
                return False
            goes_on, state = bool(still.all()), body.outputs[1 : 1 + len(state)]
            seen.append(body.outputs[1 + len(state) :])
        return self._finish(proto, state, seen, [0] * (len(proto.output) - len(state)), depth)

    def _unroll_scan(self, proto: onnx.NodeProto, depth: int) -> bool:
        """One turn for each element of the inputs that are scanned, whose number must be known."""
        if self.opset < 9:
            return False
        attributes, prefix = attributes_of(proto), _name_of(proto)
        graph, count = attributes["body"], attributes["num_scan_inputs"]
        state, scanned = list(proto.input[:-count]), proto.input[-count:]
        types = [self.trace.types.get(name) for name in scanned]
        if any(kind is None for kind in types):
            return False
        given = attributes.get("scan_input_axes") or [0] * count
        axes = [axis % len(kind.shape) for axis, kind in zip(given, types, strict=True) if kind is not None]
        turns = types[0].shape[axes[0]] if types[0] is not None else 0
        if turns > MAX_TURNS:
            return False
        backwards = attributes.get("scan_input_directions") or [0] * count
        seen = []
        for turn in range(turns):
            writer = Writer(f"{prefix}/{turn}", self.opset)
            items = [writer.item(name, turns - 1 - turn if back else turn, axis)
                     for name, axis, back in zip(scanned, axes, backwards, strict=True)]  # fmt: skip
            self._write(writer, depth)
            body = body_of(graph, f"{prefix}/{turn}", [*state, *items])
            self._visit_body(body, depth)
            state = body.outputs[: len(state)]
            seen.append(body.outputs[len(state) :])
        results = len(proto.output) - len(state)
        flips = attributes.get("scan_output_directions") or [0] * results
        seen = [[seen[-1 - t if flip else t][i] for i, flip in enumerate(flips)] for t in range(len(seen))]
        return self._finish(proto, state, seen, attributes.get("scan_output_axes") or [0] * results, depth)

    def _finish(self, proto: onnx.NodeProto, state: list[str], seen: list, axes: Sequence[int], depth: int) -> bool:
        """The last state, and what each turn gave, stacked, as the outputs."""
        if axes and not seen:
            return False
        writer = Writer(f"{_name_of(proto)}/end", self.opset)
        for name, output in zip(state, proto.output, strict=False):
            if output:
                writer.copy(name, output)
        for items, axis, output in zip(zip(*seen, strict=True), axes, proto.output[len(state) :], strict=False):
            kind = self.trace.types.get(items[0])
            if output and kind is not None:
                writer.stack(items, axis % (len(kind.shape) + 1), output)
        self._write(writer, depth)
        return all(output in self.trace.types for output in proto.output if output)

    def _content(self, name: str) -> np.ndarray | None:
        known = self.trace.types.get(name)
        return known.content if known is not None else None

    def _check_inputs(self, proto: onnx.NodeProto) -> None:
        written = self.trace.types.keys()
        for name in proto.input:
            if name and name not in written:
                raise ModelError(f"node {proto.name or proto.op_type}: reads {name}, which nothing before it writes")

    def _set(self, name: str, value: np.ndarray) -> None:
        self.trace.types[name] = TensorType.of(_single(value))

    def _is_known(self, proto: onnx.NodeProto) -> bool:
        return proto.domain in self.versions and onnx.defs.has(proto.op_type, self.versions[proto.domain], proto.domain)

    def _schema(self, proto: onnx.NodeProto) -> onnx.defs.OpSchema:
        return onnx.defs.get_schema(proto.op_type, self.versions[proto.domain], proto.domain)

    def _is_pure(self, proto: onnx.NodeProto) -> bool:
        return (
            self._is_known(proto)
            and not proto.op_type.startswith(("Random", "Sequence", "Optional", "String"))
            and proto.op_type not in IMPURE
        )

    def _fold(self, proto: onnx.NodeProto) -> None:
        """Compute a node whose inputs are all constant."""
        proto = _with_single_floats(proto)
        for info in self._infer_types(proto).values():
            bounded = info is not None or proto.op_type in NEVER_LARGER
            if not bounded or (info is not None and info.nbytes > MAX_BLOB_BYTES):
                raise ModelError(f"node {proto.name or proto.op_type}: a constant of unknown or absurd size")
        feeds = {name: self.trace.types[name].value for name in proto.input if name}
        graph = onnx.helper.make_graph(
            [proto],
            "constant",
            [onnx.helper.make_empty_tensor_value_info(name) for name in feeds],
            [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output if name],
        )
        opsets = self.opset_imports
        if self.opset < EVALUATED_AS.get(proto.op_type, 0):
            opsets = [onnx.helper.make_opsetid("", EVALUATED_AS[proto.op_type])]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)
        try:
            results = ReferenceEvaluator(model).run(None, feeds)
        except Exception as error:  # the evaluator raises whatever numpy raises
            raise ModelError(f"node {proto.name or proto.op_type}: cannot be computed ({error})") from error
        for name, value in zip([name for name in proto.output if name], results, strict=True):
            self._set(name, np.asarray(value))

    def _as_gather(self, proto: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """A Compress whose condition is known, as a Gather."""
        if proto.op_type != "Compress" or (condition := self._content(proto.input[1])) is None:
            return None
        axis, x, writer = attributes_of(proto).get("axis"), proto.input[0], Writer(_name_of(proto), self.opset)
        if axis is None:
            x, axis = writer.add("Reshape", [x, writer.constant(np.array([-1], np.int64))]), 0
        writer.add("Gather", [x, writer.constant(np.flatnonzero(condition))], proto.output[0], axis=axis)
        for name, value in writer.constants.items():
            self._set(name, value)
        return writer.nodes

    def _as_lstm(self, proto: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """ONNX Runtime's DynamicQuantizeLSTM of constant weights, as the LSTM of their real values."""
        if proto.op_type != "DynamicQuantizeLSTM" or proto.domain != MICROSOFT:
            return None
        inputs = [*proto.input[:8], *[""] * (8 - len(proto.input))]
        for place, first in ((1, 8), (2, 10)):
            parts = [self._content(name) for name in (proto.input[place], *proto.input[first : first + 2])]
            integers, scale, zero_point = (None if part is None else part.astype(np.float32) for part in parts)
            if integers is None or scale is None or zero_point is None:
                return None
            column = (len(integers), 1, -1)  # a scale for each direction, or for each of its outputs
            real = (integers - zero_point.reshape(column)) * scale.reshape(column)
            inputs[place] = f"{_name_of(proto)}/{place}"
            self._set(inputs[place], real.swapaxes(1, 2))
        lstm = onnx.helper.make_node("LSTM", inputs, proto.output, name=proto.name)
        lstm.attribute.extend(proto.attribute)
        return [lstm]

    def _as_cast(self, proto: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """A CastLike of a constant, to a type that is known, as a Cast."""
        if proto.op_type != "CastLike":
            return None
        x, like = (self.trace.types.get(name) for name in proto.input)
        if x is None or x.value is None or like is None:
            return None
        element = onnx.helper.np_dtype_to_tensor_dtype(like.dtype)
        return [onnx.helper.make_node("Cast", proto.input[:1], proto.output, name=proto.name, to=element)]

    def _function(self, proto: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """The operators that ONNX says a node consists of, where no conversion is made for it."""
        if proto.op_type in CONVERSIONS or not self._is_known(proto):
            return None
        schema = self._schema(proto)
        types = [self.trace.types.get(name) for name in proto.input if name]
        if any(known is None for known in types):
            return None
        return expand_node(proto, schema, [_type_proto(known) for known in types if known is not None], self.opset)

    def _infer(self, proto: onnx.NodeProto) -> None:
        """Record the outputs' types; a value that shape inference knows is not asked for."""
        types = dict.fromkeys(filter(None, proto.output))
        if proto.op_type not in MISSING and all(self.trace.types.get(name) is not None for name in proto.input if name):
            types.update(self._infer_types(_with_single_floats(proto)))
        self.trace.types.update(types)

    def _infer_types(self, proto: onnx.NodeProto) -> dict[str, TensorType | None]:
        if not self._is_known(proto):
            return {}
        known = {name: self.trace.types[name] for name in proto.input if name}
        try:
            inferred = shape_inference.infer_node_outputs(
                self._schema(proto),
                proto,
                {name: _type_proto(t) for name, t in known.items()},
                {
                    name: numpy_helper.from_array(t.content, name)
                    for name, t in known.items()
                    if t.content is not None and t.size <= MAX_SHAPE_ELEMENTS
                },
                opset_imports=self.opset_imports,
                ir_version=self.ir_version,
            )
        except (*INFERENCE_ERRORS, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"node {proto.name or proto.op_type}: invalid inputs ({reason})") from None
        return {name: self._tensor_type(info, proto.op_type in COUNTING) for name, info in inferred.items()}

    def _tensor_type(self, info: onnx.TypeProto, counts: bool) -> TensorType | None:
        """The type as inferred, or None where it is not known whole; where it counts, what is open gets a size."""
        tensor = info.tensor_type
        if not info.HasField("tensor_type") or not tensor.HasField("shape"):
            return None
        shape = []
        for dim in tensor.shape.dim:
            if not dim.HasField("dim_value") and not counts:
                return None
            shape.append(dim.dim_value if dim.HasField("dim_value") else self._count())
        return _settled(TensorType(tuple(shape), onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))

    def _count(self) -> int:
        variant = self.trace.variant
        self.trace.counts += 1
        return FIRST_COUNT[variant] + (self.trace.counts - 1) * NEXT_COUNT[variant]


# What becomes of subgraphs: each tells whether it could do it.
CONTROL = {"If": _Tracer._inline_branch, "Loop": _Tracer._unroll_loop, "Scan": _Tracer._unroll_scan}


def _with_default(proto: onnx.NodeProto) -> onnx.NodeProto:
    """An STFT that says that it has one side, for shape inference does not know the default."""
    if proto.op_type != "STFT" or any(attribute.name == "onesided" for attribute in proto.attribute):
        return proto
    said = _copy(proto)
    said.attribute.append(onnx.helper.make_attribute("onesided", 1))
    return said


def _name_of(proto: onnx.NodeProto) -> str:
    return proto.name or next(filter(None, proto.output))


def _settled(kind: TensorType) -> TensorType:
    """What has no elements is a constant: there is only one."""
    return kind if kind.size or kind.value is not None else TensorType.of(np.zeros(kind.shape, kind.dtype))


def _source_node(proto: onnx.NodeProto) -> SourceNode:
    return SourceNode(
        type=proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}",
        name=proto.name,
        inputs=list(proto.input),
        outputs=list(proto.output),
        attributes={attribute.name: _attribute(attribute) for attribute in proto.attribute},
        scope=next((p.value for p in proto.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), ""),
    )


def _attribute(attribute: onnx.AttributeProto):
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return to_array(value)
    return list(value) if attribute.type in (attribute.INTS, attribute.FLOATS) else value


def _constant(proto: onnx.NodeProto) -> np.ndarray:
    for attribute in proto.attribute:
        if attribute.name == "value":
            return to_array(attribute.t)
        if attribute.name in ("value_float", "value_floats"):
            return np.array(onnx.helper.get_attribute_value(attribute), np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(onnx.helper.get_attribute_value(attribute), np.int64)
    raise ModelError(f"node {proto.name or '-> ' + proto.output[0]}: a Constant of a kind that no net computes with")


def _shape_of(proto: onnx.NodeProto, shape: tuple[int, ...]) -> np.ndarray:
    if proto.op_type == "Size":
        return np.array(math.prod(shape), np.int64)
    bounds = {attribute.name: attribute.i for attribute in proto.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)


def _with_single_floats(proto: onnx.NodeProto) -> onnx.NodeProto:
    """A Cast to another float type, as a Cast to float32; a constant of another float type likewise."""
    patched = None
    for index, attribute in enumerate(proto.attribute):
        if attribute.name in ("to", "dtype") and attribute.i in OTHER_FLOATS:
            patched = patched or _copy(proto)
            patched.attribute[index].i = onnx.TensorProto.FLOAT
        elif attribute.HasField("t") and attribute.t.data_type in OTHER_FLOATS:
            patched = patched or _copy(proto)
            patched.attribute[index].t.CopyFrom(numpy_helper.from_array(to_array(attribute.t)))
    return patched or proto


def _range(proto: onnx.NodeProto, start: Number, limit: Number, delta: Number) -> np.ndarray:
    if not delta or not abs((limit - start) / delta) * start.itemsize < MAX_BLOB_BYTES:
        raise ModelError(f"node {proto.name or proto.op_type}: a range from {start} to {limit} by {delta}")
    return np.arange(start, limit, delta, dtype=start.dtype)


def _copy(proto: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    return copy


def _filled(dims: Dims, variant: int) -> tuple[int, ...]:
    """A shape with the free dimensions at the first or second of their two sizes."""
    spatial = DEFAULT_SIZE + FREE_SIZE_STEP * variant
    return tuple(
        (FREE_BATCH[variant] if axis == 0 else spatial) if dim is None else dim for axis, dim in enumerate(dims)
    )


def _input_dtype(value: onnx.ValueInfoProto) -> np.dtype:
    element = value.type.tensor_type.elem_type
    if element in OTHER_FLOATS:
        return np.dtype(np.float32)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except (KeyError, TypeError):
        raise ModelError(f"input {value.name}: element type {element} is not known") from None
    if dtype.name not in DTYPES and dtype.kind != "O":  # of strings it is the operators that are missing
        raise UnsupportedError(f"input {value.name}: Caffe2 has no element type {dtype}")
    return dtype


def _type_proto(tensor_type: TensorType) -> onnx.TypeProto:
    element = onnx.helper.np_dtype_to_tensor_dtype(tensor_type.dtype)
    return onnx.helper.make_tensor_type_proto(element, tensor_type.shape)
