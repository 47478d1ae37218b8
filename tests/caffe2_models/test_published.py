import numpy as np
import pytest
from google.protobuf import text_format

from caffe2_common.errors import ModelError
from caffe2_models import Int8Tensor
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import NAMES, canonical_name, publication, published_net


@pytest.mark.parametrize("name", NAMES)
def test_graphs_are_the_official_ones(shared, name):
    text = (shared / "published" / name / "model.pbtxt").read_text()
    official = text_format.Parse(text, caffe2_pb2.NetDef())
    ours = published_net(name).predict
    assert ours.name == official.name
    assert list(ours.external_output) == list(official.external_output)
    for mine, theirs in zip(ours.op, official.op, strict=True):
        assert (mine.type, mine.engine, mine.input, mine.output) == (
            theirs.type, theirs.engine, theirs.input, theirs.output)  # fmt: skip
        assert sorted(map(str, mine.arg)) == sorted(map(str, theirs.arg))


@pytest.mark.parametrize("name", ["FBNet-96/int8", "FBNet-96/fp32"])
def test_seeded_weights_run_and_tell_inputs_apart(name):
    net = published_net(name)
    rng = np.random.default_rng(0)
    session = net.session("reference")
    first, second = (session.run({"data": rng.standard_normal((1, 3, 96, 96), np.float32)}) for _ in range(2))
    (output,) = net.outputs
    assert first[output].shape == (1, 1000)
    assert np.isfinite(first[output]).all()
    assert (first[output] != second[output]).any()


def test_int8_weights_use_the_published_ranges():
    """No layer's output is stuck at the ends of its range."""
    net = published_net("ChamNet-E/int8")
    data = np.random.default_rng(0).standard_normal((1, 3, 160, 160), np.float32)
    blobs = [node.outputs[0] for node in net.operators if node.type in ("Int8Conv", "Int8ConvRelu")]
    for blob, value in net.session("reference").run({"data": data}, blobs).items():
        assert isinstance(value, Int8Tensor)
        assert value.data.std() > 3, blob
        assert np.mean((value.data == 0) | (value.data == 255)) < 0.75, blob


def test_seeds_make_other_weights_and_the_same_ones_again():
    first, again, other = (published_net("FBNet-96/int8", seed).init for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_names_and_what_was_published():
    assert len(NAMES) == 24
    assert canonical_name("ChamNet/models/ChamNet-A/int8") == "ChamNet-A/int8"
    assert canonical_name("ChamNet-A") is None
    facts = publication("ChamNet-A/int8")
    assert (facts.size, facts.latency_ms, facts.top1) == (224, 24.7, 74.6)
    recorded = get_preprocessing(published_net("ChamNet-B/fp32").predict)
    assert (recorded.size, recorded.channel_order) == (192, "BGR")
    with pytest.raises(ModelError, match="ChamNet-A/int8"):
        published_net("ChamNet-Z/int8")
