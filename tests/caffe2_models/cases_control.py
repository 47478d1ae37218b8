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


@case("IsEmpty")
def is_empty(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng, low=0))])
