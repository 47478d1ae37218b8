"""Networks: one module per layout, and build(), which makes the one that an Architecture asks for.

Every network maps (N, in_chans, H, W) float32 to (N, num_classes): logits, or probabilities where the
architecture has softmax and the network is in eval mode.
"""

import math
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.blocks import Blocks, FBNetBlocks, MobileNetBlocks
from mobile_cv.model_zoo.layers import Residual, conv2d


class MobileNet(nn.Module):
    """Stem, stages, head conv, pool, linear classifier, under the names of geffnet and timm."""

    def __init__(self, architecture: Architecture, in_chans: int = 3):
        super().__init__()
        blocks = MobileNetBlocks(architecture)
        stem = architecture.stem_block()
        self.conv_stem = blocks.conv(in_chans, stem.channels, stem.kernel, stem.stride)
        self.bn1 = blocks.norm(stem.channels)
        self.act1 = blocks.act(stem)
        channels, stages = stem.channels, []
        for stage in architecture.stage_blocks():
            modules = []
            for block in stage:
                modules.append(blocks(block, channels))
                channels = block.channels
            stages.append(nn.Sequential(*modules))
        self.blocks = nn.Sequential(*stages)
        head = architecture.head_block()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.tail: tuple[str, ...] = ("global_pool",)
        if head is not None:
            self.conv_head = conv2d(channels, head.channels, head.kernel, bias=architecture.head_bias)
            self.tail = ("global_pool", "conv_head", "act2")
            if not architecture.pool_first:
                self.bn2 = blocks.norm(head.channels)
                self.tail = ("conv_head", "bn2", "act2", "global_pool")
            self.act2 = blocks.act(head)
            channels = head.channels
        self.dropout = nn.Dropout(architecture.drop_rate)
        self.classifier = nn.Linear(channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
        for name in self.tail:
            x = getattr(self, name)(x)
        return self.classifier(self.dropout(x.flatten(1)))


def _named_stages(architecture: Architecture, blocks: Blocks, channels: int, first: int):
    """The blocks by name, xif{stage}_{index} with stages counted from first, and the channels they give."""
    modules = OrderedDict()
    for number, stage in enumerate(architecture.stage_blocks(), first):
        for index, block in enumerate(stage):
            modules[f"xif{number}_{index}"] = blocks(block, channels)
            channels = block.channels
    return modules, channels


class FBNetBackbone(nn.Module):
    """Stem, stages and last block of mobile_cv's FBNet: xif0_0, xif1_0 ..."""

    def __init__(self, architecture: Architecture, in_chans: int):
        super().__init__()
        blocks = FBNetBlocks(architecture)
        stem, head = architecture.stem_block(), architecture.head_block()
        modules, channels = _named_stages(architecture, blocks, stem.channels, first=1)
        stages = OrderedDict(xif0_0=blocks(stem, in_chans), **modules)
        if head is not None:
            stages[f"xif{len(architecture.stages) + 1}_0"] = blocks(head, channels)
            channels = head.channels
        self.stages = nn.Sequential(stages)
        self.dropout = nn.Dropout(architecture.drop_rate)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.stages(x))


class ConvHead(nn.Module):
    """Global average pool and a 1x1 conv with bias as classifier."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.avg_pool(x)).flatten(1)


class FBNet(nn.Module):
    """mobile_cv's FBNet and FBNetV2."""

    def __init__(self, architecture: Architecture, in_chans: int = 3):
        super().__init__()
        self.backbone = FBNetBackbone(architecture, in_chans)
        self.head = ConvHead(self.backbone.out_channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class FBNetV1(nn.Module):
    """The networks of the first FBNet builder: first, stages, last_stages."""

    def __init__(self, architecture: Architecture, in_chans: int = 3):
        super().__init__()
        blocks = FBNetBlocks(architecture)
        stem, head = architecture.stem_block(), architecture.head_block()
        self.first = blocks(stem, in_chans)
        modules, channels = _named_stages(architecture, blocks, stem.channels, first=0)
        self.stages = nn.Sequential(modules)
        last = OrderedDict(dropout=nn.Dropout(architecture.drop_rate), avg_pool=nn.AdaptiveAvgPool2d(1))
        last["flatten"] = nn.Flatten()
        if head is not None:
            last = OrderedDict(conv_k1=blocks(head, channels), **last)
            channels = head.channels
        last["fc"] = nn.Linear(channels, architecture.num_classes)
        self.last_stages = nn.Sequential(last)
        self.softmax = nn.Softmax(dim=1) if architecture.softmax else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.last_stages(self.stages(self.first(x)))
        return x if self.training else self.softmax(x)


LAYOUTS = {"mobilenet": MobileNet, "fbnet": FBNet, "fbnet_v1": FBNetV1}


def build(architecture: Architecture, in_chans: int = 3, drop_connect_rate: float = 0.0) -> nn.Module:
    """The network, freshly initialized, in training mode.

    It carries its architecture and default_cfg, the preprocessing as a plain dict. drop_connect_rate is the
    stochastic depth of the last residual block; the others' grows linearly up to it.
    """
    if architecture.layout not in LAYOUTS:
        raise ModelError(f"unknown layout {architecture.layout!r}; there are {', '.join(LAYOUTS)}")
    model: Any = LAYOUTS[architecture.layout](architecture, in_chans)
    model.architecture = architecture
    model.default_cfg = architecture.preprocessing
    residuals = [module for module in model.modules() if isinstance(module, Residual)]
    for index, module in enumerate(residuals):
        module.drop_rate = drop_connect_rate * index / len(residuals)
    _initialize(model, architecture)
    return model


def _initialize(model: nn.Module, architecture: Architecture) -> None:
    """Convs normal with std sqrt(2 / fan_out), linear layers uniform, biases 0, BN 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            bound = 1.0 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    if architecture.zero_last_gamma:
        for module in model.modules():
            if isinstance(module, Residual) and module.residual:
                norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
                nn.init.zeros_(norms[-1].weight)
