"""Random nets: chains and branches of operators with their shapes, scales and zero points.

A net grows step by step on values that the reference computes on the way, so that its quantized blobs use
their range. What is quantized comes from the input or from operators that round nothing: its bytes must be
equal in every runtime.
"""

import copy

import numpy as np
from operator_cases import CASES, flip, normal, quantized, sides, window

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import add_operator, make_init, set_argument
from caffe2_models.proto import caffe2_pb2


class RandomNet:
    """A net being grown; `values` holds each blob's last value, `feeds` what it is fed.

    Blobs `apart` are compared, but nothing reads them.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.predict = caffe2_pb2.NetDef(name="random")
        self.parameters, self.values, self.feeds = {}, {}, {}
        self.apart: set[str] = set()
        self.count = 0
        self.predict.external_input.append("data")

    def add(
        self, kind: str, *inputs, outputs: int = 1, in_place: bool = False, aside: bool = False, **arguments
    ) -> str:
        """Append an operator on blobs (by name) and parameters (by value); returns its first output.

        aside: nothing else reads it, nor is it compared, as for what rounding can turn over.
        """
        self.count += 1
        names = [value if isinstance(value, str) else self.parameter(kind, value) for value in inputs]
        results = [f"{kind.lower()}_{self.count}{'_side' * (i + aside)}" for i in range(outputs)]
        if in_place:
            results[0] = names[0]
        self.append(kind, names, results, results, arguments)
        return results[0]

    def append(self, kind: str, names: list[str], results: list[str], tensors: list[str], arguments: dict) -> None:
        """Append an operator, and compute those of its results that are tensors."""
        op = self.predict.op.add(type=kind, input=names, output=results)
        for key, value in arguments.items():
            set_argument(op.arg.add(name=key), value)
        single = Net(caffe2_pb2.NetDef(op=[op], external_input=names), make_init({}))
        known = {**self.parameters, **self.feeds, **self.values}
        self.values |= single.session("reference").run({name: known[name] for name in names}, tensors)

    def add_case(self, case, names: list[str]) -> str:
        """Append a case's operator on these blobs, its results apart; returns the first."""
        self.count += 1
        count = case.outputs if case.compared is None else case.compared
        results = [f"{case.type.lower()}_{self.count}_{i}{'_side' * (i >= count)}" for i in range(case.outputs)]
        renamed = {f"x{i}": name for i, name in enumerate(names)} | {f"y{i}": name for i, name in enumerate(results)}
        arguments = {key: with_names(value, renamed) for key, value in case.arguments.items()}
        self.append(case.type, names, results, results[:count], arguments)
        self.apart.update(results)
        return results[0]

    def fed(self, kind: str, value) -> str:
        """An input of the net; returns its name."""
        name = f"{kind.lower()}_{self.count}_x{len(self.feeds)}"
        self.feeds[name] = value
        self.predict.external_input.append(name)
        return name

    def parameter(self, kind: str, value) -> str:
        name = f"{kind.lower()}_{self.count}_p{len(self.parameters)}"
        self.parameters[name] = value
        return name

    def net(self) -> Net:
        self.predict.external_input.extend(self.parameters)
        read = {name for op in self.predict.op for name in op.input}
        written = dict.fromkeys(op.output[0] for op in self.predict.op)
        self.predict.external_output.extend(name for name in written if name not in read)
        return Net(self.predict, make_init(self.parameters, "random_init"))

    def shape(self, blob: str) -> tuple[int, ...]:
        return self.values[blob].shape

    def others(self, blob: str, fits) -> list[str]:
        """Blobs beside this one, of its kind, for which fits(value) holds."""
        kind, dtype = type(self.values[blob]), self.values[blob].dtype
        alike = {n: v for n, v in self.values.items() if isinstance(v, kind) and v.dtype == dtype}
        return [name for name, value in alike.items() if name not in {blob, *self.apart} and fits(value)]

    def choose(self, options: list):
        return options[int(self.rng.integers(0, len(options)))]


