"""The files that other runtimes than Caffe2 take a quantized net in."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from caffe2_common.errors import ModelError
from caffe2_models.model_files import ModelFile
from caffe2_models.preprocessing import get_preprocessing
from exporters.int8.quantizer import Quantized, Target

SUFFIXES: dict[Target, str] = {"litert": ".tflite", "onnx": ".onnx"}


def target_of(place: str | os.PathLike[str]) -> Target:
    """What a name of what is to be written asks for: its ending tells."""
    endings = {suffix: target for target, suffix in SUFFIXES.items()}
    return endings.get(os.path.splitext(os.fspath(place))[1], "qnnpack")


def require_suffix(place: str | os.PathLike[str], target: Target) -> None:
    """Raises ModelError for a name that is not that of such a file."""
    if target_of(place) != target:
        wanted = f"a name that ends in {SUFFIXES[target]}" if target in SUFFIXES else "a prefix"
        raise ModelError(f"{os.fspath(place)}: --target {target} writes {wanted}")


def make_file(quantized: Quantized, shapes: Mapping[str, Sequence[int]], target: Target) -> ModelFile:
    """The file, not written yet, of what was quantized for a target other than QNNPACK."""
    name = quantized.net.name or "net"
    if target == "onnx":
        from caffe2_models.model_files.onnx import OnnxFile
        from exporters.int8.onnx_target import to_onnx

        return OnnxFile(f"{name}.onnx", to_onnx(quantized, shapes).SerializeToString())
    from caffe2_models.model_files.tflite import TfliteFile
    from exporters.caffe2_to_tflite.qdq import to_tflite

    converted = replace(
        to_tflite(quantized.net, shapes, quantized.layers), preprocessing=get_preprocessing(quantized.net.predict)
    )
    return TfliteFile(f"{name}.tflite", content=converted.to_bytes())
