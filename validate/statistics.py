"""How far a share of hits can be trusted."""

import math


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion, in percent; z = 1.96 makes it a 95 % one.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not n:
        return 0.0, 100.0
    share = hits / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 100 / (1 + z * z / n)
    return max((centre - spread) * scale, 0.0), min((centre + spread) * scale, 100.0)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X hits in n trials of probability p."""
    from scipy.special import bdtr  # here: few commands judge, and importing it takes a while

    return 0.0 if k < 0 else 1.0 if k >= n else float(bdtr(k, n, p))


def least_hits(n: int, p: float, significance: float) -> int:
    """The smallest k with P(X <= k) >= significance: fewer hits than that speak against p."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_cdf(middle, n, p) >= significance else (middle + 1, high)
    return low