def random_net(rng: np.random.Generator, steps: int = 12, wild: bool = False) -> tuple[Net, dict, list[str]]:
    """(net, feeds, all its blobs): float32 throughout, or quantized with a float32 tail.

    wild: with operators that classifiers do not have.
    """
    net = RandomNet(rng)
    channels, height, width = int(rng.integers(1, 13)), *(int(d) for d in rng.integers(5, 15, 2))
    net.values["data"] = net.feeds["data"] = normal(rng, int(rng.integers(1, 3)), channels, height, width)
    blob = "data"
    if flip(rng, 0.6):
        blob = net.add("Int8Quantize", net.add("NCHW2NHWC", blob), **quantization(rng, -3, 3))
    for _ in range(steps):
        blob = grow(net, blob, wild)
    outcome = net.net()
    blobs = list(dict.fromkeys(name for op in outcome.predict.op for name in op.output))
    return outcome, net.feeds, [name for name in blobs if not name.endswith("_side")]


def grow(net: RandomNet, blob: str, wild: bool) -> str:
    """One step further from the blob, or from an earlier one."""
    rng = net.rng
    if flip(rng, 0.2):
        passed = {"data", *net.apart}
        earlier = [name for name in net.values if not name.endswith("_side") and name not in passed and net.shape(name)]
        blob = net.choose(earlier or [blob])
    value = net.values[blob]
    image = len(value.shape) == 4
    if isinstance(value, Int8Tensor):
        steps = INT8_IMAGE_STEPS if image else INT8_STEPS
    else:
        steps = IMAGE_STEPS if image else VECTOR_STEPS
        if wild:
            steps = steps + (WILD_IMAGE_STEPS if image else WILD_STEPS)
    return net.choose(steps)(net, blob) or blob


def with_names(value, renamed: dict[str, str]):
    """An operator's argument with other names of blobs, in nets that it holds too."""
    if isinstance(value, caffe2_pb2.NetDef):
        net = copy.deepcopy(value)
        for op in net.op:
            op.input[:] = [renamed.get(name, name) for name in op.input]
        net.external_input[:] = [renamed.get(name, name) for name in net.external_input]
        return net
    if isinstance(value, list):
        return [renamed.get(item, item) if isinstance(item, str) else item for item in value]
    return value


def quantization(rng, low: float, high: float) -> dict:
    """A scale and a zero point for real values between low and high."""
    low, high = min(low, 0.0), max(high, low + 1e-3, 1e-3)
    scale = np.float32((high - low) / 255 * rng.uniform(0.7, 1.3))
    zero_point = int(np.clip(round(-low / float(scale)), 0, 254))
    return {"Y_scale": float(scale), "Y_zero_point": zero_point}


def same(value: Int8Tensor) -> dict:
    return {"Y_scale": value.scale, "Y_zero_point": value.zero_point}


def fitting_window(net: RandomNet, size: tuple[int, int], kernels=(1, 2, 3, 5), **options) -> dict | None:
    """Arguments of a window that fits images of this size, or None where none was found."""
    for _ in range(10):
        arguments = window(net.rng, kernels, **options)
        kernel, dilation = sides(arguments, "kernel"), sides(arguments, "dilation")
        if all(d * (k - 1) + 1 <= s for d, k, s in zip(dilation, kernel, size, strict=True)):
            return arguments
    return None


