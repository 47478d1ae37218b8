"""Caffe2 nets to TensorFlow Lite files, for LiteRT on today's phones."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size
from caffe2_mobile.api.comparisons import Verified
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.options import PreprocessingOptions, require_one_of, require_positive
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from exporters.caffe2_to_tflite import KINDS, Kind
from exporters.int8_comparison import Int8Report
from exporters.verification import Sample, make_samples
from validate.calibration import open_images

if TYPE_CHECKING:
    from exporters.caffe2_to_tflite.conversion import Converted

DRAWN_SAMPLES = 8  # of image-like inputs, where no images are given


@dataclass(frozen=True, kw_only=True)
class ToTfliteOptions(PreprocessingOptions):
    """How to convert and to compare; the preprocessing is that of the images, and recorded in the file.

    type: float, uint8 or int8; by default uint8 for an int8 net. input_dims: shapes of inputs, where the net does not
    record them, or img_size, height and width in pixels. images: a folder of images to compare on, image_count of them.
    labels: the classes' names.
    """

    type: Kind | None = None
    input_dims: Mapping[str, tuple[int, ...]] | None = None
    img_size: Size | None = None
    images: str | os.PathLike[str] | None = None
    image_count: int = 40
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "image_count")
        if self.type is not None:
            require_one_of("type", self.type, KINDS)


@dataclass(frozen=True, kw_only=True)
class ToTfliteResult(Verified):
    """A TensorFlow Lite model, and how near LiteRT computes what the net does, in each of its kernel sets.

    comparisons: of a float net's outputs. reports: of an int8 net's bytes.
    """

    converted: "Converted" = field(repr=False)
    model: bytes = field(repr=False)
    kind: Kind
    reports: tuple[Int8Report, ...]

    @property
    def holds(self) -> bool:
        """Whether float outputs are close, and bytes equal in the reference kernels where that is proved."""
        proved = not self.reports or bool(self.converted.inexact) or self.reports[0].equal
        return proved and super().holds

    def __str__(self) -> str:
        ends = [*self.converted.inputs.items(), *self.converted.outputs.items()]
        shapes = ", ".join(f"{name} {' x '.join(map(str, tensor.stored))}" for name, tensor in ends)
        size = f"{self.kind}, {self.converted.operator_count} operators, {len(self.model) / 1e6:.1f} MB, {shapes}"
        return "\n".join([size, *self._doubts(), *self.comparison_lines(), *map(str, self.reports)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the .tflite file."""
        write_atomically(Path(path), self.model)

    def _doubts(self) -> list[str]:
        reasons: dict[str, list[str]] = {}
        for blob, reason in self.converted.inexact.items():
            reasons.setdefault(reason, []).append(blob)
        return [f"not proved in {len(blobs)} operators ({blobs[0]} ...): {reason}" for reason, blobs in reasons.items()]


def to_tflite(source: Net | str | os.PathLike[str], options: ToTfliteOptions | None = None) -> ToTfliteResult:
    """The TensorFlow Lite model of a Caffe2 net, compared with it in LiteRT on images or on image-like inputs.

    source: a net, its folder, predict file or prefix.
    Raises ModelError where LiteRT cannot run it, or the inputs' sizes are unknown, and UnsupportedError, with all of
    them, for operators that have no form in TensorFlow Lite.
    """
    from exporters.caffe2_to_tflite import conversion  # needs LiteRT
    from exporters.litert import compare_bytes, compare_float

    options, net = options or ToTfliteOptions(), read_net(source)
    preprocessing = _preprocessing(net, options)
    kind: Kind = options.type or ("uint8" if net.is_quantized else "float")
    shapes = net.input_shapes(options.img_size, given=options.input_dims)
    converted = replace(conversion.to_tflite(net, shapes, kind), preprocessing=preprocessing)
    require_labels(converted, options.labels)
    model = converted.to_bytes(options.labels)
    samples = _samples(net, shapes, preprocessing, options)
    bytewise = kind != "float"
    return ToTfliteResult(
        converted=converted,
        model=model,
        kind=kind,
        comparisons=() if bytewise else tuple(compare_float(net, converted, samples)),
        reports=tuple(compare_bytes(net, converted, samples)) if bytewise else (),
    )


def require_labels(converted: "Converted", labels: tuple[str, ...]) -> None:
    """Raises ModelError where there is not a label for each value of the first output."""
    name, tensor = next(iter(converted.outputs.items()))
    classes = int(np.prod(tensor.shape[1:]))
    if labels and len(labels) != classes:
        raise ModelError(f"{len(labels)} labels for {name}, which has {classes} values")


def _preprocessing(net: Net, options: ToTfliteOptions) -> Preprocessing | None:
    """What the net records, with what the options say instead; None where neither says anything."""
    recorded = get_preprocessing(net.predict)
    changed = options.applied_to(recorded or Preprocessing(), options.img_size)
    return None if recorded is None and changed == Preprocessing().replace(size=options.img_size) else changed


def _samples(
    net: Net, shapes: dict[str, tuple[int, ...]], preprocessing: Preprocessing | None, options: ToTfliteOptions
) -> list[Sample]:
    """The images, one at a time, or inputs that look like some."""
    if options.images is None:
        drawn = [make_samples(shapes, preprocessing, seed) for seed in range(DRAWN_SAMPLES if net.is_quantized else 1)]
        return [sample for both in drawn for sample in (both[-1:] if net.is_quantized else both)]
    if len(shapes) != 1:
        raise ModelError("images can be compared for nets with one input only")
    ((name, shape),) = shapes.items()
    recorded = (preprocessing or Preprocessing()).replace(size=shape[2])
    images = open_images(options.images, options.image_count, recorded, shape[1])
    return [Sample(f"image {i + 1}", {name: np.broadcast_to(image, shape)}) for i, image in enumerate(images)]
