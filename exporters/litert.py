"""LiteRT, the runtime of .tflite files, in each of its kernel sets; needs the extra `litert`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Net
from caffe2_models.runtimes import KERNELS
from caffe2_models.runtimes.litert import open_interpreter
from exporters.caffe2_to_tflite.conversion import Converted
from exporters.int8_comparison import Int8Report, compare_int8
from exporters.verification import Comparison, Sample, compare, run_net


@dataclass(frozen=True)
class TfliteRun:
    """A converted net in one of the kernel sets; blobs: what is asked for beside the outputs."""

    converted: Converted
    kernels: str
    blobs: tuple[str, ...] = ()

    def __call__(self, samples: Sequence[Sample]) -> list[dict[str, np.ndarray]]:
        """For each sample the outputs and blobs, in the net's own order and bytes."""
        model = self.converted.to_bytes(blobs=self.blobs)
        names = [*self.converted.outputs, *self.blobs]
        interpreter = open_interpreter(model, self.kernels)
        try:
            return [self._one(interpreter, names, sample.feeds) for sample in samples]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT ({KERNELS[self.kernels]}): {str(error).splitlines()[0]}") from error

    def _one(self, interpreter: Any, names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for (name, tensor), detail in zip(self.converted.inputs.items(), interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(feeds[name].transpose(tensor.order)))
        interpreter.invoke()
        details = interpreter.get_output_details()
        return {
            name: self._value(name, interpreter.get_tensor(detail["index"]))
            for name, detail in zip(names, details, strict=True)
        }

    def _value(self, name: str, stored: np.ndarray) -> np.ndarray:
        tensor = self.converted.blobs[name]
        value = stored.reshape(tensor.stored).transpose(np.argsort(tensor.order))
        if tensor.quantization is None or not self.converted.offset or value.dtype != np.int8:
            return value
        return (value.astype(np.int16) + self.converted.offset).astype(np.uint8)


def compare_float(net: Net, converted: Converted, samples: Sequence[Sample]) -> list[Comparison]:
    """The outputs in each kernel set with the net's own."""
    expected = run_net(net, samples)
    return [
        compare(f"LiteRT ({title}) against the Caffe2 net", sample, want, got)
        for kernels, title in KERNELS.items()
        for sample, want, got in zip(samples, expected, TfliteRun(converted, kernels)(samples), strict=True)
    ]


def compare_bytes(net: Net, converted: Converted, samples: Sequence[Sample]) -> list[Int8Report]:
    """All quantized blobs in each kernel set with the net's own. Samples are single images or whole batches."""
    types = net.infer_types(net.input_types({name: array.shape for name, array in samples[0].feeds.items()}))
    blobs = [name for name in converted.blobs if name in types and types[name].is_quantized]
    hidden = tuple(name for name in blobs if name not in converted.outputs)
    return [
        compare_int8(net, f"LiteRT ({title})", samples, blobs, TfliteRun(converted, kernels, hidden))
        for kernels, title in KERNELS.items()
    ]
