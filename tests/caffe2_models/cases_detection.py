"""Cases of detectors' operators: boxes on an image of 160 x 128 pixels, scores with and without ties."""

import numpy as np
from operator_cases import Case, case, flip, normal

from caffe2_models import Int8Tensor

HEIGHT, WIDTH = 128, 160


def boxes(rng, count: int, rotated: bool = False) -> np.ndarray:
    """Boxes within and across the image's border, upright as corners, rotated as (x, y, width, height, degrees)."""
    center = rng.uniform(0, 1, (count, 2)) * [WIDTH, HEIGHT]
    size = rng.uniform(2, 70, (count, 2))
    if rotated:
        return np.concatenate([center, size, rng.uniform(-95, 95, (count, 1))], 1).astype(np.float32)
    return np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)


def regions(rng, count: int, images: int, rotated: bool = False) -> np.ndarray:
    """Boxes, most with their image before them, in the images' order."""
    found = boxes(rng, count, rotated)
    if images == 1 and flip(rng, 0.3):
        return found
    owners = np.sort(rng.integers(0, images, (count, 1)), axis=0).astype(np.float32)
    return np.concatenate([owners, found], 1)


def scores(rng, *shape) -> np.ndarray:
    """Probabilities; sometimes of few values only, as int8 nets have them."""
    values = rng.uniform(0, 1, shape)
    return (np.round(values * 8) / 8 if flip(rng) else values).astype(np.float32)


def image_info(rng, images: int) -> np.ndarray:
    scale = rng.choice([1.0, 1.25], (images, 1))
    return np.concatenate([np.full((images, 1), HEIGHT), np.full((images, 1), WIDTH), scale], 1).astype(np.float32)


@case("GenerateProposals", "GenerateProposalsCPP")
def proposals(rng, kind):
    rotated, images = flip(rng, 0.3), int(rng.integers(1, 3))
    size, count, box = (int(rng.integers(3, 8)), int(rng.integers(3, 9))), int(rng.integers(1, 4)), 5 if rotated else 4
    anchors = boxes(rng, count, rotated)
    if rotated:
        anchors[:, :2] = 8
    else:
        anchors -= (anchors[:, [0, 1, 0, 1]] + anchors[:, [2, 3, 2, 3]]) / 2 - 8
    arguments = {"nms_thresh": float(rng.choice([0.5, 0.7])), "min_size": float(rng.choice([0.0, 8.0]))}
    arguments |= {"pre_nms_topN": int(rng.choice([0, 30, 6000])), "post_nms_topN": int(rng.choice([0, 10, 300]))}
    if flip(rng):
        arguments |= {"legacy_plus_one": 0, "spatial_scale": 0.125}
    deltas = normal(rng, images, count * box, *size, scale=0.3)
    inputs = [scores(rng, images, count, *size), deltas, image_info(rng, images), anchors]
    return Case(kind, inputs, arguments, outputs=2, fed=3)


@case("BBoxTransform")
def transformed(rng, kind):
    rotated, images, count = flip(rng, 0.3), int(rng.integers(1, 3)), int(rng.integers(0, 12))
    arguments = {"rotated": int(rotated), "apply_scale": int(flip(rng)), "legacy_plus_one": int(flip(rng, 0.7))}
    if flip(rng):
        arguments["weights"] = [10.0, 10.0, 5.0, 5.0]
    deltas = normal(rng, count, int(rng.integers(1, 4)) * (5 if rotated else 4), scale=0.5)
    inputs = [regions(rng, count, images, rotated), deltas, image_info(rng, images)]
    return Case(kind, inputs, arguments, outputs=int(rng.integers(1, 3)), fed=3)


