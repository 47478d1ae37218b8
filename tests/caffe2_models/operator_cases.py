"""Random cases for every operator: shapes, arguments and contents such as nets have them.

CASES maps an operator's type to a function of a numpy Generator that draws one case. Tests compare what all
runtimes and the real Caffe2 compute for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import add_operator, make_init, set_argument
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types


@dataclass
class Case:
    """One operator with its inputs; the first `fed` of them are fed, the others are parameters."""

    type: str
    inputs: list
    arguments: dict = field(default_factory=dict)
    outputs: int = 1
    fed: int = 1
    is_random: bool = False  # another content at each run of Caffe2
    in_place: bool = False  # the output is the first input
    compared: int | None = None  # outputs that are tensors in Caffe2: the first of them, where not all
    workspace: dict = field(default_factory=dict)  # blobs fed that no operator names

    def net(self) -> Net:
        names = [f"x{i}" for i in range(len(self.inputs))]
        predict = caffe2_pb2.NetDef(name=self.type, external_input=names)
        written = ["x0"] if self.in_place else [f"y{i}" for i in range(self.outputs)]
        op = add_operator(predict, self.type, names, written)
        for name, value in self.arguments.items():
            set_argument(op.arg.add(name=name), value)
        parameters = dict(zip(names[self.fed :], self.inputs[self.fed :], strict=True))
        return Net(predict, make_init(parameters, "init"))

    @property
    def feeds(self) -> dict:
        return {f"x{i}": value for i, value in enumerate(self.inputs[: self.fed])} | self.workspace

    @property
    def has_exact_sizes(self) -> bool:
        """Whether the sizes of all blobs are known before a run."""
        return all(step.is_exact for step in self.net().walk(input_types(self.feeds)))

    @property
    def output_names(self) -> list[str]:
        return ["x0"] if self.in_place else [f"y{i}" for i in range(self.outputs)][: self.compared]


CASES: dict[str, Callable[[np.random.Generator], Case]] = {}


def case(*types: str):
    """Register a function (rng, type) -> Case for these operators."""

    def register(function):
        for kind in types:
            CASES[kind] = lambda rng, kind=kind: function(rng, kind)
        return function

    return register


def normal(rng, *shape, scale=1.0) -> np.ndarray:
    return (rng.normal(0, scale, shape)).astype(np.float32)


def dims(rng, rank, low=1, high=8) -> tuple[int, ...]:
    return tuple(int(d) for d in rng.integers(low, high, rank))


def any_rank(rng, low=1, high=5) -> tuple[int, ...]:
    return dims(rng, int(rng.integers(low, high)))


def flip(rng, chance=0.5) -> bool:
    return bool(rng.random() < chance)


def quantized(rng, *shape, scale=None, zero_point=None) -> Int8Tensor:
    scale = float(np.float32(np.exp(rng.uniform(-6, -1)) if scale is None else scale))
    zero_point = int(rng.choice([0, 128, 255, rng.integers(0, 256)]) if zero_point is None else zero_point)
    return Int8Tensor(rng.integers(0, 256, shape, dtype=np.uint8), scale, zero_point)


def output_quantization(rng, low=-6.0, high=-1.0) -> dict:
    zero_point = int(rng.choice([0, 128, 255, rng.integers(0, 256)]))
    return {"Y_scale": float(np.float32(np.exp(rng.uniform(low, high)))), "Y_zero_point": zero_point}


def same_quantization(x: Int8Tensor) -> dict:
    return {"Y_scale": x.scale, "Y_zero_point": x.zero_point}


def window(rng, kernels=(1, 2, 3, 5), dilate=True, legacy=False, largest_pad=None) -> dict:
    """Kernel, stride, pads and dilation in one of their spellings."""
    square, form = flip(rng), rng.integers(0, 3)
    kernel = [int(k) for k in rng.choice(kernels, 2)]
    stride = [int(s) for s in rng.choice([1, 1, 2, 3], 2)]
    dilation = [int(d) for d in rng.choice([1, 1, 1, 2], 2)] if dilate else [1, 1]
    if square:
        kernel[1], stride[1], dilation[1] = kernel[0], stride[0], dilation[0]
    limit = [k // 2 + (1 if flip(rng, 0.2) else 0) for k in kernel] if largest_pad is None else largest_pad(kernel)
    pads = [int(rng.integers(0, limit[i % 2] + 1)) for i in range(4)]
    if flip(rng):
        pads = [min(limit)] * 4
    arguments = {}
    if form == 0:
        arguments = {"kernels": kernel, "strides": stride, "pads": pads}
        arguments |= {"dilations": dilation} if dilate else {}
    elif form == 1 or not square or len(set(pads)) > 1:
        for name, values in [("kernel", kernel), ("stride", stride)] + ([("dilation", dilation)] if dilate else []):
            arguments |= {f"{name}_h": values[0], f"{name}_w": values[1]}
        arguments |= dict(zip(("pad_t", "pad_l", "pad_b", "pad_r"), pads, strict=True))
    else:
        arguments = {"kernel": kernel[0], "stride": stride[0], "pad": pads[0]}
        arguments |= {"dilation": dilation[0]} if dilate and dilation[0] > 1 else {}
    if legacy and flip(rng, 0.3):
        kind = int(rng.choice([1, 2, 3, 3]))
        arguments = {"kernel": kernel[0], "stride": min(stride[0], kernel[0]), "legacy_pad": kind}
        arguments |= {"pad": int(rng.integers(0, kernel[0] // 2 + 1))} if kind == 3 else {}
    return arguments


def sides(arguments: dict, name: str) -> list[int]:
    """[height, width] of a window's argument, in whatever spelling it is."""
    if f"{name}s" in arguments:
        return arguments[f"{name}s"]
    return [arguments.get(key, arguments.get(name, 1)) for key in (f"{name}_h", f"{name}_w")]


