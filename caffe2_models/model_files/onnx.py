"""ONNX files, run by ONNX Runtime as they are: float ones, and those of bytes in whatever form."""

import math
import os
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_models import origin
from caffe2_models.model_files import QUANTIZED, ModelFile, Run, naming
from caffe2_models.model_files.counting import Operator, count
from caffe2_models.profiling import NetCost
from caffe2_models.runtimes.onnx_runtime import open_session

SOFTMAX = ("Softmax",)

# Without it, sums of two products of uint8 and int8 saturate at 16 bits on x86-64 that has no VNNI.
EXACT_SUMS = ("session.x64quantprecision", "1")


class OnnxFile(ModelFile):
    """Its inputs are N, C, H, W in float32; the batch, or sizes, may be free."""

    format, backend = "ONNX", "onnxruntime"

    def __init__(self, path: str | os.PathLike[str], content: bytes | None = None):
        super().__init__(path, content)
        try:
            self.model = onnx.ModelProto.FromString(self.content)
            session = self._open(1)
        except Exception as error:  # protobuf's and ONNX Runtime's own kinds, which share no base
            raise ModelError(f"{self.path}: cannot be loaded as ONNX ({_first_line(error)})") from None
        graph = self.model.graph
        self.inputs = {value.name: _dims(value.shape) for value in session.get_inputs()}
        self.input_types = {value.name: value.type for value in session.get_inputs()}
        self.outputs = {value.name: _dims(value.shape) for value in session.get_outputs()}
        self.form = f"onnx{'-int8' * bool(QUANTIZED & {node.op_type for node in graph.node})}"
        self.parameter_count = sum(math.prod(tensor.dims) for tensor in graph.initializer)
        writers = [node.op_type for node in graph.node if next(iter(self.outputs), "") in node.output]
        self.probabilities = bool(writers) and writers[-1] in SOFTMAX
        entries = session.get_modelmeta().custom_metadata_map
        with naming(self.path):
            self.preprocessing = Preprocessing.from_json(entries[KEY]) if entries.get(KEY) else None
            self.record = origin.from_text(entries[origin.KEY]) if entries.get(origin.KEY) else None

    @property
    def takes_floats(self) -> bool:
        return all(kind == "tensor(float)" for kind in self.input_types.values())

    def describe(self, name: str) -> str:
        return f"{self.input_types[name]} {list(self.inputs[name])}"

    def session(self, threads: int | None = 1) -> Run:
        session = self._open(threads)
        names = [value.name for value in session.get_outputs()]

        def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                return dict(zip(names, session.run(names, dict(feeds)), strict=True))
            except Exception as error:  # likewise
                shapes = ", ".join(str(list(value.shape)) for value in feeds.values())
                raise ModelError(f"{self.path}: does not run on {shapes} ({_first_line(error)})") from None

        return run

    def cost(self, shapes: Mapping[str, tuple[int, ...]]) -> NetCost:
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for value in model.graph.input:
            if value.name in shapes:
                for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
                    dim.dim_value = size
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        constants = {tensor.name: tensor for tensor in inferred.initializer}
        known = {
            value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        sizes = {name: tuple(tensor.dims) for name, tensor in constants.items()}
        sizes |= {name: tuple(dim.dim_value for dim in found.shape.dim) for name, found in known.items()}
        kinds = {name: _dtype(tensor.data_type) for name, tensor in constants.items()}
        kinds |= {name: _dtype(found.elem_type) for name, found in known.items()}
        operators = [_operator(node, constants, sizes, kinds) for node in inferred.node if node.op_type != "Constant"]
        counts = {name: math.prod(size) for name, size in sizes.items()}
        nbytes = {name: number * kinds[name].itemsize for name, number in counts.items()}
        return count(self.name, operators, counts, nbytes, list(self.outputs))

    def _open(self, threads: int | None) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
        options.log_severity_level = 4
        options.add_session_config_entry(*EXACT_SUMS)
        return open_session(os.fspath(self.path) if self.is_written else self.content, options)


def _operator(node: onnx.NodeProto, constants: Mapping, sizes: Mapping, kinds: Mapping) -> Operator:
    inputs = [name for name in node.input if name]
    output = node.output[0]
    scale = zero_point = None
    if node.op_type == "QuantizeLinear" and all(name in constants for name in node.input[1:]):
        ends = [onnx.numpy_helper.to_array(constants[name]) for name in node.input[1:]]
        if ends[0].size == 1:
            scale, zero_point = float(ends[0].item()), int(ends[1].item()) if len(ends) > 1 else 0
    return Operator(
        kind=node.op_type,
        inputs=tuple(name for name in inputs if name not in constants),
        outputs=tuple(name for name in node.output if name),
        constants=tuple(name for name in inputs if name in constants),
        macs=_macs(node, sizes),
        shape=sizes.get(output, ()),
        dtype=kinds[output].name if output in kinds else "",
        scale=scale,
        zero_point=zero_point,
    )


def _macs(node: onnx.NodeProto, sizes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiply-adds of an operator with weights."""
    weight = {"QLinearConv": 3, "QLinearMatMul": 3}.get(node.op_type, 1)
    if len(node.input) <= weight or node.input[weight] not in sizes or node.output[0] not in sizes:
        return 0
    taps, y = sizes[node.input[weight]], math.prod(sizes[node.output[0]])
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        return y * math.prod(taps[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(sizes.get(node.input[0], (0,))) * math.prod(taps[1:])
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return y * sizes.get(node.input[0], (0,))[-1]
    if node.op_type == "Gemm":
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        return y * taps[1 if attributes.get("transB") else 0]
    return 0


def _dims(shape: list) -> tuple[int | None, ...]:
    return tuple(dim if isinstance(dim, int) else None for dim in shape)


def _dtype(code: int) -> np.dtype:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code)) if code else np.dtype(np.float32)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
