"""MobileNet V1, V2 and V3, at the widths that their authors published, and as TensorFlow computes them."""

import re

from mobile_cv.model_zoo.architecture import Architecture, tensorflow
from mobile_cv.model_zoo.registry import register

MOBILENET_V1 = Architecture(
    stages=(
        "dsa_r1_k3_s1_c64",
        "dsa_r2_k3_s2_c128",
        "dsa_r2_k3_s2_c256",
        "dsa_r6_k3_s2_c512",
        "dsa_r2_k3_s2_c1024",
    ),
    head="",
    act="relu6",
)

MOBILENET_V2 = Architecture(
    stages=(
        "ds_r1_k3_s1_c16",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k3_s2_e6_c32",
        "ir_r4_k3_s2_e6_c64",
        "ir_r3_k3_s1_e6_c96",
        "ir_r3_k3_s2_e6_c160",
        "ir_r1_k3_s1_e6_c320",
    ),
    act="relu6",
    scale_head="up",
)
MOBILENET_V2_DEEP = MOBILENET_V2.replace(scale_stem=False, scale_head="no", fixed_ends=True)

# The first V3, rwightman's reading of the paper.
MOBILENET_V3 = Architecture(
    stem="cn_k3_s2_c16",
    stages=(
        "ds_r1_k3_s1_e1_c16_nre_noskip",
        "ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre",
        "ir_r3_k5_s2_e3_c40_se0.25_nre",
        "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
        "ir_r2_k3_s1_e6_c112_se0.25",
        "ir_r3_k5_s2_e6_c160_se0.25",
        "cn_r1_k1_s1_c960",
    ),
    act="hard_swish",
    se_gate="hard_sigmoid",
    se_of_expanded=True,
    pool_first=True,
    divisor=1,
)

# V3 as its authors released it.
MOBILENET_V3_LARGE = MOBILENET_V3.replace(
    stages=("ds_r1_k3_s1_e1_c16_nre", *MOBILENET_V3.stages[1:]),
    divisor=8,
    se_act="relu",
    se_divisor=8,
    head_bias=True,
)
MOBILENET_V3_LARGE_075 = MOBILENET_V3_LARGE.replace(width=0.75)
MOBILENET_V3_LARGE_MINIMAL = MOBILENET_V3_LARGE.replace(
    stages=(
        "ds_r1_k3_s1_e1_c16",
        "ir_r1_k3_s2_e4_c24 ir_r1_k3_s1_e3_c24",
        "ir_r3_k3_s2_e3_c40",
        "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
        "ir_r2_k3_s1_e6_c112",
        "ir_r3_k3_s2_e6_c160",
        "cn_r1_k1_s1_c960",
    ),
    act="relu",
)
MOBILENET_V3_SMALL = MOBILENET_V3_LARGE.replace(
    stages=(
        "ds_r1_k3_s2_e1_c16_se0.25_nre",
        "ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre",
        "ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25",
        "ir_r2_k5_s1_e3_c48_se0.25",
        "ir_r3_k5_s2_e6_c96_se0.25",
        "cn_r1_k1_s1_c576",
    ),
    head="cn_k1_c1024",
)
MOBILENET_V3_SMALL_MINIMAL = MOBILENET_V3_SMALL.replace(
    stages=(
        "ds_r1_k3_s2_e1_c16",
        "ir_r1_k3_s2_e4.5_c24 ir_r1_k3_s1_e3.67_c24",
        "ir_r1_k3_s2_e4_c40 ir_r2_k3_s1_e6_c40",
        "ir_r2_k3_s1_e3_c48",
        "ir_r3_k3_s2_e6_c96",
        "cn_r1_k1_s1_c576",
    ),
    act="relu",
)

MODELS = {
    "mobilenetv1_025": MOBILENET_V1.replace(width=0.25),
    "mobilenetv1_050": MOBILENET_V1.replace(width=0.5),
    "mobilenetv1_075": MOBILENET_V1.replace(width=0.75),
    "mobilenetv1_100": MOBILENET_V1,
    "mobilenetv2_035": MOBILENET_V2.replace(width=0.35),
    "mobilenetv2_050": MOBILENET_V2.replace(width=0.5),
    "mobilenetv2_075": MOBILENET_V2.replace(width=0.75),
    "mobilenetv2_100": MOBILENET_V2,
    "mobilenetv2_110d": MOBILENET_V2_DEEP.replace(width=1.1, depth=1.2),
    "mobilenetv2_120d": MOBILENET_V2_DEEP.replace(width=1.2, depth=1.4),
    "mobilenetv2_130": MOBILENET_V2.replace(width=1.3),
    "mobilenetv2_140": MOBILENET_V2.replace(width=1.4),
    "mobilenetv3_050": MOBILENET_V3.replace(width=0.5),
    "mobilenetv3_075": MOBILENET_V3.replace(width=0.75),
    "mobilenetv3_100": MOBILENET_V3.replace(bn_eps=1e-3),  # its published weights were made with this eps
    "mobilenetv3_large_075": MOBILENET_V3_LARGE_075,
    "mobilenetv3_large_100": MOBILENET_V3_LARGE,
    "mobilenetv3_large_minimal_100": MOBILENET_V3_LARGE_MINIMAL,
    "mobilenetv3_small_075": MOBILENET_V3_SMALL.replace(width=0.75),
    "mobilenetv3_small_100": MOBILENET_V3_SMALL,
    "mobilenetv3_small_minimal_100": MOBILENET_V3_SMALL_MINIMAL,
}
# Google's own checkpoints want pixels in -1..1.
MODELS |= {
    f"tf_{name}": tensorflow(model).replace(mean=(0.5,) * 3, std=(0.5,) * 3)
    for name, model in MODELS.items()
    if "110d" not in name and "120d" not in name and not re.fullmatch(r"mobilenetv3_\d+", name)
}

register(MODELS, aliases={"mobilenetv3_rw": "mobilenetv3_100"})
