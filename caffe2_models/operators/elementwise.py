"""Functions of one blob, element by element: activations and the like."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.registry import ANY, FLOATS, INDICES, LAYOUT, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType

ONE = np.float32(1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return ONE / (ONE + np.exp(-x))


def sign(x: np.ndarray) -> np.ndarray:
    """-1, 0 or 1; 0 for NaN."""
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf as erf_of_doubles  # here: importing it takes longer than most nets

    return erf_of_doubles(x.astype(np.float64)).astype(np.float32)


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


FUNCTIONS: list[tuple[str, Callable, str]] = [
    ("Abs", np.abs, "Abs"),
    ("Acos", np.arccos, "Acos"),
    ("Asin", np.arcsin, "Asin"),
    ("Atan", np.arctan, "Atan"),
    ("Ceil", np.ceil, "Ceil"),
    ("Cos", np.cos, "Cos"),
    ("Cosh", np.cosh, "Cosh"),
    ("Erf", erf, "Erf"),
    ("Exp", np.exp, "Exp"),
    ("Floor", np.floor, "Floor"),
    ("Log", np.log, "Log"),
    ("Reciprocal", lambda x: ONE / x, "Reciprocal"),
    ("Sigmoid", sigmoid, "Sigmoid"),
    ("Sin", np.sin, "Sin"),
    ("Sinh", np.sinh, "Sinh"),
    ("Softplus", softplus, "Softplus"),
    ("Softsign", lambda x: x / (ONE + np.abs(x)), "Softsign"),
    ("Sqrt", np.sqrt, "Sqrt"),
    ("Tan", np.tan, "Tan"),
    ("Tanh", np.tanh, "Tanh"),
]
for caffe2_name, function, onnx_name in FUNCTIONS:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name)(Unary)


operator(
    "Relu", function=staticmethod(lambda x: np.maximum(x, 0)), onnx_type="Relu", carries_order=True, passes_factors=True
)(Unary)


@operator("Negative", function=staticmethod(np.negative), onnx_type="Neg")
@operator("Sign", function=staticmethod(sign), onnx_type="Sign")
@dataclass(frozen=True)
class UnaryOfNumbers(Unary):
    """A function of integers too."""

    dtypes = NUMBERS


@operator("Copy", "EnsureCPUOutput", "CopyFromCPUInput", "StopGradient", "Alias", "AliasWithName", "EnsureDense")
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


@operator("Clip", "EnsureClipped")
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

    passes_factors = True

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
        return np.float32(0.5) * x * (ONE + erf(x * np.float32(math.sqrt(0.5))))

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


@operator("Cbrt")
@dataclass(frozen=True)
class Cbrt(Elementwise):
    def compute(self, x):
        return np.cbrt(x)

    def lower(self, graph, x):
        root = graph.add("Pow", graph.add("Abs", x), graph.constant(np.float32(1 / 3)))
        return graph.add("Mul", graph.add("Sign", x), root)


@operator("Cube")
@dataclass(frozen=True)
class Cube(Elementwise):
    dtypes = NUMBERS

    def compute(self, x):
        return x * x * x

    def lower(self, graph, x):
        return graph.add("Mul", graph.add("Mul", x, x), x)


@operator("Mish")
@dataclass(frozen=True)
class Mish(Elementwise):
    def compute(self, x):
        return x * np.tanh(softplus(x))

    def lower(self, graph, x):
        return graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))


@operator("Logit")
@dataclass(frozen=True)
class Logit(Elementwise):
    """log(x / (1 - x)) of x clamped to [eps, 1 - eps]."""

    eps: float = 1e-6

    def infer(self, x):
        if not 0 < self.eps < 0.5:
            raise ModelError(f"eps {self.eps:g} outside (0, 0.5)")
        return super().infer(x)

    def compute(self, x):
        x = np.clip(x, np.float32(self.eps), ONE - np.float32(self.eps))
        return np.log(x / (ONE - x))

    def lower(self, graph, x):
        x = graph.clip(x, self.eps, ONE - np.float32(self.eps))
        return graph.add("Log", graph.add("Div", x, graph.add("Sub", graph.constant(ONE), x)))


@operator("ReplaceNaN")
@dataclass(frozen=True)
class ReplaceNaN(Elementwise):
    """`value` where the input is no number."""

    value: float = 0.0

    dtypes = FLOATS

    def compute(self, x):
        return np.where(np.isnan(x), x.dtype.type(self.value), x)

    def lower(self, graph, x):
        return graph.add("Where", graph.add("IsNaN", x), graph.constant(self.value, x.type.dtype), x)


@operator("Scale")
@dataclass(frozen=True)
class Scale(Elementwise):
    """The input times `scale`."""

    scale: float = 1.0

    dtypes = FLOATS

    def compute(self, x):
        return x * x.dtype.type(self.scale)

    def lower(self, graph, x):
        return graph.add("Mul", x, graph.constant(self.scale, x.type.dtype))


@operator("StumpFunc")
@dataclass(frozen=True)
class StumpFunc(Elementwise):
    """low_value up to the threshold, high_value above it."""

    threshold: float = 0.0
    low_value: float = 0.0
    high_value: float = 0.0

    def compute(self, x):
        return np.where(x <= np.float32(self.threshold), np.float32(self.low_value), np.float32(self.high_value))

    def lower(self, graph, x):
        low, high, threshold = (
            graph.constant(np.float32(v)) for v in (self.low_value, self.high_value, self.threshold)
        )
        return graph.add("Where", graph.add("LessOrEqual", x, threshold), low, high)


@operator("ThresholdedRelu")
@dataclass(frozen=True)
class ThresholdedRelu(Elementwise):
    """The input where it is above alpha, else 0."""

    alpha: float = 1.0

    def compute(self, x):
        return np.where(x > np.float32(self.alpha), x, np.float32(0))

    def lower(self, graph, x):
        return graph.add("ThresholdedRelu", x, alpha=self.alpha)


@operator("Mod")
@dataclass(frozen=True)
class Mod(Elementwise):
    """The rest of a division, with the dividend's sign or, with sign_follow_divisor, the divisor's."""

    divisor: int = 0
    sign_follow_divisor: bool = False

    dtypes = INDICES

    def infer(self, x):
        if self.divisor == 0 or not -(1 << 63) <= self.divisor < 1 << 63:
            raise ModelError(f"divisor {self.divisor}")
        return super().infer(x)

    def compute(self, x):
        function = np.mod if self.sign_follow_divisor else np.fmod
        return function(x.astype(np.int64), np.int64(self.divisor)).astype(x.dtype)

    def lower(self, graph, x):
        x64, divisor = graph.cast(x, np.int64), graph.constant(self.divisor, np.int64)
        if self.sign_follow_divisor:
            rest = graph.add("Mod", x64, divisor)
        else:  # Mod with fmod=1 goes by way of double
            rest = graph.add("Sub", x64, graph.add("Mul", graph.add("Div", x64, divisor), divisor))
        return graph.cast(rest, x.type.dtype)


@operator("Bucketize")
@dataclass(frozen=True)
class Bucketize(Elementwise):
    """How many of the (sorted) boundaries are below the element, int32."""

    boundaries: tuple[float, ...] = ()

    def infer(self, x):
        if not all(low <= high for low, high in itertools.pairwise(self.boundaries)):
            raise ModelError("boundaries that do not rise")
        return TensorType(x.shape, np.int32)

    def compute(self, x):
        below = np.searchsorted(np.array(self.boundaries, np.float32), x)
        return np.where(np.isnan(x), 0, below).astype(np.int32)

    def lower(self, graph, x):
        boundaries = graph.constant(self.boundaries, np.float32)
        above = graph.add("Greater", graph.add("Unsqueeze", x, graph.ints([-1])), boundaries)
        return graph.add("ReduceSum", graph.cast(above, np.int32), graph.ints([-1]), keepdims=0)


@operator("PRelu")
@dataclass(frozen=True)
class PRelu(Operator):
    """Leaky ReLU with one slope for all or one for each channel."""

    order: str = "NCHW"

    parameters = ("slope",)

    def infer(self, x, slope):
        channels = x.shape[1 if self.order == "NCHW" and len(x.shape) > 1 else -1] if x.shape else 1
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
