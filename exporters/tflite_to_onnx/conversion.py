"""The walk over a TensorFlow Lite graph that writes an ONNX model."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import size_of
from caffe2_models.model_files.tflite_reader import File, Operator, Tensor
from exporters.onnx_files import set_onnx_preprocessing
from exporters.tflite_to_onnx.graph import NCHW, Writer
from exporters.tflite_to_onnx.operators import require_translation, translate

OPSET, IR_VERSION = 18, 8

READ = {np.dtype(name) for name in ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")}


def to_onnx(file: File) -> onnx.ModelProto:
    """The model that computes what the file does, on real values: images N, C, H, W instead of N, H, W, C.

    What bytes an input or output has become QuantizeLinear and DequantizeLinear behind or before it. Raises
    UnsupportedError, with all of them, for operators that have no translation.
    """
    _require_read(file)
    writer = Writer()
    inputs = [_input(writer, tensor) for tensor in file.inputs]
    problems: list[str] = []
    for operator in _on_constants(file.operators):
        try:
            require_translation(operator)
            if any(x is not None and not x.is_constant and x not in writer.values for x in operator.operands):
                if not problems:
                    raise ModelError(f"{operator}: reads what nothing before it writes")
                continue  # it may read what an operator writes that is not converted
            translate(writer, operator)
        except UnsupportedError as error:
            problems.append(f"{operator}: {error}")
    if problems:
        raise UnsupportedError("TensorFlow Lite operators that are not converted: " + "; ".join(problems))
    outputs = [_output(writer, tensor) for tensor in file.outputs]
    graph = helper.make_graph(writer.nodes, file.name, inputs, outputs, writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    preprocessing = recorded_preprocessing(file)
    if preprocessing is not None:
        set_onnx_preprocessing(model, preprocessing)
    return model


def _on_constants(operators: Iterable[Operator]) -> Iterator[Operator]:
    """The operators, which read stored constants in place of what a DEQUANTIZE makes of them, floats of 16 bits too."""
    stored: dict[Tensor, Tensor] = {}
    for operator in operators:
        if operator.kind == "DEQUANTIZE" and operator.inputs[0].is_constant:
            stored[operator.output] = operator.inputs[0]
        else:
            yield replace(operator, operands=[stored.get(x, x) if x is not None else None for x in operator.operands])


def _require_read(file: File) -> None:
    """Raises ModelError for what no translation reads."""
    if file.graphs != 1:
        raise ModelError(f"{file.graphs} graphs; expected one")
    for tensor in file.tensors:
        if tensor.dtype not in READ:
            raise ModelError(f"tensor {tensor}: a type that is not read ({tensor.dtype.name})")
        if tensor.is_sparse:
            raise ModelError(f"tensor {tensor}: stored sparsely, which is not read")


def recorded_preprocessing(file: File) -> Preprocessing | None:
    """What the file says of its input, or what an image of bytes says by its scale; None where neither does.

    A uint8 image is the pixels themselves: (pixel / 255 - mean) / std = scale * (pixel - zero point).
    """
    if KEY in file.metadata:
        return Preprocessing.from_json(file.metadata[KEY])
    if len(file.inputs) != 1 or file.inputs[0].rank != 4:
        return None
    (x,) = file.inputs
    if x.dtype != np.uint8 or x.shape[3] not in (1, 3) or x.quantization is None or not x.quantization.is_single:
        return None
    channels = x.shape[3]
    mean, std = float(x.quantization.zero_point[0]) / 255, 1 / (255 * float(x.quantization.scale[0]))
    size = size_of((1, channels, *x.shape[1:3]))
    return Preprocessing(size=size, mean=(mean,) * channels, std=(std,) * channels)


def onnx_shape(tensor: Tensor) -> list[int]:
    return [tensor.shape[axis] for axis in NCHW] if tensor.rank == 4 else list(tensor.shape)


def _input(writer: Writer, tensor: Tensor) -> onnx.ValueInfoProto:
    floats = tensor.quantization is not None or tensor.dtype.kind == "f"
    element = onnx.TensorProto.FLOAT if floats else helper.np_dtype_to_tensor_dtype(tensor.dtype)
    name = writer.name(tensor.name)
    writer.write(tensor, name)
    return helper.make_tensor_value_info(name, element, onnx_shape(tensor))


def _output(writer: Writer, tensor: Tensor) -> onnx.ValueInfoProto:
    floats = tensor.quantization is not None or tensor.dtype.kind == "f"
    element = onnx.TensorProto.FLOAT if floats else helper.np_dtype_to_tensor_dtype(tensor.dtype)
    value = writer.real(tensor)
    if tensor.name not in writer.taken:
        value = writer.add("Identity", [value], tensor.name)
    return helper.make_tensor_value_info(value, element, onnx_shape(tensor))
