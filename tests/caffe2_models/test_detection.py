"""Nets whose sizes only a run tells, and that run nets of their own: the same on every runtime, as Caffe2 computed."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from cases_detection import boxes
from google.protobuf import text_format
from operator_cases import CASES, Case
from PIL import Image

from caffe2_models import Int8Tensor, ModelError, Net, UnsupportedError, kernels
from caffe2_models.build import make_init
from caffe2_models.detection import ordering
from caffe2_models.lowering import lower, lower_net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_runtime import open_session
from caffe2_models.runtimes.session import input_types
from caffe2_models.tensors import Sizes, TensorType

BACKENDS = ["reference", "onnxruntime"] + (["exact"] if kernels.is_available() else [])

needs_kernels = pytest.mark.skipif(kernels.find("suppress") is None, reason="the C++ extension is not built")


DETECTOR = """
    name: "detector"
    op { type: "GenerateProposals" input: "scores" input: "deltas" input: "info" input: "anchors"
         output: "rois" output: "probs"
         arg { name: "post_nms_topN" i: 20 } arg { name: "min_size" f: 0 } arg { name: "spatial_scale" f: 0.125 } }
    op { type: "RoIAlign" input: "features" input: "rois" output: "cut" arg { name: "spatial_scale" f: 0.125 } arg { name: "pooled_h" i: 2 } arg { name: "pooled_w" i: 2 } }
    op { type: "Softmax" input: "cut" output: "soft" }
    op { type: "IsEmpty" input: "kept" output: "nothing" }
    op { type: "ConstantFill" output: "answer" arg { name: "shape" ints: 1 } arg { name: "value" f: 7 } }
    op { type: "If" input: "nothing" arg { name: "then_net" n { name: "empty" } }
         arg { name: "else_net" n { op { type: "Sqr" input: "soft" output: "s" } op { type: "Sum" input: "s" input: "soft" output: "answer" } } } }
    external_input: "scores" external_input: "deltas" external_input: "info" external_input: "anchors"
    external_input: "features" external_input: "kept" external_output: "rois" external_output: "answer"
