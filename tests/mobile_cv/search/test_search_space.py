"""Spaces: the published one, others from JSON, networks by their choices."""

import json

import pytest
import torch

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import create_model
from mobile_cv.search import SPACES, SearchSpace, get_space
from mobile_cv.search.space import orderings


def test_the_published_space(shared):
    facts = json.loads((shared / "facts/nas_facts.json").read_text())["anna_fbnet"]
    space = get_space("fbnet")
    assert [layer.channels for layer in space.layers] == facts["channels"]
    assert [layer.stride for layer in space.layers] == facts["strides"]
    theirs = [name.replace("_s2", "_e1_g2") for name in facts["candidate_blocks"]]
    assert list(space.candidates) == theirs
    assert space.size == 9**22
    assert space.network.stem == f"cn_k3_s2_c{facts['stem']['c']}"
    assert space.network.head == f"cn_k1_c{facts['head']['conv1x1']}"


def test_input_shapes_of_the_published_layers(shared):
    facts = json.loads((shared / "facts/nas_facts.json").read_text())["anna_fbnet"]
    space = get_space("fbnet")
    with torch.device("meta"):
        from mobile_cv.model_zoo.networks import build

        network = build(space.architecture([0] * 22)).eval()
        x = network.first(torch.zeros(1, 3, 224, 224))
        for layer, shape in zip(network.stages, facts["input_shape_chw"], strict=True):
            assert list(x.shape[1:]) == shape
            x = layer(x)


def test_seven_orderings_a_layer():
    names = get_space("fbnet").candidates
    pairs = {(names[a], names[b]) for a, b in orderings(names)}
    assert len(pairs) == 7
    assert ("ir_k3_e1", "ir_k3_e3") in pairs and ("ir_k3_e6", "ir_k5_e6") in pairs
    assert ("ir_k3_e1", "ir_k3_e6") not in pairs  # follows from two others


@pytest.mark.parametrize("name", SPACES)
def test_spaces_can_be_built(name):
    SPACES[name].check(name)


def test_data_choose_their_form_of_a_space():
    assert get_space("fbnet", "digits").name == "fbnet_digits"
    assert get_space("fbnet", "/some/images").name == "fbnet"
    with pytest.raises(ModelError, match="fbnet_digits"):
        get_space("fbnat")


def test_an_architecture_goes_through_its_file(tmp_path):
    space = get_space("fbnet", "digits").fit(7, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    choices = [7, 1, 8, 3, 0, 8]
    path = tmp_path / "found.json"
    path.write_text(space.architecture(choices).to_json(name="found"))
    model = create_model(str(path)).eval()
    assert model.architecture == space.architecture(choices)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert model.default_cfg["mean"] == (0.1, 0.2, 0.3)


SPACE = {
    "name": "two",
    "candidates": ["ir_k3_e2", "ir_k7_e2_se0.25_nhs", "skip"],
    "stages": [
        {"channels": 8},
        {"channels": 16, "repeats": 2, "stride": 2, "candidates": ["ir_k5_e4", "skip"]},
    ],
    "stem": "cn_k3_c8",
    "head": "cn_k1_c32",
    "size": 16,
}


def test_a_space_from_json(tmp_path):
    path = tmp_path / "two.json"
    path.write_text(json.dumps(SPACE))
    space = get_space(str(path))
    assert space.name == "two" and space.size == 3 * 2 * 2 and space.width == 3
    assert [layer.stride for layer in space.layers] == [1, 2, 1]
    assert space.available.tolist() == [[True] * 3, [True, True, False], [True, True, False]]
    assert space.architecture([1, 0, 1]).stages == (
        "ir_k7_e2_se0.25_nhs_s1_c8",
        "ir_k5_e4_s2_c16",
        "skip_s1_c16",
    )
    with pytest.raises(ModelError, match="no candidate 2"):
        space.architecture([1, 0, 2])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stages": []}, "at least 'stages'"),
        ({"stages": ["c8"]}, "stage 0 is no object"),
        ({"stages": [{"channels": "8"}]}, "channels"),
        ({"stages": [{"channels": 8, "repeats": 10**9}]}, "repeats"),
        ({"stages": [{"channels": 8, "repeats": 999}]}, "999 layers"),
        ({"candidates": ["ir_k3_q1"]}, "unknown field"),
        ({"candidates": ["ir_k3_c8"]}, "without repeats, channels"),
        ({"candidates": ["skip", "skip"]}, "different"),
        ({"candidates": ["ir_k3_g3"]}, "groups"),
        ({"layout": "mobilenet"}, "layout"),
        ({"size": "big"}, "size"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_space_is_one_line(tmp_path, change, message):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(SPACE | change))
    with pytest.raises(ModelError, match=message) as error:
        SearchSpace.from_json(path)
    assert "\n" not in str(error.value) and "wrong.json" in str(error.value)
