"""Every ONNX operator that the converter knows, in the spellings of all opsets."""

import numpy as np
import onnxruntime
import pytest
from conversion_cases import CASES, build, feeds

from exporters.onnx_to_caffe2 import convert

# float32 sums in another order, of values around 1
TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def run_onnx(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name", CASES)
def test_computes_what_onnx_computes(name):
    model = build(CASES[name])
    net = convert(model)
    assert [op.type for op in net.predict.op] == CASES[name].operators
    assert net.outputs == ["y"]
    for sizes in ({"N": 2, "S": 7, "T": 9}, {"N": 1, "S": 10, "T": 5}):  # free dimensions stay free
        inputs = feeds(model, sizes)
        got = net.session("reference").run(inputs)["y"]
        np.testing.assert_allclose(got, run_onnx(model, inputs), **TOLERANCE)
