"""ONNX's own node tests: none may be wrong, and none may end in anything but an answer or one clear line."""

import pytest

from exporters.conformance import node_tests, run_tests

SHARE = 6  # one in so many is tried here; scripts/onnx_conformance.py tries all


# Among them tests of operators that no case of conversion_cases.txt has
ALWAYS = (
    "_batchwise",
    "test_adam",
    "test_adagrad",
    "momentum",
    "test_ai_onnx_ml",
    "test_scan",
    "test_loop",
    "empty_set",
)


@pytest.mark.slow
def test_no_node_test_is_wrong():
    tests = node_tests()
    chosen = [test for index, test in enumerate(tests) if index % SHARE == 0 or any(n in test.name for n in ALWAYS)]
    outcomes = list(run_tests(chosen))
    assert [outcome for outcome in outcomes if outcome.outcome in ("wrong", "crashed")] == []
    assert all("\n" not in outcome.reason for outcome in outcomes)
    with_floats = [outcome for outcome in outcomes if outcome.is_float]
    assert sum(outcome.outcome == "passed" for outcome in with_floats) > 0.85 * len(with_floats)


def test_refusals_name_what_caffe2_lacks():
    refused = [outcome for outcome in run_tests(node_tests()[::SHARE]) if outcome.outcome == "refused"]
    assert [outcome for outcome in refused if "Caffe2" not in outcome.reason] == []
