"""FBNets for CIFAR-10, searched and trained by AnnaAraslanova/FBNet, under the names of its checkpoints.

All have the channels and strides of the paper's search space; a definition is its 22 operators. The
published code pools 7x7 and so stops at 32x32 images; these pool what is there.
"""

from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.registry import register

CHANNELS = (16, *[24] * 4, *[32] * 4, *[64] * 4, *[112] * 4, *[184] * 4, 352)
STRIDES = (1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


def cifar10(operators: str) -> Architecture:
    """The network of 22 operators: skip or the kernel, expansion and groups of an inverted residual."""
    blocks = zip(operators.split(), CHANNELS, STRIDES, strict=True)
    return Architecture(
        stem="cn_k3_s2_c16",
        stages=tuple(
            f"skip_c{channels}_s{stride}" if operator == "skip" else f"ir_{operator}_c{channels}_s{stride}"
            for operator, channels, stride in blocks
        ),
        head="cv_k1_c1504",
        layout="fbnet_v1",
        num_classes=10,
        depthwise_bn=False,
        depthwise_act=False,
        drop_rate=0.2,
        size=32,
        interpolation="bilinear",
        crop_pct=1.0,
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.2023, 0.1994, 0.2010),
    )


MODELS = {
    "fbnet_a_cifar10": cifar10(
        "skip k3_e3 k3_e1 skip skip k5_e6 k3_e3 k5_e1 k3_e3 k5_e6 k5_e3 k5_e1_g2 k5_e6 k3_e6 k5_e1_g2 "
        "k5_e1 k3_e1_g2 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6"
    ),
    "fbnet_b_cifar10": cifar10(
        "k3_e1 k3_e6 k5_e1 k3_e1 k3_e1 k5_e6 k5_e3 k3_e6 k5_e6 k5_e6 k5_e1 skip k5_e3 k5_e6 k3_e1 k5_e1 "
        "k5_e3 k5_e6 k5_e1 k5_e6 k5_e6 k3_e6"
    ),
    "fbnet_c_cifar10": cifar10(
        "k3_e1 k3_e6 skip k3_e1 k3_e1 k5_e6 k5_e3 k5_e6 k3_e6 k5_e6 k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k5_e6 "
        "k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k3_e6"
    ),
    "fbnet_96_035_1": cifar10(
        "k3_e1 k3_e6 k3_e6 skip skip k5_e6 k5_e6 skip skip k5_e6 skip skip skip k3_e6 skip skip skip "
        "k5_e6 k5_e6 skip skip k5_e6"
    ),
    "fbnet_samsung_s8": cifar10(
        "k3_e1 k3_e3 k3_e1 skip skip k5_e6 k3_e3 k3_e3 k3_e6 k5_e6 k5_e3 k5_e3 k5_e3 k3_e6 k5_e3 k5_e3 "
        "k5_e3 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6"
    ),
    "fbnet_iphonex": cifar10(
        "skip k3_e6 k3_e1 k3_e1 k3_e1 k3_e6 k3_e6 k3_e6 k3_e6 k3_e6 k3_e6 k3_e3 k3_e6 k3_e6 k3_e3 k3_e3 "
        "k3_e3 k5_e6 k5_e6 k5_e6 k5_e3 k5_e6"
    ),
    "fbnet_cpu_sample1": cifar10(
        "k5_e6 k3_e6 k5_e6 k5_e6 k5_e6 k3_e6 k5_e6 k5_e3 skip k5_e6 k3_e6 skip skip k5_e6 k5_e6 skip skip "
        "k5_e6 skip skip skip skip"
    ),
    "fbnet_cpu_sample2": cifar10(
        "k5_e6 k3_e6 k3_e6 k5_e6 k5_e6 k5_e6 k5_e6 skip skip k3_e6 k5_e6 skip skip k5_e6 skip skip skip "
        "k5_e6 skip skip skip skip"
    ),
}

register(MODELS)
