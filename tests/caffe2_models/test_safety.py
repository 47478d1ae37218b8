"""Files are untrusted: whatever they hold, one clear error, little memory and little time."""

import resource
import time

import numpy as np
import pytest
from google.protobuf import text_format
from net_mutants import mutate_bytes, mutate_feeds, mutate_net
from operator_cases import CASES
from random_nets import random_net
from test_detection import detector, feeds_of

from caffe2_models import Int8Tensor, ModelError, Net, UnsupportedError, load_net
from caffe2_models.build import add_operator, make_init, set_argument
from caffe2_models.files import read_net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types
from caffe2_models.tensors import TensorType
from caffe2_models.wire import length_delimited

CHEAP = 20_000_000  # multiply-accumulates and elements, in a mutant that is run

MUTANTS = 2000


@pytest.fixture(scope="module")
def victims() -> list[tuple[bytes, bytes, dict]]:
    """(predict, init, feeds) of nets with every operator, with nets within operators and boxes."""
    nets = [(case.net(), case.feeds) for case in (make(np.random.default_rng(3)) for make in CASES.values())]
    nets += [random_net(np.random.default_rng(seed), wild=seed % 2 == 1)[:2] for seed in range(80)]
    nets += [(detector(), feeds_of(np.random.default_rng(seed), seed % 2)) for seed in range(10)]
    return [(net.predict.SerializeToString(), net.init.SerializeToString(), feeds) for net, feeds in nets]


@pytest.mark.slow
def test_mutants_are_run_or_refused(victims, tmp_path):
    """2,000 broken nets: no crash, no hang, no large allocation, no error but ours."""
    predict_path, init_path = tmp_path / "predict.pb", tmp_path / "init.pb"
    outcomes, start = {"refused": 0, "inferred": 0, "run": 0}, time.process_time()
    with MemoryLimit(1 << 30):
        for seed in range(MUTANTS):
            rng = np.random.default_rng([seed, 5])
            predict, init, feeds = victims[int(rng.integers(0, len(victims)))]
            files, which = [predict, init], int(rng.integers(0, 2)) if init else 0
            if rng.random() < 0.4:
                files[which] = mutate_bytes(rng, files[which])
            else:
                files[which] = mutate_net(rng, caffe2_pb2.NetDef.FromString(files[which])).SerializeToString()
            predict_path.write_bytes(files[0])
            init_path.write_bytes(files[1])
            outcomes[outcome(predict_path, init_path if init else None, mutate_feeds(rng, feeds))] += 1
    assert time.process_time() - start < 60
    assert outcomes["refused"] > MUTANTS / 4 and outcomes["run"] > MUTANTS / 10, outcomes


def outcome(predict_path, init_path, feeds) -> str:
    """How far a mutant gets; an error other than ours fails the test."""
    try:
        net = load_net(predict_path, init_path)
        shapes = {name: value.shape for name, value in feeds.items() if value.dtype == np.float32}
        if len(shapes) == len(feeds):
            net.infer_shapes(shapes)
        steps = list(net.walk(input_types(feeds)))
        net.parameters  # noqa: B018
        if sum(step.macs + sum(t.size for t in step.outputs) for step in steps) > CHEAP:
            return "inferred"
        net.session("reference").run(feeds)
        return "run"
    except ModelError as error:
        assert len(str(error)) < 2000 and str(error), "an error is one clear line"
        return "refused"


class MemoryLimit:
    """Within this block the process may not grow by more than so many bytes: numpy raises MemoryError."""

    def __init__(self, size: int):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_AS, self.before)


def net_of(kind: str, inputs: list, outputs=("y",), **arguments) -> Net:
    """One operator on the blob x and parameters."""
    predict = caffe2_pb2.NetDef(name="net", external_input=["x"])
    parameters = {f"p{i}": value for i, value in enumerate(inputs)}
    add_operator(predict, kind, ["x", *parameters], outputs, **arguments)
    return Net(predict, make_init(parameters))


IMAGE = {"x": (1, 3, 8, 8)}

