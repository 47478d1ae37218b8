import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_lut.cost import COLUMNS, CostModel, Workload, non_negative_least_squares, record_workload
from runtime_lut.signature import Signature


def test_records_and_steps_are_the_same_work(x86_table, published_steps):
    """A record holds inputs and arguments only; what the operator writes and multiplies follows from them."""
    of_records = {Signature.of_record(r).key: record_workload(r) for r, _ in x86_table.records()}
    for steps in published_steps.values():
        for signature, work in steps:
            assert of_records[signature.key] == work, signature


@pytest.mark.parametrize(
    ("index", "kind", "amounts"),
    [
        (
            2,
            ("int8", "conv", "3x3", "stride 2"),
            (1, 112 * 112 * 32 * 27, 112 * 112 * 32, 224 * 224 * 3, 32 * 28),
        ),
        (
            3,
            ("int8", "pointwise", "1x1", "stride 1"),
            (1, 112 * 112 * 32 * 32, 112 * 112 * 32, 112 * 112 * 32, 32 * 33),
        ),
        (
            4,
            ("int8", "depthwise", "3x3", "stride 1"),
            (1, 112 * 112 * 32 * 9, 112 * 112 * 32, 112 * 112 * 32, 32 * 10),
        ),
        (-3, ("int8", "fc"), (1, 2016 * 1000, 1000, 2016, 2017 * 1000)),
        (-1, ("int8", "other", "Int8Dequantize"), (1, 0, 1000, 1000, 0)),
    ],
)
def test_workloads_of_chamnet_a(published_steps, index, kind, amounts):
    _, work = published_steps["ChamNet-A/int8"][index]
    assert work.kind == kind
    assert work.amounts == (1.0, *(amount / 1000 for amount in amounts[1:]))


def test_sizes_round_up_to_the_kernels_tiles(published_steps):
    """1x1 convolution of 49 pixels to 352 channels: 49 is 7 tiles of 8."""
    shapes = ((1, 7, 7, 1104), (352, 1, 1, 1104), (352,))
    work = next(work for signature, work in published_steps["FBNet-C/int8"] if signature.shapes == shapes)
    assert work.amounts[COLUMNS.index("macs")] == 56 * 352 * 1104 / 1000


def test_an_operator_that_nobody_knows_still_has_a_workload(make_record):
    work = record_workload(make_record("Int8Mystery", shapes=((1, 10, 10, 10),)))
    assert work == Workload(("int8", "other", "Int8Mystery"), (1.0, 0.0, 1.0, 1.0, 0.0))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
def test_non_negative_least_squares_is_optimal(seed, rows, columns):
    """Karush-Kuhn-Tucker: no negative part, no gain in raising a zero, no gradient where x is positive."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    a[:, rng.random(columns) < 0.1] = 0
    b = rng.standard_normal(rows)
    x = non_negative_least_squares(a, b)
    norms = np.maximum(np.linalg.norm(a, axis=0), 1e-300)
    gradient = (a.T @ (b - a @ x)) / norms
    assert (x >= 0).all()
    assert (gradient <= 1e-7).all()
    assert np.abs(gradient[x > 0]).max(initial=0) <= 1e-7


def test_a_fit_finds_the_prices_that_times_were_made_from():
    rng = np.random.default_rng(0)
    prices = np.array([5.0, 0.02, 0.5, 0.0, 0.1])
    amounts = np.column_stack([np.ones(200), rng.lognormal(5, 2, (200, 4))])
    works = [Workload(("int8", "pointwise", "1x1", "stride 1"), tuple(row)) for row in amounts]
    model = CostModel.fit(works, amounts @ prices)
    fitted = model.prices_of(works[0].kind)
    assert fitted.prices == pytest.approx(prices, rel=1e-6, abs=1e-9)
    assert fitted.count == 200


def test_a_kind_that_was_not_measured_is_priced_by_a_wider_one():
    works = [
        Workload(("int8", "depthwise", "3x3", "stride 1"), (1.0, n, n / 9, n / 9, 0.1)) for n in (90.0, 180.0, 360.0)
    ]
    model = CostModel.fit(works, [10.0, 19.0, 37.0])
    assert model.prices_of(("int8", "depthwise", "5x5", "stride 2")) is model.prices[("int8", "depthwise")]
    assert model.prices_of(("fp32", "fc")) is model.prices[()]
    assert CostModel({}).prices_of(("int8",)) is None
