"""The different operators of some nets, each once, and nets made of nothing but operators to be measured."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import UnsupportedError
from caffe2_models import Net
from caffe2_models.build import add_fill, add_operator, make_init
from caffe2_models.net import Step
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType, Value
from runtime_lut.signature import Signature, protobuf_texts
from runtime_lut.table import make_record

# Parameters up to this size are kept as they are (a variance must be positive, a shape must be the right
# one).
MAX_KEPT = 1 << 16

PRODUCERS = {"float32": "Copy", "int8": "Int8Relu"}  # what writes a blob anew without changing it


@dataclass(frozen=True, eq=False)
class Case:
    """One operator to be measured: its definition, the types of its inputs, the contents that matter."""

    signature: Signature
    op: caffe2_pb2.OperatorDef
    inputs: tuple[TensorType, ...]
    parameters: frozenset[int]  # inputs that are no activations
    known: Mapping[int, Value]  # contents by input

    def record(self, percentiles_us, device: str, **more) -> dict:
        """The table's record of it."""
        codes, shapes = self.signature.dtypes, self.signature.shapes
        return make_record(self.op.type, protobuf_texts(self.op), shapes, codes, percentiles_us, device, **more)

    def content(self, position: int, rng: np.random.Generator) -> Value:
        """What to feed an input: the known content, or bytes, normal floats or zeros by its type."""
        if position in self.known:
            return self.known[position]
        kind = self.inputs[position]
        if kind.dtype == np.float32:
            return rng.standard_normal(kind.shape, np.float32)
        if kind.dtype == np.uint8:
            data = np.frombuffer(rng.bytes(kind.size), np.uint8).reshape(kind.shape)
        elif kind.dtype.kind in "iub":
            data = np.zeros(kind.shape, kind.dtype)
        else:
            raise UnsupportedError(f"{self.op.type}: an input of {kind.dtype} cannot be measured alone")
        return kind.tensor(data)


def unique_cases(nets: Iterable[tuple[Net, Mapping[str, tuple[int, ...]]]]) -> list[Case]:
    """Every operator of the nets (with their inputs' shapes), those with equal signatures once, in order."""
    cases: dict[bytes, Case] = {}
    for net, shapes in nets:
        written: set[str] = set()
        for step in net.walk(shapes):
            signature = Signature.of_step(step)
            if signature.key not in cases:
                cases[signature.key] = _case(net, signature, step, written)
            written.update(step.node.outputs)
    return list(cases.values())


def _case(net: Net, signature: Signature, step: Step, written: set[str]) -> Case:
    names = step.node.inputs
    parameters = {i: n for i, n in enumerate(names) if n in net.parameter_types and n not in written}
    small = {i: n for i, n in parameters.items() if net.parameter_types[n].size <= MAX_KEPT}
    return Case(
        signature,
        step.node.proto,
        tuple(t.with_shape(t.shape) for t in step.inputs),
        frozenset(parameters),
        {i: net.parameters[n] for i, n in small.items()},
    )


def operator_net(cases: Iterable[Case], producers: bool = False, name: str = "operators") -> Net:
    """A net without inputs that runs each case once; operator i is named op<i>.

    With producers, each case's first input is written just before it, as in a net: it is then as warm in the
    caches as there, while the weights are not. A producer's name begins with "produce".
    """
    predict, init = caffe2_pb2.NetDef(name=name), caffe2_pb2.NetDef(name=f"{name}_init")
    rng = np.random.default_rng(0)
    for index, case in enumerate(cases):
        blobs = {}
        for position, blob in enumerate(case.op.input):
            if blob not in blobs:
                blobs[blob] = f"op{index}_in{position}"
                add_fill(init, blobs[blob], case.content(position, rng))
        for position, blob in enumerate(case.op.output):
            blobs.setdefault(blob, f"op{index}_out{position}")
        if producers and case.inputs and 0 not in case.parameters:
            _add_producer(predict, index, blobs, case)
        op = predict.op.add()
        op.CopyFrom(case.op)
        op.name = f"op{index}"
        op.input[:] = [blobs[blob] for blob in case.op.input]
        op.output[:] = [blobs[blob] for blob in case.op.output]
    predict.external_input.extend(blob for op in init.op for blob in op.output)
    return Net(predict, init)


def single_net(case: Case) -> tuple[Net, dict[str, Value]]:
    """(a net of this operator alone, whose activations are its inputs; what to feed it)."""
    rng = np.random.default_rng(0)
    predict = caffe2_pb2.NetDef(name=case.op.type, op=[case.op], external_input=case.op.input)
    predict.external_output.extend(case.op.output)
    contents = {blob: case.content(position, rng) for position, blob in enumerate(case.op.input)}
    parameters = {case.op.input[position] for position in case.parameters}
    init = make_init({blob: value for blob, value in contents.items() if blob in parameters})
    return Net(predict, init), {blob: v for blob, v in contents.items() if blob not in parameters}


def _add_producer(predict: caffe2_pb2.NetDef, index: int, blobs: dict[str, str], case: Case) -> None:
    first, blob_type = case.op.input[0], case.inputs[0]
    kind = PRODUCERS.get("int8" if blob_type.is_quantized else blob_type.dtype.name)
    if kind is None or list(case.op.input).count(first) > 1:
        return
    scale = {"Y_scale": blob_type.scale, "Y_zero_point": blob_type.zero_point} if blob_type.is_quantized else {}
    source, blobs[first] = blobs[first], f"op{index}_produced"
    add_operator(predict, kind, [source], [blobs[first]], name=f"produce{index}", **scale)
    for blob in case.op.output:  # in place stays in place
        if blob == first:
            blobs[blob] = blobs[first]


def batches(cases: list[Case], max_operators: int = 48, max_bytes: int = 128 << 20) -> Iterator[list[Case]]:
    """Cases in lots that fit into memory together."""
    lot: list[Case] = []
    used = 0
    for case in cases:
        size = sum(t.nbytes for t in case.inputs)
        if lot and (len(lot) == max_operators or used + size > max_bytes):
            yield lot
            lot, used = [], 0
        lot.append(case)
        used += size
    if lot:
        yield lot
