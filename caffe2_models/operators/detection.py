"""Operators of detectors: proposals, boxes from deltas, suppression, levels of a feature pyramid, keypoints."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import kernels
from caffe2_models.arguments import Arguments
from caffe2_models.detection import boxes as box_math
from caffe2_models.detection import in_onnx
from caffe2_models.detection.boxes import AngleBounds
from caffe2_models.detection.ordering import descending
from caffe2_models.detection.suppression import GAUSSIAN, LINEAR, suppress, suppress_softly
from caffe2_models.operators.registry import FLOAT32, INT32, Operator, operator, read_fields
from caffe2_models.operators.shaping import OutputCount
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class BoxRules:
    """What the operators on boxes have in common: angles of rotated ones, and what a side's length is."""

    angle_bound_on: bool = True
    angle_bound_lo: int = -90
    angle_bound_hi: int = 90
    clip_angle_thresh: float = 1.0
    legacy_plus_one: bool = True

    @classmethod
    def decode(cls, arguments: Arguments) -> "BoxRules":
        rules = cls(**read_fields(cls, arguments))
        period = rules.angle_bound_hi - rules.angle_bound_lo
        if rules.angle_bound_on and (not 0 < period < 1 << 20 or period % 180 or abs(rules.angle_bound_lo) > 1 << 20):
            raise ModelError(
                f"angles from {rules.angle_bound_lo} to {rules.angle_bound_hi}, not some times 180 degrees"
            )
        return rules

    @property
    def bounds(self) -> AngleBounds | None:
        return AngleBounds(self.angle_bound_lo, self.angle_bound_hi) if self.angle_bound_on else None

    def of_kernel(self) -> tuple[bool, tuple[int, int] | None, float]:
        """As the kernels take them: plus one, range of angles, clipped up to which angle."""
        bounds = (self.angle_bound_lo, self.angle_bound_hi) if self.angle_bound_on else None
        return self.legacy_plus_one, bounds, self.clip_angle_thresh


def check_image_info(info: np.ndarray) -> None:
    """Raises ModelError for image sizes and scales that are no numbers, or no sizes."""
    if not all(abs(number) < 1 << 24 for number in info.ravel().tolist()):
        raise ModelError(f"an image of {info.ravel()[:3].tolist()} (height, width, scale)")


