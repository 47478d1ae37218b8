"""Networks within a latency budget, exactly: the most probable one, or random ones.

A choice per layer whose costs sum to a range is the multiple-choice knapsack problem. Latencies are rounded
up to BINS steps of the budget; then a table over (layer, sum so far) finds the best of all networks, or
draws from their distribution, in layers x candidates x BINS steps.
"""

import numpy as np

from caffe2_common.errors import ModelError

BINS = 8192


def select(
    scores: np.ndarray, latencies: np.ndarray, low: float, high: float, rng: np.random.Generator | None = None
) -> list[int]:
    """The choices with the largest sum of scores among those whose latency is from low to high.

    scores: [layers, candidates], log-probabilities, -inf where there is no such candidate; latencies:
    likewise, in the unit of low and high. With rng the choices are drawn instead: from the product of the
    layers' distributions, given that the latency is in the range (zeros: every network is as likely).
    Networks within layers / BINS of a limit may be left out. Raises ModelError where there are none.
    """
    layers = len(scores)
    step = high / BINS
    if not 0 <= low < high:
        raise ModelError(f"no latency is from {low:g} to {high:g}")
    costs = np.ceil(latencies / step).astype(np.int64)
    combine = np.maximum.reduce if rng is None else np.logaddexp.reduce
    best = [np.full(BINS + 1, -np.inf)]  # best[k][b]: of the first k layers, with cost b
    best[0][0] = 0.0
    for layer in range(layers):
        best.append(combine([_shift(best[-1], c) + s for c, s in zip(costs[layer], scores[layer], strict=True)]))
    lowest = min(BINS, int(np.ceil(low / step)) + layers)  # each cost is at most a step too high
    bin_ = lowest + _pick(best[-1][lowest:], rng, low, high)
    choices = []
    for layer in reversed(range(layers)):
        before = bin_ - costs[layer]
        options = np.where(before >= 0, best[layer][np.maximum(before, 0)] + scores[layer], -np.inf)
        choices.append(_pick(options, rng, low, high))
        bin_ -= costs[layer][choices[-1]]
    return choices[::-1]


def _shift(values: np.ndarray, by: int) -> np.ndarray:
    shifted = np.full_like(values, -np.inf)
    if by <= BINS:
        shifted[by:] = values[: len(values) - by]
    return shifted


def _pick(log_weights: np.ndarray, rng: np.random.Generator | None, low: float, high: float) -> int:
    """The largest; with rng an index drawn with these weights: the largest after Gumbel noise is added."""
    if not np.isfinite(log_weights).any():
        raise ModelError(f"no network of the space has a latency from {low:.4g} to {high:.4g} ms")
    noise = 0.0 if rng is None else rng.gumbel(size=log_weights.shape)
    return int(np.argmax(log_weights + noise))
