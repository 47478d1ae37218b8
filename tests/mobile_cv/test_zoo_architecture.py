"""Definitions: block strings, widths and depths, definition files."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import create_model, get_architecture
from mobile_cv.model_zoo.architecture import Architecture, Block, decode_block, divisible


def test_every_field_of_a_block_string():
    block, repeats = decode_block("ir_r2_k3.5.7_a1.1_p1.1_s2_e2.5_c24_se0.25_nsw_noskip_g2_d2_fc16")
    assert repeats == 2
    assert block == Block(
        "ir", 24, (3, 5, 7), 2, 2.5, 0.25, "swish", False, (1, 1), (1, 1), groups=2, depthwise=2, fake_in=16
    )


@given(
    repeats=st.integers(1, 9),
    kernel=st.lists(st.sampled_from([3, 5, 7, 9]), min_size=1, max_size=4),
    stride=st.sampled_from([-2, 1, 2]),
    expansion=st.sampled_from([1, 2.3, 6, 5.4566]),
    channels=st.integers(1, 2000),
    order=st.randoms(),
)
def test_fields_may_come_in_any_order(repeats, kernel, stride, expansion, channels, order):
    fields = [f"r{repeats}", f"k{'.'.join(map(str, kernel))}", f"s{stride}", f"e{expansion}", f"c{channels}"]
    order.shuffle(fields)
    expected = Block("ir", channels, tuple(kernel), stride, expansion)
    assert decode_block("_".join(["ir", *fields])) == (expected, repeats)


@pytest.mark.parametrize(
    "text, part",
    [
        ("xx_k3_c8", "unknown kind 'xx'"),
        ("ir_k3_e6", "channels"),
        ("ir_k3_c8_q4", "unknown field 'q4'"),
        ("ir_k3_c8_nxx", "unknown field 'nxx'"),
        ("ir_k3_c9999999", "unknown field"),
        ("", "unknown kind"),
    ],
)
def test_what_cannot_be_decoded_is_named(text, part):
    with pytest.raises(ModelError, match=part):
        decode_block(text)


@given(st.floats(0.5, 4000), st.sampled_from([1, 8]), st.sampled_from([0.9, 0.95]))
def test_divisible_is_near_and_not_far_below(value, divisor, floor):
    result = divisible(value, divisor, floor)
    assert result % divisor == 0
    assert result >= min(floor * value, result)
    assert result >= floor * value or divisor == result
    assert abs(result - value) <= divisor


@pytest.mark.parametrize(
    "name, repeats",
    [
        ("mobilenetv2_120d", [1, 3, 5, 6, 5, 5, 1]),  # the first and the last stage stay
        ("efficientnet_b5", [3, 5, 5, 7, 7, 9, 3]),
        ("mixnet_xl", [1, 2, 5, 5, 5, 5]),  # rounds 2.4 and 4.8 instead of going up
    ],
)
def test_depth(name, repeats):
    assert [len(stage) for stage in get_architecture(name).stage_blocks()] == repeats


def test_a_definition_file_builds_the_model_it_describes(tmp_path):
    architecture = get_architecture("dmasking_f1")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", **dataclasses.asdict(architecture)}))
    assert get_architecture(str(path)) == architecture
    mine = {key: value.shape for key, value in create_model(str(path)).state_dict().items()}
    assert mine == {key: value.shape for key, value in create_model("dmasking_f1").state_dict().items()}


def test_a_definition_file_needs_little(tmp_path):
    path = tmp_path / "small.json"
    path.write_text('{"stem": "cn_k3_s2_c8", "stages": ["ir_k3_s2_c16", "ir_r2_k5_s2_e4_c24"], "size": 96}')
    model = create_model(str(path), num_classes=7)
    assert model.default_cfg["size"] == 96
    assert model.classifier.out_features == 7


@pytest.mark.parametrize(
    "text, part",
    [
        ("not json", "not a readable JSON definition"),
        ("[]", "at least 'stages'"),
        ('{"stem": "cn_k3_c8"}', "at least 'stages'"),
        ('{"stages": "ir_k3_c8"}', "stages is"),
        ('{"stages": [3]}', "stages"),
        ('{"stages": ["ir_k3_c8"], "colour": 3}', "unknown option colour"),
        ('{"stages": ["ir_k3_c8"], "width": "2"}', "width is"),
        ('{"stages": ["ir_k3_c8"], "size": [48, 96, 3]}', "size is"),
        ('{"stages": ["ir_k3_c8"], "layout": "tree"}', "unknown layout 'tree'"),
        ('{"stages": ["ir_k3_c8"], "act": "gelu"}', "activation 'gelu'"),
        ('{"stages": ["ip_e6_c8"]}', "no block of kind 'ip'"),
        ('{"stages": ["ir_k3_e6_c9_g2"], "layout": "fbnet"}', "do not make 2 groups"),
        ('{"stages": ["ir_r99_k99_e99_c99999"]}', "parameters"),
        ('{"stages": ["ds_k3.5.7_c8"], "stem": "cn_k3_s2_c2"}', "2 channels cannot"),
    ],
)
def test_a_wrong_definition_file_is_one_line(tmp_path, text, part):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=part) as error:
        create_model(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_size_is_one_number_or_two(tmp_path):
    model = create_model("fbnet_a", num_classes=3, img_size=(48, 96))
    path = tmp_path / "wide.json"
    path.write_text(model.architecture.to_json())
    assert create_model(str(path)).default_cfg["size"] == model.default_cfg["size"] == (48, 96)


def test_options_are_those_of_an_architecture():
    model = create_model("fbnet_c", img_size=96, mean=(0.5,) * 3, crop_pct=1.0, bn_eps=1e-3, drop_rate=0.1)
    assert model.default_cfg == {
        "size": 96,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": (0.5,) * 3,
        "std": (0.229, 0.224, 0.225),
        "channel_order": "RGB",
    }
    assert model.backbone.stages.xif0_0.bn.eps == 1e-3
    assert model.backbone.dropout.p == 0.1
    with pytest.raises(ModelError, match="colour"):
        create_model("fbnet_c", colour=1)


def test_architectures_are_values():
    assert Architecture(("ir_k3_c8",)).replace(width=2.0) == Architecture(("ir_k3_c8",), width=2.0)
    assert hash(get_architecture("mixnet_s")) == hash(get_architecture("mixnet_s"))
