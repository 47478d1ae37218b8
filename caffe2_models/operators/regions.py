"""Regions of images: cut out of feature maps at one size (RoIAlign, its rotated and int8 forms, RoIPool), laid over an
image as a grid (RMACRegions), summed (IntegralImage)."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import int8
from caffe2_models.detection import regions
from caffe2_models.detection.regions import Geometry, Grid
from caffe2_models.operators.checks import check_rank
from caffe2_models.operators.convolution import image_shape, ordered
from caffe2_models.operators.detection import check_regions
from caffe2_models.operators.quantized import Quantized, require_nhwc, require_quantized
from caffe2_models.operators.registry import ANY, FLOAT32, Operator, operator
from caffe2_models.operators.window import MAX_EXTENT
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class RegionOperator(Operator):
    """Base: x [N, C, H, W] (or NHWC) and regions [R, (image,) box] to [R, C, pooled_h, pooled_w]."""

    spatial_scale: float = 1.0
    pooled_h: int = 1
    pooled_w: int = 1
    sampling_ratio: int = -1
    aligned: bool = False
    order: str = "NCHW"

    rotated = False

    def infer(self, x, rois):
        _, channels, height, width = image_shape(x, self.order)
        columns = (5, 6) if self.rotated else (4, 5)
        if len(rois.shape) != 2 or rois.shape[0]:
            check_regions(rois, columns=columns)
        if not 1 <= min(self.pooled_h, self.pooled_w) <= max(self.pooled_h, self.pooled_w) <= MAX_EXTENT:
            raise ModelError(f"invalid size {self.pooled_h} x {self.pooled_w}: expected at least 1 x 1")
        if not 0 < self.spatial_scale < MAX_EXTENT or self.sampling_ratio > MAX_EXTENT:
            raise ModelError(f"a spatial scale of {self.spatial_scale:.6g}, {self.sampling_ratio} samples")
        if rois.shape[0] and not min(height, width):
            raise ModelError(f"regions of images {list(x.shape)}, which have no pixels")
        return x.with_shape(ordered((rois.shape[0], channels, self.pooled_h, self.pooled_w), self.order))

    @property
    def grid(self) -> Grid:
        size = (self.pooled_h, self.pooled_w)
        return Grid(self.spatial_scale, *size, self.sampling_ratio, self.aligned, self.rotated)

    def geometry(self, shape: tuple[int, ...], rois: np.ndarray) -> Geometry:
        """Where the regions lie; raises ModelError for those that cannot be."""
        where = regions.geometry(rois, self.grid)
        where.check(self.grid, shape[0], shape[3 if self.order == "NHWC" else 1])
        return where


@operator("RoIAlign")
@operator("RoIAlignRotated", rotated=True)
@dataclass(frozen=True)
class RoIAlign(RegionOperator):
    """Bilinear samples of each bin, averaged; rotated regions are (center x, center y, width, height, degrees)."""

    refuses_content = True

    @classmethod
    def is_in_onnx(cls):
        return not cls.rotated

    def compute(self, x, rois):
        return regions.align(x, self.geometry(x.shape, rois), self.grid, self.order == "NHWC")

    def lower(self, graph, x, rois):
        count, columns = rois.shape
        image = graph.constant(np.zeros(count, np.int64))
        box = rois
        if columns == 5:
            image, box = graph.add("Split", rois, graph.ints([1, 4]), outputs=2, axis=1)
            image = graph.cast(graph.add("Squeeze", image, graph.ints([1])), np.int64)
        y = graph.add(
            "RoiAlign",
            *(graph.to_nchw(x) if self.order == "NHWC" else x, box, image),
            coordinate_transformation_mode="half_pixel" if self.aligned else "output_half_pixel",
            output_height=self.pooled_h,
            output_width=self.pooled_w,
            sampling_ratio=max(self.sampling_ratio, 0),
            spatial_scale=self.spatial_scale,
        )
        return graph.to_nhwc(y) if self.order == "NHWC" else y


@operator("RoIPool")
@dataclass(frozen=True)
class RoIPool(RegionOperator):
    """The maximum of each bin of whole pixels; output 2, for training, is its place in the image, or -1."""

    is_test: bool = False

    def infer(self, x, rois):
        if self.order != "NCHW":
            raise ModelError("order NHWC, which RoIPool does not take")
        result = super().infer(x, rois)
        check_regions(rois)
        return result, TensorType(result.shape, np.int32)

    def compute(self, x, rois):
        _, channels, height, width = x.shape
        shape = (len(rois), channels, self.pooled_h, self.pooled_w)
        result, places = np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
        regions.check_numbers(rois)
        if rois.size and not 0 <= rois[:, 0].min() <= rois[:, 0].max() < len(x):
            raise ModelError(f"a region of an image beyond the {len(x)} that there are")
        scaled = rois[:, 1:] * np.float32(self.spatial_scale)
        starts = np.floor(np.abs(scaled) + np.float32(0.5)) * np.sign(scaled)  # round() of C: halves go away from 0
        for n, (left, top, right, bottom) in enumerate(starts.astype(np.int64)):
            rows = _bins(top, bottom, self.pooled_h, height)
            columns = _bins(left, right, self.pooled_w, width)
            image = x[int(rois[n, 0])]
            for i, (r0, r1) in enumerate(rows):
                for j, (c0, c1) in enumerate(columns):
                    if r0 < r1 and c0 < c1 and channels:
                        window = image[:, r0:r1, c0:c1].reshape(channels, -1)
                        best = window.argmax(axis=1)
                        result[n, :, i, j] = np.take_along_axis(window, best[:, None], 1)[:, 0]
                        down, across = np.divmod(best, c1 - c0)
                        places[n, :, i, j] = (r0 + down) * width + c0 + across
        return result, places


def _bins(first: int, last: int, count: int, extent: int) -> list[tuple[int, int]]:
    """(start, end) of each bin of the pixels first...last, within the image."""
    size = np.float32(max(last - first + 1, 1)) / np.float32(count)
    index = np.arange(count).astype(np.float32)
    starts = np.floor(index * size).astype(np.int64) + first
    ends = np.ceil((index + np.float32(1)) * size).astype(np.int64) + first
    pairs = zip(starts.clip(0, extent).tolist(), ends.clip(0, extent).tolist(), strict=True)
    return list(pairs)


@operator("Int8RoIAlign")
@dataclass(frozen=True, kw_only=True)
class Int8RoIAlign(Quantized, RegionOperator):
    """RoIAlign of NHWC bytes, its weights rounded to steps of 1/255."""

    order: str = "NHWC"

    dtypes = (ANY, FLOAT32)

    def infer(self, x, rois):
        require_quantized(x)
        require_nhwc(self.order)
        result = self.type_of(super().infer(x, rois).shape)
        if self.sampling_ratio > 0:
            self._multiplier(x, self.sampling_ratio**2)
        return result

    def compute(self, x, rois):
        where = self.geometry(x.shape, rois)
        counts = (where.down * where.across).tolist()
        known = {count: self._multiplier(x, count) for count in set(counts)}
        multipliers = [known[count] for count in counts]
        return self.tensor(regions.align_int8(x.data, x.zero_point, where, self.grid, multipliers, self.Y_zero_point))

    def _multiplier(self, x, count: int) -> tuple[int, int]:
        """(multiplier, shift) from the sum of so many samples, times 255, to the output."""
        if not count:
            raise ModelError("a region without width or height, of which Caffe2 takes no samples")
        real = float(np.float32(x.scale)) / (float(np.float32(self.Y_scale)) * 255.0 * count)
        return int8.gemmlowp_multiplier(real)


@operator("RMACRegions")
@dataclass(frozen=True)
class RMACRegions(Operator):
    """Squares of several sizes laid over images [N, C, H, W] as in arXiv:1511.05879: [R, (image, x1, y1, x2, y2)].

    At scale l a square's side is 2 / (l + 1) of the image's shorter one; along the longer one there are as many more as
    come nearest to the wanted overlap.
    """

    scales: int = 3
    overlap: float = 0.4

    dtypes = ANY

    def infer(self, x):
        check_rank(x, 4, "images")
        images, _, height, width = x.shape if x.size else (0,) * 4
        return TensorType((images * sum(rows * columns for _, rows, columns in self._grids(height, width)), 5))

    def compute(self, x):
        images, _, height, width = x.shape if x.size else (0,) * 4
        parts = [_grid(*grid, height, width) for grid in self._grids(height, width)]
        one = np.concatenate([np.zeros((0, 4), np.float32), *parts])
        owners = np.repeat(np.arange(images, dtype=np.float32), len(one))[:, None]
        return np.concatenate([owners, np.tile(one, (images, 1))], axis=1)

    def _grids(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(side of the squares, how many across, how many down) at each scale."""
        shorter, more = min(height, width), self._more(height, width) if min(height, width) else 0
        across, down = (more if width > height else 0), (more if height > width else 0)
        scales = range(1, min(self.scales, 2 * shorter - 1) + 1)
        return [(2 * shorter // (scale + 1), scale + across, scale + down) for scale in scales]

    def _more(self, height: int, width: int) -> int:
        """Squares along the longer side beyond those along the shorter one."""
        if height == width:
            return 0
        shorter, area = np.float32(min(height, width)), np.float32(min(height, width) ** 2)
        gaps = [np.float32(abs(height - width) / count) for count in range(1, 7)]
        distances = [abs((area - shorter * gap) / area - np.float32(self.overlap)) for gap in gaps]
        return 1 + int(np.argmin(distances))


def _grid(side: int, across: int, down: int, height: int, width: int) -> np.ndarray:
    """(x1, y1, x2, y2) of squares, column by column, float32 [across * down, 4]."""

    def starts(extent: int, count: int) -> np.ndarray:
        step = np.float32((extent - side) / (count - 1)) if count > 1 else np.float32(0)
        return np.minimum((step * np.arange(count, dtype=np.float32)).astype(np.int64), extent - side)

    x, y = (each.ravel() for each in np.meshgrid(starts(width, across), starts(height, down), indexing="ij"))
    return np.stack([x, y, x + side - 1, y + side - 1], axis=1).astype(np.float32)


@operator("IntegralImage")
@dataclass(frozen=True)
class IntegralImage(Operator):
    """The sum of all pixels above and left of each corner: [N, C, H + 1, W + 1]."""

    def infer(self, x):
        check_rank(x, 4, "images")
        count, channels, height, width = x.shape
        return x.with_shape((count, channels, height + 1, width + 1))

    def compute(self, x):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)))
        return np.cumsum(np.cumsum(padded, axis=3), axis=2)

    def lower(self, graph, x):
        y = graph.pad(x, (1, 1, 0, 0))
        for axis in (3, 2):
            y = graph.add("CumSum", y, graph.constant(axis, np.int64))
        return y
