"""The quantized net as ONNX in QDQ form: weights in int8, a scale for each channel, biases in int32.

ONNX Runtime's and ExecuTorch's kernels, and others, take such groups of nodes together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from caffe2_models.preprocessing import get_preprocessing
from exporters.caffe2_to_onnx import lowered_model
from exporters.int8.quantizer import Quantized
from exporters.onnx_files import set_onnx_preprocessing


def to_onnx(quantized: Quantized, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Of what `quantize` made for a target other than QNNPACK, for inputs of these shapes; the batch may be free."""
    model = lowered_model(quantized.net, shapes, "qdq")
    graph = model.graph
    for node in graph.node:
        if node.op_type == "Sum" and len(node.input) == 2:
            node.op_type = "Add"  # which runtimes have a kernel of bytes for
    for layer in quantized.layers.values():
        weight, bias = layer.parameters
        _dequantized(graph, weight, layer.weight.data, layer.weight.scales, layer.weight.axis)
        _dequantized(graph, bias, layer.bias, layer.bias_scales, 0)
    if (preprocessing := get_preprocessing(quantized.net.predict)) is not None:
        set_onnx_preprocessing(model, preprocessing)
    onnx.checker.check_model(model)
    return model


def _dequantized(graph: onnx.GraphProto, name: str, data: np.ndarray, scales: np.ndarray, axis: int) -> None:
    """Put bytes and a DequantizeLinear in a real parameter's place."""
    kept = [tensor for tensor in graph.initializer if tensor.name != name]
    if len(kept) == len(graph.initializer):
        raise ValueError(f"no parameter {name} in the graph")
    del graph.initializer[:]
    graph.initializer.extend(kept)
    values = {
        f"{name}/quantized": data,
        f"{name}/scale": scales,
        f"{name}/zero_point": np.zeros(len(scales), data.dtype),
    }
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in values.items())
    node = helper.make_node("DequantizeLinear", list(values), [name], name=f"{name}/dequantize", axis=axis)
    graph.node.insert(0, node)
