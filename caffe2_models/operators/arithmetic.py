"""Arithmetic of several blobs, element by element."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, check_rank, check_same_shape, check_same_type
from caffe2_models.operators.elementwise import ONE, sigmoid
from caffe2_models.operators.registry import FLOAT32, FLOATS, INDICES, LAYOUT, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class Binary(Operator):
    """Arithmetic of two blobs: numpy's broadcasting or, with broadcast=1, the second blob's dimensions laid
    along the first's from `axis` on (from the end where axis is -1)."""

    broadcast: bool = False
    axis: int = -1
    axis_str: str = ""
    order: str = "NCHW"

    dtypes = NUMBERS
    elementwise = True
    idle_arguments = LAYOUT

    def infer(self, a, b):
        check_same_type(a, b)
        return TensorType(self._result(a, b), a.dtype)

    def compute(self, a, b):
        return self.function(a, b.reshape(self.aligned(a.shape, b.shape)))

    def lower(self, graph, a, b):
        shape = self.aligned(a.shape, b.shape)
        if shape != b.shape:
            b = graph.add("Reshape", b, graph.ints(shape))
        return graph.add(self.onnx_type, a, b)

    def _result(self, a: TensorType, b: TensorType) -> tuple[int, ...]:
        """The output's shape; raises ModelError for operands that do not broadcast."""
        try:
            return np.broadcast_shapes(a.shape, self.aligned(a.shape, b.shape))
        except ValueError:
            raise ModelError(f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast") from None

    def aligned(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
        """The second operand's shape, such that numpy's broadcasting does the rest.

        Raises ModelError where it does not lie along the first's (ComputeLegacyBroadcastSizes).
        """
        if not self.broadcast:
            return b
        if math.prod(b) == 1:
            return (1,) * max(len(a), 1)
        axis = self.order.find(self.axis_str) if self.axis == -1 and self.axis_str else self.axis
        start = len(a) - len(b) if axis == -1 and not self.axis_str else axis
        inner = [i for i, dim in enumerate(b) if dim != 1]
        lies_along = 0 <= start <= len(a) - len(b) and (
            a[start + inner[0] : start + inner[-1] + 1] == b[inner[0] : inner[-1] + 1]
        )
        if not lies_along:
            raise ModelError(f"{list(b)} does not lie along {list(a)} from axis {start}")
        return b + (1,) * (len(a) - len(b) - start)


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a / b).astype(a.dtype) if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype)


OF_TWO: list[tuple[str, Callable, str]] = [
    ("Add", np.add, "Add"),
    ("Sub", np.subtract, "Sub"),
    ("Mul", np.multiply, "Mul"),
    ("Div", divide, "Div"),
]
for caffe2_name, function, onnx_name in OF_TWO:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Binary)


@operator("Pow")
@dataclass(frozen=True)
class Pow(Binary):
    """A power; the exponent is the second blob or else the argument `exponent`."""

    exponent: float | None = None

    dtypes = FLOAT32
    onnx_type = "Pow"
    function = staticmethod(np.power)

    def infer(self, a, b=None):
        if b is None and self.exponent is None:
            raise ModelError("a power takes an exponent, as its second input or as an argument")
        if b is not None and not self.broadcast and a.shape != b.shape:
            raise ModelError(f"shapes {list(a.shape)} and {list(b.shape)} differ (broadcast=1 is not given)")
        return a.with_shape(a.shape) if b is None else super().infer(a, b)

    def compute(self, a, b=None):
        return np.power(a, np.float32(self.exponent)) if b is None else super().compute(a, b)

    def lower(self, graph, a, b=None):
        if b is None:
            return graph.add("Pow", a, graph.constant(np.float32(self.exponent)))
        return super().lower(graph, a, b)


@dataclass(frozen=True)
class Variadic(Operator):
    """Any number of blobs of one shape and type."""

    dtypes = NUMBERS
    elementwise = True
    idle_arguments = LAYOUT

    def infer(self, first, *others):
        check_same_shape(first, *others)
        return first.with_shape(first.shape)

    def compute(self, first, *others):
        for other in others:
            first = self.function(first, other)
        return first

    def lower(self, graph, first, *others):
        if self.onnx_type == "Sum" and first.type.dtype.kind == "i":  # ONNX sums floats only
            for other in others:
                first = graph.add("Add", first, other)
            return first if others else graph.add("Identity", first)
        return graph.add(self.onnx_type, first, *others)


