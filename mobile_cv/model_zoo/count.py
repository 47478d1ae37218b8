"""Parameters and multiply-adds of a network, by the rules of the tables in which they were published.

The counts are taken from the built network, run once on the meta device (no memory, no arithmetic).
"""

import functools
from dataclasses import dataclass

import torch
from torch import nn

from caffe2_common.sizes import pair_of
from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.layers import FBNetSqueezeExcite, MixedConv2d, SqueezeExcite
from mobile_cv.model_zoo.networks import build


@dataclass
class Counts:
    """What one image costs: numbers of operations and of values."""

    conv_macs: int = 0
    linear_macs: int = 0
    linear_adds: int = 0  # of its biases
    pool_inputs: int = 0  # elements that go into adaptive average pools
    elementwise: int = 0  # additions, multiplications and divisions of activations, gates and residuals
    mixed_norm: int = 0  # elements of BNs after mixed convs, which cannot be folded into one conv
    weights: int = 0  # of convs and linear layers, without biases
    parameters: int = 0  # all that is trained

    @property
    def macs(self) -> int:
        return self.conv_macs + self.linear_macs


# Elementwise operations per element of the activations, as ONNX spelled them out when the tables were made.
_ACTIVATION_COST = {nn.SiLU: 1, nn.Hardswish: 3, nn.Hardsigmoid: 2}

# rule -> (parameters, multiply-adds) of some Counts
RULES = {
    # mobile-vision's PyTorch tables: no biases, no BN; every input of an adaptive average pool counts one
    "mobile_cv": lambda c: (c.weights, c.macs + c.pool_inputs),
    # mobile-vision's Caffe2 and FBNetV2 tables: the same without pools
    "macs": lambda c: (c.weights, c.macs),
    # gen-efficientnet-pytorch: half of what Caffe2 counted as FLOPs after folding the BN
    "geffnet": lambda c: (
        c.parameters,
        (2 * c.macs + c.linear_adds + c.elementwise + 4 * c.mixed_norm) / 2,
    ),
}


@functools.cache
def count(architecture: Architecture) -> Counts:
    """The counts of a network for one image of its own size."""
    with torch.device("meta"):
        model = build(architecture).eval()
        image = torch.empty(1, 3, *pair_of(architecture.size))
    counts = Counts(parameters=sum(parameter.numel() for parameter in model.parameters()))
    previous: list[nn.Module] = [model]

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.weights += module.weight.numel()
            counts.conv_macs += output[0, 0].numel() * module.weight.numel()
        elif isinstance(module, nn.Linear):
            counts.weights += module.weight.numel()
            counts.linear_macs += module.weight.numel()
            counts.linear_adds += module.out_features
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            counts.pool_inputs += inputs[0].numel()
        elif isinstance(module, nn.BatchNorm2d) and isinstance(previous[0], MixedConv2d):
            counts.mixed_norm += output.numel()
        elif isinstance(module, SqueezeExcite | FBNetSqueezeExcite) or getattr(module, "residual", False):
            counts.elementwise += output.numel()
        counts.elementwise += _ACTIVATION_COST.get(type(module), 0) * output.numel()
        previous[0] = module

    for module in model.modules():
        module.register_forward_hook(add)
    with torch.no_grad():
        model(image)
    return counts


def rule_of(architecture: Architecture) -> str:
    """The counting rule of the family, for models that stand in no table."""
    return {"mobilenet": "geffnet", "fbnet": "mobile_cv", "fbnet_v1": "macs"}[architecture.layout]
