"""A page that shows a net: its graph, where its time goes, where its accuracy goes."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.images import MAX_PIXELS, decode
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from caffe2_common.sizes import Size, size_of
from caffe2_mobile.api.benchmark import BenchmarkOptions, benchmark
from caffe2_mobile.api.inspect import InspectOptions, InspectResult, Shapes, inspect
from caffe2_mobile.api.latency import LatencyOptions, latency
from caffe2_mobile.api.nets import Source, open_net
from caffe2_mobile.api.options import PreprocessingOptions, require_positive
from caffe2_mobile.api.quantize import image_shape, labels_for
from caffe2_mobile.pages.activations import Activation, observe
from caffe2_mobile.pages.findings import Finding, Times, find
from caffe2_mobile.pages.operators import Listing, Row, list_operators
from caffe2_models import Int8Tensor, Net
from caffe2_models.inspection import task_of
from caffe2_models.preprocessing import get_preprocessing
from exporters.int8.measurement import Answers, LayerError, compare_answers
from exporters.int8.pairs import pair_errors
from runtime_lut.latency import NetLatency
from validate.calibration import FolderImages, open_images

OBSERVED_IMAGES = 8  # whose activations are looked at, blob by blob
THUMBNAILS, THUMBNAIL_SIZE = 24, 112  # at most so many, pixels
MAX_CLASS_NAMES = 1 << 20  # bytes of a file of names


@dataclass(frozen=True, kw_only=True)
class ViewOptions(PreprocessingOptions):
    """What to show beside the graph.

    input_dims: shapes of the inputs, else img_size: height and width, where the net does not record them. images: a
    folder, in class folders or not, of which image_count (evenly spaced) are answered and the first few looked at blob
    by blob; class_names: a file with the name of each class on a line. device, db_dir: as for latency. runs: how often
    to time the net here (0: not at all), on so many threads.
    """

    input_dims: Mapping[str, tuple[int, ...]] | None = None
    img_size: Size | None = None
    images: str | os.PathLike[str] | None = None
    image_count: int = 100
    class_names: str | os.PathLike[str] | None = None
    max_pixels: int = MAX_PIXELS
    device: str | None = None
    db_dir: str | os.PathLike[str] | None = None
    runs: int = 5
    threads: int = 1

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "image_count", "max_pixels", "threads")
        if self.runs < 0:
            raise ModelError(f"invalid runs {self.runs}: expected 0 or more")
        if self.images is not None and not Path(self.images).exists():
            raise ModelError(f"{os.fspath(self.images)}: no such folder of images")


@dataclass(frozen=True)
class Change:
    """An image whose class is another in int8: classes by name or number, the image small, as a data URI."""

    image: str
    label: str | None
    float_class: str
    int8_class: str
    thumbnail: str


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """All that the page shows; saves itself as .html or, the figures alone, as .json.

    net is the one whose graph is shown: of a pair the int8 one. times: measured here, and on the device, where they are
    known. errors, answers, changes: against the float net, where there are two. top1: of one net on labelled images,
    percent. notes: what could not be told, and why.
    """

    net: Net = field(repr=False)
    float_net: Net | None = field(repr=False)
    inspected: InspectResult = field(repr=False)
    rows: list[Row] = field(repr=False)
    findings: list[Finding]
    times: list[Times] = field(repr=False)
    float_times: list[Times] = field(repr=False)
    latency: NetLatency | None = field(repr=False)
    activations: dict[str, Activation] = field(repr=False)
    errors: list[LayerError] = field(repr=False)
    answers: Answers | None
    changes: list[Change] = field(repr=False)
    top1: float | None
    notes: list[str]

    @property
    def title(self) -> str:
        """The net's name; `net` where it has none."""
        return self.net.name or "net"

    def __str__(self) -> str:
        lines = [f"{self.title}: {len(self.rows)} operators"]
        lines += [str(finding) for finding in self.findings]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The page's figures, as JSON values."""
        from caffe2_mobile.pages.sections import to_data

        return to_data(self)

    def to_html(self) -> str:
        """The page, one file that loads nothing."""
        from caffe2_mobile.pages.sections import to_page

        return to_page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """As .html or .json, by the name's ending; raises ModelError for another."""
        check_path(path)
        is_page = Path(path).suffix == ".html"
        write_atomically(path, self.to_html() if is_page else json.dumps(self.to_dict(), indent=1) + "\n")