@case("BoxWithNMSLimit")
def limited(rng, kind):
    rotated, agnostic, count, classes = (
        flip(rng, 0.3),
        flip(rng, 0.3),
        int(rng.integers(0, 30)),
        int(rng.integers(1, 5)),
    )
    with_background = flip(rng, 0.7)
    columns = 1 if agnostic else classes if with_background else max(classes - 1, 1)
    classes = classes if with_background or agnostic else columns + 1
    found = np.concatenate([boxes(rng, count, rotated) for _ in range(columns)], 1)
    arguments = {"rotated": int(rotated), "cls_agnostic_bbox_reg": int(agnostic), "nms": 0.4, "score_thresh": 0.1}
    arguments |= {"detections_per_im": int(rng.choice([0, 5, 100])), "legacy_plus_one": int(flip(rng, 0.7))}
    arguments |= {"input_boxes_include_bg_cls": int(with_background), "output_classes_include_bg_cls": int(flip(rng))}
    if flip(rng):
        method = str(rng.choice(["linear", "gaussian"]))
        arguments |= {"soft_nms_enabled": 1, "soft_nms_method": method, "soft_nms_min_score_thres": 0.05}
    inputs = [scores(rng, count, classes), found]
    if flip(rng):
        first = int(rng.integers(0, count + 1))
        inputs.append(np.array([first, count - first], np.float32 if flip(rng) else np.int32))
    return Case(kind, inputs, arguments, outputs=int(rng.choice([3, 4, 6])), fed=len(inputs))


LEVELS = {"roi_canonical_scale": 56, "roi_canonical_level": 4, "roi_min_level": 2, "roi_max_level": 5}


@case("DistributeFpnProposals")
def distributed(rng, kind):
    return Case(kind, [regions(rng, int(rng.integers(0, 20)), 1)], LEVELS, outputs=5)


@case("CollectRpnProposals", "CollectAndDistributeFpnRpnProposals")
def collected(rng, kind):
    counts = rng.integers(0, 8, 3)
    found = [np.concatenate([np.zeros((n, 1), np.float32), boxes(rng, n)], 1) for n in counts]
    arguments = {"rpn_min_level": 2, "rpn_max_level": 4, "rpn_post_nms_topN": int(rng.choice([0, 6, 100]))}
    inputs = [*found, *(scores(rng, n) for n in counts)]
    if kind == "CollectRpnProposals":
        return Case(kind, inputs, arguments, fed=6)
    return Case(kind, inputs, arguments | LEVELS, outputs=6, fed=6)


@case("BatchPermutation")
def permuted(rng, kind):
    x = normal(rng, int(rng.integers(1, 7)), *rng.integers(1, 5, int(rng.integers(0, 3))))
    return Case(kind, [x, rng.permutation(len(x)).astype(np.int32)], fed=2)


@case("HeatmapMaxKeypoint")
def keypoints(rng, kind):
    count = int(rng.integers(0, 4))
    heatmaps = normal(rng, count, int(rng.integers(1, 5)), *[int(rng.integers(2, 9))] * 2)
    return Case(kind, [heatmaps, boxes(rng, count)], {"should_output_softmax": int(flip(rng))}, fed=2)


def pooled(rng) -> dict:
    size = {"pooled_h": int(rng.integers(1, 5)), "pooled_w": int(rng.integers(1, 5))}
    return size | {"spatial_scale": float(rng.choice([0.0625, 0.125])), "sampling_ratio": int(rng.integers(0, 3))}


@case("RoIAlign", "RoIAlignRotated")
def aligned(rng, kind):
    images, order = int(rng.integers(1, 3)), "NHWC" if flip(rng) else "NCHW"
    x = normal(rng, images, 8, 10, 12)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if order == "NHWC" else x
    found = regions(rng, int(rng.integers(0, 7)), images, kind == "RoIAlignRotated")
    return Case(kind, [x, found], pooled(rng) | {"order": order, "aligned": int(flip(rng))}, fed=2)


@case("RoIPool")
def maxima(rng, kind):
    found = np.concatenate([np.zeros((5, 1), np.float32), boxes(rng, 5)], 1)
    arguments = {key: value for key, value in pooled(rng).items() if key != "sampling_ratio"}
    if flip(rng):
        return Case(kind, [normal(rng, 1, 3, 10, 12), found], arguments, outputs=2, fed=2)
    return Case(kind, [normal(rng, 1, 3, 10, 12), found], arguments | {"is_test": 1}, fed=2)


@case("Int8RoIAlign")
def aligned_int8(rng, kind):
    images = int(rng.integers(1, 3))
    x = Int8Tensor(rng.integers(0, 256, (images, 10, 12, 5), dtype=np.uint8), 0.05, int(rng.integers(0, 256)))
    arguments = pooled(rng) | {"order": "NHWC", "Y_scale": 0.06, "Y_zero_point": int(rng.integers(0, 256))}
    return Case(kind, [x, regions(rng, int(rng.integers(0, 7)), images)], arguments, fed=2)
