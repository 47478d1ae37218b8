"""mobile_cv's FBNet and the FBNetV2 (dmasking) of 2020, as facebookresearch/mobile-vision defined them then.

from mobile_cv.model_zoo.models.fbnet_v2 import fbnet
model = fbnet("dmasking_l3", pretrained=True)
"""

from torch import nn

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.registry import canonical_name, create_model, get_architecture, register

MOBILE_CV_2020 = Architecture(
    stages=(),
    layout="fbnet",
    divisor=1,  # the expanded channels are rounded to an integer only, hence the odd widths
    bias="all",
    bn_momentum=0.003,
    always_expand=False,
    se_gate="hard_sigmoid",
    se_of_expanded=True,
    drop_rate=0.2,
    zero_last_gamma=True,
    interpolation="bilinear",
)
# Since 2021: no bias in the blocks, no dropout.
MOBILE_CV = MOBILE_CV_2020.replace(bias="ends", bn_momentum=0.1, drop_rate=0.0, zero_last_gamma=False)

FBNET_A = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "skip_c16",
        "ir_k3_s2_e3_c24 ir_k3_e1_c24 skip_r2_c24",
        "ir_k5_s2_e6_c32 ir_k3_e3_c32 ir_k5_e1_c32 ir_k3_e3_c32",
        "ir_k5_s2_e6_c64 ir_k5_e3_c64 ir_k5_e1_c64_g2 ir_k5_e6_c64 ir_k3_e6_c112 ir_k5_e1_c112_g2 "
        "ir_k5_e3_c112 ir_k3_e1_c112_g2",
        "ir_k5_s2_e6_c184 ir_k5_e6_c184 ir_k5_e3_c184 ir_k5_e6_c184 ir_k5_e6_c352",
    ),
    head="cn_k1_c1504",
)
FBNET_B = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 ir_k5_e1_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32 ir_k5_e3_c32 ir_k3_e6_c32 ir_k5_e6_c32",
        "ir_k5_s2_e6_c64 ir_k5_e6_c64 skip_c64 ir_k5_e3_c64 ir_k5_e6_c112 ir_k3_e1_c112 ir_k5_e1_c112 ir_k5_e3_c112",
        "ir_k5_s2_e6_c184 ir_k5_e1_c184 ir_r2_k5_e6_c184 ir_k3_e6_c352",
    ),
    head="cn_k1_c1984",
)
FBNET_C = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 skip_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32 ir_k5_e3_c32 ir_k5_e6_c32 ir_k3_e6_c32",
        "ir_k5_s2_e6_c64 ir_k5_e3_c64 ir_r2_k5_e6_c64 ir_r3_k5_e6_c112 ir_k5_e3_c112",
        "ir_k5_s2_e6_c184 ir_r3_k5_e6_c184 ir_k3_e6_c352",
    ),
    head="cn_k1_c1984",
)
FBNET_96 = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c8",
    stages=(
        "ir_k3_e1_c8",
        "ir_k3_s2_e6_c16 ir_k3_e6_c16",
        "ir_k5_s2_e6_c16 ir_k5_e6_c16",
        "ir_k5_s2_e6_c24 ir_k3_e6_c40",
        "ir_k5_s2_e6_c72 ir_k5_e6_c72 ir_k5_e6_c128",
    ),
    head="cn_k1_c1416",
)
FBNET_ASE = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "skip_c16",
        "ir_k3_s2_e3_c24 ir_k3_e1_c24 skip_r2_c24",
        "ir_k5_s2_e6_c32_se0.25 ir_k3_e3_c32_se0.25 ir_k5_e1_c32_se0.25 ir_k3_e3_c32_se0.25",
        "ir_k5_s2_e6_c64_nhs ir_k5_e3_c64_nhs ir_k5_e1_c64_nhs ir_k5_e6_c64_nhs ir_k3_e6_c112_nhs "
        "ir_k5_e1_c112_nhs ir_k5_e3_c112_se0.25_nhs ir_k3_e1_c112_se0.25_nhs",
        "ir_k5_s2_e6_c184_se0.25_nhs ir_k5_e6_c184_se0.25_nhs ir_k5_e3_c184_se0.25_nhs ir_k5_e6_c184_se0.25_nhs",
    ),
    head="ip_e6_c1504_nhs",
)
FBNET_BSE = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 ir_k5_e1_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32_se0.25 ir_k5_e3_c32_se0.25 ir_k3_e6_c32_se0.25 ir_k5_e6_c32_se0.25",
        "ir_k5_s2_e6_c64_nhs ir_k5_e1_c64_nhs skip_c64 ir_k5_e3_c64_nhs ir_k5_e6_c112_nhs "
        "ir_k3_e1_c112_se0.25_nhs ir_k5_e1_c112_se0.25_nhs ir_k5_e3_c112_se0.25_nhs",
        "ir_k5_s2_e6_c184_se0.25_nhs ir_k5_e1_c184_se0.25_nhs ir_r2_k5_e6_c184_se0.25_nhs",
    ),
    head="ip_e6_c1984_nhs",
)
FBNET_CSE = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e6_c24 skip_c24 ir_r2_k3_e1_c24",
        "ir_k5_s2_e6_c32_se0.25 ir_k5_e3_c32_se0.25 ir_k5_e6_c32_se0.25 ir_k3_e6_c32_se0.25",
        "ir_k5_s2_e6_c64_nhs ir_k5_e3_c64_nhs ir_r2_k5_e6_c64_nhs ir_k5_e6_c112_nhs "
        "ir_r2_k5_e6_c112_se0.25_nhs ir_k5_e3_c112_se0.25_nhs",
        "ir_k5_s2_e6_c184_se0.25_nhs ir_r3_k5_e6_c184_se0.25_nhs",
    ),
    head="ip_e6_c1984_nhs",
)
FBNET_DSE = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_r2_k3_e1_c16",
        "ir_k3_s2_e6_c24 ir_r3_k3_e6_c24",
        "ir_k5_s2_e6_c32_se0.25 ir_r3_k5_e6_c32_se0.25 ir_r2_k3_e6_c32_se0.25",
        "ir_k5_s2_e6_c64_nhs ir_r2_k5_e6_c64_nhs ir_r2_k5_e6_c96_nhs ir_k5_e6_c112_nhs "
        "ir_r3_k5_e6_c112_se0.25_nhs ir_k5_e6_c128_se0.25_nhs",
        "ir_k5_s2_e6_c184_se0.25_nhs ir_r3_k5_e6_c184_se0.25_nhs ir_k3_e6_c256_se0.25_nhs",
    ),
    head="ip_e6_c1984_nhs",
)
DMASKING_F1 = MOBILE_CV_2020.replace(
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
DMASKING_F4 = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16",
        "ir_k5_s2_e5.4566_c24 ir_r2_k5_e1.7912_c24",
        "ir_k5_s2_e5.3501_c32_se0.25 ir_k5_e3.5379_c32_se0.25 ir_r2_k5_e4.5379_c32_se0.25",
        "ir_k5_s2_e5.7133_c64_nhs ir_k3_e2.1212_c64_nhs skip_c64 ir_k3_e5.0333_c104_nhs "
        "ir_k5_e2.507_c104_se0.25_nhs ir_k5_e1.7712_c104_se0.25_nhs ir_k5_e3.7712_c112_se0.25_nhs",
        "ir_k3_s2_e5.5685_c184_se0.25_nhs ir_k5_e2.84_c184_se0.25_nhs ir_k5_e4.8754_c184_se0.25_nhs skip_c224",
    ),
    head="ip_e6_c1984_nhs",
)
DMASKING_L2_HS = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16_nhs",
        "ir_k5_s2_e5.4566_c24_nhs ir_k5_e1.7912_c24_nhs ir_k3_e1.7912_c24_nhs ir_k5_e1.7912_c24_nhs",
        "ir_k5_s2_e5.3501_c40_se0.25 ir_k5_e3.5379_c32_se0.25 ir_r2_k5_e4.5379_c32_se0.25",
        "ir_k5_s2_e5.7133_c64_nhs ir_k3_e2.1212_c64_nhs skip_c64 ir_k3_e3.1246_c64_nhs "
        "ir_k3_e5.0333_c112_nhs ir_k5_e2.507_c112_se0.25_nhs ir_k5_e1.7712_c112_se0.25_nhs "
        "ir_k5_e2.7712_c112_se0.25_nhs ir_r2_k5_e3.7712_c112_se0.25_nhs",
        "ir_k3_s2_e5.5685_c184_se0.25_nhs ir_r2_k5_e2.84_c184_se0.25_nhs ir_r2_k5_e4.8754_c184_se0.25_nhs skip_c224",
    ),
    head="ip_e6_c1984_nhs",
)
DMASKING_L3 = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c24_nhs",
    stages=(
        "ir_k3_e1_c24",
        "ir_k5_s2_e5.4566_c32 ir_k5_e1.7912_c32 ir_k3_e1.7912_c32 ir_k5_e1.7912_c32",
        "ir_k5_s2_e5.3501_c48_se0.25 ir_k5_e3.5379_c40_se0.25 ir_r2_k5_e4.5379_c40_se0.25",
        "ir_k5_s2_e5.7133_c72_nhs ir_k3_e2.1212_c72_nhs skip_c72 ir_k3_e3.1246_c72_nhs "
        "ir_k3_e5.0333_c120_nhs ir_k5_e2.507_c120_se0.25_nhs ir_k5_e1.7712_c120_se0.25_nhs "
        "ir_k5_e2.7712_c120_se0.25_nhs ir_r3_k5_e3.7712_c120_se0.25_nhs",
        "ir_k3_s2_e5.5685_c192_se0.25_nhs ir_r2_k5_e2.84_c192_se0.25_nhs ir_r2_k5_e4.8754_c192_se0.25_nhs skip_c240",
    ),
    head="ip_e6_c1984_nhs",
)
DEFAULT = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c32",
    stages=(
        "ir_k3_e1_c16",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k3_s2_e6_c32",
        "ir_r4_k3_s2_e6_c64 ir_r3_k3_e6_c96",
        "ir_r3_k3_s2_e6_c160 ir_k3_e6_c320",
    ),
    head="cn_k1_c1280",
)
MNV3 = MOBILE_CV_2020.replace(
    stem="cn_k3_s2_c16_nhs",
    stages=(
        "ir_k3_e1_c16",
        "ir_k3_s2_e4_c24 ir_k3_e3_c24",
        "ir_r3_k5_s2_e3_c40_se0.25",
        "ir_k3_s2_e6_c80_nhs ir_k3_e2.5_c80_nhs ir_r2_k3_e2.3_c80_nhs ir_r2_k3_e6_c112_se0.25_nhs",
        "ir_r3_k5_s2_e6_c160_se0.25_nhs",
    ),
    head="ip_e6_c1280_nhs",
)