@operator("GenerateProposals", "GenerateProposalsCPP")
@dataclass(frozen=True)
class GenerateProposals(Operator):
    """Anchors at every pixel, moved by deltas [N, box * A, H, W]; the best by scores [N, A, H, W], suppressed.

    im_info is [N, (height, width, scale)], anchors [A, box]; a box is 4 numbers, a rotated one 5. Outputs: regions
    [R, (image, box)] and their scores [R].
    """

    rules: BoxRules
    spatial_scale: float = 1 / 16
    pre_nms_topN: int = 6000
    post_nms_topN: int = 300
    nms_thresh: float = 0.7
    min_size: float = 16.0

    ranks = True
    image_info = 2

    def infer(self, scores, deltas, im_info, anchors):
        if len(scores.shape) != 4 or len(anchors.shape) != 2 or anchors.shape[1] not in (4, 5):
            raise ModelError(
                f"invalid scores {list(scores.shape)} or anchors {list(anchors.shape)}: "
                "expected [N, A, H, W] and [A, 4] or [A, 5]"
            )
        images, count, height, width = scores.shape
        box = anchors.shape[1]
        wanted = {"deltas": (deltas, (images, box * count, height, width)), "im_info": (im_info, (images, 3)),
                  "anchors": (anchors, (count, box))}  # fmt: skip
        for name, (found, shape) in wanted.items():
            if found.shape != shape:
                raise ModelError(f"{name} {list(found.shape)}; {list(shape)} is expected")
        if not self.spatial_scale > 0:
            raise ModelError(f"a spatial scale of {self.spatial_scale:.6g}")
        most = count * height * width
        for limit in (self.pre_nms_topN, self.post_nms_topN):
            most = min(most, limit) if limit > 0 else most
        return TensorType.up_to((images * most, box + 1)), TensorType.up_to((images * most,))

    def compute(self, scores, deltas, im_info, anchors):
        check_image_info(im_info)
        if (fast := kernels.find("generate_proposals")) is not None:
            stride = np.float32(1) / np.float32(self.spatial_scale)
            limits = (self.pre_nms_topN, self.post_nms_topN, stride, self.nms_thresh, self.min_size)
            return fast(scores, deltas, im_info, anchors, *limits, *self.rules.of_kernel())
        found = [self._of_image(i, *each, anchors) for i, each in enumerate(zip(scores, deltas, im_info, strict=True))]
        if not found:
            return np.zeros((0, anchors.shape[1] + 1), np.float32), np.zeros(0, np.float32)
        return np.concatenate([rois for rois, _ in found]), np.concatenate([probs for _, probs in found])

    def lower(self, graph, scores, deltas, im_info, anchors):
        """Upright boxes: TopK of each image's scores, their boxes, and NonMaxSuppression of those large enough.

        The same as `compute` but for last bits and equal scores, of which ONNX takes the first first.
        """
        if anchors.shape[1] == 5:
            raise UnsupportedError("rotated boxes, which ONNX's NonMaxSuppression does not know")
        plus_one, (_, count, height, width) = self.rules.legacy_plus_one, scores.shape
        most = count * height * width
        most = min(self.pre_nms_topN, most) if self.pre_nms_topN > 0 else most
        flat = graph.add("Reshape", scores, graph.ints([0, -1]))
        found, index = graph.add("TopK", flat, graph.ints([most]), outputs=2, axis=1)
        moved = graph.add("Gather", self._anchors_in_onnx(graph, anchors, height, width), index, axis=0)
        each = graph.add("Transpose", graph.add("Reshape", deltas, graph.ints([0, count, 4, -1])), perm=[0, 1, 3, 2])
        places = graph.add("Unsqueeze", index, graph.ints([2]))
        chosen = graph.add("GatherND", graph.add("Reshape", each, graph.ints([0, -1, 4])), places, batch_dims=1)
        sides, scale = (
            graph.add("Unsqueeze", graph.add("Gather", im_info, graph.ints(columns), axis=1), graph.ints([1]))
            for columns in ([1, 0], [2])
        )
        corners = in_onnx.transform(graph, moved, chosen, (1.0,) * 4, plus_one)
        corners = in_onnx.clip(graph, corners, graph.cast(sides, np.int64), plus_one)
        lengths = in_onnx.lengths(graph, *corners, plus_one)
        centers = graph.add("Add", corners[0], graph.add("Mul", lengths, graph.constant(np.float32(0.5))))
        shortest = graph.add("Mul", scale, graph.constant(np.float32(self.min_size)))
        fits = graph.add("And", graph.add("GreaterOrEqual", lengths, shortest), graph.add("Less", centers, sides))
        fits = graph.add("And", *graph.add("Split", fits, graph.ints([1, 1]), outputs=2, axis=2))
        taken = graph.add("Where", graph.add("Squeeze", fits, graph.ints([2])), found, graph.constant(in_onnx.NOTHING))
        boxes = graph.add("Concat", *corners, axis=2)
        each = graph.add("Unsqueeze", taken, graph.ints([1]))
        kept = in_onnx.suppress(graph, boxes, each, self.nms_thresh, in_onnx.LOWEST, self.post_nms_topN, plus_one)
        kept = graph.add("Gather", kept, graph.ints([0, 2]), axis=1)
        images = graph.cast(in_onnx.span(graph, kept, 1, 0, 1), np.float32)
        rois = graph.add("Concat", images, graph.add("GatherND", boxes, kept), axis=1)
        return rois, graph.add("GatherND", found, kept)

    def _anchors_in_onnx(self, graph, anchors, height: int, width: int) -> str:
        """Anchors [A, 4] at every pixel, [A * height * width, 4]."""
        stride = np.float32(1) / np.float32(self.spatial_scale)
        rows, columns = np.divmod(np.arange(height * width), max(width, 1))
        shifts = graph.constant(np.stack([columns, rows] * 2, axis=1).astype(np.float32) * stride)
        moved = graph.add("Add", graph.add("Unsqueeze", anchors, graph.ints([1])), shifts)
        return graph.add("Reshape", moved, graph.ints([-1, 4]))

    def _of_image(self, image, scores, deltas, info, anchors):
        """(regions, scores) of one image."""
        plus_one, (_, height, width) = self.rules.legacy_plus_one, scores.shape
        flat = scores.ravel()
        order = descending(flat, self.pre_nms_topN)
        anchor, pixel = np.divmod(order, max(height * width, 1))
        rows, columns = np.divmod(pixel, max(width, 1))
        stride = np.float32(1) / np.float32(self.spatial_scale)
        moved = anchors[anchor]
        moved[:, :2] += np.stack([columns, rows], 1).astype(np.float32) * stride
        if anchors.shape[1] == 4:
            moved[:, 2:] += np.stack([columns, rows], 1).astype(np.float32) * stride
        chosen = deltas.reshape(len(anchors), anchors.shape[1], -1)[anchor, :, pixel]
        boxes = box_math.transform(moved, chosen, bounds=self.rules.bounds, plus_one=plus_one)
        boxes = box_math.clip(boxes, int(info[0]), int(info[1]), self.rules.clip_angle_thresh, plus_one)
        kept = box_math.large_enough(boxes, self.min_size, info, plus_one)
        limit = self.post_nms_topN if 0 < self.post_nms_topN < kept.size else None
        kept = suppress(boxes, kept, self.nms_thresh, limit, plus_one)
        rois = np.empty((kept.size, anchors.shape[1] + 1), np.float32)
        rois[:, 0], rois[:, 1:] = image, boxes[kept]
        return rois, flat[order[kept]]


