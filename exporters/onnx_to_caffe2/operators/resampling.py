"""Resizing of maps."""

import numpy as np

from exporters.onnx_to_caffe2.graph import Unsupported
from exporters.onnx_to_caffe2.registry import Node, converts


@converts("Upsample")
def upsample(node, x, scales_input=None, *, scales=None, mode="nearest", height_scale=None, width_scale=None):
    return _resize(node, x, mode, "asymmetric", "floor")


@converts("Resize")
def resize(node, x, *sizes, mode="nearest", coordinate_transformation_mode=None,
nearest_mode="round_prefer_floor",
           cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, antialias=0, axes=None,
           keep_aspect_ratio_policy="stretch"):  # fmt: skip
    if node.opset < 11:
        return _resize(node, x, mode, "asymmetric", "floor")
    if antialias:
        raise Unsupported("antialias")
    return _resize(node, x, mode, coordinate_transformation_mode or "half_pixel", nearest_mode)


def _resize(node: Node, x, mode: str, coordinates: str, nearest: str):
    """Caffe2's nearest takes floor(i / scale); its bilinear aligns the corners. Others are refused."""
    y = node.output
    if x.rank != 4 or [s[:2] for s in x.shapes] != [s[:2] for s in y.shapes]:
        raise Unsupported("resizing of other dimensions than height and width")
    if x.shapes == y.shapes:
        return x
    scales = [_scale(x, y, axis) for axis in (2, 3)]
    if mode == "nearest":
        for axis, scale in zip((2, 3), scales, strict=True):
            for before, after in zip(x.shapes, y.shapes, strict=True):
                _require_same_pixels(before[axis], after[axis], scale, coordinates, nearest)
        return node.add("ResizeNearest", [x], height_scale=scales[0], width_scale=scales[1])
    if mode == "linear" and coordinates == "align_corners":
        return node.add("UpsampleBilinear", [x], height_scale=scales[0], width_scale=scales[1])
    raise Unsupported(
        f"mode {mode} with coordinates {coordinates}; Caffe2 has nearest, and linear with align_corners"
    )


def _scale(x, y, axis: int) -> float:
    """A float32 scale with which Caffe2 computes exactly y's size from x's, at both sizes."""
    sizes = [(before[axis], after[axis]) for before, after in zip(x.shapes, y.shapes, strict=True)]
    exact = np.float32(sizes[0][1] / sizes[0][0])
    for scale in (exact, np.nextafter(exact, np.float32(np.inf))):
        if all(int(np.float32(before) * scale) == after for before, after in sizes):
            return float(scale)
    raise Unsupported("an output size that depends on the input's; fix it with --img-size")


def _require_same_pixels(before: int, after: int, scale: float, coordinates: str, nearest: str) -> None:
    """ONNX's choice of source pixels must be Caffe2's."""
    index = np.arange(after, dtype=np.float64)
    ratio = after / before
    at = {
        "asymmetric": index / ratio,
        "half_pixel": (index + 0.5) / ratio - 0.5,
        "pytorch_half_pixel": (index + 0.5) / ratio - 0.5 if after > 1 else 0 * index,
        "align_corners": index * (before - 1) / max(after - 1, 1),
        "tf_half_pixel_for_nn": (index + 0.5) / ratio,
    }.get(coordinates)
    rounding = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda values: np.ceil(values - 0.5),
        "round_prefer_ceil": lambda values: np.floor(values + 0.5),
    }.get(nearest)
    if at is None or rounding is None:
        raise Unsupported(f"coordinates {coordinates} with {nearest}")
    onnx_pixels = np.clip(rounding(at), 0, before - 1)
    caffe2_pixels = np.minimum((index.astype(np.float32) / np.float32(scale)).astype(np.int64), before - 1)
    if (onnx_pixels != caffe2_pixels).any():
        raise Unsupported(
            f"coordinates {coordinates} with {nearest}, which choose other pixels than Caffe2 at this size"
        )
