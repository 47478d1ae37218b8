"""Operators that work element by element, float32: activations, arithmetic with broadcasting, casts."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.dtypes import CODE_OF_NAME, NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_models.operators.registry import ANY, FLOAT32, LAYOUT, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType

ONE = np.float32(1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return ONE / (ONE + np.exp(-x))


@dataclass(frozen=True)
class SameType(Operator):
    """One input, one output of the same type."""

    def infer(self, x):
        return x.with_shape(x.shape)


@dataclass(frozen=True)
class Elementwise(SameType):
    """Each output element is a function of the input's in its place."""

    elementwise = True
    idle_arguments = LAYOUT


@dataclass(frozen=True)
class Unary(Elementwise):
    """A function without arguments that ONNX has too."""

    def compute(self, x):
        return self.function(x)

    def lower(self, graph, x):
        return graph.add(self.onnx_type, x)


for caffe2_name, function, onnx_name in [
    ("Abs", np.abs, "Abs"),
    ("Ceil", np.ceil, "Ceil"),
    ("Cos", np.cos, "Cos"),
    ("Exp", np.exp, "Exp"),
    ("Floor", np.floor, "Floor"),
    ("Log", np.log, "Log"),
    ("Sigmoid", sigmoid, "Sigmoid"),
    ("Sin", np.sin, "Sin"),
    ("Softplus", lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), "Softplus"),
    ("Softsign", lambda x: x / (ONE + np.abs(x)), "Softsign"),
    ("Sqrt", np.sqrt, "Sqrt"),
    ("Tanh", np.tanh, "Tanh"),
]:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Unary)


operator("Relu", function=staticmethod(lambda x: np.maximum(x, 0)), onnx_type="Relu", carries_order=True)(Unary)


@operator("Negative", function=staticmethod(np.negative), onnx_type="Neg")
@operator("Sign", function=staticmethod(np.sign), onnx_type="Sign")
@dataclass(frozen=True)
class UnaryOfNumbers(Unary):
    """A function of integers too."""

    dtypes = NUMBERS


@operator("Copy", "EnsureCPUOutput", "CopyFromCPUInput", "StopGradient", "Alias")
@dataclass(frozen=True)
class Copy(Elementwise):
    """The input itself."""

    dtypes = ANY
    identity = True

    def infer(self, x):
        return x

    def compute(self, x):
        return x

    def lower(self, graph, x):
        return x.name if x.type.value is None else graph.add("Identity", x)


@operator("Dropout")
@dataclass(frozen=True)
class Dropout(SameType):
    """Identity: nets are run for inference. The second output, the mask, is all ones."""

    is_test: bool = False

    identity = True

    def infer(self, x):
        if not self.is_test:
            raise ModelError("Dropout without is_test=1 trains; only inference is supported")
        return x.with_shape(x.shape), TensorType(x.shape, np.bool_)

    def compute(self, x):
        return x, np.ones(x.shape, np.bool_)

    def lower(self, graph, x):
        return graph.add("Identity", x), graph.constant(np.ones(x.shape, np.bool_))


@operator("Clip")
@dataclass(frozen=True)
class Clip(Elementwise):
    min: float = float(np.finfo(np.float32).min)
    max: float = float(np.finfo(np.float32).max)

    def compute(self, x):
        return np.clip(x, np.float32(self.min), np.float32(self.max))

    def lower(self, graph, x):
        return graph.clip(x, self.min, self.max)


@operator("ReluN")
@dataclass(frozen=True)
class ReluN(Elementwise):
    n: float = 6.0

    def compute(self, x):
        return np.clip(x, np.float32(0), np.float32(self.n))

    def lower(self, graph, x):
        return graph.clip(x, 0, self.n)


@operator("HardSigmoid")
@dataclass(frozen=True)
class HardSigmoid(Elementwise):
    alpha: float = 0.2
    beta: float = 0.5

    def compute(self, x):
        return np.clip(x * np.float32(self.alpha) + np.float32(self.beta), np.float32(0), ONE)

    def lower(self, graph, x):
        return graph.add("HardSigmoid", x, alpha=self.alpha, beta=self.beta)


@operator("Swish")
@dataclass(frozen=True)
class Swish(Elementwise):
    def compute(self, x):
        return x / (ONE + np.exp(-x))

    def lower(self, graph, x):
        return graph.add("Mul", x, graph.add("Sigmoid", x))


@operator("Elu")
@dataclass(frozen=True)
class Elu(Elementwise):
    alpha: float = 1.0

    def compute(self, x):
        return np.where(x > 0, x, np.float32(self.alpha) * np.expm1(np.minimum(x, 0)))

    def lower(self, graph, x):
        return graph.add("Elu", x, alpha=self.alpha)


@operator("Selu")
@dataclass(frozen=True)
class Selu(Elementwise):
    alpha: float = 1.6732632423543772
    scale: float = 1.0507009873554805

    def compute(self, x):
        return np.float32(self.scale) * np.where(x > 0, x, np.float32(self.alpha) * np.expm1(np.minimum(x, 0)))

    def lower(self, graph, x):
        return graph.add("Selu", x, alpha=self.alpha, gamma=self.scale)


@operator("LeakyRelu")
@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    alpha: float = 0.01

    def compute(self, x):
        return np.where(x < 0, x * np.float32(self.alpha), x)

    def lower(self, graph, x):
        return graph.add("LeakyRelu", x, alpha=self.alpha)


