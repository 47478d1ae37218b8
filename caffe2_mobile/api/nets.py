"""Nets from what is no Caffe2 net yet: ONNX files, the zoo.

Converters are imported where they are used: most latencies need none of them, and shall be told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import pair_of
from caffe2_models import Net
from caffe2_models.find import Place, find_net, is_net, not_found
from caffe2_models.model_files import ModelFile, is_model_file, open_model_file

if TYPE_CHECKING:
    from torch import nn

Source = Net | Place


@explaining_extras()
def from_file(path: Path) -> Net:
    """The Caffe2 net of an ONNX or TensorFlow Lite file: int8 where that computes in bytes, at its own scales."""
    from exporters.onnx_files import load_onnx
    from exporters.onnx_to_caffe2 import convert
    from exporters.quantized_onnx import convert_quantized, is_quantized

    if path.suffix == ".tflite":
        from caffe2_models.model_files.tflite_reader import read_tflite
        from exporters.tflite_to_onnx.conversion import to_onnx

        model = to_onnx(read_tflite(path))
    else:
        model = load_onnx(path)
    return convert_quantized(model).net if is_quantized(model) else convert(model)


@explaining_extras()
def open_file(source: Source, kernels: str | None = None) -> ModelFile | None:
    """What a runtime of its own runs as it is: a .tflite file, or an ONNX file that computes in bytes.

    None where the source is a Caffe2 net, or becomes one. kernels: LiteRT's set. Raises ModelError for a file that is
    none.
    """
    if isinstance(source, Net) or not is_model_file(source):
        if kernels is not None:
            raise ModelError(f"{net_name(source)}: has no choice of kernels, which LiteRT's .tflite files have")
        return None
    if Path(source).suffix == ".onnx":
        from exporters.onnx_files import in_bytes, load_onnx

        if not in_bytes(load_onnx(source)):
            return None
    return open_model_file(source, kernels)


@explaining_extras()
def from_zoo(name: str) -> Net:
    """The Caffe2 float net of a model of the zoo, or of a definition F.json, with random weights."""
    from mobile_cv.model_zoo import create_model

    return from_module(create_model(name), name)


@explaining_extras()
def from_module(module: nn.Module, name: str = "") -> Net:
    """The Caffe2 float net of a network of the zoo."""
    from exporters.onnx_to_caffe2 import convert
    from exporters.torch_to_onnx import export

    preprocessing = preprocessing_of(module)
    shape = (1, 3, *pair_of(preprocessing.size))
    return convert(export(module, shape, preprocessing=preprocessing, name=name))


def preprocessing_of(module: nn.Module) -> Preprocessing:
    """How an image becomes the input of a network of the zoo; of any other module, ImageNet's usual way."""
    config: dict[str, Any] = getattr(module, "default_cfg", {}) if hasattr(module, "architecture") else {}
    return Preprocessing(**config)


def to_int8(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> Net:
    """An int8 net with the operators that a float net's would have; its ranges are those of noise."""
    from exporters.int8.quantizer import quantize
    from exporters.int8.recipe import find_recipe

    if len(shapes) != 1:
        raise ModelError(f"{net.name or 'net'}: inputs {', '.join(shapes)}; expected a net with one input, an image")
    (shape,) = shapes.values()
    noise = np.random.default_rng(0).standard_normal(shape[1:], np.float32)
    return quantize(net, [noise], find_recipe("minmax"), shapes).net


def read_net(source: Source, init: Place | None = None) -> Net:
    """The net that files hold: a folder, P of P.predict.pb and P.init.pb, a predict file with its init file, or ONNX.

    init: of a predict file, where it does not stand beside it under the usual name. A net is passed through; a
    published name means what was downloaded. Raises ModelError for files that are missing or hold no net.
    """
    if isinstance(source, Net):
        return source
    return from_file(Path(source)) if is_model_file(source) else find_net(source, init)


def open_net(source: Source, init: Place | None = None) -> Net:
    """The net that a name means, for what it costs rather than for what it says: its weights may be stand-ins.

    What read_net reads, and what a file of another format was made from; then a published net that was not downloaded,
    or lies in a folder as a graph alone; then a model of the zoo, or a definition F.json. Raises ModelError for a name
    that means nothing.
    """
    if isinstance(source, Net):
        return source
    suffix = Path(source).suffix
    if (file := open_file(source)) is not None and file.record is not None:
        return file.origin()
    if is_model_file(source):
        return from_file(Path(source))
    if suffix != ".json" and is_net(source):
        return find_net(source, init, stand_in_weights=True)
    try:
        return from_zoo(str(source))
    except ModelError as error:
        raise ModelError(f"{not_found(source)}; the zoo says: {error}") from None


def net_name(source: Source) -> str:
    """What to call the net of a source."""
    return source.name if isinstance(source, Net) else str(source)
