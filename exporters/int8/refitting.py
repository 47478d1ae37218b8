"""Weights fitted anew to the inputs that a layer gets in int8.

What a layer reads errs: its inputs are rounded, clipped, and made by layers that err too. A part of what that changes
in the outputs depends on the inputs in a straight line, and so the weights can mend it: the least squares of what the
float net makes from what the int8 net reads. How far the samples are to be trusted (ridge regression) is found on
images that were not fitted; rows that gain nothing there stay.
"""

import numpy as np

RIDGES = np.array([0.003, 0.03, 0.3, 3.0])  # of the mean variance of inputs, added to each direction's
LEAST_VARIANCE = 1e-30  # of inputs that never vary
SAMPLES_PER_INPUT = 2  # of a row, below which nothing can be fitted
NEEDED_GAIN = 0.97  # squared error on images not fitted, as a share of that before, from which a row is changed


def refit(inputs: np.ndarray, residuals: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """What to add to a layer's rows, [O, K].

    inputs: [G, S, K]; residuals: what the outputs lack for them, [S, O]; fold: bool [S], of either half of the images.
    """
    groups, samples, size = inputs.shape
    if samples < SAMPLES_PER_INPUT * size or fold.all() or not fold.any():
        return np.zeros((residuals.shape[1], size), np.float32)
    wanted = residuals.reshape(samples, groups, -1).swapaxes(0, 1)  # [G, S, O / G]
    before = np.zeros((groups, wanted.shape[2]))
    errors = np.zeros((len(RIDGES), *before.shape))
    for fitted in (fold, ~fold):
        x = inputs[:, ~fitted] - inputs[:, fitted].mean(axis=1, keepdims=True)
        y = wanted[:, ~fitted] - wanted[:, fitted].mean(axis=1, keepdims=True)
        before += np.square(y).sum(axis=1)
        solve = _Ridge(inputs[:, fitted], wanted[:, fitted])
        errors += [np.square(y - x @ solve(ridge)).sum(axis=1) for ridge in RIDGES]
    best = errors.argmin(axis=0)
    gains = errors.min(axis=0) < NEEDED_GAIN * before
    change = np.zeros((groups, size, wanted.shape[2]), np.float32)
    if gains.any():
        solve = _Ridge(inputs, wanted)
        for number, ridge in enumerate(RIDGES):
            change += solve(ridge) * (gains & (best == number))[:, None]
    return change.swapaxes(1, 2).reshape(-1, size)


class _Ridge:
    """Coefficients [G, K, R] for x [G, S, K] that give y [G, S, R], for any ridge."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        transposed = x.swapaxes(1, 2)
        self._covariance = (transposed @ x / x.shape[1]).astype(np.float64)
        self._products = (transposed @ y / x.shape[1]).astype(np.float64)
        self._mean = np.einsum("gkk->g", self._covariance)[:, None] / x.shape[2]

    def __call__(self, ridge: float) -> np.ndarray:
        damped = self._covariance.copy()
        np.einsum("gkk->gk", damped)[...] += np.maximum(ridge * self._mean, LEAST_VARIANCE)
        return np.linalg.solve(damped, self._products).astype(np.float32)
