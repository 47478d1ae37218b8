"""Mobile CNNs from PyTorch to ONNX, Caffe2 and Caffe2 int8, with their accuracy and latency, and out again.

All of the Python API stands here. Each name is imported when it is first used, so that `import caffe2_mobile` is fast,
and only what needs PyTorch asks for it.

>>> import caffe2_mobile
>>> net = caffe2_mobile.load_net("models/mobilenet_v1_0.5_160_quant")
>>> net.session().run({"data": x})
"""

import importlib
from typing import TYPE_CHECKING, Any

from caffe2_common.extras import explaining_extras

__version__ = "0.2.0"

if TYPE_CHECKING:
    from caffe2_common.errors import ModelError as ModelError
    from caffe2_common.errors import UnsupportedError as UnsupportedError
    from caffe2_common.preprocessing import Preprocessing as Preprocessing
    from caffe2_mobile.api.benchmark import BenchmarkOptions as BenchmarkOptions
    from caffe2_mobile.api.benchmark import BenchmarkResult as BenchmarkResult
    from caffe2_mobile.api.benchmark import benchmark as benchmark
    from caffe2_mobile.api.build_lut import BuildLutOptions as BuildLutOptions
    from caffe2_mobile.api.build_lut import BuildLutResult as BuildLutResult
    from caffe2_mobile.api.build_lut import build_lut as build_lut
    from caffe2_mobile.api.convert import ConvertOptions as ConvertOptions
    from caffe2_mobile.api.convert import ConvertResult as ConvertResult
    from caffe2_mobile.api.convert import convert as convert
    from caffe2_mobile.api.download import download as download
    from caffe2_mobile.api.export import ExportOptions as ExportOptions
    from caffe2_mobile.api.export import ExportResult as ExportResult
    from caffe2_mobile.api.export import export as export
    from caffe2_mobile.api.inspect import InspectOptions as InspectOptions
    from caffe2_mobile.api.inspect import InspectResult as InspectResult
    from caffe2_mobile.api.inspect import inspect as inspect
    from caffe2_mobile.api.latency import LatencyOptions as LatencyOptions
    from caffe2_mobile.api.latency import LatencyResult as LatencyResult
    from caffe2_mobile.api.latency import latency as latency
    from caffe2_mobile.api.models import ListOptions as ListOptions
    from caffe2_mobile.api.models import ModelList as ModelList
    from caffe2_mobile.api.models import list_models as list_models
    from caffe2_mobile.api.optimize import OptimizeResult as OptimizeResult
    from caffe2_mobile.api.optimize import optimize as optimize
    from caffe2_mobile.api.quantize import QuantizeOptions as QuantizeOptions
    from caffe2_mobile.api.quantize import QuantizeResult as QuantizeResult
    from caffe2_mobile.api.quantize import Recipe as Recipe
    from caffe2_mobile.api.quantize import quantize as quantize
    from caffe2_mobile.api.search import SearchOptions as SearchOptions
    from caffe2_mobile.api.search import SearchResult as SearchResult
    from caffe2_mobile.api.search import search as search
    from caffe2_mobile.api.to_onnx import ToOnnxOptions as ToOnnxOptions
    from caffe2_mobile.api.to_onnx import ToOnnxResult as ToOnnxResult
    from caffe2_mobile.api.to_onnx import to_onnx as to_onnx
    from caffe2_mobile.api.to_tflite import ToTfliteOptions as ToTfliteOptions
    from caffe2_mobile.api.to_tflite import ToTfliteResult as ToTfliteResult
    from caffe2_mobile.api.to_tflite import to_tflite as to_tflite
    from caffe2_mobile.api.train import TrainOptions as TrainOptions
    from caffe2_mobile.api.train import TrainResult as TrainResult
    from caffe2_mobile.api.train import train as train
    from caffe2_mobile.api.validate import Caffe2Model as Caffe2Model
    from caffe2_mobile.api.validate import OnnxModel as OnnxModel
    from caffe2_mobile.api.validate import TfliteModel as TfliteModel
    from caffe2_mobile.api.validate import TorchModel as TorchModel
    from caffe2_mobile.api.validate import ValidateOptions as ValidateOptions
    from caffe2_mobile.api.validate import ValidateResult as ValidateResult
    from caffe2_mobile.api.validate import validate as validate
    from caffe2_mobile.api.view import ViewOptions as ViewOptions
    from caffe2_mobile.api.view import ViewResult as ViewResult
    from caffe2_mobile.api.view import view as view
    from caffe2_models import Int8Tensor as Int8Tensor
    from caffe2_models import Net as Net
    from caffe2_models import load_net as load_net

# Module -> what is public of it.
_NAMES = {
    "caffe2_common.errors": ["ModelError", "UnsupportedError"],
    "caffe2_common.preprocessing": ["Preprocessing"],
    "caffe2_mobile.api.benchmark": ["BenchmarkOptions", "BenchmarkResult", "benchmark"],
    "caffe2_mobile.api.build_lut": ["BuildLutOptions", "BuildLutResult", "build_lut"],
    "caffe2_mobile.api.convert": ["ConvertOptions", "ConvertResult", "convert"],
    "caffe2_mobile.api.download": ["download"],
    "caffe2_mobile.api.export": ["ExportOptions", "ExportResult", "export"],
    "caffe2_mobile.api.inspect": ["InspectOptions", "InspectResult", "inspect"],
    "caffe2_mobile.api.latency": ["LatencyOptions", "LatencyResult", "latency"],
    "caffe2_mobile.api.models": ["ListOptions", "ModelList", "list_models"],
    "caffe2_mobile.api.optimize": ["OptimizeResult", "optimize"],
    "caffe2_mobile.api.quantize": ["QuantizeOptions", "QuantizeResult", "Recipe", "quantize"],
    "caffe2_mobile.api.search": ["SearchOptions", "SearchResult", "search"],
    "caffe2_mobile.api.to_onnx": ["ToOnnxOptions", "ToOnnxResult", "to_onnx"],
    "caffe2_mobile.api.to_tflite": ["ToTfliteOptions", "ToTfliteResult", "to_tflite"],
    "caffe2_mobile.api.train": ["TrainOptions", "TrainResult", "train"],
    "caffe2_mobile.api.validate": [
        "Caffe2Model",
        "OnnxModel",
        "TfliteModel",
        "TorchModel",
        "ValidateOptions",
        "ValidateResult",
        "validate",
    ],
    "caffe2_mobile.api.view": ["ViewOptions", "ViewResult", "view"],
    "caffe2_models": ["Int8Tensor", "Net", "load_net"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with explaining_extras():
        value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
