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
    """P(X <= k) for X hits in n trials of probability p, summed exactly from the nearer tail."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    if k > n * p:
        return 1.0 - binomial_cdf(n - k - 1, n, 1 - p)
    log_p, log_q = math.log(p) if p else -math.inf, math.log1p(-p)
    log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q
    term = math.exp(log_term)
    total = 0.0
    for hits in range(k, -1, -1):
        total += term
        if term < total * 1e-17:
            break
        term *= hits * (1 - p) / ((n - hits + 1) * p)
    return min(total, 1.0)


def least_hits(n: int, p: float, significance: float) -> int:
    """The smallest k with P(X <= k) >= significance: fewer hits than that speak against p."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_cdf(middle, n, p) >= significance else (middle + 1, high)
    return low
