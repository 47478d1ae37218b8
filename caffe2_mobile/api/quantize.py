"""Caffe2 float nets to int8: nets for QNNPACK, or files for LiteRT and ONNX Runtime."""

import dataclasses
import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import write_atomically
from caffe2_common.images import MAX_PIXELS
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size, size_of
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.options import PreprocessingOptions, require_one_of, require_positive
from caffe2_models import Net
from caffe2_models.model_files import ModelFile
from caffe2_models.preprocessing import get_preprocessing, set_preprocessing
from exporters.int8 import quantizer
from exporters.int8.batching import Feed
from exporters.int8.calibration import Images
from exporters.int8.measurement import Answers, compare_answers, layer_errors
from exporters.int8.quantizer import TARGETS, Quantized, Target
from exporters.int8.recipe import DEFAULT, Recipe, find_recipe
from exporters.int8.report import Latency, Report
from exporters.int8.targets import make_file
from runtime_lut.estimate import DEFAULT_DEVICE, Estimator
from runtime_lut.latency import net_latency
from validate.calibration import FolderImages, open_images
from validate.examples import holds_examples, open_examples

MEASURED_IMAGES = 16  # whose activations are compared layer by layer
WORST_LAYERS = 5  # that a result prints; its report has all
BACKGROUND_OUTPUTS = 1001  # ImageNet's 1000 classes behind one for the background
HELD_OUT = 5  # every 5th image judges in place of calibrating, where the folder has no others
LEAST_HELD_OUT = 10  # images, or else all calibrate, and judge
MOST_HELD_OUT = 100  # of a folder's others
OTHERS = "; of other nets give --calibration-data F.npz, whose arrays [n, ...] are called after the inputs"

Data = str | os.PathLike[str] | Images


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(PreprocessingOptions):
    """How to quantize; the preprocessing is that of the calibration images, and recorded in the int8 net.

    target: whose kernels, "qnnpack", "litert" or "onnx"; those of the last two have a scale for each channel of a
    weight. calibration_images: how many of the folder's, evenly spaced. recipe: what the quantizer does, by name (best,
    tuned, fast, minmax), from a file F.json, or as a Recipe. img_size: height and width in pixels, where the net does
    not record it. max_pixels: of an image that is read. threads: default all cores. evaluation_data: labelled images on
    which both nets answer, evaluation_images of them (default: all). hold_out: without those, let images judge that do
    not calibrate: others of the folder or, where it has none, every 5th. max_drop: points of top-1 (of agreement,
    without labels) that int8 may lose.
    """

    calibration_images: int = 100
    recipe: str | Recipe = DEFAULT
    target: Target = "qnnpack"
    img_size: Size | None = None
    max_pixels: int = MAX_PIXELS
    threads: int | None = None
    evaluation_data: Data | None = None
    evaluation_images: int | None = None
    hold_out: bool = True
    max_drop: float | None = None

    def __post_init__(self) -> None:
        require_positive(self, "calibration_images", "img_size", "max_pixels", "threads", "evaluation_images")
        require_one_of("target", self.target, TARGETS)


@dataclass(frozen=True, kw_only=True)
class QuantizeResult:
    """An int8 net, and the report of how well it answers (which saves itself as .txt, .json or .html).

    file: of a target other than QNNPACK; net then says what it computes, layer by layer in float between conversions.
    """

    net: Net = field(repr=False)
    report: Report = field(repr=False)
    max_drop: float | None = None
    file: ModelFile | None = field(default=None, repr=False)

    @property
    def drop(self) -> float:
        """Points of top-1 lost to int8; without labels, percent of the images that change their class; of a net that
        answers no classes, noise to signal of the worst output, percent.
        """
        return self.report.judged.drop

    @property
    def holds(self) -> bool:
        """Whether int8 loses no more than max_drop."""
        return self.max_drop is None or self.drop <= self.max_drop

    def __str__(self) -> str:
        report = self.report
        return "\n".join([*report.summary_lines(), *report.layer_lines(report.guilty[:WORST_LAYERS]), *self._verdict()])

    def save(self, place: str | os.PathLike[str]) -> None:
        """Write PLACE.init.pb and PLACE.predict.pb or, for another target than QNNPACK, the file."""
        if self.file is None:
            self.net.save(place)
        else:
            write_atomically(place, self.file.content)

    def _verdict(self) -> list[str]:
        if self.max_drop is None:
            return []
        judged = self.report.judged
        what = "% of the images change their class" if judged.classifies else "% noise in the worst output"
        what = "points of top-1" if judged.labelled else what
        verdict = "within" if self.holds else "more than"
        return [f"drop: {self.drop:.2f} {what}, {verdict} --max-drop {self.max_drop:g}"]


