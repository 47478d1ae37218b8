"""Blocks as modules: MobileNetBlocks under the names of geffnet and timm, FBNetBlocks under mobile_cv's.

Each is called with a decoded block and the channels it gets, and returns the module.
"""

from collections import OrderedDict
from typing import Any

from torch import nn

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo.architecture import Architecture, Block, divisible
from mobile_cv.model_zoo.layers import (
    ChannelShuffle,
    FBNetSqueezeExcite,
    Residual,
    SqueezeExcite,
    activation,
    conv2d,
)


class Blocks:
    """What the two share: the family's rules for widths, padding, normalization and activation."""

    squeeze_excite: type[nn.Module]

    def __init__(self, architecture: Architecture):
        self.architecture = architecture

    def __call__(self, block: Block, channels: int) -> nn.Module:
        """The module of a block that gets so many channels; raises ModelError where it cannot be built."""
        build = getattr(self, f"_{block.kind}", None)
        if build is None:
            raise ModelError(f"layout {self.architecture.layout!r} has no block of kind {block.kind!r}")
        for name, width in (("input", channels), ("output", block.channels)):
            if width % block.groups:
                raise ModelError(f"{width} {name} channels of a block do not make {block.groups} groups")
        return build(block, channels)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, self.architecture.bn_eps, self.architecture.bn_momentum)

    def act(self, block: Block) -> nn.Module:
        return activation(block.act or self.architecture.act)

    def conv(self, in_channels: int, out_channels: int, *args: Any, **kwargs: Any) -> nn.Module:
        kwargs["same"] = self.architecture.same_padding
        return conv2d(in_channels, out_channels, *args, **kwargs)

    def middle(self, block: Block, channels: int) -> int:
        """Channels between the two 1x1 convs."""
        arch = self.architecture
        return divisible((block.fake_in or channels) * block.expansion, arch.divisor, arch.width_floor)

    def squeeze(self, block: Block, channels: int, middle: int) -> dict[str, nn.Module]:
        """The block's squeeze-and-excitation on the middle channels, if it has one."""
        arch = self.architecture
        if not block.se:
            return {}
        squeezed = int((middle if arch.se_of_expanded else channels) * block.se)
        squeezed = divisible(squeezed, arch.se_divisor, arch.width_floor)
        act = arch.se_act or block.act or arch.act
        return {"se": self.squeeze_excite(middle, squeezed, act, arch.se_gate)}

    @staticmethod
    def joined(parts: dict[str, nn.Module], block: Block, channels: int) -> Residual:
        """The parts in order, with the input added where block, stride and channels allow it."""
        module = Residual(OrderedDict(parts))
        module.residual = block.residual and block.stride == 1 and block.channels == channels
        return module


class MobileNetBlocks(Blocks):
    """The blocks of the EfficientNet and MobileNet families; convs have no bias."""

    squeeze_excite = SqueezeExcite

    def _cn(self, block: Block, channels: int) -> nn.Module:
        conv = self.conv(channels, block.channels, block.kernel, block.stride)
        return nn.Sequential(OrderedDict(conv=conv, bn1=self.norm(block.channels), act1=self.act(block)))

    def _ds(self, block: Block, channels: int) -> Residual:
        parts = {
            "conv_dw": self.conv(channels, channels, block.kernel, block.stride, depthwise=True),
            "bn1": self.norm(channels),
            "act1": self.act(block),
            **self.squeeze(block, channels, channels),
            "conv_pw": self.conv(channels, block.channels, block.project_kernel),
            "bn2": self.norm(block.channels),
        }
        return self.joined(parts, block, channels)

    def _dsa(self, block: Block, channels: int) -> Residual:
        module = self._ds(block, channels)
        module.add_module("act2", self.act(block))
        module.residual = False
        return module

    def _ir(self, block: Block, channels: int) -> Residual:
        middle = self.middle(block, channels)
        parts = {
            "conv_pw": self.conv(channels, middle, block.expand_kernel),
            "bn1": self.norm(middle),
            "act1": self.act(block),
            "conv_dw": self.conv(middle, middle, block.kernel, block.stride, depthwise=True),
            "bn2": self.norm(middle),
            "act2": self.act(block),
            **self.squeeze(block, channels, middle),
            "conv_pwl": self.conv(middle, block.channels, block.project_kernel),
            "bn3": self.norm(block.channels),
        }
        return self.joined(parts, block, channels)

    def _er(self, block: Block, channels: int) -> Residual:
        middle = self.middle(block, channels)
        parts = {
            "conv_exp": self.conv(channels, middle, block.kernel),
            "bn1": self.norm(middle),
            "act1": self.act(block),
            **self.squeeze(block, channels, middle),
            "conv_pwl": self.conv(middle, block.channels, block.project_kernel, block.stride),
            "bn2": self.norm(block.channels),
        }
        return self.joined(parts, block, channels)


