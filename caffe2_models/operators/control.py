"""Control flow: operators that run nets of their own."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models.operators.node import Body, all_nodes
from caffe2_models.operators.registry import ANY, BOOL, Operator, operator
from caffe2_models.tensors import TensorType

MAX_ROUNDS = 10_000  # of a loop that a file may not mean to end


def check_condition(condition) -> None:
    """Raises ModelError for a condition, or its type, that is not one bool."""
    if condition.size != 1 or condition.dtype != np.bool_:
        raise ModelError(f"a condition of {condition.size} values of {condition.dtype}; one bool is expected")


@operator("If", "AsyncIf")
@dataclass(frozen=True)
class If(Operator):
    """Runs then_net where the condition, one bool, holds, else else_net; both among the blobs around it."""

    then_net: Body
    else_net: Body | None = None

    dtypes = (BOOL, ANY)
    takes_quantized = True
    shares_workspace = True
    net_order = ("then_net", "else_net")

    @classmethod
    def is_in_onnx(cls):
        """The nets become ONNX's branches (caffe2_models.lowering)."""
        return True

    def infer(self, condition, *others):
        check_condition(condition)
        return ()

    def sequence(self, condition):
        body = self.choose(condition())
        if body is not None:
            yield body

    def choose(self, condition, *others):
        return self.then_net if condition.item() else self.else_net


@operator("While")
@dataclass(frozen=True)
class While(Operator):
    """Runs loop_net as long as the condition, one bool, holds; cond_net, where there is one, before each time.

    All of them run among the blobs around it. After 10,000 rounds it gives up, which Caffe2 never does.
    """

    loop_net: Body
    cond_net: Body | None = None

    dtypes = (BOOL, ANY)
    takes_quantized = True
    shares_workspace = True
    loops = True
    net_order = ("cond_net", "loop_net")

    @classmethod
    def is_in_onnx(cls):
        """It becomes ONNX's Loop (caffe2_models.lowering)."""
        return True

    def infer(self, condition, *others):
        if condition.is_exact:
            check_condition(condition)
        if any(node.type == self.type for node in all_nodes(self.loop_net.nodes)):
            raise UnsupportedError("a loop within a loop")
        return ()

    def sequence(self, condition):
        for _ in range(MAX_ROUNDS):
            if self.cond_net is not None:
                yield self.cond_net
            check_condition(condition())
            if not condition().item():
                return
            yield self.loop_net
        raise ModelError(f"a loop that has not ended after {MAX_ROUNDS} rounds")


@operator("IsEmpty")
@dataclass(frozen=True)
class IsEmpty(Operator):
    """Whether a blob has no elements: one bool, of no dimensions."""

    dtypes = ANY
    takes_quantized = True

    def infer(self, x):
        return TensorType.of(np.array(x.size == 0)) if x.is_exact else TensorType((), np.dtype(np.bool_))

    def compute(self, x):
        return np.array(0 in x.shape)

    def lower(self, graph, x):
        return graph.constant(np.array(0 in x.shape))
