"""Caffe2 to ONNX: float nets but for the rounding of sums, int8 nets to the byte, or as forms that are near.

The operators' own lower() methods write the nodes, for one input shape. Here the batch is made free again
where the graph allows it, the preprocessing is carried over, and int8 forms are compared with the net.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import onnx

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import Int8Tensor, Net, origin
from caffe2_models.lowering import Lowered, lower
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types
from exporters.int8_comparison import Int8Report, compare_int8
from exporters.onnx_files import set_onnx_preprocessing
from exporters.qlinear import to_qlinear
from exporters.verification import Sample, run_onnx

# Two batches: what differs between the graphs depends on the batch. Slices that a net makes of its batch fit.
BATCHES = (6, 7)
COUNTS = (10, 11)  # and how many there are of what only a run counts


Int8Form = Literal["exact", "qdq", "qlinear"]
INT8_FORMS: tuple[Int8Form, ...] = get_args(Int8Form)

FORM_NAMES = {"exact": "exact form", "qdq": "QDQ form", "qlinear": "QLinear form"}


def to_onnx(net: Net, shapes: Mapping[str, Sequence[int]], int8: Int8Form = "exact") -> onnx.ModelProto:
    """The net as an ONNX model for inputs of these shapes (NCHW, as the net takes them).

    The batch is left free where the graph allows it; otherwise it is that of `shapes`. An int8 net becomes the same
    function to the byte ("exact"), or one that is near and in some runtimes faster: "qdq", QuantizeLinear and
    DequantizeLinear around float operators, or "qlinear", with QLinearConv. Raises UnsupportedError or ModelError.
    """
    model = lowered_model(net, shapes, int8)
    if net.is_quantized and int8 == "qlinear":
        to_qlinear(model)
    if (preprocessing := get_preprocessing(net.predict)) is not None:
        set_onnx_preprocessing(model, preprocessing)
    if net.is_quantized:
        model.metadata_props.add(key=origin.KEY, value=origin.to_text(origin.record_net(net, shapes)))
    return model


def lowered_model(net: Net, shapes: Mapping[str, Sequence[int]], int8: Int8Form) -> onnx.ModelProto:
    """The nodes alone, with a free batch where the graph allows it; "qlinear" is "qdq" before it is rewritten."""
    return _with_free_batch(net, shapes, int8) or _with_fixed_batch(net, shapes, int8)


def compare_onnx(net: Net, model: onnx.ModelProto, samples: Sequence[Sample], form: Int8Form) -> Int8Report:
    """Run an int8 net, and its ONNX form by ONNX Runtime, on the same inputs; all quantized blobs are compared."""
    types = net.infer_types(net.input_types({name: array.shape for name, array in samples[0].feeds.items()}))
    blobs = [name for node in model.graph.node for name in node.output if name in types and types[name].is_quantized]
    with_blobs = _with_outputs(model, blobs)
    report = compare_int8(net, FORM_NAMES[form], samples, blobs, lambda samples: run_onnx(with_blobs, samples))
    if form == "exact" and report.differing == 0:
        return report
    return report.with_step_alone(_largest_step_alone(net, samples[0], form))


def _largest_step_alone(net: Net, sample: Sample, form: Int8Form) -> int:
    """The largest difference that a single operator makes, each fed with what the net itself computes."""
    writers = Counter(blob for node in net.operators for blob in node.outputs)
    once = [blob for blob, count in writers.items() if count == 1]  # others hold their last value only
    values = net.session().run(sample.feeds, once) | sample.feeds
    largest = 0
    for node in net.operators:
        output = node.outputs[0]
        known = all(name in values or name in net.parameter_types for name in [*node.inputs, output])
        if known and isinstance(values[output], Int8Tensor):
            proto = caffe2_pb2.NetDef(op=[node.proto], external_input=node.inputs, external_output=[output])
            feeds = {name: values[name] for name in node.inputs if name in values}
            alone = _model(lower(Net(proto, net.init), input_types(feeds), qdq=form != "exact"))
            if form == "qlinear":
                to_qlinear(alone)
            bytes_of = {name: v.data if isinstance(v, Int8Tensor) else v for name, v in feeds.items()}
            (have,) = run_onnx(alone, [Sample("alone", bytes_of)])
            gap = np.abs(values[output].data.astype(np.int32) - have[output])
            largest = max(largest, int(gap.max(initial=0)))
    return largest


def _with_outputs(model: onnx.ModelProto, blobs: Sequence[str]) -> onnx.ModelProto:
    """A copy whose outputs are these quantized blobs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(blob, onnx.TensorProto.UINT8, None) for blob in blobs if blob not in present
    )
    return copy