@operator("Gelu")
@dataclass(frozen=True)
class Gelu(Elementwise):
    """x * Phi(x); with fast_gelu the tanh form."""

    fast_gelu: bool = False

    def compute(self, x):
        if self.fast_gelu:
            inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
            return np.float32(0.5) * x * (ONE + np.tanh(inner))
        from scipy.special import erf  # here: importing it takes longer than most nets

        gate = erf((x * np.float32(math.sqrt(0.5))).astype(np.float64)).astype(np.float32)
        return np.float32(0.5) * x * (ONE + gate)

    def lower(self, graph, x):
        def constant(value):
            return graph.constant(np.float32(value))

        if self.fast_gelu:
            cube = graph.add("Mul", graph.add("Mul", x, x), x)
            inner = graph.add("Add", x, graph.add("Mul", cube, constant(0.044715)))
            gate = graph.add("Tanh", graph.add("Mul", inner, constant(math.sqrt(2 / math.pi))))
        else:
            gate = graph.add("Erf", graph.add("Mul", x, constant(math.sqrt(0.5))))
        half = graph.add("Mul", x, constant(0.5))
        return graph.add("Mul", half, graph.add("Add", gate, constant(1)))


@operator("Sqr")
@dataclass(frozen=True)
class Sqr(Elementwise):
    def compute(self, x):
        return x * x

    def lower(self, graph, x):
        return graph.add("Mul", x, x)


@operator("Rsqrt")
@dataclass(frozen=True)
class Rsqrt(Elementwise):
    def compute(self, x):
        return ONE / np.sqrt(x)

    def lower(self, graph, x):
        return graph.add("Reciprocal", graph.add("Sqrt", x))


@operator("PRelu")
@dataclass(frozen=True)
class PRelu(Operator):
    """Leaky ReLU with one slope for all or one for each channel."""

    order: str = "NCHW"

    parameters = ("slope",)

    def infer(self, x, slope):
        channels = x.shape[1 if self.order == "NCHW" and len(x.shape) > 1 else -1]
        if slope.size not in (1, channels):
            raise ModelError(f"{slope.size} slopes for {channels} channels")
        return x.with_shape(x.shape)

    def compute(self, x, slope):
        return np.where(x > 0, x, x * slope.reshape(self._slope_shape(x.shape, slope.size)))

    def lower(self, graph, x, slope):
        shape = graph.ints(self._slope_shape(x.shape, slope.type.size))
        return graph.add("PRelu", x, graph.add("Reshape", slope, shape))

    def _slope_shape(self, shape, size):
        if size == 1 or self.order == "NHWC":
            return (size,)
        return (size, *[1] * (len(shape) - 2))


@dataclass(frozen=True)
class DataType:
    """The argument `to`: a TensorProto.DataType, by number or by name."""

    dtype: np.dtype

    @classmethod
    def decode(cls, arguments):
        proto = arguments.proto("to")
        if proto is None:
            raise ModelError("argument to is missing")
        name = proto.s.decode(errors="replace").upper()
        code = CODE_OF_NAME.get(name) if proto.HasField("s") else proto.i
        if code not in NUMPY_OF_CODE:
            raise ModelError(f"data type {code} is not supported")
        return cls(NUMPY_OF_CODE[code])


@operator("Cast")
@dataclass(frozen=True)
class Cast(Operator):
    to: DataType

    dtypes = ANY

    def infer(self, x):
        return TensorType(x.shape, self.to.dtype)

    def compute(self, x):
        return x.astype(self.to.dtype)

    def lower(self, graph, x):
        return graph.cast(x, self.to.dtype)


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
        if a.dtype != b.dtype:
            raise ModelError(f"operands of different types, {a.dtype} and {b.dtype}")
        try:
            return a.with_shape(np.broadcast_shapes(a.shape, self._aligned(a.shape, b.shape)))
        except ValueError:
            raise ModelError(f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast") from None

    def compute(self, a, b):
        return self.function(a, b.reshape(self._aligned(a.shape, b.shape)))

    def lower(self, graph, a, b):
        shape = self._aligned(a.shape, b.shape)
        if shape != b.shape:
            b = graph.add("Reshape", b, graph.ints(shape))
        return graph.add(self.onnx_type, a, b)

    def _aligned(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
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


for caffe2_name, function, onnx_name in [
    ("Add", np.add, "Add"),
    ("Sub", np.subtract, "Sub"),
    ("Mul", np.multiply, "Mul"),
    ("Div", divide, "Div"),
]:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Binary)


@operator("Pow")
@dataclass(frozen=True)
class Pow(Binary):
    """A power; the exponent is the second blob or the argument `exponent`."""

    exponent: float | None = None

    dtypes = FLOAT32
    onnx_type = "Pow"
    function = staticmethod(np.power)

    def infer(self, a, b=None):
        if (b is None) == (self.exponent is None):
            raise ModelError("a power takes one exponent, as its second input or as an argument")
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
        for other in others:
            if other.shape != first.shape or other.dtype != first.dtype:
                raise ModelError(f"{first} and {other} differ")
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


for caffe2_name, function, onnx_name in [
    ("Sum", np.add, "Sum"),
    ("Max", np.maximum, "Max"),
    ("Min", np.minimum, "Min"),
]:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Variadic)