@explaining_extras()
def quantize(
    source: Net | str | os.PathLike[str], calibration_data: Data, options: QuantizeOptions | None = None
) -> QuantizeResult:
    """The int8 form of a float net, measured against the float net.

    source: a Caffe2 net, its folder, predict file or prefix, or an ONNX file. calibration_data: a folder of images, in
    class folders or not, or the images themselves, float32 [channels, height, width] each, as the net takes them. Of a
    net with several inputs, or one that is no image: an .npz file or a folder of some (`validate.examples`), or the
    examples themselves, each a mapping from the inputs' names to arrays without the axis of examples.
    Raises ModelError for a net or images that cannot be read, a net that cannot be quantized, and a runtime that is
    missing.
    """
    options = options or QuantizeOptions()
    recipe = find_recipe(options.recipe) if isinstance(options.recipe, str) else options.recipe
    net = read_net(source)
    images, shapes, preprocessing = _inputs(net, calibration_data, options.calibration_images, options)
    others = held_out = None
    if options.evaluation_data is not None:
        others = _inputs(net, options.evaluation_data, options.evaluation_images, options)[0]
    elif options.hold_out:
        images, held_out = _hold_out(images)
    started = time.monotonic()
    quantized = quantizer.quantize(net, images, recipe, shapes, options.threads, options.target)
    seconds = time.monotonic() - started
    if preprocessing is not None:
        set_preprocessing(quantized.net.predict, preprocessing)
    file = None if options.target == "qnnpack" else make_file(quantized, shapes, options.target)
    report = _measure(net, quantized, file, recipe, (images, held_out, others), shapes, seconds, options.threads)
    report = dataclasses.replace(report, target=options.target)
    return QuantizeResult(net=quantized.net, report=report, max_drop=options.max_drop, file=file)


def image_shape(net: Net, size: Size | None = None) -> tuple[int, int, int, int]:
    """(1, C, H, W) of a net's one input; raises ModelError where that is no image.

    size: height and width, where the net does not record it.
    max_pixels: of an image that is read.
    """
    try:
        shapes = net.input_shapes(size)
    except ModelError as error:
        raise ModelError(f"{error} (--img-size N or HxW)") from None
    if len(shapes) != 1:
        raise ModelError(
            f"{net.name or 'net'}: inputs {', '.join(shapes)}; images are for a net with one input{OTHERS}"
        )
    (shape,) = shapes.values()
    if len(shape) != 4:
        raise ModelError(f"{net.name or 'net'}: input of shape {list(shape)}, which is no image{OTHERS}")
    return (1, shape[1], shape[2], shape[3])


def labels_for(net: Net, images: Images, shape: tuple[int, ...]) -> np.ndarray | None:
    """The images' labels, int64 [n], as indices of the net's outputs for an input of this shape.

    None where they have none or mean other classes.
    """
    labels = getattr(images, "labels", None)
    if labels is None:
        return None
    outputs = int(np.prod(net.infer_shapes({net.inputs[0]: shape})[net.outputs[0]][0]))
    is_imagenet = getattr(images, "is_imagenet", False)
    if is_imagenet and outputs == BACKGROUND_OUTPUTS:
        return labels + 1
    fits = outputs == BACKGROUND_OUTPUTS - 1 if is_imagenet else labels.max(initial=0) < outputs
    return labels if fits else None


Shapes = Mapping[str, tuple[int, ...]]