def extent(arguments: dict) -> int:
    """An image side that every window of these arguments fits on."""
    return max(sides(arguments, "dilation")) * (max(sides(arguments, "kernel")) - 1) + 1


def image(rng, channels, side, order="NCHW", batch=None) -> tuple[int, ...]:
    height, width = (int(v) for v in rng.integers(side, side + 8, 2))
    batch = int(rng.integers(1, 3)) if batch is None else batch
    return (batch, channels, height, width) if order == "NCHW" else (batch, height, width, channels)


UNARY = """Abs Alias Atan Cbrt Ceil Copy CopyFromCPUInput Cos Cosh Cube EnsureCPUOutput EnsureDense Erf Exp
FlattenToVec Floor Mish Negative Relu Shape Sigmoid Sign Sin Sinh Softplus Softsign Sqr StopGradient Swish Tan
Tanh"""


@case(*UNARY.split())
def unary(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng), scale=float(rng.choice([1, 5])))])


@case("Sqrt", "Log", "Rsqrt")
def positive(rng, kind):
    return Case(kind, [np.abs(normal(rng, *any_rank(rng))) + np.float32(0.01)])


@case("Gelu")
def gelu(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng), scale=3)], {"fast_gelu": int(flip(rng))} if flip(rng) else {})


@case("Dropout")
def dropout(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], {"is_test": 1, "ratio": float(rng.uniform(0.1, 0.9))})


@case("Clip", "EnsureClipped")
def clip(rng, kind):
    bounds = {"min": -float(rng.random()), "max": float(rng.random())}
    return Case(kind, [normal(rng, *any_rank(rng))], {key: v for key, v in bounds.items() if flip(rng, 0.8)})


@case("ReluN")
def relu_n(rng, kind):
    return Case(
        kind,
        [normal(rng, *any_rank(rng), scale=5)],
        {"n": 6.0} if flip(rng) else {"n": float(rng.uniform(1, 4))},
    )


@case("HardSigmoid")
def hard_sigmoid(rng, kind):
    arguments = {"alpha": float(rng.uniform(0.1, 0.4)), "beta": float(rng.uniform(0.3, 0.7))}
    return Case(kind, [normal(rng, *any_rank(rng), scale=4)], arguments if flip(rng, 0.8) else {})


@case("Elu", "LeakyRelu")
def with_alpha(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], {"alpha": float(rng.uniform(0.05, 1))} if flip(rng, 0.8) else {})


@case("Selu")
def selu(rng, kind):
    arguments = {"alpha": float(rng.uniform(1, 2)), "scale": float(rng.uniform(1.01, 2))}
    return Case(kind, [normal(rng, *any_rank(rng))], arguments if flip(rng) else {})


@case("PRelu")
def prelu(rng, kind):
    order = str(rng.choice(["NCHW", "NHWC"]))
    shape = any_rank(rng, 2)
    channels = shape[1] if order == "NCHW" else shape[-1]
    slope = normal(rng, 1 if flip(rng, 0.3) else channels)
    return Case(kind, [normal(rng, *shape), slope], {"order": order} if order == "NHWC" or flip(rng) else {})


@case("Cast")
def cast(rng, kind):
    to = rng.choice(["int32", "int64", "float", "uint8", "bool", "double", "int16", "uint16", "int8"])
    codes = {
        "float": 1,
        "int32": 2,
        "bool": 5,
        "uint8": 6,
        "int8": 7,
        "uint16": 8,
        "int16": 9,
        "int64": 10,
        "double": 13,
    }
    low = 0 if str(to).startswith("u") else -100
    x = rng.uniform(low, 100, any_rank(rng)).astype(rng.choice([np.float32, np.int32, np.int64]))
    return Case(kind, [x], {"to": codes[str(to)] if flip(rng) else str(to)})


