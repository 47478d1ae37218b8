"""What the quantizer makes runs everywhere, byte for byte alike, and computes what the float net does."""

import numpy as np
import pytest
import torch
from float_nets import (
    blobs_of,
    differing_blobs,
    fitting_batches,
    images,
    outputs_on,
    random_float_net,
    sqnr_db,
    stretched,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_net import CLASSIFIERS, classifier

from caffe2_common.errors import ModelError
from caffe2_models import Int8Tensor, Net, kernels, load_net
from exporters import torch_to_onnx
from exporters.int8 import quantize
from exporters.int8.recipe import RECIPES
from exporters.onnx_to_caffe2 import convert

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = ["exact"] if kernels.is_available() else []
FAMILIES = ["FBNet-C/int8", "fbnet_cse", "MobileNetV3", "tf_mixnet_s", "tf_mobilenetv1_025", "mnasnet_a1",
            "efficientnet_b0"]  # fmt: skip
SIZE = 64

NETS = {"seed": st.integers(0, 2**32 - 1), "steps": st.integers(1, 14), "recipe": st.sampled_from(list(RECIPES))}


def random_nets(count: int):
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=count, derandomize=True, suppress_health_check=quiet)


def quantize_or_reject(net: Net, calibration, recipe: str, shape) -> Net:
    """Nets whose activations overflow are not for the quantizer."""
    assume(net.inputs and net.outputs)
    try:
        return quantize(net, calibration, RECIPES[recipe], {"data": shape}, threads=1).net
    except ModelError as error:
        assume("is not finite" not in str(error))
        raise


def assert_runs_alike(int8: Net, backends: list[str], x: np.ndarray):
    """x: a batch [N, C, H, W] for the net's one input."""
    blobs, reference = blobs_of(int8), int8.session("reference", threads=1)
    sessions = [int8.session(backend, threads=1) for backend in backends]
    for batch in fitting_batches(int8, x):
        feeds = {int8.inputs[0]: batch}
        want = reference.run(feeds, blobs)
        for session in sessions:
            assert differing_blobs(session.run(feeds, blobs), want) == []


@pytest.mark.slow
@random_nets(130)
@given(**NETS)
def test_random_nets(seed, steps, recipe):
    net, shape, rng = random_float_net(seed, steps)
    seen = images(rng, shape, 6)
    int8 = quantize_or_reject(net, seen, recipe, shape)
    assert_runs_alike(int8, EXACT, images(rng, shape, 2))
    real, quantized = (outputs_on(n, seen) for n in (net, int8))
    assert quantized.keys() == real.keys()
    for name, value in real.items():
        assert quantized[name].shape == value.shape
        # wrong channels, a wrong order, a lost ReLU are near 0 dB; 700 such nets had no output below 20
        assert sqnr_db(value, quantized[name]) > 12 or np.abs(value).max() < 1e-6


@random_nets(160)
@given(**NETS, brightness=st.sampled_from([1.0, 1e-6, 1e5, 0.0]))
def test_no_weights_and_no_images_make_illegal_scales(seed, steps, recipe, brightness):
    """The runtimes refuse what QNNPACK refuses."""
    net, shape, rng = random_float_net(seed, steps)
    calibration = images(rng, shape, 4) * np.float32(brightness)
    with np.errstate(over="ignore", invalid="ignore"):
        int8 = quantize_or_reject(stretched(net, rng), calibration, recipe, shape)
        assert_runs_alike(int8, EXACT, images(rng, shape, 2) * np.float32(2 * brightness))


@pytest.mark.oracle
@random_nets(60)
@given(**NETS, stretch=st.booleans())
def test_random_nets_in_caffe2(caffe2_python, seed, steps, recipe, stretch):
    net, shape, rng = random_float_net(seed, steps)
    assume(all(op.type != "Elu" for op in net.predict.op))  # Caffe2's exp(x) - 1 is inexact where x is small
    with np.errstate(over="ignore", invalid="ignore"):
        int8 = quantize_or_reject(stretched(net, rng) if stretch else net, images(rng, shape, 4), recipe, shape)
        assert_runs_alike(int8, ["caffe2"], images(rng, shape, 2))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """(int8 net of a model with random weights, images)"""
    torch.manual_seed(0)
    shape = (1, 3, SIZE, SIZE)
    net = convert(torch_to_onnx.export(torch_to_onnx.create_module(request.param, img_size=SIZE), shape))
    x = images(np.random.default_rng(0), shape, 4)
    return quantize(net, x, RECIPES["fast"], {"data": shape}, threads=1).net, x


def test_zoo_families(family):
    int8, x = family
    assert_runs_alike(int8, EXACT, x[:2])


@pytest.mark.oracle
def test_zoo_families_in_caffe2(family, caffe2_python):
    int8, x = family
    assert_runs_alike(int8, ["caffe2"], x[:2])


@pytest.fixture(scope="module", params=["squeezenet_trafficlight", "mnist_lenet", *CLASSIFIERS])
def old_net(request, shared):
    """(a Caffe2 float net by other hands, images for it)"""
    name = request.param
    if name in CLASSIFIERS:
        net, feeds = classifier(shared, name)
        return net, images(np.random.default_rng(0), next(iter(feeds.values())).shape, 2)
    net = load_net(shared / "models" / name)
    return net, np.load(shared / "models" / name / "expected.npz")[f"in:{net.inputs[0]}"].astype(np.float32)


@pytest.fixture(scope="module")
def old_int8(old_net):
    net, x = old_net
    return quantize(net, x, RECIPES["minmax"], {net.inputs[0]: (1, *x.shape[1:])}, threads=1).net


def scores(net: Net, backend: str, x: np.ndarray) -> np.ndarray:
    """[N, classes] before the Softmax: behind it an error of one step shows as any number of dB.

    How many differs from machine to machine, for float sums in another order make scales that differ in their last
    bit.
    """
    softmax = next((op for op in reversed(net.predict.op) if op.type in ("Softmax", "Int8Softmax")), None)
    name = softmax.input[0] if softmax is not None else net.outputs[0]
    value = net.session(backend, threads=1).run({net.inputs[0]: x}, [name])[name]
    return (value.dequantize() if isinstance(value, Int8Tensor) else value).reshape(len(x), -1)


def test_old_caffe2_nets(old_net, old_int8):
    """On images brighter and darker than those of the calibration."""
    net, x = old_net
    assert_runs_alike(old_int8, EXACT, x[:1])
    seen = np.concatenate([x * np.float32(brightness) for brightness in (1.0, 0.8)])
    real, quantized = scores(net, "onnxruntime", seen), scores(old_int8, "auto", seen)
    assert sqnr_db(real, quantized) > 20
    np.testing.assert_array_equal(quantized[: len(x)].argmax(axis=1), real[: len(x)].argmax(axis=1))
    assert any(op.type.startswith("Int8Conv") for op in old_int8.predict.op)


@pytest.mark.oracle
def test_old_caffe2_nets_in_caffe2(old_net, old_int8, caffe2_python):
    assert_runs_alike(old_int8, ["caffe2"], old_net[1][:1])
