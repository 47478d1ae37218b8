"""FBNetV2 as published in 2021 (FBNetV2_F1 to L2), also by the names of its table, dmasking_f1 to l2.

from mobile_cv.model_zoo.models.fbnet import fbnetv2
model = fbnetv2("dmasking_f4")
"""

from torch import nn

from mobile_cv.model_zoo.models.fbnet_v2 import MOBILE_CV
from mobile_cv.model_zoo.registry import create_model, register, register_unpublished

FBNETV2 = MOBILE_CV.replace(divisor=8, width_floor=0.95, se_divisor=8, zero_last_gamma=True)

FBNETV2_F0 = FBNETV2.replace(
    stem="cn_k3_s2_c8_nhs",
    stages=(
        "ir_k5_e1_c8_nhs",
        "ir_k5_s2_e4_c16_nhs ir_k5_e3_c16_nhs",
        "ir_k5_s2_e4_c24_se0.25 ir_k5_e3_c24_se0.25",
        "ir_k5_s2_e4_c48_se0.25_nhs ir_k3_e3_c48_se0.25_nhs ir_k5_e3_c64_se0.25_nhs ir_k5_e2_c64_se0.25_nhs",
        "ir_k3_s2_e3_c128_se0.25_nhs ir_k5_e3_c160_se0.25_nhs skip_c192",
    ),
    head="ip_e4_c1280_nhs",
)
FBNETV2_F1 = FBNETV2.replace(
    stem="cn_k3_s2_c8_nhs",
    stages=(
        "ir_k5_e1_c8",
        "ir_k5_s2_e5.4566_c24 ir_k5_e4.7912_c24",
        "ir_k5_s2_e5.3501_c32_se0.25 ir_k5_e4.5379_c24_se0.25",
        "ir_k5_s2_e5.7133_c56_nhs ir_k3_e4.1212_c56_nhs ir_k3_e5.1246_c56_se0.25_nhs skip_c80 "
        "ir_k5_e4.507_c80_se0.25_nhs ir_k5_e1.7712_c80_se0.25_nhs",
        "ir_k3_s2_e4.5685_c144_se0.25_nhs ir_k5_e5.84_c144_se0.25_nhs ir_k5_e6.8754_c144_se0.25_nhs skip_c224",
    ),
    head="ip_e6_c1600_nhs",
)
FBNETV2_F4 = FBNETV2.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16_nhs",
        "ir_k5_s2_e5.4566_c24_nhs ir_r2_k5_e1.7912_c24_nhs",
        "ir_k5_s2_e5.3501_c32_se0.25 ir_k5_e3.5379_c32_se0.25 ir_r2_k5_e4.5379_c32_se0.25",
        "ir_k5_s2_e5.7133_c64_nhs ir_k3_e2.1212_c64_nhs skip_c64 ir_k3_e5.0333_c104_nhs "
        "ir_k5_e2.507_c104_se0.25_nhs ir_k5_e1.7712_c104_se0.25_nhs ir_k5_e3.7712_c112_se0.25_nhs",
        "ir_k3_s2_e5.5685_c184_se0.25_nhs ir_k5_e2.84_c184_se0.25_nhs ir_k5_e4.8754_c184_se0.25_nhs skip_c224",
    ),
    head="ip_e6_c1984_nhs",
)
FBNETV2_L1 = FBNETV2.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16_nhs",
        "ir_k5_s2_e5.4566_c24_nhs ir_k5_e1.7912_c24_nhs ir_k3_e1.7912_c24_nhs ir_k5_e1.7912_c24_nhs",
        "ir_k5_s2_e5.3501_c40_se0.25_nhs ir_k5_e3.5379_c32_se0.25_nhs ir_r2_k5_e4.5379_c32_se0.25_nhs",
        "ir_k5_s2_e5.7133_c64_nhs ir_k3_e2.1212_c64_nhs skip_c64 ir_k3_e3.1246_c64_nhs "
        "ir_k3_e5.0333_c112_nhs ir_k5_e2.507_c112_se0.25_nhs ir_k5_e1.7712_c112_se0.25_nhs "
        "ir_k5_e2.7712_c112_se0.25_nhs ir_r2_k5_e3.7712_c112_se0.25_nhs",
        "ir_k3_s2_e5.5685_c184_se0.25_nhs ir_r2_k5_e2.84_c184_se0.25_nhs ir_r2_k5_e4.8754_c184_se0.25_nhs skip_c224",
    ),
    head="ip_e6_c1984_nhs",
)

MODELS = {
    "FBNetV2_F0": FBNETV2_F0,
    "FBNetV2_F1": FBNETV2_F1.replace(size=128, crop_pct=128 / 151),
    "FBNetV2_F2": FBNETV2_F1.replace(size=160, crop_pct=160 / 179),
    "FBNetV2_F3": FBNETV2_F1.replace(head="ip_e6_c1984_nhs", size=192, crop_pct=192 / 208),
    "FBNetV2_F4": FBNETV2_F4.replace(crop_pct=224 / 251),
    "FBNetV2_L1": FBNETV2_L1,
    "FBNetV2_L2": FBNETV2_L1.replace(size=256, crop_pct=256 / 287),
}
# dmasking_f1 and f4 are these in the FBNetV2 table; elsewhere the names mean the networks of 2020.
TABLE_NAMES = {f"dmasking_{name[-2:].lower()}": name for name in MODELS if name != "FBNetV2_F0"}

register(
    MODELS,
    aliases={
        "FBNetV2_F5": "FBNetV2_L2",
        **{name: TABLE_NAMES[name] for name in ("dmasking_f2", "dmasking_f3", "dmasking_l1", "dmasking_l2")},
    },
)
register_unpublished(
    {
        f"dmasking_p{number}": "published as a figure only (parameters and top-1); neither its definition "
        "nor its weights were ever made public"
        for number in (1, 2, 3)
    }
)


def fbnetv2(arch_name: str, pretrained: bool = False, **options) -> nn.Module:
    """A network of the FBNetV2 table by its name there, as create_model makes it."""
    return create_model(TABLE_NAMES.get(arch_name, arch_name), pretrained, **options)