"""  # noqa: E501  one operator a line


def detector() -> Net:
    return Net(text_format.Parse(DETECTOR, caffe2_pb2.NetDef()))


def feeds_of(rng, kept: int) -> dict:
    anchors = np.array([[-8, -8, 8, 8], [-16, -4, 16, 4]], np.float32)
    return {
        "scores": rng.random((1, 2, 6, 7), np.float32),
        "deltas": rng.normal(0, 0.3, (1, 8, 6, 7)).astype(np.float32),
        "info": np.array([[48, 56, 1]], np.float32),
        "anchors": anchors,
        "features": rng.normal(0, 1, (1, 3, 6, 7)).astype(np.float32),
        "kept": np.zeros((kept, 4), np.float32),
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_branches_and_unknown_sizes_are_the_same_on_every_runtime(backend):
    session, reference = detector().session(backend, threads=1), detector().session("reference")
    for seed in range(4):
        feeds = feeds_of(np.random.default_rng(seed), kept=seed % 2)
        want, have = reference.run(feeds, ["rois", "answer"]), session.run(feeds, ["rois", "answer"])
        for name, value in want.items():
            np.testing.assert_allclose(have[name], value, rtol=1e-6, atol=1e-6)
        assert have["answer"].shape == ((len(have["rois"]), 3, 2, 2) if seed % 2 else (1,))


def test_what_can_be_known_before_a_run():
    feeds = input_types(feeds_of(np.random.default_rng(0), kept=1))
    types = detector().infer_types(feeds)
    assert (types["rois"].shape, types["rois"].sizes) == ((20, 5), Sizes.UP_TO)
    assert (types["answer"].shape, types["answer"].sizes) == ((20, 3, 2, 2), Sizes.UP_TO)  # the branch is known
    net = detector()
    net.predict.op[3].input[0] = "rois"
    net = Net(net.predict)
    assert net.infer_types(feeds)["answer"].sizes is Sizes.UNKNOWN  # of one dimension in one branch, four in the other
    shapes = net.infer_shapes(feeds)
    assert shapes["cut"] == ((20, 3, 2, 2), np.float32) and "answer" not in shapes


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_fit_is_said_when_it_is_reached(backend):
    net = detector()
    net.predict.op[1].input[1] = "probs"  # scores in the place of regions
    feeds = feeds_of(np.random.default_rng(0), 1)
    with pytest.raises(ModelError, match=r"operator 1 \(RoIAlign -> cut\): regions \[\d+\]"):
        Net(net.predict).session(backend).run(feeds)


@needs_kernels
@pytest.mark.parametrize(
    "kind",
    [
        *("GenerateProposals", "BBoxTransform", "BoxWithNMSLimit", "RoIAlign", "RoIAlignRotated", "Int8RoIAlign"),
        *("CollectRpnProposals", "DistributeFpnProposals", "CollectAndDistributeFpnRpnProposals"),
        *("BatchPermutation", "HeatmapMaxKeypoint"),
    ],
)
def test_kernels_compute_the_same_bits(kind, monkeypatch):
    """Where the extension is not built, what stands in its place is equal."""
    for seed in range(12):
        case = CASES[kind](np.random.default_rng([seed, 11]))
        fast = case.net().session("reference").run(case.feeds, case.output_names)
        monkeypatch.setenv(kernels.VARIABLE, "off")
        assert kernels.find("suppress") is None
        slow = case.net().session("reference").run(case.feeds, case.output_names)
        monkeypatch.delenv(kernels.VARIABLE)
        for name, value in slow.items():
            have = fast[name].data if isinstance(value, Int8Tensor) else fast[name]
            np.testing.assert_array_equal(have, value.data if isinstance(value, Int8Tensor) else value)


@needs_kernels
@pytest.mark.parametrize("size", [0, 1, 15, 17, 100, 3000])
def test_ties_come_in_the_order_of_the_c_library(size, monkeypatch):
    rng = np.random.default_rng(size)
    few, many = rng.integers(0, 5, size).astype(np.float32), rng.random(size, np.float32)
    for scores in (few, many, np.zeros(size, np.float32)):
        for count in (None, size // 3):
            fast = ordering.descending(scores, count)
            monkeypatch.setenv(kernels.VARIABLE, "off")
            np.testing.assert_array_equal(ordering.descending(scores, count), fast)
            monkeypatch.delenv(kernels.VARIABLE)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([np.nan, 0, 0, 1, 1], "no number"),
        ([3, 0, 0, 1, 1], "a region of image 3; there are 1"),
        ([0, 0, 0, 1e9, 9], "far outside any image"),
        ([0, 0, 0, 9e6, 9e6], "more than any image has"),
    ],
)
def test_what_is_no_region_is_refused(region, message):
    align = Net(caffe2_pb2.NetDef(op=[detector().predict.op[1]], external_input=["features", "rois"]))
    feeds = {"features": np.zeros((1, 2, 5, 5), np.float32), "rois": np.array([region], np.float32)}
    with pytest.raises(ModelError, match=message):
        align.session("reference").run(feeds)


@pytest.mark.parametrize("seed", range(6))
def test_regions_are_cut_out_alike_in_onnx(seed):
    case = CASES["RoIAlign"](np.random.default_rng([seed, 5]))
    want = case.net().session("reference").run(case.feeds, ["y0"])["y0"]
    model, names = lower_net(case.net(), input_types(case.feeds), ["y0"])
    (have,) = open_session(model.SerializeToString()).run([names["y0"]], case.feeds)
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


def run_in_onnx(case: Case, feeds: dict) -> dict:
    """What ONNX Runtime computes with the case's net in ONNX, made for other numbers of what only a run counts."""
    lowered = lower(case.net(), input_types(case.feeds), case.output_names, count=10)
    model = lowered.to_model()
    for value in model.graph.output:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"{value.name}_{axis}"
    onnx.checker.check_model(model, full_check=True)
    session = open_session(model.SerializeToString())
    names = [lowered.output_names[name] for name in case.output_names]
    return dict(zip(case.output_names, session.run(names, feeds), strict=True))


