"""A TensorFlow Lite file run by LiteRT on real values, in ONNX's order."""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from caffe2_common.errors import ModelError
from caffe2_models.model_files.tflite_reader import File, Tensor
from exporters.tflite_to_onnx.graph import BYTES, NCHW, NHWC
from exporters.verification import Sample


def run_tflite(file: File, samples: Sequence[Sample]) -> list[dict[str, np.ndarray]]:
    """For each sample the outputs, by LiteRT's reference kernels. Raises ModelError where it cannot run them."""
    try:
        interpreter = Interpreter(
            model_content=file.content, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        results = []
        for sample in samples:
            for tensor, detail, fed in zip(
                file.inputs, interpreter.get_input_details(), sample.feeds.values(), strict=True
            ):
                interpreter.set_tensor(detail["index"], _stored(tensor, fed))
            interpreter.invoke()
            details = interpreter.get_output_details()
            outputs = [interpreter.get_tensor(detail["index"]) for detail in details]
            pairs = zip(file.outputs, outputs, strict=True)
            results.append({tensor.name: _real(tensor, value) for tensor, value in pairs})
        return results
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"LiteRT cannot run the model: {str(error).splitlines()[0]}") from error


def _stored(tensor: Tensor, value: np.ndarray) -> np.ndarray:
    """Real values as the file takes them."""
    value = value.transpose(NHWC) if value.ndim == 4 else value
    if tensor.quantization is not None and tensor.dtype in BYTES:
        limits = np.iinfo(tensor.dtype)
        steps = np.rint(value / tensor.quantization.scale) + tensor.quantization.zero_point
        value = np.clip(steps, limits.min, limits.max)
    return np.ascontiguousarray(value.astype(tensor.dtype))


def _real(tensor: Tensor, value: np.ndarray) -> np.ndarray:
    if tensor.quantization is not None and tensor.dtype in BYTES:
        steps = (value.astype(np.int32) - tensor.quantization.zero_point).astype(np.float32)
        value = steps * tensor.quantization.scale
    return value.transpose(NCHW) if value.ndim == 4 else value
