"""Folding BatchNorm and constants in ONNX files, by ONNX Runtime's own rewrites."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from caffe2_common.errors import ModelError
from caffe2_models.runtimes.onnx_runtime import open_session
from exporters.onnx_files import graph_inputs


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants, BatchNorm, Identity and the like folded; plain ONNX, for any machine.

    What the file says of itself (metadata, names of inputs and outputs) is kept. Weights that old files list
    among the inputs too are constants. Raises ModelError for a model that ONNX Runtime cannot read.
    """
    inputs = graph_inputs(model.graph)
    if len(inputs) < len(model.graph.input):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
        copy.ir_version = max(copy.ir_version, 4)  # before, weights had to be listed
        model = copy
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        try:
            open_session(model.SerializeToString(), options)
        except Exception as error:  # onnxruntime's errors have no common class that it exports
            raise ModelError(f"ONNX Runtime cannot read the model: {str(error).splitlines()[0]}") from error
        optimized = onnx.load(options.optimized_model_filepath)
    domains = {node.domain for node in optimized.graph.node} | {""}
    kept = [entry for entry in optimized.opset_import if entry.domain in domains]
    del optimized.opset_import[:], optimized.metadata_props[:]
    optimized.opset_import.extend(kept)
    optimized.metadata_props.extend(model.metadata_props)
    optimized.graph.name = model.graph.name
    return optimized
