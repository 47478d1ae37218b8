"""ONNX's own node tests: none may be wrong, and none may end in anything but an answer or one clear line."""

import pytest

from exporters.conformance import node_tests, run_tests

SHARE = 6  # one in so many is tried here; scripts/onnx_conformance.py tries all


@pytest.mark.slow
def test_no_node_test_is_wrong():
    outcomes = list(run_tests(node_tests()[::SHARE]))
    assert [outcome for outcome in outcomes if outcome.outcome == "wrong"] == []
    assert all("\n" not in outcome.reason for outcome in outcomes)
    passed = sum(outcome.outcome == "passed" for outcome in outcomes)
    assert passed > 0.7 * len(outcomes)
