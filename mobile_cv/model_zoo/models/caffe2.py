"""The twelve networks that Facebook published as Caffe2 nets in 2019, each in two variants.

"ChamNet-A/fp32" and "ChamNet-A/int8" differ, as most do, after the depthwise convs: for int8 Facebook left
out the BN and the ReLU there. With the other BN folded into the convs each is, operator by operator, the
published graph. Input: BGR.
"""

from mobile_cv.model_zoo.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from mobile_cv.model_zoo.registry import register

CAFFE2 = Architecture(
    stages=(),
    layout="fbnet_v1",
    divisor=1,
    softmax=True,
    interpolation="bilinear",
    mean=IMAGENET_MEAN[::-1],
    std=IMAGENET_STD[::-1],
    channel_order="BGR",
)

CHAMNET_A = CAFFE2.replace(
    stem="cn_k3_s2_c32",
    stages=(
        "ir_k3_e1_c24",
        "ir_k3_s2_e4_c40 ir_k3_e4_c40",
        "ir_k3_s2_e6_c48 ir_r2_k3_e6_c48",
        "ir_k3_s2_e4_c96 ir_r3_k3_e4_c96 ir_r3_k3_e4_c160",
        "ir_k3_s2_e4_c248 ir_r2_k3_e4_c248 ir_k3_e6_c480",
    ),
    head="cn_k1_c2016",
)
CHAMNET_B = CAFFE2.replace(
    stem="cn_k3_s2_c24",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e5_c40 ir_k3_e5_c40",
        "ir_k3_s2_e6_c40 ir_r2_k3_e6_c40",
        "ir_k3_s2_e6_c92 ir_r2_k3_e6_c92 ir_r3_k3_e6_c104",
        "ir_k3_s2_e5_c200 ir_r2_k3_e5_c200 ir_k3_e6_c384",
    ),
    head="cn_k1_c1984",
    size=192,
)
CHAMNET_C = CAFFE2.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e4_c24",
        "ir_k3_s2_e4_c32 ir_r2_k3_e4_c32",
        "ir_k3_s2_e5_c64 ir_k3_e5_c64 ir_r3_k3_e6_c96",
        "ir_k3_s2_e6_c160 ir_r2_k3_e6_c160 ir_k3_e4_c256",
    ),
    head="cn_k1_c1520",
)
CHAMNET_D = CAFFE2.replace(
    stem="cn_k3_s2_c8",
    stages=(
        "ir_k3_e1_c8",
        "ir_k3_s2_e6_c24",
        "ir_k3_s2_e4_c32 ir_k3_e4_c32",
        "ir_k3_s2_e6_c40 ir_r3_k3_e6_c40 ir_r3_k3_e6_c80",
        "ir_k3_s2_e5_c160 ir_r2_k3_e5_c160 ir_k3_e6_c224",
    ),
    head="cn_k1_c1600",
    size=192,
)
CHAMNET_E = CAFFE2.replace(
    stem="cn_k3_s2_c8",
    stages=(
        "ir_k3_e1_c8",
        "ir_k3_s2_e4_c24",
        "ir_k3_s2_e4_c32 ir_r2_k3_e4_c32",
        "ir_k3_s2_e6_c64 ir_r3_k3_e6_c64",
        "ir_k3_s2_e6_c96 ir_k3_e6_c96 ir_k3_e4_c128",
    ),
    head="cn_k1_c1600",
    size=160,
)
CHAMNET_F = CAFFE2.replace(
    stem="cn_k3_s2_c8",
    stages=(
        "ir_k3_e1_c8",
        "ir_k3_s2_e4_c24",
        "ir_k3_s2_e4_c32 ir_r2_k3_e4_c32",
        "ir_k3_s2_e4_c40 ir_r3_k3_e4_c64",
        "ir_k3_s2_e4_c128 ir_k3_e4_c128 ir_k3_e4_c192",
    ),
    head="cn_k1_c1280",
    size=128,
)
FBNET_A = CAFFE2.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "skip_c16",
        "ir_k3_s2_e3_c24 ir_k3_e1_c24",
        "ir_k5_s2_e6_c32 ir_k3_e3_c32 ir_k5_e1_c32 ir_k3_e3_c32",
        "ir_k5_s2_e6_c64 ir_k5_e3_c64 ir_k3_e1_c64_g2 ir_k5_e6_c64 ir_k3_e6_c112 ir_k3_e1_c112_g2 "
        "ir_k5_e3_c112 ir_k3_e1_c112_g2",
        "ir_k5_s2_e6_c184 ir_k5_e6_c184 ir_k5_e3_c184 ir_k5_e6_c184 ir_k5_e6_c352",
    ),
    head="cn_k1_c1504",
)
FBNET_B = CAFFE2.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 ir_k5_e1_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32 ir_k5_e3_c32 ir_k3_e6_c32 ir_k3_e6_c32_d2",
        "ir_k5_s2_e6_c64 ir_k5_e1_c64 skip_c64 ir_k5_e3_c64 ir_k5_e6_c112 ir_k3_e1_c112 ir_k5_e1_c112 ir_k5_e3_c112",
        "ir_k5_s2_e6_c184 ir_k5_e1_c184 ir_r2_k5_e6_c184 ir_k3_e6_c352",
    ),
    head="cn_k1_c1984",
)
FBNET_C = CAFFE2.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 skip_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32 ir_k5_e3_c32 ir_k3_e6_c32_d2 ir_k3_e6_c32",
        "ir_k5_s2_e6_c64 ir_k5_e3_c64 ir_r2_k5_e6_c64 ir_k5_e6_c112 ir_k3_e6_c112_d2 ir_k5_e6_c112 ir_k5_e3_c112",
        "ir_k5_s2_e6_c184 ir_r3_k5_e6_c184 ir_k3_e6_c352",
    ),
    head="cn_k1_c1984",
)
FBNET_96 = CAFFE2.replace(
    stem="cn_k3_s2_c8",
    stages=(
        "ir_k3_e1_c8",
        "ir_k3_s2_e6_c16 ir_k3_e6_c16",
        "ir_k5_s2_e6_c16 ir_k5_e6_c16",
        "ir_k5_s2_e6_c24 ir_k3_e6_c40",
        "ir_k5_s2_e6_c72 ir_k5_e6_c72 ir_k5_e6_c128",
    ),
    head="cn_k1_c1416",
    size=96,
)

NETWORKS = {
    "ChamNet-A": CHAMNET_A,
    "ChamNet-B": CHAMNET_B,
    "ChamNet-C": CHAMNET_C,
    "ChamNet-D": CHAMNET_D,
    "ChamNet-E": CHAMNET_E,
    "ChamNet-F": CHAMNET_F,
    "FBNet-96": FBNET_96,
    "FBNet-A": FBNET_A,
    "FBNet-B": FBNET_B,
    "FBNet-B1": FBNET_B.replace(head="cn_k1_c1504"),
    "FBNet-C": FBNET_C,
    "FBNet-C1": FBNET_C.replace(head="cn_k1_c1504"),
}
# Where the published graphs have a bias (of the BN) and a ReLU after the depthwise convs; elsewhere neither.
BN_AFTER_DEPTHWISE = {
    "fp32": NETWORKS.keys() - {"ChamNet-F", "FBNet-96"},
    "int8": {"ChamNet-D", "FBNet-A", "FBNet-B1"},
}
MODELS = {
    f"{name}/{variant}": network.replace(depthwise_bn=name in names, depthwise_act=name in names)
    for name, network in NETWORKS.items()
    for variant, names in BN_AFTER_DEPTHWISE.items()
}

register(MODELS)