class FBNetBlocks(Blocks):
    """The blocks of the FBNet families, made of units of a conv, its BN and its activation."""

    squeeze_excite = FBNetSqueezeExcite

    def unit(
        self,
        in_channels: int,
        out_channels: int,
        *args,
        bias: bool,
        norm: bool = True,
        act: nn.Module | None = None,
        **kwargs,
    ) -> nn.Sequential:
        parts = {"conv": self.conv(in_channels, out_channels, *args, bias=bias, **kwargs)}
        if norm:
            parts["bn"] = self.norm(out_channels)
        if act is not None:
            parts["act"] = act
        return nn.Sequential(OrderedDict(parts))

    def _cn(self, block: Block, channels: int) -> nn.Module:
        bias = self.architecture.bias != "none"
        act = self.act(block)
        return self.unit(channels, block.channels, block.kernel, block.stride, bias=bias, act=act)

    def _cv(self, block: Block, channels: int) -> nn.Module:
        return self.conv(channels, block.channels, block.kernel, block.stride, bias=True)

    def _skip(self, block: Block, channels: int) -> nn.Module:
        if block.channels == channels and block.stride == 1:
            return nn.Identity()
        conv = self.unit(channels, block.channels, 1, block.stride, bias=False, act=nn.ReLU(inplace=True))
        conv.bn.momentum = 0.1  # whatever the family's
        return nn.Sequential(OrderedDict(conv=conv))

    def _ir(self, block: Block, channels: int) -> Residual:
        arch, middle = self.architecture, self.middle(block, channels)
        bias = arch.bias == "all"
        parts: dict[str, nn.Module] = {}
        if arch.always_expand or middle != channels:
            parts["pw"] = self.unit(channels, middle, 1, groups=block.groups, bias=bias, act=self.act(block))
        if block.groups > 1:
            parts["shuffle"] = ChannelShuffle(block.groups)
        if block.stride < 0:
            parts["upsample"] = nn.Upsample(scale_factor=-block.stride, mode="nearest")
        parts["dw"] = self._depthwise(block, middle, bias)
        parts |= self.squeeze(block, channels, middle)
        parts["pwl"] = self.unit(middle, block.channels, 1, groups=block.groups, bias=bias)
        return self.joined(parts, block, channels)

    def _depthwise(self, block: Block, middle: int, bias: bool) -> nn.Sequential:
        """One depthwise unit, or two in a row, of which the first has the stride."""
        arch, strides = self.architecture, [max(block.stride, 1), 1][: block.depthwise]
        units = [
            self.unit(
                middle,
                middle,
                block.kernel,
                stride,
                depthwise=True,
                bias=bias,
                norm=arch.depthwise_bn,
                act=self.act(block) if arch.depthwise_act else None,
            )
            for stride in strides
        ]
        return units[0] if len(units) == 1 else nn.Sequential(OrderedDict(dw1=units[0], dw2=units[1]))

    def _ip(self, block: Block, channels: int) -> nn.Module:
        middle, bias = self.middle(block, channels), self.architecture.bias == "all"
        parts = {
            "pw": self.unit(channels, middle, 1, bias=bias, act=self.act(block)),
            "pool": nn.AdaptiveAvgPool2d(1),
            **self.squeeze(block, channels, middle),
            "pwl": self.unit(middle, block.channels, 1, bias=bias, norm=False, act=self.act(block)),
        }
        return nn.Sequential(OrderedDict(parts))
