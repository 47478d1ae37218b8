"""Caffe2 to ONNX."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from caffe2_common.sizes import Size
from caffe2_mobile.api.comparisons import Verified
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.options import require_one_of, require_positive
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.profiling import tell_image_size
from exporters import caffe2_to_onnx
from exporters.caffe2_to_onnx import INT8_FORMS, Int8Form, compare_onnx
from exporters.int8_comparison import Int8Report
from exporters.onnx_files import save_onnx
from exporters.verification import compare, make_samples, run_net, run_onnx

INT8_SAMPLES = 8  # of each kind, batches of two where the batch is free


@dataclass(frozen=True, kw_only=True)
class ToOnnxOptions:
    """How to convert.

    input_dims: shapes of inputs, where the net does not record them, or img_size, height and width in pixels. int8: the
    form of an int8 net, "exact", equal to the byte, or "qdq" or "qlinear", near and in some runtimes faster.
    """

    input_dims: Mapping[str, tuple[int, ...]] | None = None
    img_size: Size | None = None
    int8: Int8Form = "exact"

    def __post_init__(self) -> None:
        require_positive(self, "img_size")
        require_one_of("int8", self.int8, INT8_FORMS)


@dataclass(frozen=True, kw_only=True)
class ToOnnxResult(Verified):
    """An ONNX model, and how near ONNX Runtime computes what the Caffe2 net does; of an int8 net, int8 tells it."""

    model: onnx.ModelProto = field(repr=False)
    int8: Int8Report | None = None
    exact: bool = False  # whether int8 has to be equal to the byte

    @property
    def holds(self) -> bool:
        """Whether the outputs agree on every input that was tried; a near form of an int8 net promises nothing."""
        return super().holds and (self.int8 is None or self.int8.equal or not self.exact)

    def __str__(self) -> str:
        data = self.model.graph.input[0]
        dims = [dim.dim_param or str(dim.dim_value) for dim in data.type.tensor_type.shape.dim]
        described = f"{len(self.model.graph.node)} nodes, input {data.name} {' x '.join(dims)}"
        return "\n".join([described, *([str(self.int8)] if self.int8 is not None else self.comparison_lines())])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file, whole or not at all."""
        save_onnx(self.model, path)


def to_onnx(source: Net | str | os.PathLike[str], options: ToOnnxOptions | None = None) -> ToOnnxResult:
    """The ONNX model of a Caffe2 net, float or int8, compared with it on random and on image-like input.

    source: a net, its folder, predict file or prefix. The batch is left free where the net allows it. Raises ModelError
    for files that hold no net, and UnsupportedError for operators that have no form in ONNX.
    """
    options = options or ToOnnxOptions()
    net = read_net(source)
    shapes = net.input_shapes(options.img_size, given=options.input_dims)
    model = caffe2_to_onnx.to_onnx(net, shapes, options.int8)
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch":  # try the free batch too
        shapes = {name: (2, *shape[1:]) for name, shape in shapes.items()}
    preprocessing = get_preprocessing(net.predict)
    dtypes = {name: found.dtype for name, found in net.input_types(shapes).items()}
    if not net.is_quantized:
        samples = make_samples(shapes, preprocessing, dtypes=dtypes)
        for sample in samples:
            tell_image_size(net, sample.feeds)
        pairs = zip(samples, run_net(net, samples), run_onnx(model, samples), strict=True)
        found = tuple(compare("ONNX Runtime against the Caffe2 net", *pair) for pair in pairs)
        return ToOnnxResult(model=model, comparisons=found)
    exact = options.int8 == "exact"
    drawn = [make_samples(shapes, preprocessing, seed, dtypes) for seed in range(INT8_SAMPLES)]
    for sample in itertools.chain.from_iterable(drawn):
        tell_image_size(net, sample.feeds)
    tried = [sample for both in drawn for sample in (both if exact else both[-1:])]
    report = compare_onnx(net, model, tried, options.int8)
    return ToOnnxResult(model=model, comparisons=(), int8=report, exact=exact)
