"""The onnxruntime runtime: the net lowered to ONNX for the shapes at hand, run by ONNX Runtime."""

import os
from dataclasses import dataclass

import onnxruntime

from caffe2_common.errors import ModelError
from caffe2_common.machine import cores
from caffe2_models import kernels
from caffe2_models.lowering import lower
from caffe2_models.operators.node import all_nodes
from caffe2_models.runtimes.onnx_tuning import tune
from caffe2_models.runtimes.session import input_types
from caffe2_models.runtimes.staged import StagedSession
from caffe2_models.tensors import Int8Tensor, TensorType, Value

SHARED_BYTES = 1 << 12  # weights from this size on are not copied into the model

# What computes something else (ONNX Runtime 1.23 to 1.31 at least). Pad_Fusion moves zeros around an image into a
# pooling's pads: MaxPool does not count those, and pads as large as the kernel are refused. WeightBiasQuantization
# rounds float weights between quantized activations to 255 steps of one scale for the whole tensor.
WRONG_OPTIMIZERS = ["Pad_Fusion", "WeightBiasQuantization"]


def open_session(
    model: bytes | str | os.PathLike, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a serialized model, or of a file, on the CPU, without the optimizers that are wrong."""
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=WRONG_OPTIMIZERS
    )


@dataclass(frozen=True)
class Plan:
    """A session of ONNX Runtime, for feeds of given types; `outputs` are named as in the ONNX graph."""

    session: onnxruntime.InferenceSession
    outputs: dict[str, str]
    types: dict[str, TensorType]
    weights: list[onnxruntime.OrtValue]  # kept alive: the session reads them where they are

    def run(self, feeds: dict[str, Value]) -> dict[str, Value]:
        arrays = {name: value.data if isinstance(value, Int8Tensor) else value for name, value in feeds.items()}
        try:
            results = self.session.run(list(self.outputs.values()), arrays)
        except Exception as error:  # ONNX Runtime's errors have no class of their own
            raise ModelError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error
        return {blob: found.tensor(array) for (blob, found), array in zip(self.types.items(), results, strict=True)}


class OnnxRuntimeSession(StagedSession):
    """float32 nets at ONNX Runtime's speed; int8 nets to the byte, or faster in QDQ form, as an approximation."""

    backend = "onnxruntime"
    max_stages = 16

    def __init__(self, net, threads=None, approximate=False):
        super().__init__(net, threads)
        self.approximate = approximate
        self._pool = None
        ranking = [node for node in all_nodes(net.operators) if node.operator.ranks]
        self._ranked = {name for node in ranking for name in node.inputs[:1]}

    def can_compile(self, step):
        """ONNX Runtime does not take all operators without elements, and rounds scores that are ranked otherwise."""
        nodes = list(all_nodes([step.node]))
        if any(not node.operator.is_in_onnx() or node.operator.refuses_content for node in nodes):
            return False
        has_elements = all(t.size for t in step.inputs) and all(t.size or t.value is not None for t in step.outputs)
        return has_elements and not any(self._ranked.intersection(node.outputs) for node in nodes)

    def find_apart(self, steps, feeds, needed):
        """Operators on images of few channels go to kernels of our own, where these are faster."""
        if kernels.find("RowProgram") is None or kernels.chosen_instruction_set() == "portable":
            return None
        from caffe2_models.kernels import rows

        return rows.find_part(steps, self.net.parameters, feeds, needed)

    def compile_apart(self, part, feeds, outputs):
        from caffe2_models.kernels import rows

        if self._pool is None:
            self._pool = kernels.ThreadPool(self.threads or cores())
        return rows.RowPlan(part, input_types(feeds), outputs, kernels.chosen_instruction_set(), self._pool)

    def compile(self, part, feeds, outputs):
        lowered = lower(part, input_types(feeds), outputs, qdq=self.approximate)
        tune(lowered.graph)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_mem_pattern = False  # it plans memory anew beside the first run's, and is no faster here
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        large = {name: array for name, array in lowered.weights().items() if array.nbytes >= SHARED_BYTES}
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in large.values()]
        options.add_external_initializers(list(large), values)
        model = lowered.to_model(outside=large).SerializeToString()
        try:
            session = open_session(model, options)
        except Exception as error:  # ONNX Runtime's errors have no class of their own
            raise ModelError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error
        symbols = {blob: lowered.outputs[blob] for blob in outputs}
        names = {blob: symbol.name for blob, symbol in symbols.items()}
        return Plan(session, names, {blob: symbol.type for blob, symbol in symbols.items()}, values)
