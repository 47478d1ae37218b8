"""Control flow: operators that run nets of their own."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.node import Body
from caffe2_models.operators.registry import ANY, BOOL, Operator, operator
from caffe2_models.tensors import TensorType


@operator("If", "AsyncIf")
@dataclass(frozen=True)
class If(Operator):
    """Runs then_net where the condition, one bool, holds, else else_net; both among the blobs around it."""

    then_net: Body
    else_net: Body | None = None

    dtypes = (BOOL, ANY)
    takes_quantized = True
    shares_workspace = True

    @classmethod
    def is_in_onnx(cls):
        """The nets become ONNX's branches (caffe2_models.lowering)."""
        return True

    def infer(self, condition, *others):
        if condition.size != 1:
            raise ModelError(f"a condition of {condition.size} values; one is expected")
        return ()

    def choose(self, condition, *others):
        return self.then_net if condition.item() else self.else_net


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