OF_MANY: list[tuple[str, Callable, str]] = [
    ("Sum", np.add, "Sum"),
    ("SumInt", np.add, "Sum"),
    ("Max", lambda a, b: np.where(a < b, b, a), "Max"),  # as std::max takes NaN: the first stays
    ("Min", lambda a, b: np.where(b < a, b, a), "Min"),
]
for caffe2_name, function, onnx_name in OF_MANY:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Variadic)


@operator("Mean")
@dataclass(frozen=True)
class Mean(Variadic):
    dtypes = FLOATS
    function = staticmethod(np.add)
    onnx_type = "Mean"

    def compute(self, *inputs):
        return super().compute(*inputs) * inputs[0].dtype.type(1 / np.float32(len(inputs)))


@operator("SumRelu")
@dataclass(frozen=True)
class SumRelu(Variadic):
    """ReLU of a sum."""

    function = staticmethod(np.add)
    onnx_type = "Sum"

    def compute(self, *inputs):
        total = super().compute(*inputs)
        return np.where(total > 0, total, total.dtype.type(0))

    def lower(self, graph, *inputs):
        return graph.add("Relu", super().lower(graph, *inputs))


@operator("WeightedSum")
@dataclass(frozen=True)
class WeightedSum(Operator):
    """Sum of blobs, each times the single value that follows it; the shape is the first's."""

    def infer(self, first, weight, *others):
        if len(others) % 2:
            raise ModelError(f"{len(others) + 2} inputs; each blob goes with a weight")
        if not first.size:
            raise ModelError("a weighted sum of nothing")
        blobs, weights = others[::2], (weight, *others[1::2])
        if any(blob.size != first.size for blob in blobs) or any(w.size != 1 for w in weights):
            raise ModelError(f"blobs of {first.size} values with weights of one are expected")
        return first.with_shape(first.shape)

    def compute(self, first, weight, *others):
        total = first * weight.ravel()
        for blob, weight in zip(others[::2], others[1::2], strict=True):
            total = total + blob.reshape(first.shape) * weight.ravel()
        return total

    def lower(self, graph, *inputs):
        shape = inputs[0].shape
        terms = []
        for blob, weight in zip(inputs[::2], inputs[1::2], strict=True):
            x = blob if blob.shape == shape else graph.add("Reshape", blob, graph.ints(shape))
            terms.append(graph.add("Mul", x, graph.add("Reshape", weight, graph.ints([1] * len(shape)))))
        return graph.add("Sum", *terms)


@operator("RowMul")
@dataclass(frozen=True)
class RowMul(Operator):
    """Each row of the first blob (its first dimension) times a value of the second."""

    def infer(self, x, factors):
        if not x.shape or factors.size != x.shape[0]:
            raise ModelError(f"{factors.size} values for the rows of {list(x.shape)}")
        return x.with_shape(x.shape)

    def compute(self, x, factors):
        return x * factors.reshape(-1, *[1] * (x.ndim - 1))

    def lower(self, graph, x, factors):
        return graph.add("Mul", x, graph.add("Reshape", factors, graph.ints([-1] + [1] * (len(x.shape) - 1))))


@operator("SquareRootDivide")
@dataclass(frozen=True)
class SquareRootDivide(Operator):
    """Rows divided by the square roots of their values, which may not be negative; by 1 where those are 0."""

    dtypes = (FLOAT32, FLOAT32 | INDICES)

    def infer(self, x, scale):
        if not x.shape or scale.shape != x.shape[:1]:
            raise ModelError(f"a scale of shape {list(scale.shape)} for the rows of {list(x.shape)}")
        return x.with_shape(x.shape)

    def compute(self, x, scale):
        if (scale < 0).any():
            raise ModelError("the square root of a negative scale")
        factors = np.where(scale == 0, 1, 1 / np.sqrt(scale)).astype(np.float32)
        return x * factors.reshape(-1, *[1] * (x.ndim - 1))


