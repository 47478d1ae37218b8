"""Cases of the operators that style transfer nets begin and end with."""

import numpy as np
from operator_cases import Case, case, flip, normal

from caffe2_models.operators.style import NOISE


@case("PackedInt8BGRANHWCToNCHWCStylizerPreprocess")
def preprocess(rng, kind):
    x = rng.integers(0, 256, (1, *rng.integers(1, 20, 2), 4), dtype=np.uint8)
    mean = rng.uniform(90, 130, 3).astype(np.float32)
    if flip(rng, 0.3):
        return Case(kind, [x, mean], {"noise_std": 0.0})
    size = int(rng.choice([40, 491]))
    return Case(kind, [x, mean], {"noise_size": size}, workspace={NOISE: normal(rng, size, scale=10)})


@case("BRGNCHWCToPackedInt8BGRAStylizerDeprocess")
def deprocess(rng, kind):
    x = normal(rng, int(rng.integers(1, 3)), 3, *rng.integers(1, 20, 2), scale=150)
    return Case(kind, [x, rng.uniform(90, 130, 3).astype(np.float32)])
