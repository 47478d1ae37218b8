"""Cases of operators that decide what runs."""

import numpy as np
from operator_cases import Case, any_rank, case, flip, normal

from caffe2_models.build import add_operator
from caffe2_models.proto import caffe2_pb2


@case("If", "AsyncIf")
def condition(rng, kind):
    """Both branches write y0, sometimes in different sizes; the condition is a vector of one or has no dimensions."""
    then_net, else_net = caffe2_pb2.NetDef(name="then"), caffe2_pb2.NetDef(name="else")
    add_operator(then_net, "Relu", ["x1"], ["t"])
    add_operator(then_net, "Sqr", ["t"], ["y0"])
    if flip(rng):
        add_operator(else_net, "Copy", ["x1"], ["y0"])
    else:
        add_operator(else_net, "Concat", ["x1", "x1"], ["y0", "i"], axis=0)
    holds = np.array([flip(rng)]) if flip(rng) else np.array(flip(rng))
    return Case(kind, [holds, normal(rng, *any_rank(rng))], {"then_net": then_net, "else_net": else_net}, fed=2)


@case("While")
def rounds(rng, kind):
    """Some rounds that double a state and count down; cond_net asks whether there is one more, or loop_net does."""
    cond_net, loop_net = caffe2_pb2.NetDef(name="cond"), caffe2_pb2.NetDef(name="loop")
    asks = cond_net if flip(rng) else loop_net
    add_operator(loop_net, "Add", ["x1", "x1"], ["x1"])
    add_operator(loop_net, "Sub", ["x2", "x3"], ["x2"])
    add_operator(asks, "GT", ["x2", "x4"], ["x0"])
    add_operator(asks, "Negative", ["x1"], ["y0"])
    left = int(rng.integers(0 if asks is cond_net else 1, 5))
    numbers = [np.array([number], np.int32) for number in (left, 1, 0)]
    nets = {"cond_net": cond_net} if asks is cond_net else {}
    return Case(
        kind, [np.array([left > 0]), normal(rng, *any_rank(rng)), *numbers], nets | {"loop_net": loop_net}, fed=3
    )


@case("IsEmpty")
def is_empty(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng, low=0))])
