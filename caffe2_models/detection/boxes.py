"""Boxes: what deltas make of them, clipped to the image, kept where they are large enough."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_models.libm import expf

MAX_LOG_SCALE = np.float32(math.log(1000.0 / 16.0))  # of a side, by a delta


@dataclass(frozen=True)
class AngleBounds:
    """The range that angles of rotated boxes are brought to, in degrees; None leaves them."""

    lowest: int
    highest: int


def transform(
    boxes: np.ndarray,
    deltas: np.ndarray,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    bounds: AngleBounds | None = None,
    plus_one: bool = True,
) -> np.ndarray:
    """Boxes [N, 4 or 5] moved and scaled by deltas [N, 4 or 5]; plus_one: a side is x2 - x1 + 1 pixels long."""
    one, half = np.float32(plus_one), np.float32(0.5)
    dx, dy, dw, dh = (deltas[:, i] / np.float32(weights[i]) for i in range(4))
    dw, dh = np.minimum(dw, MAX_LOG_SCALE), np.minimum(dh, MAX_LOG_SCALE)
    result = np.empty_like(boxes)
    if boxes.shape[1] == 5:
        x, y, width, height, angle = boxes.T
        result[:, 0], result[:, 1] = dx * width + x, dy * height + y
        result[:, 2], result[:, 3] = expf(dw) * width, expf(dh) * height
        result[:, 4] = bring_into(deltas[:, 4] * np.float32(180) / np.float32(math.pi) + angle, bounds)
        return result
    width, height = boxes[:, 2] - boxes[:, 0] + one, boxes[:, 3] - boxes[:, 1] + one
    x, y = boxes[:, 0] + half * width, boxes[:, 1] + half * height
    x, y = dx * width + x, dy * height + y
    width, height = expf(dw) * width, expf(dh) * height
    result[:, 0], result[:, 1] = x - half * width, y - half * height
    result[:, 2], result[:, 3] = x + half * width - one, y + half * height - one
    return result


def bring_into(angles: np.ndarray, bounds: AngleBounds | None) -> np.ndarray:
    """Angles moved by one period of the bounds where they lie outside."""
    if bounds is None:
        return angles
    period = np.float32(bounds.highest - bounds.lowest)
    below, above = angles < bounds.lowest, angles > bounds.highest
    return np.where(below, angles + period, np.where(above, angles - period, angles))


def clip(boxes: np.ndarray, height: int, width: int, angle_threshold: float = 1.0, plus_one: bool = True) -> np.ndarray:
    """Boxes [N, 4 or 5] within the image; rotated ones only where their angle is at most the threshold."""
    if boxes.shape[1] == 4:
        most = np.array([width - plus_one, height - plus_one] * 2, np.float32)
        return np.maximum(np.minimum(boxes, most), np.float32(0))
    upright = np.abs(boxes[:, 4]) <= np.float32(angle_threshold)
    one, two = np.float32(plus_one), np.float32(2)
    x, y, w, h = boxes[upright, :4].T
    corners = np.stack([x - (w - one) / two, y - (h - one) / two, x + (w - one) / two, y + (h - one) / two], 1)
    x1, y1, x2, y2 = clip(corners.astype(np.float32), height, width, plus_one=plus_one).T
    result = boxes.copy()
    result[upright, :4] = np.stack([(x1 + x2) / two, (y1 + y2) / two, x2 - x1 + one, y2 - y1 + one], 1)
    return result


def large_enough(boxes: np.ndarray, least: float, image: np.ndarray, plus_one: bool = True) -> np.ndarray:
    """Indices of boxes with both sides at least `least` pixels of the unscaled image, and centers inside it.

    image is (height, width, scale).
    """
    height, width, scale = image
    if boxes.shape[1] == 4:
        w, h = boxes[:, 2] - boxes[:, 0] + np.float32(plus_one), boxes[:, 3] - boxes[:, 1] + np.float32(plus_one)
        x, y = boxes[:, 0] + w / np.float32(2), boxes[:, 1] + h / np.float32(2)
    else:
        x, y, w, h = boxes[:, :4].T
    shortest = np.float32(least * float(scale))
    return np.flatnonzero((w >= shortest) & (h >= shortest) & (x < width) & (y < height)).astype(np.int32)


def areas(boxes: np.ndarray, plus_one: bool = True) -> np.ndarray:
    """Areas of boxes [N, 4 or 5]."""
    if boxes.shape[1] == 5:
        return boxes[:, 2] * boxes[:, 3]
    return (boxes[:, 2] - boxes[:, 0] + np.float32(plus_one)) * (boxes[:, 3] - boxes[:, 1] + np.float32(plus_one))
