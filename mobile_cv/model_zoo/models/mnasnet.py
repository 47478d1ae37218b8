"""Networks found by search, in geffnet's form: MNASNet, Single-Path NAS, FBNet-C, guesses at ChamNet."""

from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.registry import register

MNASNET_B1 = Architecture(
    stages=(
        "ds_r1_k3_s1_c16_noskip",
        "ir_r3_k3_s2_e3_c24",
        "ir_r3_k5_s2_e3_c40",
        "ir_r3_k5_s2_e6_c80",
        "ir_r2_k3_s1_e6_c96",
        "ir_r4_k5_s2_e6_c192",
        "ir_r1_k3_s1_e6_c320_noskip",
    ),
)
MNASNET_A1 = Architecture(
    stages=(
        "ds_r1_k3_s1_e1_c16_noskip",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k5_s2_e3_c40_se0.25",
        "ir_r4_k3_s2_e6_c80",
        "ir_r2_k3_s1_e6_c112_se0.25",
        "ir_r3_k5_s2_e6_c160_se0.25",
        "ir_r1_k3_s1_e6_c320",
    ),
)
MNASNET_SMALL = Architecture(
    stem="cn_k3_s2_c8",
    stages=(
        "ds_r1_k3_s1_c8",
        "ir_r1_k3_s2_e3_c16",
        "ir_r2_k3_s2_e6_c16",
        "ir_r4_k5_s2_e6_c32_se0.25",
        "ir_r3_k3_s1_e6_c32_se0.25",
        "ir_r3_k5_s2_e6_c88_se0.25",
        "ir_r1_k3_s1_e6_c144",
    ),
)
SINGLE_PATH_NAS = Architecture(
    stages=(
        "ds_r1_k3_s1_c16_noskip",
        "ir_r3_k3_s2_e3_c24",
        "ir_r1_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40",
        "ir_r1_k5_s2_e6_c80 ir_r3_k3_s1_e3_c80",
        "ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96",
        "ir_r4_k5_s2_e6_c192",
        "ir_r1_k3_s1_e6_c320_noskip",
    ),
    interpolation="bilinear",
)
FBNET_C = Architecture(
    stem="cn_k3_s2_c16",
    stages=(
        "ir_r1_k3_s1_e1_c16",
        "ir_r1_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24",
        "ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 ir_r1_k5_s1_e6_c32 ir_r1_k3_s1_e6_c32",
        "ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64",
        "ir_r3_k5_s1_e6_c112 ir_r1_k5_s1_e3_c112",
        "ir_r4_k5_s2_e6_c184",
        "ir_r1_k3_s1_e6_c352",
    ),
    head="cn_k1_c1984",
    bn_eps=1e-3,  # its published weights were made with this eps
    interpolation="bilinear",
)
# Guesses from the paper's figures by geffnet's author; nothing like the ChamNet-A to F that came out later.
CHAMNET_V1 = Architecture(
    stages=(
        "ir_r1_k3_s1_e1_c24",
        "ir_r2_k7_s2_e4_c48",
        "ir_r5_k3_s2_e7_c64",
        "ir_r7_k5_s2_e12_c56",
        "ir_r5_k3_s1_e8_c88",
        "ir_r4_k3_s2_e7_c152",
        "ir_r1_k3_s1_e10_c104",
    ),
)
CHAMNET_V2 = Architecture(
    stages=(
        "ir_r1_k3_s1_e1_c24",
        "ir_r4_k5_s2_e8_c32",
        "ir_r6_k7_s2_e5_c48",
        "ir_r3_k5_s2_e9_c56",
        "ir_r6_k3_s1_e6_c56",
        "ir_r6_k3_s2_e2_c152",
        "ir_r1_k3_s1_e6_c112",
    ),
)

MODELS = {
    "mnasnet_050": MNASNET_B1.replace(width=0.5),
    "mnasnet_075": MNASNET_B1.replace(width=0.75),
    "mnasnet_b1": MNASNET_B1,
    "mnasnet_140": MNASNET_B1.replace(width=1.4),
    "semnasnet_050": MNASNET_A1.replace(width=0.5),
    "semnasnet_075": MNASNET_A1.replace(width=0.75),
    "mnasnet_a1": MNASNET_A1,
    "semnasnet_140": MNASNET_A1.replace(width=1.4),
    "mnasnet_small": MNASNET_SMALL,
    "spnasnet_100": SINGLE_PATH_NAS,
    "fbnetc_100": FBNET_C,
    "chamnetv1_100": CHAMNET_V1,
    "chamnetv2_100": CHAMNET_V2,
}

register(MODELS, aliases={"mnasnet_100": "mnasnet_b1", "semnasnet_100": "mnasnet_a1"})
