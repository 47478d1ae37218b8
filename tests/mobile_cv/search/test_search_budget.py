"""Choices within a budget, compared with all networks of small spaces one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2_common.errors import ModelError
from mobile_cv.search.budget import BINS, select


def networks(layers, candidates):
    return list(itertools.product(range(candidates), repeat=layers))


def total(values, choices):
    return sum(values[layer][choice] for layer, choice in enumerate(choices))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6), st.floats(0.1, 0.9))
def test_the_best_of_all_networks(layers, candidates, seed, place):
    rng = np.random.default_rng(seed)
    scores, latencies = rng.normal(size=(layers, candidates)), rng.random((layers, candidates))
    sums = sorted(total(latencies, n) for n in networks(layers, candidates))
    high = sums[int(place * (len(sums) - 1))] * 1.001
    low = 0.5 * high
    slack = layers * high / BINS
    inner = [n for n in networks(layers, candidates) if low + slack <= total(latencies, n) <= high - slack]
    outer = [n for n in networks(layers, candidates) if low <= total(latencies, n) <= high]
    if not inner and not outer:
        with pytest.raises(ModelError):
            select(scores, latencies, low, high)
        return
    try:
        chosen = tuple(select(scores, latencies, low, high))
    except ModelError:
        assert not inner
        return
    assert chosen in outer
    assert total(scores, chosen) >= max((total(scores, n) for n in inner), default=-np.inf) - 1e-9


def test_draws_follow_the_distribution():
    """Drawn within the budget in proportion to the networks' probabilities (a chi-squared test, 1e-4)."""
    from scipy.stats import chisquare

    rng = np.random.default_rng(0)
    scores, latencies = np.log(rng.dirichlet(np.ones(3), size=3)), rng.random((3, 3))
    inside = [n for n in networks(3, 3) if 1.0 <= total(latencies, n) <= 1.8]
    weights = np.exp([total(scores, n) for n in inside])
    draws = [tuple(select(scores, latencies, 1.0, 1.8, rng)) for _ in range(1000)]
    counts = [draws.count(n) for n in inside]
    assert sum(counts) == 1000
    assert chisquare(counts, 1000 * weights / weights.sum()).pvalue > 1e-4


def test_an_impossible_budget_says_so():
    with pytest.raises(ModelError, match=r"no network .* from 10 to 20"):
        select(np.zeros((2, 2)), np.ones((2, 2)), 10, 20)
    with pytest.raises(ModelError, match="no latency"):
        select(np.zeros((2, 2)), np.ones((2, 2)), 1, -1)


def test_absent_candidates_are_never_chosen():
    scores = np.array([[0.0, -np.inf], [0.0, 0.0]])
    latencies = np.array([[5.0, 0.0], [5.0, 1.0]])
    assert select(scores, latencies, 0, 6.5) == [0, 1]
    with pytest.raises(ModelError):
        select(scores, latencies, 0, 5)
