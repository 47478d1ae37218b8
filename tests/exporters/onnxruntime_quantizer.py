"""What ONNX Runtime's own quantizer makes of a model."""

from pathlib import Path

import onnx
import pytest

from exporters.verification import make_samples


def quantize_by_onnxruntime(model: onnx.ModelProto, shape: tuple[int, ...], folder: Path, **options) -> onnx.ModelProto:
    """quantize_static of a model whose one input, x, has this shape. options: its own, kinds by their names."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.samples = iter([s.feeds for seed in range(4) for s in make_samples({"x": shape}, None, seed)])

        def get_next(self):
            return next(self.samples, None)

    kinds = {
        "quant_format": quantization.QuantFormat,
        "activation_type": quantization.QuantType,
        "weight_type": quantization.QuantType,
    }
    given = {name: getattr(kinds[name], value) if name in kinds else value for name, value in options.items()}
    onnx.save(model, folder / "float.onnx")
    quantization.quantize_static(folder / "float.onnx", folder / "int8.onnx", Reader(), **given)
    return onnx.load(folder / "int8.onnx")
