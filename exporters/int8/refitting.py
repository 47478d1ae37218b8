"""Weights fitted anew to the inputs that a layer gets in int8.

What a layer reads errs: its inputs are rounded, clipped, and made by layers that err too. A part of what that changes
in the outputs depends on the inputs in a straight line, and so the weights can mend it: the least squares of what the
float net makes from what the int8 net reads. How far the samples are to be trusted (ridge regression) is found on
images that were not fitted; rows that gain nothing there stay.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    halves = [Moments.of(inputs[:, half], wanted[:, half]) for half in (fold, ~fold)]
    before = np.zeros((groups, wanted.shape[2]))
    errors = np.zeros((len(RIDGES), *before.shape))
    for fitted, others in (halves, halves[::-1]):
        judges = others.about(fitted.mean_x, fitted.mean_y)
        before += judges.yy
        errors += [judges.errors(fitted.solve(ridge)) for ridge in RIDGES]
    best = errors.argmin(axis=0)
    gains = errors.min(axis=0) < NEEDED_GAIN * before
    change = np.zeros((groups, size, wanted.shape[2]), np.float32)
    if gains.any():
        whole = Moments.joined(*halves)
        for number, ridge in enumerate(RIDGES):
            change += whole.solve(ridge) * (gains & (best == number))[:, None]
    return change.swapaxes(1, 2).reshape(-1, size)


@dataclass(frozen=True)
class Moments:
    """All that least squares needs of samples: means of x, [G, 1, K], and y, [G, 1, R], and about a point, by default
    these means, sums of products: xx [G, K, K], xy [G, K, R], and of squares: yy [G, R].
    """

    count: int
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Moments:
        """x: [G, S, K], y: [G, S, R]."""
        mean_x, mean_y = (values.mean(axis=1, keepdims=True, dtype=np.float64) for values in (x, y))
        x, y = x - mean_x.astype(np.float32), y - mean_y.astype(np.float32)
        xx, xy = (x.swapaxes(1, 2) @ values for values in (x, y))
        yy = np.square(y).sum(axis=1, dtype=np.float64)
        return cls(x.shape[1], mean_x, mean_y, xx.astype(np.float64), xy.astype(np.float64), yy)

    @classmethod
    def joined(cls, one: Moments, other: Moments) -> Moments:
        """Of the samples of both."""
        count = one.count + other.count
        mean_x = (one.count * one.mean_x + other.count * other.mean_x) / count
        mean_y = (one.count * one.mean_y + other.count * other.mean_y) / count
        a, b = (part.about(mean_x, mean_y) for part in (one, other))
        return cls(count, mean_x, mean_y, a.xx + b.xx, a.xy + b.xy, a.yy + b.yy)

    def about(self, x: np.ndarray, y: np.ndarray) -> Moments:
        """With sums about another point, from sums about the means."""
        dx, dy = self.mean_x - x, self.mean_y - y
        xx, xy = (products + self.count * dx.swapaxes(1, 2) * d for products, d in ((self.xx, dx), (self.xy, dy)))
        return Moments(self.count, self.mean_x, self.mean_y, xx, xy, self.yy + self.count * np.square(dy[:, 0]))

    def solve(self, ridge: float) -> np.ndarray:
        """Coefficients [G, K, R] that give y from x; ridge: of the mean variance of x, added to each direction's."""
        damped = self.xx.copy()
        diagonal = np.einsum("gkk->gk", damped)
        diagonal += np.maximum(ridge * diagonal.mean(axis=1, keepdims=True), LEAST_VARIANCE)
        return np.linalg.solve(damped, self.xy).astype(np.float32)

    def errors(self, coefficients: np.ndarray) -> np.ndarray:
        """Sums of squares [G, R] of what coefficients leave of y."""
        b = coefficients.astype(np.float64)
        return self.yy + (b * (self.xx @ b - 2 * self.xy)).sum(axis=1)