WEIGHT = np.zeros((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (net_of("Conv", [WEIGHT], kernel=3, stride=0), "stride .* below 1"),
        (net_of("Conv", [WEIGHT], kernel=3, pad=-1), "invalid pads"),
        (net_of("Conv", [WEIGHT], kernel=3, dilation=1 << 40), "dilation .*expected at most"),
        (net_of("Conv", [WEIGHT], kernel=3, stride=1.0), "argument stride is not an integer"),
        (net_of("Conv", [WEIGHT], kernel=20), "weight .* does not fit"),
        (net_of("Conv", [np.zeros((4, 3, 9, 9), np.float32)], kernel=9), "a kernel of 9 on 8 pixels"),
        (net_of("Conv", [WEIGHT.astype(np.int32)], kernel=3), "an input of int32; float32 is expected"),
        (net_of("Conv", [], kernel=3), "1 inputs; 2 to 3 are expected"),
        (net_of("PadImage", [], pad=100_000), "would take more than 1024 MiB"),
        (net_of("Tile", [], tiles=1 << 40, axis=0), "would take more than 1024 MiB"),
        (net_of("Reshape", [], shape=[-1, -1]), "invalid shape"),
        (net_of("Reshape", [], shape=[0, 0, 0, 0, 5]), "cannot take the shape"),
        (net_of("Relu", [], outputs=["y", "z"]), "2 outputs are named, 1 are known"),
        (net_of("Int8Quantize", [], Y_scale=float("nan")), "a scale of nan"),
        (net_of("Int8Quantize", [], Y_scale=-1.0), "a scale of -1"),
        (net_of("Int8Quantize", [], Y_scale=1.0, Y_zero_point=256), "a zero point of 256"),
        (net_of("Int8Relu", [], Y_scale=1.0), "an input of float32; a uint8 one with scale"),
        (net_of("Add", [Int8Tensor(np.zeros(3, np.uint8), 1.0, 0)]), "a quantized input"),
        (net_of("Relu", [WEIGHT]), "2 inputs; 1 are expected"),
        (net_of("Conv", [WEIGHT], kernel=3, pad=1 << 20), "would take more than 1024 MiB"),
        (
            net_of(
                "Conv",
                [np.zeros((1, 3, 1, 1), np.float32)],
                kernel=1,
                pad_t=1 << 19,
                pad_l=300,
                pad_b=0,
                pad_r=0,
                stride=1 << 20,
            ),
            "more than 1024 MiB of its own",
        ),
        (net_of("MaxPool", [], kernel=8192, pad=8191), "would take minutes"),
        (net_of("ConstantFill", [], shape=[1 << 62, 4], value=0.0), "given twice"),
        (net_of("LRN", [], outputs=["y", "s"], size=1 << 33, alpha=1.0, beta=1.0), "size must be odd"),
        (net_of("Concat", [np.zeros((1, 3, 8, 7), np.float32)], outputs=["y", "i"]), "do not join"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(net, message):
    with pytest.raises(ModelError, match=f"^operator 0 .*{message}"):
        net.infer_shapes(IMAGE)


@pytest.mark.parametrize("method", ["infer", "compute"])
def test_a_bug_of_ours_is_not_called_bad_input(method, monkeypatch):
    net = net_of("Relu", [])

    def broken(self, x):
        return {}["no such key"]

    monkeypatch.setattr(type(net.operators[0].operator), method, broken)
    with pytest.raises(KeyError, match="no such key"):
        net.session("reference").run({"x": np.zeros(2, np.float32)})


def init_of(kind: str, **arguments) -> Net:
    init = caffe2_pb2.NetDef()
    add_operator(init, kind, [], ["w"], **arguments)
    return Net(caffe2_pb2.NetDef(), init)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (
            init_of("GivenTensorFill", shape=[1000, 1000], values=[0.0]),
            "declares 1000000 values, 1 are given",
        ),
        (init_of("GivenTensorFill", shape=[-2, -3], values=[0.0] * 6), "a shape with a negative dimension"),
        (init_of("GivenTensorFill", shape=[1 << 33, 1 << 33]), "would take more than 1024 MiB"),
        (init_of("ConstantFill", shape=[1 << 40], value=0.0), "would take more than 1024 MiB"),
        (
            init_of("Int8GivenTensorFill", shape=[3], values=b"ab", Y_scale=1.0),
            "declares 3 values, 2 are given",
        ),
        (init_of("Int8GivenTensorFill", shape=[2], values=b"ab", Y_scale=0.0), "a scale of 0"),
    ],
)
def test_declared_sizes_are_checked_against_what_is_there(init, message):
    with pytest.raises(ModelError, match=message):
        _ = init.parameters


def test_many_fills_do_not_add_up():
    init = caffe2_pb2.NetDef()
    for i in range(100):
        add_operator(init, "ConstantFill", [], [f"w{i}"], shape=[1 << 27], value=0.0)
    with pytest.raises(ModelError, match="parameters would take more than 1024 MiB"):
        _ = Net(caffe2_pb2.NetDef(), init).parameters


def test_live_blobs_do_not_add_up():
    """Fifty copies of 512 MiB at once are refused, though each is allowed."""
    predict = caffe2_pb2.NetDef(external_input=["x"])
    for i in range(50):
        add_operator(predict, "Tile", ["x"], [f"t{i}"], tiles=1 << 27, axis=0)
    add_operator(predict, "Sum", [f"t{i}" for i in range(50)], ["y"])
    with pytest.raises(ModelError, match="more than 4096 MiB at a time"):
        Net(predict).session("reference").run({"x": np.zeros(1, np.float32)})


def test_an_argument_given_twice():
    net = net_of("Softmax", [], axis=1)
    set_argument(net.predict.op[0].arg.add(name="axis"), 1)
    assert net.infer_shapes(IMAGE)["y"][0] == (1, 3, 8, 8)  # twice the same is harmless
    other = net_of("Softmax", [], axis=1)
    set_argument(other.predict.op[0].arg.add(name="axis"), 2)
    with pytest.raises(ModelError, match="argument axis is given twice, with different values"):
        other.infer_shapes(IMAGE)


def test_cyclic_and_unordered_nets():
    predict = caffe2_pb2.NetDef(name="net", external_input=["x"])
    add_operator(predict, "Add", ["x", "b"], ["a"])
    add_operator(predict, "Relu", ["a"], ["b"])
    with pytest.raises(ModelError, match="blob b is read before anything writes it"):
        Net(predict).infer_shapes({"x": (2,)})


def test_all_unsupported_operators_are_listed_at_once():
    """Those of the nets that operators hold, too."""
    inner = caffe2_pb2.NetDef(op=[caffe2_pb2.OperatorDef(type="Yolo", input=["x"], output=["y"])])
    predict = caffe2_pb2.NetDef(name="net", external_input=["x", "holds"])
    add_operator(predict, "Unheard", ["x"], ["z"])
    add_operator(predict, "If", ["holds"], [], then_net=inner)
    with pytest.raises(UnsupportedError, match="net: operators that are not supported: Unheard, Yolo"):
        Net(predict).infer_shapes({"x": (1,), "holds": (1,)})
    with pytest.raises(UnsupportedError, match="Unheard, Yolo"):
        Net(predict).session()


def loop(net: str, asks: str = "") -> Net:
    """A loop on a vector x, while the one bool y holds; `net` and `asks` are operators as text."""
    predict = caffe2_pb2.NetDef(external_input=["x", "y"])
    nets = {"loop_net": text_format.Parse(net, caffe2_pb2.NetDef())}
    nets |= {"cond_net": text_format.Parse(asks, caffe2_pb2.NetDef())} if asks else {}
    add_operator(predict, "While", ["y"], [], **nets)
    add_operator(predict, "Copy", ["x"], ["z"])
    return Net(predict)


DOUBLE = 'op { type: "Add" input: "x" input: "x" output: "x" }'


@pytest.mark.parametrize("backend", ["reference", "onnxruntime"])
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (DOUBLE, r"While -> x\): a loop that has not ended after 50 rounds"),
        ('op { type: "Concat" input: "x" input: "x" output: "x" output: "i" arg { name: "axis" i: 0 } }', "would take"),
        ('op { type: "ReduceSum" input: "x" output: "y" }', "a condition of"),
    ],
)
def test_endless_and_growing_loops_end(net, message, backend, monkeypatch):
    monkeypatch.setattr("caffe2_models.operators.control.MAX_ROUNDS", 50)
    feeds = {"x": np.ones(2, np.float32), "y": np.array([True])}
    with pytest.raises(ModelError, match=message):
        loop(net).session(backend).run(feeds)