def int8_friendly(model: Architecture) -> Architecture:
    """The i8f form: neither BN nor activation after the depthwise conv."""
    return model.replace(depthwise_bn=False, depthwise_act=False)


# crop_pct is size / resize, of the resize that the weights were published with.
MODELS = {
    "fbnet_a": FBNET_A,
    "fbnet_b": FBNET_B,
    "fbnet_c": FBNET_C,
    "fbnet_96": FBNET_96.replace(size=96, crop_pct=96 / 112),
    "fbnet_96_head": FBNET_96.replace(
        size=96, crop_pct=96 / 112, bias="ends", bn_momentum=0.1, drop_rate=0.0, zero_last_gamma=False
    ),
    "fbnet_ase": FBNET_ASE,
    "fbnet_bse": FBNET_BSE,
    "fbnet_cse": FBNET_CSE,
    "fbnet_dse": FBNET_DSE,
    "fbnet_a_i8f": int8_friendly(FBNET_A),
    "fbnet_b_i8f": int8_friendly(FBNET_B),
    "fbnet_c_i8f": int8_friendly(FBNET_C),
    "dmasking_f1": DMASKING_F1.replace(size=128, crop_pct=128 / 146),
    "dmasking_f4": DMASKING_F4,
    "dmasking_l2_hs": DMASKING_L2_HS.replace(size=256, crop_pct=256 / 288),
    "dmasking_l3": DMASKING_L3.replace(size=288, crop_pct=288 / 324),
    "default": DEFAULT,
    "mnv3": MNV3,
    "mnv3_i8f": int8_friendly(MNV3),
}
ALIASES = {"FBNet_a": "fbnet_a", "FBNet_b": "fbnet_b", "FBNet_c": "fbnet_c", "MobileNetV3": "mnv3"}

register(MODELS, ALIASES)


def fbnet(
    arch_name: str,
    pretrained: bool = False,
    progress: bool = True,
    dim_in: int = 3,
    num_classes: int = 1000,
    **options,
) -> nn.Module:
    """A network of mobile_cv by its name there; the signature is mobile_cv's, options are create_model's."""
    name = canonical_name(arch_name)
    if get_architecture(name).layout != "fbnet":
        raise ModelError(f"{arch_name} is not one of mobile_cv's networks; create_model makes it")
    return create_model(name, pretrained, num_classes=num_classes, in_chans=dim_in, progress=progress, **options)
