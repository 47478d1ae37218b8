"""Regions of interest: the points at which an image is sampled, bilinearly, and what lies between."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import int8, kernels

MAX_SAMPLES = 1 << 24  # of one region
MAX_ALL_SAMPLES = 1 << 34  # of all, in all channels
MAX_COORDINATE = 1e7


@dataclass(frozen=True)
class Grid:
    """How regions are cut into bins and these into samples.

    sampling_ratio 0 or below: as many samples a bin as it has pixels, rounded up. aligned: pixels' centers lie at
    half coordinates.
    """

    scale: float
    rows: int
    columns: int
    sampling_ratio: int
    aligned: bool
    rotated: bool = False


@dataclass(frozen=True)
class Geometry:
    """Regions in the image's pixels: float32 [N] each; samples of a bin down and across; angle in radians."""

    image: np.ndarray
    top: np.ndarray
    left: np.ndarray
    bin_height: np.ndarray
    bin_width: np.ndarray
    down: np.ndarray
    across: np.ndarray
    center: tuple[np.ndarray, np.ndarray] | None = None  # (y, x) around which it is turned
    turn: tuple[np.ndarray, np.ndarray] | None = None  # (cosine, sine)

    def check(self, grid: Grid, images: int, channels: int) -> None:
        """Raises ModelError for regions of other images than there are, of negative size or of endless samples."""
        if self.image.size and not 0 <= self.image.min() <= self.image.max() < images:
            raise ModelError(f"a region of image {self.image.max()}; there are {images}")
        if (np.minimum(self.bin_height, self.bin_width) < 0).any():
            raise ModelError("a region of negative size, which `aligned` does not take")
        samples = self.down * self.across * (grid.rows * grid.columns)
        if samples.max(initial=0) > MAX_SAMPLES or samples.sum() * channels > MAX_ALL_SAMPLES:
            raise ModelError(f"{samples.sum()} samples of {samples.size} regions, more than any image has")

    def arrays(self) -> list[np.ndarray]:
        """All of it as contiguous arrays, for the kernels; without rotation the last four are empty."""
        turned = [*self.center, *self.turn] if self.center is not None and self.turn is not None else [self.top[:0]] * 4
        places = [self.top, self.left, self.bin_height, self.bin_width]
        return [
            self.image.astype(np.int32),
            *(np.ascontiguousarray(each, np.float32) for each in places),
            self.down.astype(np.int32),
            self.across.astype(np.int32),
            *(np.ascontiguousarray(each, np.float32) for each in turned),
        ]


def check_numbers(regions: np.ndarray) -> None:
    """Raises ModelError for a region that is no number, or beyond any image."""
    if not (np.abs(regions) < MAX_COORDINATE).all():
        raise ModelError("a region that is no number, or far outside any image")


def geometry(regions: np.ndarray, grid: Grid) -> Geometry:
    """Where regions [N, (image,) box] lie. Raises ModelError for what is no number, or beyond any image."""
    columns = 5 if grid.rotated else 4
    check_numbers(regions)
    image = regions[:, 0].astype(np.int64) if regions.shape[1] > columns else np.zeros(len(regions), np.int64)
    scale, offset, one = np.float32(grid.scale), np.float32(0.5 if grid.aligned else 0.0), np.float32(1)
    box = regions[:, -columns:].astype(np.float32)
    if grid.rotated:
        center_x, center_y = box[:, 0] * scale - offset, box[:, 1] * scale - offset
        width, height = box[:, 2] * scale, box[:, 3] * scale
    else:
        left, top = box[:, 0] * scale - offset, box[:, 1] * scale - offset
        width, height = box[:, 2] * scale - offset - left, box[:, 3] * scale - offset - top
    if not grid.aligned:
        width, height = np.maximum(width, one), np.maximum(height, one)
    bin_height, bin_width = height / np.float32(grid.rows), width / np.float32(grid.columns)
    down, across = (np.full(len(regions), grid.sampling_ratio, np.int64) for _ in range(2))
    if grid.sampling_ratio <= 0:
        down, across = np.ceil(bin_height).astype(np.int64), np.ceil(bin_width).astype(np.int64)
    if not grid.rotated:
        return Geometry(image, top, left, bin_height, bin_width, down, across)
    angle = (box[:, 4].astype(np.float64) * np.pi / 180.0).astype(np.float32).astype(np.float64)
    turn = (np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32))
    half = np.float32(2)
    return Geometry(
        image, -height / half, -width / half, bin_height, bin_width, down, across, (center_y, center_x), turn
    )


