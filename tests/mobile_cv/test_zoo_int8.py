"""int8 TorchScript: made of the zoo's models, written, read back, and as accurate as int8 can be."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import create_model, get_architecture, list_models
from mobile_cv.model_zoo.int8 import PUBLISHED, load_int8, quantize, save_int8

if "qnnpack" not in torch.backends.quantized.supported_engines:
    pytest.skip("this build of torch has no QNNPACK", allow_module_level=True)


def correlation(model: nn.Module, quantized: nn.Module, x: torch.Tensor) -> float:
    with torch.inference_mode():
        return float(np.corrcoef(model(x).ravel(), quantized(x).ravel())[0, 1])


@pytest.mark.parametrize(
    "name",
    ["fbnet_a_i8f", "mobilenetv2_035", "tf_mobilenetv1_025", "FBNetV2_F0", "tf_mixnet_s", "FBNet-96/int8"],
)
def test_int8_follows_float(name, tmp_path):
    torch.manual_seed(0)
    stages = get_architecture(name).stages[:3]  # all kinds of blocks that it has
    options = {"stages": stages, "zero_last_gamma": False, "softmax": False}
    model = create_model(name, img_size=64, **options).eval()
    x = torch.randn(4, 3, 64, 64)
    quantized = quantize(model, [x[:2], x[2:]])
    # Random weights, per-tensor scales: the ReLU6 that torch computes wrong gave 0.2 to 0.7 here.
    assert correlation(model, quantized, x) > 0.98
    path = tmp_path / "model.jpt"
    save_int8(quantized, path)
    loaded = load_int8(path)
    with torch.inference_mode():
        assert torch.equal(loaded(x), quantized(x))
    assert loaded.default_cfg["size"] == 64
    assert loaded.param_count == sum(parameter.numel() for parameter in model.parameters())
    assert path.stat().st_size < 1.6 * loaded.param_count + 300_000
    assert os.listdir(tmp_path) == ["model.jpt"]


def test_a_relu6_that_cannot_be_fused_is_refused():
    model = create_model("mixnet_s", act="relu6", stages=("ir_k3.5_c16",)).eval()
    with pytest.raises(ModelError, match="ReLU6"):
        quantize(model, [torch.randn(1, 3, 64, 64)])


def test_what_cannot_be_calibrated_is_one_line():
    with pytest.raises(ModelError, match="no images"):
        quantize(create_model("fbnet_96"), [])
    # mobile_cv's models start with branches of zeros: nothing that QNNPACK could add
    with pytest.raises(ModelError, match="fbnet_c_i8f: QNNPACK cannot run it"):
        quantize(create_model("fbnet_c_i8f"), [torch.randn(1, 3, 64, 64)])


def test_the_published_files_are_known():
    assert set(PUBLISHED.values()) <= set(list_models())
    assert sorted(PUBLISHED) == [f"fbnet_{letter}_i8f_int8_jit" for letter in "abc"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"])
def test_what_is_no_torchscript_is_one_line(tmp_path, content):
    path = tmp_path / "model.jpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=str(path)) as error:
        load_int8(path)
    assert "\n" not in str(error.value)
