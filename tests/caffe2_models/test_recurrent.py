"""Recurrent nets in ONNX: a Loop for any step net, the same numbers as step by step in numpy."""

import numpy as np
import onnx
import pytest
from cases_recurrent import any_recurrence
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import CASES, Case

from caffe2_common.errors import UnsupportedError
from caffe2_models import Net, load_net
from caffe2_models.build import add_operator
from caffe2_models.lowering import lower_net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_runtime import open_session
from caffe2_models.runtimes.session import input_types

TOLERANCE = 1e-5  # values below 5 in 4 steps, of sums and functions rounded otherwise


def assert_in_onnx(net: Net, feeds: dict, names: list[str]) -> None:
    """It is one valid ONNX model, which computes what `reference` does."""
    want = net.session("reference").run(feeds, names)
    model, blobs = lower_net(net, input_types(feeds), names)
    onnx.checker.check_model(model, full_check=True)
    got = open_session(model.SerializeToString()).run([blobs[name] for name in names], feeds)
    for name, value in zip(names, got, strict=True):
        assert (value.dtype, value.shape) == (want[name].dtype, want[name].shape)
        np.testing.assert_allclose(value, want[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_step_net(seed):
    rng = np.random.default_rng(seed)
    for case in (any_recurrence(rng), CASES["RecurrentNetwork"](rng)):
        assert_in_onnx(case.net(), case.feeds, case.output_names)


@pytest.mark.parametrize("where", ["golden/wild/recurrentnetwork_*", "golden/wild_nets/lstm_*"])
def test_recorded_nets(shared, where):
    """What Caffe2 computed: LSTM and GRU of several layers, with lengths, with states dropped behind them."""
    folders = sorted(shared.glob(where))
    assert folders
    for folder in folders:
        expected = np.load(folder / "expected.npz")
        feeds = {key[3:]: expected[key] for key in expected.files if key.startswith("in:")}
        names = [key[4:] for key in expected.files if key.startswith("out:")]
        net = load_net(folder / "predict.pb", folder / "init.pb")
        assert_in_onnx(net, feeds, names)
        for name, value in net.session("onnxruntime", threads=1).run(feeds, names).items():
            np.testing.assert_allclose(value, expected[f"out:{name}"], rtol=TOLERANCE, atol=TOLERANCE)


def test_workspaces_are_empty_in_onnx_too():
    case = CASES["RecurrentNetwork"](np.random.default_rng(3))
    last = f"y{case.outputs - 1}"
    assert case.net().session("onnxruntime").run(case.feeds, [last])[last].shape == (0,)


def step_net(*operators: tuple[str, list[str], list[str]]) -> Case:
    """A state that begins with x1, among 3 steps of x0; the step net makes h of h_prev and input_t."""
    net = caffe2_pb2.NetDef()
    for kind, inputs, outputs in operators:
        add_operator(net, kind, inputs, outputs)
    arguments = {
        "alias_src": ["states"], "alias_dst": ["y0"], "alias_offset": [1],
        "recurrent_states": ["states"], "initial_recurrent_state_ids": [1],
        "link_internal": ["h_prev", "h", "input_t"], "link_external": ["states", "states", "x0"],
        "link_offset": [0, 1, 0], "step_net": net,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 2, 4), (1, 2, 4))]
    return Case("RecurrentNetwork", inputs, arguments, fed=2)


def test_an_input_that_the_step_net_writes_stays_as_it_was_fed():
    case = step_net(("Tanh", ["input_t"], ["input_t"]), ("Add", ["h_prev", "input_t"], ["h"]))
    given = case.feeds["x0"].copy()
    case.feeds["x0"].flags.writeable = False
    want = case.inputs[1] + np.cumsum(np.tanh(given), axis=0)
    for backend in ("reference", "onnxruntime"):
        np.testing.assert_allclose(case.net().session(backend).run(case.feeds)["y0"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(case.feeds["x0"], given)


def test_a_step_net_that_onnx_cannot_say():
    """The onnxruntime runtime computes that operator in numpy, an export names it."""
    case = step_net(("NanCheck", ["input_t"], ["checked"]), ("Add", ["h_prev", "checked"], ["h"]))
    want = case.net().session("reference").run(case.feeds)["y0"]
    np.testing.assert_array_equal(case.net().session("onnxruntime").run(case.feeds)["y0"], want)
    with pytest.raises(UnsupportedError, match="NanCheck: ONNX cannot say"):
        lower_net(case.net(), input_types(case.feeds))


def test_no_steps():
    case = step_net(("Add", ["h_prev", "input_t"], ["h"]))
    case.inputs[0] = case.inputs[0][:0]
    assert_in_onnx(case.net(), case.feeds, ["y0"])


def test_recurrent_nets_within_recurrent_nets():
    """Each step of the outer one runs over its sequence again."""
    inner = step_net(("Add", ["h_prev", "input_t"], ["h"]))
    text = inner.net().predict.op[0]
    within = caffe2_pb2.NetDef()
    within.op.add().CopyFrom(text)
    del within.op[0].input[:], within.op[0].output[:]
    within.op[0].input.extend(["x0", "h_prev"])
    within.op[0].output.append("y0")
    add_operator(within, "ReduceSum", ["y0"], ["h"], axes=[0])
    case = step_net(("Add", ["h_prev", "input_t"], ["h"]))
    case.arguments["step_net"] = within
    assert_in_onnx(case.net(), case.feeds, ["y0"])