@case("Add", "Sub", "Mul", "Div")
def binary(rng, kind):
    shape = any_rank(rng, 2)
    form = rng.integers(0, 4)
    arguments = {}
    if form == 0:
        other = shape
    elif form == 1:  # numpy's broadcasting, of either operand
        other = tuple(d if flip(rng) else 1 for d in shape)
        other = other[int(rng.integers(0, len(shape))) :]
    elif form == 2:
        start = int(rng.integers(0, len(shape)))
        stop = int(rng.integers(start + 1, len(shape) + 1))
        other = shape[start:stop]
        arguments = {"broadcast": 1, "axis": start}
    else:
        other = shape[int(rng.integers(0, len(shape))) :]
        arguments = {"broadcast": 1}
    a, b = normal(rng, *shape), normal(rng, *other)
    if kind == "Div":
        b = np.sign(b) * (np.abs(b) + np.float32(0.1))
    if form == 1 and flip(rng):
        a, b = b, a
        if kind == "Div":
            b = np.sign(b) * (np.abs(b) + np.float32(0.1))
    return Case(kind, [a, b], arguments, fed=1 if flip(rng) else 2)


@case("Pow")
def power(rng, kind):
    x = np.abs(normal(rng, *any_rank(rng))) + np.float32(0.1)
    if flip(rng):
        return Case(kind, [x], {"exponent": float(rng.choice([2, 0.5, 3, -1, 1.7]))})
    return Case(kind, [x, normal(rng, *x.shape)], {"exponent": 3.0} if flip(rng, 0.2) else {}, fed=2)


@case("Sum", "SumInt", "Max", "Min")
def variadic(rng, kind):
    shape = any_rank(rng)
    count = int(rng.integers(1, 5))
    return Case(kind, [normal(rng, *shape) for _ in range(count)], fed=count)