@operator("ElementwiseLinear")
@dataclass(frozen=True)
class ElementwiseLinear(Operator):
    """x times a scale, plus a bias, each with a value for every position from `axis` on."""

    axis: int = 1

    def infer(self, x, scale, bias):
        axis = canonical_axis(self.axis, len(x.shape))
        width = math.prod(x.shape[axis:])
        if scale.shape != (width,) or bias.shape != (width,):
            raise ModelError(f"scale {list(scale.shape)} and bias {list(bias.shape)} for {width} positions")
        return x.with_shape(x.shape)

    def compute(self, x, scale, bias):
        shape = x.shape[canonical_axis(self.axis, x.ndim) :]
        return x * scale.reshape(shape) + bias.reshape(shape)

    def lower(self, graph, x, scale, bias):
        shape = graph.ints(x.shape[canonical_axis(self.axis, len(x.shape)) :])
        y = graph.add("Mul", x, graph.add("Reshape", scale, shape))
        return graph.add("Add", y, graph.add("Reshape", bias, shape))

    def macs(self, x, scale, bias):
        return x.size


@operator("Glu")
@dataclass(frozen=True)
class Glu(Operator):
    """The first half along `dim` times the sigmoid of the second."""

    dim: int = -1

    def infer(self, x):
        axis = canonical_axis(self.dim, len(x.shape))
        if x.shape[axis] % 2:
            raise ModelError(f"{x.shape[axis]} along axis {axis} has no halves")
        return x.with_shape((*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :]))

    def compute(self, x):
        value, gate = np.split(x, 2, self.dim)
        return value * sigmoid(gate)

    def lower(self, graph, x):
        half = x.shape[self.dim] // 2
        value, gate = graph.add("Split", x, graph.ints([half, half]), axis=self.dim, outputs=2)
        return graph.add("Mul", value, graph.add("Sigmoid", gate))


@operator("MakeTwoClass")
@dataclass(frozen=True)
class MakeTwoClass(Operator):
    """Probabilities p to pairs of 1 - p and p, along a new last dimension."""

    def infer(self, x):
        return x.with_shape((*x.shape, 2))

    def compute(self, x):
        return np.stack([ONE - x, x], axis=-1)

    def lower(self, graph, x):
        p = graph.add("Unsqueeze", x, graph.ints([-1]))
        return graph.add("Concat", graph.add("Sub", graph.constant(ONE), p), p, axis=-1)


@operator("BatchBoxCox")
@dataclass(frozen=True)
class BatchBoxCox(Operator):
    """Each column x by its lambdas: (max(x + l2, 1e-6)^l1 - 1) / l1, or its logarithm where l1 is 0."""

    dtypes = FLOATS
    smallest = 1e-6

    def infer(self, x, lambda1, lambda2):
        check_same_type(x, lambda1, lambda2)
        check_rank(x, 2, "data")
        if (lambda1.size, lambda2.size) != (x.shape[1],) * 2:
            raise ModelError(f"{lambda1.size} and {lambda2.size} lambdas for {x.shape[1]} columns")
        return x.with_shape(x.shape)

    def compute(self, x, lambda1, lambda2):
        lambda1, lambda2 = lambda1.ravel(), lambda2.ravel()
        base = np.maximum(x + lambda2, x.dtype.type(self.smallest))
        power = (np.power(base, lambda1) - x.dtype.type(1)) / np.where(lambda1 == 0, x.dtype.type(1), lambda1)
        return np.where(lambda1 == 0, np.log(base), power)

    def lower(self, graph, x, lambda1, lambda2):
        dtype = x.type.dtype
        one, row = graph.constant(1, dtype), graph.ints([-1])
        lambda1, lambda2 = graph.add("Reshape", lambda1, row), graph.add("Reshape", lambda2, row)
        base = graph.add("Max", graph.add("Add", x, lambda2), graph.constant(self.smallest, dtype))
        is_zero = graph.add("Equal", lambda1, graph.constant(0, dtype))
        power = graph.add("Sub", graph.add("Pow", base, lambda1), one)
        power = graph.add("Div", power, graph.add("Where", is_zero, one, lambda1))
        return graph.add("Where", is_zero, graph.add("Log", base), power)