def _with_free_batch(net: Net, shapes: Mapping[str, Sequence[int]], int8: Int8Form) -> onnx.ModelProto | None:
    """The model with a free batch, or None where something in the graph is made for one batch."""
    if len({shape[:1] for shape in map(tuple, shapes.values())}) != 1 or () in map(tuple, shapes.values()):
        return None
    try:
        first, second = (
            _lowered(net, _with_batch(shapes, batch), int8, count) for batch, count in zip(BATCHES, COUNTS, strict=True)
        )
    except ModelError:  # shapes that go with one batch only; what else may be wrong shows at that batch
        return None
    return _joined(first, second)


def _with_fixed_batch(net: Net, shapes: Mapping[str, Sequence[int]], int8: Int8Form) -> onnx.ModelProto:
    """The model for these shapes. Raises UnsupportedError where it would be made for some number of what it counts."""
    if all(step.is_exact or step.within is not None for step in net.walk(net.input_types(shapes))):
        return _model(_lowered(net, shapes, int8))
    joined = _joined(*(_lowered(net, shapes, int8, count) for count in COUNTS))
    if joined is None:
        raise UnsupportedError("its sizes are known only when the net runs, and ONNX would have to be told")
    return joined


def _joined(first: Lowered, second: Lowered) -> onnx.ModelProto | None:
    """One model of two that differ in sizes that are free; None where what they consist of differs."""
    nodes = first.graph.nodes
    weights, others = first.weights(), second.weights()
    if nodes != second.graph.nodes or weights.keys() != others.keys():
        return None
    readers = {name: (node.op_type, index) for node in nodes for index, name in enumerate(node.input)}
    for name, value in weights.items():
        if value is others[name] or np.array_equal(value, others[name]):
            continue
        freed = _freed(value, others[name], readers.get(name, ("", 0)))  # none: it is read in a graph within the graph
        if freed is None:
            return None
        first.graph.initializers[name] = freed
    model = _model(first)
    ends = [*second.inputs.values(), *(symbol.type for symbol in second.outputs.values())]
    for value, end in zip([*model.graph.input, *model.graph.output], ends, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, end.shape, strict=True)):
            if (dim.dim_value, size) == BATCHES and axis == 0:
                dim.dim_param = "batch"
            elif dim.dim_value != size:
                dim.dim_param = f"{value.name}_{axis}"
    return model


def _with_batch(shapes: Mapping[str, Sequence[int]], batch: int) -> dict[str, Sequence[int]]:
    return {name: (batch, *shape[1:]) for name, shape in shapes.items()}


def _freed(first: np.ndarray, second: np.ndarray, reader: tuple[str, int]) -> np.ndarray | None:
    """A constant that depends on the batch, made free of it: the shapes of Reshape can be."""
    if first.shape != second.shape or reader != ("Reshape", 1):
        return None
    different = first != second
    return np.where(different, -1, first) if different.sum() == 1 and -1 not in first else None


def _lowered(net: Net, shapes: Mapping[str, Sequence[int]], int8: Int8Form, count: int | None = None) -> Lowered:
    return lower(net, net.input_types(shapes), qdq=int8 != "exact", count=count)


def _model(lowered: Lowered) -> onnx.ModelProto:
    """The lowered net, its outputs under their blobs' own names."""
    model = lowered.to_model()
    blobs = {name: blob for blob, name in lowered.output_names.items()}
    for node in model.graph.node:
        for field in (node.input, node.output):
            field[:] = [blobs.get(name, name) for name in field]
    for value in model.graph.output:
        value.name = blobs.get(value.name, value.name)
    return model