def check_path(path: str | os.PathLike[str]) -> None:
    """Raises ModelError for a name that does not end as a result can be saved."""
    if Path(path).suffix not in (".html", ".json"):
        raise ModelError(f"invalid file name {os.fspath(path)}: expected one in .html or .json")


def view(source: Source, other: Source | None = None, options: ViewOptions | None = None) -> ViewResult:
    """Look at a net (anything open_net takes), or at a float net and its int8 form, in either order.

    Raises ModelError for what is no net, a shape of what is no input, images that cannot be read, and a pair of which
    not one is int8. What else cannot be told (a runtime that refuses, sizes that are not known) is left out and stands
    in the notes.
    """
    options = options or ViewOptions()
    net, float_net = _pair(open_net(source), None if other is None else open_net(other))
    net.require_inputs(options.input_dims or ())
    notes: list[str] = []
    shapes = _shapes(net, options, notes)
    inspected = inspect(net, InspectOptions(input_dims=shapes)) if shapes is not None else _unshaped(net)
    is_whole = shapes is not None and not inspected.problems
    listing = list_operators(net, shapes if is_whole else None)
    times: list[Times] = []
    float_times: list[Times] = []
    device = None
    if is_whole:
        times, device = _times(net, listing, shapes or {}, options, notes)
        if float_net is not None:
            float_shapes = _shapes(float_net, options, notes) or {}
            float_listing = list_operators(float_net, float_shapes)
            float_times, _ = _times(float_net, float_listing, float_shapes, options, notes, whole_only=True)
    seen = _Seen()
    if options.images is not None and is_whole:
        seen = _look(net, float_net, options)
    findings = find(inspected, listing.rows, times, seen.activations, seen.errors, seen.answers)
    return ViewResult(
        net=net,
        float_net=float_net,
        inspected=inspected,
        rows=listing.rows,
        findings=findings,
        times=times,
        float_times=float_times,
        latency=device,
        activations=seen.activations,
        errors=seen.errors,
        answers=seen.answers,
        changes=seen.changes,
        top1=seen.top1,
        notes=list(dict.fromkeys(notes)),
    )


def _pair(first: Net, second: Net | None) -> tuple[Net, Net | None]:
    """(the one to show, the float one beside it)"""
    if second is None:
        return first, None
    if first.is_quantized == second.is_quantized:
        kind = "int8" if first.is_quantized else "float"
        raise ModelError(f"{first.name or 'the first net'} and {second.name or 'the second'} are both {kind}; "
                         "expected a float net and its int8 form")  # fmt: skip
    return (first, second) if first.is_quantized else (second, first)


def _shapes(net: Net, options: ViewOptions, notes: list[str]) -> Shapes | None:
    try:
        return net.input_shapes(options.img_size, given=options.input_dims)
    except ModelError as error:
        notes.append(f"{error} (input_dims, img_size)")
        return None


def _unshaped(net: Net) -> InspectResult:
    """Of a net whose inputs' shapes are not known."""
    return InspectResult(net, {}, [], [], task_of(net), get_preprocessing(net.predict), None)


def _times(
    net: Net, listing: Listing, shapes: Shapes, options: ViewOptions, notes: list[str], whole_only: bool = False
) -> tuple[list[Times], NetLatency | None]:
    """On the device, and here."""
    times: list[Times] = []
    device = None
    try:
        device = latency(net, LatencyOptions(input_dims=shapes, device=options.device, db_dir=options.db_dir,
                                             estimate=True)).latency  # fmt: skip
    except ModelError as error:
        notes.append(f"no latency on the device: {error}")
    if device is not None:
        by_place = {place: layer.time_us for place, layer in zip(listing.timed, device.layers, strict=True)}
        provenance = {place: layer.provenance for place, layer in zip(listing.timed, device.layers, strict=True)}
        title = f"on {device.device}"
        times.append(Times("device", title, device.total_us, by_place, provenance, device.interval_us))
    if options.runs:
        try:
            result = benchmark(net, BenchmarkOptions(input_dims=shapes, threads=options.threads, runs=options.runs,
                                                     warmup=1, whole_only=whole_only))  # fmt: skip
        except ModelError as error:
            notes.append(f"not timed here: {error}")
        else:
            measured = {
                place: None if row.ms is None else 1000 * row.ms
                for place, row in zip(listing.own, result.cost.operators, strict=True)
            }
            title = f"here, {result.backend}, {options.threads} thread{'s' * (options.threads > 1)}"
            times.append(Times("here", title, 1000 * result.ms, measured, dict.fromkeys(measured, "measured")))
    return times, device


