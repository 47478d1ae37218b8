"""The latency of nets on a device, operator by operator."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.dtypes import CODE_OF_NUMPY, NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_common.sizes import Size
from caffe2_mobile.api.nets import Source, net_name, open_net, to_int8
from caffe2_mobile.api.options import require_one_of, require_positive
from caffe2_models import Net
from caffe2_models.tensors import TensorType
from runtime_lut import report
from runtime_lut.latency import NetLatency, net_latency
from runtime_lut.sources import Sources, find_sources
from runtime_lut.table import POLICIES


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """Of which inputs, on which device, and where its times come from.

    input_dims: shapes of the inputs (default: the net's own), else img_size, height and width in pixels, and batch,
    images. input_dtype: their TensorProto.DataType. db_dir: the folder of tables (default: that of downloads); device:
    whose (default: the Samsung S8's, or the only one there). mode: what several records of one operator give.
    estimate: what the table lacks. int8: of a float net, the form that it would have in int8.
    """

    input_dims: Mapping[str, tuple[int, ...]] | None = None
    input_dtype: int = CODE_OF_NUMPY["float32"]
    img_size: Size | None = None
    batch: int | None = None
    db_dir: str | os.PathLike[str] | None = None
    device: str | None = None
    mode: str = "ave"
    estimate: bool = False
    int8: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "batch")
        require_one_of("mode", self.mode, POLICIES)
        if self.input_dtype not in NUMPY_OF_CODE:
            raise ModelError(f"invalid input_dtype {self.input_dtype}: expected one of {sorted(NUMPY_OF_CODE)}")


@dataclass(frozen=True)
class LatencyResult:
    """A net's operators with their times in µs, and where each time comes from."""

    latency: NetLatency

    @property
    def total_us(self) -> float:
        """Sum over the operators whose time is known, µs."""
        return self.latency.total_us

    @property
    def interval_us(self) -> tuple[float, float] | None:
        """The range that holds the true sum nine times out of ten, µs; None where nothing is estimated."""
        return self.latency.interval_us

    @property
    def all_found(self) -> bool:
        """Whether the table holds every operator."""
        return self.latency.all_found

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, top: int | None = None, by_type: bool = False) -> str:
        """All operators, or the slowest ones, or the sums over each type; then the total."""
        lines = report.top_lines(self.latency, top) if top else []
        lines += report.type_lines(self.latency) if by_type else []
        lines = lines or report.operator_lines(self.latency)
        return "\n".join([*lines, *report.summary_lines(self.latency)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """As .json, .csv, .html, or a plot (.png, .svg, .pdf; needs matplotlib), by the name's ending."""
        report.save([self.latency], path)


def latency(net: Source, options: LatencyOptions | None = None, sources: Sources | None = None) -> LatencyResult:
    """Look the operators of a net up: a Net, a folder, predict file, prefix or .onnx file, a published or zoo name.

    sources: what runtime_lut.sources gave, where several nets are looked up. Raises ModelError for what is no net,
    shapes that do not fit, and a device that nothing is known of.
    """
    options = options or LatencyOptions()
    if sources is None:
        folder = None if options.db_dir is None else Path(options.db_dir)
        sources = find_sources(options.device, folder, options.mode, options.estimate)
    name, found = net_name(net), open_net(net)
    types = input_types(found, options)
    if options.int8 and not found.is_quantized:
        if len(types) != 1:
            raise ModelError(f"{name}: only nets with one input are quantized here")
        found = to_int8(found, {blob: kind.shape for blob, kind in types.items()})
    return LatencyResult(net_latency(found, types, sources.table, sources.estimator, name))


def input_types(net: Net, options: LatencyOptions) -> dict[str, TensorType]:
    """Types of the net's inputs: as the options say, or the net's own."""
    shapes = net.input_shapes(options.img_size, options.batch or 1, options.input_dims)
    if options.input_dtype == CODE_OF_NUMPY["float32"]:
        return net.input_types(shapes)
    dtype = NUMPY_OF_CODE[options.input_dtype]
    return {name: TensorType(shape, dtype) for name, shape in shapes.items()}