@case("Conv")
def conv(rng, kind):
    order = "NHWC" if flip(rng, 0.25) else "NCHW"
    depthwise = flip(rng, 0.3)
    group = int(rng.integers(2, 9)) if depthwise else int(rng.choice([1, 1, 2, 3]))
    channels = group if depthwise else group * int(rng.integers(1, 9))
    outputs = channels * (1 if flip(rng, 0.8) else 2) if depthwise else group * int(rng.integers(1, 9))
    arguments = window(rng, legacy=True)
    kernel = sides(arguments, "kernel")
    x = normal(rng, *image(rng, channels, extent(arguments), order))
    shape = (outputs, channels // group, *kernel)
    weight = normal(rng, *(shape if order == "NCHW" else (outputs, *kernel, channels // group)), scale=0.3)
    if group > 1:
        arguments["group"] = group
    if order == "NHWC":
        arguments["order"] = order
    return Case(kind, [x, weight, *([normal(rng, outputs)] if flip(rng, 0.8) else [])], arguments)


@case("ConvTranspose")
def conv_transpose(rng, kind):
    order = "NHWC" if flip(rng, 0.25) else "NCHW"
    arguments = window(rng, (2, 3, 4), dilate=False, largest_pad=lambda kernel: [0, 0] if min(kernel) < 3 else [1, 1])
    kernel = sides(arguments, "kernel")
    if min(sides(arguments, "stride")) > 1 and flip(rng):
        arguments |= {"adj": 1} if flip(rng) else {"adjs": [int(v) for v in rng.integers(0, 2, 2)]}
    group = int(rng.choice([1, 1, 2]))
    channels, outputs = group * int(rng.integers(1, 6)), group * int(rng.integers(1, 6))
    x = normal(rng, *image(rng, channels, 3, order))
    shape = (channels, outputs // group, *kernel)
    weight = normal(rng, *(shape if order == "NCHW" else (channels, *kernel, outputs // group)), scale=0.3)
    if group > 1:
        arguments["group"] = group
    if order == "NHWC":
        arguments["order"] = order
    return Case(kind, [x, weight, *([normal(rng, outputs)] if flip(rng, 0.8) else [])], arguments)


@case("MaxPool", "AveragePool")
def pool(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    if flip(rng, 0.2):
        arguments, side = {"global_pooling": 1}, 1
    else:
        arguments = window(rng, (1, 2, 3, 4), dilate=False, legacy=True, largest_pad=lambda k: [k[0] // 2, k[1] // 2])
        side = extent(arguments)
    if kind == "AveragePool" and flip(rng, 0.4):
        arguments["count_include_pad"] = 1
    if order == "NHWC":
        arguments["order"] = order
    return Case(kind, [normal(rng, *image(rng, int(rng.integers(1, 9)), side, order))], arguments)


@case("FC", "FCTransposed")
def fully_connected(rng, kind):
    shape = any_rank(rng, 2)
    axis = int(rng.integers(1, len(shape)))
    inner, outputs = int(np.prod(shape[axis:])), int(rng.integers(1, 9))
    weight = normal(rng, outputs, inner) if kind == "FC" else normal(rng, inner, outputs)
    arguments = {"axis": axis} if axis > 1 else {}
    return Case(kind, [normal(rng, *shape), weight, normal(rng, outputs)], arguments, fed=1 if flip(rng, 0.8) else 3)


@case("MatMul")
def matmul(rng, kind):
    rows, inner, columns = dims(rng, 3)
    trans_a, trans_b = flip(rng), flip(rng)
    a = normal(rng, *((inner, rows) if trans_a else (rows, inner)))
    b = normal(rng, *((columns, inner) if trans_b else (inner, columns)))
    arguments = {"trans_a": 1} if trans_a else {}
    arguments |= {"trans_b": 1} if trans_b else {}
    if not trans_a and flip(rng, 0.3) and rows % 2 == 0:
        a, arguments = a.reshape(2, rows // 2, inner), {**arguments, "axis_a": 2}
    return Case(kind, [a, b], arguments, fed=1 if flip(rng) else 2)


@case("BatchMatMul")
def batch_matmul(rng, kind):
    rows, inner, columns = dims(rng, 3)
    batch = any_rank(rng, 1, 3)
    trans_a, trans_b = flip(rng), flip(rng)
    arguments = {"trans_a": int(trans_a), "trans_b": int(trans_b)}
    other = batch
    if flip(rng, 0.3):
        arguments["broadcast"] = 1
        other = tuple(d if flip(rng) else 1 for d in batch)[int(rng.integers(0, len(batch) + 1)) :]
    a = normal(rng, *batch, *((inner, rows) if trans_a else (rows, inner)))
    b = normal(rng, *other, *((columns, inner) if trans_b else (inner, columns)))
    return Case(kind, [a, b], arguments, fed=1 if flip(rng) else 2)


@case("SpatialBN")
def spatial_bn(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    channels = int(rng.integers(1, 9))
    arguments = (
        {"is_test": 1} | ({"epsilon": 1e-3} if flip(rng) else {}) | ({"order": order} if order == "NHWC" else {})
    )
    vectors = [
        normal(rng, channels),
        normal(rng, channels),
        normal(rng, channels),
        np.abs(normal(rng, channels)) + 1,
    ]
    return Case(kind, [normal(rng, *image(rng, channels, 1, order)), *vectors], arguments)


@case("AffineChannel")
def affine_channel(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    channels = int(rng.integers(1, 9))
    arguments = {"order": order} if order == "NHWC" else {}
    return Case(
        kind,
        [normal(rng, *image(rng, channels, 1, order)), normal(rng, channels), normal(rng, channels)],
        arguments,
    )


@case("InstanceNorm")
def instance_norm(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    channels = int(rng.integers(1, 9))
    arguments = ({"epsilon": 1e-3} if flip(rng) else {}) | ({"order": order} if order == "NHWC" else {})
    x = normal(rng, *image(rng, channels, 2, order))
    return Case(kind, [x, normal(rng, channels), normal(rng, channels)], arguments)


@case("LayerNorm")
def layer_norm(rng, kind):
    shape = tuple(d + 3 for d in any_rank(rng, 2))  # fewer would make rounding errors visible
    axis = int(rng.integers(1, len(shape)))
    arguments = {"axis": axis} | ({"epsilon": 1e-3} if flip(rng) else {})
    inputs = [normal(rng, *shape)]
    if flip(rng):
        arguments["elementwise_affine"] = 1
        inputs += [normal(rng, *shape[axis:]), normal(rng, *shape[axis:])]
    return Case(kind, inputs, arguments, 3)


@case("LRN")
def lrn(rng, kind):
    order = "NHWC" if flip(rng, 0.3) else "NCHW"
    arguments = {
        "size": int(rng.choice([1, 3, 5])),
        "alpha": float(rng.uniform(1e-4, 1)),
        "beta": float(rng.uniform(0.3, 1)),
    }
    arguments |= ({"bias": float(rng.uniform(1, 2))} if flip(rng) else {}) | (
        {"order": order} if order == "NHWC" else {}
    )
    return Case(
        kind,
        [normal(rng, *image(rng, int(rng.integers(1, 12)), 1, order))],
        arguments,
        int(rng.integers(1, 3)),
    )


@case("Normalize")
def normalize(rng, kind):
    shape = any_rank(rng)
    arguments = {"axis": int(rng.integers(-len(shape), len(shape)))} if flip(rng, 0.8) else {}
    return Case(kind, [normal(rng, *shape)], arguments)


@case("Softmax")
def softmax(rng, kind):
    shape = any_rank(rng, 2)
    arguments = {"axis": int(rng.integers(0, len(shape)))} if flip(rng) else {}
    return Case(kind, [normal(rng, *shape, scale=3)], arguments)


@case("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
def reduction(rng, kind):
    shape = any_rank(rng)
    axes = [int(a) for a in rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))]]
    arguments = {"axes": sorted(axes) if flip(rng, 0.9) else []} if flip(rng, 0.8) else {}
    arguments |= {"keepdims": int(flip(rng))} if flip(rng) else {}
    x = normal(rng, *shape)
    if kind in ("ReduceSum", "ReduceMax", "ReduceMin") and flip(rng, 0.3):
        x = (x * 1000).astype(rng.choice([np.int32, np.int64]))
    return Case(kind, [x], arguments)


def new_shape(rng, shape) -> list[int]:
    """Another shape with as many elements, as Reshape takes it."""
    wanted = [int(np.prod(shape[:1])), *shape[1:]] if flip(rng) else [shape[0], int(np.prod(shape[1:]))]
    if flip(rng):
        wanted = [int(np.prod(shape))]
    if flip(rng):
        wanted[int(rng.integers(0, len(wanted)))] = -1
    if wanted[0] == shape[0] and flip(rng):
        wanted[0] = 0
    return wanted


@case("Reshape")
def reshape(rng, kind):
    shape = any_rank(rng)
    wanted = new_shape(rng, shape)
    if flip(rng, 0.3):
        return Case(kind, [normal(rng, *shape), np.array(wanted, rng.choice([np.int32, np.int64]))], {}, 2)
    return Case(kind, [normal(rng, *shape)], {"shape": wanted}, 2)


@case("Flatten")
def flatten(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [normal(rng, *shape)], {"axis": int(rng.integers(0, len(shape) + 1))} if flip(rng) else {})


@case("Squeeze")
def squeeze(rng, kind):
    shape = list(any_rank(rng))
    axes = sorted(int(a) for a in rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))])
    for axis in axes:
        shape[axis] = 1
    return Case(kind, [normal(rng, *shape)], {"dims": axes})


@case("ExpandDims")
def expand_dims(rng, kind):
    shape = any_rank(rng, 1, 4)
    axes = sorted(int(a) for a in rng.permutation(len(shape) + 1)[: int(rng.integers(1, 3))])
    return Case(kind, [normal(rng, *shape)], {"dims": axes})


@case("Transpose")
def transpose(rng, kind):
    shape = any_rank(rng)
    arguments = {"axes": [int(a) for a in rng.permutation(len(shape))]} if flip(rng, 0.8) else {}
    return Case(kind, [normal(rng, *shape)], arguments)


@case("NCHW2NHWC", "NHWC2NCHW")
def order_switch(rng, kind):
    return Case(kind, [normal(rng, *dims(rng, 4))])


@case("ChannelShuffle")
def channel_shuffle(rng, kind):
    group, order = int(rng.integers(1, 5)), "NHWC" if flip(rng, 0.3) else "NCHW"
    arguments = {"group": group, "kernel": 1} | ({"order": order} if order == "NHWC" else {})
    return Case(kind, [normal(rng, *image(rng, group * int(rng.integers(1, 5)), 1, order))], arguments)


@case("Concat", "DepthConcat")
def concat(rng, kind):
    count, shape = int(rng.integers(1, 5)), any_rank(rng, 2)
    form = rng.integers(0, 3)
    if form == 2:
        axis = int(rng.integers(0, len(shape) + 1))
        inputs, arguments = [normal(rng, *shape) for _ in range(count)], {"axis": axis, "add_axis": 1}
    else:
        axis = int(rng.integers(-len(shape), len(shape))) if form else 1
        arguments = {"axis": axis} if form else ({"order": "NCHW"} if flip(rng) else {})
        inputs = []
        for _ in range(count):
            part = list(shape)
            part[axis] = int(rng.integers(1, 6))
            inputs.append(normal(rng, *part))
    return Case(kind, inputs, arguments, 2, fed=count)


@case("Split", "DepthSplit")
def split(rng, kind):
    shape, count = list(any_rank(rng, 2)), int(rng.integers(1, 4))
    axis = int(rng.integers(0, len(shape))) if flip(rng) else None
    sizes = [int(s) for s in rng.integers(1, 4, count)]
    if flip(rng, 0.3):
        sizes = [sizes[0]] * count
    shape[1 if axis is None else axis] = sum(sizes)
    arguments = {} if axis is None else {"axis": axis}
    if set(sizes) == {1}:
        arguments["add_axis"] = int(flip(rng))
    inputs = [normal(rng, *shape)]
    if flip(rng, 0.3):
        inputs.append(np.array(sizes, np.int32))
    elif len(set(sizes)) > 1 or flip(rng):
        arguments["split"] = sizes
    return Case(kind, inputs, arguments, count)


def bounds(rng, shape) -> tuple[list[int], list[int]]:
    """starts and ends that cut one dimension."""
    axis = int(rng.integers(0, len(shape)))
    count = int(rng.integers(axis + 1, len(shape) + 1))
    starts, ends = [0] * count, [-1] * count
    starts[axis] = int(rng.integers(0, shape[axis]))
    ends[axis] = int(rng.integers(starts[axis] + 1, shape[axis] + 1)) - (shape[axis] + 1 if flip(rng) else 0)
    return starts, ends


@case("Slice")
def slices(rng, kind):
    shape = any_rank(rng)
    starts, ends = bounds(rng, shape)
    if flip(rng, 0.3):
        dtype = rng.choice([np.int32, np.int64])
        return Case(kind, [normal(rng, *shape), np.array(starts, dtype), np.array(ends, dtype)])
    return Case(kind, [normal(rng, *shape)], {"starts": starts, "ends": ends})


@case("PadImage")
def pad_image(rng, kind):
    order, mode = "NHWC" if flip(rng, 0.3) else "NCHW", str(rng.choice(["constant", "reflect", "edge"]))
    arguments = {"mode": mode} if mode != "constant" or flip(rng) else {}
    if flip(rng):
        arguments["pad"] = 2
    else:
        lowest = -1 if flip(rng, 0.3) else 0
        arguments |= {side: int(rng.integers(lowest, 3)) for side in ("pad_t", "pad_l", "pad_b", "pad_r")}
    arguments |= {"value": 0.5} if mode == "constant" and flip(rng) else {}
    arguments |= {"order": order} if order == "NHWC" else {}
    return Case(kind, [normal(rng, *image(rng, int(rng.integers(1, 5)), 3, order))], arguments)


@case("ResizeNearest", "UpsampleBilinear")
def resize(rng, kind):
    order = "NHWC" if kind == "ResizeNearest" and flip(rng, 0.3) else "NCHW"
    height, width = (float(rng.choice([1.0, 2.0, 3.0, 1.5, 0.5, 0.5, 0.2])) for _ in range(2))
    x = normal(rng, *image(rng, int(rng.integers(1, 5)), 2, order))
    arguments = {"order": order} if order == "NHWC" else {}
    if flip(rng, 0.2):
        return Case(kind, [x, np.array([height, width], np.float32)], arguments)
    return Case(kind, [x], {"height_scale": height, "width_scale": width, **arguments})


@case("Int8Quantize")
def int8_quantize(rng, kind):
    arguments = output_quantization(rng)
    x = normal(rng, *any_rank(rng), scale=100 * arguments["Y_scale"])
    if flip(rng, 0.3):  # ties
        x = (rng.integers(-300, 300, x.shape) / 2 * np.float32(arguments["Y_scale"])).astype(np.float32)
    return Case(kind, [x], arguments)


@case("Int8Dequantize")
def int8_dequantize(rng, kind):
    return Case(kind, [quantized(rng, *any_rank(rng))])


@case("Int8Add", "Int8Sum", "Int8AddRelu", "Int8SumRelu")
def int8_add(rng, kind):
    shape, output = any_rank(rng), output_quantization(rng, -5, -1)
    if kind.endswith("Relu"):
        output["Y_zero_point"] = min(output["Y_zero_point"], 254)
    return Case(kind, [quantized(rng, *shape), quantized(rng, *shape)], output, fed=2)


@case("Int8AveragePool", "Int8AveragePoolRelu", "Int8MaxPool", "Int8MaxPoolRelu")
def int8_pool(rng, kind):
    channels = int(rng.integers(1, 40))
    if flip(rng, 0.3) and "Average" in kind:
        arguments, side = {"global_pooling": 1}, 2
    else:
        arguments = window(rng, (2, 3, 7), dilate=False, legacy=flip(rng), largest_pad=lambda k: [k[0] // 2, k[1] // 2])
        side = extent(arguments)
    x = quantized(rng, *image(rng, channels, side, "NHWC"))
    arguments |= same_quantization(x) if "Max" in kind else output_quantization(rng, -5, -1)
    return Case(kind, [x], {"order": "NHWC", **arguments})


@case("Int8Relu", "Int8Flatten")
def int8_same(rng, kind):
    x = quantized(rng, *any_rank(rng))
    return Case(kind, [x], same_quantization(x))


@case("Int8LeakyRelu")
def int8_leaky_relu(rng, kind):
    x = quantized(rng, 256, 2)
    x.data[:] = np.arange(256)[:, None]
    arguments = output_quantization(rng, -5, -1) if flip(rng) else same_quantization(x)
    return Case(kind, [x], {"alpha": float(rng.uniform(0.01, 1)), **arguments})


@case("Int8Sigmoid")
def int8_sigmoid(rng, kind):
    x = quantized(rng, 256, 1, scale=np.exp(rng.uniform(-7, 1)))
    x.data[:] = np.arange(256)[:, None]
    return Case(kind, [x], {"Y_scale": 1 / 256, "Y_zero_point": 0})


@case("Int8Softmax")
def int8_softmax(rng, kind):
    x = quantized(rng, int(rng.integers(1, 5)), *any_rank(rng, 1, 4), scale=np.exp(rng.uniform(-7, 1)))
    return Case(kind, [x], {"Y_scale": 1 / 256, "Y_zero_point": 0})


def weights_and_bias(rng, shape, outputs, x_scale, y_scale) -> tuple[Int8Tensor, Int8Tensor]:
    """uint8 weights and an int32 bias such that outputs neither vanish nor all saturate."""
    inner = int(np.prod(shape)) // outputs
    scale = np.float32(
        min(y_scale * np.exp(rng.uniform(-1, 2)) / (x_scale * np.sqrt(inner) * 74), 0.999 * y_scale / x_scale)
    )
    weight = quantized(rng, *shape, scale=scale, zero_point=int(rng.choice([128, 128, 0, 255, rng.integers(0, 256)])))
    bias = rng.integers(-2000, 2000, outputs, dtype=np.int32)
    return weight, Int8Tensor(bias, float(np.float32(x_scale) * np.float32(scale)), 0)


@case("Int8Conv", "Int8ConvRelu")
def int8_conv(rng, kind):
    style = rng.choice(["pointwise", "depthwise", "grouped", "dense"])
    if style == "depthwise":
        group = int(rng.integers(2, 50))
        channels, outputs, kernels = group, group, (3, 5, 7)
    else:
        group = int(rng.choice([2, 4])) if style == "grouped" else 1
        channels, outputs = group * int(rng.integers(1, 24)), group * int(rng.integers(1, 24))
        kernels = (1,) if style == "pointwise" else (1, 2, 3)
    arguments = window(rng, kernels, legacy=True)
    kernel = sides(arguments, "kernel")
    x = quantized(rng, *image(rng, channels, extent(arguments), "NHWC"))
    quantization = output_quantization(rng)
    weight, bias = weights_and_bias(
        rng, (outputs, *kernel, channels // group), outputs, x.scale, quantization["Y_scale"]
    )
    if group > 1:
        arguments["group"] = group
    return Case(kind, [x, weight, bias], {"order": "NHWC", **arguments, **quantization})


@case("Int8ConvTranspose")
def int8_conv_transpose(rng, kind):
    arguments = window(rng, (2, 3, 4), dilate=False, largest_pad=lambda kernel: [0, 0] if min(kernel) < 3 else [1, 1])
    kernel = sides(arguments, "kernel")
    if min(sides(arguments, "stride")) > 1 and flip(rng):
        arguments["adj"] = 1
    channels, outputs = int(rng.integers(1, 12)), int(rng.integers(1, 12))
    x = quantized(rng, *image(rng, channels, 3, "NHWC"))
    quantization = output_quantization(rng)
    weight, bias = weights_and_bias(rng, (channels, *kernel, outputs), outputs, x.scale, quantization["Y_scale"])
    return Case(kind, [x, weight, bias], {"order": "NHWC", **arguments, **quantization})


@case("Int8FC")
def int8_fc(rng, kind):
    shape, outputs = (int(rng.integers(1, 4)), *any_rank(rng, 1, 4)), int(rng.integers(1, 20))
    x = quantized(rng, *shape)
    quantization = output_quantization(rng)
    weight, bias = weights_and_bias(rng, (outputs, int(np.prod(shape[1:]))), outputs, x.scale, quantization["Y_scale"])
    return Case(kind, [x, weight, bias], quantization)


@case("Int8Reshape")
def int8_reshape(rng, kind):
    x = quantized(rng, *any_rank(rng))
    return Case(kind, [x], {"shape": new_shape(rng, x.shape), **same_quantization(x)}, 2)


@case("Int8Transpose")
def int8_transpose(rng, kind):
    x = quantized(rng, *any_rank(rng))
    return Case(kind, [x], {"axes": [int(a) for a in rng.permutation(len(x.shape))], **same_quantization(x)})


@case("Int8ChannelShuffle")
def int8_channel_shuffle(rng, kind):
    group = int(rng.integers(2, 6))
    x = quantized(rng, *image(rng, group * int(rng.integers(1, 9)), 1, "NHWC"))
    return Case(kind, [x], {"group": group, "kernel": 1, "order": "NHWC", **same_quantization(x)})


@case("Int8ResizeNearest")
def int8_resize(rng, kind):
    x = quantized(rng, *image(rng, int(rng.integers(1, 9)), 2, "NHWC"))
    scales = {
        "height_scale": float(rng.choice([1, 2, 3, 1.5])),
        "width_scale": float(rng.choice([1, 2, 3, 0.5])),
    }
    return Case(kind, [x], {**scales, **same_quantization(x)})


@case("Int8Slice")
def int8_slice(rng, kind):
    x = quantized(rng, *any_rank(rng))
    axis = int(rng.integers(0, len(x.shape)))
    if flip(rng):
        start = int(rng.integers(0, x.shape[axis]))
        cut = {"dim": axis, "start_idx": start, "end_idx": int(rng.integers(start + 1, x.shape[axis] + 1))}
    else:
        starts, ends = bounds(rng, x.shape)
        cut = {"starts": starts, "ends": ends}
    return Case(kind, [x], {**cut, **same_quantization(x)})


@case("Int8Concat")
def int8_concat(rng, kind):
    shape, count = list(dims(rng, 4)), int(rng.integers(1, 4))
    form = rng.integers(0, 3)
    axis, arguments = [(3, {"order": "NHWC"}), (int(rng.integers(0, 4)), {}), (0, {})][form]
    if form == 1:
        arguments["axis"] = axis
    first = quantized(rng)
    inputs = []
    for _ in range(count):
        part = list(shape)
        part[axis] = int(rng.integers(1, 9))
        inputs.append(quantized(rng, *part, scale=first.scale, zero_point=first.zero_point))
    return Case(kind, inputs, {**arguments, **same_quantization(inputs[0])}, 1, fed=count)


@case("GivenTensorFill", "GivenTensorDoubleFill", "GivenTensorIntFill", "GivenTensorInt16Fill",
      "GivenTensorInt64Fill", "GivenTensorBoolFill")  # fmt: skip
def given_tensor(rng, kind):
    shape = any_rank(rng)
    values = normal(rng, *shape) if kind in ("GivenTensorFill", "GivenTensorDoubleFill") else (
        rng.integers(0, 2 if "Bool" in kind else 1000, shape))  # fmt: skip
    return Case(kind, [], {"shape": list(shape), "values": values.ravel()}, fed=0)


@case("GivenTensorByteStringToUInt8Fill")
def given_bytes(rng, kind):
    shape = any_rank(rng)
    values = rng.integers(0, 256, shape, dtype=np.uint8)
    return Case(kind, [], {"shape": list(shape), "values": [values.tobytes()]}, fed=0)


@case("ConstantFill")
def constant_fill(rng, kind):
    kinds = [
        (0.5, {}),
        (3, {}),
        (3, {"dtype": 2}),
        (0.5, {"dtype": 1}),
        (7, {"dtype": 10}),
        (1, {"dtype": 5}),
    ]
    value, dtype = kinds[int(rng.integers(0, len(kinds)))]
    form = rng.integers(0, 3)
    if form == 0:
        return Case(kind, [], {"shape": list(any_rank(rng)), "value": value, **dtype}, fed=0)
    extra = {"extra_shape": [2]} if flip(rng) else {}
    if form == 1:
        return Case(kind, [normal(rng, *any_rank(rng))], {"value": value, **dtype, **extra})
    shape = np.array(any_rank(rng), np.int64)
    return Case(kind, [shape], {"value": value, "input_as_shape": 1, **dtype, **extra}, fed=0)


@case("RangeFill", "DiagonalFill")
def counted_fill(rng, kind):
    shape = dims(rng, 2) if flip(rng) else (int(rng.integers(1, 5)),) * 3
    arguments = {"value": 2.5} if kind == "DiagonalFill" else {}
    form = rng.integers(0, 3)
    if form == 0:
        return Case(kind, [], {"shape": list(shape), **arguments}, fed=0)
    if form == 1:
        return Case(kind, [normal(rng, *shape)], arguments)
    return Case(kind, [np.array(shape, np.int64)], {"input_as_shape": 1, **arguments}, fed=0)


@case("UniformFill", "GaussianFill", "XavierFill", "MSRAFill")
def random_fill(rng, kind):
    return Case(kind, [], {"shape": list(any_rank(rng, 2))}, fed=0, is_random=True)


@case("Int8GivenTensorFill")
def int8_given_tensor(rng, kind):
    x = quantized(rng, *any_rank(rng))
    return Case(kind, [], {"shape": list(x.shape), "values": x.data.tobytes(), **same_quantization(x)}, fed=0)


@case("Int8GivenIntTensorFill")
def int8_given_int_tensor(rng, kind):
    values = rng.integers(-1000, 1000, any_rank(rng))
    return Case(kind, [], {"shape": list(values.shape), "values": values.ravel(), "Y_scale": 0.5}, fed=0)


# Families in files of their own.
import cases_control  # noqa: E402, F401
import cases_detection  # noqa: E402, F401
import cases_elementwise  # noqa: E402, F401
import cases_indexing  # noqa: E402, F401
import cases_lengths  # noqa: E402, F401
import cases_losses  # noqa: E402, F401
import cases_places  # noqa: E402, F401
import cases_recurrent  # noqa: E402, F401
import cases_reductions  # noqa: E402, F401
import cases_style  # noqa: E402, F401
import cases_windows  # noqa: E402, F401
