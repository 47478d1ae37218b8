"""PyTorch to ONNX."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size, pair_of
from caffe2_mobile.api.comparisons import Verified
from caffe2_mobile.api.nets import preprocessing_of
from caffe2_mobile.api.options import require_one_of, require_positive
from exporters.onnx_files import save_onnx
from exporters.verification import make_samples

if TYPE_CHECKING:
    from torch import nn

EXPORTERS = ("auto", "torchscript", "dynamo")
INTERPOLATIONS = ("bilinear", "bicubic")
SIZE_STEP = 17  # of the second size at which dynamic_size is tried: odd, and no multiple of any stride


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export a model.

    checkpoint: weights from a file; random_weights: none at all, to try the chain out; otherwise a model of the zoo has
    its published weights. num_classes, in_chans: of the model of the zoo. img_size: height and width in pixels, N or
    (H, W) (default: the model's own). batch_size: fixes the batch, which is left free otherwise; dynamic_size leaves
    height and width free too. opset: default 17 (dynamo: 18). exporter: of torch's, "torchscript" or "dynamo"; "auto":
    the first that works. keep_init: list the weights among the graph's inputs too, as some old tools want.
    mean, std (one for each channel, or one for all), interpolation, crop_pct: recorded in the file as the model's
    preprocessing, in place of the zoo's.
    """

    checkpoint: str | os.PathLike[str] | None = None
    random_weights: bool = False
    num_classes: int | None = None
    in_chans: int = 3
    img_size: Size | None = None
    batch_size: int | None = None
    dynamic_size: bool = False
    opset: int | None = None
    exporter: str = "auto"
    keep_init: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None

    def __post_init__(self) -> None:
        require_positive(self, "num_classes", "in_chans", "img_size", "batch_size", "crop_pct")
        require_one_of("exporter", self.exporter, EXPORTERS)
        if self.interpolation is not None:
            require_one_of("interpolation", self.interpolation, INTERPOLATIONS)
        if self.checkpoint is not None and self.random_weights:
            raise ModelError("invalid random_weights: expected either a checkpoint or random weights")


@dataclass(frozen=True, kw_only=True)
class ExportResult(Verified):
    """An ONNX model, valid by onnx.checker, and how near ONNX Runtime computes what PyTorch does.

    parameters: how many numbers the PyTorch model has.
    """

    name: str
    model: onnx.ModelProto = field(repr=False)
    parameters: int

    def __str__(self) -> str:
        dims = [dim.dim_param or str(dim.dim_value) for dim in self.model.graph.input[0].type.tensor_type.shape.dim]
        described = (
            f"{self.name}, {self.parameters / 1e6:.2f} M parameters, {len(self.model.graph.node)} nodes, "
            f"opset {self.model.opset_import[0].version}, input {' x '.join(dims)}; onnx.checker finds it valid"
        )
        return "\n".join([described, *self.comparison_lines()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file, whole or not at all."""
        save_onnx(self.model, path)


@explaining_extras()
def export(model: str | nn.Module, options: ExportOptions | None = None) -> ExportResult:
    """An ONNX model of a PyTorch model, compared with it on random and on image-like input.

    model: the name of a model of the zoo, the path of a definition F.json, or any module that maps one float32 input
    (N, in_chans, height, width) to one output. Raises ModelError for a model that is unknown or cannot be
    exported, and where PyTorch is not installed.
    """
    from exporters import torch_to_onnx

    options = options or ExportOptions()
    module, name = _module_of(model, options)
    preprocessing = _preprocessing_of(module, options)
    shape = (options.batch_size or 1, options.in_chans, *pair_of(preprocessing.size))
    exported = torch_to_onnx.export(
        module,
        shape,
        opset=options.opset,
        dynamic_batch=options.batch_size is None,
        dynamic_size=options.dynamic_size,
        exporter=options.exporter,
        keep_init=options.keep_init,
        preprocessing=preprocessing,
        name=name,
    )
    _require_valid(exported)
    samples = make_samples({torch_to_onnx.INPUT: shape}, preprocessing)
    if options.dynamic_size:
        other = (*shape[:2], shape[2] + SIZE_STEP, shape[3] + 2 * SIZE_STEP)
        samples += make_samples({torch_to_onnx.INPUT: other}, preprocessing)
    return ExportResult(
        name=name,
        model=exported,
        parameters=torch_to_onnx.count_parameters(module),
        comparisons=tuple(torch_to_onnx.verify(module, exported, samples)),
    )


def _module_of(model: str | nn.Module, options: ExportOptions) -> tuple[nn.Module, str]:
    """(module in eval mode, its name)"""
    from exporters import torch_to_onnx

    if not isinstance(model, str):
        if options.checkpoint is not None or options.random_weights or options.num_classes is not None:
            raise ModelError("invalid options: a module has its own weights and classes; expected neither for it")
        return model.eval(), type(model).__name__
    module = torch_to_onnx.create_module(
        model,
        pretrained=options.checkpoint is None and not options.random_weights,
        checkpoint_path=options.checkpoint,
        num_classes=options.num_classes,
        in_chans=options.in_chans,
        img_size=options.img_size,
    )
    architecture: Any = module.architecture
    if options.dynamic_size and architecture.same_padding:
        raise ModelError(f"{model}: its SAME padding is made for one size; leave the size fixed (no --dynamic-size)")
    return module, Path(model).stem if model.endswith(".json") else model


def _preprocessing_of(module: nn.Module, options: ExportOptions) -> Preprocessing:
    """The model's own preprocessing (that of ImageNet where it has none), where no option says otherwise."""
    return preprocessing_of(module).replace(
        size=options.img_size,
        mean=_per_channel("mean", options.mean, options.in_chans),
        std=_per_channel("std", options.std, options.in_chans),
        interpolation=options.interpolation,
        crop_pct=options.crop_pct,
    )


def _per_channel(name: str, values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    """A number for each channel; one stands for all."""
    if values is None:
        return None
    if len(values) not in (1, channels):
        raise ModelError(
            f"invalid {name}: {len(values)} numbers for {channels} input channels; expected one, or {channels}"
        )
    return tuple(values) * channels if len(values) == 1 else tuple(values)


def _require_valid(model: onnx.ModelProto) -> None:
    """onnx.checker on the whole model, shapes too."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"torch exported an invalid ONNX model: {str(error).splitlines()[0]}") from error
