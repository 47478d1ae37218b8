"""Functions of the C library, to the bit as Caffe2 calls them."""

import numpy as np

STEPS = 32  # of a power of two, in the table
POWERS = 2.0 ** (np.arange(STEPS) / STEPS)
CUBIC = tuple(
    float.fromhex(digits) / STEPS**power
    for digits, power in [("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1)]
)
STEPS_PER_E = float.fromhex("0x1.71547652b82fep+0") * STEPS  # 1 / log(2)


def expf(x: np.ndarray) -> np.ndarray:
    """e to the power of float32 as the GNU C library computes it (sysdeps/ieee754/flt-32/e_expf.c), in float64.

    2^(k / 32) comes from a table, the rest is a cubic; one in a thousand results is not the nearest float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.clip(x.astype(np.float64) * STEPS_PER_E, -160.0 * STEPS, 130.0 * STEPS)
        k = np.rint(z)
        r, whole = z - k, np.nan_to_num(k).astype(np.int64)
        power = np.ldexp(POWERS[whole % STEPS], whole // STEPS)
        return (((CUBIC[0] * r + CUBIC[1]) * (r * r) + (CUBIC[2] * r + 1.0)) * power).astype(np.float32)
