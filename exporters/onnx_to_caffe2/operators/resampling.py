"""Resizing of maps.

Caffe2's nearest takes pixel floor(i / scale), its bilinear aligns the corners. Where ONNX chooses other pixels,
a map of fixed size is resized by products with matrices, whose rows are the shares of the input's pixels in
the output's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.registry import Node, converts

SIDES = (2, 3)  # height and width

# Where a pixel of the output lies in the input: (its index, scale, input size, output size), in float32.
COORDINATES: dict[str, Callable] = {
    "asymmetric": lambda i, scale, before, after: i / scale,
    "half_pixel": lambda i, scale, before, after: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, scale, before, after: (i + 0.5) / scale - 0.5 if after > 1 else 0 * i,
    "align_corners": lambda i, scale, before, after: i * (before - 1) / max(after - 1, 1),
    "tf_half_pixel_for_nn": lambda i, scale, before, after: (i + 0.5) / scale,
    "half_pixel_symmetric": lambda i, scale, before, after: (
        before / 2 * (1 - after / (scale * before)) + (i + 0.5) / scale - 0.5
    ),
}

ROUNDINGS: dict[str, Callable] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}


@dataclass(frozen=True)
class Kernel:
    """How pixels between those of the input are made: of the two nearest in each direction, or the four.

    a: the cubic's coefficient. exclude_outside: pixels beyond the image do not count, where else the edge's stand in
    for them. antialias: to fewer pixels it reaches over as many as become one.
    """

    mode: str
    a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False

    def weights(self, distance: np.ndarray) -> np.ndarray:
        """Of pixels at these distances."""
        d = np.abs(distance)
        if self.mode != "cubic":
            return np.maximum(0, 1 - d)
        near = (self.a + 2) * d**3 - (self.a + 3) * d**2 + 1
        far = self.a * d**3 - 5 * self.a * d**2 + 8 * self.a * d - 4 * self.a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    def shares(self, before: int, places: np.ndarray, ratio: float) -> np.ndarray:
        """[output, input], float32: what each pixel of the output takes of each of the input."""
        stretch = min(ratio, 1.0) if self.antialias else 1.0
        reach = int(np.ceil((2 if self.mode == "cubic" else 1) / stretch)) + 1
        pixels = np.floor(places.astype(np.float64))[:, None].astype(np.int64) + np.arange(-reach, reach + 1)
        weights = self.weights((places[:, None].astype(np.float64) - pixels) * stretch)
        if self.exclude_outside:
            weights = np.where((pixels < 0) | (pixels >= before), 0, weights)
        weights /= weights.sum(axis=1, keepdims=True)
        matrix = np.zeros((len(places), before))
        np.add.at(matrix, (np.arange(len(places))[:, None], np.clip(pixels, 0, before - 1)), weights)
        return matrix.astype(np.float32)


@converts("Upsample")
def upsample(node, x, scales_input=None, *, scales=None, mode="nearest", height_scale=None, width_scale=None):
    if scales is None and height_scale is not None:
        scales = [1, 1, height_scale, width_scale]
    if scales is None:
        scales = _constant_scales(scales_input)
    return _resize(node, x, scales, Kernel(mode), "asymmetric", "floor")


@converts("Resize")
def resize(node, x, roi_or_scales=None, scales=None, sizes=None, *, mode="nearest",
           coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor",
           cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, antialias=0, axes=None,
           keep_aspect_ratio_policy="stretch"):  # fmt: skip
    if node.opset < 11:
        return _resize(node, x, _constant_scales(roi_or_scales), Kernel(mode), "asymmetric", "floor")
    given = None
    if sizes is None or sizes.is_constant or sizes.varies:
        given = _constant_scales(scales) if scales is not None and scales.shape != (0,) else None
    else:
        raise Unsupported("Caffe2's ResizeNearest and UpsampleBilinear take scales, no sizes that are computed")
    if given is not None and axes is not None:
        given = np.array([dict(zip([axis % 4 for axis in axes], given, strict=True)).get(i, 1) for i in range(4)])
    kernel = Kernel(mode, cubic_coeff_a, bool(exclude_outside), bool(antialias))
    if coordinate_transformation_mode == "tf_crop_and_resize":
        return _cropped(node, x, roi_or_scales, axes, kernel, extrapolation_value, nearest_mode)
    return _resize(node, x, given, kernel, coordinate_transformation_mode, nearest_mode)


def _constant_scales(scales: Blob | None) -> np.ndarray:
    if scales is None or not scales.is_constant:
        raise Unsupported("Caffe2's ResizeNearest takes no scales of all four dimensions, which are computed here")
    return scales.value


def _resize(node: Node, x: Blob, scales, kernel: Kernel, coordinates: str, nearest: str) -> Blob:
    """x at y's size; scales as they are given for each dimension, None where the sizes tell them."""
    y, mode = node.output, kernel.mode
    if x.rank != 4 or [s[:2] for s in x.shapes] != [s[:2] for s in y.shapes]:
        raise Unsupported("resizing of other dimensions than height and width")
    if x.shapes == y.shapes:
        return x
    if mode not in ("nearest", "linear", "cubic") or coordinates not in COORDINATES or nearest not in ROUNDINGS:
        raise Unsupported(f"mode {mode} with coordinates {coordinates}")
    given = [None if scales is None else np.float32(scales[axis]) for axis in SIDES]
    places = [_places(x, y, axis, scale, coordinates) for axis, scale in zip(SIDES, given, strict=True)]
    if coordinates == "align_corners" and any(
        scale is not None and abs(scale * s[axis] - t[axis]) > 1e-3
        for axis, scale in zip(SIDES, given, strict=True)
        for s, t in zip(x.shapes, y.shapes, strict=True)
    ):
        raise Unsupported("Caffe2's UpsampleBilinear aligns corners at whole sizes only, and these scales give none")
    kind = None
    wanted: Sequence[list[np.ndarray] | None] = (None, None)
    if mode == "nearest":
        places = [[_rounded(at, nearest, s[axis]) for at, s in zip(both, x.shapes, strict=True)]
                  for axis, both in zip(SIDES, places, strict=True)]  # fmt: skip
        kind, wanted = "ResizeNearest", places
    elif coordinates == "align_corners" and mode == "linear" and not kernel.antialias:
        kind = "UpsampleBilinear"
    fitting = [_caffe2_scale(x, y, axis, pixels) for axis, pixels in zip(SIDES, wanted, strict=True)]
    if kind is not None and None not in fitting:
        return node.add(kind, [x], height_scale=fitting[0], width_scale=fitting[1])
    if not all(x.is_fixed(axis) for axis in SIDES):
        raise Unsupported(
            f"mode {mode} with coordinates {coordinates}, {nearest}, which are not Caffe2's, at a size that is free; "
            "fix it with --img-size"
        )
    matrices = []
    for axis, at, scale in zip(SIDES, places, given, strict=True):
        ratio = float(y.shape[axis] / x.shape[axis] if scale is None else scale)
        matrices.append(Kernel("linear").shares(x.shape[axis], at[0], 1.0) if mode == "nearest" else (
            kernel.shares(x.shape[axis], at[0], ratio)))  # fmt: skip
    return _by_matrices(node, x, *matrices)