@operator("BBoxTransform")
@dataclass(frozen=True)
class BBoxTransform(Operator):
    """Boxes of every class: regions [R, (image,) box] moved by deltas [R, box * classes], clipped to the image.

    Output 2 is the number of regions of each image, float32.
    """

    rules: BoxRules
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    apply_scale: bool = True
    rotated: bool = False

    image_info = 2
    refuses_content = True

    def infer(self, rois, deltas, im_info):
        box = 5 if self.rotated else 4
        if len(rois.shape) != 2 or rois.shape[1] not in (box, box + 1):
            raise ModelError(
                f"regions {list(rois.shape)}; {box} numbers each are expected, or {box + 1} with the image"
            )
        if len(deltas.shape) != 2 or deltas.shape[0] != rois.shape[0] or deltas.shape[1] % box:
            raise ModelError(f"deltas {list(deltas.shape)} do not fit regions {list(rois.shape)}")
        if len(im_info.shape) != 2 or im_info.shape[1] != 3:
            raise ModelError(f"im_info {list(im_info.shape)}; 3 numbers an image are expected")
        if rois.shape[1] == box and im_info.shape[0] != 1:
            raise ModelError(f"{im_info.shape[0]} images, of which regions of {box} numbers do not say theirs")
        if len(self.weights) != 4:
            raise ModelError(f"{len(self.weights)} weights; 4 are expected")
        return deltas.with_shape(deltas.shape), TensorType(im_info.shape[:1])

    def compute(self, rois, deltas, im_info):
        check_image_info(im_info)
        if not im_info[:, 2].all():
            raise ModelError("an image scale of 0")
        box, plus_one = 5 if self.rotated else 4, self.rules.legacy_plus_one
        counts = self._counts(rois, box, len(im_info))
        if (fast := kernels.find("transform_boxes")) is not None:
            options = (self.weights, self.apply_scale, plus_one, self.rotated, *self.rules.of_kernel()[1:])
            return fast(rois, deltas, im_info, counts, *options), counts.astype(np.float32)
        classes, result, start = deltas.shape[1] // box, np.empty_like(deltas), 0
        for (height, width, scale), count in zip(im_info, counts, strict=True):
            part = slice(start, start + count)
            boxes = rois[part, -box:].copy()
            boxes[:, :4] /= scale
            size = (int(float(height / scale) + 0.5), int(float(width / scale) + 0.5))
            moved = box_math.transform(
                np.repeat(boxes, classes, axis=0),
                deltas[part].reshape(-1, box),
                self.weights,
                self.rules.bounds,
                plus_one,
            )
            moved = box_math.clip(moved, *size, self.rules.clip_angle_thresh, plus_one)
            moved[:, :4] *= scale if self.apply_scale else np.float32(1)
            result[part] = moved.reshape(count, deltas.shape[1])
            start += count
        return result, counts.astype(np.float32)

    def lower(self, graph, rois, deltas, im_info):
        """Upright boxes, the same but for last bits."""
        if self.rotated:
            raise UnsupportedError("rotated boxes in ONNX")
        plus_one, classes = self.rules.legacy_plus_one, deltas.shape[1] // 4
        counts, own = self._images_in_onnx(graph, rois, im_info)
        sides, scale = (graph.add("Gather", own, graph.ints(columns), axis=1) for columns in ([1, 0], [2]))
        size = graph.cast(graph.add("Div", sides, scale), np.float64)
        size = graph.cast(graph.add("Add", size, graph.constant(np.float64(0.5))), np.int64)
        size, scale_of_all = (graph.add("Unsqueeze", x, graph.ints([1])) for x in (size, scale))
        boxes = graph.add("Div", in_onnx.span(graph, rois, 1, rois.shape[1] - 4, 4), scale)
        each = graph.add("Reshape", deltas, graph.ints([-1, classes, 4]))
        boxes = graph.add("Unsqueeze", boxes, graph.ints([1]))
        corners = in_onnx.transform(graph, boxes, each, self.weights, plus_one)
        moved = graph.add("Concat", *in_onnx.clip(graph, corners, size, plus_one), axis=2)
        if self.apply_scale:
            moved = graph.add("Mul", moved, scale_of_all)
        return graph.add("Reshape", moved, graph.ints([-1, classes * 4])), graph.cast(counts, np.float32)

    @staticmethod
    def _images_in_onnx(graph, rois, im_info) -> tuple[str, str]:
        """(how many regions each image has, int64; the image's im_info of each region, or of them all)."""
        if im_info.shape[0] == 1:
            return graph.add("Shape", rois, start=0, end=1), im_info
        owners = graph.cast(in_onnx.column(graph, rois, 0), np.int64)
        numbers = in_onnx.counting(graph, graph.add("Squeeze", graph.add("Shape", im_info, start=0, end=1)))
        counts = in_onnx.occurrences(graph, owners, numbers)
        images = in_onnx.Images.of(graph, counts)
        return counts, graph.add("Gather", im_info, images.owners(graph, in_onnx.length(graph, owners)), axis=0)

    @staticmethod
    def _counts(rois: np.ndarray, box: int, images: int) -> np.ndarray:
        """How many regions each image has; they stand in the images' order."""
        if rois.shape[1] == box:
            return np.array([len(rois)])
        owners = rois[:, 0]
        if not ((owners > -1) & (owners < images)).all():
            raise ModelError(f"a region of an image beyond the {images} that there are")
        return np.bincount(owners.astype(np.int64), minlength=images)


