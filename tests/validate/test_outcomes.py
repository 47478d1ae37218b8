"""Ranks, losses and counts, against definitions written out; statistics against exact sums."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2_common.errors import ModelError
from validate.outcomes import Outcomes, Totals, cross_entropy
from validate.statistics import binomial_cdf, least_hits, wilson_interval

IDENTITY = {"net": "a", "shard": [0, 1]}


def judge(scores, labels, offset=0, probabilities=False) -> Outcomes:
    outcomes = Outcomes(len(labels))
    outcomes.record(np.arange(len(labels)), np.array(scores, np.float32), np.array(labels), offset, probabilities)
    return outcomes


def test_ranks_and_best_classes():
    outcomes = judge([[0.1, 0.5, 0.3], [0.9, 0.5, 0.3]], [2, 0])
    assert outcomes.rank.tolist() == [1, 0]
    assert outcomes.top.tolist() == [[1, 2, 0, -1, -1], [0, 1, 2, -1, -1]]


def test_of_equal_scores_the_lower_index_is_first_as_argmax_has_it():
    outcomes = judge([[1, 1, 1, 0]] * 4, [0, 1, 2, 3])
    assert outcomes.rank.tolist() == [0, 1, 2, 3]
    assert outcomes.totals() == Totals(n=4, top1=1, top5=4, loss=outcomes.totals().loss)


def test_a_background_output_moves_classes_and_can_be_predicted():
    outcomes = judge([[9, 1, 5], [0, 1, 5]], [1, 1], offset=1)
    assert outcomes.rank.tolist() == [1, 0]
    assert outcomes.top[:, 0].tolist() == [-1, 1]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=8), st.data())
def test_logits_and_their_softmax_have_the_same_loss(logits, data):
    label = np.array([data.draw(st.integers(0, len(logits) - 1))])
    scores = np.array([logits])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    direct = -math.log(shares[0, label[0]])
    assert cross_entropy(scores, label, False)[0] == pytest.approx(direct, abs=1e-9, rel=1e-9)
    assert cross_entropy(shares, label, True)[0] == pytest.approx(direct, abs=1e-9, rel=1e-9)


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=50), st.integers(0, 50))
def test_totals_of_parts_add_up_to_those_of_the_whole(losses, cut):
    def totals(part):
        outcomes = Outcomes(len(part))
        outcomes.rank[:], outcomes.loss[:] = 0, part
        return outcomes.totals()

    assert totals(losses[:cut]) + totals(losses[cut:]) == totals(losses)
    assert totals(losses).mean_loss == pytest.approx(math.fsum(losses) / len(losses), abs=1e-6)


def test_a_state_comes_back_whole_and_belongs_to_its_run_only(tmp_path):
    outcomes = judge([[1, 2], [3, 1]], [1, 1])
    outcomes.mark_broken(1, "ends early")
    outcomes.save(tmp_path / "s", IDENTITY)
    again = Outcomes.load(tmp_path / "s", IDENTITY, 2)
    assert again.totals() == outcomes.totals()
    assert again.broken == {1: "ends early"}
    assert np.array_equal(again.top, outcomes.top)
    with pytest.raises(ModelError, match="net differ"):
        Outcomes.load(tmp_path / "s", {**IDENTITY, "net": "b"}, 2)
    with pytest.raises(ModelError, match="damaged"):
        Outcomes.load(tmp_path / "s", IDENTITY, 3)
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:100])
    with pytest.raises(ModelError, match="no state"):
        Outcomes.load(tmp_path / "s", IDENTITY, 2)


@given(st.integers(1, 2000), st.data())
def test_wilson_interval_ends_where_the_share_is_1_96_deviations_away(n, data):
    hits = data.draw(st.integers(1, n))
    for bound in wilson_interval(hits, n):
        p = bound / 100
        assert abs(hits / n - p) == pytest.approx(1.959964 * math.sqrt(max(p * (1 - p), 0) / n), abs=1e-7)  # sqrt(eps)


def test_wilson_interval_at_the_edges():
    assert wilson_interval(0, 0) == (0, 100)
    assert wilson_interval(0, 10)[0] == pytest.approx(0, abs=1e-9)


@given(
    st.integers(0, 60),
    st.integers(-2, 62),
    st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=100),
)
def test_binomial_cdf_is_the_exact_sum(n, k, p):
    exact = sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(0, min(k, n) + 1))
    assert binomial_cdf(k, n, float(p)) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)


def test_binomial_cdf_holds_for_the_whole_validation_set():
    stats = pytest.importorskip("scipy.stats")
    for k in (37000, 37300, 37500, 37700):
        assert binomial_cdf(k, 50000, 0.75) == pytest.approx(stats.binom.cdf(k, 50000, 0.75), rel=1e-7)


@given(st.integers(1, 400), st.floats(0.01, 0.99))
def test_least_hits_is_the_edge_of_what_chance_allows(n, p):
    k = least_hits(n, p, 0.01)
    assert binomial_cdf(k, n, p) >= 0.01
    assert binomial_cdf(k - 1, n, p) < 0.01
