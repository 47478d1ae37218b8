"""Cases of recurrent nets and their units."""

import numpy as np
from operator_cases import Case, case, flip, normal

from caffe2_models.build import add_operator
from caffe2_models.proto import caffe2_pb2


@case("LSTMUnit", "GRUUnit")
def unit(rng, kind):
    count, width = (int(v) for v in rng.integers(1, 5, 2))
    states, gates = (2, 4) if kind == "LSTMUnit" else (1, 3)
    inputs = [normal(rng, 1, count, width) for _ in range(states)] + [normal(rng, 1, count, gates * width)]
    arguments = {"drop_states": int(flip(rng))} | ({"forget_bias": 1.0} if kind == "LSTMUnit" and flip(rng) else {})
    if flip(rng, 0.8):
        inputs.append(rng.integers(0, 4, count).astype(np.int32))
    else:
        arguments["sequence_lengths"] = 0
    return Case(kind, [*inputs, np.array([1], np.int32)], arguments, states, fed=len(inputs) + 1)


def step_of_lstm() -> caffe2_pb2.NetDef:
    """As Caffe2's rnn_cell writes it; the blobs around it have the names that a case gives its inputs."""
    net = caffe2_pb2.NetDef(name="step", external_input=["input_t", "timestep", "h_prev", "c_prev", "x3", "x4", "x5"])
    add_operator(net, "FC", ["h_prev", "x3", "x4"], ["gates"], axis=2)
    add_operator(net, "Sum", ["gates", "input_t"], ["gates"])
    add_operator(net, "LSTMUnit", ["h_prev", "c_prev", "gates", "x5", "timestep"], ["h", "c"])
    net.external_output.extend(["h", "c"])
    return net


def step_of_window() -> caffe2_pb2.NetDef:
    """A state that sees two earlier steps at a time, and gates them by the input."""
    net = caffe2_pb2.NetDef(name="step", external_input=["input_t", "timestep", "pair"])
    add_operator(net, "ReduceSum", ["pair"], ["sum"], axes=[0])
    add_operator(net, "Mul", ["sum", "input_t"], ["product"])
    add_operator(net, "Tanh", ["product"], ["h"])
    net.external_output.append("h")
    return net


def any_recurrence(rng: np.random.Generator, defined: bool = False) -> Case:
    """Two states of any beginnings, links of any reach; a step net that may write to inputs and see all of a state.

    defined: it sees only steps that were written. Others are zeros here, and in Caffe2 what memory happens to hold.
    """
    steps, count, width, first = (int(v) for v in rng.integers(1, 5, 4))
    first = 20 if flip(rng, 0.1) else first
    offset, place = (int(rng.integers(0, first)), first) if defined else (int(v) for v in rng.integers(0, first + 1, 2))
    window, more = int(rng.integers(1, first + 2 - defined - offset)), int(rng.integers(0, 3))
    net = caffe2_pb2.NetDef(name="step", external_input=["input_t", "timestep", "some", "c_prev", "ahead"])
    if flip(rng):
        add_operator(net, "Tanh", ["input_t"], ["input_t"])
    if flip(rng):
        add_operator(net, "Tanh", ["ahead"], ["ahead"])
    add_operator(net, "ReduceMean", ["some"], ["mean"], axes=[0])
    add_operator(net, "ReduceSum", ["h_states" if flip(rng, 0.3) and not defined else "ahead"], ["sum"], axes=[0])
    add_operator(net, "Sum", ["mean", "input_t", "sum"], ["total"])
    add_operator(net, "Sigmoid", ["total"], ["h"])
    add_operator(net, "Mul", ["h", "c_prev"], ["c"])
    net.external_output.extend(["h", "c"])
    arguments = {
        "alias_src": ["h_states", "c_states", "c_states", "x0", "x3"], "alias_dst": ["y0", "y1", "y2", "y3", "y4"],
        "alias_offset": [int(rng.integers(0, first + 1)), 1, -1, 0, 0],
        "recurrent_states": ["h_states", "c_states"], "initial_recurrent_state_ids": [1, 2],
        "link_internal": ["some", "h", "c_prev", "c", "input_t", "ahead"],
        "link_external": ["h_states", "h_states", "c_states", "c_states", "x0", "x3"],
        "link_offset": [offset, place, 0, 1, 0, int(rng.integers(0, more + 1))],
        "link_window": [window, 1, 1, 1, 1, 1], "step_net": net, "timestep": "timestep",
    }  # fmt: skip
    inputs = [normal(rng, steps, count, width), normal(rng, first, count, width)]
    inputs += [normal(rng, *((count,) if flip(rng) else ()), width), normal(rng, steps + more, count, width)]
    return Case("RecurrentNetwork", inputs, arguments, 6, int(rng.integers(1, 5)), compared=5)


@case("RecurrentNetwork")
def recurrent_network(rng, kind):
    if flip(rng, 0.3):
        return any_recurrence(rng, defined=True)
    steps, count, width = (int(v) for v in rng.integers(1, 5, 3))
    if flip(rng, 0.3):
        arguments = {
            "alias_src": ["h_states", "h_states"], "alias_dst": ["y0", "y1"], "alias_offset": [2, -1],
            "recurrent_states": ["h_states"], "initial_recurrent_state_ids": [1],
            "link_internal": ["pair", "h", "input_t"], "link_external": ["h_states", "h_states", "x0"],
            "link_offset": [0, 2, 0], "link_window": [2, 1, 1], "step_net": step_of_window(), "timestep": "timestep",
        }  # fmt: skip
        return Case(kind, [normal(rng, steps, count, width), normal(rng, 2, count, width)], arguments, 3, 2, compared=2)
    arguments = {
        "alias_src": ["h_states", "h_states", "c_states", "c_states"], "alias_dst": ["y0", "y1", "y2", "y3"],
        "alias_offset": [1, -1, 1, -1], "recurrent_states": ["h_states", "c_states"],
        "initial_recurrent_state_ids": [1, 2],
        "link_internal": ["h_prev", "h", "c_prev", "c", "input_t"],
        "link_external": ["h_states", "h_states", "c_states", "c_states", "x0"],
        "link_offset": [0, 1, 0, 1, 0], "step_net": step_of_lstm(), "timestep": "timestep",
        "enable_rnn_executor": int(flip(rng)),
    }  # fmt: skip
    initial = [(1, count, width), (count, width), (width,)]
    inputs = [normal(rng, steps, count, 4 * width)]
    inputs += [normal(rng, *initial[int(rng.integers(0, 3))]) for _ in range(2)]
    inputs += [normal(rng, 4 * width, width), normal(rng, 4 * width), rng.integers(0, 5, count).astype(np.int32)]
    return Case(kind, inputs, arguments, 5, 6, compared=4)