def assert_same_in_onnx(case: Case) -> None:
    want = case.net().session("reference").run(case.feeds, case.output_names)
    for name, have in run_in_onnx(case, case.feeds).items():
        assert (have.shape, have.dtype) == (want[name].shape, want[name].dtype), name
        np.testing.assert_allclose(have, want[name], rtol=1e-5, atol=1e-4)


def without_ties(case: Case, rng) -> Case:
    """With scores that are all different: of equal ones each runtime takes another first."""
    scores = case.inputs[0]
    case.inputs[0] = (rng.permutation(scores.size) / max(scores.size, 1)).astype(np.float32).reshape(scores.shape)
    return case


@pytest.mark.parametrize("limit", [0, 1, 7, 100])
@pytest.mark.parametrize("images", [None, 1, 3])
@pytest.mark.parametrize("classes", [1, 4])
def test_detections_are_limited_alike_in_onnx(limit, images, classes):
    flags = ("legacy_plus_one", "cls_agnostic_bbox_reg", "input_boxes_include_bg_cls", "output_classes_include_bg_cls")
    for seed, count in enumerate([0, 1, 2, 15, 60, 300]):
        rng = np.random.default_rng([seed, limit, images or 0, classes])
        arguments = {flag: int(rng.integers(2)) for flag in flags}
        background, agnostic = arguments["input_boxes_include_bg_cls"], arguments["cls_agnostic_bbox_reg"]
        columns = 1 if agnostic else classes + background
        inputs = [np.zeros((count, classes + 1), np.float32), np.tile(boxes(rng, count), (1, columns))]
        inputs[1] += rng.uniform(0, 4, inputs[1].shape).astype(np.float32).round(3)
        if images is not None:
            sizes = np.diff(np.sort(rng.integers(0, count + 1, images - 1)), prepend=0, append=count)
            inputs.append(sizes.astype(np.float32 if seed % 2 else np.int32))
        arguments |= {"detections_per_im": limit, "score_thresh": float(rng.choice([-1, 0.3, 2])), "nms": 0.4}
        case = Case("BoxWithNMSLimit", inputs, arguments, outputs=6, fed=len(inputs))
        assert_same_in_onnx(without_ties(case, rng))


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("plus_one", [0, 1])
def test_proposals_are_alike_in_onnx(images, plus_one):
    for seed, (count, height, width) in enumerate([(1, 1, 1), (2, 3, 5), (3, 16, 9), (5, 20, 24)]):
        rng = np.random.default_rng([seed, images, plus_one])
        anchors = boxes(rng, count)
        anchors -= (anchors[:, [0, 1, 0, 1]] + anchors[:, [2, 3, 2, 3]]) / 2 - 8
        info = np.tile(np.array([[128.7, 160.2, 1]], np.float32), (images, 1))
        info[:, 2] += np.arange(images) / 4
        deltas = rng.normal(0, 0.4, (images, 4 * count, height, width)).astype(np.float32)
        arguments = {"nms_thresh": float(rng.choice([0.0, 0.5, 1.0])), "min_size": float(rng.choice([0, 8]))}
        arguments |= {"pre_nms_topN": int(rng.choice([0, 30, 6000])), "post_nms_topN": int(rng.choice([0, 7, 300]))}
        arguments |= {"legacy_plus_one": plus_one, "spatial_scale": float(rng.choice([0.125, 1 / 7]))}
        inputs = [np.zeros((images, count, height, width), np.float32), deltas, info, anchors]
        case = without_ties(Case("GenerateProposals", inputs, arguments, outputs=2, fed=4 - seed % 2), rng)
        assert_same_in_onnx(case)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("sorted_by_image", [True, False])
