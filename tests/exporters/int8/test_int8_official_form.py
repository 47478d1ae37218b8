"""The int8 nets of the published architectures have the published form."""

import numpy as np
import pytest
from test_zoo_conversion import wiring

from caffe2_models.files import read_net
from caffe2_models.published import published_net
from exporters import torch_to_onnx
from exporters.int8 import quantize
from exporters.int8.recipe import RECIPES
from exporters.onnx_to_caffe2 import convert
from mobile_cv.model_zoo import list_models

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLISHED = [name for name in list_models() if name.endswith("/int8")]

# What depends on the images, and what the published files say of running them fast.
ASIDE = {"Y_scale", "Y_zero_point", "ws_nbytes_limit"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_form_comes_out(name, shared):
    assert len(PUBLISHED) == 12
    published = read_net(shared / "published" / name / "model.pbtxt")
    module = torch_to_onnx.create_module(name)
    shape = (1, 3, module.default_cfg["size"], module.default_cfg["size"])
    images = np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)
    net = convert(torch_to_onnx.export(module, shape))
    int8 = quantize(net, images, RECIPES["minmax"], {"data": shape}, threads=1).net
    assert [op.type for op in int8.predict.op] == [op.type for op in published.op]
    for ours, theirs in zip(int8.predict.op, published.op, strict=True):
        assert arguments(ours) == arguments(theirs), ours.output
        assert quantization(ours) == quantization(theirs), ours.output
    assert wiring(int8.predict) == wiring(published)
    assert list(types(int8, shape)) == list(types(published_net(name), shape))


def arguments(op):
    """Name and value, each in the field that it stands in."""
    return {
        argument.name: [(field.name, value) for field, value in argument.ListFields()[1:]]
        for argument in op.arg
        if argument.name not in ASIDE
    }


def quantization(op):
    """Which arguments say how the output is quantized, and in which fields."""
    return {arg.name: arg.HasField("f") for arg in op.arg if arg.name in ("Y_scale", "Y_zero_point")}


def types(net, shape):
    """Shape and dtype of all that each operator reads and writes, parameters too."""
    for step in net.walk({"data": shape}):
        yield step.node.type, *((value.shape, value.dtype) for value in (*step.inputs, *step.outputs))
