"""Non-maximum suppression, hard and soft, of upright and rotated boxes."""

import numpy as np

from caffe2_models import kernels
from caffe2_models.detection.boxes import areas
from caffe2_models.detection.rotated import intersections

HARD, LINEAR, GAUSSIAN = 0, 1, 2


def suppress(
    boxes: np.ndarray, order: np.ndarray, threshold: float, limit: int | None = None, plus_one: bool = True
) -> np.ndarray:
    """Indices of the boxes [N, 4 or 5] that stay, at most `limit`.

    Taken in the given order, each drops those behind it that overlap it by more than the threshold (intersection
    over union).
    """
    boxes = np.ascontiguousarray(boxes, np.float32)
    if (fast := kernels.find("suppress")) is not None:
        return fast(boxes, order.astype(np.int32), threshold, -1 if limit is None else limit, plus_one)
    pending, area = order, areas(boxes, plus_one)
    kept: list[int] = []
    while pending.size and (limit is None or len(kept) < limit):
        kept.append(pending[0])
        overlap = _overlaps(boxes, area, pending[0], pending[1:], plus_one)
        pending = pending[1:][overlap <= np.float32(threshold)]
    return np.array(kept, np.int32)


def suppress_softly(
    boxes: np.ndarray,
    scores: np.ndarray,
    candidates: np.ndarray,
    threshold: float,
    sigma: float,
    least: float,
    method: int,
    plus_one: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the boxes that stay, the scores [N] after it).

    The box with the highest score is taken, and lowers the scores of those that it overlaps: by the overlap (LINEAR,
    above the threshold) or a Gaussian of it. What falls below `least` goes.
    """
    boxes, scores = np.ascontiguousarray(boxes, np.float32), scores.astype(np.float32)
    if (fast := kernels.find("suppress_softly")) is not None:
        return fast(boxes, scores, candidates.astype(np.int32), threshold, sigma, least, method, plus_one)
    pending, area = candidates.copy(), areas(boxes, plus_one)
    kept: list[int] = []
    while pending.size:
        best = int(scores[pending].argmax())
        pending[0], pending[best] = pending[best], pending[0]
        chosen, pending = pending[0], pending[1:]
        kept.append(chosen)
        overlap = _overlaps(boxes, area, chosen, pending, plus_one)
        scores[pending] *= _weights(overlap, threshold, sigma, method)
        pending = pending[scores[pending] >= np.float32(least)]
    return np.array(kept, np.int32), scores


def _weights(overlap: np.ndarray, threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        double = overlap.astype(np.float64)
        return np.exp(-double * double / np.float64(np.float32(sigma))).astype(np.float32)
    lowered = np.float32(1) - overlap if method == LINEAR else np.float32(0)
    return np.where(overlap > np.float32(threshold), lowered, np.float32(1))


def _overlaps(boxes: np.ndarray, area: np.ndarray, one: int, others: np.ndarray, plus_one: bool) -> np.ndarray:
    """Intersection over union of one box with others."""
    if boxes.shape[1] == 5:
        shared = intersections(boxes[one], boxes[others])
    else:
        low = np.maximum(boxes[others, :2], boxes[one, :2])
        high = np.minimum(boxes[others, 2:], boxes[one, 2:])
        sides = np.maximum(high - low + np.float32(plus_one), np.float32(0))
        shared = sides[:, 0] * sides[:, 1]
    return shared / (area[one] + area[others] - shared)
