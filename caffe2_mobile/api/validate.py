"""ImageNet accuracy of a model in any of its forms."""

import functools
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import require_writable
from caffe2_common.images import MAX_PIXELS, complete
from caffe2_common.machine import cores
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.published import Published
from caffe2_common.sizes import Size
from caffe2_mobile.api.options import PreprocessingOptions, require_positive
from caffe2_models.find import is_net
from caffe2_models.runtimes import DEFAULT_KERNELS
from validate.classifier import Classifier, load_caffe2, load_file
from validate.outcomes import Totals
from validate.predictions import Predictions
from validate.published import Comparison, compare, find_published
from validate.results import Result
from validate.runner import Resources
from validate.validation import BATCH_SIZE, Selection, Validation, recorded_preprocessing, require_state

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Caffe2Model:
    """A Caffe2 net by its place: a folder, a predict file (init beside it, or named), a prefix, a published name.

    backend is what runs it; approximate lets onnxruntime run an int8 net, some steps off Caffe2's.
    """

    place: PathLike
    init: PathLike | None = None
    backend: str = "auto"
    approximate: bool = False

    def open(self, size: Size | None = None) -> Classifier:
        """size: of the images in pixels, where it is chosen. Raises ModelError for what is no classifier."""
        return load_caffe2(self.place, self.init, self.backend, size, self.approximate)


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file, run by ONNX Runtime."""

    path: PathLike

    def open(self, size: Size | None = None) -> Classifier:
        """Raises ModelError for what is no classifier."""
        return load_file(self.path)


@dataclass(frozen=True)
class TfliteModel:
    """A TensorFlow Lite file, float or quantized, run by LiteRT with one of its sets of kernels (KERNELS)."""

    path: PathLike
    kernels: str = DEFAULT_KERNELS

    @explaining_extras()
    def open(self, size: Size | None = None) -> Classifier:
        """Raises ModelError for what is no classifier, and where LiteRT is not installed."""
        return load_file(self.path, self.kernels)


@dataclass(frozen=True)
class TorchModel:
    """A model of the zoo, a definition F.json or int8 TorchScript F.jpt, run by PyTorch.

    checkpoint: a file of weights (default: the published ones).
    """

    name: str
    checkpoint: PathLike | None = None
    num_classes: int | None = None
    in_chans: int = 3

    @explaining_extras()
    def open(self, size: Size | None = None) -> Classifier:
        """size: of the images in pixels, where it is chosen. Raises ModelError for a model or weights that are not."""
        import torch

        from mobile_cv.model_zoo import create_model
        from mobile_cv.model_zoo.int8 import PUBLISHED, load_int8

        int8 = self.name.endswith(".jpt") or self.name in PUBLISHED
        model: Any
        if int8:
            model = load_int8(self.name)
        else:
            model = create_model(
                self.name,
                pretrained=self.checkpoint is None,
                checkpoint_path=None if self.checkpoint is None else Path(self.checkpoint),
                num_classes=self.num_classes,
                in_chans=self.in_chans,
                img_size=size if isinstance(size, int) else None,  # a pair is the images' alone
            ).eval()
        torch.set_num_threads(1)  # the validator runs one session per core

        def infer(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(images)).numpy()

        values = [value for value in model.state_dict().values() if isinstance(value, torch.Tensor)]
        digest = hashlib.sha256(Path(self.name).read_bytes() if self.name.endswith(".jpt") else b"")
        for value in values:
            digest.update(np.ascontiguousarray(value.dequantize() if value.is_quantized else value).data)
        return Classifier(
            name=self.name,
            form="pytorch-int8" if int8 else "pytorch",
            backend="torch",
            open_session=lambda: infer,
            param_count=model.param_count if int8 else sum(value.numel() for value in model.parameters()),
            preprocessing=Preprocessing(**model.default_cfg) if model.default_cfg else None,
            size=model.default_cfg["size"] if model.default_cfg else None,
            channels=self.in_chans,
            outputs=None if int8 else model.architecture.num_classes,
            probabilities=not int8 and model.architecture.softmax,
            fingerprint=digest.hexdigest(),
        )


Model = Caffe2Model | OnnxModel | TfliteModel | TorchModel


def model_of(name: Model | PathLike) -> Model:
    """What a name means: F.onnx, F.tflite, TorchScript F.jpt, a definition F.json, a Caffe2 net, else the zoo's."""
    if isinstance(name, Model):
        return name
    suffix = Path(name).suffix
    if suffix == ".onnx":
        return OnnxModel(name)
    if suffix == ".tflite":
        return TfliteModel(name)
    if suffix in (".jpt", ".json") or not is_net(name):
        return TorchModel(os.fspath(name))
    return Caffe2Model(name)


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(PreprocessingOptions):
    """Which of the images, how they become input, and what does the work.

    img_size: of the net's input, pixels. ground_truth, label_map: files that tell labels, and which class is which
    output. limit: only so many images, evenly spaced. max_pixels: an image that has more counts as broken; skip_broken:
    leave broken ones out. batch_size: images; workers: decoding processes; threads: one-core inference threads (default
    all cores). ray: the address of a Ray cluster to spread over (auto, local, HOST:PORT), with `workers` cores for a
    piece. shard: (I, N) for the I-th of N parts, I from 0. state: a file that keeps what is done while it runs; resume:
    go on from it. published: the row to hold the result against, NAME or NAME@TABLE.
    """

    img_size: Size | None = None
    ground_truth: PathLike | None = None
    label_map: PathLike | None = None
    limit: int | None = None
    skip_broken: bool = False
    max_pixels: int = MAX_PIXELS
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    threads: int | None = None
    ray: str | None = None
    shard: tuple[int, int] = (0, 1)
    state: PathLike | None = None
    resume: bool = False
    published: str | None = None

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "limit", "max_pixels", "batch_size", "workers", "threads")
        number, count = self.shard
        if not 0 <= number < count:
            raise ModelError(f"invalid shard {self.shard}: expected (I, N) with I from 0 to N - 1")
        require_state(None if self.state is None else Path(self.state), self.resume)
        if self.state is not None:
            require_writable(self.state)
        if self.published is not None:
            find_published(self.published)

    def selection(self, data: PathLike) -> Selection:
        """The images of a folder or archive that these options select."""
        return Selection(
            data, self.ground_truth, self.label_map, self.limit, self.shard, self.skip_broken, self.max_pixels
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ValidateResult:
    """The figures, what was predicted for each image, and the published row that they were held against."""

    figures: Result
    predictions: Predictions | None = field(default=None, repr=False)  # None of what was merged
    published: Published | None = None
    comparisons: tuple[Comparison, ...] = ()

    @property
    def n(self) -> int:
        """Images, without broken ones."""
        return self.figures.totals.n

    @property
    def top1(self) -> float:
        """Percent of images whose class scored highest."""
        return self.figures.top1

    @property
    def top5(self) -> float:
        """Percent of images whose class is among the five that scored highest."""
        return self.figures.top5

    @property
    def totals(self) -> Totals:
        """Counts of hits and the sum of losses."""
        return self.figures.totals

    @property
    def holds(self) -> bool:
        """Whether chance explains what is missing to the published accuracy; True where none was named."""
        return all(comparison.holds for comparison in self.comparisons)

    def __str__(self) -> str:
        lines = [self.figures.to_text()]
        if self.published is not None:
            lines += [f"published: {self.published}", *map(str, self.comparisons)]
        return "\n".join(lines)

    def save(self, path: PathLike) -> None:
        """The figures as JSON, CSV or text, by the name's ending."""
        self.figures.save(path)


@dataclass(frozen=True)
class Prepared:
    """A validation that is ready to run: what will be done may be shown first."""

    model: Model
    options: ValidateOptions
    validation: Validation

    def warnings(self) -> list[str]:
        """What the user may not have meant, one line each: assumed preprocessing costs all of the accuracy."""
        options, classifier = self.options, self.validation.classifier
        lines = self.validation.warnings()
        if classifier.preprocessing is None and options.published is None:
            size = options.img_size or classifier.size
            given = {"--img-size": size, "--mean": options.mean, "--std": options.std}
            if unknown := [flag for flag, value in given.items() if not value]:
                lines.append(
                    f"{classifier.name}: the file records no preprocessing; ImageNet's is assumed for "
                    f"{', '.join(unknown)}"
                )
        return lines

    @explaining_extras()
    def run(self) -> ValidateResult:
        """Run it, here or on the cluster. Raises ModelError for what cannot be run; the state is kept then."""
        validation, options = self.validation, self.options
        if options.ray is None:
            validation.run()
        else:
            from validate.cluster import run_on_cluster

            opener = functools.partial(self.model.open, options.img_size)
            run_on_cluster(validation, opener, options.ray, options.workers)
        return judge(validation.result(), options.published, validation.predictions())


def prepare(data: PathLike, model: Model | PathLike, options: ValidateOptions | None = None) -> Prepared:
    """As validate, up to the first image."""
    options = options or ValidateOptions()
    model = model_of(model)
    classifier = model.open(options.img_size)
    recorded = recorded_preprocessing(classifier, options.published, bool(options.tf_preprocessing))
    preprocessing = complete(options.applied_to(recorded, options.img_size), classifier.channels)
    resources = Resources(options.workers or cores(), options.threads or cores(), options.batch_size)
    state = None if options.state is None else Path(options.state)
    validation = Validation(classifier, options.selection(data), preprocessing, resources, state, options.resume)
    return Prepared(model, options, validation)


def validate(data: PathLike, model: Model | PathLike, options: ValidateOptions | None = None) -> ValidateResult:
    """Measure the accuracy of a model on labelled images.

    data: class folders, a flat folder with its ground truth, or a .tar of either. model: Caffe2Model, OnnxModel,
    TfliteModel, TorchModel, or a name that means one of them (model_of). Raises ModelError for what cannot be read or
    run.
    """
    prepared = prepare(data, model, options)
    result = prepared.run()
    prepared.validation.drop_state()
    return result


def judge(figures: Result, published: str | None = None, predictions: Predictions | None = None) -> ValidateResult:
    """Figures held against a published row, where one is named. Raises ModelError for a name that was not published."""
    if published is None:
        return ValidateResult(figures=figures, predictions=predictions)
    row = find_published(published, figures.weights, figures.preprocessing.tf_preprocessing)
    comparisons = tuple(compare(figures.totals, row))
    return ValidateResult(figures=figures, predictions=predictions, published=row, comparisons=comparisons)