@dataclass(frozen=True)
class SoftMethod:
    """The argument soft_nms_method, by name."""

    code: int

    @classmethod
    def decode(cls, arguments: Arguments) -> "SoftMethod":
        name = arguments.get_str("soft_nms_method", "linear")
        codes = {"linear": LINEAR, "gaussian": GAUSSIAN}
        if name not in codes:
            raise ModelError(f"soft_nms_method {name!r} is neither linear nor gaussian")
        return cls(codes[name])


@operator("BoxWithNMSLimit")
@dataclass(frozen=True)
class BoxWithNMSLimit(Operator):
    """Suppression class by class, then the best of an image over all classes.

    scores [R, classes], the background first; boxes [R, box * classes] (of one class with cls_agnostic_bbox_reg);
    batch_splits, the number of boxes of each image, int32 or float32. Outputs: scores [D], boxes [D, box], classes
    [D] (float32), detections of each image (float32), rows of the boxes that stayed [D], their number for each image
    and class (int32).
    """

    method: SoftMethod
    score_thresh: float = 0.05
    nms: float = 0.3
    detections_per_im: int = 100
    soft_nms_enabled: bool = False
    soft_nms_sigma: float = 0.5
    soft_nms_min_score_thres: float = 0.001
    rotated: bool = False
    cls_agnostic_bbox_reg: bool = False
    input_boxes_include_bg_cls: bool = True
    output_classes_include_bg_cls: bool = True
    legacy_plus_one: bool = True

    dtypes = (FLOAT32, FLOAT32, FLOAT32 | INT32)
    ranks = True

    def infer(self, scores, boxes, splits=None):
        for blob in (scores, boxes):
            if len(blob.shape) not in (2, 4) or blob.shape[2:] not in ((), (1, 1)):
                raise ModelError(f"{list(blob.shape)}; a matrix is expected")
        (count, classes), box = scores.shape[:2], 5 if self.rotated else 4
        if classes < 1 or boxes.shape[:2] != (count, box * (self._box_class(classes - 1) + 1)):
            raise ModelError(f"boxes {list(boxes.shape)} do not fit scores {list(scores.shape)}")
        if splits is not None and len(splits.shape) != 1:
            raise ModelError(f"batch_splits {list(splits.shape)}; a vector is expected")
        images = 1 if splits is None else splits.shape[0]
        most = count * (classes - 1)
        if self.detections_per_im > 0:
            most = min(most, images * self.detections_per_im)
        return (
            TensorType.up_to((most,)),
            TensorType.up_to((most, box)),
            TensorType.up_to((most,)),
            TensorType((images,)),
            TensorType.up_to((most,), np.int32),
            TensorType((images, classes), np.int32),
        )

    def compute(self, scores, boxes, splits=None):
        scores, boxes = scores.reshape(scores.shape[:2]), boxes.reshape(boxes.shape[:2])
        counts = np.array([len(scores)]) if splits is None else splits
        if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() == len(scores)):
            raise ModelError(f"batch_splits that do not sum to the {len(scores)} boxes")
        if (fast := kernels.find("limit_detections")) is not None:
            soft = (self.soft_nms_enabled, self.soft_nms_sigma, self.soft_nms_min_score_thres, self.method.code)
            forms = (self.rotated, self.legacy_plus_one, self.cls_agnostic_bbox_reg)
            background = (self.input_boxes_include_bg_cls, self.output_classes_include_bg_cls)
            limits = (self.score_thresh, self.nms, self.detections_per_im)
            found = fast(scores, boxes, counts.astype(np.int64), *limits, *soft, *forms, *background)
            out_scores, out_boxes, classes, rows, sizes = found
            return out_scores, out_boxes, classes, sizes.sum(axis=1).astype(np.float32), rows, sizes
        ends = np.cumsum(counts.astype(np.int64))
        found = [self._of_image(scores[end - n : end], boxes[end - n : end])
                 for n, end in zip(counts.astype(np.int64), ends, strict=True)]  # fmt: skip
        if not found:
            nothing = np.zeros(0, np.float32)
            shape = (0, scores.shape[1])
            return (nothing, np.zeros((0, 5 if self.rotated else 4), np.float32), nothing, nothing,
                    np.zeros(0, np.int32), np.zeros(shape, np.int32))  # fmt: skip
        out_scores, out_boxes, classes, rows, sizes = (np.concatenate(parts) for parts in zip(*found, strict=True))
        sizes = sizes.reshape(len(found), -1)
        return out_scores, out_boxes, classes, sizes.sum(axis=1).astype(np.float32), rows, sizes

    def lower(self, graph, scores, boxes, splits=None):
        """Hard suppression of upright boxes, as NonMaxSuppression of scores [classes, images, R].

        The same as `compute` but for the last bit of an overlap and equal scores, of which ONNX takes the first first.
        """
        self._require_onnx(scores.shape[1] - 1)
        classes, first = scores.shape[1] - 1, self._score_class(1)
        matrix = graph.add("Reshape", scores, graph.ints([-1, classes + 1]))
        by_class = in_onnx.span(graph, graph.add("Transpose", matrix, perm=[1, 0]), 0, first, classes)
        corners = graph.add("Reshape", boxes, graph.ints([-1, boxes.shape[1] // 4, 4]))
        corners = graph.add("Transpose", corners, perm=[1, 0, 2])
        if self.cls_agnostic_bbox_reg:
            corners = graph.add("Expand", corners, graph.ints([classes, 1, 1]))
        else:
            corners = in_onnx.span(graph, corners, 0, first, classes)
        images = None if splits is None else in_onnx.Images.of(graph, splits)
        each = in_onnx.as_column(graph, by_class) if images is None else images.masked(graph, by_class)
        limits = (self.nms, self.score_thresh, self.detections_per_im)
        found = in_onnx.suppress(graph, corners, each, *limits, self.legacy_plus_one)
        found = self._sort_in_onnx(graph, found, by_class, classes, images)
        label, image, row = (in_onnx.column(graph, found, i) for i in range(3))
        places = graph.add("Gather", found, graph.ints([0, 2]), axis=1)
        count = graph.constant(1, np.int64) if images is None else in_onnx.length(graph, images.ends)
        groups = in_onnx.counting(graph, graph.add("Mul", count, graph.constant(classes, np.int64)))
        sizes = in_onnx.occurrences(graph, _groups(graph, found, classes), groups)
        sizes = graph.add("Reshape", sizes, graph.ints([-1, classes]))
        if images is not None:
            row = graph.add("Sub", row, graph.add("Gather", images.starts, image))
        shift = graph.constant(np.float32(self.output_classes_include_bg_cls))
        return (
            graph.add("GatherND", by_class, places),
            graph.add("GatherND", corners, places),
            graph.add("Add", graph.cast(label, np.float32), shift),
            graph.cast(graph.add("ReduceSum", sizes, graph.ints([1]), keepdims=0), np.float32),
            graph.cast(row, np.int32),
            graph.cast(graph.add("Pad", sizes, graph.ints([0, 1, 0, 0])), np.int32),
        )

    def _require_onnx(self, classes: int) -> None:
        reasons = {
            "soft suppression": self.soft_nms_enabled,
            "suppression of rotated boxes": self.rotated,
            "suppression of the background alone": classes < 1,
        }
        if found := [reason for reason, holds in reasons.items() if holds]:
            raise UnsupportedError(f"{found[0]}, which ONNX's NonMaxSuppression does not know")

    def _sort_in_onnx(self, graph, found: str, by_class: str, classes: int, images: in_onnx.Images | None) -> str:
        """(class, image, row) of each detection, limited to the best of an image, by image and class."""
        limited = self.detections_per_im > 0 and classes > 1
        if limited:
            scores = graph.add("GatherND", by_class, graph.add("Gather", found, graph.ints([0, 2]), axis=1))
            image = in_onnx.column(graph, found, 1)
            best = in_onnx.best(graph, scores, self.detections_per_im, image, images)
            found = graph.add("Gather", found, best, axis=0)
        if limited or images is not None:
            found = graph.add("Gather", found, in_onnx.stable_order(graph, _groups(graph, found, classes)), axis=0)
        return found

    def _of_image(self, scores, boxes):
        """(scores, boxes, classes, rows, detections of each class) of one image."""
        box, classes = 5 if self.rotated else 4, scores.shape[1]
        kept, lowered = [np.zeros(0, np.int32)], scores.copy()
        for j in range(1, classes):
            column = self._score_class(j)
            rows, lowered[:, column] = self._of_class(scores[:, column], self._boxes_of(boxes, j, box))
            kept.append(rows)
        kept = self._limited(kept, lowered)
        rows = np.concatenate(kept)
        sizes = np.array([len(each) for each in kept], np.int32)
        owners = np.repeat(np.arange(classes), sizes)
        out_boxes = [self._boxes_of(boxes, j, box)[each] for j, each in enumerate(kept) if j]
        return (
            np.concatenate(
                [lowered[each, self._score_class(j)] for j, each in enumerate(kept) if j] or [rows * 0.0]
            ).astype(np.float32),
            np.concatenate([*out_boxes, np.zeros((0, box), np.float32)]),
            (owners - (not self.output_classes_include_bg_cls)).astype(np.float32),
            rows,
            sizes,
        )

    def _of_class(self, scores, boxes):
        """(rows that stay, scores after it)"""
        candidates = np.flatnonzero(scores > np.float32(self.score_thresh)).astype(np.int32)
        if self.soft_nms_enabled:
            limits = (self.nms, self.soft_nms_sigma, self.soft_nms_min_score_thres, self.method.code)
            return suppress_softly(boxes, scores, candidates, *limits, self.legacy_plus_one)
        order = candidates[descending(scores[candidates])]
        limit = self.detections_per_im if self.detections_per_im > 0 else None
        return suppress(boxes, order, self.nms, limit, self.legacy_plus_one), scores

    def _limited(self, kept: list[np.ndarray], scores: np.ndarray) -> list[np.ndarray]:
        """The best of all classes; each class in the order of their scores."""
        total = sum(map(len, kept))
        if not 0 < self.detections_per_im < total:
            return kept
        owners, rows = np.repeat(np.arange(len(kept)), [len(each) for each in kept]), np.concatenate(kept)
        columns = owners if self.input_boxes_include_bg_cls else owners - 1
        best = descending(scores[rows, columns])[: self.detections_per_im]
        return [rows[best[owners[best] == j]] for j in range(len(kept))]

    def _boxes_of(self, boxes: np.ndarray, j: int, box: int) -> np.ndarray:
        column = self._box_class(j) * box
        return boxes[:, column : column + box]

    def _box_class(self, j: int) -> int:
        return 0 if self.cls_agnostic_bbox_reg else self._score_class(j)

    def _score_class(self, j: int) -> int:
        """The column of class j, 0 being the background, which stands last where boxes have none of it."""
        return j if self.input_boxes_include_bg_cls else j - 1


def _groups(graph, found: str, classes: int) -> str:
    """The group of each (class, image, row) in ONNX: classes of image 0, then those of the next."""
    label, image = (in_onnx.column(graph, found, i) for i in range(2))
    return graph.add("Add", label, graph.add("Mul", image, graph.constant(classes, np.int64)))


@dataclass(frozen=True)
class Levels:
    """The levels of a feature pyramid that regions are taken from: by their size, around a canonical one."""

    roi_min_level: int = 2
    roi_max_level: int = 5
    roi_canonical_level: int = 4
    roi_canonical_scale: int = 224
    legacy_plus_one: bool = True

    @classmethod
    def decode(cls, arguments: Arguments) -> "Levels":
        levels = cls(**read_fields(cls, arguments))
        check_levels(levels.roi_min_level, levels.roi_max_level)
        if not 0 < levels.roi_canonical_scale < 1 << 31 or abs(levels.roi_canonical_level) > 1 << 20:
            raise ModelError(f"a canonical scale of {levels.roi_canonical_scale} at {levels.roi_canonical_level}")
        return levels

    @property
    def count(self) -> int:
        return self.roi_max_level - self.roi_min_level + 1

    def of(self, boxes: np.ndarray) -> np.ndarray:
        """The level of each upright box."""
        areas = box_math.areas(boxes, self.legacy_plus_one)
        if not (areas >= 0).all():
            raise ModelError("a region of negative size")
        size = np.sqrt(areas) / np.float32(self.roi_canonical_scale) + np.float32(1e-6)
        logarithm = np.log(size.astype(np.float64)).astype(np.float32) / np.float32(math.log(2))
        return np.clip(
            np.floor(np.float32(self.roi_canonical_level) + logarithm), self.roi_min_level, self.roi_max_level
        )

    def distribute(self, rois: np.ndarray) -> tuple[np.ndarray, ...]:
        """The regions of each level, lowest first, and the order that undoes it, int32."""
        found = self.of(rois[:, -4:])
        if (fast := kernels.find("distribute_regions")) is not None:
            return tuple(fast(rois, (found - self.roi_min_level).astype(np.int32), self.count))
        rows = [np.flatnonzero(found == level) for level in range(self.roi_min_level, self.roi_max_level + 1)]
        order = np.concatenate(rows)
        return *(rois[each] for each in rows), np.argsort(order, kind="stable").astype(np.int32)


def check_levels(lowest: int, highest: int) -> None:
    if not -64 <= lowest <= highest <= 64:
        raise ModelError(f"invalid levels {lowest} to {highest}: expected the lower first, from -64 to 64")


def check_regions(*rois: TensorType, columns: tuple[int, ...] = (5,)) -> None:
    """Raises ModelError for blobs that are not regions, a row each."""
    for x in rois:
        if len(x.shape) != 2 or x.shape[1] not in columns:
            raise ModelError(f"regions {list(x.shape)}; rows of {' or '.join(map(str, columns))} numbers are expected")


@operator("DistributeFpnProposals")
@dataclass(frozen=True)
class DistributeFpnProposals(Operator):
    """Regions [R, 5] (or [R, 4], of image 0) by the pyramid's levels; then the order that undoes it."""

    levels: Levels
    outputs: OutputCount

    def infer(self, rois):
        check_regions(rois, columns=(4, 5))
        count = self.levels.count
        if self.outputs.count != count + 1:
            raise ModelError(f"{self.outputs.count} outputs for {count} levels and their order")
        each = TensorType.up_to((rois.shape[0], 5))
        return *([each] * count), TensorType((rois.shape[0],), np.int32)

    def compute(self, rois):
        if rois.shape[1] == 4:
            rois = np.concatenate([np.zeros((len(rois), 1), np.float32), rois], axis=1)
        return self.levels.distribute(rois)


@dataclass(frozen=True)
class Collector(Operator):
    """Base: regions of all levels, then their scores, of which the best are taken."""

    rpn_min_level: int = 2
    rpn_max_level: int = 6
    rpn_post_nms_topN: int = 2000

    def collected(self, *inputs: TensorType) -> int:
        """The most regions that are taken; raises ModelError where inputs are not those of the levels."""
        check_levels(self.rpn_min_level, self.rpn_max_level)
        count = self.rpn_max_level - self.rpn_min_level + 1
        if len(inputs) != 2 * count:
            raise ModelError(f"{len(inputs)} inputs for regions and scores of {count} levels")
        check_regions(*inputs[:count])
        for rois, scores in zip(inputs[:count], inputs[count:], strict=True):
            if scores.size != rois.shape[0]:
                raise ModelError(f"{scores.size} scores of {rois.shape[0]} regions")
        total = sum(rois.shape[0] for rois in inputs[:count])
        return min(total, self.rpn_post_nms_topN) if self.rpn_post_nms_topN > 0 else total

    def collect(self, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """The best regions; of equal scores the first."""
        half = len(inputs) // 2
        if (fast := kernels.find("collect_regions")) is not None:
            return fast(list(inputs[:half]), list(inputs[half:]), self.rpn_post_nms_topN)
        rois, scores = np.concatenate(inputs[:half]), np.concatenate([s.ravel() for s in inputs[half:]])
        order = np.argsort(-scores, kind="stable")
        return rois[order[: self.rpn_post_nms_topN] if self.rpn_post_nms_topN > 0 else order]


@operator("CollectRpnProposals")
@dataclass(frozen=True)
class CollectRpnProposals(Collector):
    def infer(self, *inputs):
        return TensorType((self.collected(*inputs), 5))

    def compute(self, *inputs):
        return self.collect(inputs)

    def lower(self, graph, *inputs):
        half, limit = len(inputs) // 2, self.rpn_post_nms_topN if self.rpn_post_nms_topN > 0 else 1 << 62
        rois = graph.add("Concat", *inputs[:half], axis=0)
        each = [graph.add("Reshape", scores, graph.ints([-1])) for scores in inputs[half:]]
        best = in_onnx.best(graph, graph.add("Concat", *each, axis=0), limit)
        return graph.add("Gather", rois, best, axis=0)


@operator("CollectAndDistributeFpnRpnProposals")
@dataclass(frozen=True, kw_only=True)
class CollectAndDistributeFpnRpnProposals(Collector):
    """The best regions, then those of each level, then the order that undoes it."""

    levels: Levels
    outputs: OutputCount

    def infer(self, *inputs):
        total, count = self.collected(*inputs), self.levels.count
        if self.outputs.count != count + 2:
            raise ModelError(f"{self.outputs.count} outputs for all regions, {count} levels and their order")
        each = TensorType.up_to((total, 5))
        return TensorType((total, 5)), *([each] * count), TensorType((total,), np.int32)

    def compute(self, *inputs):
        rois = self.collect(inputs)
        return rois, *self.levels.distribute(rois)


@operator("BatchPermutation")
@dataclass(frozen=True)
class BatchPermutation(Operator):
    """Rows in another order: those that int32 indices name."""

    dtypes = (FLOAT32, INT32)

    def infer(self, x, indices):
        if not x.shape or len(indices.shape) != 1 or indices.shape[0] != x.shape[0]:
            raise ModelError(f"{list(indices.shape)} indices for the rows of {list(x.shape)}")
        return x.with_shape(x.shape)

    def compute(self, x, indices):
        if indices.size and not 0 <= indices.min() <= indices.max() < len(x):
            raise ModelError(f"an index outside the {len(x)} rows")
        return fast(x, indices) if (fast := kernels.find("permute_rows")) is not None else x[indices]

    def lower(self, graph, x, indices):
        return graph.add("Gather", x, indices, axis=0)


@operator("HeatmapMaxKeypoint")
@dataclass(frozen=True)
class HeatmapMaxKeypoint(Operator):
    """The keypoint of each heatmap [R, K, S, S] in its box [R, 4 or more]: (x, y, score, probability) as [R, 4, K].

    The maximum is refined by a parabola through its neighbours; the probability, a softmax, is 0 where it is not
    asked for.
    """

    should_output_softmax: bool = False

    def infer(self, heatmaps, boxes):
        if len(heatmaps.shape) != 4 or heatmaps.shape[2] != heatmaps.shape[3] or heatmaps.shape[2] < 2:
            raise ModelError(f"heatmaps {list(heatmaps.shape)}; squares of 2 pixels or more are expected")
        if len(boxes.shape) != 2 or boxes.shape[0] != heatmaps.shape[0] or boxes.shape[1] < 4:
            raise ModelError(f"boxes {list(boxes.shape)} do not fit heatmaps {list(heatmaps.shape)}")
        return heatmaps.with_shape((heatmaps.shape[0], 4, heatmaps.shape[1]))

    def compute(self, heatmaps, boxes):
        count, keypoints, *_ = heatmaps.shape
        if not heatmaps.size:
            return np.zeros((count, 4, keypoints), np.float32)
        flat = heatmaps.reshape(count, keypoints, -1)
        best = flat.argmax(axis=2)
        refine = kernels.find("refine_keypoints") or _refine
        result = refine(heatmaps, best, boxes)
        if self.should_output_softmax:
            powers = np.exp(flat)
            result[:, 3] = np.take_along_axis(powers, best[..., None], 2)[..., 0] / powers.sum(axis=2)
        return result


def _refine(heatmaps: np.ndarray, best: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(x, y, score, 0) of each heatmap, whose maximum is at `best`, in its box."""
    count, keypoints, size, _ = heatmaps.shape
    row, column = np.divmod(best, size)
    dx, dy, score = _top(heatmaps, row, column)
    x0, y0 = boxes[:, None, 0], boxes[:, None, 1]
    width = np.maximum(boxes[:, None, 2] - x0, np.float32(1))
    height = np.maximum(boxes[:, None, 3] - y0, np.float32(1))
    result = np.zeros((count, 4, keypoints), np.float32)
    result[:, 0] = x0 + (0.5 + column + dx.astype(np.float64)) * width / size
    result[:, 1] = y0 + (0.5 + row + dy.astype(np.float64)) * height / size
    result[:, 2] = score
    return result


def _top(heatmaps: np.ndarray, row: np.ndarray, column: np.ndarray):
    """(dx, dy, score) of the parabola's top around each maximum, from its 3 x 3 pixels, mirrored at the border."""
    size, half, quarter, largest = heatmaps.shape[2], np.float32(0.5), np.float32(0.25), np.float32(1.5)
    first, second = np.indices(row.shape)

    def around(down: int, across: int) -> np.ndarray:
        r, c = (np.where(at < 0, at + 2, np.where(at >= size, at - 2, at)) for at in (row + down, column + across))
        return heatmaps[first, second, r, c]

    score = around(0, 0)
    left, right, above, below = around(0, -1), around(0, 1), around(-1, 0), around(1, 0)
    two = np.float32(2)
    bx, by = -(right - left) * half, -(below - above) * half
    axx, ayy = left - two * score + right, above - two * score + below
    axy = (around(1, 1) - around(1, -1) - around(-1, 1) + around(-1, -1)) * quarter
    determinant = axx * ayy - axy * axy
    flat = np.abs(determinant) < np.float32(1e-4)
    divisor = np.where(flat, np.float32(1), determinant)
    dx, dy = (ayy * bx - axy * by) / divisor, (axx * by - axy * bx) / divisor
    longest = np.maximum(np.abs(dx), np.abs(dy))
    shrink = np.where(longest > largest, largest / np.where(longest > 0, longest, np.float32(1)), np.float32(1))
    dx, dy = np.where(flat, np.float32(0), dx * shrink), np.where(flat, np.float32(0), dy * shrink)
    rise = half * (dx * (axx * dx + axy * dy) + dy * (axy * dx + ayy * dy)) - (bx * dx + by * dy)
    return dx, dy, np.where(flat, score, score + rise)
