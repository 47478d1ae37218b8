"""Fully connected layers and matrix products, float32."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, flattened
from caffe2_models.operators.products import precise_product
from caffe2_models.operators.registry import ROW_ARGUMENTS, Layer, Operator, operator


@operator("FC", "FCTransposed")
@dataclass(frozen=True)
class FC(Operator):
    """x [.., K] times weight [O, K], plus bias [O]; x is flattened from `axis` on, weight from `axis_w` on.

    FCTransposed takes the weight as [K, O].
    """

    axis: int = 1
    axis_w: int = 1

    layer = Layer.FULLY_CONNECTED
    parameters = ("w", "b")
    carries_order = True
    idle_arguments = ROW_ARGUMENTS

    def infer(self, x, weight, bias):
        axis = canonical_axis(self.axis, len(x.shape))
        inner = math.prod(x.shape[axis:])
        outputs, inputs = self._weight_shape(weight.shape)
        if inputs != inner or bias.shape != (outputs,):
            raise ModelError(f"{list(x.shape)}, weight {list(weight.shape)} and bias {list(bias.shape)} do not fit")
        return x.with_shape((*x.shape[:axis], outputs))

    def compute(self, x, weight, bias):
        axis = canonical_axis(self.axis, x.ndim)
        rows = x.reshape(flattened(x.shape, axis))
        y = precise_product(rows, self._matrix(weight)) + bias
        return y.reshape(*x.shape[:axis], bias.size)

    def lower(self, graph, x, weight, bias):
        axis = canonical_axis(self.axis, len(x.shape))
        rows = x if len(x.shape) == 2 and axis == 1 else graph.add("Flatten", x, axis=axis)
        if len(weight.shape) != 2:
            weight = graph.add("Flatten", weight, axis=self.axis_w)
        y = graph.add("Gemm", rows, weight, bias, transB=int(self.type == "FC"))
        return y if axis == 1 else graph.add("Reshape", y, graph.ints((*x.shape[:axis], bias.type.size)))

    def macs(self, x, weight, bias):
        return x.size * bias.size

    def _matrix(self, weight):
        matrix = weight.reshape(flattened(weight.shape, self.axis_w))
        return matrix.T if self.type == "FC" else matrix

    def _weight_shape(self, shape):
        """(outputs, inputs)"""
        shape = flattened(shape, canonical_axis(self.axis_w, len(shape)))
        return shape if self.type == "FC" else shape[::-1]


@operator("MatMul")
@dataclass(frozen=True)
class MatMul(Operator):
    """Product of two matrices, each flattened at its axis, then transposed where asked."""

    axis_a: int = 1
    axis_b: int = 1
    trans_a: bool = False
    trans_b: bool = False

    def infer(self, a, b):
        (rows, inner), (other, columns) = self._matrix_shapes(a.shape, b.shape)
        if inner != other:
            raise ModelError(f"{list(a.shape)} and {list(b.shape)} do not multiply")
        return a.with_shape((rows, columns))

    def compute(self, a, b):
        a = a.reshape(flattened(a.shape, canonical_axis(self.axis_a, a.ndim)))
        b = b.reshape(flattened(b.shape, canonical_axis(self.axis_b, b.ndim)))
        return (a.T if self.trans_a else a) @ (b.T if self.trans_b else b)

    def lower(self, graph, a, b):
        a = a if len(a.shape) == 2 else graph.add("Flatten", a, axis=self.axis_a)
        b = b if len(b.shape) == 2 else graph.add("Flatten", b, axis=self.axis_b)
        return graph.add("Gemm", a, b, transA=int(self.trans_a), transB=int(self.trans_b))

    def macs(self, a, b):
        (rows, inner), (_, columns) = self._matrix_shapes(a.shape, b.shape)
        return rows * inner * columns

    def _matrix_shapes(self, a, b):
        a = flattened(a, canonical_axis(self.axis_a, len(a)))
        b = flattened(b, canonical_axis(self.axis_b, len(b)))
        return (a[::-1] if self.trans_a else a), (b[::-1] if self.trans_b else b)


@operator("BatchMatMul")
@dataclass(frozen=True)
class BatchMatMul(Operator):
    """Products of the matrices in the last two dimensions; leading dimensions broadcast."""

    trans_a: bool = False
    trans_b: bool = False
    broadcast: bool = False

    def infer(self, a, b):
        if min(len(a.shape), len(b.shape)) < 2:
            raise ModelError("BatchMatMul of vectors is not supported")
        (rows, inner), (other, columns) = self._matrices(a.shape, b.shape)
        try:
            batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            batch = None
        if batch is None or inner != other:
            raise ModelError(f"{list(a.shape)} and {list(b.shape)} do not multiply")
        return a.with_shape((*batch, rows, columns))

    def compute(self, a, b):
        return (a.swapaxes(-1, -2) if self.trans_a else a) @ (b.swapaxes(-1, -2) if self.trans_b else b)

    def lower(self, graph, a, b):
        def transposed(x, wanted):
            rank = len(x.shape)
            return graph.add("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2]) if wanted else x

        return graph.add("MatMul", transposed(a, self.trans_a), transposed(b, self.trans_b))

    def macs(self, a, b):
        inner = a.shape[-2] if self.trans_a else a.shape[-1]
        return self.infer(a, b).size * inner

    def _matrices(self, a, b):
        return (a[:-3:-1] if self.trans_a else a[-2:]), (b[:-3:-1] if self.trans_b else b[-2:])
