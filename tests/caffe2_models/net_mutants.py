"""Broken nets: real ones with bytes, names, numbers and operators changed."""

import copy

import numpy as np

from caffe2_models.proto import caffe2_pb2

HOSTILE_INTS = [
    0,
    -1,
    1,
    2,
    3,
    7,
    255,
    256,
    65536,
    1 << 20,
    1 << 31,
    (1 << 31) - 1,
    -(1 << 31),
    1 << 40,
    (1 << 63) - 1,
]
HOSTILE_FLOATS = [0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 1e-45]


def mutate_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """A file with bits flipped, bytes put in, taken out or repeated, or cut off."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        position = int(rng.integers(0, len(data) + 1))
        kind = rng.integers(0, 5)
        if kind == 0 and position < len(data):
            data[position] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[position:position] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 2:
            del data[position : position + int(rng.integers(1, 64))]
        elif kind == 3:
            data[position:position] = data[max(position - int(rng.integers(1, 256)), 0) : position]
        else:
            del data[position:]
    return bytes(data)


def mutate_net(rng: np.random.Generator, net: caffe2_pb2.NetDef) -> caffe2_pb2.NetDef:
    """A net that parses, but whose operators, names and arguments have changed."""
    net = copy.deepcopy(net)
    for _ in range(int(rng.integers(1, 4))):
        if not net.op:
            break
        operators = list(all_operators(net))
        op = operators[int(rng.integers(0, len(operators)))]
        MUTATIONS[int(rng.integers(0, len(MUTATIONS)))](rng, net, op)
    return net


def all_operators(net: caffe2_pb2.NetDef):
    """A net's operators, with those of the nets that they hold."""
    for op in net.op:
        yield op
        for argument in op.arg:
            if argument.HasField("n"):
                yield from all_operators(argument.n)


def mutate_feeds(rng: np.random.Generator, feeds: dict) -> dict:
    """Feeds of which one may have another shape or type."""
    feeds = dict(feeds)
    if feeds and rng.random() < 0.5:
        name = str(rng.choice(list(feeds)))
        if isinstance(feeds[name], np.ndarray):
            dtype = (
                feeds[name].dtype if rng.random() < 0.7 else np.dtype(str(rng.choice(["i4", "i8", "u1", "?", "f4"])))
            )
            feeds[name] = np.resize(feeds[name], another_shape(rng, feeds[name].shape)).astype(dtype)
    return feeds


def another_shape(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with a dimension more, less, at another place or of another size."""
    dims = list(shape)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(0, len(dims) + 1))
        kind = rng.integers(0, 4)
        if kind == 0 or not dims:
            dims.insert(at, int(rng.choice([0, 1, 1, 2, 5])))
        elif kind == 1:
            del dims[at % len(dims)]
        elif kind == 2:
            rng.shuffle(dims)
        else:
            dims[at % len(dims)] = int(rng.choice([0, 1, 2, 3, 7]))
    return tuple(dims)


def another(rng, net):
    return net.op[int(rng.integers(0, len(net.op)))]


def change_argument(rng, net, op):
    """Another number in a field that the argument has, or one that it should not have."""
    if not op.arg:
        return
    argument = op.arg[int(rng.integers(0, len(op.arg)))]
    if argument.floats and rng.random() < 0.7:
        argument.floats[int(rng.integers(0, len(argument.floats)))] = hostile_float(rng)
    elif argument.ints and rng.random() < 0.7:
        argument.ints[int(rng.integers(0, len(argument.ints)))] = hostile_int(rng)
    elif argument.HasField("f") and rng.random() < 0.7:
        argument.f = hostile_float(rng)
    elif rng.random() < 0.8:
        argument.i = hostile_int(rng)
    else:
        argument.s = rng.bytes(5)


def hostile_int(rng) -> int:
    return HOSTILE_INTS[int(rng.integers(0, len(HOSTILE_INTS)))]


def hostile_float(rng) -> float:
    return HOSTILE_FLOATS[int(rng.integers(0, len(HOSTILE_FLOATS)))]


def resize_list(rng, net, op):
    for argument in op.arg:
        if argument.ints and rng.random() < 0.5:
            if rng.random() < 0.5:
                argument.ints.append(hostile_int(rng))
            else:
                del argument.ints[-1]


def refill(rng, net, op):
    """A fill of another shape or type instead of a parameter's own."""
    if "Fill" not in op.type:
        return
    shape = next((tuple(argument.ints) for argument in op.arg if argument.name == "shape"), ())
    del op.arg[:]
    op.type = "ConstantFill"
    op.arg.add(name="shape").ints.extend(another_shape(rng, shape) if min(shape, default=0) >= 0 else shape)
    op.arg.add(name="dtype", i=int(rng.choice([1, 1, 1, 1, 2, 3, 5, 10, 13])))


def repeat_argument(rng, net, op):
    if op.arg:
        added = op.arg.add()
        added.CopyFrom(op.arg[0])
        added.i = hostile_int(rng)


def drop_argument(rng, net, op):
    if op.arg:
        del op.arg[int(rng.integers(0, len(op.arg)))]


def change_type(rng, net, op):
    op.type = str(rng.choice([another(rng, net).type, "Int8Conv", "Softmax", "Reshape", "NoSuchOperator", ""]))


def drop_input(rng, net, op):
    if op.input:
        del op.input[int(rng.integers(0, len(op.input)))]


def rewire(rng, net, op):
    donor = another(rng, net)
    names = [*donor.input, *donor.output, "nowhere"]
    if op.input:
        op.input[int(rng.integers(0, len(op.input)))] = str(rng.choice(names))


def add_output(rng, net, op):
    op.output.append(str(rng.choice(["extra", *op.input])))


def drop_outputs(rng, net, op):
    del op.output[:]


def reorder(rng, net, op):
    i, j = (int(v) for v in rng.integers(0, len(net.op), 2))
    net.op[i].CopyFrom(copy.deepcopy(net.op[j]))


def lengthen_name(rng, net, op):
    op.output.append("n" * int(rng.choice([10, 1000, 100_000])))


def nest(rng, net, op):
    inner = op.arg.add(name="net").n
    for _ in range(int(rng.integers(1, 40))):
        inner = inner.op.add(type="If").arg.add(name="net").n


MUTATIONS = [
    *(change_argument, change_argument, change_argument, resize_list, repeat_argument, drop_argument),
    *(
        refill,
        refill,
        refill,
        change_type,
        drop_input,
        rewire,
        rewire,
        add_output,
        drop_outputs,
        reorder,
        lengthen_name,
        nest,
    ),
]
