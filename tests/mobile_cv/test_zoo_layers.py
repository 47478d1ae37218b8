"""SAME padding, mixed convs, channel shuffle: what they compute, and what their exports look like."""

import io

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from caffe2_models.runtimes.onnx_runtime import open_session
from mobile_cv.model_zoo import create_model
from mobile_cv.model_zoo.layers import ChannelShuffle, SameConv2d, conv2d, with_fixed_padding

SHAPE_CODE = {"Shape", "Gather", "ConstantOfShape", "Slice", "Range", "Expand", "Where", "If", "Loop"}


def same_by_definition(x: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:
    """TensorFlow's documented rule: ceil(size / stride) outputs, the odd element of padding at the end."""
    padding = []
    for size, kernel, stride in zip(x.shape[:1:-1], conv.kernel_size, conv.stride, strict=True):
        total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
        padding += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, padding), conv.weight, conv.bias, conv.stride, groups=conv.groups)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.sampled_from([3, 5, 7, 9, 11]),
    stride=st.integers(1, 4),
)
def test_same_padding_is_tensorflows(size, kernel, stride):
    conv = SameConv2d(2, 3, kernel, stride)
    x = torch.randn(1, 2, *size)
    y = conv(x)
    assert y.shape[2:] == tuple(-(-length // stride) for length in size)
    torch.testing.assert_close(y, same_by_definition(x, conv))


def test_mixed_convs_split_the_channels_with_the_rest_first():
    conv = conv2d(11, 11, (3, 5, 7), depthwise=True)
    x = torch.randn(1, 11, 9, 9)
    parts = zip(x.split([5, 3, 3], dim=1), conv.values(), strict=True)
    expected = torch.cat(
        [F.conv2d(x, c.weight, padding=c.kernel_size[0] // 2, groups=x.shape[1]) for x, c in parts], dim=1
    )
    torch.testing.assert_close(conv(x), expected)
    assert [tuple(c.weight.shape) for c in conv.values()] == [(5, 1, 3, 3), (3, 1, 5, 5), (3, 1, 7, 7)]


def test_channel_shuffle_interleaves_the_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1).expand(2, 6, 3, 2)
    assert ChannelShuffle(2)(x)[0, :, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("size", [64, 65])
@pytest.mark.parametrize("name", ["tf_mobilenetv2_035", "tf_mixnet_s"])
def test_fixed_padding_changes_nothing(name, size):
    model = create_model(name).eval()
    x = torch.randn(2, 3, size, size)
    fixed = with_fixed_padding(model, x[:1])
    with torch.inference_mode():
        assert torch.equal(fixed(x), model(x))
    assert not any(isinstance(module, SameConv2d) for module in fixed.modules())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("name, size", [("tf_mobilenetv2_035", 65), ("tf_mixnet_s", 64)])
def test_exported_same_padding_is_constant(name, size, opset):
    model = create_model(name).eval()
    x = torch.randn(1, 3, size, size)
    buffer = io.BytesIO()
    torch.onnx.export(model, (x,), buffer, dynamo=False, opset_version=opset, input_names=["data"])
    exported = onnx.load_from_string(buffer.getvalue())
    assert not SHAPE_CODE & {node.op_type for node in exported.graph.node}
    session = open_session(buffer.getvalue())
    with torch.inference_mode():
        expected = model(x).numpy()
    (got,) = session.run(None, {"data": x.numpy()})
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
