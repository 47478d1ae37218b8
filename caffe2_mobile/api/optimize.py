"""ONNX files, simplified."""

import os
from dataclasses import dataclass, field

import onnx

from caffe2_mobile.api.comparisons import Verified
from exporters import onnx_optimization
from exporters.onnx_files import get_onnx_preprocessing, load_onnx, save_onnx
from exporters.verification import compare, input_shapes, make_samples, run_onnx


@dataclass(frozen=True, kw_only=True)
class OptimizeResult(Verified):
    """An ONNX model, and how near it computes what the original does. nodes_before: how many the original has."""

    model: onnx.ModelProto = field(repr=False)
    nodes_before: int

    def __str__(self) -> str:
        described = f"{len(self.model.graph.node)} nodes, from {self.nodes_before}"
        return "\n".join([described, *self.comparison_lines()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file, whole or not at all."""
        save_onnx(self.model, path)


def optimize(source: str | os.PathLike[str] | onnx.ModelProto) -> OptimizeResult:
    """The ONNX model with constants, BatchNorm, Identity and the like folded; plain ONNX, for any machine.

    What the file says of itself (metadata, names of inputs and outputs) is kept. Raises ModelError for a file that is
    no ONNX model, or that ONNX Runtime cannot read.
    """
    model = source if isinstance(source, onnx.ModelProto) else load_onnx(source)
    optimized = onnx_optimization.optimize(model)
    preprocessing = get_onnx_preprocessing(model)
    samples = make_samples(input_shapes(model, preprocessing), preprocessing)
    pairs = zip(samples, run_onnx(model, samples), run_onnx(optimized, samples), strict=True)
    return OptimizeResult(
        model=optimized,
        nodes_before=len(model.graph.node),
        comparisons=tuple(compare("optimized against original", *pair) for pair in pairs),
    )