def _inputs(
    net: Net, data: Data, limit: int | None, options: QuantizeOptions
) -> tuple[Images, Shapes, Preprocessing | None]:
    """What a net is fed with: images, the inputs' shapes for one, and how images are preprocessed."""
    recorded = get_preprocessing(net.predict)
    if not isinstance(data, str | os.PathLike):
        for example in itertools.islice(data, 1):
            if isinstance(example, Mapping):
                return data, {name: (1, *array.shape) for name, array in example.items()}, recorded
    elif holds_examples(data):
        types = net.input_types(dict.fromkeys(net.inputs, ()))
        examples = open_examples(data, {name: kind.dtype for name, kind in types.items()}, limit)
        return examples, examples.shapes, recorded
    shape = image_shape(net, options.img_size)
    preprocessing = options.applied_to(recorded or Preprocessing(), size_of(shape))
    if isinstance(data, str | os.PathLike):
        if not Path(data).exists():
            raise ModelError(f"{os.fspath(data)}: no such folder of calibration images")
        data = open_images(data, limit, preprocessing, shape[1], options.max_pixels)
    return data, {net.inputs[0]: shape}, preprocessing


@dataclass(frozen=True)
class _Part:
    """Some of the images that a caller gave. positions: int64 [n], sorted."""

    images: Images
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Feed]:
        chosen = set(self.positions.tolist())
        return (image for position, image in enumerate(self.images) if position in chosen)

    @property
    def labels(self) -> np.ndarray | None:
        labels = getattr(self.images, "labels", None)
        return None if labels is None else labels[self.positions]

    @property
    def is_imagenet(self) -> bool:
        return getattr(self.images, "is_imagenet", False)


def _hold_out(images: Images) -> tuple[Images, Images | None]:
    """The images that calibrate and, where there are enough, others that judge."""
    if isinstance(images, FolderImages) and len(others := images.others(MOST_HELD_OUT)) >= LEAST_HELD_OUT:
        return images, others
    judges = np.arange(len(images)) % HELD_OUT == HELD_OUT - 1
    if judges.sum() < LEAST_HELD_OUT:
        return images, None
    calibrating, judging = np.flatnonzero(~judges), np.flatnonzero(judges)
    if isinstance(images, FolderImages):
        return images.part(calibrating), images.part(judging)
    return _Part(images, calibrating), _Part(images, judging)


def _measure(
    net: Net,
    quantized: Quantized,
    file: ModelFile | None,
    recipe: Recipe,
    parts: tuple[Images, Images | None, Images | None],
    shapes: Shapes,
    seconds: float,
    threads: int | None,
) -> Report:
    """The report of a quantization. parts: the images that calibrate, those held out, others."""
    images, held_out, others = parts
    int8, shape = quantized.net, shapes[net.inputs[0]]
    answering: Net | ModelFile = file or int8
    if file is None:
        kinds = [node.type for node in int8.operators]
        nbytes = sum(kind.nbytes for kind in int8.parameter_types.values())
    else:
        costs = file.cost(file.input_shapes(size_of(shape) if len(shape) == 4 else None))
        kinds, nbytes = [row.type for row in costs.operators], costs.weight_bytes
    first = [image for image, _ in zip(images, range(MEASURED_IMAGES), strict=False)]

    def answers(part: Images) -> Answers:
        return compare_answers(net, answering, part, labels_for(net, part, shape), threads)

    return Report(
        model=net.name or "net",
        recipe=dataclasses.asdict(recipe),
        calibration_images=len(images),
        operators=dict(Counter(kinds).most_common()),
        float_bytes=sum(kind.nbytes for kind in net.parameter_types.values()),
        int8_bytes=nbytes,
        dead_channels=quantized.dead,
        absorbed_channels=quantized.absorbed,
        split_channels=quantized.split,
        added_channels=quantized.added,
        clamps=sum(0 < layer.high < math.inf for layer in quantized.graph.layers),
        equalized_layers=len(quantized.factors),
        seconds=seconds,
        calibration=answers(images),
        held_out=None if held_out is None else answers(held_out),
        evaluation=None if others is None else answers(others),
        latency=estimated_latency(int8, shapes) if file is None else None,
        layers=layer_errors(quantized, first, threads),
        fine_scores=bool(quantized.scales.parts),
    )


def estimated_latency(net: Net, shapes: Shapes) -> Latency:
    """Of a net on the phone that the published latencies are of."""
    estimate = net_latency(net, shapes, estimator=Estimator.shipped(DEFAULT_DEVICE))
    low, high = estimate.interval_us or (estimate.total_us, estimate.total_us)
    return Latency(estimate.device, estimate.total_us / 1000, low / 1000, high / 1000)
