"""Every model of the zoo against the implementations and the tables that it comes from."""

import importlib.util
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from caffe2_common.errors import ModelError
from caffe2_common.published import agrees, published_table
from mobile_cv.model_zoo import create_model, get_architecture, list_models
from mobile_cv.model_zoo.count import RULES, count
from mobile_cv.model_zoo.layers import ChannelShuffle
from mobile_cv.model_zoo.models.caffe2 import NETWORKS
from mobile_cv.model_zoo.models.fbnet import fbnetv2
from mobile_cv.model_zoo.models.fbnet_v2 import fbnet
from mobile_cv.model_zoo.registry import canonical_name


@pytest.fixture(scope="module")
def facts(shared):
    def read(name: str):
        return json.loads((shared / "facts" / name).read_text())

    return read


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options).eval()


# --- names, keys, outputs


def test_state_dicts_have_the_names_and_shapes_of_their_origins_in_order(facts):
    keys = facts("state_dict_keys.json")
    del keys["_meta"]
    assert len(keys) == 35
    for name, expected in keys.items():
        have = [[key, list(value.shape)] for key, value in on_meta(name).state_dict().items()]
        assert have == expected, name


@pytest.fixture(scope="module")
def reference(shared):
    """The check's own fill() and image(), and the reference outputs."""
    spec = importlib.util.spec_from_file_location("zoo_check", shared / "checks" / "zoo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, np.load(shared / "golden" / "zoo.npz")


def test_outputs_equal_the_reference_implementations(reference):
    check, cases = reference
    for name, info in json.loads(str(cases["meta"])).items():
        model = create_model(name).eval()
        state = {key: torch.from_numpy(np.asarray(check.fill(key, shape))) for key, shape in info["keys"]}
        model.load_state_dict(state)
        with torch.inference_mode():
            got = model(torch.from_numpy(check.image(info["size"]))).numpy()
        expected = cases["out:" + name]
        # Sums of a few thousand float32 products in another order; the check itself allows 1e-3.
        assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max(), name


def test_every_model_maps_images_to_classes():
    counted = {line.model for line in published_table()}  # these run in the tests of the counts
    for name in {canonical_name(name) for name in list_models()} - counted:
        model = on_meta(name)
        size = 64 if model.default_cfg["size"] > 64 else 32
        output = model(torch.empty(2, 3, size, size, device="meta"))
        assert output.shape == (2, model.architecture.num_classes), name


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_100", "fbnet_a", "FBNet-A/int8"])
def test_classes_and_channels_can_be_chosen(name):
    model = create_model(name, num_classes=7, in_chans=1).eval()
    with torch.inference_mode():
        assert model(torch.zeros(3, 1, 64, 64)).shape == (3, 7)


# --- architectures, block by block


def test_geffnet_architectures_block_by_block(facts):
    archs = facts("archs.json")
    checked = 0
    for family in ("geffnet_seed_2019_07_29", "geffnet_head"):
        for name, expected in archs[family].items():
            if name == "_source":
                continue
            model, architecture = on_meta(name), get_architecture(name)
            assert architecture.size == expected["resolution"], name
            assert architecture.same_padding == (expected["padding"] == "same"), name
            # Those that were trained with TensorFlow's eps keep it here without pretrained=True too.
            tensorflow_eps = name in ("mobilenetv3_100", "mobilenetv3_rw", "fbnetc_100")
            eps = 1e-3 if tensorflow_eps else expected["bn"][0]["eps"]
            assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {eps}, name
            assert model.conv_stem.out_channels == expected["stem"]["out"], name
            assert model.classifier.in_features == expected["classifier"]["in"], name
            blocks = [module for stage in model.blocks for module in stage]
            assert len(blocks) == len(expected["blocks"]), name
            for module, block in zip(blocks, expected["blocks"], strict=True):
                _check_block(module, block, f"{name} {block['stage']}.{block['index']}")
            checked += 1
    assert checked == 103


def _check_block(module: nn.Module, block: dict, where: str) -> None:
    assert getattr(module, "residual", False) == bool(block.get("residual")), where
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms[-1].num_features == block["out"], where
    if "mid" in block:
        assert norms[0].num_features == block["mid"], where
    if block.get("se"):
        assert module.se.conv_reduce.out_channels == block["se"]["mid"], where
    else:
        assert not hasattr(module, "se"), where
    kernels = block["kernel"] if isinstance(block["kernel"], list) else [block["kernel"]]
    convs = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    depthwise = [conv for conv in convs if conv.groups > 1] or convs[:1]
    assert [conv.kernel_size[0] for conv in depthwise] == kernels, where
    assert {conv.stride[0] for conv in convs} <= {1, block["stride"]}, where


def test_mobile_cv_architectures_block_by_block(facts):
    archs = facts("archs.json")
    names = {"mobile_cv_2020": None, "mobile_cv_head": re.compile("FBNetV2_.*")}
    checked = 0
    for family, wanted in names.items():
        for name, expected in archs[family].items():
            if name == "_source" or (wanted and not wanted.fullmatch(name)):
                continue
            model = on_meta(name)
            # F0's resolution is not the table's; every other model's is.
            assert get_architecture(name).size == expected["resolution"], name
            for block in expected["blocks"]:
                module = model.backbone.stages.get_submodule(block["name"])
                where = f"{name} {block['name']}"
                if block["kind"] == "ir":
                    assert hasattr(module, "pw") == block["pw_conv"], where
                    assert module.dw.conv.out_channels == block["mid"], where
                    assert module.dw.conv.kernel_size[0] == block["kernel"], where
                    assert module.pwl.conv.groups == block["pwl_groups"], where
                    assert hasattr(module, "shuffle") == bool(block["shuffle"]), where
                    assert module.residual == block["residual"], where
                    squeezed = module.se.se[1].in_channels if hasattr(module, "se") else None
                    assert squeezed == (block["se"] or {}).get("mid"), where
            assert model.head.conv.in_channels == expected["head"]["in"], name
            checked += 1
    assert checked == 24


# --- the published Caffe2 graphs

CAFFE2_TYPES = {
    nn.Conv2d: "Conv",
    nn.ReLU: "Relu",
    ChannelShuffle: "ChannelShuffle",
    nn.AdaptiveAvgPool2d: "AveragePool",
    nn.Linear: "FC",
    nn.Softmax: "Softmax",
}


def operators_of(model: nn.Module) -> list[tuple]:
    """(type, output shape, conv's kernel, stride, group) of what runs, in order; BN is folded: left out."""
    operators = []

    def note(module, inputs, output):
        kind = "Sum" if getattr(module, "residual", False) else CAFFE2_TYPES.get(type(module))
        if kind is not None:
            conv = (module.kernel_size[0], module.stride[0], module.groups) if kind == "Conv" else ()
            operators.append((kind, list(output.shape), *conv))

    for module in model.modules():
        module.register_forward_hook(note)
    size = model.default_cfg["size"]
    model(torch.empty(1, 3, size, size, device="meta"))
    return operators


def published_operators(ops: list[dict]) -> list[tuple]:
    """The same of a published graph without what quantization adds; Int8ConvRelu is a conv and a Relu."""
    operators = []
    for op in ops:
        kind = op["t"].removeprefix("Int8")
        if kind in ("NCHW2NHWC", "Quantize", "Dequantize"):
            continue
        batch, *rest = op["out"]
        shape = [batch, *rest]
        if op["t"].startswith("Int8") and len(shape) == 4:  # NHWC
            shape = [shape[0], shape[3], shape[1], shape[2]]
        args = op["args"]
        if kind in ("Conv", "ConvRelu"):
            operators.append(("Conv", shape, args["kernel"], args["stride"], args.get("group", 1)))
            if kind == "ConvRelu":
                operators.append(("Relu", shape))
        else:
            operators.append((kind, shape))
    return operators


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_caffe2_networks_are_the_published_graphs(facts, name, variant):
    published = facts("nas_facts.json")["models"][name][f"ops_{variant}"]
    assert operators_of(on_meta(f"{name}/{variant}")) == published_operators(published)


def test_caffe2_networks_want_bgr_and_give_probabilities():
    model = create_model("FBNet-96/fp32")
    assert model.default_cfg["channel_order"] == "BGR"
    assert model.default_cfg["mean"] == (0.406, 0.456, 0.485)
    image = torch.zeros(1, 3, 96, 96)
    with torch.inference_mode():
        assert model.eval()(image).sum().item() == pytest.approx(1.0, abs=1e-5)


# --- the published tables

DISAGREE = {  # what the table prints is not what its own rule gives
    ("dmasking_l2_hs", "params_m"),  # 8.49 printed as 8.4
    ("dmasking_l3", "madds_m"),  # 753.16 printed as 753.1
    ("FBNetV2_L2", "madds_m"),  # 422.6 printed as 422
    ("FBNetV2_F3", "madds_m"),  # the paper's F3 is another network
}


def test_counts_agree_with_every_published_figure():
    disagree = set()
    for line in published_table():
        if line.model:
            counted = RULES[line.rule](count(get_architecture(line.model)))
            for column, value in zip(("params_m", "madds_m"), counted, strict=True):
                printed = getattr(line, column)
                if printed and not agrees(printed, value / 1e6):
                    disagree.add((line.model, column))
    assert disagree == DISAGREE


def test_the_published_tables_are_complete(facts):
    ours = {(line.name, line.preprocessing.tf_preprocessing, line.top1) for line in published_table()}
    for row in facts("models.json"):
        if row["table"].startswith("listed"):  # in no table
            continue
        if row["accuracy_fp32"] is not None:
            for variant in ("fp32", "int8"):
                assert (f"{row['name']}/{variant}", False, row[f"accuracy_{variant}"]) in ours
        else:
            tf_preprocessing = bool(row.get("tf_preprocessing"))
            assert (row["name"].removesuffix(" *tfp"), tf_preprocessing, row["top1_table"]) in ours


def test_counts_are_exactly_those_of_the_facts(facts):
    cifar10 = {"fbnet_a", "fbnet_b", "fbnet_c"}
    for row in facts("models.json"):
        if not row["has_public_definition"]:
            continue
        name, family = row["definition"]["key"], row["family"]
        if family == "fbnet_cifar10":
            name = f"{name}_cifar10" if name in cifar10 else name
            assert count(get_architecture(name)).parameters == round(row["params_m_computed"] * 1e6), name
            continue
        rule = "mobile_cv" if row["source"].startswith("000") else "geffnet"
        if family in ("chamnet", "fbnet_caffe2") or row["table"].startswith("FLOP"):
            rule = "macs"
        if family in ("chamnet", "fbnet_caffe2"):
            name += "/fp32"
        params, madds = RULES[rule](count(get_architecture(name)))
        expected = row["params_m_computed_table_rule"] or row["params_m_computed"]
        assert params == pytest.approx(expected * 1e6, abs=0.5), name
        assert madds == pytest.approx(row["madds_m_computed_table_rule"] * 1e6, abs=0.6), name


def test_preprocessing_is_that_of_the_tables(facts):
    for row in facts("models.json"):
        if not row["has_public_definition"] or row.get("tf_preprocessing") or row["interpolation"] is None:
            continue
        architecture = get_architecture(row["definition"]["key"])
        if row["name"] != "efficientnet_b1" and "efficientnet_b1" in row["name"]:
            assert int(240 / architecture.crop_pct) == int(240 / row["crop_pct"])  # 0.880 and 0.882 are one
        elif row["name"] in ("dmasking_l1", "dmasking_l2"):
            # Those rows give the crop of earlier weights, of other sizes; now it is 256 and 287.
            assert int(architecture.size / architecture.crop_pct) in (256, 287)
        else:
            assert architecture.crop_pct == pytest.approx(row["crop_pct"], abs=5e-5), row["name"]
        assert architecture.interpolation == row["interpolation"]
        assert [*architecture.mean], [*architecture.std] == (row["mean"], row["std"])


def test_resize_is_the_weights_files_own(facts):
    """floor(size / crop_pct) must be the integer that mobile_cv resizes to, not one less."""
    for entry in facts("weights.json")["mobile_cv"]:
        old = "20190903" in entry["model_path"] or "20200114" in entry["model_path"]
        if "resize" in entry and not old and not entry["name"].startswith(("FBNetV3", "eff")):
            architecture = get_architecture(entry["name"])
            assert int(architecture.size / architecture.crop_pct) == entry["resize"], entry["name"]


# --- names


def test_mobile_cv_import_paths():
    assert fbnet("dmasking_l3").architecture == get_architecture("dmasking_l3")
    assert fbnet("FBNet_c", num_classes=3).head.conv.out_channels == 3
    assert fbnetv2("dmasking_f1").architecture == get_architecture("FBNetV2_F1")
    assert fbnetv2("dmasking_l2").architecture == get_architecture("FBNetV2_L2")
    with pytest.raises(ModelError, match="create_model"):
        fbnet("efficientnet_b0")


@pytest.mark.parametrize("build", [create_model, fbnet, fbnetv2])
def test_models_that_were_never_published_say_so(build):
    with pytest.raises(ModelError, match="dmasking_p2: published as a figure only"):
        build("dmasking_p2")


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(ModelError, match=r"'efficientnet_b9'; did you mean .*efficientnet_b5"):
        create_model("efficientnet_b9")


def test_list_models_takes_wildcards():
    assert list_models("mnasnet_??0") == ["mnasnet_050", "mnasnet_100", "mnasnet_140"]
    assert "fbnet_a" in list_models(pretrained=True)
    assert "mobilenetv1_100" not in list_models(pretrained=True)
    assert list_models("efficientnet_b*") == [f"efficientnet_b{index}" for index in range(6)]


# --- training


def test_drop_connect_leaves_out_branches_and_scales_the_others():
    torch.manual_seed(0)
    model = create_model("mobilenetv2_100", drop_connect_rate=0.5)
    block = model.blocks[5][2]
    assert block.drop_rate == pytest.approx(0.5 * 15 / 17)
    block.train()
    for norm in (layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)):
        norm.eval()
    x = torch.randn(64, 160, 4, 4)
    branch = (block(x) - x).flatten(1)
    expected = (block.eval()(x) - x).flatten(1) / (1 - block.drop_rate)
    dropped = branch.abs().amax(1) == 0
    assert 0 < dropped.sum() < 64
    torch.testing.assert_close(branch[~dropped], expected[~dropped], rtol=1e-4, atol=1e-4)


def test_residual_branches_of_mobile_cv_start_at_zero():
    model = create_model("fbnet_c").eval()
    block = model.backbone.stages.xif5_1
    x = torch.randn(1, 184, 7, 7)
    assert torch.equal(block(x), x)