def test_loops_within_loops_are_refused():
    inner = f'op {{ type: "While" input: "y" arg {{ name: "loop_net" n {{ {DOUBLE} }} }} }}'
    with pytest.raises(UnsupportedError, match="a loop within a loop"):
        loop(inner).infer_types({"x": TensorType((2,)), "y": TensorType((1,), np.dtype(np.bool_))})


@pytest.mark.parametrize("name", ["type", "name", "input", "output"])
def test_overlong_names(name):
    op = caffe2_pb2.OperatorDef(type="Relu", input=["x"], output=["y"])
    if name in ("type", "name"):
        setattr(op, name, "n" * 1_000_000)
    else:
        getattr(op, name).append("n" * 1_000_000)
    with pytest.raises(ModelError, match="a name of 1000000 characters") as error:
        Net(caffe2_pb2.NetDef(op=[op]))
    assert len(str(error.value)) < 200


FILES = {
    "empty.pb": (b"", "is empty"),
    "cut.pb": (caffe2_pb2.NetDef(name="x" * 50).SerializeToString()[:20], "truncated or not a Caffe2 net"),
    "noise.pb": (bytes(range(256)) * 4, "truncated or not a Caffe2 net"),
    "length.pb": (b"\x12\xff\xff\xff\xff\x7f" + b"x" * 10, "truncated or not a Caffe2 net"),
    "latin.pb": (b"\x12\x04\x0a\x02\xff\xfe", "a name that is no text"),
    "noise.pbtxt": (b"\x00\xff garbage {{{", "truncated or not a Caffe2 net"),
    "open.pbtxt": (b'name: "x" op { type: "Relu"', "truncated or not a Caffe2 net"),
    "deep.pbtxt": (b"op { arg { n { " * 5000, "truncated or not a Caffe2 net"),
    "pointer.pb": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "is a Git LFS pointer"),
    "pointer.pbtxt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "`git lfs pull`"),
    "squeezenet.onnx": (b"\x08\x08\x12\x07pytorch\x3a\x02\x12\x00", "is an ONNX model"),
    "mobilenet.tflite": (b"\x1c\0\0\0TFL3\x14\0", "is a TFLite model"),
    "model.pth": (b"PK\x03\x04\0\0", "is a zip archive, as PyTorch writes"),
    "field.pbtxt": (b"no_such_field: 1", "no field named"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_nets(name, tmp_path):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_net(tmp_path / name)


def test_nested_messages(tmp_path):
    net = b""
    for _ in range(1000):  # an operator with an argument with a net with...
        argument = length_delimited(8, len(net)) + net
        operator = length_delimited(5, len(argument)) + argument
        net = length_delimited(2, len(operator)) + operator
    (tmp_path / "deep.pb").write_bytes(net)
    with pytest.raises(ModelError, match="truncated or not a Caffe2 net"):
        load_net(tmp_path / "deep.pb")


def test_every_truncation_of_a_net(tmp_path):
    """A net cut anywhere is either refused or a shorter net; never anything else."""
    case = CASES["Int8Conv"](np.random.default_rng(0))
    content = case.net().init.SerializeToString()
    for length in range(1, len(content), max(1, len(content) // 200)):
        (tmp_path / "cut.pb").write_bytes(content[:length])
        try:
            net = read_net(tmp_path / "cut.pb")
        except ModelError:
            continue
        assert content.startswith(net.SerializeToString()[:1])


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ModelError, match=r"none.pb: no such file"):
        load_net(tmp_path / "none.pb")
    with pytest.raises(ModelError, match="no Caffe2 net in this folder"):
        load_net(tmp_path)
    (tmp_path / "model.pb").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        read_net(tmp_path / "model.pb")


def test_feeds_that_do_not_fit():
    net = net_of("Relu", [])
    session = net.session("reference")
    with pytest.raises(ModelError, match="no value for x"):
        session.run({})
    with pytest.raises(ModelError, match="no blob nowhere in the net"):
        session.run({"x": np.zeros(2, np.float32)}, ["nowhere"])
    with pytest.raises(ModelError, match="other is no input"):
        session.run({"x": np.zeros(2, np.float32), "other": np.zeros(2, np.float32)})
    with pytest.raises(ModelError, match="an input of int64; float32 is expected"):
        session.run({"x": np.zeros(2, np.int64)})
    with pytest.raises(ModelError, match="numbers are expected"):
        session.run({"x": np.array(["a"])})
