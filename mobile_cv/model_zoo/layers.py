"""The layers that the blocks are made of. Tensors are float32, NCHW."""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.onnx import symbolic_helper

from caffe2_common.errors import ModelError

ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "swish": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
}


def activation(name: str) -> nn.Module:
    """The activation of that name; in place where torch can."""
    if name not in ACTIVATIONS:
        raise ModelError(f"unknown activation {name!r}; there are {', '.join(ACTIVATIONS)}")
    return nn.Sigmoid() if name == "sigmoid" else ACTIVATIONS[name](inplace=True)


class _ExportedPad(torch.autograd.Function):
    """F.pad by (left, right, top, bottom), which torch.onnx's older exporter writes with constant pads.

    Of F.pad itself it makes ten nodes that compute the constants.
    """

    @staticmethod
    def forward(ctx, x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        return F.pad(x, padding)

    @staticmethod
    def symbolic(graph, x, padding: tuple[int, int, int, int]):
        left, right, top, bottom = padding
        pads = [0, 0, top, left, 0, 0, bottom, right]
        if symbolic_helper.GLOBALS.export_onnx_opset_version < 11:
            return graph.op("Pad", x, pads_i=pads)
        return graph.op("Pad", x, graph.op("Constant", value_t=torch.tensor(pads)))


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow's SAME does it: the odd element after, not before.

    The padding follows from the input's size, which is a number at export: the exported graph has a fixed
    Pad before the convolution (or pads inside it), and no arithmetic on shapes.
    """

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.padding_of(x)
        if height % 2 == 0 and width % 2 == 0:
            padding = (height // 2, width // 2)
            return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        pad = _ExportedPad.apply if torch.onnx.is_in_onnx_export() else F.pad
        x = pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def padding_of(self, x: Tensor) -> list[int]:
        """Rows and columns to add to an input, both ends together."""
        padding = []
        for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            if torch.jit.is_tracing():
                size = int(size)  # else the trace would compute the padding from the shape each time
            padding.append(max((-(-size // stride) - 1) * stride + kernel - size, 0))
        return padding


def with_fixed_padding(model: nn.Module, image: Tensor) -> nn.Module:
    """A copy for images of one size, with a ZeroPad2d and a plain Conv2d for each SameConv2d.

    For tools that trace a network symbolically, where a size is no number.
    """
    model, padding = copy.deepcopy(model).eval(), {}

    def note(conv: nn.Module, inputs: tuple[Tensor]) -> None:
        height, width = conv.padding_of(inputs[0])
        padding[conv] = (width // 2, width - width // 2, height // 2, height - height // 2)

    same = {name: module for name, module in model.named_modules() if isinstance(module, SameConv2d)}
    hooks = [conv.register_forward_pre_hook(note) for conv in same.values()]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    for name, conv in same.items():
        shape = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride)
        plain = nn.Conv2d(*shape, groups=conv.groups, bias=conv.bias is not None)
        plain.load_state_dict(conv.state_dict())
        model.set_submodule(name, nn.Sequential(nn.ZeroPad2d(padding[conv]), plain.eval()))
    return model


class MixedConv2d(nn.ModuleDict):
    """Convolutions of different kernels, each on its share of the channels, concatenated in order.

    The channels are shared out evenly, what is left goes to the first.
    """

    def __init__(self, convs: list[nn.Module]):
        super().__init__({str(index): conv for index, conv in enumerate(convs)})
        self.splits = [conv.in_channels for conv in convs]

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.splits, dim=1)
        return torch.cat([conv(parts[index]) for index, conv in enumerate(self.values())], dim=1)


def _shares(channels: int, count: int) -> list[int]:
    shares = [channels // count] * count
    shares[0] += channels - sum(shares)
    return shares


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, ...] = 1,
    stride: int = 1,
    groups: int = 1,
    depthwise: bool = False,
    bias: bool = False,
    same: bool = False,
) -> nn.Module:
    """A convolution that keeps the size (at stride 1); several kernels make a MixedConv2d of them."""
    kernels = (kernel,) if isinstance(kernel, int) else kernel
    narrow = min(in_channels, out_channels)
    if narrow < len(kernels):
        raise ModelError(f"{narrow} channels cannot be shared by {len(kernels)} kernels")
    if len(kernels) > 1:
        shares = (_shares(channels, len(kernels)) for channels in (in_channels, out_channels))
        parts = zip(*shares, kernels, strict=True)
        return MixedConv2d([conv2d(a, b, k, stride, groups, depthwise, bias, same) for a, b, k in parts])
    (size,) = kernels
    # Where the stride is 1 SAME is the symmetric padding, for the odd kernels that there are.
    kind = SameConv2d if same and stride > 1 and size > 1 else nn.Conv2d
    groups = in_channels if depthwise else groups
    return kind(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=bias)


class SqueezeExcite(nn.Module):
    """x times a gate per channel, computed from the channels' means by two 1x1 convs with bias."""

    def __init__(self, channels: int, squeezed: int, act: str, gate: str):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = activation(act)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = activation(gate)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv_expand(self.act(self.conv_reduce(self.pool(x)))))


class FBNetSqueezeExcite(nn.Module):
    """SqueezeExcite under the names that mobile_cv gives its parts."""

    def __init__(self, channels: int, squeezed: int, act: str, gate: str):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        reduce = nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, squeezed, 1), act=activation(act)))
        self.se = nn.Sequential(reduce, nn.Conv2d(squeezed, channels, 1), activation(gate))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.se(self.pool(x))


class ChannelShuffle(nn.Module):
    """Channels of the groups interleaved: (N, g, C/g, H, W) -> (N, C/g, g, H, W)."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        x = x.reshape(-1, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(-1, channels, height, width)


class Residual(nn.Sequential):
    """Named layers in order; the input is added at the end where residual is set.

    drop_rate is the probability with which a sample's branch is left out in training (stochastic depth).
    """

    residual: bool = False
    drop_rate: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.residual:
            return y
        if self.training and self.drop_rate > 0:
            keep = 1 - self.drop_rate
            y = y * (torch.rand(len(y), 1, 1, 1, dtype=y.dtype, device=y.device) < keep) / keep
        return y + x
