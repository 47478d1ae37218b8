"""Plans in files: the C library gives the bytes of the exact runtime, and trusts no file."""

import ctypes
from contextlib import contextmanager

import numpy as np
import pytest
from test_exact import Builder, images, residual_net

from caffe2_common.errors import ModelError
from caffe2_models import Int8Tensor, Net, kernels
from caffe2_models.published import published_net
from caffe2_models.runtimes.session import input_types

if not kernels.is_available():
    pytest.skip("the kernels were not built", allow_module_level=True)

from caffe2_models.kernels import _int8
from caffe2_models.kernels.plan_file import compile_net


class Tensor(ctypes.Structure):
    """caffe2_tensor of caffe2_plan.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("dims", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
        ("pixels", ctypes.POINTER(ctypes.c_float)),
    ]


@pytest.fixture(scope="module")
def library():
    """The C functions, which the extension module holds as well."""
    library = ctypes.CDLL(_int8.__file__)
    library.caffe2_plan_open.restype = library.caffe2_plan_read.restype = ctypes.c_void_p
    library.caffe2_plan_read.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int32]
    library.caffe2_plan_error.restype = library.caffe2_plan_instruction_set.restype = ctypes.c_char_p
    for name in ("input", "output"):
        getattr(library, f"caffe2_plan_{name}").restype = ctypes.POINTER(Tensor)
    return library


@contextmanager
def opened(library, content: bytes, threads: int = 1):
    """The plan's handle, or None where the library refuses it."""
    plan = library.caffe2_plan_read(content, len(content), threads)
    try:
        yield None if plan is None else ctypes.c_void_p(plan)
    finally:
        if plan is not None:
            library.caffe2_plan_close(ctypes.c_void_p(plan))


def tensors(function, plan) -> list[Tensor]:
    found = []
    while tensor := function(plan, len(found)):
        found.append(tensor.contents)
    return found


def run(library, plan, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray | Int8Tensor]:
    inputs = [np.ascontiguousarray(feeds[t.name.decode()]) for t in tensors(library.caffe2_plan_input, plan)]
    outputs = tensors(library.caffe2_plan_output, plan)
    arrays = [np.empty(t.shape[: t.dims], (np.float32, np.uint8)[t.dtype]) for t in outputs]
    pointers = [(ctypes.c_void_p * len(a))(*(x.ctypes.data for x in a)) for a in (inputs, arrays)]
    assert library.caffe2_plan_run(plan, *pointers) == 0, library.caffe2_plan_error()
    return {
        t.name.decode(): Int8Tensor(data, t.scale, t.zero_point) if t.dtype else data
        for t, data in zip(outputs, arrays, strict=True)
    }


def assert_same_as_session(library, net: Net, feeds: dict, outputs: list[str]):
    with opened(library, compile_net(net, input_types(feeds), outputs), threads=2) as plan:
        assert plan is not None, library.caffe2_plan_error()
        for _ in range(2):
            have = run(library, plan, feeds)
            for name, want in net.session("exact").run(feeds, outputs).items():
                if isinstance(want, Int8Tensor):
                    assert (np.float32(want.scale), want.zero_point) == (have[name].scale, have[name].zero_point)
                np.testing.assert_array_equal(getattr(have[name], "data", have[name]), getattr(want, "data", want))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FBNet-96/int8", "ChamNet-F/int8"])
def test_published_nets(library, name):
    net = published_net(name)
    assert_same_as_session(library, net, {"data": images(shape=net.input_shapes()["data"])}, net.outputs)


def test_quantized_and_float_outputs_of_a_batch(library):
    assert_same_as_session(library, residual_net(), {"data": images()}, ["logits", "pooled", "scores", "narrow"])


def test_pixels_are_kept_with_the_image(library):
    table = np.arange(768, dtype=np.float32).reshape(3, 256) / 7
    content = compile_net(residual_net(), input_types({"data": images()}), ["logits"], table)
    with opened(library, content) as plan:
        (tensor,) = tensors(library.caffe2_plan_input, plan)
        np.testing.assert_array_equal(np.ctypeslib.as_array(tensor.pixels, (3, 256)), table)


def small_plan() -> tuple[bytes, dict]:
    net = Builder()
    net.convolution("image", "wide", (9, 3, 3, 3), "Int8ConvRelu", stride=2)
    net.convolution("wide", "depthwise", (9, 3, 3, 1), group=9)
    net.add("Int8Sum", ["wide", "depthwise"], "sum", 0.06, 7)
    net.add("Int8Dequantize", ["sum"], "y")
    net, feeds = net.net("y"), {"data": images(shape=(1, 3, 8, 8))}
    return compile_net(net, input_types(feeds), ["y"]), feeds


def test_files_cut_short_are_refused(library):
    content, _ = small_plan()
    for length in [0, 15, 16, 17, *range(24, len(content), 61), len(content) - 1]:
        with opened(library, content[:length]) as plan:
            assert plan is None
            assert library.caffe2_plan_error()
    with opened(library, content + b"\0") as plan:
        assert plan is None


BYTES = [bytes([value]) for value in (0, 1, 2, 3, 127, 128, 255)]
NUMBERS = [value.to_bytes(8, "little", signed=True) for value in (-1, 0, 1, 2, 255, 2**24 - 1, 2**31, 2**36, 2**63 - 1)]


@pytest.mark.parametrize("values", [BYTES, NUMBERS], ids=["bytes", "numbers"])
def test_changed_files_are_refused_or_run(library, values):
    """Whatever a byte or a number becomes: an error, or a run within the plan's own memory."""
    content, feeds = small_plan()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for position in rng.integers(16, len(content) - 8, rng.integers(1, 4)):
            value = values[rng.integers(len(values))]
            changed[position : position + len(value)] = value
        with opened(library, bytes(changed)) as plan:
            if plan is None:
                refused += 1
            elif [t.bytes for t in tensors(library.caffe2_plan_input, plan)] == [feeds["data"].nbytes]:
                outputs = [np.empty(t.bytes, np.uint8) for t in tensors(library.caffe2_plan_output, plan)]
                pointers = [(ctypes.c_void_p * len(a))(*(x.ctypes.data for x in a)) for a in ([feeds["data"]], outputs)]
                library.caffe2_plan_run(plan, *pointers)
    assert refused > 50


def test_a_file_that_is_not_there(library, tmp_path):
    assert library.caffe2_plan_open(str(tmp_path / "none.plan").encode(), 1) is None
    assert b"none.plan: cannot be opened" in library.caffe2_plan_error()


def test_operators_without_kernels_are_named():
    net = Builder()
    net.convolution("image", "x", (8, 3, 3, 3))
    net.add("Int8Dequantize", ["x"], "real")
    net.add("Softmax", ["real"], "soft", axis=3)
    with pytest.raises(ModelError, match="have no kernel \\(Softmax -> soft\\)"):
        compile_net(net.net("soft"), input_types({"data": images()}), ["soft"])
