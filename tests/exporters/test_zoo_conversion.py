"""Models of the zoo all the way: PyTorch, ONNX, Caffe2 and back; the published graphs come out as published.

The whole zoo takes minutes (`make zoo-sweep`); here every sixth model is tried, at a small size, another sixth
each day; ZOO_SHARD (0 to 5) chooses which.
"""

import datetime
import os

import pytest

from caffe2_models.files import read_net
from exporters import torch_to_onnx
from exporters.benchmark import CLEAR, STEPS, measure_all
from exporters.onnx_to_caffe2 import convert
from exporters.sweep import sweep
from mobile_cv.model_zoo import list_models
from mobile_cv.model_zoo.registry import canonical_name

pytestmark = pytest.mark.usefixtures("one_thread")

SHARDS = 6
SHARD = int(os.environ.get("ZOO_SHARD", datetime.date.today().toordinal())) % SHARDS
SMALL, ODD = 96, 107  # at fewer pixels, random BatchNorm statistics make the deepest models' rounding grow
MODELS = [name for name in list_models() if canonical_name(name) == name]
PUBLISHED = [name for name in MODELS if name.endswith("/fp32")]

# What the published files say of running them fast, and what depends on neither weights nor shapes.
ASIDE = {"ws_nbytes_limit", "exhaustive_search"}


@pytest.mark.parametrize("name", MODELS[SHARD::SHARDS])
def test_all_forms_compute_the_same(name):
    row = sweep(name, ODD if name.startswith("tf_") else SMALL)
    assert row.holds, row.differences


def arguments(op):
    values = {arg.name: arg.i if arg.HasField("i") else arg.s for arg in op.arg}
    return {name: value for name, value in values.items() if name not in ASIDE}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_graph_comes_out(name, shared):
    published = read_net(shared / "published" / name / "model.pbtxt")
    module = torch_to_onnx.create_module(name)
    size = module.default_cfg["size"]
    net = convert(torch_to_onnx.export(module, (1, 3, size, size)))
    assert len(PUBLISHED) == 12
    assert [op.type for op in net.predict.op] == [op.type for op in published.op]
    for ours, theirs in zip(net.predict.op, published.op, strict=True):
        assert arguments(ours) == arguments(theirs), ours.output
        assert (len(ours.input), len(ours.output)) == (len(theirs.input), len(theirs.output))
    assert wiring(net.predict) == wiring(published)


@pytest.mark.parametrize("name", ["tf_mobilenetv3_small_075", "tf_mixnet_s", "FBNet-A/fp32"])
def test_opset_does_not_change_the_net(name):
    module = torch_to_onnx.create_module(name, img_size=SMALL)
    nets = [
        convert(torch_to_onnx.export(module, (1, 3, SMALL, SMALL), opset=opset)).predict
        for opset in (9, 13, 17, torch_to_onnx.newest_opset())
    ]
    for net in nets[1:]:
        assert [(op.type, arguments(op)) for op in net.op] == [(op.type, arguments(op)) for op in nets[0].op]
        assert wiring(net) == wiring(nets[0])


def wiring(net):
    """For each operator, which earlier operators (-1: the input, -2: a parameter) its inputs come from."""
    writer = {"data": -1}
    sources = []
    for index, op in enumerate(net.op):
        sources.append([writer.get(name, -2) for name in op.input])
        writer.update(dict.fromkeys(op.output, index))
    return sources


@pytest.mark.skipif(not CLEAR.exists(), reason="reads Linux's memory figures")
def test_conversions_take_at_most_four_times_the_models_bytes():
    steps = [step for step in STEPS if "dynamo" not in step.title]  # torch's own takes more
    measured = {title: memory for title, _, memory in measure_all("mobilenetv2_100", steps)}
    assert measured.keys() == {"PyTorch to ONNX", "ONNX to Caffe2", "Caffe2 to ONNX"}
    assert all(1 < memory <= 4 for memory in measured.values()), measured