def half_kernel(kernel: list[int]) -> list[int]:
    return [k // 2 for k in kernel]


# float32 images, NCHW


def conv(net, x):
    rng, (_, channels, *size) = net.rng, net.shape(x)
    if (arguments := fitting_window(net, size, legacy=True)) is None:
        return None
    group = net.choose([1, 1, channels, *([2] if channels % 2 == 0 else [])])
    outputs = channels if group == channels else group * int(rng.integers(1, 1 + 16 // group))
    fan_in = channels // group * np.prod(sides(arguments, "kernel"))
    weight = normal(rng, outputs, channels // group, *sides(arguments, "kernel"), scale=fan_in**-0.5)
    bias = [normal(rng, outputs, scale=0.2)] if flip(rng, 0.8) else []
    return net.add("Conv", x, weight, *bias, **arguments, **({"group": group} if group > 1 else {}))


def pool(net, x):
    options = {"dilate": False, "legacy": True, "largest_pad": half_kernel}
    arguments = fitting_window(net, net.shape(x)[2:], (2, 3), **options)
    return arguments and net.add(net.choose(["MaxPool", "AveragePool"]), x, **arguments)


def batch_norm(net, x):
    rng, channels = net.rng, net.shape(x)[1]
    vectors = [np.abs(normal(rng, channels)) + 0.5, *(normal(rng, channels, scale=0.3) for _ in range(2))]
    return net.add("SpatialBN", x, *vectors, np.abs(normal(rng, channels)) + np.float32(0.5), is_test=1, epsilon=1e-3)


def relu(net, x):
    return net.add("Relu", x, in_place=x != "data" and flip(net.rng))


def unary(net, x):
    return net.add(net.choose(["Sigmoid", "Tanh", "Swish", "Elu", "LeakyRelu", "Abs", "Negative", "Copy"]), x)


def clip(net, x):
    return net.add("Clip", x, min=-1.0, max=float(net.rng.uniform(0.5, 6)))


def arithmetic(net, x):
    other = net.others(x, lambda value: value.shape == net.shape(x))
    if not other:
        return net.add(net.choose(["Add", "Mul"]), x, normal(net.rng, *net.shape(x)))
    return net.add(net.choose(["Add", "Sum", "Max", "Sub", "Mul"]), x, net.choose(other))


def channel_arithmetic(net, x):
    channel = normal(net.rng, net.shape(x)[1])
    return net.add(net.choose(["Add", "Mul"]), x, channel, broadcast=1, axis=1)


def concat(net, x):
    shape = net.shape(x)
    other = net.others(x, lambda v: v.shape[:1] == shape[:1] and v.shape[2:] == shape[2:] and v.shape[1] < 30)
    if not other or shape[1] > 30:
        return None
    return net.add("Concat", x, *(net.choose(other) for _ in range(int(net.rng.integers(1, 3)))), outputs=2, axis=1)


def squeeze_excite(net, x):
    rng, channels = net.rng, net.shape(x)[1]
    pooled = net.add("AveragePool", x, global_pooling=1)
    squeezed = net.add("FC", pooled, normal(rng, 4, channels), normal(rng, 4))
    gate = net.add("Sigmoid", net.add("FC", net.add("Relu", squeezed), normal(rng, channels, 4), normal(rng, channels)))
    return net.add("Mul", x, gate, broadcast=1, axis=0)


def lrn(net, x):
    return net.add("LRN", x, outputs=2, size=net.choose([3, 5]), alpha=0.1, beta=0.75, bias=1.0)


def shuffle(net, x):
    divisors = [g for g in range(1, net.shape(x)[1] + 1) if net.shape(x)[1] % g == 0]
    return net.add("ChannelShuffle", x, group=net.choose(divisors), kernel=1)


def resize(net, x):
    if max(net.shape(x)[2:]) > 12:
        return None
    return net.add(net.choose(["ResizeNearest", "UpsampleBilinear"]), x, height_scale=2.0, width_scale=1.5)


def split(net, x):
    channels = net.shape(x)[1]
    if channels % 2:
        return None
    return net.add("Split", x, outputs=2, axis=1)


def pad(net, x):
    return net.add("PadImage", x, pad_t=1, pad_l=0, pad_b=2, pad_r=1)


def flatten(net, x):
    return net.add(net.choose(["Flatten", "FlattenToVec"]), x)


# operators of nets in the wild; float32 of any rank above 1


def smooth(net, x):
    kind = net.choose(["Atan", "Cbrt", "Erf", "Mish", "Scale", "ReplaceNaN", "Copy", "EnsureClipped"])
    return net.add(kind, x, **({"scale": 0.7} if kind == "Scale" else {}))


def logit(net, x):
    return net.add("Logit", net.add("Sigmoid", x), eps=0.01)


def select(net, x):
    """The larger of two blobs, by a comparison: where rounding turns it over, they are equal."""
    others = net.others(x, lambda value: value.shape == net.shape(x))
    other = net.choose(others) if others else net.add("Scale", x, scale=-0.5)
    kind, first, second = net.choose([("GT", x, other), ("LE", other, x), ("LT", x, other)])
    return net.add("Where", net.add(kind, first, second, aside=True), *((other, x) if kind == "LT" else (x, other)))


def gather(net, x):
    axis = int(net.rng.integers(0, len(net.shape(x))))
    where = net.rng.integers(0, net.shape(x)[axis], int(net.rng.integers(1, 6))).astype(
        net.choose([np.int32, np.int64])
    )
    return net.add("Gather", x, where, axis=axis)


def top_k(net, x):
    return net.add("TopK", x, outputs=2, k=int(net.rng.integers(1, net.shape(x)[-1] + 1)))


def repeat(net, x):
    rank = len(net.shape(x))
    if np.prod(net.shape(x)) > 2000:
        return None
    if flip(net.rng):
        return net.add("NumpyTile", x, net.rng.integers(1, 3, rank).astype(np.int64))
    return net.add("Expand", net.add("ReduceMean", x, axes=[0]), np.array([3, *[1] * (rank - 1)], np.int64))


def row_norm(net, x):
    shape = net.shape(x)
    if len(shape) < 2:
        return None
    width = int(np.prod(shape[1:]))
    kind = net.choose(["RMSNorm", "ElementwiseLinear"])
    vectors = [normal(net.rng, width, scale=0.5), normal(net.rng, width, scale=0.5)]
    return net.add(kind, x, *vectors, **({"eps": 1e-2} if kind == "RMSNorm" else {}), outputs=1 + (kind == "RMSNorm"))


def side_reduction(net, x):
    kind = net.choose(["ReduceFrontMean", "ReduceBackSum", "ReduceBackMax", "ReduceFrontMax"])
    return net.add("ExpandDims", net.add(kind, x), dims=[0])


def segment(net, x):
    """Rows in groups."""
    rows = net.shape(x)[0]
    lengths = net.rng.multinomial(rows, [0.5, 0.3, 0.2]).astype(np.int32)
    if flip(net.rng):
        return net.add(net.choose(["LengthsSum", "LengthsMean", "LengthsMax"]), x, lengths)
    return net.add("PackSegments", lengths[lengths > 0], x, outputs=1)


def cut_regions(net, x):
    """Regions of an image; of proposals, so that only a run tells how many."""
    images, _, height, width = net.shape(x)
    size = {"pooled_h": int(net.rng.integers(1, 6)), "pooled_w": int(net.rng.integers(1, 6))}
    size |= {"sampling_ratio": int(net.rng.integers(0, 3)), "aligned": int(flip(net.rng)), "spatial_scale": 0.25}
    if flip(net.rng) or images > 1:
        start = net.rng.uniform(-4, 4 * max(height, width) - 4, (3, 2))
        corners = np.concatenate([start, start + net.rng.uniform(1, 30, (3, 2))], 1)
        owners = np.sort(net.rng.integers(0, images, (3, 1)), axis=0)
        return net.add("RoIAlign", x, np.concatenate([owners, corners], 1).astype(np.float32), **size)
    scores = net.rng.random((1, 2, height, width), np.float32)
    info = np.array([[4 * height, 4 * width, 1]], np.float32)
    anchors = np.array([[-6, -6, 9, 9], [-12, -3, 15, 6]], np.float32)
    inputs = [scores, normal(net.rng, 1, 8, height, width, scale=0.2), info, anchors]
    rules = {"spatial_scale": 0.25, "post_nms_topN": 5, "min_size": 0.0}
    rois = net.add("GenerateProposals", *inputs, outputs=2, **rules)
    return net.add("RoIAlign", x, rois, **size)


def branch(net, x):
    """One of two nets, among the blobs around them."""
    then_net, else_net = caffe2_pb2.NetDef(name="then"), caffe2_pb2.NetDef(name="else")
    result = f"if_{net.count + 1}"
    add_operator(then_net, "Relu", [x], [f"{result}_side"])
    add_operator(then_net, "Sum", [f"{result}_side", x], [result])
    add_operator(else_net, "Scale", [x], [result], scale=-1.5)
    return net.add("If", np.array([flip(net.rng)]), x, then_net=then_net, else_net=else_net)


def any_operator(net, x):
    """One of all operators, on inputs of its own; the mean of what it gives is added to the blob, where it is numbers.

    Its inputs come from no layer, so that no rounding turns over what it compares, ranks or counts.
    """
    kind = net.choose(sorted(CASES.keys() - NOT_IN_NETS))
    case = CASES[kind](net.rng)
    if case.is_random or case.in_place or case.workspace or not case.outputs:
        return None
    names = [(net.fed if i < case.fed else net.parameter)(kind, value) for i, value in enumerate(case.inputs)]
    result = net.add_case(case, names)
    value = net.values[result]
    if isinstance(value, Int8Tensor) or value.dtype != np.float32 or not value.size:
        return None
    bounded = net.add("Clip", net.add("ReplaceNaN", result), min=-4.0, max=4.0)
    mean = net.add("Reshape", net.add("SumElements", bounded, average=1), outputs=2, shape=[1])
    net.apart.update(name for op in list(net.predict.op)[-4:] for name in op.output)
    return net.add("Add", x, mean, broadcast=1)


NOT_IN_NETS = {"AsyncIf", "If"}  # Caffe2 has the former on no CPU; the latter is `branch`


def group_norm(net, x):
    channels = net.shape(x)[1]
    vectors = [normal(net.rng, channels), normal(net.rng, channels)]
    return net.add("GroupNorm", x, *vectors, group=net.choose([1, channels]), epsilon=0.01)


def space_to_batch(net, x):
    _, _, height, width = net.shape(x)
    return net.add("SpaceToBatch", x, block_size=2) if height % 2 == 0 and width % 2 == 0 else None


WILD_STEPS = [
    *(smooth, logit, select, gather, top_k, repeat, row_norm, side_reduction, segment, branch),
    *(any_operator, any_operator, any_operator),
]
WILD_IMAGE_STEPS = [*WILD_STEPS, group_norm, space_to_batch, cut_regions]

IMAGE_STEPS = [
    *(
        conv,
        conv,
        conv,
        pool,
        batch_norm,
        relu,
        relu,
        unary,
        clip,
        arithmetic,
        arithmetic,
        channel_arithmetic,
    ),
    *(concat, squeeze_excite, lrn, shuffle, resize, split, pad, flatten),
]


# float32 vectors and the like


def fully_connected(net, x):
    shape = net.shape(x)
    if len(shape) != 2:
        return None
    outputs, inputs = int(net.rng.integers(1, 12)), shape[1]
    return net.add("FC", x, normal(net.rng, outputs, inputs, scale=inputs**-0.5), normal(net.rng, outputs))


def softmax(net, x):
    return net.add("Softmax", x) if len(net.shape(x)) > 1 else None


def reshape(net, x):
    return net.add("Reshape", x, outputs=2, shape=[0, -1, 1])


def transpose(net, x):
    return net.add("Transpose", x, axes=[int(a) for a in net.rng.permutation(len(net.shape(x)))])


def reduce(net, x):
    axis = int(net.rng.integers(0, len(net.shape(x))))
    return net.add(net.choose(["ReduceMean", "ReduceMax"]), x, axes=[axis], keepdims=1)


VECTOR_STEPS = [
    fully_connected,
    fully_connected,
    softmax,
    relu,
    unary,
    arithmetic,
    clip,
    reshape,
    transpose,
    reduce,
]


# quantized images, NHWC


def int8_layer(net, x, kind, weight_shape, outputs, **arguments):
    """A layer whose output's range is that of its accumulators, or a part of it."""
    rng, value = net.rng, net.values[x]
    zero_point = int(net.choose([128, 128, int(rng.integers(0, 256))]))
    weight = quantized(rng, *weight_shape, scale=np.exp(rng.uniform(-6, -2)), zero_point=zero_point)
    spread = value.scale * weight.scale * np.sqrt(np.prod(weight_shape) / outputs) * 60 * 60
    scale = max(spread * rng.uniform(0.5, 4) / 128, value.scale * weight.scale * 1.001)
    bias = Int8Tensor(rng.integers(-3000, 3000, outputs, dtype=np.int32), value.scale * weight.scale, 0)
    output = {"Y_scale": float(np.float32(scale)), "Y_zero_point": int(rng.integers(0, 255))}
    return net.add(kind, x, weight, bias, **arguments, **output)


def int8_conv(net, x):
    _, *size, channels = net.shape(x)
    if (arguments := fitting_window(net, size, legacy=flip(net.rng))) is None:
        return None
    group = net.choose([1, 1, channels, *([2] if channels % 2 == 0 else [])])
    outputs = channels if group == channels else group * int(net.rng.integers(1, 1 + 24 // group))
    shape = (outputs, *sides(arguments, "kernel"), channels // group)
    kind = net.choose(["Int8Conv", "Int8ConvRelu"])
    return int8_layer(net, x, kind, shape, outputs, order="NHWC", group=group, **arguments)


def int8_add(net, x):
    value = net.values[x]
    others = net.others(x, lambda other: other.shape == value.shape and 1 / 64 < other.scale / value.scale < 64)
    other = net.choose(others or [x])
    high = 200 * (value.scale + net.values[other].scale)
    kind = net.choose(["Int8Add", "Int8AddRelu", "Int8Sum", "Int8SumRelu"])
    return net.add(kind, x, other, **quantization(net.rng, -high, high))


def int8_pool(net, x):
    options = {"dilate": False, "largest_pad": half_kernel}
    arguments = fitting_window(net, net.shape(x)[1:3], (2, 3), **options)
    if flip(net.rng, 0.2):
        arguments = {"global_pooling": 1}
    if arguments is None:
        return None
    value = net.values[x]
    if flip(net.rng) and "global_pooling" not in arguments:
        kind = net.choose(["Int8MaxPool", "Int8MaxPoolRelu"])
        return net.add(kind, x, order="NHWC", **arguments, **same(value))
    kind = net.choose(["Int8AveragePool", "Int8AveragePoolRelu"])
    output = quantization(net.rng, -128 * value.scale, 128 * value.scale)
    return net.add(kind, x, order="NHWC", **arguments, **output)


def int8_moved(net, x):
    """Operators that keep scale and zero point."""
    value, rng = net.values[x], net.rng
    kind = net.choose(["Int8Relu", "Int8Transpose", "Int8ChannelShuffle", "Int8ResizeNearest", "Int8Slice"])
    arguments = {}
    if kind == "Int8Transpose":
        arguments = {"axes": [0, 2, 1, 3]}
    elif kind == "Int8ChannelShuffle":
        groups = [g for g in range(2, value.shape[3] + 1) if value.shape[3] % g == 0]
        if not groups:
            return None
        arguments = {"group": net.choose(groups), "kernel": 1, "order": "NHWC"}
    elif kind == "Int8ResizeNearest":
        if max(value.shape[1:3]) > 12:
            return None
        arguments = {"height_scale": 2.0, "width_scale": 1.5}
    elif kind == "Int8Slice":
        arguments = {"starts": [0, 0, 0, 0], "ends": [-1, -1, -1, int(rng.integers(1, value.shape[3] + 1))]}
    return net.add(kind, x, **arguments, **same(value))


def int8_concat(net, x):
    value = net.values[x]
    others = net.others(x, lambda v: v.shape[:3] == value.shape[:3] and same(v) == same(value))
    if value.shape[3] > 30:
        return None
    return net.add("Int8Concat", x, net.choose(others or [x]), axis=3, **same(value))


def int8_table(net, x):
    value = net.values[x]
    if flip(net.rng):
        return net.add("Int8Sigmoid", x, Y_scale=1 / 256, Y_zero_point=0)
    output = quantization(net.rng, -128 * value.scale, 128 * value.scale)
    return net.add("Int8LeakyRelu", x, alpha=float(net.rng.uniform(0.01, 0.9)), **output)


def int8_requantized(net, x):
    """Out of int8 and back by operators that round nothing."""
    real = net.add(net.choose(["Relu", "Copy", "Negative"]), net.add("Int8Dequantize", x))
    span = 255 * net.values[x].scale
    return net.add("Int8Quantize", real, **quantization(net.rng, -span, span))


def int8_flatten(net, x):
    return net.add("Int8Flatten", x, **same(net.values[x]))


def dequantize(net, x):
    real = net.add("Int8Dequantize", x)
    return net.add("NHWC2NCHW", real) if len(net.shape(real)) == 4 else real


INT8_IMAGE_STEPS = [
    *(int8_conv, int8_conv, int8_conv, int8_conv, int8_add, int8_add, int8_pool, int8_moved, int8_moved),
    *(int8_concat, int8_table, int8_requantized, int8_flatten, dequantize),
]


# quantized vectors


def int8_fully_connected(net, x):
    shape = net.shape(x)
    if len(shape) != 2:
        return None
    outputs = int(net.rng.integers(1, 12))
    return int8_layer(net, x, "Int8FC", (outputs, shape[1]), outputs)


def int8_softmax(net, x):
    return net.add("Int8Softmax", x, Y_scale=1 / 256, Y_zero_point=0)


INT8_STEPS = [int8_fully_connected, int8_fully_connected, int8_softmax, int8_add, int8_table, dequantize]
