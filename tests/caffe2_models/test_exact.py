"""The exact runtime on whole nets: equal to the reference, whatever the order, names, threads and outputs."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from caffe2_models import Int8Tensor, Net, kernels, load_net
from caffe2_models.build import add_operator, make_init
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import published_net

needs_kernels = pytest.mark.skipif(not kernels.is_available(), reason="the kernels were not built")


class Builder:
    """A small int8 net on an image, with random weights."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.predict = caffe2_pb2.NetDef(external_input=["data"])
        self.parameters = {}
        add_operator(self.predict, "NCHW2NHWC", ["data"], ["nhwc"])
        self.add("Int8Quantize", ["nhwc"], "image", 0.02, 120)

    def add(self, kind, inputs, output, scale=0.05, zero_point=3, **arguments):
        quantized = dict(Y_scale=scale, Y_zero_point=zero_point) if kind.startswith("Int8") else {}
        add_operator(self.predict, kind, inputs, [output], **quantized, **arguments)

    def convolution(self, x, y, shape, kind="Int8Conv", **arguments):
        """shape: [out, kh, kw, in / group]."""
        weight = self.rng.integers(0, 256, shape, dtype=np.uint8)
        bias = self.rng.integers(-500, 500, shape[0]).astype(np.int32)
        self.parameters |= {f"{y}_w": Int8Tensor(weight, 0.01, 131), f"{y}_b": Int8Tensor(bias, 0.0005, 0)}
        pads = [size // 2 for size in shape[1:3]] * 2
        self.add(kind, [x, f"{y}_w", f"{y}_b"], y, kernels=shape[1:3], pads=pads, order="NHWC", **arguments)

    def net(self, *outputs) -> Net:
        self.predict.external_output.extend(outputs)
        return Net(self.predict, make_init(self.parameters))


def residual_net() -> Net:
    """Stem, depthwise, a branch that is added, a float island, names that are written twice, a classifier."""
    net = Builder()
    net.convolution("image", "stem", (24, 3, 3, 3), "Int8ConvRelu", stride=2)
    net.convolution("stem", "depthwise", (24, 3, 3, 1), group=24)
    net.convolution("depthwise", "narrow", (24, 1, 1, 24))
    net.add("Int8Sum", ["narrow", "stem"], "stem", 0.06, 7)  # the sum takes the stem's name
    net.convolution("stem", "wide", (40, 1, 1, 24), zero_point=100)
    net.add("Int8Dequantize", ["wide"], "real")
    net.add("Clip", ["real"], "real", min=-1.0, max=2.0)
    net.add("Int8Quantize", ["real"], "wide", 0.02, 50)
    net.add("Int8AveragePool", ["wide"], "pooled", 0.02, 50, global_pooling=1, order="NHWC")
    weight, bias = net.rng.integers(0, 256, (10, 40), dtype=np.uint8), np.arange(10, dtype=np.int32)
    net.parameters |= {"fc_w": Int8Tensor(weight, 0.01, 131), "fc_b": Int8Tensor(bias, 0.0002, 0)}
    net.add("Int8FC", ["pooled", "fc_w", "fc_b"], "scores")
    net.add("Int8Dequantize", ["scores"], "logits")
    return net.net("logits")


def images(seed=0, shape=(2, 3, 29, 31)):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def assert_same(have, want):
    assert have.keys() == want.keys()
    for name, value in want.items():
        other = have[name]
        if isinstance(value, Int8Tensor):
            assert (other.scale, other.zero_point) == (value.scale, value.zero_point)
            value, other = value.data, other.data
        assert other.dtype == value.dtype
        np.testing.assert_array_equal(other, value, err_msg=name)


def kernels_alone(session) -> bool:
    """Whether every operator of the session's last plan became a kernel's."""
    return all(isinstance(segment, range) for segment in list(session._stages.values())[-1].compiled.segments)


BLOBS = ["nhwc", "image", "depthwise", "narrow", "stem", "wide", "real", "pooled", "logits", "fc_w", "data"]


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_blob_equals_the_reference(threads):
    net, feeds = residual_net(), {"data": images()}
    session = net.session("exact", threads=threads)
    for outputs in [None, BLOBS, *[[blob] for blob in BLOBS]]:
        assert_same(session.run(feeds, outputs), net.session("reference").run(feeds, outputs))


@needs_kernels
def test_auto_takes_it_for_int8_nets():
    assert residual_net().session().backend == "exact"


@needs_kernels
def test_inputs_of_any_kind():
    """A quantized feed, a strided view, float64, other shapes in one session."""
    net = residual_net()
    session, reference = net.session("exact", threads=1), net.session("reference")
    wide = images(shape=(1, 3, 40, 44))
    quantized = {"image": Int8Tensor(images(1, (1, 9, 8, 3)).view(np.uint8)[..., :3].copy(), 0.02, 120)}
    for feeds in [
        {"data": wide[:, :, ::2, ::-1]},
        {"data": wide.astype(np.float64)},
        {"data": wide},
        *[{"data": images(shape=(1, 3, 8 + i, 9))} for i in range(session.max_stages)],
    ]:
        assert_same(session.run(feeds), reference.run(feeds))
    assert len(session._stages) == session.max_stages

    rest = Net(caffe2_pb2.NetDef(op=net.predict.op[2:], external_output=["logits"]), net.init)
    assert_same(rest.session("exact").run(quantized), rest.session("reference").run(quantized))


@needs_kernels
def test_results_are_the_callers_own():
    """A later run does not change an earlier run's results, nor the feeds."""
    session, data = residual_net().session("exact", threads=1), images()
    first = session.run({"data": data}, BLOBS)
    kept = {name: np.copy(v.data if isinstance(v, Int8Tensor) else v) for name, v in first.items()}
    session.run({"data": images(1)}, BLOBS)
    for name, value in first.items():
        np.testing.assert_array_equal(value.data if isinstance(value, Int8Tensor) else value, kept[name])


@needs_kernels
def test_one_session_in_many_threads():
    net = residual_net()
    session = net.session("exact", threads=2)
    batches = [images(seed) for seed in range(12)]
    want = [net.session("reference").run({"data": batch}) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for have, expected in zip(pool.map(lambda x: session.run({"data": x}), batches), want, strict=True):
            assert_same(have, expected)


def _run_in_child(queue, session, data):
    queue.put(session.run({"data": data}))


@needs_kernels
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_session_survives_a_fork():
    """A forked child has none of the parent's helper threads, and computes all the same."""
    session, data = residual_net().session("exact", threads=3), images()
    want = session.run({"data": data})
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_run_in_child, args=(queue, session, data))
    child.start()
    assert_same(queue.get(timeout=600), want)
    child.join(60)
    assert child.exitcode == 0
    assert_same(session.run({"data": data}), want)


@needs_kernels
def test_what_no_kernel_covers_runs_on_the_reference():
    """Weights that are computed by the net, an accumulator that leaves int32, a blob of no elements."""
    net = Builder()
    net.convolution("image", "y", (4, 3, 3, 3))
    net.parameters["y_b"] = Int8Tensor(np.full(4, 2**31 - 5, np.int32), 0.0005, 0)
    net = net.net("y")
    for shape in [(1, 3, 6, 6), (0, 3, 6, 6)]:
        feeds = {"data": images(shape=shape)}
        assert_same(net.session("exact").run(feeds), net.session("reference").run(feeds))

    net.predict.external_input.append("y_w")
    fed = Net(net.predict, make_init({"y_b": net.parameters["y_b"]}))
    feeds |= {"data": images(shape=(1, 3, 6, 6)), "y_w": net.parameters["y_w"]}
    assert_same(fed.session("exact").run(feeds), fed.session("reference").run(feeds))


ACTIVATIONS = {
    "HardSigmoid": dict(alpha=1 / 6, beta=0.5),
    "Swish": {},
    "Sigmoid": {},
    "Tanh": {},
    "Elu": dict(alpha=1.0),
    "Gelu": {},
    "Relu": {},
    "Clip": dict(min=0.0, max=6.0),
    "Softplus": {},
}


@needs_kernels
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_islands_of_float_become_tables(kind):
    """x * activation(x), in float between two quantized blobs; another reader wants it in float."""
    net = Builder()
    net.convolution("image", "x", (17, 3, 3, 3), zero_point=90)
    net.add("Int8Dequantize", ["x"], "real")
    net.add(kind, ["real"], "activated", **ACTIVATIONS[kind])
    net.add("Mul", ["real", "activated"], "product")
    net.add("Int8Quantize", ["product"], "y", 0.03, 60)
    net, feeds = net.net("y"), {"data": images()}
    session, reference = net.session("exact", threads=2), net.session("reference")
    for outputs in (["y"], ["product"], ["activated", "y"], ["real", "product"]):
        assert_same(session.run(feeds, outputs), reference.run(feeds, outputs))
        assert kernels_alone(session)


@needs_kernels
def test_gates_become_tables():
    """Squeeze-and-excite: hard-swish of an image times a gate for each of its channels."""
    net = Builder()
    net.convolution("image", "x", (20, 3, 3, 3), zero_point=90)
    net.add("Int8AveragePool", ["x"], "pooled", 0.05, 90, global_pooling=1, order="NHWC")
    net.convolution("pooled", "excited", (20, 1, 1, 20), zero_point=128)
    net.add("Int8Dequantize", ["excited"], "gate")
    net.add("HardSigmoid", ["gate"], "gate", alpha=1 / 6, beta=0.5)
    net.add("Int8Dequantize", ["x"], "real")
    net.add("HardSigmoid", ["real"], "hard", alpha=1 / 6, beta=0.5)
    net.add("Mul", ["real", "hard"], "swished")
    for first, second in (["swished", "gate"], ["gate", "swished"]):
        net.add("Mul", [first, second], f"gated_{first}")
        net.add("Int8Quantize", [f"gated_{first}"], f"y_{first}", 0.02, 60)
    net, feeds = net.net("y_swished", "y_gate"), {"data": images()}
    session, reference = net.session("exact", threads=2), net.session("reference")
    outputs = ["gated_gate", "y_gate"]
    assert_same(session.run(feeds, outputs), reference.run(feeds, outputs))
    assert_same(session.run(feeds), reference.run(feeds))
    assert kernels_alone(session)


@needs_kernels
def test_islands_that_are_no_functions_of_bytes():
    """A softmax over channels, a constant for each channel, two images: `compute` runs them."""
    net = Builder()
    net.convolution("image", "x", (8, 3, 3, 3), zero_point=90)
    net.convolution("image", "z", (8, 1, 1, 3), zero_point=90)
    for name in "xz":
        net.add("Int8Dequantize", [name], f"{name}_real")
    net.add("Softmax", ["x_real"], "soft", axis=3)
    net.add("Mul", ["soft", "x_real"], "weighed")
    net.parameters["slope"] = np.linspace(-1, 1, 8, dtype=np.float32)
    net.add("Mul", ["z_real", "slope"], "sloped")
    net.add("Add", ["weighed", "sloped"], "sum")
    net.add("Add", ["x_real", "z_real"], "plain")
    for name in ("sum", "sloped", "plain"):
        net.add("Int8Quantize", [name], f"{name}_y", 0.04, 99)
    net, feeds = net.net("sum_y", "sloped_y", "plain_y"), {"data": images()}
    assert_same(net.session("exact").run(feeds), net.session("reference").run(feeds))


@needs_kernels
def test_errors_name_the_operator():
    net = Builder()
    net.convolution("image", "y", (4, 3, 3, 3))
    net.predict.op[-1].arg[0].f = 1e-9  # Y_scale
    with pytest.raises(ModelError, match=r"operator 2 \(Int8Conv -> y\).*outside \[2\^-32, 1\)"):
        net.net("y").session("exact").run({"data": images()})


def test_without_kernels_auto_takes_the_reference(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "off")
    net = residual_net()
    assert net.session().backend == "reference"
    with pytest.raises(ModelError, match=r"C\+\+ extension.*use the reference"):
        net.session("exact")


def test_a_package_without_the_extension_works(root):
    """As on a machine that had no compiler."""
    program = (
        "import sys; sys.modules['caffe2_models.kernels._int8'] = None\n"
        "from caffe2_models.published import published_net\n"
        "net = published_net('FBNet-96/int8')\n"
        "session = net.session()\n"
        "assert session.backend == 'reference', session.backend\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)


@needs_kernels
def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "mmx")
    with pytest.raises(ModelError, match="mmx is none of"):
        residual_net().session("exact")


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize("name", ["FBNet-96/int8", "FBNet-A/int8"])
@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_published_nets(name, instruction_set, monkeypatch):
    """Whole nets, with all their blobs, run by kernels alone."""
    monkeypatch.setenv(kernels.VARIABLE, instruction_set)
    net = published_net(name)
    size = net.input_shapes()["data"]
    feeds = {"data": images(shape=size)}
    blobs = [node.outputs[0] for node in net.operators]
    session = net.session("exact", threads=2)
    assert_same(session.run(feeds, blobs), net.session("reference").run(feeds, blobs))
    assert_same(session.run(feeds), net.session("reference").run(feeds))
    assert kernels_alone(session)


@needs_kernels
@pytest.mark.parametrize("name", ["mobilenet_v1_0.5_160_quant", "mobilenet_v1_0.25_128_quant"])
def test_trained_nets_give_the_real_caffe2_logits(name, shared):
    net = load_net(shared / "models" / name)
    expected = np.load(shared / "models" / name / "expected.npz")
    data = ((expected["crops"].astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    logits = net.session("exact").run({"data": data}, ["logits"])["logits"]
    np.testing.assert_array_equal(logits, expected["logits"])


@needs_kernels
@pytest.mark.parametrize("check", ["golden.py", "published.py"])
def test_golden_values(check, shared, root):
    arguments = [shared / "golden" / "ops", "--only", "int8"] if check == "golden.py" else ["--kind", "int8"]
    command = [sys.executable, shared / "checks" / check, *arguments, "--backend", "exact"]
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
