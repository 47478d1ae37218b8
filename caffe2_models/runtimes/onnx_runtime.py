"""The onnxruntime runtime: the net lowered to ONNX for the shapes at hand, run by ONNX Runtime."""

import os
from dataclasses import dataclass

import onnxruntime

from caffe2_common.errors import ModelError
from caffe2_models.lowering import lower
from caffe2_models.runtimes.session import Session, input_types, type_key
from caffe2_models.tensors import Int8Tensor, TensorType, Value

MAX_PLANS = 4  # sessions kept: nets are fed a few shapes, a full batch and the rest of it

SHARED_BYTES = 1 << 12  # weights from this size on are not copied into the model

# Moves zeros around an image into a pooling's pads (ONNX Runtime 1.23 to 1.31 at least): MaxPool does not count those,
# and pads as large as the kernel are refused.
WRONG_OPTIMIZERS = ["Pad_Fusion"]


def open_session(
    model: bytes | str | os.PathLike, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a serialized model, or of a file, on the CPU, without the optimizers that are wrong."""
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=WRONG_OPTIMIZERS
    )


@dataclass(frozen=True)
class Plan:
    """A session of ONNX Runtime, for feeds of given types and the outputs asked for."""

    session: onnxruntime.InferenceSession
    names: list[str]  # the outputs', in the ONNX graph
    types: list[TensorType]
    weights: list[onnxruntime.OrtValue]  # kept alive: the session reads them where they are


class OnnxRuntimeSession(Session):
    """float32 nets at ONNX Runtime's speed; int8 nets to the byte, or faster in QDQ form, as an approximation."""

    backend = "onnxruntime"

    def __init__(self, net, threads=None, approximate=False):
        super().__init__(net, threads)
        self.approximate = approximate
        self._plans: dict[tuple, Plan] = {}

    def _run(self, feeds, outputs):
        plan = self._plan(feeds, outputs)
        arrays = {name: value.data if isinstance(value, Int8Tensor) else value for name, value in feeds.items()}
        try:
            results = plan.session.run(plan.names, arrays)
        except Exception as error:  # ONNX Runtime's errors have no class of their own
            raise ModelError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error
        return {
            blob: Int8Tensor(array, found.scale, found.zero_point) if found.is_quantized else array
            for blob, found, array in zip(outputs, plan.types, results, strict=True)
        }

    def _plan(self, feeds: dict[str, Value], outputs: list[str]) -> Plan:
        key = (type_key(feeds), tuple(outputs))
        if key not in self._plans:
            if len(self._plans) == MAX_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._prepare(input_types(feeds), outputs)
        return self._plans[key]

    def _prepare(self, types: dict[str, TensorType], outputs: list[str]) -> Plan:
        lowered = lower(self.net, types, outputs, qdq=self.approximate)
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
        symbols = lowered.outputs
        names = [symbols[blob].name for blob in outputs]
        return Plan(session, names, [symbols[blob].type for blob in outputs], values)