@dataclass
class _Seen:
    """What images showed."""

    activations: dict[str, Activation] = field(default_factory=dict)
    errors: list[LayerError] = field(default_factory=list)
    answers: Answers | None = None
    changes: list[Change] = field(default_factory=list)
    top1: float | None = None


def _look(net: Net, float_net: Net | None, options: ViewOptions) -> _Seen:
    """Run the images through the net, and through the float net beside it."""
    assert options.images is not None, "there is something to look at"
    shape = image_shape(net, options.img_size)
    recorded = get_preprocessing(net.predict) or Preprocessing()
    preprocessing = options.applied_to(recorded, size_of(shape))
    images = open_images(options.images, options.image_count, preprocessing, shape[1], options.max_pixels)
    seen = _Seen(activations=observe(net, images, OBSERVED_IMAGES, options.threads))
    labels = labels_for(net, images, shape) if _is_classifier(net, shape) else None
    if float_net is not None:
        seen.errors = pair_errors(float_net, net, _first(images), shape, options.threads)
        seen.answers = compare_answers(float_net, net, images, labels, options.threads)
        seen.changes = _changes(seen.answers, images, labels, _class_names(options.class_names))
    elif labels is not None:
        seen.top1 = _top1(net, images, labels, options.threads)
    return seen


def _top1(net: Net, images: FolderImages, labels: np.ndarray, threads: int) -> float:
    """Percent of the images whose class scores highest."""
    session, hits = net.session("auto", threads), 0
    with progress(total=len(images), desc="answers", unit="image") as bar:
        for number, image in enumerate(images):
            scores = session.run({net.inputs[0]: image[np.newaxis]})[net.outputs[0]]
            values = scores.dequantize() if isinstance(scores, Int8Tensor) else scores
            hits += int(values.argmax() == labels[number])
            bar.update(1)
    return 100 * hits / max(len(images), 1)


def _first(images: FolderImages) -> list[np.ndarray]:
    return [image for image, _ in zip(images, range(OBSERVED_IMAGES), strict=False)]


def _is_classifier(net: Net, shape: tuple[int, ...]) -> bool:
    """Whether its first output is a row of scores for each image."""
    kind = net.infer_types({net.inputs[0]: shape})[net.outputs[0]]
    return kind.is_exact and len(kind.shape) > 1 and kind.shape[0] == shape[0] and max(kind.shape[1:]) == kind.size > 1


def _changes(answers: Answers, images: FolderImages, labels: np.ndarray | None, names: Sequence[str]) -> list[Change]:
    """The first images whose class changed."""

    def called(number: int) -> str:
        return names[number] if number < len(names) else f"class {number}"

    changes = []
    for place, before, after in answers.changes[:THUMBNAILS]:
        index = int(images.indices[place])
        picture = decode(images.dataset.read(index), 3, images.max_pixels)
        picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
        content = io.BytesIO()
        picture.save(content, format="JPEG", quality=80)
        changes.append(
            Change(
                image=images.dataset.names[index],
                label=None if labels is None else called(int(labels[place])),
                float_class=called(before),
                int8_class=called(after),
                thumbnail=f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}",
            )
        )
    return changes


def _class_names(path: str | os.PathLike[str] | None) -> list[str]:
    if path is None:
        return []
    if Path(path).stat().st_size > MAX_CLASS_NAMES:
        raise ModelError(f"{os.fspath(path)}: larger than {MAX_CLASS_NAMES >> 20} MiB, which no names of classes are")
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