def _cropped(
    node: Node, x: Blob, region: Blob | None, axes, kernel: Kernel, extrapolation: float, nearest: str
) -> Blob:
    """A region of the map, its corners as shares of the map's size, [starts, ends]; beyond the map one value."""
    y = node.output
    if region is None or not region.is_constant or x.rank != 4 or x.shape[:2] != y.shape[:2]:
        raise Unsupported("Caffe2 resizes no region that is computed, and maps only")
    axes = [axis % x.rank for axis in (range(x.rank) if axes is None else axes)]
    corners = region.value.astype(np.float32)
    ends = dict(zip(axes, zip(corners[: len(axes)], corners[len(axes) :], strict=True), strict=True))
    matrices, inside = [], []
    for axis in SIDES:
        before, after = x.fixed_dim(axis), y.fixed_dim(axis)
        start, end = ends.get(axis, (0.0, 1.0))
        steps = np.arange(after, dtype=np.float32)
        at = start * (before - 1) + steps * (end - start) * (before - 1) / (after - 1) if after > 1 else (
            0.5 * (start + end) * (before - 1) + steps)  # fmt: skip
        inside.append((at >= 0) & (at <= before - 1))
        pixels = ROUNDINGS[nearest](at).clip(0, before - 1) if kernel.mode == "nearest" else at
        shares = Kernel("linear") if kernel.mode == "nearest" else kernel
        matrices.append(shares.shares(before, pixels, 1.0))
    resized = _by_matrices(node, x, *matrices)
    seen = np.multiply.outer(*inside)
    if seen.all():
        return resized
    resized = node.add("Mul", [resized, node.constant(seen.astype(np.float32))])
    return node.add("Add", [resized, node.constant(np.float32(extrapolation) * ~seen)])


def _places(x: Blob, y: Blob, axis: int, scale: np.float32 | None, coordinates: str) -> list[np.ndarray]:
    """For both shapes, where each of the output's pixels lies among the input's, as ONNX has it."""
    places = []
    for before, after in ((s[axis], t[axis]) for s, t in zip(x.shapes, y.shapes, strict=True)):
        ratio = np.float32(after / before) if scale is None else scale
        at = COORDINATES[coordinates](np.arange(after, dtype=np.float32), ratio, before, after)
        places.append(at)
    return places


def _rounded(places: np.ndarray, nearest: str, size: int) -> np.ndarray:
    return np.clip(ROUNDINGS[nearest](places), 0, size - 1).astype(np.int64)


def _caffe2_scale(x: Blob, y: Blob, axis: int, pixels: list[np.ndarray] | None) -> float | None:
    """A float32 scale with which Caffe2 makes y's sizes of x's, and takes these pixels; None: there is none."""
    sizes = [(before[axis], after[axis]) for before, after in zip(x.shapes, y.shapes, strict=True)]
    exact = np.float32(sizes[0][1] / sizes[0][0])
    for scale in (exact, np.nextafter(exact, np.float32(np.inf))):
        if all(int(np.float32(before) * scale) == after for before, after in sizes) and (
            pixels is None
            or all(
                np.array_equal(taken, np.minimum((np.arange(after, dtype=np.float32) / scale).astype(int), before - 1))
                for taken, (before, after) in zip(pixels, sizes, strict=True)
            )
        ):
            return float(scale)
    return None


def _by_matrices(node: Node, x: Blob, rows: np.ndarray, columns: np.ndarray) -> Blob:
    """rows * x * columns', by FC over the last dimension, which is the columns first and then the rows."""
    swapped = [0, 1, 3, 2]
    x = _along_last(node, x, columns)
    x = _along_last(node, node.add("Transpose", [x], axes=swapped), rows)
    return node.add("Transpose", [x], axes=swapped)


def _along_last(node: Node, x: Blob, matrix: np.ndarray) -> Blob:
    if np.array_equal(matrix, np.eye(matrix.shape[1])):
        return x
    zeros = np.zeros(len(matrix), np.float32)
    return node.add("FC", [x, node.constant(matrix), node.constant(zeros)], axis=3)
