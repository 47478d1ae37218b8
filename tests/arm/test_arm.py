"""The kernels on ARM processors of each kind, in qemu: the bytes of `reference`, computed here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from int8_cases import Case, save

from caffe2_common.images import normalize, pixel_table
from caffe2_common.preprocessing import Preprocessing
from caffe2_models import Int8Tensor, Net
from caffe2_models.kernels.plan_file import compile_net
from caffe2_models.published import published_net
from caffe2_models.runtimes.session import input_types

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "caffe2_models"))

import test_exact
import test_exact_kernels
from random_nets import random_net

# qemu's processors, and the fastest kernels for each. cortex-a53: every 64-bit ARM.
PROCESSORS = {"cortex-a53": "neon", "cortex-a76": "neon_dot", "max": "neon_i8mm"}
PUBLISHED = ["FBNet-96/int8", "ChamNet-F/int8"]
RANDOM_NETS = 40

every_processor = pytest.mark.parametrize("cpu, instruction_set", PROCESSORS.items())


def answered(net: Net, feeds: dict, outputs: list[str] | None = None, threads: int = 1) -> Case:
    """The case with what `reference` makes of it."""
    return net, feeds, net.session("reference").run(feeds, outputs), threads


@pytest.fixture(scope="session")
def kernel_cases(tmp_path_factory) -> Path:
    """The operators' cases of test_exact_kernels, those of hypothesis included."""
    cases: list[Case] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            test_exact_kernels,
            "assert_equal",
            lambda net, feeds, threads=1: cases.append(answered(net, feeds, threads=threads)),
        )
        for test in (
            test_exact_kernels.test_convolution,
            test_exact_kernels.test_transposed_convolution,
            test_exact_kernels.test_fully_connected,
            test_exact_kernels.test_requantization_around_every_step,
            test_exact_kernels.test_addition_of_all_pairs_of_bytes,
            test_exact_kernels.test_pooling,
            test_exact_kernels.test_quantize_and_dequantize,
            test_exact_kernels.test_islands_of_two_tensors,
            test_exact_kernels.test_softmax,
        ):
            test()
    path = tmp_path_factory.mktemp("arm") / "kernels.npz"
    assert save(path, cases) > 300
    return path


@pytest.fixture(scope="session")
def net_cases(tmp_path_factory) -> Path:
    """Whole nets with all their quantized blobs: published ones, a residual one, random ones."""
    cases: list[Case] = []
    for name in PUBLISHED:
        net = published_net(name)
        feeds = {"data": test_exact.images(shape=net.input_shapes()["data"])}
        cases.append(answered(net, feeds, [node.outputs[0] for node in net.operators], threads=2))
    cases.append(answered(test_exact.residual_net(), {"data": test_exact.images()}, test_exact.BLOBS, threads=2))
    for seed in range(RANDOM_NETS):
        net, feeds, blobs = random_net(np.random.default_rng(seed))
        quantized = {
            name: value
            for name, value in net.session("reference").run(feeds, blobs).items()
            if isinstance(value, Int8Tensor)
        }
        if quantized:
            cases.append((net, feeds, quantized, 1 + seed % 3))
    path = tmp_path_factory.mktemp("arm") / "nets.npz"
    assert save(path, cases) > RANDOM_NETS // 3
    return path


@pytest.fixture(scope="session")
def image_plan(tmp_path_factory) -> tuple[Path, Path, str]:
    """A plan, an image's bytes, and the class and score that Python gives it."""
    folder = tmp_path_factory.mktemp("plan")
    net = published_net(PUBLISHED[0])
    _, channels, height, width = net.input_shapes()["data"]
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    table = pixel_table(Preprocessing())
    feeds = {"data": normalize(pixels, table)[np.newaxis]}
    (scores,) = net.session("exact").run(feeds).values()
    plan, image = folder / "net.plan", folder / "image.bytes"
    plan.write_bytes(compile_net(net, input_types(feeds), net.outputs, table))
    image.write_bytes(pixels.tobytes())
    return plan, image, f"{scores.argmax()} {scores.max():.6f}"


def test_the_c_example_prints_pythons_class(arm_root, root, image_plan):
    """Here, and on each kind of ARM processor; the library is built for both."""
    plan, image, expected = image_plan
    arm = {"CC": "aarch64-linux-gnu-gcc", "CXX": "aarch64-linux-gnu-g++", "AR": "aarch64-linux-gnu-ar"}
    folders = [root / "build" / name for name in ("phone", "phone-aarch64")]
    for folder, tools in zip(folders, ({}, arm), strict=True):
        build = ["bash", root / "scripts" / "build_phone.sh", folder]
        subprocess.run(build, env={**os.environ, **tools}, check=True, capture_output=True)
    here = subprocess.run([folders[0] / "classify", plan, image], capture_output=True, text=True, check=True)
    assert here.stdout.split()[:2] == expected.split()
    for cpu, instruction_set in PROCESSORS.items():
        command = ["qemu-aarch64", "-cpu", cpu, "-L", arm_root, folders[1] / "classify", plan, image]
        there = subprocess.run(command, capture_output=True, text=True, check=True)
        assert there.stdout.split() == [*expected.split(), instruction_set]


@every_processor
def test_kernels_chosen(run_on_arm, cpu, instruction_set):
    program = "from caffe2_models import kernels; print(kernels.chosen_instruction_set())"
    assert run_on_arm(cpu, "-c", program).split() == [instruction_set]


@every_processor
@pytest.mark.parametrize("cases", ["kernel_cases", "net_cases"])
def test_bytes_are_those_of_the_reference(run_on_arm, cpu, instruction_set, cases, request):
    printed = run_on_arm(cpu, Path(__file__).with_name("int8_cases.py"), request.getfixturevalue(cases))
    assert printed.startswith(f"{instruction_set}: ") and printed.rstrip().endswith(", 0 differ"), printed
