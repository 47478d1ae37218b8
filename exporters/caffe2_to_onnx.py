"""Caffe2 to ONNX: float nets as the same function, int8 nets as one that rounds elsewhere.

The operators' own lower() methods write the nodes, for one input shape. Here the batch is made free again
where the graph allows it, the preprocessing is carried over, and what int8 forms differ by is measured.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import Int8Tensor, Net
from caffe2_models.lowering import Lowered, lower
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types
from caffe2_models.tensors import TensorType
from exporters.onnx_files import set_onnx_preprocessing
from exporters.qlinear import to_qlinear
from exporters.verification import Sample, run_onnx

# Two batches: what differs between the graphs depends on the batch. Slices that a net makes of its batch fit.
BATCHES = (6, 7)


# Forms of int8 nets: what is done to the QDQ form.
INT8_FORMS = {"qdq": lambda model: None, "qlinear": to_qlinear}


def to_onnx(net: Net, shapes: Mapping[str, Sequence[int]], int8: str | None = None) -> onnx.ModelProto:
    """The net as an ONNX model for inputs of these shapes (NCHW, as the net takes them).

    The batch is left free where the graph allows it; otherwise it is that of `shapes`. An int8 net becomes
    near but not equal, and its form must be asked for: "qdq", QuantizeLinear and DequantizeLinear around
    float operators, or "qlinear", with QLinearConv. Raises UnsupportedError or ModelError.
    """
    if net.is_quantized and int8 is None:
        raise UnsupportedError(
            "an int8 net becomes ONNX only approximately: ONNX rounds elsewhere than QNNPACK does; "
            "ask for it with --int8 qdq or --int8 qlinear"
        )
    model = _with_free_batch(net, shapes) or _model(_lowered(net, shapes))
    if net.is_quantized:
        INT8_FORMS[int8](model)
    if (preprocessing := get_preprocessing(net.predict)) is not None:
        set_onnx_preprocessing(model, preprocessing)
    return model


@dataclass(frozen=True)
class Int8Report:
    """How far the ONNX form of an int8 net is from the net itself.

    form: QDQ or QLinear. agreement: share of images whose largest output is the same. differing: share of all
    quantized values that differ; step: the largest such difference, in steps of its blob's own scale.
    step_alone: the same of operators that are each fed what the net itself computes. output: largest
    difference of the first output.
    """

    form: str
    images: int
    agreement: float
    differing: float
    step: int
    blob: str
    step_alone: int
    output: float

    def __str__(self):
        return (
            f"{self.form} form against the int8 net, {self.images} image-like inputs: "
            f"same top-1 on {self.agreement:.1%}; output max |difference| {self.output:.3g}; "
            f"{self.differing:.2%} of quantized values differ, by {self.step} steps at most ({self.blob}); "
            f"one operator alone differs by {self.step_alone} at most"
        )


def compare_int8(net: Net, model: onnx.ModelProto, samples: Sequence[Sample]) -> Int8Report:
    """Run an int8 net exactly, its ONNX form by ONNX Runtime, on the same inputs."""
    types = net.infer_types({name: TensorType(array.shape) for name, array in samples[0].feeds.items()})
    blobs = [name for node in model.graph.node for name in node.output if name in types and types[name].is_quantized]
    exact, near = net.session(), run_onnx(_with_outputs(model, blobs), samples)
    output = net.outputs[0]
    steps: dict[str, int] = dict.fromkeys(blobs, 0)
    agreeing, differing, differences = [], [], []
    for sample, have in zip(samples, near, strict=True):
        want = exact.run(sample.feeds, [output, *blobs])
        for blob in blobs:
            gap = np.abs(want[blob].data.astype(np.int32) - have[blob])
            steps[blob] = max(steps[blob], int(gap.max(initial=0)))
            differing.append((int((gap > 0).sum()), gap.size))
        expected, got = _real(want[output], types[output]), _real(have[output], types[output])
        differences.append(np.abs(expected - got).max())
        agreeing.extend(expected.reshape(len(expected), -1).argmax(1) == got.reshape(len(got), -1).argmax(1))
    unequal, total = np.sum(differing, axis=0) if differing else (0, 1)
    worst = max(steps, key=steps.get, default="")
    form = "qlinear" if any(node.op_type == "QLinearConv" for node in model.graph.node) else "qdq"
    return Int8Report(
        form={"qdq": "QDQ", "qlinear": "QLinear"}[form],
        images=len(agreeing),
        agreement=float(np.mean(agreeing)),
        differing=unequal / total,
        step=steps.get(worst, 0),
        blob=worst,
        step_alone=_largest_step_alone(net, samples[0], form),
        output=float(max(differences)),
    )


def _largest_step_alone(net: Net, sample: Sample, form: str) -> int:
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
            alone = _model(lower(Net(proto, net.init), input_types(feeds)))
            INT8_FORMS[form](alone)
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


def _with_free_batch(net: Net, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto | None:
    """The model with a free batch, or None where something in the graph is made for one batch."""
    if len({shape[0] for shape in shapes.values()}) > 1:
        return None
    try:
        first, second = (_lowered(net, _with_batch(shapes, batch)) for batch in BATCHES)
    except ModelError:  # shapes that go with one batch only; what else may be wrong shows at that batch
        return None
    nodes = first.graph.nodes
    weights, others = first.weights(), second.weights()
    if nodes != second.graph.nodes or weights.keys() != others.keys():
        return None
    readers = {name: (node.op_type, index) for node in nodes for index, name in enumerate(node.input)}
    for name, value in weights.items():
        if value is others[name] or np.array_equal(value, others[name]):
            continue
        freed = _freed(value, others[name], readers[name])
        if freed is None:
            return None
        first.graph.initializers[name] = freed
    model = _model(first)
    ends = [*second.inputs.values(), *(symbol.type for symbol in second.outputs.values())]
    for value, end in zip([*model.graph.input, *model.graph.output], ends, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, end.shape, strict=True)):
            if dim.dim_value != size:
                dim.dim_param = "batch" if axis == 0 else f"batch_{axis}"
    return model


def _with_batch(shapes: Mapping[str, Sequence[int]], batch: int) -> dict[str, Sequence[int]]:
    return {name: (batch, *shape[1:]) for name, shape in shapes.items()}


def _freed(first: np.ndarray, second: np.ndarray, reader: tuple[str, int]) -> np.ndarray | None:
    """A constant that depends on the batch, made free of it: the shapes of Reshape can be."""
    if first.shape != second.shape or reader != ("Reshape", 1):
        return None
    different = first != second
    return np.where(different, -1, first) if different.sum() == 1 and -1 not in first else None


def _lowered(net: Net, shapes: Mapping[str, Sequence[int]]) -> Lowered:
    return lower(net, {name: TensorType(tuple(shape)) for name, shape in shapes.items()})


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


def _real(value: np.ndarray | Int8Tensor, blob_type: TensorType) -> np.ndarray:
    if isinstance(value, np.ndarray) and blob_type.is_quantized:
        value = Int8Tensor(value, blob_type.scale, blob_type.zero_point)
    return value.dequantize() if isinstance(value, Int8Tensor) else value
