"""Detectors in ONNX: the same boxes, for any batch."""

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

import caffe2_mobile
from caffe2_models import Net
from caffe2_models.build import make_init
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_runtime import open_session
from exporters.caffe2_to_onnx import to_onnx
from exporters.int8_comparison import compare_int8
from exporters.verification import Sample

TWO_STAGES = """
    name: "two_stages"
    op { type: "Conv" input: "data" input: "w" output: "features" arg { name: "stride" i: 8 } arg { name: "kernel" i: 8 } }
    op { type: "Conv" input: "features" input: "w_scores" output: "logits" arg { name: "kernel" i: 1 } }
    op { type: "Conv" input: "features" input: "w_deltas" output: "deltas" arg { name: "kernel" i: 1 } }
    op { type: "Sigmoid" input: "logits" output: "scores" }
    op { type: "GenerateProposals" input: "scores" input: "deltas" input: "im_info" input: "anchors"
         output: "rois" output: "probs" arg { name: "post_nms_topN" i: 50 } arg { name: "min_size" f: 2 }
         arg { name: "spatial_scale" f: 0.125 } }
    op { type: "RoIAlign" input: "features" input: "rois" output: "cut" arg { name: "spatial_scale" f: 0.125 }
         arg { name: "pooled_h" i: 3 } arg { name: "pooled_w" i: 3 } arg { name: "sampling_ratio" i: 2 } }
    op { type: "FC" input: "cut" input: "w_class" input: "b_class" output: "class_logits" }
    op { type: "Softmax" input: "class_logits" output: "probabilities" }
    op { type: "FC" input: "cut" input: "w_box" input: "b_box" output: "box_deltas" }
    op { type: "BBoxTransform" input: "rois" input: "box_deltas" input: "im_info" output: "boxes" output: "splits" }
    op { type: "BoxWithNMSLimit" input: "probabilities" input: "boxes" input: "splits" output: "score_nms"
         output: "bbox_nms" output: "class_nms" output: "count" arg { name: "detections_per_im" i: 20 } }
    external_input: "data" external_input: "im_info"
    external_output: "score_nms" external_output: "bbox_nms" external_output: "class_nms" external_output: "count"
"""  # noqa: E501  one operator a line


def two_stages() -> Net:
    rng = np.random.default_rng(3)
    shapes = {"w": (6, 3, 8, 8), "w_scores": (2, 6, 1, 1), "w_deltas": (8, 6, 1, 1), "w_class": (4, 54),
              "b_class": (4,), "w_box": (16, 54), "b_box": (16,)}  # fmt: skip
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["w"] /= 4
    weights["anchors"] = np.array([[-8, -8, 24, 24], [-20, -4, 36, 20]], np.float32)
    predict = text_format.Parse(TWO_STAGES, caffe2_pb2.NetDef())
    predict.external_input.extend(weights)
    return Net(predict, make_init(weights))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 120)])
def test_detector_of_two_stages_finds_the_same_in_onnx_for_any_batch(height, width):
    net = two_stages()
    model = to_onnx(net, {"data": (1, 3, height, width), "im_info": (1, 3)})
    onnx.checker.check_model(model, full_check=True)
    session = open_session(model.SerializeToString())
    for images in (1, 2, 5):
        rng = np.random.default_rng(images)
        data = rng.normal(0, 1, (images, 3, height, width)).astype(np.float32)
        info = np.array([[height - i, width, 1 + i / 4] for i in range(images)], np.float32)
        feeds = {"data": data, "im_info": info}
        want = net.session("reference").run(feeds)
        assert want["count"].max() == 20
        for output, have in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            np.testing.assert_allclose(have, want[output.name], rtol=1e-4, atol=1e-3)


def test_detector_is_told_the_size_of_the_image_that_is_tried():
    net = two_stages()
    assert net.input_shapes((64, 96), batch=2) == {"data": (2, 3, 64, 96), "im_info": (2, 3)}
    result = caffe2_mobile.to_onnx(net, caffe2_mobile.ToOnnxOptions(img_size=(64, 96)))
    assert result.holds and result.comparisons[0].largest > 8  # boxes, where an image of no size had none


def test_other_numbers_of_detections_are_reported_as_not_equal():
    net = caffe2_pb2.NetDef(external_input=["x"], external_output=["y"])
    quantize = net.op.add(type="Int8Quantize", input=["x"], output=["q"])
    quantize.arg.add(name="Y_scale", f=0.1)
    quantize.arg.add(name="Y_zero_point", i=0)
    net.op.add(type="Int8Dequantize", input=["q"], output=["y"])
    sample = Sample("ones", {"x": np.ones((3, 2), np.float32)})
    fewer = {"q": np.full((2, 2), 10, np.uint8), "y": np.ones((2, 2), np.float32)}
    report = compare_int8(Net(net), "fewer", [sample], ["q"], lambda samples: [fewer for _ in samples])
    assert not report.equal and report.output == np.inf and report.differing == report.values == 6
