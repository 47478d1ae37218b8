"""A run that is bound to its types computes what `run` does."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffe2_models.net import Net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import published_net

ONE_STAGE = """
name: "n" external_input: "x" external_output: "y"
op { type: "Relu" input: "x" output: "r" }
op { type: "Sigmoid" input: "r" output: "y" }
"""


def parse(text: str) -> Net:
    return Net(text_format.Parse(text, caffe2_pb2.NetDef()))


@pytest.mark.parametrize("backend", ["reference", "onnxruntime", "exact"])
@pytest.mark.parametrize("outputs", [["y"], ["r", "y"], ["x", "y"]])
def test_bound_run_is_the_run(backend, outputs):
    rng = np.random.default_rng(0)
    session = parse(ONE_STAGE).session(backend=backend)
    x = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    session.run({"x": x}, outputs)
    bound = session.bind({"x": x}, outputs)
    for _ in range(2):
        x = rng.normal(size=x.shape).astype(np.float32)
        got, expected = bound({"x": x}), session.run({"x": x}, outputs)
        for name in outputs:
            np.testing.assert_array_equal(got[name], expected[name])


def test_int8_net():
    net = published_net("FBNet-96/int8")
    session = net.session(threads=1)
    images = np.random.default_rng(0).normal(size=(2, *net.input_shapes()["data"])).astype(np.float32)
    session.run({"data": images[0]})
    bound = session.bind({"data": images[0]}, net.outputs)
    for image in images:
        expected = session.run({"data": image})
        got = bound({"data": image})
        for name in net.outputs:
            np.testing.assert_array_equal(got[name], expected[name])
