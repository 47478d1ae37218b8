"""What ONNX Runtime is given in other words computes the same."""

import numpy as np
import pytest

from caffe2_models import Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.lowering import lower
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_tuning import tune
from caffe2_models.runtimes.session import input_types


def prelu_net(slopes: int) -> Net:
    rng = np.random.default_rng(0)
    parameters = {
        "w": rng.normal(0, 0.3, (12, 3, 3, 3)).astype(np.float32),
        "v": rng.normal(0, 0.3, (12, 12, 3, 3)).astype(np.float32),
        "slope": rng.normal(0.5, 1, slopes).astype(np.float32),
    }
    predict = caffe2_pb2.NetDef(name="prelu", external_input=["x", *parameters], external_output=["y", "z"])
    add_operator(predict, "Conv", ["x", "w"], ["c"], kernel=3)
    add_operator(predict, "PRelu", ["c", "slope"], ["y"])
    add_operator(predict, "ConvTranspose", ["y", "v"], ["d"], kernel=3, stride=2)
    add_operator(predict, "PRelu", ["d", "slope"], ["z"])
    return Net(predict, make_init(parameters))


@pytest.mark.parametrize(("slopes", "left"), [(12, 0), (1, 2)])
def test_prelu_is_the_same_in_other_words(slopes, left):
    net, rng = prelu_net(slopes), np.random.default_rng(1)
    feeds = {"x": rng.normal(0, 1, (2, 3, 9, 8)).astype(np.float32)}
    lowered = lower(net, input_types(feeds))
    tune(lowered.graph)
    assert sum(node.op_type == "PRelu" for node in lowered.graph.nodes) == left
    want, have = net.session("reference").run(feeds, ["y", "z"]), net.session("onnxruntime").run(feeds, ["y", "z"])
    for name, value in want.items():
        assert (value < 0).any()
        np.testing.assert_allclose(have[name], value, rtol=1e-5, atol=1e-5)
