"""EfficientNet B0-B5, their EdgeTPU and Lite relatives, and the TensorFlow forms of all of them."""

from mobile_cv.model_zoo.architecture import Architecture, tensorflow
from mobile_cv.model_zoo.registry import register

EFFICIENTNET = Architecture(
    stages=(
        "ds_r1_k3_s1_e1_c16_se0.25",
        "ir_r2_k3_s2_e6_c24_se0.25",
        "ir_r2_k5_s2_e6_c40_se0.25",
        "ir_r3_k3_s2_e6_c80_se0.25",
        "ir_r3_k5_s1_e6_c112_se0.25",
        "ir_r4_k5_s2_e6_c192_se0.25",
        "ir_r1_k3_s1_e6_c320_se0.25",
    ),
    act="swish",
    scale_head="yes",
)
EFFICIENTNET_EDGE = EFFICIENTNET.replace(
    stages=(
        "er_r1_k3_s1_e4_c24_fc24_noskip",
        "er_r2_k3_s2_e8_c32",
        "er_r4_k3_s2_e8_c48",
        "ir_r5_k5_s2_e8_c96",
        "ir_r4_k5_s1_e8_c144",
        "ir_r2_k5_s2_e8_c192",
    ),
    act="relu",
)
EFFICIENTNET_LITE = EFFICIENTNET.replace(
    stages=tuple(stage.replace("_se0.25", "") for stage in EFFICIENTNET.stages),
    act="relu6",
    scale_stem=False,
    scale_head="no",
    fixed_ends=True,
)

MODELS = {
    "efficientnet_b0": EFFICIENTNET,
    "efficientnet_b1": EFFICIENTNET.replace(width=1.0, depth=1.1, size=240, crop_pct=0.882),
    "efficientnet_b2": EFFICIENTNET.replace(width=1.1, depth=1.2, size=260, crop_pct=0.890),
    "efficientnet_b3": EFFICIENTNET.replace(width=1.2, depth=1.4, size=300, crop_pct=0.903),
    "efficientnet_b4": EFFICIENTNET.replace(width=1.4, depth=1.8, size=380, crop_pct=0.922),
    "efficientnet_b5": EFFICIENTNET.replace(width=1.6, depth=2.2, size=456, crop_pct=0.934),
    "efficientnet_es": EFFICIENTNET_EDGE,
    "efficientnet_em": EFFICIENTNET_EDGE.replace(width=1.0, depth=1.1, size=240, crop_pct=0.882),
    "efficientnet_el": EFFICIENTNET_EDGE.replace(width=1.2, depth=1.4, size=300, crop_pct=0.904),
    "efficientnet_lite0": EFFICIENTNET_LITE,
    "efficientnet_lite1": EFFICIENTNET_LITE.replace(width=1.0, depth=1.1, size=240, crop_pct=0.882),
    "efficientnet_lite2": EFFICIENTNET_LITE.replace(width=1.1, depth=1.2, size=260, crop_pct=0.890),
    "efficientnet_lite3": EFFICIENTNET_LITE.replace(width=1.2, depth=1.4, size=280, crop_pct=0.904),
    "efficientnet_lite4": EFFICIENTNET_LITE.replace(width=1.4, depth=1.8, size=300, crop_pct=0.920),
}
MODELS |= {f"tf_{name}": tensorflow(model) for name, model in MODELS.items()}

register(MODELS)