def test_boxes_are_moved_alike_in_onnx(images, sorted_by_image):
    for seed, count in enumerate([0, 1, 9, 50]):
        rng = np.random.default_rng([seed, images])
        owners = rng.integers(0, images, (count, 1))
        rois = np.concatenate([np.sort(owners, axis=0) if sorted_by_image else owners, boxes(rng, count)], axis=1)
        arguments = {
            "apply_scale": seed % 2,
            "legacy_plus_one": int(rng.integers(2)),
            "weights": [10.0, 10.0, 5.0, 5.0],
        }
        deltas = rng.normal(0, 2, (count, 12)).astype(np.float32)
        info = np.array([[120 + i, 161 - i, 1 + i / 8] for i in range(images)], np.float32)
        inputs = [rois.astype(np.float32), deltas, info]
        assert_same_in_onnx(Case("BBoxTransform", inputs, arguments, outputs=2, fed=3))


@pytest.mark.parametrize("seed", range(12))
def test_levels_of_a_pyramid_are_collected_alike_in_onnx(seed):
    assert_same_in_onnx(CASES["CollectRpnProposals"](np.random.default_rng([seed, 3])))


@pytest.mark.parametrize(
    ("arguments", "columns", "message"),
    [
        ({"soft_nms_enabled": 1}, 2, "soft suppression"),
        ({"rotated": 1}, 2, "suppression of rotated boxes"),
        ({"nms": -0.5}, 2, "suppression at an overlap of -0.5"),
        ({}, 1, "suppression of the background alone"),
    ],
)
def test_suppression_that_onnx_does_not_know_is_refused(arguments, columns, message):
    corners = np.zeros((3, columns * (5 if "rotated" in arguments else 4)), np.float32)
    case = Case("BoxWithNMSLimit", [np.zeros((3, columns), np.float32), corners], arguments, outputs=3, fed=2)
    with pytest.raises(UnsupportedError, match=rf"BoxWithNMSLimit .*: {message}"):
        lower(case.net(), input_types(case.feeds), count=10)


DRAWN = """
    name: "drawn"
    op { type: "Copy" input: "data" output: "seen" }
    op { type: "BBoxTransform" input: "rois" input: "deltas" input: "im_info" output: "boxes" }
    op { type: "BoxWithNMSLimit" input: "scores" input: "boxes"
         output: "score_nms" output: "bbox_nms" output: "class_nms" }
    external_input: "data" external_input: "im_info" external_input: "rois" external_input: "deltas"
    external_input: "scores" external_input: "masks"
    external_output: "score_nms" external_output: "bbox_nms" external_output: "class_nms" external_output: "masks"
"""


def test_the_example_draws_boxes_and_masks(root, tmp_path):
    parameters = {
        "rois": np.array([[0, 20, 10, 59, 49]], np.float32),
        "deltas": np.zeros((1, 8), np.float32),
        "scores": np.array([[0.1, 0.9]], np.float32),
        "masks": np.ones((1, 2, 4, 4), np.float32),
    }
    Net(text_format.Parse(DRAWN, caffe2_pb2.NetDef()), make_init(parameters)).save(tmp_path / "drawn")
    Image.new("RGB", (160, 120), "white").save(tmp_path / "image.png")

    def draw(image: str):
        files = [str(tmp_path), str(tmp_path / image), str(tmp_path / "out.png")]
        command = [sys.executable, "scripts/draw_detections.py", *files, "--size", "60"]
        return subprocess.run(command, cwd=root, capture_output=True, text=True)

    done = draw("image.png")
    assert done.returncode == 0 and "1 of 1 detections" in done.stdout, done.stderr
    colored = (np.asarray(Image.open(tmp_path / "out.png")) != 255).any(axis=2)
    assert not colored[:, 0].any() and colored[19:99, 39:119].mean() > 0.9  # the box, at twice the size that was fed
    done = draw("none.png")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


