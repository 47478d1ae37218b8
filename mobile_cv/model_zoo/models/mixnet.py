"""MixNet S, M, L and XL: depthwise convs that mix kernel sizes. L and XL are wider M's."""

from mobile_cv.model_zoo.architecture import Architecture, tensorflow
from mobile_cv.model_zoo.registry import register

MIXNET_S = Architecture(
    stem="cn_k3_s2_c16",
    stages=(
        "ds_r1_k3_s1_e1_c16",
        "ir_r1_k3_a1.1_p1.1_s2_e6_c24 ir_r1_k3_a1.1_p1.1_s1_e3_c24",
        "ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
        "ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw",
        "ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
        "ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
    ),
    head="cn_k1_c1536",
)
MIXNET_M = MIXNET_S.replace(
    stem="cn_k3_s2_c24",
    stages=(
        "ds_r1_k3_s1_e1_c24",
        "ir_r1_k3.5.7_a1.1_p1.1_s2_e6_c32 ir_r1_k3_a1.1_p1.1_s1_e3_c32",
        "ir_r1_k3.5.7.9_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
        "ir_r1_k3.5.7_s2_e6_c80_se0.25_nsw ir_r3_k3.5.7.9_a1.1_p1.1_s1_e6_c80_se0.25_nsw",
        "ir_r1_k3_s1_e6_c120_se0.5_nsw ir_r3_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
        "ir_r1_k3.5.7.9_s2_e6_c200_se0.5_nsw ir_r3_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
    ),
    depth_rounding="round",
)

MODELS = {
    "mixnet_s": MIXNET_S,
    "mixnet_m": MIXNET_M,
    "mixnet_l": MIXNET_M.replace(width=1.3),
    "mixnet_xl": MIXNET_M.replace(width=1.6, depth=1.2),
}
MODELS |= {f"tf_{name}": tensorflow(model) for name, model in MODELS.items() if name != "mixnet_xl"}

register(MODELS)
