"""Steps of optimizers: arithmetic on tensors, of which there are several in a row."""

import numpy as np

from exporters.layers import Blob
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.registry import Node, converts

DOMAIN = "ai.onnx.preview.training"


def _groups(blobs: tuple[Blob, ...], kinds: int) -> list[tuple[Blob, ...]]:
    """For each tensor its value, gradient ... from all values, all gradients ..."""
    count = len(blobs) // kinds
    return list(zip(*(blobs[i * count : (i + 1) * count] for i in range(kinds)), strict=True))


def _in_order(results: list[tuple[Blob, ...]]) -> list[Blob]:
    return [blob for kind in zip(*results, strict=True) for blob in kind]


class _Math:
    """Arithmetic on blobs, and on numbers, which become constants."""

    def __init__(self, node: Node):
        self.node = node

    def _apply(self, kind: str, a, b) -> Blob:
        blobs = [x if isinstance(x, Blob) else self.node.constant(np.float32(x)) for x in (a, b)]
        return self.node.add(kind, blobs)

    def add(self, a, b) -> Blob:
        return self._apply("Add", a, b)

    def sub(self, a, b) -> Blob:
        return self._apply("Sub", a, b)

    def mul(self, a, b) -> Blob:
        return self._apply("Mul", a, b)

    def div(self, a, b) -> Blob:
        return self._apply("Div", a, b)

    def sqrt(self, x: Blob) -> Blob:
        return self.node.add("Sqrt", [x])

    def one_plus(self, count: Blob, factor: float) -> Blob:
        return self.add(self.mul(as_type(self.node, count, np.dtype(np.float32)), factor), 1)

    def power(self, base: float, exponent: Blob) -> Blob:
        """base^exponent, of whole numbers too."""
        logarithm = np.log(np.float64(base)) if base > 0 else -np.inf
        return self.node.add("Exp", [self.mul(as_type(self.node, exponent, np.dtype(np.float32)), logarithm)])


@converts(f"{DOMAIN}.Adagrad")
def adagrad(node, rate, count, *blobs, decay_factor=0.0, epsilon=1e-6, norm_coefficient=0.0):
    m = _Math(node)
    rate = m.div(rate, m.one_plus(count, decay_factor))
    results = []
    for x, gradient, squares in _groups(blobs, 3):
        gradient = m.add(m.mul(x, norm_coefficient), gradient)
        squares = m.add(squares, m.mul(gradient, gradient))
        results.append((m.sub(x, m.div(m.mul(rate, gradient), m.add(m.sqrt(squares), epsilon))), squares))
    return _in_order(results)


@converts(f"{DOMAIN}.Momentum")
def momentum(node, rate, count, *blobs, alpha, beta, mode, norm_coefficient):
    """The first step, of count 0, takes the gradient whole."""
    m = _Math(node)
    whole = as_type(node, node.add("LE", [count, node.constant(count.dtype.type(0))]), np.dtype(np.float32))
    share = m.add(m.mul(whole, 1 - beta), beta)
    results = []
    for x, gradient, velocity in _groups(blobs, 3):
        gradient = m.add(m.mul(x, norm_coefficient), gradient)
        velocity = m.add(m.mul(velocity, alpha), m.mul(share, gradient))
        step = m.add(gradient, m.mul(velocity, alpha)) if mode == "nesterov" else velocity
        results.append((m.sub(x, m.mul(rate, step)), velocity))
    return _in_order(results)


@converts(f"{DOMAIN}.Adam")
def adam(node, rate, count, *blobs, alpha=0.9, beta=0.999, epsilon=1e-6, norm_coefficient=0.0,
         norm_coefficient_post=0.0):  # fmt: skip
    """The rate is corrected for the averages' beginning at 0, where it is not the first step."""
    m = _Math(node)
    first = as_type(node, node.add("LE", [count, node.constant(count.dtype.type(0))]), np.dtype(np.float32))
    shares = (m.sqrt(m.sub(1, m.power(beta, count))), m.sub(1, m.power(alpha, count)))
    root, rest = (m.add(share, m.mul(first, m.sub(1, share))) for share in shares)
    rate = m.div(m.mul(rate, root), rest)
    results = []
    for x, gradient, mean, squares in _groups(blobs, 4):
        gradient = m.add(m.mul(x, norm_coefficient), gradient)
        mean = m.add(m.mul(mean, alpha), m.mul(gradient, 1 - alpha))
        squares = m.add(m.mul(squares, beta), m.mul(m.mul(gradient, gradient), 1 - beta))
        x = m.sub(x, m.div(m.mul(rate, mean), m.add(m.sqrt(squares), epsilon)))
        results.append((m.mul(x, 1 - norm_coefficient_post), mean, squares))
    return _in_order(results)


@converts("ai.onnx.ml.Binarizer")
def binarizer(node, x, *, threshold=0.0):
    return as_type(node, node.add("GT", [x, node.constant(np.float32(threshold))]), x.dtype)


@converts("ai.onnx.ml.ArrayFeatureExtractor")
def feature_extractor(node, x, places):
    """Elements of the last dimension."""
    flat = node.constant(places.value.ravel()) if places.is_constant else node.add("Reshape", [places], shape=[-1])
    y = node.add("Gather", [x, flat], axis=x.rank - 1 or None)
    return y if x.rank > 1 else node.add("ExpandDims", [y], dims=[0])