BRANCHES = """
    op { type: "ReduceMean" input: "x" output: "mean" arg { name: "keepdims" i: 0 } }
    op { type: "GT" input: "mean" input: "zero" output: "positive" }
    op { type: "Copy" input: "x" output: "kept" }
    op { type: "If" input: "positive"
         arg { name: "then_net" n { op { type: "Relu" input: "x" output: "aside" }
                                    op { type: "Sum" input: "aside" input: "w" output: "y" }
                                    op { type: "Sqr" input: "x" output: "kept" } } }
         arg { name: "else_net" n {
             op { type: "If" input: "fixed"
                  arg { name: "then_net" n { op { type: "Sum" input: "x" input: "kept" output: "y" } } }
                  arg { name: "else_net" n { op { type: "Copy" input: "x" output: "y" } } } } } } }
    op { type: "Sum" input: "y" input: "kept" output: "end" }
    external_input: "x" external_input: "w" external_input: "zero" external_input: "fixed" external_output: "end"
"""


def branches(fixed: bool) -> Net:
    parameters = {"w": np.ones((2, 3), np.float32), "zero": np.zeros((), np.float32), "fixed": np.array([fixed])}
    return Net(text_format.Parse(BRANCHES, caffe2_pb2.NetDef()), make_init(parameters))


@pytest.mark.parametrize("fixed", [True, False])
def test_branches_become_those_of_onnx(fixed):
    net = branches(fixed)
    model, names = lower_net(net, {"x": TensorType((2, 3))}, ["end"])
    onnx.checker.check_model(model, full_check=True)
    session = open_session(model.SerializeToString())
    for sign in (1, -1):
        x = sign * np.arange(1, 7, dtype=np.float32).reshape(2, 3)
        [found] = session.run([names["end"]], {"x": x})
        np.testing.assert_array_equal(found, net.session("reference").run({"x": x})["end"])


def test_branches_of_different_forms_are_refused_in_onnx():
    net = branches(True)
    net.predict.op[3].arg[0].n.op[1].CopyFrom(text_format.Parse("""type: "Flatten" input: "x" output: "y"
        arg { name: "axis" i: 0 }""", caffe2_pb2.OperatorDef()))  # fmt: skip
    net = Net(net.predict, net.init)
    with pytest.raises(UnsupportedError, match=r"If .*: its nets leave y in different forms"):
        lower_net(net, {"x": TensorType((2, 3))}, ["end"])


LOOP = """
    op { type: "While" input: "more"
         arg { name: "loop_net" n { op { type: "Add" input: "x" input: "step" output: "x" }
                                    op { type: "Sqr" input: "x" output: "squares" } } }
         arg { name: "cond_net" n { op { type: "ReduceMax" input: "x" output: "top" arg { name: "keepdims" i: 0 } }
                                    op { type: "LT" input: "top" input: "limit" output: "more" }
                                    op { type: "Copy" input: "x" output: "seen" } } } }
    op { type: "Sum" input: "x" input: "seen" output: "end" }
    external_input: "x" external_input: "step" external_input: "limit" external_input: "more" external_output: "end"
"""


@pytest.mark.parametrize("limit", [0, 7, 40])
def test_loop_becomes_that_of_onnx(limit):
    parameters = {"step": np.ones((2, 3), np.float32), "limit": np.float32(limit).reshape(()), "more": np.array([True])}
    net = Net(text_format.Parse(LOOP, caffe2_pb2.NetDef()), make_init(parameters))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = net.session("reference").run({"x": x})["end"]
    assert expected.max() == 2 * max(limit, 5)
    np.testing.assert_array_equal(net.session("onnxruntime").run({"x": x})["end"], expected)
    assert net.infer_shapes({"x": (2, 3)})["end"] == ((2, 3), np.float32)
    model, names = lower_net(net, {"x": TensorType((2, 3))}, ["end"])
    onnx.checker.check_model(model, full_check=True)
    [found] = open_session(model.SerializeToString()).run([names["end"]], {"x": x})
    np.testing.assert_array_equal(found, expected)
