"""ONNX to Caffe2."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from caffe2_common.sizes import Dims, Size
from caffe2_mobile.api.comparisons import Verified
from caffe2_mobile.api.options import require_positive
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from exporters import onnx_to_caffe2
from exporters.onnx_files import input_dtypes, load_onnx
from exporters.verification import input_shapes, make_samples, verify_net


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to convert.

    img_size: height and width in pixels (N or (H, W)), where the ONNX file leaves them free; shapes: of inputs by
    name, where it leaves any dimension free (None: it stays free).
    """

    img_size: Size | None = None
    shapes: Mapping[str, Dims] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_positive(self, "img_size")


@dataclass(frozen=True, kw_only=True)
class ConvertResult(Verified):
    """A Caffe2 float net, and how near it computes what ONNX Runtime does of the model that it came from."""

    net: Net = field(repr=False)

    def __str__(self) -> str:
        counts = Counter(node.type for node in self.net.operators)
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        size = sum(kind.nbytes for kind in self.net.parameter_types.values())
        described = f"{len(self.net.operators)} operators ({listed}), {size / 1e6:.1f} MB of parameters"
        return "\n".join([described, *self.comparison_lines()])

    def save(self, prefix: str | os.PathLike[str]) -> None:
        """Write PREFIX.init.pb and PREFIX.predict.pb."""
        self.net.save(prefix)


def convert(source: str | os.PathLike[str] | onnx.ModelProto, options: ConvertOptions | None = None) -> ConvertResult:
    """The Caffe2 net of an ONNX model, compared with it on random and on image-like input.

    The net's operators are computed by this package's own definition of them, and by the real Caffe2 too where
    CAFFE2_PYTHON names it. Raises ModelError for a file that is no ONNX model, and UnsupportedError, with all of them,
    for operators that Caffe2 has no form of.
    """
    options = options or ConvertOptions()
    model = source if isinstance(source, onnx.ModelProto) else load_onnx(source)
    net = onnx_to_caffe2.convert(model, options.img_size, options.shapes)
    preprocessing = get_preprocessing(net.predict)
    shapes = input_shapes(model, preprocessing, options.img_size, shapes=options.shapes)
    samples = make_samples(shapes, preprocessing, dtypes=input_dtypes(model))
    del model  # a file is read once more, by ONNX Runtime, so that large weights are in memory once
    return ConvertResult(net=net, comparisons=tuple(verify_net(net, source, samples)))