def positions(where: Geometry, n: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) of region n's samples, float32 [rows, columns, down, across]."""

    def along(start, size, bins, count):
        steps = (np.arange(count).astype(np.float32) + np.float32(0.5)) * size / np.float32(count)
        return (start + np.arange(bins).astype(np.float32) * size)[:, None] + steps

    y = along(where.top[n], where.bin_height[n], grid.rows, int(where.down[n]))[:, None, :, None]
    x = along(where.left[n], where.bin_width[n], grid.columns, int(where.across[n]))[None, :, None, :]
    if where.turn is None or where.center is None:
        shape = (grid.rows, grid.columns, int(where.down[n]), int(where.across[n]))
        return np.broadcast_to(y, shape), np.broadcast_to(x, shape)
    cosine, sine = where.turn[0][n], where.turn[1][n]
    return y * cosine - x * sine + where.center[0][n], x * cosine + y * sine + where.center[1][n]


def corners(y: np.ndarray, x: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels int64 [4, ...], weights float32 [4, ...]) between which each sample lies; 0 weights outside the image."""
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    (top, bottom, ly), (left, right, lx) = _between(y, height), _between(x, width)
    hy, hx = np.float32(1) - ly, np.float32(1) - lx
    pixels = np.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    weights = np.stack([hy * hx, hy * lx, ly * hx, ly * lx])
    return np.where(outside, 0, pixels), np.where(outside, np.float32(0), weights)


def _between(position: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = np.clip(position, np.float32(0), np.float32(extent))
    low = np.minimum(position.astype(np.int64), extent - 1)
    last = low >= extent - 1
    distance = np.where(last, np.float32(0), position - low.astype(np.float32))
    return low, np.where(last, low, low + 1), distance


def align(x: np.ndarray, where: Geometry, grid: Grid, is_nhwc: bool) -> np.ndarray:
    """Means of each bin's samples, float32: [R, C, rows, columns], or [R, rows, columns, C] of NHWC images."""
    if (fast := kernels.find("align_regions")) is not None:
        return fast(np.ascontiguousarray(x), *where.arrays(), grid.rows, grid.columns, is_nhwc)
    images = x if is_nhwc else x.transpose(0, 2, 3, 1)
    _, height, width, channels = images.shape
    result = np.zeros((len(where.image), grid.rows, grid.columns, channels), np.float32)
    for n in range(len(result)):
        pixels = images[where.image[n]].reshape(height * width, channels)
        for places, weights in _samples(where, n, grid, height, width):
            result[n] += sum(w[..., None] * pixels[p] for p, w in zip(places, weights, strict=True))
        result[n] /= np.float32(max(where.down[n] * where.across[n], 1))
    return result if is_nhwc else np.ascontiguousarray(result.transpose(0, 3, 1, 2))


def align_int8(
    x: np.ndarray,
    zero_point: int,
    where: Geometry,
    grid: Grid,
    multipliers: Sequence[tuple[int, int]],
    y_zero_point: int,
) -> np.ndarray:
    """Means of each bin's samples of uint8 NHWC images, as uint8 with another scale and zero point.

    multipliers: (multiplier, shift) of each region, from the sum of its samples, at 255 times their value.
    """
    if (fast := kernels.find("align_byte_regions")) is not None:
        factors, shifts = zip(*multipliers, strict=True) if multipliers else ((), ())
        scaling = (np.array(factors, np.int32), np.minimum(np.array(shifts, np.int32), 62), y_zero_point)
        return fast(np.ascontiguousarray(x), zero_point, *where.arrays(), grid.rows, grid.columns, *scaling)
    _, height, width, channels = x.shape
    result = np.empty((len(where.image), grid.rows, grid.columns, channels), np.uint8)
    for n in range(len(result)):
        acc = np.zeros(result.shape[1:], np.int64)
        pixels = x[where.image[n]].reshape(height * width, channels).astype(np.int64)
        for places, weights in _samples(where, n, grid, height, width):
            steps = np.rint(weights * np.float32(255)).astype(np.int64)
            acc += sum(w[..., None] * pixels[p] for p, w in zip(places, steps, strict=True)) - 255 * zero_point
        result[n] = int8.saturate(int8.multiply_gemmlowp(acc.astype(np.int32), *multipliers[n]), y_zero_point)
    return result


def _samples(where: Geometry, n: int, grid: Grid, height: int, width: int):
    """(pixels [4, rows, columns], their weights) of each sample of region n's bins, in Caffe2's order."""
    y, x = positions(where, n, grid)
    for down in range(y.shape[2]):
        for across in range(y.shape[3]):
            yield corners(y[:, :, down, across], x[:, :, down, across], height, width)
